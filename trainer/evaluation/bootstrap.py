"""Bootstrap intervals: how far a figure could be off by the luck of which pieces were held out.

Pictures of one group show one piece and err together. So whole groups are drawn, with replacement, as many as there
are. The interval lies between percentiles of the figures of these draws (Efron and Tibshirani 1993, chapter 13).
Drawing from groups of which none errs, or all do, cannot show anything else. 0 of 8 missed would read as certain. There
the exact binomial interval of so many groups is given (Clopper and Pearson 1934).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.records import Float64
from trainer.evaluation.exact_interval import LEVEL, largest_share
from trainer.evaluation.metrics import ALL, BACKGROUND, Scores

RESAMPLES = 2000
# Draws that differ by less differ by rounding.
_SAME = 1e-12
# Draws are made in pieces: so many groups x resamples at a time are held in memory.
_DRAWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class _Shares:
    """Figures of the form part / whole, per group: float64 [G, F] each."""

    part: Float64
    whole: Float64


def intervals(scores: Scores, groups: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return [low, high] of each headline figure at 95 %, or None where not at least two groups tell of it.

    `groups`: of each picture of `scores`, in the same order. Keys as in `Scores.report`.
    """
    kinds, places = np.unique(np.array(groups, str), return_inverse=True)
    count, names = len(kinds), tuple(scores.names)
    generator = np.random.default_rng(seed)
    weights = _drawn(count, resamples, generator)
    confusion = _per_group(scores.stack("confusion").reshape(len(groups), (len(names) + 1) ** 2), places, count)
    cells = confusion.reshape(count, len(names) + 1, len(names) + 1)  # rows the truth, columns the answer
    hits = cells.diagonal(axis1=1, axis2=2)
    shares = _picture_shares(scores)
    part, whole = (_per_group(values, places, count) for values in (shares.part, shares.whole))
    iou = _iou_intervals(cells, hits, weights)
    bounds = _share_intervals(_Shares(part, whole), weights)
    size = len(names) + 1
    return {
        "level": LEVEL,
        "resamples": resamples,
        "groups": count,
        "seed": seed,
        "miou": iou[0],
        "iou": dict(zip((BACKGROUND, *names), iou[1:], strict=True)),
        "missed_pictures": dict(zip((ALL, *names), bounds[:size], strict=True)),
        "false_pictures": dict(zip((ALL, *names), bounds[size : 2 * size], strict=True)),
        "accuracy": None if scores.accuracy() is None else bounds[2 * size],
        "passed_pictures": {ALL: bounds[2 * size + 1]},
        "pixel_accuracy": _share_interval(hits.sum(axis=1), cells.sum(axis=(1, 2)), weights),
        "by_pixel": _rate_intervals(
            names, weights, _Rates(hits[:, 1:], cells.sum(axis=1)[:, 1:], hits[:, 1:], cells.sum(axis=2)[:, 1:])
        ),
        "tolerant": _tolerant_intervals(scores, names, weights, places),
    }


def share_interval(part: Sequence[bool], groups: Sequence[str], *, seed: int = 0) -> list[float] | None:
    """Return [low, high] at 95 % of the share of pictures for which `part` holds, as of the shares in `intervals`."""
    kinds, places = np.unique(np.array(groups, str), return_inverse=True)
    weights = _drawn(len(kinds), RESAMPLES, np.random.default_rng(seed))
    counts = _per_group(np.array([[value, True] for value in part], np.float64).reshape(-1, 2), places, len(kinds))
    return _share_intervals(_Shares(counts[:, :1], counts[:, 1:]), weights)[0]


@dataclass(frozen=True)
class _Rates:
    """The counts of precision (`right` / `answered`) and recall (`found` / `true`), per group: float64 [G, K] each."""

    right: Float64
    answered: Float64
    found: Float64
    true: Float64


def _tolerant_intervals(scores: Scores, names: Sequence[str], weights: Float64, places: Any) -> dict[str, Any] | None:
    if scores.tolerance_px is None:
        return None
    nothing = np.zeros(len(names), np.int64)
    counted = [p.tolerant for p in scores.pictures]
    columns = [
        [getattr(t, key) if t is not None else nothing for t in counted]
        for key in ("answered_near", "answered", "true_near", "true")
    ]
    sums = [_per_group(np.array(column).reshape(-1, len(names)), places, weights.shape[1]) for column in columns]
    return _rate_intervals(names, weights, _Rates(*sums))


def _rate_intervals(names: Sequence[str], weights: Float64, rates: _Rates) -> dict[str, Any]:
    """Intervals of precision, recall and F1, over all classes and per class, as `Scores.report` has them."""
    right, answered, found, true = (
        np.column_stack([values.sum(axis=1), values])
        for values in (rates.right, rates.answered, rates.found, rates.true)
    )
    rows: dict[str, Any] = {"precision": {}, "recall": {}, "f1": {}}
    for place, name in enumerate((ALL, *names)):
        own = [values[:, place] for values in (right, answered, found, true)]
        rows["precision"][name] = _share_interval(own[0], own[1], weights)
        rows["recall"][name] = _share_interval(own[2], own[3], weights)
        telling = int(((own[1] > 0) | (own[3] > 0)).sum())
        rows["f1"][name] = _percentiles(_f1(*[weights @ values for values in own])) if telling >= 2 else None
    return rows


def _f1(right: Float64, answered: Float64, found: Float64, true: Float64) -> Float64:
    """F1 per draw, float64 [R], as `evaluation.metrics.f1_of`: NaN of nothing, 0 where precision or recall is none."""
    precision, recall = (np.nan_to_num(_divided(part, whole)) for part, whole in ((right, answered), (found, true)))
    return np.where(
        (answered > 0) | (true > 0), np.nan_to_num(_divided(2 * precision * recall, precision + recall)), np.nan
    )


def _share_interval(part: Float64, whole: Float64, weights: Float64) -> list[float] | None:
    """Interval of a share of pixels, float64 [G] each; without an error there is none: pixels err together."""
    return _percentiles(_divided(weights @ part, weights @ whole)) if (whole > 0).sum() >= 2 else None


def _drawn(groups: int, resamples: int, generator: np.random.Generator) -> Float64:
    """Draw `groups` of `groups` with replacement, `resamples` times: how often each came, float64 [R, G]."""
    if not groups:
        return np.zeros((resamples, 0))
    chances = np.full(groups, 1 / groups)
    at_once = max(1, _DRAWS_AT_ONCE // groups)
    pieces = [
        generator.multinomial(groups, chances, min(at_once, resamples - first)).astype(np.float64)
        for first in range(0, resamples, at_once)
    ]
    return np.concatenate(pieces)


def _per_group(values: Any, places: Any, count: int) -> Float64:
    """Sum [N, F] over the pictures of each group: float64 [G, F]."""
    summed = np.zeros((count, values.shape[1]))
    np.add.at(summed, places, values)
    return summed


def _picture_shares(scores: Scores) -> _Shares:
    """Per picture and figure, float64 [N, 2 (K + 1) + 2]: missed and false (all, classes), accuracy, passed."""
    shown, answered, met = (scores.stack(name) for name in ("shown", "answered", "met"))
    missed, false = shown & ~met, answered & ~shown
    defective = shown.any(axis=1, keepdims=True)
    right = np.array([[p.true_id == p.answered_id] for p in scores.pictures], bool).reshape(-1, 1)
    anything = answered.any(axis=1, keepdims=True)
    part = [missed.any(axis=1, keepdims=True), missed, anything & ~defective, false, right, defective & ~anything]
    whole = [defective, shown, ~defective, ~shown, np.ones_like(right), defective]
    return _Shares(np.hstack(part).astype(np.float64), np.hstack(whole).astype(np.float64))


def _share_intervals(shares: _Shares, weights: Float64) -> list[list[float] | None]:
    found: list[list[float] | None] = []
    for part, whole in zip(shares.part.T, shares.whole.T, strict=True):
        telling = int((whole > 0).sum())
        if telling < 2:
            found.append(None)
        elif not part.any():
            found.append([0.0, largest_share(telling)])
        elif (part == whole).all():
            found.append([1 - largest_share(telling), 1.0])
        else:
            found.append(_percentiles(_divided(weights @ part, weights @ whole)))
    return found


def _iou_intervals(cells: Float64, hits: Float64, weights: Float64) -> list[list[float] | None]:
    """Intervals of the mean IoU and of each class's, background first; float64 [G, K + 1, K + 1] and its diagonals."""
    size = hits.shape[1]
    unions = cells.sum(axis=1) + cells.sum(axis=2) - hits
    drawn = np.stack([_divided(weights @ hits[:, k], weights @ unions[:, k]) for k in range(size)])
    known = ~np.isnan(drawn)
    sums = np.where(known, drawn, 0).sum(axis=0)
    mean = _divided(sums, known.sum(axis=0).astype(np.float64))
    telling = (unions > 0).sum(axis=0)
    own = [_percentiles(drawn[k]) if telling[k] >= 2 else None for k in range(size)]
    return [_percentiles(mean) if telling.max(initial=0) >= 2 else None, *own]


def _divided(part: Float64, whole: Float64) -> Float64:
    """Divide, NaN where a draw has nothing to measure."""
    quotients: Float64 = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return quotients


def _percentiles(values: Float64) -> list[float] | None:
    known = values[~np.isnan(values)]
    if not known.size or np.ptp(known) < _SAME:
        return None  # pieces that are all alike do not tell how others differ
    low, high = np.percentile(known, [50 - 50 * LEVEL, 50 + 50 * LEVEL])
    return [float(low), float(high)]
