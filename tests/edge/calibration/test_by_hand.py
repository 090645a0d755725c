"""Four points or two lengths are enough for a scale; points that tell none are refused."""

from __future__ import annotations

import numpy as np
import pytest

from edge.calibration.by_hand import KnownLength, fit_lengths, fit_points
from edge.calibration.calibrating import calibrate_by_points
from edge.calibration.fitting import Sighting
from edge.errors import TargetError
from tests.edge.calibration.scenes import ORIGIN, SIZE, camera

CORNERS_MM = np.array([[-40.0, -30], [40, -30], [40, 30], [-40, 30]])


def test_four_points_of_a_tilted_plane_give_its_lengths() -> None:
    """A camera tilted by 30°: the lengths between other points are right, and the uncertainty is that of picking."""
    seen_by = camera(tilt_deg=30)
    known = Sighting(seen_by.seen(CORNERS_MM), CORNERS_MM)
    made = calibrate_by_points(fit_points(known, SIZE, 1.5), known, "points", ORIGIN, 1.5)
    one, other = made.scale.points_mm(seen_by.seen(np.array([[-20.0, 5], [30, -10]])))
    assert np.linalg.norm(one - other) == pytest.approx(np.hypot(50, 15), rel=1e-4)
    assert made.residual_px == 1.5
    assert made.scale.residual_mm == pytest.approx(1.5 * made.mm_per_px)


def test_mm_that_run_upwards_are_as_good() -> None:
    """Corners whose y is counted upwards, as on a drawing, give the same lengths."""
    seen_by = camera(tilt_deg=20)
    upwards = CORNERS_MM * [1, -1]
    fit = fit_points(Sighting(seen_by.seen(CORNERS_MM), upwards), SIZE, 1.0)
    assert fit.scale.mm_per_px_at(np.array(SIZE) / 2) == pytest.approx(0.27, rel=0.05)


BAD_POINTS = [
    (CORNERS_MM[:3], CORNERS_MM[:3], "expected 4 to 1000 of them, received 3"),
    ([[0, 0], [10, 10], [20, 20], [-30, 30]], CORNERS_MM, "points 1, 2, 3 lie in a row in the picture"),
    (CORNERS_MM, [[0, 0], [10, 10], [20, 20], [-30, 30]], "points 1, 2, 3 lie in a row in the plane"),
    ([[0, 0], [10, 10], [20, 20], [30, 30], [40, 40.1]], [[n, n * n] for n in range(5)], "points 1 to 5 lie in a row"),
    (CORNERS_MM[[0, 1, 2, 2]], CORNERS_MM, "points 3 and 4 are one point in px"),
    (CORNERS_MM, CORNERS_MM[[0, 0, 2, 3]], "points 1 and 2 are one point in mm"),
    (CORNERS_MM * 100, CORNERS_MM, "does not lie in the picture of 480 x 360"),
    (CORNERS_MM * [[1, 1], [1, 0.9], [1, 1], [1.1, 1]], CORNERS_MM[[0, 2, 1, 3]], "horizon would lie in the picture"),
    (CORNERS_MM, CORNERS_MM[[0, 2, 1, 3]], "Look at the order of the points"),
]


@pytest.mark.parametrize(("px", "mm", "told"), BAD_POINTS)
def test_points_that_tell_no_plane_are_refused(px: list[list[float]], mm: list[list[float]], told: str) -> None:
    """Too few, in a row, doubled, outside, or in crossed order: each by its own words."""
    known = Sighting(np.array(px, float) + np.array(SIZE) / 2, np.array(mm, float))
    with pytest.raises(TargetError, match=told):
        calibrate_by_points(fit_points(known, SIZE, 1.0), known, "points", ORIGIN, 1.0)


@pytest.mark.parametrize(
    ("third", "told"),
    [((0.0, 3.0), "larger or smaller; expected 10% or less"), ((0.0, 0.5), "points 1, 2, 3 lie in a row")],
)
def test_points_nearly_in_a_row_are_refused(third: tuple[float, float], told: str) -> None:
    """Three of four points that bend by a thirtieth of their length: a pixel's error would be a tenth of the scale."""
    mm = np.array([(-44.0, 0.0), (44.0, 0.0), third, (-44.0, 40.0)])
    known = Sighting(camera().seen(mm), mm)
    with pytest.raises(TargetError, match=told):
        calibrate_by_points(fit_points(known, SIZE, 1.0), known, "points", ORIGIN, 1.0)
    corners = Sighting(camera().seen(CORNERS_MM), CORNERS_MM)
    made = calibrate_by_points(fit_points(corners, SIZE, 1.0), corners, "points", ORIGIN, 1.0)
    assert made.mm_per_px == pytest.approx(0.27, rel=0.01)


def lengths(*ends: tuple[float, float, float, float, float]) -> list[KnownLength]:
    """Return lengths from x, y to x, y and their mm."""
    return [KnownLength((x1, y1), (x2, y2), mm) for x1, y1, x2, y2, mm in ends]


def test_two_lengths_give_the_size_of_a_pixel_along_either_side() -> None:
    """Of pixels of 0.2 x 0.25 mm, from a slanting length and a level one."""
    slanting = float(np.hypot(200 * 0.2, 200 * 0.25))
    fit = fit_lengths(lengths((50, 50, 450, 50, 80), (100, 100, 300, 300, slanting)), SIZE, 1.0)
    assert np.linalg.norm(fit.scale.slopes_at(np.array([240.0, 180])), axis=0) == pytest.approx([0.2, 0.25], rel=1e-6)
    assert fit.residual_px == pytest.approx(np.sqrt(2))


BAD_LENGTHS = [
    (lengths((50, 50, 450, 50, 80)), "expected two or more"),
    (lengths((50, 50, 450, 50, 80), (50, 90, 250, 90, 40)), "they lie in one direction"),
    (lengths((50, 50, 250, 250, 80), (50, 250, 250, 50, 80)), "each other's mirror images"),
    (lengths((50, 50, 450, 50, 80), (60, 60, 60, 60, 40)), "length 2: expected 20 px or more"),
    (lengths((50, 50, 450, 50, 0), (60, 60, 60, 260, 40)), "a length above 0 mm"),
    (lengths((50, 50, 450, 50, 80), (60, 60, 60, 960, 40)), "length 2: .* does not lie in the picture"),
    (lengths((50, 50, 450, 50, 80), (60, 60, 60, 260, 400)), "they contradict each other"),
    (lengths((50, 50, 450, 50, 80), (60, 60, 200, 250, 20)), "would be of no size in one direction"),
]


@pytest.mark.parametrize(("given", "told"), BAD_LENGTHS)
def test_lengths_that_tell_no_scale_are_refused(given: list[KnownLength], told: str) -> None:
    """One alone, one direction, none, outside, contradicting: each by its own words."""
    with pytest.raises(TargetError, match=told):
        fit_lengths(given, SIZE, 1.0)
