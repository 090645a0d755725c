"""The defects to draw: sizes spread evenly over their logarithm, in twelve orientations and nine ninths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.records import UInt8
from edge.simulation.known_marks import Mark, MarkShape

ORIENTATIONS = tuple(range(0, 180, 15))  # degrees: 0 = along a row of the picture, 90 = along a column
NINTHS = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
# The names of classes that a line or a spot stands for.
_LINES = frozenset({"scratch", "scratches", "crack", "cracks", "hairline", "line", "anomaly"})
_SPOTS = frozenset({"stain", "stains", "spot", "spots", "oil", "pit", "pitting", "pore", "pores", "blowhole", "speck"})


@dataclass(frozen=True)
class Asked:
    """The plan of drawing. `sizes_px`, `width_px`: px of the camera's frame; None = as the model's preparing shrinks.

    `contrasts`: grey levels, the first is what the curves by orientation and by ninth are of; `dark`: they darken.
    `each`: defects of that contrast in each orientation and ninth; the others get a fifth. `parts`: clean parts.
    """

    contrasts: tuple[float, ...] = (40.0, 20.0, 10.0)
    dark: bool = False
    sizes_px: tuple[float, float] | None = None
    width_px: float | None = None
    each: int = 20
    parts: int = 60
    seed: int = 0


@dataclass(frozen=True)
class Draw:
    """One defect to draw, wherever in its ninth there is room. `orientation`: degrees; None for a spot."""

    class_name: str
    shape: MarkShape
    size_px: float
    contrast: float
    orientation: int | None
    ninth: int


def shape_of(class_name: str) -> MarkShape | None:
    """Tell by its name what stands for a class; None where the name does not say."""
    name = class_name.lower()
    return "line" if name in _LINES else "spot" if name in _SPOTS else None


def plan_draws(class_name: str, shape: MarkShape, asked: Asked, sizes_px: tuple[float, float]) -> list[Draw]:
    """List the defects of one class, in an order in which any stretch holds all kinds. `sizes_px`: least and largest.

    Sizes of one orientation and ninth are spread evenly, one by luck in each equal step of their logarithm.
    """
    g = np.random.default_rng([asked.seed, len(class_name), *class_name.encode()])
    draws: list[Draw] = []
    orientations: Sequence[int | None] = ORIENTATIONS if shape == "line" else [None]
    for place, contrast in enumerate(asked.contrasts):
        some = asked.each if place == 0 else max(1, asked.each // 5)
        count = some if shape == "line" else 3 * some  # a spot has one orientation, so its ninths get more each
        for orientation in orientations:
            for ninth in range(len(NINTHS)):
                steps = (np.arange(count) + g.random(count)) / count
                sizes = np.exp(np.log(sizes_px[0]) + steps * math.log(sizes_px[1] / sizes_px[0]))
                signed = -contrast if asked.dark else contrast
                draws += [Draw(class_name, shape, float(size), signed, orientation, ninth) for size in sizes]
    order = g.permutation(len(draws))
    return [draws[place] for place in order]


def placed(draw: Draw, within: UInt8, width_px: float, g: np.random.Generator) -> Mark | None:
    """Find a place for a defect where `within`, uint8 [H, W], is set at its middle and both ends; None without room.

    Its ninth is that of the box around `within`, and its middle lies there.
    """
    rows, columns = np.flatnonzero(within.any(axis=1)), np.flatnonzero(within.any(axis=0))
    if not len(rows):
        return None
    own = np.s_[_third(rows, draw.ninth // 3), _third(columns, draw.ninth % 3)]
    ys, xs = np.nonzero(within[own])
    ys, xs = ys + own[0].start, xs + own[1].start
    mark = Mark(draw.shape, 0.0, 0.0, draw.size_px, draw.contrast, width_px, float(draw.orientation or 0))
    tips = [*mark.ends(), *([(0.0, -draw.size_px / 2), (0.0, draw.size_px / 2)] if draw.shape == "spot" else [])]
    free = np.ones(len(ys), np.bool_)
    for dx, dy in tips:
        y, x = np.rint(ys + dy).astype(int), np.rint(xs + dx).astype(int)
        inside = (y >= 0) & (y < within.shape[0]) & (x >= 0) & (x < within.shape[1])
        free &= inside
        free[inside] &= within[y[inside], x[inside]] > 0
    places = np.flatnonzero(free)
    if not len(places):
        return None
    place = places[g.integers(len(places))]
    x, y = xs[place] + g.uniform(-0.5, 0.5), ys[place] + g.uniform(-0.5, 0.5)
    return Mark(draw.shape, float(x), float(y), draw.size_px, draw.contrast, width_px, mark.angle_deg)


def _third(places: np.ndarray[tuple[int, ...], np.dtype[np.intp]], third: int) -> slice:
    """Return the `third` (0-2) of a stretch from its first to its last place."""
    first, length = int(places[0]), int(places[-1]) + 1 - int(places[0])
    return slice(first + length * third // 3, first + length * (third + 1) // 3)


def ninth_of(x: float, y: float, size: tuple[int, int]) -> int:
    """Tell in which ninth of a picture of `size`, (H, W), a place lies."""
    row, column = (min(2, max(0, int(3 * at / side))) for at, side in ((y, size[0]), (x, size[1])))
    return 3 * row + column


def orientation_of(angle_deg: float) -> int:
    """Return the nearest of `ORIENTATIONS` to an angle of any number of degrees."""
    return ORIENTATIONS[round(angle_deg % 180 / 15) % len(ORIENTATIONS)]
