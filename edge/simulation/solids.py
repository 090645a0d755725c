"""Parts other than phone glass from above: a turned metal disc, mid-grey, and a pale ceramic tile.

On the disc scratches shine and oil darkens. On the tile both are dark, and a chip bares the dark body.
"""

from __future__ import annotations

import numpy as np

from edge.opencv import cv2
from edge.records import Float32, UInt8
from edge.simulation.defects import (
    CHIP,
    SCRATCH,
    STAIN,
    Facets,
    Stroke,
    a_place,
    a_straight_stroke,
    break_off,
    scratch,
    stain,
)
from edge.simulation.glass import draw_innocent_marks
from edge.simulation.scenes import SimulatedPart, grid, inset

OF_METAL = Facets(light=(185, 250), dark=(5, 40), dark_below=255)
OF_CERAMIC = Facets(light=(110, 135), dark=(25, 85), dark_below=0)
_RIM_UNITS = 12  # units; a line along the rim is no scratch, so scratches keep their distance from it


def make_disc(
    size_px: int, unit: float, defects: dict[int, int], generator: np.random.Generator, *, varied: bool = False
) -> SimulatedPart:
    """Draw a turned disc of `size_px` across with `defects` ({class id: how many}); `unit`: px in 1/480 of the frame.

    `varied` draws tones from a wider range, and scratches at all angles that are straight.
    """
    g = generator
    ys, xs = grid(size_px, size_px)
    radius = np.sqrt(xs**2 + ys**2)
    outline = _smooth(radius < 1 - 2 / size_px)
    tone = g.uniform(75, 145) if varied else g.uniform(95, 118)
    turned = np.convolve(g.normal(0, 1, 400), np.ones(3) / 3, "same") * g.uniform(3, 7 if varied else 5)
    pixels = (tone + np.interp(radius, np.linspace(0, 1.5, 400), turned)).astype(np.float32)
    # the lamp shines in the turned grooves, in two fans across each other's way
    fan = np.cos(np.arctan2(ys, xs) - g.uniform(0, np.pi)) ** 2
    pixels += fan ** g.uniform(4, 14) * g.uniform(8, 40 if varied else 24)
    bore = g.uniform(0.1, 0.22) if varied else 0.15
    rings = [*(g.uniform(0.3, 0.9, int(g.integers(0, 3))) if varied else [0.8]), bore + 0.03]
    for ring in rings:  # steps of the turning, light on their edge
        pixels += np.exp(-(((radius - ring) * size_px / 2 / (1.2 * unit)) ** 2)) * g.uniform(15, 45)
    pixels += (radius > 1 - 7 * unit / size_px) * g.uniform(-35, 40)  # the chamfer
    pixels[radius < bore] = g.uniform(10, 30)
    solid = (outline > 0.5).astype(np.uint8)
    free: UInt8 = ((radius > bore + 12 * unit / size_px * 2) & (radius < 1 - _RIM_UNITS * 2 * unit / size_px)).astype(
        np.uint8
    )
    dust = int(g.integers(0, 25)) if varied else 6
    draw_innocent_marks(pixels, outline, unit, dust, g)
    part = SimulatedPart(pixels, outline, np.zeros(pixels.shape, np.uint8))
    _spoil(part, unit, defects, g, solid=solid, free=free, light=True, straight=0.5 if varied else 0.25)
    return part


def make_tile(
    size_px: tuple[int, int],
    unit: float,
    defects: dict[int, int],
    generator: np.random.Generator,
    *,
    varied: bool = False,
) -> SimulatedPart:
    """Draw a glazed tile of `size_px` (height, width) with its corners cut off; else as for a disc."""
    g = generator
    h, w = size_px
    cut = round((g.uniform(0.05, 0.2) if varied else 0.12) * h)
    corners = np.array(
        [(cut, 1), (w - cut, 1), (w - 2, cut), (w - 2, h - cut), (w - cut, h - 2), (cut, h - 2), (1, h - cut), (1, cut)]
    )
    mask = np.zeros((h, w), np.uint8)
    cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
    outline = _smooth(mask > 0)
    tone = g.uniform(135, 205) if varied else g.uniform(165, 188)
    cloud = cv2.resize(g.normal(0, 1, (6, 7)).astype(np.float32), (w, h), interpolation=cv2.INTER_CUBIC)
    pixels: Float32 = tone + cloud * g.uniform(1, 7 if varied else 4)
    pixels += cv2.GaussianBlur(g.normal(0, 1, (h, w)).astype(np.float32), (0, 0), 1.0) * g.uniform(1, 5)
    bevel = inset(outline, round((g.uniform(4, 12) if varied else 7) * unit))
    pixels[bevel == 0] += g.uniform(-45, 25) if varied else g.uniform(-28, -14)
    for _ in range(int(g.integers(0, 60 if varied else 25))):  # pores of the glaze: too small to count
        x, y = a_place(bevel, g)
        cv2.circle(pixels, (int(x), int(y)), round(g.uniform(0, 1.2) * unit), tone - g.uniform(15, 70), -1)
    free = inset(outline, round((7 + _RIM_UNITS) * unit))
    part = SimulatedPart(pixels, outline, np.zeros((h, w), np.uint8))
    _spoil(part, unit, defects, g, solid=mask, free=free, light=False, straight=0.5 if varied else 0.25)
    return part


def _smooth(solid: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Float32:
    smooth: Float32 = cv2.GaussianBlur(solid.astype(np.float32), (0, 0), 0.7)
    return smooth


def _spoil(
    part: SimulatedPart,
    unit: float,
    defects: dict[int, int],
    g: np.random.Generator,
    *,
    solid: UInt8,
    free: UInt8,
    light: bool,
    straight: float,
) -> None:
    """Draw the defects: scratches and stains where the part is `free`, chips at its edge but for the near side."""
    for _ in range(defects.get(STAIN, 0)):
        stain(part.pixels, part.truth, free, unit, g, dark=True)
    for _ in range(defects.get(SCRATCH, 0)):
        scratch(part.pixels, part.truth, free, unit, g, stroke=a_stroke(free, unit, g, light=light, straight=straight))
    h, w = part.truth.shape
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    edge = max(contours, key=len).reshape(-1, 2)
    edge = edge[edge[:, 1] < 0.6 * h]
    for _ in range(defects.get(CHIP, 0)):
        x, y = (float(v) for v in edge[g.integers(len(edge))])
        break_off(
            part.pixels,
            part.truth,
            solid,
            (x, y),
            g,
            inwards=(w / 2 - x, h / 2 - y),
            radius=g.uniform(12, 18) * unit,
            tones=OF_METAL if light else OF_CERAMIC,
        )


def a_stroke(free: UInt8, unit: float, g: np.random.Generator, *, light: bool, straight: float) -> Stroke:
    """Draw the course of a scratch that shines (`light`) or is dark; `straight`: the share that is straight."""
    sign = 1 if light else -0.75
    if g.random() < straight:
        stroke = a_straight_stroke(free, unit, g)
        return Stroke(
            stroke.x, stroke.y, stroke.length, stroke.angle, stroke.bend, sign * min(stroke.strength or 0, 140)
        )
    x, y = a_place(free, g)
    return Stroke(x, y, g.uniform(30, 170) * unit, g.uniform(0, np.pi), g.uniform(-0.6, 0.6), sign * g.uniform(45, 140))
