"""Shapes that enclose one area are taken; one that crosses itself, is empty or lies outside is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.zones.shapes import ShapeSettings, problem_of


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ({}, "expected one of rectangle"),
        ({"rectangle": [0, 0, 1, 1], "ellipse": [1, 1, 1, 1]}, "received rectangle and ellipse"),
        ({"rectangle": [0, 0, 0, 4]}, "a width and height above 0"),
        ({"rectangle": [-1, 0, 4, 4]}, "within the frame, from 0 on; it reaches to -1"),
        ({"ellipse": [1, 1, 0, 1]}, "half axes above 0"),
        ({"ellipse": [1, 1, 2, 1]}, "from 0 on"),
        ({"polygon": [[0, 0], [4, 4], [4, 0], [0, 4]]}, "does not cross itself; the side from corner 1 meets"),
        ({"polygon": [[0, 0], [4, 0], [4, 4], [0, 0]]}, "received [0.0, 0.0] twice"),
        ({"polygon": [[0, 0], [2, 2], [4, 4]]}, "cross itself"),
        ({"polygon": [[0, 0], [4, 0], [2, 0], [2, 3]]}, "cross itself"),
        ({"polygon": [[0, 0], [4, 0], [4, 4], [2, 0], [0, 4]]}, "cross itself"),
        ({"polygon": [[0, 0], [4, 0]]}, "at least 3 items"),
        ({"polygon": [[0, 0], [4, 0], [math.nan, 4]]}, "finite number"),
        ({"rectangle": [0, 0, math.inf, 4]}, "finite number"),
        ({"polygon": [[index, index**2] for index in range(501)]}, "at most 500"),
        (
            {"rectangle": [0.5, 0, 0.6, 1], "on": "part"},
            "shares of the part's box, 0-1, for on: part; it reaches to 1.1",
        ),
        ({"rectangle": [0, 0, 1, 1], "on": "belt"}, "'frame', 'part' or 'part_mm'"),
    ],
)
def test_a_shape_without_one_area_in_its_place_is_refused(shape: dict[str, Any], told: str) -> None:
    """The error tells what is wrong with the shape."""
    with pytest.raises(ValidationError) as error:
        ShapeSettings.model_validate(shape)
    assert told in str(error.value)


@given(
    st.lists(st.floats(0.0, 2 * math.pi), min_size=3, max_size=12, unique_by=lambda turn: round(turn, 2)),
    st.randoms(use_true_random=False),
)
def test_a_star_is_simple_and_crosses_itself_once_two_sides_are_swapped(turns: list[float], chance: Any) -> None:
    """Corners in the order of their angle from a point within never cross. One swap of four or more does, or not.

    The oracle counts crossings side by side, by solving for the point where two lines meet.
    """
    turns.sort()
    gaps = [later - earlier for earlier, later in zip(turns, [*turns[1:], turns[0] + 2 * math.pi], strict=True)]
    if max(gaps) >= math.pi - 0.01 or min(gaps) < 0.01:
        return
    radii = [chance.uniform(1, 5) for _ in turns]
    star = [(r * math.cos(t), r * math.sin(t)) for r, t in zip(radii, turns, strict=True)]
    assert problem_of(star) == ""
    if len(star) > 3:
        star[0], star[1] = star[1], star[0]
        assert (problem_of(star) != "") == crosses(star)


def crosses(points: list[tuple[float, float]]) -> bool:
    """Solve for the meeting point of each two sides that are no neighbours."""
    sides = list(zip(points, [*points[1:], points[0]], strict=True))
    for i, (a, b) in enumerate(sides):
        for j, (c, d) in enumerate(sides):
            if abs(i - j) in {0, 1, len(sides) - 1}:
                continue
            matrix = np.array([[b[0] - a[0], c[0] - d[0]], [b[1] - a[1], c[1] - d[1]]])
            if abs(np.linalg.det(matrix)) < 1e-12:
                continue
            s, t = np.linalg.solve(matrix, [c[0] - a[0], c[1] - a[1]])
            if 0 <= s <= 1 and 0 <= t <= 1:
                return True
    return False


def test_an_ellipse_has_its_area() -> None:
    """Its corners lie on it, and enclose pi a b, less 0.05 %."""
    corners = np.array(ShapeSettings(ellipse=(10, 20, 4, 7)).corners)
    x, y = corners.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(math.pi * 4 * 7, rel=5e-4)
    assert ((x - 10) / 4) ** 2 + ((y - 20) / 7) ** 2 == pytest.approx(np.ones(len(corners)))
