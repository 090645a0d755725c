"""Lamp light on real phones that nobody rejects, drawn so that scratches can be told from it.

Here are broken-off light along the edge, a rim's dim double, mirrored cables and boxes, wiping streaks, and lint. Each
is a line or has one. It differs from a scratch by where it lies, how soft it is, or what it belongs to.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from edge.opencv import cv2
from edge.records import Float32, UInt8
from edge.simulation.scenes import SimulatedPart, grid, inset

_SHADOW_PX = 5.0  # of 480: how far the belt beside a phone lies in its shadow


def draw_mirrored(
    pixels: Float32, outline: Float32, unit: float, g: np.random.Generator, *, far_lights: float = 0.0
) -> None:
    """Draw some of it onto a part, float32 [h, w] of pixels and of the part's opacity. `unit`: px per 1/480 of a frame.

    Lights of the edge lie at most 5 units inside it. `far_lights`: a share of them, 0-1, that lies up to 11 units
    inside. A mark further inside is below 20 grey levels or shorter. Or it is broader and softer than a scratch, or a
    closed shape.
    """
    for draw, share in (
        (partial(_edge_lights, far=far_lights), 0.9),
        (_inner_rim, 0.4),
        (_cables, 0.5),
        (_box, 0.4),
        (_wiped, 0.45),
        (_keys, 0.25),
        (_bars, 0.5),
        (_lint, 0.5),
    ):
        if g.random() < share:
            draw(pixels, outline, unit, g)


def with_shadow(part: SimulatedPart, unit: float, g: np.random.Generator) -> SimulatedPart:
    """Darken the belt around a part, as the gap and the shadow beside a phone do."""
    pad = round(_SHADOW_PX * unit) + 2
    pixels: Float32 = np.pad(part.pixels, pad)
    glass: Float32 = np.pad(part.glass, pad)
    truth: UInt8 = np.pad(part.truth, pad)
    reach = 2 * round(g.uniform(1, _SHADOW_PX) * unit) + 1
    ring = cv2.GaussianBlur(cv2.dilate(glass, np.ones((reach, reach), np.uint8)), (0, 0), 0.8 * unit)
    shadow = (1 - glass) * ring * np.float32(g.uniform(0.15, 0.7))
    opacity = glass + shadow
    mixed = (glass * pixels + shadow * np.float32(g.uniform(0, 20))) / np.maximum(opacity, np.float32(1e-3))
    inner = None if part.inner is None else np.pad(part.inner, pad)
    return SimulatedPart(mixed.astype(np.float32), opacity.astype(np.float32), truth, inner)


def _edge_of(outline: Float32, margin_px: int) -> npt.NDArray[np.int32]:
    """Return the points (x, y) along the part's edge, int32 [N, 2], `margin_px` inside it."""
    contours, _ = cv2.findContours(inset(outline, margin_px), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edge: npt.NDArray[np.int32] = max(contours, key=len).reshape(-1, 2).astype(np.int32)
    return edge


def _stroke(pixels: Float32, points: npt.NDArray[np.float64], width: float, softness: float, strength: float) -> None:
    """Add a line along points (x, y), `width` px wide: at twice the size, so that half pixels count."""
    low = np.maximum(np.floor(points.min(axis=0) - width - 3 * softness - 2).astype(int), 0)
    high = np.ceil(points.max(axis=0) + width + 3 * softness + 3).astype(int)
    there = pixels[low[1] : high[1], low[0] : high[0]]
    if there.size == 0:
        return
    large = np.zeros((2 * there.shape[0], 2 * there.shape[1]), np.uint8)
    line = np.round((points - low) * 2 * 16).astype(np.int32)
    cv2.polylines(large, [line], False, 255, max(1, round(2 * width)), cv2.LINE_AA, 4)
    drawn = cv2.resize(large, there.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    if softness > 0:
        drawn = cv2.GaussianBlur(drawn, (0, 0), softness)
    there += drawn * np.float32(strength)


def _edge_lights(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator, *, far: float) -> None:
    """Light up pieces of the very edge: bright, even and straight along the sides, broken off sharply or fading."""
    for _ in range(g.integers(1, 6)):
        edge = _edge_of(outline, round(g.uniform(0, 9 if g.random() < far else 3) * unit))
        count = max(3, int(np.exp(g.uniform(np.log(0.01), np.log(0.5))) * len(edge)))
        piece = np.roll(edge, -int(g.integers(len(edge))), axis=0)[:count].astype(np.float64)
        strength, width = np.exp(g.uniform(np.log(25), np.log(230))), g.uniform(0.7, 2.2) * unit
        if g.random() < 0.5:
            _stroke(pixels, piece, width, g.uniform(0, 0.6) * unit, strength)
            continue
        for k, part in enumerate(np.array_split(piece, 6)):  # it fades towards its ends
            if len(part) > 1:
                _stroke(pixels, part, width, 0.4 * unit, strength * (1 - abs(k - 2.5) / 4))


def _inner_rim(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator) -> None:
    """Draw the bevel's second line, dimmer than the edge and parallel to it, along some of the way."""
    edge = _edge_of(outline, round(g.uniform(2, 5) * unit))
    count = int(g.uniform(0.1, 1) * len(edge))
    piece = np.roll(edge, -int(g.integers(len(edge))), axis=0)[: max(3, count)].astype(np.float64)
    _stroke(pixels, piece, g.uniform(0.7, 1.8) * unit, g.uniform(0.2, 0.8) * unit, g.uniform(8, 60))


def _cables(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator) -> None:
    """Mirror one or two cables of the hall: dim, soft curves that come in over the edge."""
    h, w = outline.shape
    for _ in range(g.integers(1, 3)):
        start = np.array([g.uniform(0, w), g.choice([0.0, float(h)])])
        middle, end = (np.array([g.uniform(0, w), g.uniform(0, h)]) for _ in range(2))
        t = np.linspace(0, 1, 30)[:, None]
        points = (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end
        _stroke(
            pixels, points, g.uniform(2, 9) * unit, g.uniform(0.9, 2) * unit, g.uniform(4, 16) * g.choice([1, -0.5])
        )


def _box(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator) -> None:
    """Mirror a dark box, such as the camera above, with a lighter stem to the nearer edge."""
    h, w = outline.shape
    half = g.uniform(20, 50, 2) * unit
    x, y = g.uniform(0.15, 0.85) * w, g.uniform(0.25, 0.75) * h
    shade = np.zeros_like(pixels)
    corner, other = (tuple(int(v) for v in (x + s * half[0], y + s * half[1])) for s in (-1, 1))
    cv2.rectangle(shade, corner, other, -g.uniform(0.1, 0.5), -1)
    if g.random() < 0.7:
        stem = g.uniform(4, 12) * unit
        cv2.rectangle(shade, (int(x - stem), 0), (int(x + stem), corner[1]), float(g.uniform(-0.3, 0.5)), -1)
    shade = cv2.GaussianBlur(shade, (0, 0), g.uniform(0.7, 3) * unit)
    pixels += shade * np.minimum(pixels, 40)


def _wiped(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator) -> None:
    """Leave streaks of wiping: faint, nearly parallel lines, often along a side of the part, fading at their ends."""
    h, w = outline.shape
    ys, xs = grid(h, w)
    lean = g.choice([0.0, np.pi / 2, g.uniform(0, np.pi)], p=[0.35, 0.4, 0.25])
    for _ in range(g.integers(1, 14)):
        angle = lean + g.normal(0, 0.03)
        middle = g.uniform(-1, 1, 2)
        along = (xs - middle[0]) * np.cos(angle) * w / 2 + (ys - middle[1]) * np.sin(angle) * h / 2
        across = (ys - middle[1]) * np.cos(angle) * h / 2 - (xs - middle[0]) * np.sin(angle) * w / 2
        width, length = np.exp(g.uniform(np.log(1.0), np.log(8.0))) * unit, g.uniform(20, 220) * unit
        pixels += np.exp(-((across / width) ** 2) - (along / length) ** 4) * np.float32(g.uniform(1.5, 9))


def _keys(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator) -> None:
    """Mirror a panel of keys or a window near a short end: closed light boxes, some with brighter borders."""
    h, w = outline.shape
    wide, high = g.uniform(10, 30) * unit, g.uniform(20, 110) * unit
    x = g.choice([g.uniform(0, 0.08) * w, w - wide - g.uniform(0, 0.08) * w])
    y = g.uniform(0, max(1.0, h - high))
    drawn, rows = np.zeros_like(pixels), int(g.integers(1, 7))
    border = g.uniform(0, 30) if g.random() < 0.7 else 0.0
    for row in range(rows):
        top = y + row * high / rows
        ends = (int(x), int(top)), (int(x + wide), int(top + g.uniform(0.5, 0.95) * high / rows))
        cv2.rectangle(drawn, *ends, float(g.uniform(2, 14)), -1)
        if border:
            cv2.rectangle(drawn, *ends, float(border), max(1, round(g.uniform(0.7, 2) * unit)))
    pixels += cv2.GaussianBlur(drawn, (0, 0), g.uniform(0.5, 1.5) * unit)


def _bars(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator) -> None:
    """Mirror what stands beside the lamp: soft, straight, dim bars, some with a broad bright foot or a comb."""
    h, w = outline.shape
    lean = g.choice([0.0, np.pi / 2, g.uniform(0, np.pi)], p=[0.35, 0.45, 0.2]) + g.normal(0, 0.02)
    towards = np.array([np.cos(lean), np.sin(lean)])
    aside = np.array([-towards[1], towards[0]])
    for _ in range(g.integers(1, 4)):
        middle, half = np.array([g.uniform(0, w), g.uniform(0, h)]), g.uniform(10, 120) * unit
        ends = middle + np.array([-half * towards, half * towards])
        _stroke(pixels, ends, g.uniform(2.5, 9) * unit, g.uniform(0.9, 2.5) * unit, g.uniform(4, 18))
        if g.random() < 0.5:
            foot = ends[1] + np.array([np.zeros(2), g.uniform(8, 30) * unit * aside])
            _stroke(pixels, foot, g.uniform(6, 12) * unit, g.uniform(1.5, 2.5) * unit, g.uniform(8, 60))
        if g.random() < 0.5:
            for _ in range(g.integers(3, 14)):
                start = middle + g.uniform(-1, 1) * half * towards + g.uniform(2, 25) * unit * aside
                line = start + np.array([np.zeros(2), g.uniform(5, 30) * unit * aside])
                _stroke(pixels, line, g.uniform(0.8, 2) * unit, g.uniform(0.6, 1.2) * unit, g.uniform(2, 14))


def _lint(pixels: Float32, outline: Float32, unit: float, g: np.random.Generator) -> None:
    """Strew specks and short bent fibres, at most 7 units long, in clusters."""
    h, w = outline.shape
    for _ in range(g.integers(1, 5)):
        middle, spread = np.array([g.uniform(0, w), g.uniform(0, h)]), g.uniform(10, 120) * unit
        for _ in range(g.integers(5, 60)):
            x, y = g.normal(middle, spread)
            if not (0 <= x < w and 0 <= y < h) or outline[int(y), int(x)] < 0.5:
                continue
            reach, angle = g.uniform(0.2, 3.5) * unit, g.uniform(0, 2 * np.pi)
            a = np.array([np.cos(angle), np.sin(angle)]) * reach
            bend = np.array([-a[1], a[0]]) * g.uniform(-0.7, 0.7)
            points = np.array([x, y]) + np.array([-a, bend, a])
            _stroke(pixels, points, g.uniform(0.5, 1.2) * unit, 0.3 * unit, np.exp(g.uniform(np.log(6), np.log(70))))
