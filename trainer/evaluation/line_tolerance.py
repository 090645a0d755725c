"""Precision and recall of thin lines, where a pixel beside the drawn one is right.

A crack is drawn by hand a few pixels wide, and no two people draw it alike. So an answered pixel is right when a true
one lies within a distance. A true pixel is found when an answered one does. CrackForest and the segmentation of
boundaries before it are judged so, with 2 to 5 px. Source: Shi et al. 2016, IEEE T-ITS 17(12).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.opencv import cv2
from edge.records import UInt8


@dataclass(frozen=True)
class TolerantCounts:
    """Pixels of one picture per class, int64 [K]; `…_near`: of these within the distance of one of the other side."""

    answered: npt.NDArray[np.int64]
    answered_near: npt.NDArray[np.int64]
    true: npt.NDArray[np.int64]
    true_near: npt.NDArray[np.int64]


def tolerant_counts(truth: UInt8, answer: UInt8, class_count: int, tolerance_px: float) -> TolerantCounts:
    """Count the pixels of each class that lie within `tolerance_px` (Euclidean, 0: the same pixel) of the other map's.

    Both maps uint8 [H, W] of class ids.
    """
    counts = np.zeros((4, class_count), np.int64)
    for class_id in range(1, class_count + 1):
        true, own = truth == class_id, answer == class_id
        counts[:, class_id - 1] = (
            own.sum(),
            near(own, true, tolerance_px),
            true.sum(),
            near(true, own, tolerance_px),
        )
    return TolerantCounts(*counts)


def near(mask: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_], distance_px: float) -> int:
    """Count the pixels of `mask`, bool [H, W], that have one of `other` within `distance_px` of their centre."""
    if not mask.any() or not other.any():
        return 0
    # distance of every pixel to the nearest zero, so the other mask has to be the zeros
    distances = cv2.distanceTransform((~other).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return int((distances[mask] <= distance_px + 1e-4).sum())
