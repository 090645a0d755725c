"""Defects' sizes against shapes of known size, drawn by `benchmarks/drawn_shapes.py`, which measures nothing itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.drawn_shapes import (
    GROUND,
    SCRATCH,
    Drawing,
    Shape,
    arc,
    bar,
    beside,
    cross,
    disc,
    drawn,
    marked,
    measured,
    square,
)
from edge.inspection.measuring import Sight, measure, region
from edge.inspection.scale import UniformScale
from edge.inspection.skeleton import skeletons
from edge.opencv import cv2
from edge.records import Defect, DefectMap, Float64, Transform, UInt8

HERE = Transform.identity()


def one(shape: Shape, how: Drawing, dilated: int = 0) -> Defect:
    """Measure a shape that is one defect, at 1 mm per px."""
    picture = drawn(shape, how)
    (defect,) = measured(picture, marked(picture, dilated))
    return defect


@pytest.mark.parametrize("blur", [0.0, 1.0, 1.8])
def test_a_straight_line_is_as_long_wide_and_large_in_any_direction(blur: float) -> None:
    """A bar of 80 x 6 px has its length within 2 %, width within 0.3 px and area within 3 %.

    That holds every 15 degrees, at each blur.
    """
    for degrees in range(0, 180, 15):
        how = Drawing((0.01 * degrees % 1 - 0.5, 0.3), blur, noise=2, seed=degrees)
        defect = one(bar(80, 6, degrees), how)
        assert defect.length_mm == pytest.approx(80, rel=0.02), degrees
        assert defect.width_mm == pytest.approx(6, abs=0.3), degrees
        assert defect.area_mm2 == pytest.approx(480, rel=0.03), degrees
        turned = abs(((defect.orientation_deg or 0) + degrees + 90) % 180 - 90)  # rows count downwards
        assert turned < 1, degrees
        assert defect.by_grey
        assert defect.contrast == pytest.approx(130, rel=0.25)


@pytest.mark.parametrize(("length", "width", "blur"), [(134, 3, 1.0), (100, 8, 2.0), (67, 6, 2.0)])
def test_a_line_that_is_narrow_against_the_blur_has_its_own_area(length: float, width: float, blur: float) -> None:
    """A line 2.9 times the blur's deviation wide or more has its area within 3 % in any direction.

    None is off by 2 u of 3 %.
    """
    for degrees in range(0, 180, 15):
        how = Drawing((0.01 * degrees % 1 - 0.5, 0.3), blur, noise=2, seed=degrees)
        defect = one(bar(length, width, degrees), how)
        assert defect.area_px == pytest.approx(length * width, rel=0.03), degrees
        assert abs(defect.area_px - length * width) <= (defect.u_area_mm2 or 0), degrees


@pytest.mark.parametrize("company", [[bar(150, 12, 20)], [bar(100, 8, 130)], [bar(80, 5, 70), bar(80, 5, 160)]])
def test_strokes_of_a_frame_share_what_they_tell_of_its_blur(company: list[Shape]) -> None:
    """A line 5 px wide under a blur of 2 px has its area within 3 %. Beside it lies a wider one, or two alike."""
    for degrees in range(0, 180, 30):
        how = Drawing((0.1 * degrees % 1 - 0.5, 0.2), 2.0, noise=2, seed=degrees)
        picture, columns = beside([bar(80, 5, degrees), *company], how)
        defects = measured(picture, marked(picture))
        assert len(defects) == 1 + len(company)
        narrow = min(defects, key=lambda defect: abs(defect.bbox[0] + defect.bbox[2] / 2 - columns[0]))
        assert narrow.area_px == pytest.approx(400, rel=0.03), degrees


@pytest.mark.parametrize(("length", "width", "blur"), [(60, 3, 2.0), (100, 4, 2.0), (80, 5, 2.5)])
def test_what_no_profile_tells_is_told_to_be_uncertain(length: float, width: float, blur: float) -> None:
    """The area of a line less than 2.5 times the blur wide may be half too large.

    It lies within ± u in 95 % of 40 drawings.
    """
    within = []
    for number in range(40):
        defect = one(bar(length, width, 4.5 * number), Drawing((0.02 * number - 0.4, 0.1), blur, noise=2, seed=number))
        within.append(abs(defect.area_px - length * width) <= (defect.u_area_mm2 or 0))
    assert np.mean(within) >= 0.95


@pytest.mark.parametrize("dilated", [0, 5])
def test_a_ring_is_as_long_as_its_circle(dilated: int) -> None:
    """A closed ring of radius 20 is 125.7 px long and 5 wide, not 41. A mask 3 times as wide changes nothing."""
    defect = one(arc(20, 5, 360), Drawing((0.2, 0.4), 1.0, noise=2), dilated)
    assert defect.length_mm == pytest.approx(2 * np.pi * 20, rel=0.02)
    assert defect.width_mm == pytest.approx(5, abs=0.3)
    assert defect.area_mm2 == pytest.approx(2 * np.pi * 20 * 5, rel=0.03)
    assert defect.orientation_deg is None


@pytest.mark.parametrize("degrees", [0, 77, 200])
def test_a_bent_line_is_as_long_as_its_bend(degrees: float) -> None:
    """Half a ring of radius 40, 5 px wide, is 125.7 px long, within 2 %."""
    defect = one(arc(40, 5, 180, degrees), Drawing((0.3, 0.1), 1.0, noise=2))
    assert defect.length_mm == pytest.approx(np.pi * 40, rel=0.02)
    assert defect.area_mm2 == pytest.approx(np.pi * 40 * 5, rel=0.03)


@pytest.mark.parametrize("between", [35, 60, 90])
@pytest.mark.parametrize("dilated", [0, 6])
def test_both_lines_of_a_crossing_count(between: float, dilated: int) -> None:
    """Two bars of 90 px that cross at 35, 60 or 90 degrees are 180 px of scratch."""
    defect = one(cross(90, 5, 12, between), Drawing((0.1, 0.2), 0.8, noise=2), dilated)
    assert defect.length_mm == pytest.approx(180, rel=0.02)
    assert defect.width_mm == pytest.approx(5, abs=0.5)


@pytest.mark.parametrize("degrees", [44, 100, 167])
def test_no_line_of_a_crossing_is_narrower_for_the_other_beside_it(degrees: float) -> None:
    """The area of lines that cross at 51 degrees is within 2 %. One is the other's ground for a while."""
    shape = cross(100, 5, degrees, 51)
    defect = one(shape, Drawing((0.1, 0.2), 1.0, noise=2))
    assert defect.area_px == pytest.approx(shape.area_px, rel=0.02)
    assert defect.width_px == pytest.approx(5, abs=0.1)


def ellipse(long: float, short: float, degrees: float) -> Shape:
    """Return an ellipse by its axes; its mean width is its area by its length."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))

    def inside(x: Float64, y: Float64) -> npt.NDArray[np.bool_]:
        within: npt.NDArray[np.bool_] = np.hypot((x * c + y * s) * 2 / long, (y * c - x * s) * 2 / short) <= 1
        return within

    return Shape("ellipse", inside, long, np.pi / 4 * short, np.pi / 4 * long * short, long / 2)


PALE = GROUND + 40
RAGGED = [bar(60, 12, 0), bar(45, 9, 0), arc(30, 6, 300), arc(30, 10, 360), cross(90, 6, 0, 90)]


@pytest.mark.parametrize("shape", RAGGED, ids=lambda shape: f"{shape.name}-{shape.width_px:g}")
def test_a_ragged_mask_of_a_pale_defect_shortens_nothing(shape: Shape) -> None:
    """A scratch of 40 grey levels under a blur of 2 px has its length within 2 %.

    Its mask is ragged: the noisy picture, cut at half of the contrast.
    """
    for degrees in range(0, 180, 28):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))

        def turned(x: Float64, y: Float64, c: float = c, s: float = s) -> npt.NDArray[np.bool_]:
            return shape.inside(x * c + y * s, y * c - x * s)

        picture = drawn(replace(shape, inside=turned), Drawing((0.2, 0.4), 2.0, 2.0, PALE, degrees))
        classes = (picture >= (GROUND + PALE) / 2).view(np.uint8)
        defect = max(measured(picture, classes), key=lambda each: each.area_px)
        assert defect.by_grey, degrees
        assert defect.length_mm == pytest.approx(shape.length_px, rel=0.02), degrees
        assert abs(defect.width_px - shape.width_px) <= max(0.3, 0.1 * shape.width_px), degrees


@pytest.mark.parametrize(("blur", "ink"), [(1.0, PALE), (2.0, PALE), (3.0, 190), (2.0, GROUND + 15)])
def test_a_round_stain_is_as_large_as_it_is_whatever_the_blur(blur: float, ink: float) -> None:
    """Discs and ellipses have their length within 2 %, or 4 % where they are as pale as 15 levels.

    Their area is within 3 %, or 7 % there, and both lie within ± u.
    """
    pale = ink < PALE
    for degrees in range(0, 180, 45):
        for shape in (disc(24), ellipse(40, 22, degrees)):
            picture = drawn(shape, Drawing((0.3, 0.1), blur, 2.0, ink, degrees))
            classes = (picture >= (GROUND + ink) / 2).view(np.uint8)
            defect = max(measured(picture, classes), key=lambda each: each.area_px)
            assert defect.length_mm == pytest.approx(shape.length_px, rel=0.04 if pale else 0.02), degrees
            assert defect.area_px == pytest.approx(shape.area_px, rel=0.07 if pale else 0.03), degrees
            assert abs(defect.length_px - shape.length_px) <= (defect.u_mm or 0), degrees
            assert abs(defect.area_px - shape.area_px) <= (defect.u_area_mm2 or 0), degrees


@pytest.mark.parametrize("blur", [0.5, 1.0, 2.0])
def test_a_tip_of_one_pixel_is_no_spike(blur: float) -> None:
    """An ellipse of 45 x 16 px has its length within 4 % and ± u, however few pixels its tips are wide."""
    for degrees in range(0, 180, 7):
        shape = ellipse(45, 16, degrees)
        picture = drawn(shape, Drawing((0.3, 0.1), blur, 2.0, seed=degrees))
        (defect,) = measured(picture, (picture >= 125).view(np.uint8))
        assert defect.length_mm == pytest.approx(45, rel=0.04), degrees
        assert abs(defect.length_px - 45) <= (defect.u_mm or 0), degrees


@pytest.mark.parametrize("blur", [0.5, 1.0, 2.0])
def test_a_pointed_scratch_reaches_to_its_tips(blur: float) -> None:
    """An ellipse of 60 x 16 px keeps its length within 2 %, its area within 3 %. The blur hides its tips."""
    for degrees in range(0, 180, 28):
        shape = ellipse(60, 16, degrees)
        defect = one(shape, Drawing((0.3, 0.1), blur, 2.0, seed=degrees))
        assert defect.length_mm == pytest.approx(60, rel=0.02), degrees
        assert defect.area_px == pytest.approx(shape.area_px, rel=0.03), degrees
        assert abs(defect.width_px - shape.width_px) <= (defect.u_width_mm or 0), degrees


@pytest.mark.parametrize(("shape", "blur"), [(bar(80, 5, 14), 3.0), (bar(134, 3, 40), 2.0), (arc(20, 5, 360), 3.0)])
def test_a_line_lost_in_the_blur_is_no_longer_certain(shape: Shape, blur: float) -> None:
    """A line narrower than twice the blur has length, width and area within ± u in 95 % of 20 drawings."""
    within = []
    for number in range(20):
        picture = drawn(shape, Drawing((0.05 * number - 0.5, 0.1), blur, 2.0, seed=number))
        classes = marked(picture)
        defect = max(measured(picture, classes), key=lambda each: each.area_px)
        within.append(
            abs(defect.length_px - shape.length_px) <= (defect.u_mm or 0)
            and abs(defect.width_px - shape.width_px) <= (defect.u_width_mm or 0)
            and abs(defect.area_px - shape.area_px) <= (defect.u_area_mm2 or 0)
        )
    assert np.mean(within) >= 0.95


@pytest.mark.parametrize("dilated", [3, 9])
def test_a_mask_that_is_too_wide_makes_nothing_larger(dilated: int) -> None:
    """A pen of 3 px under a mask of 9 or 21 px is 3 px wide. A disc under a mask half as large again keeps its size."""
    line = one(bar(70, 3, 33), Drawing((0.2, 0.4), 0.6, noise=2), dilated)
    assert (line.length_mm, line.width_mm) == (pytest.approx(70, rel=0.02), pytest.approx(3, abs=0.3))
    spot = one(disc(24), Drawing((0.2, 0.4), 1.0, noise=2), dilated)
    assert spot.area_mm2 == pytest.approx(np.pi * 144, rel=0.03)
    assert spot.length_mm == pytest.approx(24, rel=0.02)


@pytest.mark.parametrize("ink", [10.0, 90.0, 190.0])
def test_dark_and_pale_defects_are_measured_alike(ink: float) -> None:
    """A scratch darker than its ground, a pale and a bright one are equally long; the contrast has its sign."""
    defect = one(bar(80, 6, 20), Drawing(blur=1.0, noise=1.5, ink=ink))
    assert (defect.length_mm, defect.width_mm) == (pytest.approx(80, rel=0.02), pytest.approx(6, abs=0.3))
    assert defect.contrast == pytest.approx(ink - GROUND, rel=0.2)


@pytest.mark.parametrize("blur", [0.0, 1.5])
def test_compact_defects_have_their_own_area(blur: float) -> None:
    """Squares from 20 px on and discs of 24 px: area within 3 %, length within 2 % or half a pixel."""
    for degrees in (0, 20, 45):
        spot = one(square(21, degrees), Drawing((0.3, 0.1), blur, noise=2))
        assert spot.area_mm2 == pytest.approx(441, rel=0.03), degrees
        assert spot.length_mm == pytest.approx(21, abs=0.5), degrees
    spot = one(disc(24), Drawing((0.3, 0.1), blur, noise=2))
    assert spot.area_mm2 == pytest.approx(np.pi * 144, rel=0.03)


def test_the_true_length_lies_within_its_uncertainty() -> None:
    """At least 90 % of 60 random bars, arcs and discs are as long as measured ± u."""
    rng = np.random.default_rng(3)
    covered = []
    for number in range(60):
        turned, size = float(rng.uniform(0, 180)), float(rng.uniform(40, 120))
        shape = (bar(size, 5, turned), arc(size / 3, 5, 200, turned), disc(size / 3))[number % 3]
        how = Drawing((rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)), float(rng.uniform(0, 2)), 2, seed=number)
        defect = one(shape, how)
        assert defect.length_mm is not None
        assert defect.u_mm is not None
        covered.append(abs(defect.length_mm - shape.length_px) <= defect.u_mm)
    assert np.mean(covered) >= 0.9


def test_what_the_picture_does_not_show_is_measured_by_its_mask() -> None:
    """On an even picture the mask says how long a scratch is; that is told, and is less certain."""
    picture = drawn(bar(80, 6, 25), Drawing())
    classes = marked(picture)
    (seen,) = measured(picture, classes)
    (unseen,) = measured(np.full_like(picture, 60), classes)
    assert (seen.by_grey, unseen.by_grey) == (True, False)
    assert unseen.contrast is None
    assert unseen.length_mm == pytest.approx(80, rel=0.03)
    assert unseen.area_mm2 == pytest.approx(np.count_nonzero(classes))
    assert (unseen.u_mm or 0) > 2 * (seen.u_mm or 0)


def test_a_scratch_over_the_pictures_border_is_measured_by_its_mask() -> None:
    """No edge is believed where half of a profile lies beyond the picture."""
    picture = np.full((60, 120, 3), 60, np.uint8)
    picture[0:3, 20:90] = 200
    (defect,) = measured(picture, (picture[..., 0] > 100).view(np.uint8))
    assert not defect.by_grey
    assert defect.length_mm == pytest.approx(70, abs=2)
    assert defect.area_mm2 == pytest.approx(210)


def test_noise_without_end_is_measured_in_time_by_outlines() -> None:
    """Of hundreds of defects the longest are measured finely, and none is left out."""
    rng = np.random.default_rng(1)
    classes = (cv2.GaussianBlur(rng.random((300, 300)).astype(np.float32), (0, 0), 1.5) > 0.56).astype(np.uint8)
    picture = (classes * 100 + 50).astype(np.uint8)
    defects = measured(picture, classes)
    count, _ = cv2.connectedComponents(classes)
    assert len(defects) == count - 1
    assert len(defects) > 100
    assert all(defect.length_px > 0 and defect.area_px > 0 and defect.width_px > 0 for defect in defects)


class Tilted:
    """A surface seen aslant: rows are half as far apart as columns; a `Scale`."""

    residual_mm = 0.5

    def points_mm(self, points_px: Float64) -> Float64:
        """Return x · 0.1 and y · 0.2."""
        return points_px * np.array([0.1, 0.2])

    def mm_per_px_at(self, point_px: Float64) -> float:  # noqa: ARG002 - the same everywhere
        """Return the root of 0.1 · 0.2."""
        return 0.02**0.5

    def unsure_at(self, points_px: Float64) -> Float64:
        """Return none: nothing bends."""
        return np.zeros(len(points_px))


@pytest.mark.parametrize(("degrees", "long_mm", "wide_mm"), [(0, 8.0, 1.2), (90, 16.0, 0.6)])
def test_a_scale_that_differs_by_direction_is_followed(degrees: float, long_mm: float, wide_mm: float) -> None:
    """A bar of 80 x 6 px on a tilted surface is 8 x 1.2 mm or 16 x 0.6 mm. The residual is part of the uncertainty."""
    picture = drawn(bar(80, 6, degrees), Drawing(blur=0.8))
    classes = marked(picture)
    inspected = region(classes.shape, None, HERE)
    seen, _ = measure(DefectMap(classes, classes), SCRATCH, inspected, HERE, Tilted(), sight=Sight(picture))
    (defect,) = seen.defects
    assert (defect.length_mm, defect.width_mm) == (pytest.approx(long_mm, rel=0.02), pytest.approx(wide_mm, rel=0.1))
    assert defect.area_mm2 == pytest.approx(9.6, rel=0.05)
    assert (defect.u_mm or 0) > 2 * 0.5


def test_a_map_of_a_turned_frame_is_measured_in_the_camera_picture() -> None:
    """The map of a frame that was halved and turned leads to the same sizes: the picture is read, not the map."""
    picture = drawn(bar(80, 6, 30), Drawing(blur=0.8, noise=1))
    side = len(picture)
    turn = np.radians(20)
    linear = 2 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([side / 2, side / 2])
    to_frame = Transform(np.column_stack([linear, middle - linear @ middle]))
    from_frame = to_frame.inverse()
    wide = cv2.dilate(marked(picture), np.ones((3, 3), np.uint8))
    classes = cv2.warpAffine(wide, from_frame.matrix, (side, side), flags=cv2.INTER_NEAREST)
    whole = region(classes.shape, None, HERE)
    seen, _ = measure(DefectMap(classes, classes), SCRATCH, whole, to_frame, UniformScale(1.0), sight=Sight(picture))
    (defect,) = seen.defects
    assert defect.by_grey
    assert (defect.length_mm, defect.width_mm) == (pytest.approx(80, rel=0.02), pytest.approx(6, abs=0.3))


def test_the_distance_to_the_parts_edge_is_that_of_the_nearest_point() -> None:
    """A scratch from x = 30 on is 20 px from the edge of a part from x = 10 on. Without a part none is told."""
    picture = np.full((100, 160), 60, np.uint8)
    picture[48:53, 30:100] = 200
    classes = (picture > 100).view(np.uint8)
    part_px = np.array([[10.0, 5.0], [150.0, 5.0], [150.0, 95.0], [10.0, 95.0]])
    whole = region(classes.shape, None, HERE)
    seen, _ = measure(
        DefectMap(classes, classes), SCRATCH, whole, HERE, UniformScale(0.1), sight=Sight(picture, part_px)
    )
    assert seen.defects[0].edge_distance_px == pytest.approx(20, abs=0.3)
    assert seen.defects[0].edge_distance_mm == pytest.approx(2, abs=0.03)
    assert measured(picture, classes)[0].edge_distance_px is None


def connected(mask: UInt8) -> int:
    """Count the 8-connected parts of a mask."""
    return cv2.connectedComponents(mask, connectivity=8)[0] - 1


def test_a_skeleton_hangs_together_as_its_mask_does() -> None:
    """Of scribbles that cross themselves, each skeleton lies within its mask and has as many parts."""
    rng = np.random.default_rng(7)
    masks = []
    for number in range(12):
        mask = np.zeros((122, 182), np.uint8)
        for line in rng.integers(8, 112, (3, 4, 2)):
            cv2.polylines(mask, [line.astype(np.int32)], isClosed=bool(number % 2), color=1, thickness=2 + number % 5)
        masks.append(mask)
    for mask, skeleton in zip(masks, skeletons(masks), strict=True):
        line = np.zeros_like(mask)
        for each in (skeleton.joints, *(branch.points for branch in skeleton.branches)):
            line[each[:, 1].astype(int), each[:, 0].astype(int)] = 1
        assert (line[mask == 0] == 0).sum() >= (mask == 0).sum() - len(
            skeleton.joints
        )  # a joint's middle may lie beside
        assert connected(mask) == connected(cv2.dilate(line, np.ones((3, 3), np.uint8)) & mask)
        assert cv2.countNonZero(line) < 0.7 * cv2.countNonZero(mask)


def test_a_web_of_noise_and_a_mask_beyond_the_picture_are_measured_all_the_same() -> None:
    """A line that meets itself everywhere, and a defect where the picture has no pixel, have finite sizes."""
    rng = np.random.default_rng(4)
    web = (rng.random((90, 90)) < 0.5).astype(np.uint8)
    for picture in (rng.integers(0, 255, (90, 90), np.uint8), np.full((20, 20), 60, np.uint8)):
        for defect in measured(picture, web):
            sizes = (defect.length_mm, defect.width_mm, defect.area_mm2, defect.u_mm, defect.width_max_mm)
            assert all(size is not None and np.isfinite(size) and size > 0 for size in sizes)
