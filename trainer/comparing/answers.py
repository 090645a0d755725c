"""A model's answers at other thresholds: counted while it is judged, so that thresholds can be chosen later."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import StoreError
from edge.files import replacing
from trainer.datasets.masks import IGNORED
from trainer.evaluation.evaluating import Judged
from trainer.evaluation.metrics import IntArray, mean_of, share
from trainer.evaluation.thresholds import (
    MIN_AREAS_PX,
    THRESHOLDS,
    AnswerCounts,
    FittedClass,
    count_answers,
    stacked,
)

_COUNTS = ("true_px", "kept_px", "hit_px", "covered_px")


@dataclass(frozen=True)
class CountedAnswers:
    """Counts of each class, in id order, over the same N pictures; of each all pixels and defective ones, int64 [N]."""

    of_class: tuple[AnswerCounts, ...]
    pixels: IntArray
    true_px: IntArray

    def at(self, fitted: Sequence[FittedClass]) -> dict[str, float | None]:
        """Return what `evaluate` would tell at these thresholds and smallest areas: `miou`, and shares of pictures."""
        cells = [_cell(each) for each in fitted]
        kept, hit, covered = (
            np.array([getattr(own, name)[:, t, a] for own, (t, a) in zip(self.of_class, cells, strict=True)])
            for name in _COUNTS[1:]
        )
        true = np.array([own.true_px for own in self.of_class])
        both = covered.sum()
        background = share(self.pixels.sum() - self.true_px.sum() - kept.sum() + both, self.pixels.sum() - both)
        iou = [share(h.sum(), (t + k - h).sum()) for t, k, h in zip(true, kept, hit, strict=True)]
        defective, answered = self.true_px > 0, (kept > 0).any(axis=0)
        missed = ((true > 0) & (hit == 0)).any(axis=0)
        return {
            "miou": mean_of([background, *iou]),
            "missed": share(missed.sum(), defective.sum()),
            "passed": share((defective & ~answered).sum(), defective.sum()),
            "false": share((~defective & answered).sum(), (~defective).sum()),
        }


def _cell(fitted: FittedClass) -> tuple[int, int]:
    return int(np.abs(THRESHOLDS - fitted.threshold).argmin()), MIN_AREAS_PX.index(round(fitted.min_area_px))


def together(counted: Sequence[CountedAnswers]) -> CountedAnswers:
    """Put the answers of several models, each on pictures of its own, into one."""
    of_class = tuple(stacked(own) for own in zip(*(each.of_class for each in counted), strict=True))
    pixels, true_px = (np.concatenate([getattr(each, name) for each in counted]) for name in ("pixels", "true_px"))
    return CountedAnswers(of_class, pixels, true_px)


@dataclass
class AnswerCounter:
    """Watches pictures being judged by `evaluate`, and counts what would be answered of each of `classes` classes."""

    classes: int
    _counts: list[list[AnswerCounts]] = field(default_factory=list)
    _pixels: list[int] = field(default_factory=list)
    _true_px: list[int] = field(default_factory=list)

    def __call__(self, judged: Judged) -> None:
        """Count one picture; a label says nothing about where, and is not counted."""
        if judged.own is None or judged.labels_only:
            return
        truth = judged.picture.truth
        defective = (truth > 0) & (truth != IGNORED)
        of_class = range(self.classes)
        self._counts.append([count_answers(judged.own[:, :, k], truth == k + 1, defective) for k in of_class])
        self._pixels.append(int(np.count_nonzero(truth != IGNORED)))
        self._true_px.append(int(np.count_nonzero(defective)))

    def counted(self) -> CountedAnswers | None:
        """Return the counts of all pictures; None where none was counted."""
        if not self._counts:
            return None
        of_class = tuple(stacked(own) for own in zip(*self._counts, strict=True))
        return CountedAnswers(of_class, np.array(self._pixels, np.int64), np.array(self._true_px, np.int64))


def write_answers(path: Path, counted: CountedAnswers) -> None:
    """Write them as one file. Raises OSError."""
    arrays: dict[str, Any] = {"pixels": counted.pixels, "true_px": counted.true_px}
    for k, own in enumerate(counted.of_class):
        arrays |= {f"{k}.{name}": getattr(own, name) for name in _COUNTS}
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_answers(path: Path) -> CountedAnswers | None:
    """Read what `write_answers` wrote; None where it wrote nothing. Raises StoreError."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as saved:
            classes = sum(name.endswith(".kept_px") for name in saved.files)
            of_class = tuple(AnswerCounts(*(saved[f"{k}.{name}"] for name in _COUNTS)) for k in range(classes))
            return CountedAnswers(of_class, saved["pixels"], saved["true_px"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} cannot be read: {error}. Remove the run's folder, and compare again") from error
