"""Each class's threshold and smallest area, fitted on whole stitched validation pictures.

With few pictures the best cell of a table is luck. So the errors that cost money come first (pictures missed, pictures
falsely flagged), and counts that chance could have made of each other are taken as equal. Of the thresholds that make
the fewest, and whose IoU is as good as the best, the middle one is taken; then of the areas the middle one, as far from
the largest speck that was wrong as from the smallest defect that was right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

THRESHOLDS = np.round(np.arange(0.20, 0.91, 0.05), 2)
# pixels, each half as large again as the last
MIN_AREAS_PX = tuple(round(1.5**k) for k in range(2, 27))
# An IoU within this of the best is as good: masks drawn by hand differ by more.
_IOU_MARGIN = 0.03


@dataclass(frozen=True)
class FittedClass:
    """What was fitted for one class, and how many validation pictures were still missed and falsely flagged."""

    threshold: float
    min_area_px: float
    missed: int
    false: int
    shown: int
    iou: float | None


def own_probability(probabilities: Float32) -> UInt8:
    """Reduce float32 [H, W, K] to uint8 [H, W, K]: the probability x 255 of the leading class, 0 for the others."""
    leading = probabilities == probabilities.max(axis=-1, keepdims=True)
    return np.where(leading, np.round(probabilities * 255), 0).astype(np.uint8)


def fit_class(probabilities: Sequence[UInt8], truths: Sequence[BoolArray]) -> FittedClass:
    """Fit one class from its probabilities x 255, uint8 [H, W], and its truth, bool [H, W], of each picture."""
    shape = (len(THRESHOLDS), len(MIN_AREAS_PX))
    missed, false = np.zeros(shape, int), np.zeros(shape, int)
    overlap, union = np.zeros(shape), np.zeros(shape)
    for probability, truth in zip(probabilities, truths, strict=True):
        for row, threshold in enumerate(THRESHOLDS):
            areas, hits = _defects(probability >= threshold * 255, truth)
            for column, min_area in enumerate(MIN_AREAS_PX):
                kept = areas >= min_area
                hit_px, area_px = hits[kept].sum(), areas[kept].sum()
                overlap[row, column] += hit_px
                union[row, column] += truth.sum() + area_px - hit_px
                if truth.any():
                    missed[row, column] += not (hits[kept] > 0).any()
                else:
                    false[row, column] += bool(kept.any())
    iou = np.divide(overlap, union, out=np.zeros(shape), where=union > 0)
    row, column = _choose(missed + false, iou)
    return FittedClass(
        threshold=float(THRESHOLDS[row]),
        min_area_px=float(MIN_AREAS_PX[column]),
        missed=int(missed[row, column]),
        false=int(false[row, column]),
        shown=sum(bool(truth.any()) for truth in truths),
        iou=float(iou[row, column]) if union[row, column] else None,
    )


def _defects(answer: BoolArray, truth: BoolArray) -> tuple[IntArray, IntArray]:
    """Return the area of each 8-connected defect and how many of its pixels are true."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(answer.view(np.uint8), connectivity=8)
    hits = np.bincount(labels[truth], minlength=count)
    return stats[1:, cv2.CC_STAT_AREA], hits[1:]


def _choose(errors: IntArray, iou: Float64) -> tuple[int, int]:
    # a count of n errors could as well have been n + sqrt(n): its standard deviation, if errors are independent
    fewest = errors <= errors.min() + np.sqrt(errors.min())
    reached = np.where(fewest, iou, -1).max(axis=1)  # per threshold, at its best area
    rows = np.flatnonzero(fewest.any(axis=1) & (reached >= reached.max() - _IOU_MARGIN))
    row = int(rows[len(rows) // 2])
    columns = np.flatnonzero(fewest[row] & (iou[row] >= reached[row] - _IOU_MARGIN))
    return row, int(columns[(len(columns) - 1) // 2])
