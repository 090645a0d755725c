"""Sizes and skeletons against scikit-image, which knows nothing of ours."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import measure
from skimage.morphology import skeletonize

from benchmarks.drawn_shapes import GROUND, INK, Drawing, Shape, arc, bar, cross, disc, drawn, marked, measured, square
from edge.inspection.skeleton import skeletons


@pytest.mark.parametrize("shape", [bar(90, 7, 31), arc(30, 6, 360), arc(40, 5, 200), cross(90, 6, 20, 70)])
def test_a_skeleton_is_about_that_of_scikit_image(shape: Shape) -> None:
    """Each point of ours lies within 1.5 px of one of theirs, and theirs within 3 px of ours. At ends they differ."""
    mask = np.pad(marked(drawn(shape, Drawing(blur=0.8))), 1)
    (own,) = skeletons([mask])
    points = np.concatenate([own.joints, *(branch.points for branch in own.branches)])
    rows, columns = np.nonzero(skeletonize(mask > 0))
    theirs = np.column_stack([columns, rows]) + 0.5
    apart = np.hypot(*(points[:, None] - theirs).transpose(2, 0, 1))
    assert np.percentile(apart.min(axis=1), 98) <= 1.5
    assert np.percentile(apart.min(axis=0), 98) <= 3.0


@pytest.mark.parametrize("shape", [disc(26), square(24, 17), bar(80, 8, 40), arc(40, 7, 160)])
def test_an_area_is_that_within_the_contour_at_half_the_height(shape: Shape) -> None:
    """The area is within 2 % of that of `find_contours` at the middle grey value, where nothing is blurred."""
    picture = drawn(shape, Drawing((0.3, 0.2), blur=0.5))
    (defect,) = measured(picture, marked(picture))
    contours = measure.find_contours(picture.astype(float), (GROUND + INK) / 2)
    x, y = max(contours, key=len).T
    enclosed = abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2
    assert defect.area_px == pytest.approx(enclosed, rel=0.02)


def test_orientation_and_largest_extent_are_those_of_regionprops() -> None:
    """A bar's direction is within 1 degree of theirs, and its length within 2 px of their largest Feret diameter."""
    for degrees in (10, 60, 130):
        picture = drawn(bar(80, 6, degrees), Drawing(blur=0.6))
        classes = marked(picture)
        (defect,) = measured(picture, classes)
        (theirs,) = measure.regionprops(classes)
        turned = np.degrees(theirs.orientation) - 90  # from the rows' axis
        assert defect.orientation_deg is not None
        assert abs((defect.orientation_deg - turned + 90) % 180 - 90) < 1, degrees
        assert defect.length_px == pytest.approx(theirs.feret_diameter_max, abs=2)
