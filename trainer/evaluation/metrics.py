"""Figures that an all-black mask cannot fool, from whole stitched pictures. Pure arithmetic on uint8 maps.

A map holds class ids 1…K, 0 = clean; nothing counts where the truth is 255, whatever is answered there. Each figure can
be taken for what an all-empty mask would have answered. One that had nothing to measure is None, never a flattering 1.
docs/figures.md says in words what they mean.

A dataset with labels and no masks counts whole pictures alone (`score_labels`); figures that need pixels are None.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.opencv import cv2
from edge.records import UInt8
from trainer.datasets.masks import IGNORED
from trainer.evaluation.line_tolerance import TolerantCounts, tolerant_counts

BACKGROUND = "background"
CLEAN = "clean"
ALL = "all"

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DefectCounts:
    """Defects (8-connected) of one picture per class, int64 [K].

    `true` in the masks, `found` of these (some pixel answered), `answered`, `right` of these (some pixel true).
    """

    true: IntArray
    found: IntArray
    answered: IntArray
    right: IntArray


@dataclass(frozen=True)
class PictureScore:
    """One picture's counts. Arrays are over the defect classes, in id order.

    `confusion`: int64 [K + 1, K + 1], rows the truth, columns the answer. `shown`: the truth has the class. `answered`:
    the answer has a defect of it. `met`: some answered defect of it overlaps the truth. `true_id`, `answered_id`: the
    one class (0 = clean) that the picture counts as. `defects`, `tolerant`: None where they were not counted.
    """

    confusion: IntArray
    shown: BoolArray
    answered: BoolArray
    met: BoolArray
    true_id: int = 0
    answered_id: int = 0
    defects: DefectCounts | None = None
    tolerant: TolerantCounts | None = None


def score_picture(truth: UInt8, answer: UInt8, class_count: int, *, tolerance_px: float | None = None) -> PictureScore:
    """Compare two maps, uint8 [H, W].

    With `tolerance_px` also what of thin lines is right within that distance. The class that the picture counts as is
    the one with the most pixels among the defects.
    """
    size = class_count + 1
    known = truth != IGNORED
    if not known.all():
        answer = np.where(known, answer, np.uint8(0))
    pairs = truth[known].astype(np.int64) * size + answer[known]
    confusion = np.bincount(pairs, minlength=size * size).reshape(size, size)
    true_px, answered_px = confusion.sum(axis=1), confusion.sum(axis=0)
    answered_id = leading(answered_px)
    return PictureScore(
        confusion,
        shown=true_px[1:] > 0,
        answered=answered_px[1:] > 0,
        # a defect of the answer overlaps the truth exactly where some pixel is of the class in both
        met=np.diag(confusion)[1:] > 0,
        true_id=answered_id if answered_id and true_px[answered_id] else leading(true_px),
        answered_id=answered_id,
        defects=count_defects(truth, answer, class_count),
        tolerant=None if tolerance_px is None else tolerant_counts(truth, answer, class_count, tolerance_px),
    )


def score_labels(labels: Sequence[int], answered_id: int, class_count: int) -> PictureScore:
    """Compare the labels of a picture without a mask, class ids (none: clean), with its answered class, 0 = clean."""
    shown, answered = np.zeros(class_count + 1, bool), np.zeros(class_count + 1, bool)
    shown[list(labels)] = True
    answered[answered_id] = True
    return PictureScore(
        np.zeros((class_count + 1,) * 2, np.int64),
        shown=shown[1:],
        answered=answered[1:],
        met=(shown & answered)[1:],
        true_id=answered_id if answered_id in labels else min(labels, default=0),
        answered_id=answered_id,
    )


def leading(counts: IntArray) -> int:
    """Return the defect class with the most pixels, from int64 [K + 1] counts; 0 where there is no defect at all."""
    return int(counts[1:].argmax()) + 1 if counts[1:].any() else 0


def majority(counts: IntArray) -> int:
    """Return the class with the most pixels, from int64 [K + 1] counts; of equals a defect comes before clean."""
    return leading(counts) if counts[1:].max(initial=0) >= counts[0] else 0


def count_defects(truth: UInt8, answer: UInt8, class_count: int) -> DefectCounts:
    """Count true and answered defects per class of two maps, uint8 [H, W]: any overlap of the class counts as found."""
    found = np.zeros((4, class_count), np.int64)
    for class_id in range(1, class_count + 1):
        true, own = truth == class_id, answer == class_id
        found[:2, class_id - 1] = _touched(true, own)
        found[2:, class_id - 1] = _touched(own, true)
    return DefectCounts(*found)


def _touched(mask: BoolArray, other: BoolArray) -> tuple[int, int]:
    """Count the 8-connected parts of a mask, and those that the other mask, bool [H, W] too, touches."""
    if not mask.any():
        return 0, 0
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    return count - 1, len(np.unique(labels[mask & other]))


@dataclass
class Scores:
    """The figures over many pictures; `add` them one by one, then `report`.

    `labels_only`: the dataset has no masks, so that everything about pixels is None. `judges_whole_pictures`: what
    answers is a classifier, so that its accuracy is a figure also where there are masks. `tolerance_px`: see
    `trainer.evaluation.line_tolerance`.
    """

    names: Sequence[str]
    pictures: list[PictureScore] = field(default_factory=list)
    labels_only: bool = False
    judges_whole_pictures: bool = False
    tolerance_px: float | None = None

    def add(self, truth: UInt8, answer: UInt8) -> PictureScore:
        """Count one picture by its maps, uint8 [H, W] each."""
        return self.append(score_picture(truth, answer, len(self.names), tolerance_px=self.tolerance_px))

    def append(self, score: PictureScore) -> PictureScore:
        """Count one picture that is scored already."""
        self.pictures.append(score)
        return score

    def stack(self, name: str) -> npt.NDArray[Any]:
        """Return one array of all pictures, [N, …]: `confusion` or a flag per class."""
        shape = (-1, len(self.names) + 1, len(self.names) + 1) if name == "confusion" else (-1, len(self.names))
        kind = np.int64 if name == "confusion" else np.bool_
        return np.array([getattr(p, name) for p in self.pictures], kind).reshape(shape)

    def report(self) -> dict[str, Any]:
        """Return every figure by name; None where nothing was there to be measured."""
        confusion: IntArray = self.stack("confusion").sum(axis=0)
        iou = iou_of(confusion)
        shown, answered, met = (self.stack(name) for name in ("shown", "answered", "met"))
        defective = shown.any(axis=1)
        missed = shown & ~met
        false = answered & ~shown
        named = self.names
        return {
            "pictures": len(self.pictures),
            "iou": dict(zip((BACKGROUND, *named), iou, strict=True)),
            "miou": mean_of(iou),
            "dice_all": self._dice(only_shown=False),
            "dice_nonempty": self._dice(only_shown=True),
            "missed_pictures": {
                ALL: share(missed.any(axis=1).sum(), defective.sum()),
                **{n: share(missed[:, k].sum(), shown[:, k].sum()) for k, n in enumerate(named)},
            },
            "passed_pictures": {ALL: share((defective & ~answered.any(axis=1)).sum(), defective.sum())},
            "false_pictures": {
                ALL: share(answered[~defective].any(axis=1).sum(), (~defective).sum()),
                **{n: share(false[:, k].sum(), (~shown[:, k]).sum()) for k, n in enumerate(named)},
            },
            "pixel_accuracy": share(np.trace(confusion), confusion.sum()),
            "accuracy": self.accuracy(),
            "counts": {
                "defective": int(defective.sum()),
                "clean": int((~defective).sum()),
                "shown": {n: int(shown[:, k].sum()) for k, n in enumerate(named)},
                "missed": {n: int(missed[:, k].sum()) for k, n in enumerate(named)},
                "false": {n: int(false[:, k].sum()) for k, n in enumerate(named)},
            },
            "missed_region": self._missed_region(confusion),
            "by_pixel": self._by_pixel(confusion),
            "by_picture": self._rates(met.sum(axis=0), answered.sum(axis=0), met.sum(axis=0), shown.sum(axis=0)),
            "by_defect": self._by_defect(),
            "tolerant": self._tolerant(),
            "confusion": {
                "pixel_classes": [BACKGROUND, *named],
                "pixels": None if self.labels_only else confusion.tolist(),
                "picture_classes": [CLEAN, *named],
                "pictures": self.picture_confusion().tolist(),
            },
        }

    def picture_confusion(self) -> IntArray:
        """Count pictures, int64 [K + 1, K + 1]: rows the class that each counts as, columns what is answered."""
        matrix = np.zeros((len(self.names) + 1,) * 2, np.int64)
        for picture in self.pictures:
            matrix[picture.true_id, picture.answered_id] += 1
        return matrix

    def majority_baseline(self) -> dict[str, Any]:
        """Tell the accuracy of a program that gives every picture the label that is most frequent."""
        matrix = self.picture_confusion()
        if not self.pictures or self.accuracy() is None:
            return {"class": None, "accuracy": None}
        most = int(matrix.sum(axis=1).argmax())
        return {"class": (CLEAN, *self.names)[most], "accuracy": float(matrix.sum(axis=1)[most] / matrix.sum())}

    def accuracy(self) -> float | None:
        """Return the share of pictures that are answered as the class that they count as; None of a segmenter."""
        if not (self.labels_only or self.judges_whole_pictures):
            return None  # one pixel of a defect would do
        matrix = self.picture_confusion()
        return share(np.trace(matrix), matrix.sum())

    def _dice(self, *, only_shown: bool) -> dict[str, float | None]:
        """Mean Dice per class over pictures; a picture scores 1 where neither truth nor answer has the class."""
        means: dict[str, float | None] = {}
        for class_id, name in enumerate(self.names, start=1):
            values = []
            for picture in self.pictures:
                if self.labels_only or (only_shown and not picture.shown[class_id - 1]):
                    continue
                both = picture.confusion[class_id].sum() + picture.confusion[:, class_id].sum()
                values.append(2 * picture.confusion[class_id, class_id] / both if both else 1.0)
            means[name] = float(np.mean(values)) if values else None
        return means

    def _missed_region(self, confusion: IntArray) -> dict[str, float | None]:
        """Share of the true defect pixels that are not answered as their class, over all pictures."""
        true, hit = confusion.sum(axis=1)[1:], np.diag(confusion)[1:]
        return {
            ALL: share((true - hit).sum(), true.sum()),
            **{n: share(true[k] - hit[k], true[k]) for k, n in enumerate(self.names)},
        }

    def _by_pixel(self, confusion: IntArray) -> dict[str, dict[str, float | None]]:
        hit, answered, true = np.diag(confusion)[1:], confusion.sum(axis=0)[1:], confusion.sum(axis=1)[1:]
        return self._rates(hit, answered, hit, true)

    def _by_defect(self) -> dict[str, dict[str, float | None]]:
        counts = np.zeros((4, len(self.names)), np.int64)
        for picture in self.pictures:
            if (d := picture.defects) is not None:
                counts += (d.right, d.answered, d.found, d.true)
        return self._rates(*counts)

    def _tolerant(self) -> dict[str, Any] | None:
        if self.tolerance_px is None:
            return None
        counts = np.zeros((4, len(self.names)), np.int64)
        for picture in self.pictures:
            if (t := picture.tolerant) is not None:
                counts += (t.answered_near, t.answered, t.true_near, t.true)
        return {"tolerance_px": self.tolerance_px, **self._rates(*counts)}

    def _rates(
        self, right: IntArray, answered: IntArray, found: IntArray, true: IntArray
    ) -> dict[str, dict[str, float | None]]:
        """Precision `right` / `answered`, recall `found` / `true` and their F1, per class and pooled over them."""
        rows = {ALL: (right.sum(), answered.sum(), found.sum(), true.sum())}
        rows |= {n: (right[k], answered[k], found[k], true[k]) for k, n in enumerate(self.names)}
        return {
            "precision": {name: share(r, a) for name, (r, a, _, _) in rows.items()},
            "recall": {name: share(f, t) for name, (_, _, f, t) in rows.items()},
            "f1": {name: f1_of(*counts) for name, counts in rows.items()},
        }


def f1_of(right: int, answered: int, found: int, true: int) -> float | None:
    """Return the harmonic mean of right / answered and found / true: 0 where one of them is 0 or undefined.

    None where nothing was true and nothing answered: silence about nothing is no merit.
    """
    if not answered and not true:
        return None
    if not answered or not true or not right or not found:
        return 0.0
    precision, recall = right / answered, found / true
    return float(2 * precision * recall / (precision + recall))


def iou_of(confusion: IntArray) -> list[float | None]:
    """Intersection over union per class of one pooled confusion matrix; None for a class that is nowhere."""
    hits = np.diag(confusion)
    unions = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return [float(hit / union) if union else None for hit, union in zip(hits, unions, strict=True)]


def mean_of(values: Iterable[float | None]) -> float | None:
    """Average what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def share(part: int | np.integer[Any], whole: int | np.integer[Any]) -> float | None:
    """Return part / whole; None of nothing."""
    return int(part) / int(whole) if whole else None
