"""Phone glass on a belt, drawn with defects whose place and shape are known: pixels and their true class map.

The same seed draws the same line. A `Scene` is what stays (belt, light, reflections of the hall); a `Part` is drawn
once and then only moved. The truth of a defect is where it is visibly drawn: opacity of 0.35 or more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from edge.opencv import cv2
from edge.records import Float32, UInt8

CLASS_NAMES = ("scratch", "stain", "chip")
SCRATCH, STAIN, CHIP = 1, 2, 3
VISIBLE = 0.35


class SimulatedLineSettings(BaseModel):
    """The simulated line. `fps` 0 renders as fast as frames are read; `frames` 0 never ends."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: Annotated[int, Field(ge=64, le=4096, description="px")] = 640
    height: Annotated[int, Field(ge=64, le=4096, description="px")] = 480
    fps: Annotated[float, Field(ge=0, le=240, description="frames/s")] = 15.0
    frames: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] = 7
    defective_share: Annotated[float, Field(ge=0, le=1, description="of the parts")] = 0.5
    frames_per_part: Annotated[int, Field(ge=4, le=1000, description="frames from one part to the next")] = 30


@dataclass(frozen=True)
class Look:
    """What varies between lines and lamps; grey levels 0-255, sizes as shares of the frame's height."""

    belt: float
    belt_texture: float
    light_fall: float
    streaks: int
    streak_strength: float
    noise: float
    blur_px: float
    part_length: float
    part_width: float
    dust: int
    motion_px: int


USUAL = Look(
    belt=78,
    belt_texture=6,
    light_fall=0.35,
    streaks=3,
    streak_strength=22,
    noise=3,
    blur_px=0.5,
    part_length=0.95,
    part_width=0.5,
    dust=14,
    motion_px=3,
)


def random_look(generator: np.random.Generator) -> Look:
    """Draw a look from a range wide enough to hold cameras and lamps that nobody has thought of."""
    g = generator
    length = float(np.exp(g.uniform(np.log(0.7), np.log(4.0))))
    return Look(
        belt=float(g.uniform(35, 130)),
        belt_texture=float(g.uniform(2, 14)),
        light_fall=float(g.uniform(0, 0.6)),
        streaks=int(g.integers(0, 6)),
        streak_strength=float(g.uniform(3, 30)),
        noise=float(g.uniform(0.5, 6)),
        blur_px=float(g.uniform(0.3, 1.4)),
        part_length=length,
        part_width=length * float(g.uniform(0.45, 0.58)),
        dust=int(g.integers(0, 50)),
        motion_px=int(g.integers(1, 6)),
    )


@dataclass(frozen=True)
class Scene:
    """What stays while parts pass: `belt` uint8 [H, 2W] (it scrolls), `gain` and `hall` float32 [H, W], noise bank."""

    look: Look
    belt: UInt8
    gain: Float32
    hall: Float32
    noise: list[Float32]


@dataclass(frozen=True)
class Part:
    """One phone glass: `pixels` float32 [h, w], `glass` float32 opacity [h, w], `truth` uint8 [h, w] class ids."""

    pixels: Float32
    glass: Float32
    truth: UInt8


def make_scene(height: int, width: int, look: Look, generator: np.random.Generator) -> Scene:
    """Draw belt, light and reflections for frames of `height` x `width` px."""
    grain = generator.normal(0, look.belt_texture, (height, 2 * width)).astype(np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 1.2) * 2 + generator.normal(0, 1, grain.shape).astype(np.float32)
    belt = np.clip(look.belt + grain, 0, 255).astype(np.uint8)
    ys, xs = _grid(height, width)
    angle = generator.uniform(0, 2 * np.pi)
    slope = (xs * np.cos(angle) + ys * np.sin(angle)) / 1.5
    gain = (1 + look.light_fall * slope) * (1 - 0.5 * look.light_fall * (xs**2 + ys**2) / 2)
    hall = np.zeros((height, width), np.float32)
    for _ in range(look.streaks):
        tilt = generator.uniform(-0.8, 0.8)
        across = xs * np.cos(tilt) + ys * np.sin(tilt) - generator.uniform(-1, 1)
        hall += (
            np.exp(-((across / generator.uniform(0.03, 0.3)) ** 2)) * generator.uniform(0.3, 1) * look.streak_strength
        )
    noise = [generator.normal(0, look.noise, (height, width)).astype(np.float32) for _ in range(4)]
    return Scene(look, belt, gain.astype(np.float32), hall, noise)


def _grid(height: int, width: int) -> tuple[Float32, Float32]:
    """Return each pixel's place, float32 [height, width] of y and of x, from -1 to 1 across the picture."""
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    return ys, xs


def make_part(
    frame_height: int, look: Look, defects: dict[int, int], generator: np.random.Generator, *, varied: bool = False
) -> Part:
    """Draw one phone glass with `defects` ({class id: how many}); `varied` draws tones from a wide range."""
    g = generator
    h, w = int(look.part_width * frame_height), int(look.part_length * frame_height)
    radius = int(h * g.uniform(0.06, 0.2))
    outline = _rounded(h, w, radius)
    tone = g.uniform(8, 60) if varied else g.uniform(24, 36)
    pixels = np.full((h, w), tone, np.float32)
    unit = frame_height / 480
    screen = _draw_face(pixels, outline, tone, unit, g, varied=varied)
    truth: UInt8 = np.zeros((h, w), np.uint8)
    if not varied or g.random() < 0.8:
        _draw_innocent_marks(pixels, outline, unit, look.dust, g)
    # Light defects on a light frame would be truth that nobody can see, so they lie on the dark glass.
    # A line along the rim is light on it and no scratch, so these keep their distance from it.
    inner = cv2.erode(screen, np.ones((9, 9), np.uint8))
    off_rim = cv2.erode(cv2.bitwise_and(screen, _inset(outline, round(12 * unit))), np.ones((9, 9), np.uint8))
    for _ in range(defects.get(STAIN, 0)):
        _stain(pixels, truth, inner, unit, g, drops=varied)
    for _ in range(defects.get(SCRATCH, 0)):
        _scratch(pixels, truth, off_rim, unit, g)
    for _ in range(defects.get(CHIP, 0)):
        _chip(pixels, truth, outline, unit, g)
    return Part(pixels, outline, truth)


def _inset(outline: Float32, margin_px: int) -> UInt8:
    """Return the glass but for a margin along its outline, uint8 [h, w] 0/1."""
    solid = np.pad((outline > 0.5).astype(np.uint8), 1)
    inside: UInt8 = cv2.erode(solid, np.ones((2 * margin_px + 1, 2 * margin_px + 1), np.uint8), borderValue=0)
    return inside[1:-1, 1:-1]


def _rounded(h: int, w: int, radius: int) -> Float32:
    """Opacity of a rectangle with round corners, float32 [h, w], smoothed at its edge."""
    mask = np.zeros((h, w), np.uint8)
    cv2.rectangle(mask, (radius, 1), (w - radius - 1, h - 2), 255, -1)
    cv2.rectangle(mask, (1, radius), (w - 2, h - radius - 1), 255, -1)
    for x in (radius, w - radius - 1):
        for y in (radius, h - radius - 1):
            cv2.circle(mask, (x, y), radius - 1, 255, -1, cv2.LINE_AA)
    smooth: Float32 = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.7)
    return smooth


def _draw_face(
    pixels: Float32, outline: Float32, tone: float, unit: float, g: np.random.Generator, *, varied: bool
) -> UInt8:
    """Draw what every phone has and nobody rejects: frame, screen edge, rim light, holes, soft reflections.

    Returns where the dark glass is, uint8 [h, w] 0/1.
    """
    h, w = pixels.shape
    solid = (outline > 0.5).astype(np.uint8)
    screen = solid
    if varied and g.random() < 0.35:  # a light frame around a dark screen
        x, y = int(w * g.uniform(0.05, 0.14)), int(h * g.uniform(0.02, 0.06))
        screen = np.zeros_like(solid)
        screen[y : h - y, x : w - x] = 1
        pixels[screen == 0] = g.uniform(150, 245)
    elif g.random() < 0.6:  # the screen is a little lighter or darker than its frame
        x, y = int(w * g.uniform(0.04, 0.1)), int(h * g.uniform(0.02, 0.06))
        pixels[y : h - y, x : w - x] += g.uniform(-0.25, 0.35) * tone
    ys, xs = _grid(h, w)
    for _ in range(g.integers(1, 4) if varied else 1):
        _light_rim(pixels, outline, unit, g, varied=varied)
    for _ in range(g.integers(0, 5 if varied else 3)):
        _drill(pixels, tone, unit, g, varied=varied)
    if varied and g.random() < 0.4:  # one line inspects one product, and this one has no print
        _print_name(pixels, tone, unit, g)
    # large soft reflections of the hall on the glass itself
    for _ in range(g.integers(0, 4)):
        spot = np.exp(
            -(
                ((xs - g.uniform(-1, 1)) / g.uniform(0.2, 0.8)) ** 2
                + ((ys - g.uniform(-1, 1)) / g.uniform(0.2, 0.8)) ** 2
            )
        )
        pixels += spot * g.uniform(2, 18)
    if varied and g.random() < 0.5:  # something straight-edged and dim mirrored in it
        x, y = int(g.uniform(0, 0.8) * w), int(g.uniform(0, 0.8) * h)
        box = np.zeros_like(pixels)
        cv2.rectangle(box, (x, y), (x + int(g.uniform(0.05, 0.3) * w), y + int(g.uniform(0.05, 0.5) * h)), 1.0, -1)
        pixels += cv2.GaussianBlur(box, (0, 0), g.uniform(1, 8) * unit) * g.uniform(-0.5 * tone, 18)
    return screen


def _light_rim(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator, *, varied: bool) -> None:
    """Let the rim shine along part of it; `varied`: also a little inside, as a bevel does, broad and broken off."""
    inside = _inset(outline, int(g.integers(0, 7) * unit)) if varied else (outline > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(inside.copy(), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rim = np.zeros_like(pixels)
    cv2.drawContours(rim, contours, -1, 1.0, max(1, round(g.uniform(1, 6 if varied else 3) * unit)))
    ys, xs = _grid(*pixels.shape)
    angle = g.uniform(0, 2 * np.pi)
    lit = np.clip(xs * np.cos(angle) + ys * np.sin(angle) + g.uniform(-0.5, 0.5), 0, 1)
    if varied and g.random() < 0.5:
        lit = (lit > g.uniform(0.05, 0.5)).astype(np.float32)
    pixels += cv2.GaussianBlur(rim, (0, 0), 0.6 * unit) * lit * g.uniform(30, 230 if varied else 55)


def _drill(pixels: Float32, tone: float, unit: float, g: np.random.Generator, *, varied: bool) -> None:
    """Draw a camera hole, button or loudspeaker near one end: dark, `varied` some with a fine ring."""
    h, w = pixels.shape
    largest_px = 16 if varied else 6
    axes = (max(2, round(g.uniform(2, largest_px) * unit)), max(2, round(g.uniform(2, 2.2 * largest_px) * unit)))
    end = axes[0] + g.uniform(0.02, 0.06) * w
    middle = (int(end if g.random() < 0.5 else w - end), int(h * g.uniform(0.25, 0.75)))
    cv2.ellipse(pixels, middle, axes, 0, 0, 360, max(0.0, tone - g.uniform(4, 30)), -1)
    if varied and g.random() < 0.6:
        cv2.ellipse(pixels, middle, axes, 0, 0, 360, float(tone + g.uniform(10, 70)), 1)


def _print_name(pixels: Float32, tone: float, unit: float, g: np.random.Generator) -> None:
    """Print a maker's name or a row of symbols near one end, along the part or across it."""
    h, w = pixels.shape
    size = g.uniform(0.25, 0.7) * unit
    text = "".join(chr(g.integers(48, 91)) for _ in range(g.integers(1, 7)))
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)
    name = np.zeros((height + below + 2, width + 2), np.uint8)
    cv2.putText(name, text, (1, height), cv2.FONT_HERSHEY_SIMPLEX, size, 255, 1, cv2.LINE_AA)
    name = np.rot90(name, int(g.integers(4)))
    y, x = int(g.uniform(0.25, 0.6) * h), int(g.choice([g.uniform(0.02, 0.06), g.uniform(0.85, 0.93)]) * w)
    there = pixels[y : y + name.shape[0], x : x + name.shape[1]]
    ink = name[: there.shape[0], : there.shape[1]] / np.float32(255)
    there += ink * g.uniform(15, 110) * (1 if tone < 90 else -1)


def _draw_innocent_marks(pixels: Float32, outline: Float32, unit: float, dust: int, g: np.random.Generator) -> None:
    """Dust: specks of one to three pixels, too small to count, and faint short fibres, too dim to count."""
    h, w = pixels.shape
    for _ in range(dust):
        x, y = int(g.integers(w)), int(g.integers(h))
        if outline[y, x] < 0.5:
            continue
        if g.random() < 0.7:
            cv2.circle(pixels, (x, y), round(g.uniform(0, 1.2 * unit)), float(pixels[y, x] + g.uniform(15, 90)), -1)
        else:
            dx, dy = (int(v) for v in g.integers(-4, 5, 2) * unit)
            cv2.line(pixels, (x, y), (x + dx, y + dy), float(pixels[y, x] + g.uniform(6, 18)), 1)


def _a_place(inner: UInt8, g: np.random.Generator) -> tuple[float, float]:
    places = np.flatnonzero(inner)
    y, x = divmod(int(places[g.integers(len(places))]), inner.shape[1])
    return float(x), float(y)


def _patch(shape: tuple[int, int], x: float, y: float, reach: float) -> tuple[tuple[slice, slice], int, int]:
    """Return the square of `reach` px around (x, y), cut to a part of `shape`, and its corner (left, top)."""
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    return np.s_[top : min(shape[0], int(y + reach) + 1), left : min(shape[1], int(x + reach) + 1)], left, top


def _scratch(pixels: Float32, truth: UInt8, inner: UInt8, unit: float, g: np.random.Generator) -> None:
    """Draw a thin, rough, bent line that tapers: a quadratic Bézier curve in short pieces, drawn at twice the size."""
    x, y = _a_place(inner, g)
    length, angle = g.uniform(25, 190) * unit, g.uniform(0, np.pi)
    there, left, top = _patch(inner.shape, x, y, length)
    half = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    bend = np.array([-half[1], half[0]]) * g.uniform(-0.6, 0.6)
    middle = np.array([x - left, y - top])
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
    _paint(pixels[there], truth[there], SCRATCH, opacity, g.uniform(45, 180))


def _stain(pixels: Float32, truth: UInt8, inner: UInt8, unit: float, g: np.random.Generator, *, drops: bool) -> None:
    """Draw a compact blob, a dull smudge or, with `drops`, a drop that is clear but for its rim and its glints."""
    kind = g.choice(["blob", "smudge", "drop"], p=[0.42, 0.18, 0.4] if drops else [0.7, 0.3, 0])
    if kind == "drop":
        _drop(pixels, truth, inner, unit, g)
        return
    x, y = _a_place(inner, g)
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
        _paint(pixels[there], truth[there], STAIN, opacity, g.uniform(55, 220))
    else:
        opacity = _filled(own, middle + around, g.uniform(2, 4) * unit)
        cloudy = cv2.GaussianBlur(g.uniform(0, 1, own.shape).astype(np.float32), (0, 0), 3 * unit)
        _paint(pixels[there], truth[there], STAIN, opacity, g.uniform(35, 70))
        pixels[there] += opacity * (cloudy - 0.5) * 60


def _filled(own: UInt8, corners: npt.NDArray[np.float64], softness: float) -> Float32:
    """Opacity of the shape with these corners (x, y), its edge smoothed, where `own` is set; float32 [h, w]."""
    mask = np.zeros(own.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    soft: Float32 = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), softness) * own
    return soft


def _drop(pixels: Float32, truth: UInt8, inner: UInt8, unit: float, g: np.random.Generator) -> None:
    """Draw a drop or a puddle, clear but for a dim rim and for glints that follow it: lamps mirrored in a meniscus.

    A glint is as bright and as thin as a scratch; that a rim closes around it is what tells them apart.
    """
    radius = float(np.exp(g.uniform(np.log(10), np.log(110)))) * unit
    x, y = _a_place(inner, g)
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
    """Lighten by `strength` grey levels where a defect is, and note the truth."""
    pixels += opacity * strength
    truth[opacity >= VISIBLE] = class_id


def _chip(pixels: Float32, truth: UInt8, outline: Float32, unit: float, g: np.random.Generator) -> None:
    """Break a piece off the edge: irregular facets, some light, some dark, just inside the outline."""
    h, w = pixels.shape
    solid = (outline > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edge = max(contours, key=len).reshape(-1, 2)
    x, y = (float(v) for v in edge[g.integers(len(edge))])
    towards = np.array([w / 2 - x, h / 2 - y])
    towards /= np.linalg.norm(towards)
    radius = g.uniform(12, 18) * unit
    x, y = np.array([x, y]) + towards * radius * 0.3
    angles = np.sort(g.uniform(0, 2 * np.pi, int(g.integers(6, 10))))
    reach = radius * g.uniform(0.65, 1.15, len(angles))
    corners = np.column_stack([x + reach * np.cos(angles), y + reach * np.sin(angles)])
    bite = np.zeros((h, w), np.uint8)
    cv2.fillPoly(bite, [np.round(corners).astype(np.int32)], 255, cv2.LINE_AA)
    facets = np.zeros((h, w), np.float32)
    # facets must differ from what they break
    dark = bool(pixels[int(np.clip(y, 0, h - 1)), int(np.clip(x, 0, w - 1))] < 90)
    for k in range(len(corners)):
        bright = dark == (k % 2 == 0 or g.random() < 0.5)  # never all alike: an all dark one would be a hole
        piece = np.array([[x, y], corners[k], corners[(k + 1) % len(corners)]])
        cv2.fillPoly(
            facets,
            [np.round(piece).astype(np.int32)],
            g.uniform(90, 230) if bright else g.uniform(0, 15),
        )
    opacity = cv2.GaussianBlur(bite.astype(np.float32) / 255, (0, 0), 0.6) * solid
    pixels *= 1 - opacity
    pixels += opacity * facets
    truth[opacity >= VISIBLE] = CHIP


def compose(scene: Scene, parts: Sequence[tuple[Part, int, int]], scroll_px: int, number: int) -> tuple[UInt8, UInt8]:
    """Lay parts with their corners at (x, y) on the belt; return uint8 [H, W] pixels and uint8 [H, W] truth.

    `scroll_px`: how far the belt has moved; `number` picks the noise.
    """
    height, width = scene.gain.shape
    start = (-scroll_px) % width
    picture = scene.belt[:, start : start + width].astype(np.float32)
    truth: UInt8 = np.zeros((height, width), np.uint8)
    for part, x, y in parts:
        h, w = part.truth.shape
        x0, x1, y0, y1 = max(0, x), min(width, x + w), max(0, y), min(height, y + h)
        if x0 < x1 and y0 < y1:
            there = np.s_[y0:y1, x0:x1]
            own = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
            opacity = part.glass[own]
            picture[there] += opacity * (part.pixels[own] + scene.hall[there] - picture[there])
            truth[there] = part.truth[own]
    picture *= scene.gain
    if scene.look.motion_px > 1:  # the belt moves from left to right while the shutter is open
        picture = cv2.blur(picture, (scene.look.motion_px, 1))
    if scene.look.blur_px > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), scene.look.blur_px)
    noise = scene.noise[number % len(scene.noise)]
    # another corner of the bank for each frame: wrapped around, so that no frame repeats another's noise
    picture += np.roll(noise, (number * 37 % height, number * 101 % width), (0, 1))
    return np.clip(picture, 0, 255).astype(np.uint8), truth


class RenderedLine:
    """The endless line of one seed: `frame(index)` gives pixels uint8 [H, W, 3] (BGR) and truth uint8 [H, W]."""

    def __init__(self, settings: SimulatedLineSettings) -> None:
        self.settings = settings
        generator = np.random.default_rng([settings.seed, 0])
        self._scene = make_scene(settings.height, settings.width, USUAL, generator)
        self._part: Callable[[int], Part] = lru_cache(maxsize=3)(self._make_part)
        self._length_px = int(USUAL.part_length * settings.height)
        # parts follow each other with a gap of more than half a frame
        self._step_px = max(1, round((self._length_px + 0.6 * settings.width) / settings.frames_per_part))

    def _make_part(self, number: int) -> Part:
        s = self.settings
        generator = np.random.default_rng([s.seed, 1, number])
        return make_part(s.height, USUAL, self._defects(number, generator), generator)

    def _defects(self, number: int, generator: np.random.Generator) -> dict[int, int]:
        """Decide what is wrong with a part; good and bad ones alternate so as to keep the share."""
        share = self.settings.defective_share
        if int((number + 1) * share + 1e-9) == int(number * share + 1e-9):
            return {}
        kind = int(generator.choice([SCRATCH, STAIN, CHIP], p=[0.6, 0.25, 0.15]))
        extra = int(generator.choice([SCRATCH, STAIN, CHIP]))
        return {
            kind: int(generator.integers(1, 4)),
            **({extra: 1} if extra != kind and generator.random() < 0.3 else {}),
        }

    def frame(self, index: int) -> tuple[UInt8, UInt8]:
        """Draw frame `index` (from 0)."""
        s = self.settings
        moved = index * self._step_px
        pitch = s.frames_per_part * self._step_px
        parts = []
        for number in range(max(0, (moved - self._length_px - s.width) // pitch), moved // pitch + 1):
            part = self._part(number)
            wobble = int(np.random.default_rng([s.seed, 2, number]).integers(-8, 9))
            x, y = moved - number * pitch - self._length_px, (s.height - part.truth.shape[0]) // 2 + wobble
            parts.append((part, x, y))
        grey, truth = compose(self._scene, parts, moved, index)
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), truth


def varied_picture(height: int, width: int, generator: np.random.Generator) -> tuple[UInt8, UInt8]:
    """Draw one picture to train on: any look, any part, any place; about a third come out clean.

    Returns uint8 [H, W] pixels and uint8 [H, W] truth.
    """
    look = random_look(generator)
    defects: dict[int, int] = {}
    if generator.random() > 0.15:
        for class_id, share in ((SCRATCH, 0.65), (STAIN, 0.5), (CHIP, 0.5)):
            if generator.random() < share:
                # as many in sight where the part is larger than the picture
                crowd = max(1.0, look.part_length * look.part_width * height / width)
                defects[class_id] = round(crowd * generator.integers(1, 4))
    scene = make_scene(height, width, look, generator)
    part = make_part(height, look, defects, generator, varied=True)
    h, w = part.truth.shape
    turned = generator.random() < 0.5
    if turned:
        part = Part(np.rot90(part.pixels), np.rot90(part.glass), np.rot90(part.truth))
        h, w = w, h
    x = int(generator.integers(min(-w // 3, width - w), max(width - 2 * w // 3, 1)))
    y = int(generator.integers(min(-h // 3, height - h), max(height - 2 * h // 3, 1)))
    return compose(scene, [(part, x, y)], int(generator.integers(width)), int(generator.integers(1000)))
