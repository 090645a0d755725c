"""Defects of known size, contrast, orientation and place, added to a finished picture: straight lines and round spots.

Their edges are smoothed over one pixel, so that a size need not be whole. The truth is where opacity is 0.35 or more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.records import Float32, UInt8
from edge.simulation.defects import VISIBLE

MarkShape = Literal["line", "spot"]


@dataclass(frozen=True)
class Mark:
    """One defect around (`x`, `y`), px of the picture. `contrast`: grey levels by which it lightens, below 0 darkens.

    A `line` is `size_px` long and `width_px` wide at `angle_deg`: 0 = along a row, 90 = along a column, and it goes
    down to the right between them. A `spot` has the diameter `size_px`, and neither width nor angle.
    """

    shape: MarkShape
    x: float
    y: float
    size_px: float
    contrast: float
    width_px: float = 2.0
    angle_deg: float = 0.0

    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the two ends (x, y) of a line; of a spot its left and right border."""
        angle = math.radians(self.angle_deg) if self.shape == "line" else 0.0
        dx, dy = math.cos(angle) * self.size_px / 2, math.sin(angle) * self.size_px / 2
        return (self.x - dx, self.y - dy), (self.x + dx, self.y + dy)


def add_mark(pixels: UInt8, mark: Mark, within: UInt8 | None = None) -> tuple[UInt8, UInt8]:
    """Return a picture, uint8 [H, W] or [H, W, C], with the mark on it.

    Its truth is uint8 [H, W] 0/1. `within`: uint8 [H, W], 0 where nothing may be drawn. The argument is left as it was.
    """
    height, width = pixels.shape[:2]
    reach = mark.size_px / 2 + mark.width_px + 2
    top, left = max(0, math.floor(mark.y - reach)), max(0, math.floor(mark.x - reach))
    there = np.s_[top : min(height, math.ceil(mark.y + reach) + 1), left : min(width, math.ceil(mark.x + reach) + 1)]
    drawn, truth = pixels.copy(), np.zeros((height, width), np.uint8)
    own = drawn[there]
    if own.size == 0:
        return drawn, truth
    opacity = _opacity(mark, top, left, (own.shape[0], own.shape[1]))
    if within is not None:
        opacity *= within[there] > 0
    truth[there] = opacity >= VISIBLE
    added = opacity * np.float32(mark.contrast)
    brighter = own + (added if own.ndim == 2 else added[:, :, None])
    drawn[there] = np.clip(np.rint(brighter), 0, 255).astype(np.uint8)
    return drawn, truth


def _opacity(mark: Mark, top: int, left: int, size: tuple[int, int]) -> Float32:
    """Return how much of each pixel of a box the mark covers, float32 [h, w], 0-1; the box's corner is (left, top)."""
    ys = np.arange(top, top + size[0], dtype=np.float32)[:, None] - np.float32(mark.y)
    xs = np.arange(left, left + size[1], dtype=np.float32)[None, :] - np.float32(mark.x)
    if mark.shape == "spot":
        return _covered(np.hypot(xs, ys), mark.size_px)
    angle = math.radians(mark.angle_deg)
    along, across = xs * math.cos(angle) + ys * math.sin(angle), ys * math.cos(angle) - xs * math.sin(angle)
    return _covered(np.abs(along), mark.size_px) * _covered(np.abs(across), mark.width_px)


def _covered(from_middle: Float32, size_px: float) -> Float32:
    """Return how much of a pixel lies within half of `size_px` of a middle; a smaller one covers that share."""
    covered: Float32 = np.clip(size_px / 2 + 0.5 - from_middle, 0, min(1.0, size_px)).astype(np.float32)
    return covered
