"""From a shape that was found to the part's box, whose coordinates zones are given in. Pure."""

from __future__ import annotations

import math

import numpy as np

from edge.preparing.locating import Circle, Outline, Rectangle
from edge.records import Float64, PartBox, Transform

_CIRCLE_CORNERS = 180
_SQUARE: Float64 = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def rectangle_box(found: Rectangle, to_frame: Transform | None = None) -> PartBox:
    """Return the box of a rectangle that fills it. `to_frame`: from the pixels in which it was found to the frame."""
    shares = _box(found).then(to_frame or Transform.identity())
    return PartBox(shares, shares.apply(_SQUARE))


def circle_box(found: Circle, to_frame: Transform | None = None) -> PartBox:
    """Return the square around a circle, upright, with the circle as its outline."""
    square = Rectangle(found.x, found.y, 2 * found.radius, 2 * found.radius, 0.0)
    shares = _box(square).then(to_frame or Transform.identity())
    turns = np.arange(_CIRCLE_CORNERS) * 2 * math.pi / _CIRCLE_CORNERS
    # a little outside the circle, so that the polygon has its area
    reach = 0.5 * math.sqrt(2 * math.pi / _CIRCLE_CORNERS / math.sin(2 * math.pi / _CIRCLE_CORNERS))
    return PartBox(shares, shares.apply(0.5 + reach * np.column_stack([np.cos(turns), np.sin(turns)])))


def outline_box(found: Outline, *, turns: bool) -> PartBox:
    """Return the smallest rectangle around an outline; the upright one where the part does not turn."""
    if turns:
        return PartBox(_box(found.rectangle), found.corners)
    (x0, y0), (x1, y1) = found.corners.min(axis=0), found.corners.max(axis=0)
    upright = Rectangle(float(x0 + x1) / 2, float(y0 + y1) / 2, float(x1 - x0), float(y1 - y0), 0.0)
    return PartBox(_box(upright), found.corners)


def _box(found: Rectangle) -> Transform:
    """Return the way from shares of a rectangle, from its top left corner, to the pixels where it was found."""
    cos, sin = math.cos(found.angle), math.sin(found.angle)
    sides = np.array([[cos * found.width, -sin * found.height], [sin * found.width, cos * found.height]])
    return Transform(np.column_stack([sides, np.array([found.x, found.y]) - sides @ [0.5, 0.5]]))
