"""Outlines to pixels and back, and the run-length encodings of labelling tools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import DatasetError
from edge.records import UInt8
from trainer.importing.outlines import box_corners, ellipse_corners, filled, traced
from trainer.importing.run_lengths import of_brush, of_counts, to_counts, unpacked

# pycocotools 2.0.11: mask.encode of `drawn()`
PACKED = (
    "jf0d0X100000000000000AmN5S1KmN5S1KmN5S1KmN5S1KmN5S1:00000000"
    "000000000000000000000000fR1@jmN000000000000000000000000000T8"
)
# label-studio-converter 0.0.59: brush.mask2rle of `brushed()`
BRUSH = [0, 0, 0, 192, 57, 27, 254, 39, 0, 194, 127, 246, 192, 35, 255, 140, 2, 223, 253, 176, 12, 39, 255, 144, 192, 0]


def drawn() -> UInt8:
    """Draw two rectangles, one with a hole."""
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 12:42] = 255
    mask[40:44, 60:75] = 255
    mask[15:20, 20:25] = 0
    return mask


def brushed() -> UInt8:
    """Brush a rectangle, and leave a pixel out."""
    mask = np.zeros((6, 8), np.uint8)
    mask[1:4, 2:7] = 255
    mask[2, 3] = 0
    return mask


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 999), st.floats(0.05, 0.95))
def test_what_is_traced_is_filled_again(height: int, width: int, seed: int, share: float) -> None:
    """Each part of any mask, with holes and corner-touching pixels, is one outline that gives it back."""
    mask = np.where(np.random.default_rng(seed).random((height, width)) < share, np.uint8(255), np.uint8(0))
    again = np.zeros_like(mask)
    for outline in traced(mask):
        again |= filled([outline], mask.shape)
    np.testing.assert_array_equal(again, mask)
    np.testing.assert_array_equal(of_counts(to_counts(mask), (height, width), "x"), mask)


def test_pixels_whose_centre_is_inside_are_filled() -> None:
    """A box from 1.4 to 3.6 has the pixels 1 to 3. Neighbours share none, a ring within is a hole, the rest is cut."""
    box = filled([box_corners(1.4, 1.4, 2.2, 2.2)], (6, 6))
    assert np.argwhere(box).tolist() == [[y, x] for y in (1, 2, 3) for x in (1, 2, 3)]
    left, right = (filled([box_corners(x, 0, 2.5, 4)], (4, 6)) for x in (0, 2.5))
    assert not (left & right).any()
    assert (left | right)[:, :5].all()
    hole = filled([box_corners(0, 0, 6, 6), box_corners(2, 2, 2, 2)], (6, 6))
    assert int((hole > 0).sum()) == 32
    assert int((filled([box_corners(-5, -5, 7, 7)], (6, 6)) > 0).sum()) == 4
    assert not filled([box_corners(9, 9, 3, 3)], (6, 6)).any()
    circle = filled([ellipse_corners(50, 50, 40, 20, 90)], (100, 100))
    assert int((circle > 0).sum()) == pytest.approx(np.pi * 40 * 20, rel=0.01)
    assert circle[85, 50]  # turned, it stands upright
    assert not circle[50, 85]


def test_runs_are_what_the_tools_wrote() -> None:
    """Strings of pycocotools and bytes of Label Studio's converter give the masks that they were made of."""
    np.testing.assert_array_equal(of_counts(unpacked(PACKED, "x"), (60, 80), "x"), drawn())
    np.testing.assert_array_equal(of_brush(BRUSH, (6, 8), "x"), brushed())
    counts = [2, 3, 1]
    assert of_counts(counts, (2, 3), "x", along_rows=True).tolist() == [[0, 0, 255], [255, 255, 0]]
    assert of_counts(counts, (2, 3), "x").tolist() == [[0, 255, 255], [0, 255, 0]]


@pytest.mark.parametrize(
    ("read", "says"),
    [
        (lambda: of_counts([3, 4], (2, 3), "a.json"), "a.json: expected runs of 6 px in all"),
        (lambda: of_counts([-1, 7], (2, 3), "a.json"), "expected runs of 0 px and more, received -1"),
        (lambda: unpacked("é", "a.json"), "expected packed runs"),
        (lambda: unpacked("Po", "a.json"), "cut off"),
        (lambda: of_brush(BRUSH, (6, 9), "a.json"), "expected a brush of four channels of 9 x 6 px"),
        (lambda: of_brush(BRUSH[:-9], (6, 8), "a.json"), "cut off"),
        (lambda: of_brush([256], (6, 8), "a.json"), "expected bytes"),
        (lambda: of_brush([], (6, 8), "a.json"), "cut off"),
    ],
)
def test_runs_that_cannot_be_are_refused(read: object, says: str) -> None:
    """Runs of another size, cut off, or of other letters name where they stand."""
    with pytest.raises(DatasetError, match=says):
        read()  # type: ignore[operator]  # a function without arguments
