"""From pixels of the camera's picture to millimetres on the part's surface: the one seam between camera and ruler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge.records import Float64


class Scale(Protocol):
    """The place of the original picture's points on the plane of the part's surface, in mm.

    Points are (x, y) in pixels as in `Transform`: they count corners, so pixel (row, column) has its centre at
    (column + 0.5, row + 0.5).
    """

    @property
    def residual_mm(self) -> float:
        """The standard uncertainty (k = 1) that the calibration adds to a length on the surface, mm."""
        ...

    def points_mm(self, points_px: Float64) -> Float64:
        """Return the plane's points, float64 [N, 2] in mm, of the picture's points, float64 [N, 2] in px."""
        ...

    def mm_per_px_at(self, point_px: Float64) -> float:
        """Return the side, in mm, of the pixel at float64 [2] in px: the root of the area it covers on the surface."""
        ...

    def unsure_at(self, points_px: Float64) -> Float64:
        """Return a length's standard uncertainty by the lens at the points, float64 [N, 2] px, as shares of it [N]."""
        ...


@dataclass(frozen=True)
class UniformScale:
    """Every pixel has one size, `mm_per_px`: a lens without distortion that looks straight down. A `Scale`."""

    mm_per_px: float
    residual_mm: float = 0.0

    def points_mm(self, points_px: Float64) -> Float64:
        """Return float64 [N, 2] points in px as points in mm from the picture's corner."""
        return points_px * self.mm_per_px

    def mm_per_px_at(self, point_px: Float64) -> float:  # noqa: ARG002 - the same everywhere
        """Return the one size."""
        return self.mm_per_px

    def unsure_at(self, points_px: Float64) -> Float64:
        """Return none: nothing bends."""
        return np.zeros(len(points_px))
