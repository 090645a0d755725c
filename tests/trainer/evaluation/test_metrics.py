from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge.records import UInt8
from trainer.evaluation.bootstrap import intervals
from trainer.evaluation.metrics import Scores, score_picture

NAMES = ("scratch", "stain")


def maps(*rows: str) -> UInt8:
    """Write a map as digits."""
    return np.array([[int(digit) for digit in row] for row in rows], np.uint8)


def test_figures_of_two_pictures_by_hand() -> None:
    """Every figure of a small case, with its arithmetic."""
    scores = Scores(NAMES)
    scores.add(maps("1100", "0000"), maps("1000", "0020"))  # a scratch half found, and a stain that is not there
    scores.add(maps("0000", "0222"), maps("0000", "0220"))  # a stain two thirds found
    report = scores.report()
    # pooled: scratch hit 1 of truth 2, answered 1; stain hit 2 of truth 3, answered 3. Background hit 10, truth 11,
    # answered 12
    assert report["iou"]["scratch"] == 1 / (2 + 1 - 1)
    assert report["iou"]["stain"] == 2 / (3 + 3 - 2)
    assert report["iou"]["background"] == 10 / (11 + 12 - 10)
    assert report["miou"] == pytest.approx((1 / 2 + 2 / 4 + 10 / 13) / 3)
    assert report["pixel_accuracy"] == (10 + 1 + 2) / 16
    # Dice over all pictures: one without the class in truth or answer scores 1
    assert report["dice_all"]["scratch"] == pytest.approx((2 * 1 / (2 + 1) + 1) / 2)
    assert report["dice_all"]["stain"] == pytest.approx((0 + 2 * 2 / (3 + 2)) / 2)
    assert report["dice_nonempty"] == {"scratch": pytest.approx(2 / 3), "stain": pytest.approx(4 / 5)}
    assert report["missed_pictures"] == {"all": 0, "scratch": 0, "stain": 0}
    assert report["false_pictures"] == {"all": None, "scratch": 0, "stain": 1.0}  # of the one picture without a stain
    assert report["counts"]["false"] == {"scratch": 0, "stain": 1}


def test_a_defect_beside_the_mask_does_not_count_as_found() -> None:
    """A picture is missed where no answered defect of its class overlaps the mask, and clean ones can be flagged."""
    scores = Scores(NAMES)
    scores.add(maps("1100"), maps("0011"))  # a scratch in the wrong place
    scores.add(maps("1100"), maps("2200"))  # of the wrong class
    scores.add(maps("0000"), maps("0001"))  # nothing was there
    scores.add(maps("0000"), maps("0000"))
    report = scores.report()
    assert report["missed_pictures"] == {"all": 1.0, "scratch": 1.0, "stain": None}
    assert report["false_pictures"] == {"all": 0.5, "scratch": 0.5, "stain": 1 / 4}


def test_what_is_called_by_another_name_is_missed_and_not_passed() -> None:
    """A defective picture is passed as clean where nothing is answered at all, whichever class it shows."""
    scores = Scores(NAMES)
    scores.add(maps("1100"), maps("2200"))  # of the wrong class: rejected for a wrong reason
    scores.add(maps("1100"), maps("0011"))  # in the wrong place: rejected as well
    scores.add(maps("0220"), maps("0000"))  # passed
    scores.add(maps("0000"), maps("0000"))  # clean
    report = scores.report()
    assert report["missed_pictures"]["all"] == 1
    assert report["passed_pictures"] == {"all": 1 / 3}
    assert intervals(scores, list("abcd"))["passed_pictures"]["all"] == [0, 1]  # of three pieces that tell, one passed


def test_an_all_empty_mask_cannot_shine() -> None:
    """Black answers score well where blackness is common, and 0 or 1 in what counts: found and missed."""
    truth = np.zeros((100, 100), np.uint8)
    truth[50, :10] = 1
    scores = Scores(NAMES)
    scores.add(truth, np.zeros_like(truth))
    report = scores.report()
    assert report["pixel_accuracy"] == 0.999
    assert report["iou"]["scratch"] == 0
    assert report["iou"]["stain"] is None  # nowhere, so not part of the mean
    assert report["miou"] == pytest.approx((9990 / 10000 + 0) / 2)
    assert report["dice_nonempty"]["scratch"] == 0
    assert report["missed_pictures"]["all"] == 1


@given(*[npst.arrays(np.uint8, (6, 7), elements=st.integers(0, 2)) for _ in range(2)])
def test_the_confusion_matrix_agrees_with_counting(truth: UInt8, answer: UInt8) -> None:
    """Cell (i, j) counts the pixels of truth i answered as j."""
    confusion = score_picture(truth, answer, 2).confusion
    for i in range(3):
        for j in range(3):
            assert confusion[i, j] == ((truth == i) & (answer == j)).sum()
