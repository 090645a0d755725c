"""The part's box follows the part: drawn ones are found where they were drawn, and none is made up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edge.errors import ProductNotFoundError
from edge.opencv import cv2
from edge.preparing import CropCircle, CropRectangle, Resize, prepare_and_locate
from edge.records import PartBox, UInt8
from edge.zones.part import PartFinding

BENCH, DEVICE = 120, 40


def device(x: float, y: float, width: float, height: float, degrees: float) -> UInt8:
    """Draw a device on a bench of 400 x 300 px, grey, its middle at (x, y)."""
    ys, xs = (np.mgrid[0 : 300 * 4, 0 : 400 * 4] + 0.5) / 4  # four by four places of each pixel
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    across, down = (xs - x) * cos + (ys - y) * sin, (ys - y) * cos - (xs - x) * sin
    within = (np.abs(across) <= width / 2) & (np.abs(down) <= height / 2)
    share = within.reshape(300, 4, 400, 4).mean(axis=(1, 3))
    return np.round(BENCH + (DEVICE - BENCH) * share).astype(np.uint8)


def corners_of(x: float, y: float, width: float, height: float, degrees: float) -> list[list[float]]:
    """Return the device's corners, from its top left one on, clockwise."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    places = [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]
    return [[x + cos * a * width - sin * b * height, y + sin * a * width + cos * b * height] for a, b in places]


def box_corners(part: PartBox) -> list[list[float]]:
    """Return where the part's box has its corners in the frame."""
    found: list[list[float]] = part.to_frame.apply(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])).tolist()
    return found


@pytest.mark.parametrize("place", [(200, 150, 240, 120, 0), (180.5, 140, 200, 120, 11), (220, 160.25, 200, 100, -23)])
@pytest.mark.parametrize("find", ["rectangle", "outline"])
def test_the_box_moves_and_turns_with_the_part(place: tuple[float, float, float, float, float], find: str) -> None:
    """Its corners are the device's, to a pixel; an outline has its area to 2 %."""
    part = PartFinding.model_validate({"find": find}).look(device(*place))
    assert np.abs(np.array(box_corners(part)) - corners_of(*place)).max() < 1.5
    assert part.size_px == pytest.approx(place[2:4], abs=1.5)
    assert cv2.contourArea(part.outline.astype(np.float32)) == pytest.approx(place[2] * place[3], rel=0.02)


def test_a_round_part_is_its_circle() -> None:
    """The box is the square around it, upright; the outline has the circle's area."""
    pixels = np.full((300, 400), BENCH, np.uint8)
    cv2.circle(pixels, (200, 150), 90, DEVICE, -1, cv2.LINE_AA)
    for find, most in (("circle", 0.01), ("outline", 0.02)):
        part = PartFinding.model_validate({"find": find, **({"turns": False} if find == "outline" else {})}).look(
            pixels
        )
        assert part.size_px == pytest.approx((181, 181), abs=1.5)
        assert cv2.contourArea(part.outline.astype(np.float32)) == pytest.approx(math.pi * 90.5**2, rel=most)


def test_a_part_of_any_form_has_its_own_area() -> None:
    """An L of two bars: its outline is the L, and its box is around both."""
    pixels = np.full((300, 400), BENCH, np.uint8)
    pixels[50:250, 100:160] = DEVICE
    pixels[190:250, 100:300] = DEVICE
    part = PartFinding(find="outline").look(pixels)
    assert cv2.contourArea(part.outline.astype(np.float32)) == pytest.approx(200 * 60 + 140 * 60, rel=0.02)


@pytest.mark.parametrize("find", ["rectangle", "circle", "outline"])
def test_nothing_is_found_where_nothing_is_or_where_it_is_cut(find: str) -> None:
    """An empty bench, and a device that the picture's border cuts."""
    finding = PartFinding.model_validate({"find": find})
    for pixels in (np.full((300, 400), BENCH, np.uint8), device(390, 150, 200, 120, 0)):
        with pytest.raises(ProductNotFoundError, match="expected a"):
            finding.look(pixels)


@pytest.mark.parametrize("degrees", [0.0, 9.0])
def test_the_bundles_own_step_says_where_the_part_is(degrees: float) -> None:
    """Also through a margin and a resize that stretches: the box lies where the device does, to 2 px."""
    place = (200.0, 150.0, 240.0, 120.0, degrees)
    steps = (CropRectangle(margin=1.1), Resize(width=128, height=128, fit="stretch"))
    _, _, part = prepare_and_locate(device(*place), steps, 1)
    assert part is not None
    assert np.abs(np.array(box_corners(part)) - corners_of(*place)).max() < 2
    pixels = np.full((300, 400), BENCH, np.uint8)
    cv2.circle(pixels, (200, 150), 90, DEVICE, -1, cv2.LINE_AA)
    _, _, part = prepare_and_locate(pixels, (CropCircle(margin=1.2),), 1)
    assert part is not None
    assert part.size_px == pytest.approx((181, 181), abs=2)
    assert prepare_and_locate(pixels, (), 1)[2] is None


def test_keys_that_do_not_fit_are_refused() -> None:
    """Each with those that do."""
    with pytest.raises(ValueError, match=r"with find: circle only min_radius, .*; received min_area"):
        PartFinding.model_validate({"find": "circle", "min_area": 0.2})
    with pytest.raises(ValueError, match="min_radius below max_radius"):
        PartFinding.model_validate({"find": "circle", "min_radius": 0.7, "max_radius": 0.5})
