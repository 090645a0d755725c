"""Answers counted once for other thresholds are those that answering at them would have told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.errors import StoreError
from edge.opencv import cv2
from edge.records import UInt8
from trainer.comparing.answers import AnswerCounter, read_answers, together, write_answers
from trainer.datasets.dataset import Entry, Picture
from trainer.datasets.masks import IGNORED
from trainer.evaluation.evaluating import Judged
from trainer.evaluation.metrics import Scores, score_picture
from trainer.evaluation.thresholds import FittedClass, fit_class, fit_counted

FITTED = FittedClass(0.5, 5.0, 0, 0, 0, None, None)


def judged(seed: int) -> Judged:
    """Return a picture of two classes and what leads in it: more or less sure of what is there, and further blobs."""
    generator = np.random.default_rng(seed)
    truth, own = np.zeros((40, 60), np.uint8), np.zeros((40, 60, 2), np.uint8)
    for class_id in (1, 2):
        for _ in range(int(generator.integers(0, 3))):
            x, y, side = (int(v) for v in generator.integers(2, 30, 3))
            truth[y : y + side // 3, x : x + side // 3] = class_id
        own[truth == class_id, class_id - 1] = generator.integers(40, 250)
    for _ in range(4):
        x, y, side, value = (int(v) for v in generator.integers((0, 0, 1, 30), (55, 35, 12, 255)))
        own[y : y + side, x : x + side] = 0
        own[y : y + side, x : x + side, int(generator.integers(2))] = value
    truth[38:], own[38:] = IGNORED, 0
    entry = Entry(f"{seed}.png", Path(f"{seed}.png"), (), str(seed))
    picture = Picture(entry, truth[:, :, None], truth)
    return Judged(picture, truth, score_picture(truth, truth, 2), labels_only=False, own=own)


def answered(own: UInt8, fitted: list[FittedClass]) -> UInt8:
    """Return the class map, uint8 [H, W], by OpenCV alone: from the threshold on, without specks."""
    classes = np.zeros(own.shape[:2], np.uint8)
    for k, each in enumerate(fitted):
        mask = (own[:, :, k] >= np.ceil(each.threshold * 255)).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for label in range(1, count):
            if stats[label, cv2.CC_STAT_AREA] >= each.min_area_px:
                classes[labels == label] = k + 1
    return classes


@pytest.mark.parametrize(("threshold", "area"), [(0.2, 2.0), (0.5, 11.0), (0.65, 26.0)])
def test_figures_at_other_thresholds_are_those_of_an_evaluation(threshold: float, area: float) -> None:
    """MIoU and the shares of pictures missed, passed and flagged are what the metrics tell of the answered maps."""
    fitted = [replace(FITTED, threshold=threshold, min_area_px=area), replace(FITTED, threshold=0.3, min_area_px=3.0)]
    counter, scores = AnswerCounter(2), Scores(("a", "b"))
    for seed in range(25):
        one = judged(seed)
        assert one.own is not None
        counter(one)
        scores.add(one.picture.truth, answered(one.own, fitted))
    counted, told = counter.counted(), scores.report()
    assert counted is not None
    figures = counted.at(fitted)
    assert figures["miou"] == pytest.approx(told["miou"])
    shares = {"missed": "missed_pictures", "passed": "passed_pictures", "false": "false_pictures"}
    assert {name: figures[name] for name in shares} == {name: told[key]["all"] for name, key in shares.items()}
    assert 0 < (figures["missed"] or 0) < 1  # the pictures are neither all right nor all wrong


def test_thresholds_over_folds_are_those_of_all_their_pictures(tmp_path: Path) -> None:
    """Counts of two folds, kept on the disk and put together, give what fitting on all pictures at once gives."""
    parts = []
    for name, seeds in (("a", range(12)), ("b", range(12, 30))):
        counter = AnswerCounter(2)
        for seed in seeds:
            counter(judged(seed))
        counted = counter.counted()
        assert counted is not None
        write_answers(tmp_path / f"{name}.npz", counted)
        kept = read_answers(tmp_path / f"{name}.npz")
        assert kept is not None
        parts.append(kept)
    pictures = [judged(seed) for seed in range(30)]
    for k, own in enumerate(together(parts).of_class):
        maps = [each.own[:, :, k] for each in pictures if each.own is not None]
        assert fit_counted(own) == fit_class(maps, [each.picture.truth == k + 1 for each in pictures])


def test_a_broken_file_of_answers_is_named(tmp_path: Path) -> None:
    """It says which run to remove; where there is no file there is nothing to choose thresholds by."""
    assert read_answers(tmp_path / "answers-fold.npz") is None
    (tmp_path / "answers-fold.npz").write_bytes(b"PK nothing")
    with pytest.raises(StoreError, match="answers-fold"):
        read_answers(tmp_path / "answers-fold.npz")
