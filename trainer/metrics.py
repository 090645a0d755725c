"""Figures that an all-black mask cannot fool, from whole stitched pictures. Pure arithmetic on uint8 maps.

A map holds class ids 1…K, 0 = clean. Every figure can be taken for what an all-empty mask would have answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.records import UInt8

BACKGROUND = "background"


@dataclass(frozen=True)
class PictureScore:
    """One picture's counts. Arrays are over the defect classes, in id order.

    `confusion`: int64 [K + 1, K + 1], rows the truth, columns the answer. `shown`: the truth has the class. `answered`:
    the answer has a defect of it. `met`: some answered defect of it overlaps the truth.
    """

    confusion: npt.NDArray[np.int64]
    shown: npt.NDArray[np.bool_]
    answered: npt.NDArray[np.bool_]
    met: npt.NDArray[np.bool_]


def score_picture(truth: UInt8, answer: UInt8, class_count: int) -> PictureScore:
    """Compare two maps, uint8 [H, W]."""
    size = class_count + 1
    pairs = truth.astype(np.int64).ravel() * size + answer.ravel()
    confusion = np.bincount(pairs, minlength=size * size).reshape(size, size)
    return PictureScore(
        confusion,
        shown=confusion.sum(axis=1)[1:] > 0,
        answered=confusion.sum(axis=0)[1:] > 0,
        # a defect of the answer overlaps the truth exactly where some pixel is of the class in both
        met=np.diag(confusion)[1:] > 0,
    )


@dataclass
class Scores:
    """The figures over many pictures; `add` them one by one, then `report`."""

    names: Sequence[str]
    pictures: list[PictureScore] = field(default_factory=list)

    def add(self, truth: UInt8, answer: UInt8) -> PictureScore:
        """Count one picture."""
        score = score_picture(truth, answer, len(self.names))
        self.pictures.append(score)
        return score

    def report(self) -> dict[str, Any]:
        """Return every figure by name; None where nothing was there to be measured."""
        confusion = sum((p.confusion for p in self.pictures), np.zeros((len(self.names) + 1,) * 2, np.int64))
        iou = _iou(confusion)
        known = [value for value in iou if value is not None]
        shown, answered, met = (
            np.array([getattr(p, name) for p in self.pictures]).reshape(-1, len(self.names))
            for name in ("shown", "answered", "met")
        )
        defective = shown.any(axis=1)
        missed = shown & ~met
        false = answered & ~shown
        return {
            "pictures": len(self.pictures),
            "iou": dict(zip((BACKGROUND, *self.names), iou, strict=True)),
            "miou": float(np.mean(known)) if known else None,
            "dice_all": self._dice(only_shown=False),
            "dice_nonempty": self._dice(only_shown=True),
            "missed_pictures": {
                "all": _share(int(missed.any(axis=1).sum()), int(defective.sum())),
                **{n: _share(int(missed[:, k].sum()), int(shown[:, k].sum())) for k, n in enumerate(self.names)},
            },
            "false_pictures": {
                "all": _share(int(answered[~defective].any(axis=1).sum()), int((~defective).sum())),
                **{n: _share(int(false[:, k].sum()), int((~shown[:, k]).sum())) for k, n in enumerate(self.names)},
            },
            "pixel_accuracy": _share(int(np.trace(confusion)), int(confusion.sum())),
            "accuracy": None,
            "counts": {
                "defective": int(defective.sum()),
                "clean": int((~defective).sum()),
                "shown": {n: int(shown[:, k].sum()) for k, n in enumerate(self.names)},
                "missed": {n: int(missed[:, k].sum()) for k, n in enumerate(self.names)},
                "false": {n: int(false[:, k].sum()) for k, n in enumerate(self.names)},
            },
        }

    def _dice(self, *, only_shown: bool) -> dict[str, float | None]:
        """Mean Dice per class over pictures; where neither truth nor answer has the class, a picture scores 1."""
        means: dict[str, float | None] = {}
        for class_id, name in enumerate(self.names, start=1):
            values = []
            for picture in self.pictures:
                if only_shown and not picture.shown[class_id - 1]:
                    continue
                both = picture.confusion[class_id].sum() + picture.confusion[:, class_id].sum()
                values.append(2 * picture.confusion[class_id, class_id] / both if both else 1.0)
            means[name] = float(np.mean(values)) if values else None
        return means


def _iou(confusion: npt.NDArray[np.int64]) -> list[float | None]:
    """Intersection over union per class of one pooled confusion matrix; None for a class that is nowhere."""
    hits = np.diag(confusion)
    unions = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return [float(hit / union) if union else None for hit, union in zip(hits, unions, strict=True)]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
