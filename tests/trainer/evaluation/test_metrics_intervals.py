"""Intervals and rankings: beside arithmetic, exact formulae, and scikit-learn where it is there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.records import UInt8
from trainer.evaluation.bootstrap import intervals, share_interval
from trainer.evaluation.metrics import Scores, score_labels
from trainer.evaluation.ranking import Ranking, curve


def picture(defective: bool, found: bool, side: int = 4) -> tuple[UInt8, UInt8]:
    """Make a truth and an answer of one class."""
    truth, answer = np.zeros((side, side), np.uint8), np.zeros((side, side), np.uint8)
    truth[0, :2] = defective
    answer[0, :2] = found
    return truth, answer


def scored(pictures: list[tuple[bool, bool]]) -> Scores:
    """Score pictures by whether they are defective and whether that is found."""
    scores = Scores(("scratch",))
    for defective, found in pictures:
        scores.add(*picture(defective, found))
    return scores


def test_an_interval_is_about_as_wide_as_the_normal_one() -> None:
    """30 of 100 missed, each its own piece: 0.3 -+ 1.96 sqrt(0.3 * 0.7 / 100), which is 0.21 to 0.39."""
    scores = scored([(True, k >= 30) for k in range(100)])
    low, high = intervals(scores, [str(k) for k in range(100)])["missed_pictures"]["all"]
    half = 1.96 * (0.3 * 0.7 / 100) ** 0.5
    assert low == pytest.approx(0.3 - half, abs=0.015)
    assert high == pytest.approx(0.3 + half, abs=0.015)


def test_pictures_of_one_piece_tell_no_more_than_one() -> None:
    """The same hundred pictures of ten pieces: the interval is about sqrt(10) times as wide."""
    scores = scored([(True, k >= 30) for k in range(100)])
    low, high = intervals(scores, [str(k // 10) for k in range(100)])["missed_pictures"]["all"]
    half = 1.96 * (0.3 * 0.7 / 10) ** 0.5
    assert high - low == pytest.approx(2 * half, rel=0.15)


def test_none_of_eight_missed_is_not_certainty() -> None:
    """Clopper and Pearson: 0 of 8 is at most 1 - 0.025^(1/8) = 0.369; and 8 of 8 at least 0.631."""
    names = [str(k) for k in range(8)]
    assert intervals(scored([(True, True)] * 8), names)["missed_pictures"]["scratch"] == [
        0,
        pytest.approx(0.3694, abs=1e-4),
    ]
    assert intervals(scored([(True, False)] * 8), names)["missed_pictures"]["all"] == [
        pytest.approx(0.6306, abs=1e-4),
        1,
    ]


def test_an_interval_is_that_of_the_figure_itself() -> None:
    """Pixel accuracy, precision, recall and F1, also within 2 px: the report's own figures of 400 drawings of pieces.

    Drawn here picture by picture, each drawing scored anew; the interval lies between their percentiles.
    """
    generator = np.random.default_rng(5)
    names, groups = ("scratch", "stain"), [str(k // 2) for k in range(12)]
    pictures = [tuple(generator.integers(0, 3, (2, 6, 8)).astype(np.uint8)) for _ in groups]
    pictures[3] = (pictures[3][0], np.zeros((6, 8), np.uint8))
    drawings = np.random.default_rng(0).multinomial(6, [1 / 6] * 6, 400)

    def scored_as(counts: Sequence[int]) -> Scores:
        scores = Scores(names, tolerance_px=2.0)
        for (truth, answer), group in zip(pictures, groups, strict=True):
            for _ in range(counts[int(group)]):
                scores.add(truth, answer)
        return scores

    found = intervals(scored_as([1] * 6), groups, resamples=400)
    reports = [scored_as(counts).report() for counts in drawings]
    for path in (
        ("pixel_accuracy",),
        *[("by_pixel", rate, name) for rate in ("precision", "recall", "f1") for name in ("all", *names)],
        *[("tolerant", rate, name) for rate in ("precision", "recall", "f1") for name in ("all", *names)],
    ):
        values = np.array([reduce(lambda at, key: at[key], path, report) for report in reports], float)
        interval = reduce(lambda at, key: at[key], path, found)
        if np.ptp(values):
            assert interval == pytest.approx(np.percentile(values, [2.5, 97.5])), path
        else:
            assert interval is None, path


def test_a_share_of_pictures_has_the_interval_of_a_report_s() -> None:
    """Of 40 pictures of 10 pieces 12 are missed: the same pieces drawn, the same interval."""
    groups = [str(k // 4) for k in range(40)]
    missed = [k % 10 < 3 for k in range(40)]
    judged = intervals(scored([(True, not one) for one in missed]), groups)
    assert share_interval(missed, groups) == pytest.approx(judged["missed_pictures"]["all"])
    assert share_interval([False] * 8, list("abcdefgh")) == [0, pytest.approx(0.3694, abs=1e-4)]
    assert share_interval([True], ["a"]) is None


def test_what_one_piece_tells_has_no_interval() -> None:
    """A single piece, or none, says nothing about the next."""
    one = intervals(scored([(True, True), (False, False)]), ["a", "a"])
    assert (one["miou"], one["iou"]["scratch"], one["missed_pictures"]["all"]) == (None, None, None)
    none = intervals(Scores(("scratch",)), [])
    assert (none["groups"], none["miou"], none["accuracy"]) == (0, None, None)
    alike = intervals(scored([(True, True)] * 5), [str(k) for k in range(5)])
    assert (alike["miou"], alike["iou"]["scratch"]) == (None, None)  # five perfect pieces are no proof of a sixth
    clean = intervals(scored([(False, False)] * 3), ["a", "b", "c"])
    assert clean["iou"]["scratch"] is None
    assert clean["missed_pictures"]["all"] is None
    assert clean["accuracy"] is None  # of a segmenter


def test_intervals_of_accuracy_and_iou_hold_the_figure() -> None:
    """The figure itself lies within, and the same seed draws the same."""
    scores = Scores(("scratch",), labels_only=True)
    for k in range(40):
        scores.append(score_labels([1], int(k % 4 != 0), 1))
    found = intervals(scores, [str(k) for k in range(40)], seed=3)
    assert found["accuracy"][0] < 0.75 < found["accuracy"][1]
    assert found == intervals(scores, [str(k) for k in range(40)], seed=3)
    masked = scored([(True, k % 3 > 0) for k in range(30)])
    low, high = intervals(masked, [str(k) for k in range(30)])["iou"]["scratch"]
    assert low < masked.report()["iou"]["scratch"] < high


scores_and_truth = st.lists(st.tuples(st.integers(0, 255), st.booleans()), min_size=1, max_size=60)


@settings(deadline=None)  # a busy machine is no failure
@given(scores_and_truth)
def test_curves_agree_with_scikit_learn(items: list[tuple[int, bool]]) -> None:
    """Average precision and the area under the ROC are those of a library that others wrote, ties included."""
    sk = pytest.importorskip("sklearn.metrics")
    scores = np.array([score / 255 for score, _ in items])
    truth = np.array([positive for _, positive in items])
    found = curve(scores, truth)
    if truth.any():
        assert found.average_precision == pytest.approx(sk.average_precision_score(truth, scores))
    else:
        assert found.average_precision is None
    if truth.any() and not truth.all():
        assert found.roc_auc == pytest.approx(sk.roc_auc_score(truth, scores))
    else:
        assert found.roc_auc is None


def test_a_histogram_ranks_pixels_as_a_sort_does() -> None:
    """Counted in bins over two pictures, pixels have the curve that sorting all of them gives."""
    generator = np.random.default_rng(2)
    ranking = Ranking(("scratch", "stain"))
    pieces = []
    for size in ((30, 40), (25, 50)):
        truth = generator.integers(0, 3, size).astype(np.uint8)
        scores = np.clip(generator.normal(90, 60, (*size, 2)) + 70 * (truth[..., None] == [1, 2]), 0, 255).astype(
            np.uint8
        )
        ranking.add(scores, truth, np.array([True, True]))
        pieces.append((scores, truth))
    for k, name in enumerate(ranking.names):
        flat = np.concatenate([scores[:, :, k].ravel() for scores, _ in pieces]) / 255
        true = np.concatenate([(truth == k + 1).ravel() for _, truth in pieces])
        whole, binned = curve(flat, true), ranking.by_pixel()[name]
        np.testing.assert_array_equal(whole.flagged, binned.flagged)
        np.testing.assert_array_equal(whole.hits, binned.hits)
        np.testing.assert_allclose(whole.threshold, binned.threshold)
        assert whole.figures() == pytest.approx(binned.figures())


def test_a_picture_ranks_by_its_highest_probability() -> None:
    """Of three pictures the scratched one has the brightest pixel: it is ranked first, with nothing wrong."""
    ranking = Ranking(("scratch",))
    for top, shown in ((200, True), (150, False), (90, False)):
        scores = np.full((4, 4, 1), 10, np.uint8)
        scores[1, 2] = top
        ranking.add(scores, np.zeros((4, 4), np.uint8), np.array([shown]))
    figures = ranking.report("model.onnx")["by_picture"]["scratch"]
    assert figures["average_precision"] == 1
    assert figures["roc_auc"] == 1
    assert figures["chance"] == pytest.approx(1 / 3)
    assert figures["best_f1_threshold"] == pytest.approx(200 / 255)


def test_a_ranking_of_nothing_claims_nothing() -> None:
    """Without pictures, or without a positive one, there is no figure; and its points can still be written."""
    ranking = Ranking(("scratch",), has_pixels=False)
    assert ranking.report("")["by_picture"]["scratch"]["average_precision"] is None
    assert ranking.curves()["by_picture"]["scratch"]["recall"] == []
    assert ranking.by_pixel() == {}
    ranking.add(np.zeros((2, 2, 1), np.uint8), np.zeros((2, 2), np.uint8), np.array([False]))
    figures = ranking.by_picture()["scratch"].figures()
    assert (figures["average_precision"], figures["roc_auc"], figures["best_f1"]) == (None, None, None)


def test_long_curves_are_thinned_and_keep_their_ends() -> None:
    """Of 5,000 thresholds some hundreds are written, the first and the last among them."""
    scores = np.random.default_rng(0).random(5000)
    found = curve(scores, scores > 0.5)
    points = found.points()
    assert len(points["recall"]) <= 400
    assert (points["threshold"][0], points["recall"][-1]) == (round(scores.max(), 6), 1)
