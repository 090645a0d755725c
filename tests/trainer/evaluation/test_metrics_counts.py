"""Precision, recall, defects, thin lines, confusion and labels: by hand, and beside scikit-learn where it is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge.records import UInt8
from tests.trainer.evaluation.test_metrics import NAMES, maps
from trainer.evaluation.line_tolerance import tolerant_counts
from trainer.evaluation.metrics import Scores, majority, score_labels, score_picture

two_maps = npst.arrays(np.uint8, (9, 11), elements=st.integers(0, 2))


def test_regions_defects_and_rates_by_hand() -> None:
    """Two true scratches, one half found; one answer that is right and one that is not."""
    scores = Scores(NAMES)
    scores.add(maps("110010", "000010", "000000"), maps("100000", "000000", "011000"))
    report = scores.report()
    # true 4 px, answered 3, of which 1 in both
    assert report["missed_region"] == {"all": 3 / 4, "scratch": 3 / 4, "stain": None}
    assert report["by_pixel"]["precision"] == {"all": 1 / 3, "scratch": 1 / 3, "stain": None}
    assert report["by_pixel"]["recall"] == {"all": 1 / 4, "scratch": 1 / 4, "stain": None}
    assert report["by_pixel"]["f1"]["scratch"] == pytest.approx(2 * 1 / (3 + 4))
    assert report["by_pixel"]["f1"]["stain"] is None  # nothing true, nothing answered: no merit
    assert report["by_defect"]["recall"]["scratch"] == 1 / 2
    assert report["by_defect"]["precision"]["scratch"] == 1 / 2
    assert report["by_picture"]["f1"]["scratch"] == 1.0
    assert report["accuracy"] is None  # it is no classifier
    assert report["tolerant"] is None  # not asked for


def test_an_answer_in_the_wrong_place_does_not_raise_a_pictures_precision() -> None:
    """Of two pictures answered as scratched one is scratched elsewhere: precision 1/2, recall 1/2."""
    scores = Scores(NAMES)
    scores.add(maps("1100"), maps("0011"))
    scores.add(maps("1100"), maps("1000"))
    rates = scores.report()["by_picture"]
    assert (rates["precision"]["scratch"], rates["recall"]["scratch"], rates["f1"]["scratch"]) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("tolerance_px", "answered_near", "true_near"),
    [(0, 0, 0), (1, 4, 4), (1.5, 5, 4), (3, 5, 4)],
)
def test_a_line_drawn_beside_the_true_one_is_right_within_the_tolerance(
    tolerance_px: float, answered_near: int, true_near: int
) -> None:
    """A line of 5 px lies 1 px below a true one of 4 px. Its last pixel is sqrt(2) away from that one's last."""
    truth, answer = maps("111100", "000000"), maps("000000", "111110")
    counts = tolerant_counts(truth, answer, 1, tolerance_px)
    assert (counts.answered[0], counts.true[0]) == (5, 4)
    assert (counts.answered_near[0], counts.true_near[0]) == (answered_near, true_near)
    scores = Scores(("crack",), tolerance_px=tolerance_px)
    scores.add(truth, answer)
    tolerant = scores.report()["tolerant"]
    assert tolerant["precision"]["crack"] == answered_near / 5
    assert tolerant["recall"]["crack"] == true_near / 4


@settings(deadline=None)  # a busy machine is no failure
@given(two_maps, two_maps, st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.7]))
def test_tolerance_agrees_with_measuring_every_pair(truth: UInt8, answer: UInt8, tolerance_px: float) -> None:
    """A pixel counts exactly if some pixel of the other map is at most so far away."""
    counts = tolerant_counts(truth, answer, 2, tolerance_px)
    for class_id in (1, 2):
        true, own = np.argwhere(truth == class_id), np.argwhere(answer == class_id)
        squares = ((true[:, None] - own[None]) ** 2).sum(axis=2)
        near = squares <= tolerance_px**2
        assert counts.true_near[class_id - 1] == near.any(axis=1).sum()
        assert counts.answered_near[class_id - 1] == near.any(axis=0).sum()


def test_defects_and_f1_agree_with_scikit_learn_and_scipy() -> None:
    """Pixel rates, the confusion matrix and counts of defects are those of libraries that others wrote."""
    sk = pytest.importorskip("sklearn.metrics")
    ndimage = pytest.importorskip("scipy.ndimage")
    generator = np.random.default_rng(5)
    truth, answer = (generator.choice(3, (60, 80), p=[0.8, 0.1, 0.1]).astype(np.uint8) for _ in range(2))
    scores = Scores(NAMES)
    scores.add(truth, answer)
    report = scores.report()
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth.ravel(), answer.ravel(), labels=[1, 2])
    assert list(report["by_pixel"]["precision"].values())[1:] == pytest.approx(list(precision))
    assert list(report["by_pixel"]["recall"].values())[1:] == pytest.approx(list(recall))
    assert list(report["by_pixel"]["f1"].values())[1:] == pytest.approx(list(f1))
    micro = sk.precision_recall_fscore_support(truth.ravel(), answer.ravel(), labels=[1, 2], average="micro")
    assert [report["by_pixel"][kind]["all"] for kind in ("precision", "recall", "f1")] == pytest.approx(micro[:3])
    assert report["confusion"]["pixels"] == sk.confusion_matrix(truth.ravel(), answer.ravel()).tolist()
    jaccard = sk.jaccard_score(truth.ravel(), answer.ravel(), average=None)
    assert list(report["iou"].values()) == pytest.approx(list(jaccard))
    for class_id, name in enumerate(NAMES, start=1):
        labels, count = ndimage.label(truth == class_id, np.ones((3, 3)))
        found = len(set(labels[answer == class_id]) - {0})
        assert report["by_defect"]["recall"][name] == found / count


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(two_maps, two_maps), max_size=4))
def test_no_figure_is_flattered_by_emptiness(pictures: list[tuple[UInt8, UInt8]]) -> None:
    """An all-empty answer finds nothing, whatever the pictures: every recall is 0 or None, every precision None."""
    empty = Scores(NAMES, tolerance_px=1)
    for truth, _ in pictures:
        empty.add(truth, np.zeros_like(truth))
    report = empty.report()
    for part in ("by_pixel", "by_picture", "by_defect", "tolerant"):
        assert set(report[part]["recall"].values()) <= {0, None}
        assert set(report[part]["precision"].values()) == {None}
        assert set(report[part]["f1"].values()) <= {0, None}
    assert set(report["missed_region"].values()) <= {1.0, None}


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(two_maps, two_maps), min_size=1, max_size=4))
def test_every_share_is_one(pictures: list[tuple[UInt8, UInt8]]) -> None:
    """Figures lie in 0-1, and missed and found regions add up to all."""
    scores = Scores(NAMES, tolerance_px=2)
    for truth, answer in pictures:
        scores.add(truth, answer)
    report = scores.report()
    for part in ("by_pixel", "by_picture", "by_defect", "tolerant"):
        for kind in ("precision", "recall", "f1"):
            assert all(value is None or 0 <= value <= 1 for value in report[part][kind].values())
    for name, missed in report["missed_region"].items():
        recall = report["by_pixel"]["recall"][name]
        assert (missed is None) == (recall is None)
        assert missed is None or missed + recall == pytest.approx(1)
    assert sum(map(sum, report["confusion"]["pictures"])) == len(pictures)


def test_a_picture_counts_as_one_class() -> None:
    """Of its defects the larger leads; of several true ones that which was answered; clean only without any."""
    truth, answer = maps("112000", "000000"), maps("002000", "000000")
    score = score_picture(truth, answer, 2)
    assert (score.true_id, score.answered_id) == (2, 2)
    score = score_picture(truth, maps("000000", "000011"), 2)
    assert (score.true_id, score.answered_id) == (1, 1)
    score = score_picture(truth, np.zeros_like(truth), 2)
    assert (score.true_id, score.answered_id) == (1, 0)
    # an answer for the whole picture is clean where most of it is
    for top, bottom, majority_id in (("002000", "000000", 0), ("111222", "000111", 1), ("222222", "000000", 2)):
        assert majority(np.bincount(maps(top, bottom).ravel(), minlength=3)) == majority_id  # a tie is no pass


def test_labels_without_masks_by_hand() -> None:
    """Of four pictures two are answered rightly; a picture with two labels may be answered as either."""
    scores = Scores(NAMES, labels_only=True)
    for labels, answered in (([1], 1), ([1, 2], 2), ([2], 1), ([], 2)):
        scores.append(score_labels(labels, answered, 2))
    report = scores.report()
    assert report["accuracy"] == 2 / 4
    assert report["confusion"]["picture_classes"] == ["clean", "scratch", "stain"]
    assert report["confusion"]["pictures"] == [[0, 0, 1], [0, 1, 0], [0, 1, 1]]
    assert report["confusion"]["pixels"] is None
    for key in ("miou", "pixel_accuracy", "tolerant"):
        assert report[key] is None
    for key in ("iou", "dice_all", "dice_nonempty", "missed_region"):
        assert set(report[key].values()) == {None}
    for part in ("by_pixel", "by_defect"):
        assert {value for kind in report[part].values() for value in kind.values()} == {None}
    assert report["by_picture"]["recall"]["stain"] == 1 / 2
    assert scores.majority_baseline() == {"class": "stain", "accuracy": 2 / 4}


def test_of_nothing_nothing_is_claimed() -> None:
    """An evaluation of no picture has no figure, and none of them crashes or shines."""
    for labels_only in (False, True):
        scores = Scores(NAMES, labels_only=labels_only, judges_whole_pictures=True)
        report = scores.report()
        assert report["pictures"] == 0
        assert report["accuracy"] is None
        assert report["miou"] is None
        assert report["missed_pictures"]["all"] is None
        assert scores.majority_baseline()["accuracy"] is None
