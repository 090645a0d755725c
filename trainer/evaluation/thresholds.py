"""Each class's threshold and smallest area, fitted on whole stitched validation pictures.

With few pictures the best cell of a table is luck. So the errors that cost money come first (pictures missed, pictures
falsely flagged), each times its cost in the recipe. Costs that chance could have made of each other are taken as equal.
Some thresholds cost least and have an IoU as good as the best. The middle one of them is taken. Then the middle one of
the areas that cost least at it is taken. It is as far from the largest wrong speck as from the smallest right defect.

The recipe may say how much of a class's area may be missed at most. Thresholds that miss more then come into question
only where all do. The one that misses least is then taken.

A class of which nothing was found has no threshold that is better than another: what is fitted is then silence, which
costs least. That is right for a model that stays so, and not for one that goes on to learn (`presume_class`). Of a
class that no picture shows nothing is known at all, and nothing can be fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8
from trainer.recipe.settings import ThresholdSettings

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

THRESHOLDS = np.round(np.arange(0.20, 0.91, 0.05), 2)
# So low that the leading class is always answered.
SORTING_THRESHOLD = 0.01
# pixels, each half as large again as the last
MIN_AREAS_PX = tuple(round(1.5**k) for k in range(2, 27))
# An IoU within this of the best is as good: masks drawn by hand differ by more.
_IOU_MARGIN = 0.03
# Without a fit: more likely than not, and half as large as nine of ten pictures show. Of masks drawn by hand some are
# all but empty, so the smallest of all says nothing.
_PRESUMED_THRESHOLD = 0.5
_PRESUMED_SHARE = 0.5
_PRESUMED_QUANTILE = 0.1
# The scores, 0-255, from which a pixel is answered at each threshold.
_LEVELS = np.ceil(THRESHOLDS * 255).astype(int)


@dataclass(frozen=True)
class FittedClass:
    """The fitted values of one class, and how many validation pictures were still missed and falsely flagged.

    `missed_region`: the share of its true pixels that was not answered, None where there are none. `presumed`:
    threshold and smallest area were not fitted (`presume_class`).
    """

    threshold: float
    min_area_px: float
    missed: int
    false: int
    shown: int
    iou: float | None
    missed_region: float | None
    presumed: bool = False


def own_probability(probabilities: Float32) -> UInt8:
    """Reduce float32 [H, W, K] to uint8 [H, W, K]: the probability x 255 of the leading class, 0 for the others."""
    leading = probabilities == probabilities.max(axis=-1, keepdims=True)
    return np.where(leading, np.round(probabilities * 255), 0).astype(np.uint8)


def fit_class(
    probabilities: Sequence[UInt8],
    truths: Sequence[BoolArray],
    costs: ThresholdSettings | None = None,
) -> FittedClass:
    """Fit one class from its probabilities x 255, uint8 [H, W], and its truth, bool [H, W], of each picture.

    `costs`: of a missed picture and of one falsely flagged, default even. Areas are in pixels of these maps: answers in
    cells are to be repeated over the pixels that they stand for.
    """
    counted = [count_answers(each, truth, truth) for each, truth in zip(probabilities, truths, strict=True)]
    return fit_counted(stacked(counted), costs)


@dataclass(frozen=True)
class AnswerCounts:
    """The answers of one class in each of N pictures, at each of `THRESHOLDS` and `MIN_AREAS_PX`.

    `kept_px`, `hit_px` of them that show the class, `covered_px` that show any class: int64 [N, T, A]. `true_px`: how
    many pixels show the class, int64 [N].
    """

    true_px: IntArray
    kept_px: IntArray
    hit_px: IntArray
    covered_px: IntArray


def count_answers(probability: UInt8, truth: BoolArray, defective: BoolArray) -> AnswerCounts:
    """Count one picture: probability x 255 of the class where it leads, uint8 [H, W]; `defective`: of any class."""
    true_px = int(np.count_nonzero(truth))
    own = truth if true_px else None
    found = _kept(probability, own, defective if defective is not truth else own)
    kept, hit, covered = (np.array([row[k] for row in found])[None] for k in range(3))
    return AnswerCounts(np.array([true_px], np.int64), kept, hit, covered)


def stacked(counts: Sequence[AnswerCounts]) -> AnswerCounts:
    """Put the counts of several pictures, or of several sets of them, into one."""
    shape = (0, len(THRESHOLDS), len(MIN_AREAS_PX))
    nothing = AnswerCounts(np.zeros(0, np.int64), *(np.zeros(shape, np.int64) for _ in range(3)))
    names = ("true_px", "kept_px", "hit_px", "covered_px")
    return AnswerCounts(*(np.concatenate([getattr(each, name) for each in (nothing, *counts)]) for name in names))


def fit_counted(counts: AnswerCounts, costs: ThresholdSettings | None = None) -> FittedClass:
    """Fit one class from what is answered in each picture, like `fit_class`."""
    shows = counts.true_px > 0
    missed = (counts.hit_px[shows] == 0).sum(axis=0)
    false = (counts.kept_px[~shows] > 0).sum(axis=0)
    overlap = counts.hit_px.sum(axis=0).astype(np.float64)
    union = (counts.true_px.sum() + (counts.kept_px - counts.hit_px).sum(axis=0)).astype(np.float64)
    iou = np.divide(overlap, union, out=np.zeros(union.shape), where=union > 0)
    all_true_px = int(counts.true_px.sum())
    missed_region = 1 - overlap / all_true_px if all_true_px else np.zeros(union.shape)
    row, column = _choose(missed, false, iou, missed_region, costs or ThresholdSettings())
    return FittedClass(
        threshold=float(THRESHOLDS[row]),
        min_area_px=float(MIN_AREAS_PX[column]),
        missed=int(missed[row, column]),
        false=int(false[row, column]),
        shown=int(shows.sum()),
        iou=float(iou[row, column]) if union[row, column] else None,
        missed_region=float(missed_region[row, column]) if all_true_px else None,
    )


def presume_class(
    probabilities: Sequence[UInt8], truths: Sequence[BoolArray], known: Sequence[BoolArray]
) -> FittedClass:
    """Return what a class starts with where nothing can be fitted; arguments as for `fit_class`.

    Its threshold is 0.5. Its smallest area is half of a certain one. At that one nine of ten pictures of `known` that
    show it would be found by their largest defect. `known` is bool [H, W], the truth of all that is learned from in the
    end. The counts are with these. Raises ValueError where no picture of `known` shows it.
    """
    largest = [_defects(truth, None)[0].max() for truth in known if truth.any()]
    if not largest:
        raise ValueError("no picture shows this class; there is nothing to presume")
    min_area_px = float(np.ceil(np.quantile(largest, _PRESUMED_QUANTILE) * _PRESUMED_SHARE))
    answers = [_answered(each, _PRESUMED_THRESHOLD, min_area_px) for each in probabilities]
    return _counted(answers, truths, _PRESUMED_THRESHOLD, min_area_px, presumed=True)


def count_sorted(probabilities: Sequence[UInt8], truths: Sequence[BoolArray]) -> FittedClass:
    """Count one class of a model that only sorts, at `SORTING_THRESHOLD`; arguments as of `fit_class`.

    Nothing that it learned from was clean, so to answer nothing is never right and there is nothing to fit.
    """
    answers = [probability >= np.ceil(SORTING_THRESHOLD * 255) for probability in probabilities]
    return _counted(answers, truths, SORTING_THRESHOLD, float(MIN_AREAS_PX[0]))


def _answered(probability: UInt8, threshold: float, min_area_px: float) -> BoolArray:
    """Return where a class is answered once specks are wiped, bool [H, W]."""
    answer = probability >= np.ceil(threshold * 255)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(answer.view(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= min_area_px
    large[0] = False  # pixels that are not answered
    return np.asarray(large[labels])


def _counted(
    answers: Sequence[BoolArray],
    truths: Sequence[BoolArray],
    threshold: float,
    min_area_px: float,
    *,
    presumed: bool = False,
) -> FittedClass:
    """Count pictures and pixels that `answers` miss and invent, bool [H, W] each, one per truth."""
    pairs = list(zip(answers, truths, strict=True))
    both, either = (sum(int(join(a, t).sum()) for a, t in pairs) for join in (np.logical_and, np.logical_or))
    return FittedClass(
        threshold=threshold,
        min_area_px=min_area_px,
        missed=sum(bool(t.any()) and not (a & t).any() for a, t in pairs),
        false=sum(bool(a.any()) and not t.any() for a, t in pairs),
        shown=sum(bool(t.any()) for t in truths),
        iou=both / either if either else None,
        missed_region=1 - both / true_px if (true_px := sum(int(t.sum()) for t in truths)) else None,
        presumed=presumed,
    )


def _kept(
    probability: UInt8, truth: BoolArray | None, defective: BoolArray | None
) -> list[tuple[IntArray, IntArray, IntArray]]:
    """Return per threshold what remains at each smallest area: pixels answered, right, on any defect; int64 [A] each.

    Only the box around the lowest threshold's answer is looked at. A threshold that answers the same pixels as the one
    before is not labelled again. On most pictures there is little to label.
    """
    nothing = np.zeros(len(MIN_AREAS_PX), np.int64)
    y, x, height, width = _box(probability >= _LEVELS[0])
    box = np.ascontiguousarray(probability[y : y + height, x : x + width])
    own, any_of_them = (None if mask is None else mask[y : y + height, x : x + width] for mask in (truth, defective))
    found: list[tuple[IntArray, IntArray, IntArray]] = []
    before, last = -1, (nothing, nothing, nothing)
    for level in _LEVELS:
        answer = box >= level
        count = int(np.count_nonzero(answer))
        if count != before:
            last = _by_area(*_defects(answer, own, any_of_them)) if count else (nothing, nothing, nothing)
            before = count
        found.append(last)
    return found


def _box(mask: BoolArray) -> tuple[int, int, int, int]:
    """Return the box around the set pixels of a mask, bool [H, W], as y, x, height, width.

    It is of size 0 around nothing.
    """
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    return int(y), int(x), int(height), int(width)


def _defects(
    answer: BoolArray, truth: BoolArray | None, defective: BoolArray | None = None
) -> tuple[IntArray, IntArray, IntArray]:
    """Return the area of each 8-connected defect, and how many of its pixels are of its class, and of any."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(answer.view(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA].astype(np.int64)
    hits, covered = (
        np.zeros_like(areas) if mask is None else np.bincount(labels[mask], minlength=count)[1:]
        for mask in (truth, defective)
    )
    return areas, hits, covered


def _by_area(areas: IntArray, hits: IntArray, covered: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Sum pixels, right ones, and those on any defect, of defects of at least each of `MIN_AREAS_PX`; int64 [A]."""
    order = np.argsort(areas)
    first = np.searchsorted(areas[order], MIN_AREAS_PX)

    def from_on(values: IntArray) -> IntArray:
        sums = np.append(np.cumsum(values[order][::-1])[::-1], 0)
        return np.asarray(sums[first], np.int64)

    return from_on(areas), from_on(hits), from_on(covered)


def _choose(
    missed: IntArray, false: IntArray, iou: Float64, missed_region: Float64, costs: ThresholdSettings
) -> tuple[int, int]:
    cost = costs.miss_cost * missed + costs.false_cost * false
    # a count of n errors could as well have been n + sqrt(n): its variance is n, if errors are independent
    variance = costs.miss_cost**2 * missed + costs.false_cost**2 * false
    least = float(cost.min())
    # ties of costs that are no whole numbers must not be parted by their last bit
    slack = 1e-9 * max(costs.miss_cost, costs.false_cost)
    cheapest = cost <= least + slack
    by_chance = float(np.sqrt(variance[cheapest].min()))
    fewest = cost <= least + by_chance + slack
    fewest &= missed_region <= max(costs.max_missed_region, float(missed_region[fewest].min()))
    reached = np.where(fewest, iou, -1).max(axis=1)  # per threshold, at its best area
    rows = np.flatnonzero(fewest.any(axis=1) & (reached >= reached.max() - _IOU_MARGIN))
    row = int(rows[len(rows) // 2])
    as_good = fewest[row] & (iou[row] >= reached[row] - _IOU_MARGIN)
    # here no chance is allowed for: a speck that was wrong is a reason to ask for more, however few there were
    columns = np.flatnonzero(as_good & (cost[row] <= cost[row][as_good].min() + slack))
    return row, int(columns[(len(columns) - 1) // 2])
