"""The shape of a region or a zone: a rectangle, a polygon or an ellipse, on the frame or on the part. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from edge.records import Float64
from edge.yaml_settings import StrictModel

CORNERS_AT_MOST = 500
# An ellipse becomes so many corners; their polygon lacks 0.04 % of its area.
_ELLIPSE_CORNERS = 128
# The rounding by which a share may exceed 0 or 1.
_ROUNDING = 1e-6

Number = Annotated[float, Field(allow_inf_nan=False)]
Corners = tuple[tuple[float, float], ...]
Place = Literal["frame", "part", "part_mm"]


class RegionSettings(StrictModel):
    """The inspected part of the frame, in its pixels: a rectangle [x, y, width, height] or a polygon of [x, y]."""

    rectangle: tuple[Number, Number, Number, Number] | None = None
    polygon: Annotated[tuple[tuple[Number, Number], ...], Field(min_length=3, max_length=CORNERS_AT_MOST)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> RegionSettings:
        if type(self) is RegionSettings and (self.rectangle is None) == (self.polygon is None):
            raise ValueError("expected either a rectangle [x, y, width, height] or a polygon [[x, y], …]")
        if self.rectangle is not None and min(self.rectangle[2:]) <= 0:
            raise ValueError(f"expected a rectangle with a width and height above 0, received {list(self.rectangle)}")
        if self.polygon is not None and (problem := problem_of(self.polygon)):
            raise ValueError(problem)
        return self

    @property
    def corners(self) -> Corners:
        """The outline as corners (x, y), in pixels of the frame or what else the shape is in."""
        if self.polygon is not None:
            return self.polygon
        assert self.rectangle is not None  # noqa: S101 - the validator saw to it
        x, y, w, h = self.rectangle
        return ((x, y), (x + w, y), (x + w, y + h), (x, y + h))


class ShapeSettings(RegionSettings):
    """The shape of a zone: one of a rectangle, a polygon, or an ellipse [x, y, half its width, half its height].

    `on`: `frame`, in its pixels; `part`, as shares 0-1 of the part's box; `part_mm`, in mm from its top left corner.
    Zones on the part move and turn with it.
    """

    ellipse: tuple[Number, Number, Number, Number] | None = None
    on: Place = "frame"

    @model_validator(mode="after")
    def _one_of_three(self) -> ShapeSettings:
        given = [name for name in ("rectangle", "polygon", "ellipse") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "expected one of rectangle [x, y, width, height], polygon [[x, y], …] and ellipse [x, y, half the "
                f"width, half the height]; received {' and '.join(given) or 'none'}"
            )
        if self.ellipse is not None and min(self.ellipse[2:]) <= 0:
            raise ValueError(f"expected an ellipse with half axes above 0, received {list(self.ellipse)}")
        points = np.array(self.corners)
        if (points < -_ROUNDING).any():
            where = "frame" if self.on == "frame" else "part"
            raise ValueError(f"expected a shape within the {where}, from 0 on; it reaches to {points.min():g}")
        if self.on == "part" and (points > 1 + _ROUNDING).any():
            raise ValueError(
                f"expected shares of the part's box, 0-1, for on: part; it reaches to {points.max():g}. "
                "Set on: part_mm for millimetres"
            )
        return self

    @property
    def corners(self) -> Corners:
        """The outline as corners (x, y), in the unit that `on` says."""
        if self.ellipse is None:
            return super().corners
        x, y, a, b = self.ellipse
        turns = (2 * math.pi * index / _ELLIPSE_CORNERS for index in range(_ELLIPSE_CORNERS))
        return tuple((x + a * math.cos(turn), y + b * math.sin(turn)) for turn in turns)


def problem_of(polygon: Sequence[tuple[float, float]]) -> str:
    """Say why a polygon encloses no one area, or nothing: corners twice, sides that cross or touch, no area."""
    points = np.array(polygon, np.float64)
    if len({tuple(point) for point in polygon}) < len(polygon):
        twice = next(point for index, point in enumerate(polygon) if point in polygon[:index])
        return f"expected corners that differ, received {list(twice)} twice; a polygon closes itself"
    if (crossing := _crossing(points)) is not None:
        first, second = crossing
        return (
            f"expected a polygon that does not cross itself; the side from corner {first + 1} meets that from corner "
            f"{second + 1}"
        )
    x, y = points.T
    if abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) <= 1e-12 * float(np.ptp(points) ** 2):
        return "expected a polygon with an area, received corners in a row"
    return ""


def _crossing(points: Float64) -> tuple[int, int] | None:
    """Return two sides of a polygon, float64 [N, 2], that meet elsewhere than in a common corner; None = none do."""
    count, ends = len(points), np.roll(points, -1, axis=0)
    along = ends - points
    # on which side of each side (row) each corner (column) lies
    starts_at = np.sign(_cross(along[:, None], points[None] - points[:, None]))
    ends_at = np.sign(_cross(along[:, None], ends[None] - points[:, None]))
    apart = starts_at * ends_at > 0
    low, high = np.minimum(points, ends), np.maximum(points, ends)
    boxes = ((low[:, None] <= high[None]) & (low[None] <= high[:, None])).all(axis=2)
    meets = ~apart & ~apart.T & boxes
    index = np.arange(count)
    distance = (index[None] - index[:, None]) % count
    neighbours = (distance <= 1) | (distance == count - 1)
    # a side that comes back upon the one before it
    back = (_cross(along, np.roll(along, -1, axis=0)) == 0) & ((along * np.roll(along, -1, axis=0)).sum(axis=1) < 0)
    if back.any():
        at = int(np.flatnonzero(back)[0])
        return at, (at + 1) % count
    found = np.argwhere(meets & ~neighbours)
    return (int(found[0][0]), int(found[0][1])) if len(found) else None


def _cross(a: Float64, b: Float64) -> Float64:
    crossed: Float64 = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return crossed
