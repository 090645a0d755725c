from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge.inspection import measuring
from edge.inspection.measuring import Measurement, measure, region
from edge.inspection.scale import UniformScale
from edge.opencv import cv2
from edge.records import DefectClass, DefectMap, Transform, UInt8

CLASSES = (
    DefectClass(1, "scratch", "major", (255, 0, 0), 0.5, 0),
    DefectClass(2, "stain", "minor", (0, 255, 0), 0.5, 0),
)
HERE = Transform.identity()


def read(classes: UInt8, min_area_px: float = 0, mm_per_px: float | None = None, **where: object) -> Measurement:
    """Measure a map of class ids whose scores are all 204 (0.8)."""
    known = tuple(DefectClass(c.id, c.name, c.severity, c.colour, c.threshold, min_area_px) for c in CLASSES)
    inspected = region(classes.shape, where.get("polygon"), HERE)
    scores = np.where(classes > 0, 204, 0).astype(np.uint8)
    scale = UniformScale(mm_per_px) if mm_per_px else None
    return measure(DefectMap(classes, scores), known, inspected, HERE, scale)[0]


def test_a_rectangle_is_measured_as_drawn() -> None:
    """A 30 x 4 px bar in a 100 x 50 frame at 0.5 mm/px: coverage 120/5000, 15 x 2 mm, 30 mm²; box, score."""
    classes = np.zeros((50, 100), np.uint8)
    classes[10:14, 20:50] = 1
    seen = read(classes, mm_per_px=0.5)
    (defect,) = seen.defects
    assert seen.coverage == 30 * 4 / (50 * 100)
    assert seen.coverage_mm2 == pytest.approx(30 * 4 * 0.5**2)
    assert (defect.class_name, defect.bbox, defect.area_px) == ("scratch", (20, 10, 30, 4), 120)
    assert defect.score == pytest.approx(204 / 255)
    assert (defect.length_mm, defect.width_mm) == pytest.approx((30 * 0.5, 4 * 0.5), abs=0.01)
    assert defect.area_mm2 == pytest.approx(120 * 0.25)
    assert (seen.classes["scratch"].count, seen.classes["stain"].count) == (1, 0)
    assert seen.classes["stain"].coverage == 0


def pen(distance_px: npt.NDArray[np.float64], thickness_px: float) -> UInt8:
    """Mark the pixels whose centre lies within half a thickness of an ideal line, given each one's distance to it."""
    return (distance_px <= thickness_px / 2).astype(np.uint8)


def test_a_slanted_line_has_its_own_length() -> None:
    """A line 5 px wide from (10, 10) to (70, 90) is sqrt(60² + 80²) = 100 px long, not 80."""
    ys, xs = np.mgrid[0:120, 0:120]
    along = ((xs - 10) * 60 + (ys - 10) * 80) / 100
    across = np.abs((xs - 10) * 80 - (ys - 10) * 60) / 100
    classes = pen(np.where((along >= 0) & (along <= 100), across, np.inf), 5)
    (defect,) = read(classes).defects
    assert defect.length_px == pytest.approx(100, abs=3)
    assert defect.width_px == pytest.approx(5, abs=0.5)
    assert defect.length_mm is defect.area_mm2 is None


def test_a_curved_scratch_is_as_long_as_its_curve() -> None:
    """Half a circle of radius 40, drawn 5 px wide, is `pi * 40 = 126` px long, in 85 x 43."""
    ys, xs = np.mgrid[0:120, 0:120]
    classes = pen(np.where(ys >= 60, np.abs(np.hypot(xs - 60, ys - 60) - 40), np.inf), 5)
    (defect,) = read(classes).defects
    assert defect.length_px == pytest.approx(math.pi * 40, rel=0.08)
    assert defect.width_px == pytest.approx(5, rel=0.08)


def test_touching_defects_of_two_classes_are_two() -> None:
    """Connectivity is 8 within a class, and never crosses from one class to another."""
    classes = np.array([[1, 1, 2], [0, 0, 2], [1, 0, 0], [0, 1, 0]], np.uint8)
    seen = read(classes)
    assert sorted((d.class_name, d.area_px) for d in seen.defects) == [("scratch", 2), ("scratch", 2), ("stain", 2)]


def test_a_defect_within_the_hole_of_another_is_found() -> None:
    """A stain inside a ring-shaped scratch counts, and so does a scratch inside a ring of its own class."""
    classes = np.zeros((30, 30), np.uint8)
    cv2.circle(classes, (15, 15), 12, 1, 2)
    classes[14:17, 14:17] = 2
    classes[10, 10] = 1
    seen = read(classes)
    assert (seen.classes["scratch"].count, seen.classes["stain"].count) == (2, 1)


def test_specks_are_wiped_from_map_coverage_and_count() -> None:
    """Below the smallest area a defect is a speck, and map, coverage and count agree that it is not there."""
    classes = np.zeros((20, 20), np.uint8)
    classes[2:5, 2:5] = 1  # 9 px: stays
    classes[10:12, 10:14] = 1  # 8 px: goes
    scores = classes * 200
    known = tuple(DefectClass(c.id, c.name, c.severity, c.colour, c.threshold, 9) for c in CLASSES)
    given_map = DefectMap(classes.copy(), scores)
    seen, kept = measure(given_map, known, region((20, 20), None, HERE), HERE, None)
    assert seen.coverage == 9 / 400
    assert [d.area_px for d in seen.defects] == [9]
    assert int((kept.classes > 0).sum()) == int((kept.scores > 0).sum()) == 9
    np.testing.assert_array_equal(given_map.classes, classes)  # the argument is left as it was


def test_only_the_region_is_inspected() -> None:
    """Coverage is a fraction of the region, without pixels outside of it: 10 of a 10 x 20 region's 200 px."""
    classes = np.zeros((40, 40), np.uint8)
    classes[0, :30] = 1
    seen = read(classes, polygon=((20, 0), (40, 0), (40, 10), (20, 10)))
    assert seen.region_px == 200
    assert seen.coverage == 10 / 200
    assert seen.defects[0].bbox == (20, 0, 10, 1)


@given(
    st.lists(st.tuples(st.integers(-5, 30), st.integers(-5, 30)), min_size=3, max_size=7),
)
def test_a_region_is_the_set_of_pixels_whose_centre_lies_inside(corners: list[tuple[int, int]]) -> None:
    """Rasterising agrees with OpenCV's point-in-polygon test wherever the polygon does not cross itself."""
    hull = cv2.convexHull(np.array(corners, np.float32)).reshape(-1, 2)
    if len(hull) < 3:
        return
    mask = region((24, 24), tuple((float(x), float(y)) for x, y in hull), HERE).mask
    assert mask is not None
    for y in range(24):
        for x in range(24):
            side = cv2.pointPolygonTest(hull, (x + 0.5, y + 0.5), measureDist=True)
            if abs(side) > 1e-4:
                assert (mask[y, x] > 0) == (side > 0), (x, y)


def oracle(classes: UInt8) -> list[tuple[int, int, tuple[int, ...]]]:
    """Find components by labelling the whole map once per class: slower, and simpler."""
    found = []
    for class_id in (1, 2):
        _, _, stats, _ = cv2.connectedComponentsWithStats((classes == class_id).astype(np.uint8), connectivity=8)
        found += [(class_id, int(s[4]), tuple(int(v) for v in s[:4])) for s in stats[1:]]
    return sorted(found)


@settings(max_examples=200)
@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.integers(0, 2)))
def test_components_agree_with_labelling_the_whole_map(classes: UInt8) -> None:
    """Looking only into the boxes around outlines finds exactly what labelling everything finds."""
    defects = read(classes).defects
    assert sorted((d.class_id, round(d.area_px), d.bbox) for d in defects) == oracle(classes)


def test_a_map_full_of_specks_takes_the_other_road_and_agrees() -> None:
    """Beyond 256 islands the whole map is labelled at once, with the same result."""
    rng = np.random.default_rng(5)
    classes = (rng.random((200, 200)) < 0.05).astype(np.uint8) * rng.integers(1, 3, (200, 200), np.uint8)
    outlines, _ = cv2.findContours(classes, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    assert len(outlines) > measuring._BOXES_AT_MOST
    assert sorted((d.class_id, round(d.area_px), d.bbox) for d in read(classes).defects) == oracle(classes)


def test_boxes_and_millimetres_are_those_of_the_camera_frame() -> None:
    """A map of a frame that was halved and shifted by (10, 20) is measured in the frame's own pixels."""
    to_frame = Transform(np.array([[2.0, 0.0, 10.0], [0.0, 2.0, 20.0]]))
    classes = np.zeros((20, 20), np.uint8)
    classes[5:7, 3:13] = 1
    known = CLASSES
    seen, _ = measure(
        DefectMap(classes, classes * 100), known, region((20, 20), None, to_frame), to_frame, UniformScale(0.1)
    )
    (defect,) = seen.defects
    assert defect.bbox == (2 * 3 + 10, 2 * 5 + 20, 20, 4)
    assert defect.area_px == 20 * 4
    assert (defect.length_px, defect.width_px) == pytest.approx((20, 4), abs=0.05)  # OpenCV 4 reads in 32nds of a px
    assert seen.coverage_mm2 == pytest.approx(80 * 0.01)


def test_a_cell_of_a_patch_classifier_counts_its_stride_squared() -> None:
    """With a stride of 8 one defective cell is 64 px, and its box is in pixels."""
    classes = np.zeros((4, 4), np.uint8)
    classes[1, 2] = 2
    seen, _ = measure(DefectMap(classes, classes * 50, 8), CLASSES, region((4, 4), None, HERE), HERE, None)
    assert (seen.defects[0].area_px, seen.defects[0].bbox) == (64, (16, 8, 8, 8))
    assert seen.coverage == 1 / 16
