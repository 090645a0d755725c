from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import DatasetError
from edge.records import UInt8
from trainer.datasets.cells import cells_of, labelled_whole
from trainer.datasets.dataset import Entry, Picture


def test_a_cell_takes_the_class_that_fills_most_of_it() -> None:
    """Of 16 pixels 3 are of class 1 and 4 of class 2: the cell is 2; a clean one is 0; equals give the lower id."""
    truth = np.zeros((1, 4, 12), np.uint8)
    truth[0, 0, :3] = 1
    truth[0, 1, :4] = 2
    truth[0, 2, 8:10], truth[0, 3, 8:10] = 2, 1
    np.testing.assert_array_equal(cells_of(truth, 4, 0.25), [[[2, 0, 1]]])


def test_all_defects_together_decide_whether_a_cell_is_defective() -> None:
    """3 + 4 of 16 pixels are 0.4375 of it: enough for 0.4, not for 0.5."""
    truth = np.zeros((1, 4, 4), np.uint8)
    truth[0, 0, :3], truth[0, 1] = 1, 2
    assert cells_of(truth, 4, 0.4).item() == 2
    assert cells_of(truth, 4, 0.5).item() == 0


def test_a_thin_defect_counts_by_its_pixels() -> None:
    """A line of 8 pixels fills an eighth of 8 x 8: below a share of 0.2, but from 8 pixels on it counts."""
    truth = np.zeros((1, 8, 8), np.uint8)
    truth[0, 3] = 1
    assert cells_of(truth, 8, 0.2).item() == 0
    assert cells_of(truth, 8, 0.2, 8).item() == 1
    assert cells_of(truth, 8, 0.2, 9).item() == 0


def test_a_share_of_nothing_makes_no_defects() -> None:
    """At `min_share` 0 a cell still needs a defect pixel."""
    assert not cells_of(np.zeros((2, 4, 4), np.uint8), 2, 0.0).any()
    one = np.zeros((1, 4, 4), np.uint8)
    one[0, 0, 0] = 3
    np.testing.assert_array_equal(cells_of(one, 2, 0.0), [[[3, 0], [0, 0]]])


def test_odd_sizes_are_refused() -> None:
    """A cell that would be cut is a mistake of sizes."""
    with pytest.raises(ValueError, match="6 x 8 px have no whole cells of 4 px"):
        cells_of(np.zeros((1, 6, 8), np.uint8), 4, 0.1)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_cells_agree_with_counting_one_by_one(data: st.DataObject) -> None:
    """Each cell is what counting its own pixels says."""
    stride = data.draw(st.integers(1, 4))
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    truth: UInt8 = generator.choice(4, (2, 2 * stride, 3 * stride), p=(0.7, 0.1, 0.1, 0.1)).astype(np.uint8)
    share, least = data.draw(st.floats(0, 1)), data.draw(st.none() | st.integers(1, 6))
    cells = cells_of(truth, stride, share, least)
    assert cells.shape == (2, 2, 3)
    for n, y, x in np.ndindex(cells.shape):
        own = truth[n, y * stride : (y + 1) * stride, x * stride : (x + 1) * stride]
        counts = np.bincount(own.ravel(), minlength=4)[1:]
        enough = counts.sum() >= share * stride**2 or (least is not None and counts.sum() >= least)
        assert cells[n, y, x] == (counts.argmax() + 1 if enough and counts.sum() else 0) or stride == 1


def test_a_label_without_a_mask_is_for_the_whole_picture() -> None:
    """A classified picture is of its class throughout; with a mask or no label it stays; two labels are refused."""

    def picture(masks: tuple[tuple[str, Path], ...], labels: set[str]) -> Picture:
        entry = Entry("a.png", Path("a.png"), masks, "g", frozenset(labels))
        return Picture(entry, np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2), np.uint8))

    names = ["dent", "scratch"]
    assert (labelled_whole(picture((), {"scratch"}), names).truth == 2).all()
    assert not labelled_whole(picture((), set()), names).truth.any()
    assert not labelled_whole(picture((("scratch", Path("m.png")),), {"scratch"}), names).truth.any()
    with pytest.raises(DatasetError, match=r"a\.png: expected one class .* received dent, scratch"):
        labelled_whole(picture((), {"dent", "scratch"}), names)
