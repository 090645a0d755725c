"""Scratches, stains and chips, drawn into a part's pixels and into its truth.

The truth of a defect is where it is visibly drawn: opacity of 0.35 or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.opencv import cv2
from edge.records import Float32, UInt8

CLASS_NAMES = ("scratch", "stain", "chip")
SCRATCH, STAIN, CHIP = 1, 2, 3
VISIBLE = 0.35


@dataclass(frozen=True)
class Stroke:
    """The course of a scratch: its middle in px, its length in px, its angle in radians and its bend, 0 = straight.

    `strength`: grey levels by which it lightens, below 0 darkens; None = as usual on dark glass.
    """

    x: float
    y: float
    length: float
    angle: float
    bend: float
    strength: float | None = None


@dataclass(frozen=True)
class Facets:
    """The grey levels of a chip's facets: ranges of the `light` and the `dark` ones.

    A surface darker than `dark_below` shows more light facets than dark ones.
    """

    light: tuple[float, float] = (90, 230)
    dark: tuple[float, float] = (0, 15)
    dark_below: float = 90


OF_GLASS = Facets()


def a_place(inner: UInt8, g: np.random.Generator) -> tuple[float, float]:
    """Return a place (x, y), in px, where `inner`, uint8 [h, w], is set."""
    places = np.flatnonzero(inner)
    y, x = divmod(int(places[g.integers(len(places))]), inner.shape[1])
    return float(x), float(y)


def _patch(shape: tuple[int, int], x: float, y: float, reach: float) -> tuple[tuple[slice, slice], int, int]:
    """Return the square of `reach` px around (x, y), cut to a part of `shape`, and its corner (left, top)."""
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    return np.s_[top : min(shape[0], int(y + reach) + 1), left : min(shape[1], int(x + reach) + 1)], left, top


def _a_stroke(inner: UInt8, unit: float, g: np.random.Generator) -> Stroke:
    x, y = a_place(inner, g)
    length, angle = g.uniform(25, 190) * unit, g.uniform(0, np.pi)
    return Stroke(x, y, length, angle, g.uniform(-0.6, 0.6))


def a_straight_stroke(inner: UInt8, unit: float, g: np.random.Generator) -> Stroke:
    """Draw the course of a straight scratch: along an axis, nearly so, or at any angle; one in three crosses the part.

    Half of them are faint.
    """
    x, y = a_place(inner, g)
    axis = np.pi / 2 * g.integers(2)
    lean = g.choice([0.0, g.uniform(-0.12, 0.12), g.uniform(0, np.pi)], p=[0.35, 0.3, 0.35])  # radians
    across = g.random() < 1 / 3
    length = 1.3 * max(inner.shape) if across else g.uniform(40, 260) * unit
    strength = g.uniform(35, 70) if g.random() < 0.5 else g.uniform(60, 190)
    return Stroke(x, y, length, axis + lean, 0.0 if g.random() < 0.5 else g.uniform(-0.02, 0.02), strength)


def scratch(
    pixels: Float32, truth: UInt8, inner: UInt8, unit: float, g: np.random.Generator, *, stroke: Stroke | None = None
) -> None:
    """Draw a thin, rough line that tapers: a quadratic Bézier curve in short pieces, drawn at twice the size.

    Without a `stroke` it is bent, and lies anywhere in `inner`, uint8 [h, w] 0/1.
    """
    stroke = stroke or _a_stroke(inner, unit, g)
    there, left, top = _patch(inner.shape, stroke.x, stroke.y, stroke.length)
    half = np.array([np.cos(stroke.angle), np.sin(stroke.angle)]) * stroke.length / 2
    bend = np.array([-half[1], half[0]]) * stroke.bend
    middle = np.array([stroke.x - left, stroke.y - top])
    t = np.linspace(0, 1, 40)[:, None]
    points = (1 - t) ** 2 * (middle - half) + 2 * t * (1 - t) * (middle + bend) + t**2 * (middle + half)
    thickness = max(1.4, g.uniform(1.4, 5.0) * unit)  # px; thinner would not be seen, however small the picture
    taper = g.uniform(0.3, 1)
    depth = g.uniform(g.uniform(0.6, 1), 1, len(points))
    h, w = inner[there].shape
    large = np.zeros((h * 2, w * 2), np.uint8)
    for k in range(len(points) - 1):
        share = 1 - (1 - taper) * abs(2 * k / (len(points) - 2) - 1)
        a, b = (tuple(np.round(points[i] * 2 * 16).astype(int).tolist()) for i in (k, k + 1))
        cv2.line(large, a, b, 255 * depth[k], max(1, round(thickness * share * 2)), cv2.LINE_AA, 4)
    opacity = cv2.resize(large, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32) / 255 * inner[there]
    strength = g.uniform(45, 180) if stroke.strength is None else stroke.strength
    _paint(pixels[there], truth[there], SCRATCH, opacity, strength)


def stain(
    pixels: Float32,
    truth: UInt8,
    inner: UInt8,
    unit: float,
    g: np.random.Generator,
    *,
    drops: bool = False,
    dark: bool = False,
) -> None:
    """Draw a compact blob, a dull smudge or, with `drops`, a clear drop with a rim and glints.

    `dark`: blobs and smudges darken, as oil and rust do on what is light.
    """
    sign = -0.6 if dark else 1.0
    kind = g.choice(["blob", "smudge", "drop"], p=[0.42, 0.18, 0.4] if drops else [0.7, 0.3, 0])
    if kind == "drop":
        drop(pixels, truth, inner, unit, g)
        return
    x, y = a_place(inner, g)
    radius = g.uniform(*{"blob": (5, 20), "smudge": (9, 24)}[kind]) * unit
    there, left, top = _patch(inner.shape, x, y, 2 * radius)
    angles = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    wobble = 1 + 0.25 * np.interp(angles, np.linspace(0, 2 * np.pi, 7), np.append(v := g.uniform(-1, 1, 6), v[0]))
    stretch = g.uniform(0.7, 1.0)
    around = np.column_stack([np.cos(angles), stretch * np.sin(angles)]) * wobble[:, None] * radius
    middle = np.array([x - left, y - top])
    own = inner[there]
    if kind == "blob":
        opacity = _filled(own, middle + around, g.uniform(0.6, 2.5) * unit)
        _paint(pixels[there], truth[there], STAIN, opacity, sign * g.uniform(55, 220))
    else:
        opacity = _filled(own, middle + around, g.uniform(2, 4) * unit)
        cloudy = cv2.GaussianBlur(g.uniform(0, 1, own.shape).astype(np.float32), (0, 0), 3 * unit)
        _paint(pixels[there], truth[there], STAIN, opacity, sign * g.uniform(35, 70))
        pixels[there] += opacity * (cloudy - 0.5) * 60


def _filled(own: UInt8, corners: npt.NDArray[np.float64], softness: float) -> Float32:
    """Opacity of the shape with these corners (x, y), its edge smoothed, where `own` is set; float32 [h, w]."""
    mask = np.zeros(own.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft: Float32 = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), softness) * own
    return soft


def drop(pixels: Float32, truth: UInt8, inner: UInt8, unit: float, g: np.random.Generator) -> None:
    """Draw a drop or a puddle, clear but for a dim rim and for glints that follow it: lamps mirrored in a meniscus.

    A glint is as bright and as thin as a scratch. A rim that closes around it tells them apart.
    """
    radius = float(np.exp(g.uniform(np.log(10), np.log(110)))) * unit
    x, y = a_place(inner, g)
    there, left, top = _patch(inner.shape, x, y, 2.2 * radius)
    own, middle = inner[there], np.array([x - left, y - top])
    around = _run_out(radius, g)
    opacity = _filled(own, middle + around, 0.7)
    _paint(pixels[there], truth[there], STAIN, opacity, g.uniform(-3, 12))
    lit = _filled(own, middle + around * 1.1 + g.uniform(-1, 1, 2) * radius, radius / 4)
    for _ in range(g.integers(1, 3)):  # its edge, and often the one where it begins to be flat
        inset, line = np.exp(g.uniform(np.log(0.01), np.log(0.3))), np.zeros(own.shape, np.uint8)
        rim = np.round((middle + around * (1 - inset)) * 16).astype(np.int32)
        cv2.polylines(line, [rim], True, 255, max(1, round(g.uniform(0.6, 2) * unit)), cv2.LINE_AA, 4)
        pixels[there] += opacity * (line / np.float32(255)) * (g.uniform(0, 35) + lit * g.uniform(0, 90))
    for _ in range(g.integers(1, 6)):
        first, count = int(g.integers(len(around))), int(g.integers(4, 45))
        inset = np.exp(g.uniform(np.log(0.02), np.log(0.5)))
        piece = middle + np.roll(around, first, axis=0)[:count] * (1 - inset)
        _glint(pixels[there], opacity, piece, unit, g)


def _run_out(radius: float, g: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return the outline of a liquid around its middle, float64 [120, 2] of x and y: round, or run out in lobes."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    # low harmonics of falling strength, so that it is smooth
    wobble, run = np.ones(len(angles)), g.uniform(0.1, 0.5) if g.random() < 0.7 else 0.08
    for order in (2, 3, 4, 5):
        wobble += run / (order - 1) * g.uniform(-1, 1) * np.cos(order * angles + g.uniform(0, 2 * np.pi))
    stretch, tilt = g.uniform(0.45, 1.0), g.uniform(0, np.pi)
    flat = np.column_stack([np.cos(angles), stretch * np.sin(angles)]) * np.clip(wobble, 0.25, None)[:, None] * radius
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    around: npt.NDArray[np.float64] = flat @ turn
    return around


def _glint(
    pixels: Float32, opacity: Float32, piece: npt.NDArray[np.float64], unit: float, g: np.random.Generator
) -> None:
    """Mirror a lamp along a `piece` of a drop's outline (x, y): thick in its middle, thin at its ends, bright."""
    line = np.zeros(opacity.shape, np.uint8)
    width = max(1.0, g.uniform(1, 5) * unit)
    last = len(piece) - 1
    for k in range(last):
        share = g.uniform(0.7, 1) * (1 - abs(2 * (k + 0.5) / last - 1) ** 2)
        a, b = (tuple(np.round(point * 16).astype(int).tolist()) for point in piece[k : k + 2])
        cv2.line(line, a, b, 255, max(1, round(width * share)), cv2.LINE_AA, 4)
    pixels += line * opacity * np.float32(g.uniform(50, 235) / 255)


def _paint(pixels: Float32, truth: UInt8, class_id: int, opacity: Float32, strength: float) -> None:
    """Lighten by `strength` grey levels where a defect is (below 0: darken), and note the truth."""
    pixels += opacity * strength
    truth[opacity >= VISIBLE] = class_id


def chip(
    pixels: Float32, truth: UInt8, outline: Float32, unit: float, g: np.random.Generator, *, far: bool = False
) -> None:
    """Break a piece off the edge, anywhere, or with `far` not at the near edge, which is the lower one."""
    h, w = pixels.shape
    solid = (outline > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edge = max(contours, key=len).reshape(-1, 2)
    if far:
        edge = edge[edge[:, 1] < 0.6 * h]
    x, y = (float(v) for v in edge[g.integers(len(edge))])
    break_off(pixels, truth, solid, (x, y), g, inwards=(w / 2 - x, h / 2 - y), radius=g.uniform(12, 18) * unit)


def break_off(
    pixels: Float32,
    truth: UInt8,
    solid: UInt8,
    place: tuple[float, float],
    g: np.random.Generator,
    *,
    inwards: tuple[float, float],
    radius: float,
    tones: Facets = OF_GLASS,
) -> None:
    """Break a piece off at a `place` (x, y) of the edge: irregular facets, some light, some dark, just inside `solid`.

    `inwards`: the direction, x and y, from there to the part's middle. `radius` in px.
    """
    h, w = pixels.shape
    towards = np.array(inwards)
    towards /= np.linalg.norm(towards)
    x, y = np.array(place) + towards * radius * 0.3
    angles = np.sort(g.uniform(0, 2 * np.pi, int(g.integers(6, 10))))
    reach = radius * g.uniform(0.65, 1.15, len(angles))
    corners = np.column_stack([x + reach * np.cos(angles), y + reach * np.sin(angles)])
    # facets must differ from what they break
    dark = bool(pixels[int(np.clip(y, 0, h - 1)), int(np.clip(x, 0, w - 1))] < tones.dark_below)
    there, left, top = _patch((h, w), x, y, 1.2 * radius + 6)
    shown, corner = pixels[there], np.array([left, top])
    bite, facets = np.zeros(shown.shape, np.uint8), np.zeros(shown.shape, np.float32)
    cv2.fillPoly(bite, [np.round(corners).astype(np.int32) - corner], 255, cv2.LINE_AA)
    for k in range(len(corners)):
        bright = dark == (k % 2 == 0 or g.random() < 0.5)  # never all alike: an all dark one would be a hole
        piece = np.array([[x, y], corners[k], corners[(k + 1) % len(corners)]])
        tone = g.uniform(*tones.light) if bright else g.uniform(*tones.dark)
        cv2.fillPoly(facets, [np.round(piece).astype(np.int32) - corner], tone)
    opacity = cv2.GaussianBlur(bite.astype(np.float32) / 255, (0, 0), 0.6) * solid[there]
    shown *= 1 - opacity
    shown += opacity * facets
    truth[there][opacity >= VISIBLE] = CHIP
