"""The middles of plain lines lie where these were drawn, and nothing else is taken for a plain line."""

from __future__ import annotations

import numpy as np
import pytest

from edge.inspection.middles import middles
from edge.opencv import cv2
from edge.records import Float64, UInt8


def canvas() -> UInt8:
    """Return a mask without anything."""
    return np.zeros((200, 240), np.uint8)


def bar(length: float, width: float, degrees: float) -> tuple[UInt8, Float64]:
    """Fill the pixels whose centres lie in a bar about (120, 100); return the unit vector along it."""
    y, x = np.mgrid[0.5:200, 0.5:240]
    way = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    along = (x - 120) * way[0] + (y - 100) * way[1]
    across = (y - 100) * way[0] - (x - 120) * way[1]
    return ((abs(along) <= length / 2) & (abs(across) <= width / 2)).astype(np.uint8), way


@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 123])
@pytest.mark.parametrize("width", [2, 5, 12])
def test_the_middle_of_a_bar_is_its_axis(degrees: float, width: float) -> None:
    """Off its ends it is within 0.7 px of the axis.

    It ends half the width before the bar does, to 2 px.
    """
    mask, way = bar(110, width, degrees)
    (found,) = middles([(mask, None)])
    assert found is not None
    points = found.points - (120, 100)
    along, across = points @ way, points @ np.array([-way[1], way[0]])
    assert np.abs(across[np.abs(along) < 55 - width]).max() <= 0.7
    assert (-along.min(), along.max()) == pytest.approx((55 - width / 2, 55 - width / 2), abs=2)
    assert found.half_width == pytest.approx(width / 2, abs=1)


@pytest.mark.parametrize("to_degrees", [60, 100, 150, 175])
def test_the_middle_of_an_arc_is_the_arc(to_degrees: int) -> None:
    """Of a curved line, up to half a circle, it is within 1 px of the circle that was drawn."""
    mask = canvas()
    cv2.ellipse(mask, (120, 100), (70, 70), 0, 0, to_degrees, 1, 5)
    (found,) = middles([(mask, None)])
    assert found is not None
    radii = np.hypot(*(found.points - 0.5 - (120, 100)).T)
    assert np.abs(radii[4:-4] - 70).max() <= 1
    ends = np.degrees(np.arctan2(*(found.points[[0, -1]] - 0.5 - (120, 100)).T[::-1])) * np.pi / 180 * 70
    # a pen's round tip reaches half its width beyond, and the middle ends as much before it
    assert sorted(ends) == pytest.approx([0, np.radians(to_degrees) * 70], abs=3)


def not_plain() -> dict[str, UInt8]:
    """Draw what has more than two ends, or none, or bends back, or is as wide as long."""
    drawn = {name: canvas() for name in ("cross", "fork", "ring", "hairpin", "most of a ring", "disc", "tail", "two")}
    for end in ((160, 160), (20, 30), (150, 20), (30, 150)):
        cv2.line(drawn["cross"], (90, 90), end, 1, 5)
    for end in ((30, 100), (190, 80), (190, 125)):
        cv2.line(drawn["fork"], (90, 100), end, 1, 5)
    cv2.circle(drawn["ring"], (100, 100), 40, 1, 5)
    cv2.polylines(drawn["hairpin"], [np.array([[30, 80], [180, 95], [30, 112]], np.int32)], False, 1, 5)
    cv2.ellipse(drawn["most of a ring"], (100, 100), (50, 50), 0, 0, 250, 1, 5)
    cv2.circle(drawn["disc"], (100, 100), 30, 1, -1)
    cv2.line(drawn["tail"], (30, 100), (200, 100), 1, 4)
    cv2.circle(drawn["tail"], (190, 100), 9, 1, -1)
    cv2.line(drawn["two"], (20, 30), (200, 30), 1, 5)
    cv2.line(drawn["two"], (20, 150), (200, 150), 1, 5)
    return drawn


@pytest.mark.parametrize(("name", "mask"), not_plain().items())
def test_what_is_no_plain_line_is_left_to_the_skeleton(name: str, mask: UInt8) -> None:
    """It has no middle here."""
    assert middles([(mask, None)]) == [None], name


def test_masks_do_not_see_each_other() -> None:
    """Many at once give what each gives by itself, in their order, empty ones none."""
    masks = [bar(110, 5, 30)[0], canvas(), *not_plain().values(), bar(60, 3, 100)[0]]
    together = middles([(mask, None) for mask in masks])
    assert [each is None for each in together] == [False] + [True] * (len(masks) - 2) + [False]
    for mask, each in zip(masks, together, strict=True):
        (alone,) = middles([(mask, None)])
        if alone is not None and each is not None:
            np.testing.assert_allclose(alone.points, each.points, atol=1e-9)
