"""The ranking of defects by their scores, at every threshold at once: PR and ROC curves, average precision.

Pictures are ranked one by one. Pixels are too many for that. They are counted in a histogram of 256 bins per class,
which is as fine as a device's scores. So its size does not grow with the dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.records import Float32, Float64, UInt8
from trainer.datasets.masks import IGNORED
from trainer.evaluation.exact_interval import largest_share_of

BINS = 256
# A curve of more points is thinned for the file that keeps it; the figures are of all points.
_POINTS_AT_MOST = 400


@dataclass(frozen=True)
class Curve:
    """One class ranked. Arrays float64 [T], one entry per distinct score, the highest first.

    `threshold`: what scores at least this is flagged. `flagged`, `hits`: how many are, and how many of these rightly.
    """

    threshold: Float64
    flagged: Float64
    hits: Float64
    positives: int
    negatives: int

    @property
    def precision(self) -> Float64:
        """Right of the flagged, at each threshold."""
        return self.hits / self.flagged

    @property
    def recall(self) -> Float64:
        """Flagged of the positive, at each threshold; zeros where nothing is positive."""
        return self.hits / max(self.positives, 1)

    @property
    def false_positive_rate(self) -> Float64:
        """Flagged of the negative, at each threshold; zeros where nothing is negative."""
        return (self.flagged - self.hits) / max(self.negatives, 1)

    @property
    def average_precision(self) -> float | None:
        """Precision averaged over the steps of recall, without interpolation; None where nothing is positive."""
        if not self.positives:
            return None
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())

    @property
    def roc_auc(self) -> float | None:
        """Area under the ROC curve, by trapezoids: the chance that a positive outranks a negative, ties half."""
        if not self.positives or not self.negatives:
            return None
        x = np.concatenate([[0.0], self.false_positive_rate, [1.0]])
        y = np.concatenate([[0.0], self.recall, [1.0]])
        return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())

    @property
    def best_f1(self) -> tuple[float, float] | None:
        """The highest F1 that any threshold reaches, and that threshold; chosen on these very items, so it flatters."""
        if not self.positives or not len(self.threshold):
            return None
        f1 = 2 * self.hits / (self.flagged + self.positives)
        best = int(f1.argmax())
        return float(f1[best]), float(self.threshold[best])

    def figures(self) -> dict[str, Any]:
        """Return the figures by name; `chance` is the average precision of a coin: the share of positives."""
        total = self.positives + self.negatives
        best = self.best_f1
        return {
            "average_precision": self.average_precision,
            "roc_auc": self.roc_auc,
            "chance": self.positives / total if total else None,
            "best_f1": best and best[0],
            "best_f1_threshold": best and best[1],
            "positives": self.positives,
            "negatives": self.negatives,
        }

    def points(self) -> dict[str, list[float]]:
        """Return the curve's points, thinned to a few hundred, for a file or a plot."""
        places = np.unique(np.linspace(0, len(self.threshold) - 1, _POINTS_AT_MOST).round().astype(int))
        places = places[: len(self.threshold)] if len(self.threshold) else np.zeros(0, int)
        named = {
            "threshold": self.threshold,
            "precision": self.precision,
            "recall": self.recall,
            "false_positive_rate": self.false_positive_rate,
        }
        return {name: [round(float(v), 6) for v in values[places]] for name, values in named.items()}


def curve(scores: Float64, positive: npt.NDArray[np.bool_]) -> Curve:
    """Rank items by float scores [N]; `positive` bool [N]. Equal scores are flagged together."""
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], positive[order].astype(np.float64)
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, int)
    positives = int(positive.sum())
    flagged = (last + 1).astype(np.float64)
    return Curve(ranked[last], flagged, np.cumsum(hit)[last], positives, len(scores) - positives)


# The shares of good pictures that may be flagged, for which it is told how many defective ones are found.
FALSE_ALARMS = (0.0, 0.01, 0.05, 0.1)
# `Ranking.of_pictures` where nothing was ranked.
UNRANKED: dict[str, Any] = {
    "picture_auroc": None,
    "picture_auroc_95": None,
    "found_at_false_alarms": None,
    "found_at_false_alarms_95": None,
}
# The normal deviate of a two-sided interval of 95 %.
_Z = 1.959964


def picture_auroc(good: Sequence[float], bad: Sequence[float]) -> float | None:
    """Return the chance that a defective picture scores higher than a good one, ties half; None without both."""
    return _good_and_bad(good, bad).roc_auc


def found_at_false_alarms(good: Sequence[float], bad: Sequence[float]) -> dict[str, float] | None:
    """Return which share of the defective pictures is found while at most so many of the good ones are flagged.

    The threshold is chosen on these very good pictures. None where there is no picture of a kind.
    """
    found = _good_and_bad(good, bad)
    if not found.positives or not found.negatives:
        return None
    within = {share: found.false_positive_rate <= share + 1e-12 for share in FALSE_ALARMS}
    return {f"{share:g}": float(found.recall[flags].max(initial=0.0)) for share, flags in within.items()}


def auroc_interval(auroc: float, good: int, bad: int) -> tuple[float, float]:
    """Return the 95 % interval of an area under the ROC curve over so many good and defective pictures.

    Each bound is an area A from which the found one is z standard errors away. Source: Newcombe, "Confidence intervals
    for an effect size measure based on the Mann-Whitney statistic, part 2", 2006, method 5. The variance is

        A (1 - A) (1 + n (1 - A) / (2 - A) + n A / (1 + A)) / (good bad),    n = (good + bad) / 2 - 1

    It says something at an area of 1 too. Pictures of one piece count as if they were of several.
    """
    half = (good + bad) / 2 - 1

    def error(area: float) -> float:
        spread = 1 + half * (1 - area) / (2 - area) + half * area / (1 + area)
        return _Z * float(np.sqrt(area * (1 - area) * spread / (good * bad)))

    def bound(edge: float) -> float:
        inner, outer = auroc, edge
        for _ in range(60):
            middle = (inner + outer) / 2
            inner, outer = (middle, outer) if abs(middle - auroc) < error(middle) else (inner, middle)
        return inner

    return bound(0.0), bound(1.0)


def found_intervals(found: Mapping[str, float], bad: int) -> dict[str, list[float]]:
    """Return the exact 95 % interval of each share of so many defective pictures, at the thresholds as they are."""
    intervals = {}
    for key, share in found.items():
        hits = round(share * bad)
        intervals[key] = [1 - largest_share_of(bad - hits, bad), largest_share_of(hits, bad)]
    return intervals


def ranked_pictures(good: Sequence[float], bad: Sequence[float]) -> dict[str, Any]:
    """Return how well scores tell good pictures from defective ones, with 95 % intervals; `UNRANKED` without both."""
    auroc, found = picture_auroc(good, bad), found_at_false_alarms(good, bad)
    if auroc is None or found is None:
        return dict(UNRANKED)
    return {
        "picture_auroc": auroc,
        "picture_auroc_95": list(auroc_interval(auroc, len(good), len(bad))),
        "found_at_false_alarms": found,
        "found_at_false_alarms_95": found_intervals(found, len(bad)),
    }


def _good_and_bad(good: Sequence[float], bad: Sequence[float]) -> Curve:
    return curve(np.array([*good, *bad], np.float64), np.repeat([False, True], [len(good), len(bad)]))


@dataclass
class Ranking:
    """Gathers scores over many pictures. `names`: the classes in id order; `has_pixels` is False without masks."""

    names: Sequence[str]
    has_pixels: bool = True
    _pictures: list[Float64] = field(default_factory=list)
    _shown: list[npt.NDArray[np.bool_]] = field(default_factory=list)
    _defective: list[bool] = field(default_factory=list)
    _true: npt.NDArray[np.int64] = field(init=False)
    _all: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._true = np.zeros((len(self.names), BINS), np.int64)
        self._all = np.zeros((len(self.names), BINS), np.int64)

    def add(
        self,
        scores: UInt8,
        truth: UInt8,
        shown: npt.NDArray[np.bool_],
        highest: Float32 | None = None,
        *,
        defective: bool | None = None,
    ) -> None:
        """Count one picture: probabilities x 255, uint8 [H, W, K], and its truth, uint8 [H, W] of ids; shown bool [K].

        Ignored pixels of the truth do not count. `highest`: float32 [K], the highest probability of each class where it
        is known finer than the scores tell; without what is ignored. `defective`: whether the picture is a defective
        one; None = if it shows a class.
        """
        if not (known := truth != IGNORED).all():
            scores, truth = scores[known][:, None], truth[known][:, None]
        tops = scores.max(axis=(0, 1), initial=0) / 255 if highest is None else highest
        self._pictures.append(tops.astype(np.float64))
        self._shown.append(np.asarray(shown, bool))
        self._defective.append(bool(np.any(shown)) if defective is None else defective)
        if not self.has_pixels:
            return
        for k in range(len(self.names)):
            own = scores[:, :, k]
            self._all[k] += np.bincount(own.ravel(), minlength=BINS)
            self._true[k] += np.bincount(own[truth == k + 1], minlength=BINS)

    def by_picture(self) -> dict[str, Curve]:
        """Return each class's curve over pictures: a picture's score is the highest probability of the class in it."""
        scores = np.array(self._pictures).reshape(-1, len(self.names))
        shown = np.array(self._shown, bool).reshape(-1, len(self.names))
        return {name: curve(scores[:, k], shown[:, k]) for k, name in enumerate(self.names)}

    def of_pictures(self, thresholds: Sequence[float]) -> dict[str, Any]:
        """Return how well good pictures are told from defective ones, whatever the class: `picture_auroc` and the rest.

        A picture's score is the largest quotient of a class's highest probability and its threshold.
        """
        scores = (np.array(self._pictures).reshape(-1, len(self.names)) / np.asarray(thresholds)).max(axis=1)
        defective = np.array(self._defective, bool)
        return ranked_pictures(scores[~defective].tolist(), scores[defective].tolist())

    def by_pixel(self) -> dict[str, Curve]:
        """Return each class's curve over pixels, as fine as 1/255; empty without masks."""
        return {name: self._binned(k) for k, name in enumerate(self.names)} if self.has_pixels else {}

    def _binned(self, k: int) -> Curve:
        flagged, hits = np.cumsum(self._all[k][::-1]), np.cumsum(self._true[k][::-1])
        used = self._all[k][::-1] > 0
        thresholds: Float64 = np.arange(BINS, dtype=np.float64)[::-1] / 255
        positives = int(self._true[k].sum())
        return Curve(
            thresholds[used],
            flagged[used].astype(np.float64),
            hits[used].astype(np.float64),
            positives,
            int(self._all[k].sum()) - positives,
        )

    def report(self, source: str) -> dict[str, Any]:
        """Return the figures of both rankings by class; `source`: which model's scores these are."""
        return {
            "source": source,
            "by_picture": {name: c.figures() for name, c in self.by_picture().items()},
            "by_pixel": {name: c.figures() for name, c in self.by_pixel().items()},
        }

    def curves(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """Return the points of both rankings by class, for a file or a plot."""
        return {
            "by_picture": {name: c.points() for name, c in self.by_picture().items()},
            "by_pixel": {name: c.points() for name, c in self.by_pixel().items()},
        }
