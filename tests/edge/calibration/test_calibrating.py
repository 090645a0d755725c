"""Lengths and pixel sizes come out right for known lenses and tilts; pictures that tell nothing are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.calibration.calibrating import calibrate_by_target
from edge.calibration.finding import Found
from edge.calibration.fitting import Sighting, fit_lens_and_plane
from edge.calibration.mapping import Lens, PlaneScale
from edge.calibration.targets import parse_target
from edge.errors import TargetError
from edge.records import Float64
from edge.simulation.target_scene import PinholeCamera
from tests.edge.calibration.scenes import CHESSBOARD, ORIGIN, SIZE, calibration, camera, found, true_mm_per_px

CAMERAS = [
    camera(),
    camera(tilt_deg=30),
    camera(tilt_deg=-30, turn_deg=40, mm_per_px=0.36),
    camera(tilt_deg=30, k1=-0.25),
    camera(k1=0.15),
]


@pytest.mark.parametrize("seen_by", CAMERAS)
def test_a_pixel_is_as_large_as_the_geometry_says(seen_by: PinholeCamera) -> None:
    """In the centre within 0.2 %, over the target's field within 1 %, with a residual below 0.2 px."""
    made = calibration(seen_by=seen_by)
    assert made.residual_px < 0.2
    assert made.mm_per_px == pytest.approx(true_mm_per_px(seen_by, SIZE[0] / 2, SIZE[1] / 2), rel=0.002)
    for x, y in ((120, 100), (360, 100), (120, 260), (360, 260)):
        assert made.scale.mm_per_px_at(np.array([x, y])) == pytest.approx(true_mm_per_px(seen_by, x, y), rel=0.01)


@pytest.mark.parametrize("seen_by", CAMERAS)
def test_lengths_are_right_wherever_and_however_they_lie(seen_by: PinholeCamera) -> None:
    """Of 30 mm, in any direction, near the centre and away from it: within 0.5 %."""
    scale = calibration(seen_by=seen_by).scale
    for middle in ([0, 0], [25, 15], [-25, -10]):
        for angle in np.linspace(0, np.pi, 7):
            ends = np.array(middle) + np.outer([-15, 15], [np.cos(angle), np.sin(angle)])
            one, other = scale.points_mm(seen_by.seen(ends))
            assert np.linalg.norm(one - other) == pytest.approx(30, rel=0.005)


def test_what_is_believed_of_a_lens_is_what_a_picture_tells() -> None:
    """A lens that does not bend gets no number, one that does gets its own: OpenCV's, by the focal length."""
    assert calibration().fitted == ()
    bent = calibration(seen_by=camera(k1=-0.25))
    assert bent.fitted == ("k1",)
    k1 = bent.scale.lens.k1 * (SIZE[0] / bent.scale.lens.half_diagonal_px) ** 2
    assert k1 == pytest.approx(-0.25, abs=0.02)


@pytest.mark.parametrize("bend", [-0.12, -0.06, 0.08, 0.12])
def test_a_lens_of_another_law_is_unsure_beyond_the_target(bend: float) -> None:
    """Lengths outside the target lie within ± 2 of their shares in 95 % of places, and beside it none is unsure.

    The lens makes straight by 1 + bend · r², where ours bends by such a law.
    A target in the middle tells nothing of it.
    """
    lens = Lens(SIZE)

    def true_mm(px: Float64) -> Float64:
        normal = lens.normal(px)
        straight: Float64 = 60 * normal * (1 + bend * (normal**2).sum(axis=1, keepdims=True))
        return straight

    columns, rows = np.meshgrid(np.linspace(120, 360, 9), np.linspace(100, 260, 6))
    px = np.column_stack([columns.ravel(), rows.ravel()])
    scale = calibrate_by_target(
        parse_target(CHESSBOARD), [replace(found(), sighting=Sighting(px, true_mm(px)))], SIZE, ORIGIN
    ).scale
    rng = np.random.default_rng(1)
    starts = rng.uniform([40, 40], np.array(SIZE) - 40, (300, 2))
    angles = rng.uniform(0, 2 * np.pi, 300)
    ends = starts + 30 * np.column_stack([np.cos(angles), np.sin(angles)])
    told, true = (np.linalg.norm(law(starts) - law(ends), axis=1) for law in (scale.points_mm, true_mm))
    unsure = np.maximum(scale.unsure_at(starts), scale.unsure_at(ends))
    assert np.mean(abs(told / true - 1) <= 2 * unsure + 0.003) >= 0.95
    assert (scale.unsure_at(px) < 1e-6).all()


def seen_points(seen_by: PinholeCamera, noise_px: float = 0.03) -> Sighting:
    """Return where a camera sees a chessboard's points, without a picture."""
    known = parse_target(CHESSBOARD).points_mm
    noise = np.random.default_rng(3).normal(0, noise_px, known.shape)
    return Sighting(seen_by.seen(known - known.mean(axis=0)) + noise, known)


def test_several_pictures_tell_more_of_the_lens_and_the_plane_is_the_first_one_s() -> None:
    """Pictures at other tilts narrow k1 and k2; mm per px stays that of the first one."""
    views = [camera(tilt_deg=0, k1=-0.3, k2=0.1, mm_per_px=0.2)]
    views += [camera(tilt_deg=tilt, turn_deg=50 * tilt, k1=-0.3, k2=0.1, mm_per_px=0.2) for tilt in (20, -25, 35)]
    fit = fit_lens_and_plane([seen_points(view) for view in views], SIZE)
    assert fit.fitted[:2] == ("k1", "k2")
    assert fit.residual_px == pytest.approx(0.03 * np.sqrt(2), rel=0.25)
    far = np.array([[10.0, 10], [470, 350]])
    length = np.linalg.norm(np.diff(fit.scale.points_mm(far), axis=0))
    assert length == pytest.approx(np.linalg.norm(np.diff(views[0].looked_at(far), axis=0)), rel=0.003)


def test_the_residual_is_that_of_the_points() -> None:
    """Points off by a known noise have a residual of that noise, in px and in mm."""
    fit = fit_lens_and_plane([seen_points(camera(), noise_px=0.4)], SIZE)
    assert fit.residual_px == pytest.approx(0.4 * np.sqrt(2), rel=0.2)
    looked = Found(seen_points(camera(), noise_px=0.4), 0.5)
    made = calibrate_by_target(parse_target(CHESSBOARD), [looked], SIZE, ORIGIN, residual_px=2)
    assert made.scale.residual_mm == pytest.approx(0.4 * np.sqrt(2) * 0.27, rel=0.2)


def test_a_target_that_is_bent_is_refused() -> None:
    """Points that no flat target has are no calibration: the residual is said, and what to do."""
    looked = Found(seen_points(camera(), noise_px=3), 0.5)
    with pytest.raises(TargetError, match=r"expected 1 px or less\. Lay the target flat"):
        calibrate_by_target(parse_target(CHESSBOARD), [looked], SIZE, ORIGIN)


def test_a_lens_bends_and_straightens_to_the_same_point() -> None:
    """Straightening is the inverse of bending, for each kind of distortion, to a thousandth of a pixel."""
    points = np.random.default_rng(1).uniform(0, 1, (200, 2)) * SIZE
    for lens in (Lens(SIZE, -0.14), Lens(SIZE, 0.3, -0.1), Lens(SIZE, -0.25, 0.1, 0.03, -0.02, 0.01, -0.01)):
        straight = lens.straight(lens.normal(points))
        assert np.abs(lens.px(lens.distorted(straight)) - points).max() < 1e-3


def test_where_a_lens_folds_the_picture_nothing_is_known() -> None:
    """Beyond the last ray a point is no number, and never a guess."""
    straight = Lens(SIZE, -0.6).straight(np.array([[0.1, 0.1], [0.9, 0.9]]))
    assert np.isfinite(straight[0]).all()
    assert np.isnan(straight[1]).all()


def test_a_scale_leads_back_to_the_picture() -> None:
    """From px to mm and back is the same point."""
    scale: PlaneScale = calibration(seen_by=camera(tilt_deg=25, k1=-0.2)).scale
    points: Float64 = np.array([[30.0, 40.0], [240, 180], [400, 300]])
    assert scale.points_px(scale.points_mm(points)) == pytest.approx(points, abs=1e-3)


def test_a_target_needs_no_more_than_itself() -> None:
    """Another target, ChArUco, gives the same camera the same scale."""
    seen_by = camera(tilt_deg=15)
    one, other = calibration(seen_by=seen_by), calibration("circles:9x6:10mm", seen_by)
    assert one.mm_per_px == pytest.approx(other.mm_per_px, rel=0.002)
    assert found(seen_by=seen_by).share > 0.2
