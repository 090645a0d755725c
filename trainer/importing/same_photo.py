"""The comparison of a drawing with the photo that it may be made on, where nothing is painted. Pure pixels.

A copy differs from its photo by what saving it did. A lossy format keeps the means of small blocks (JPEG stores them
finely). The photo changes with the copy, level for level, where the copy changes at all. Another photo, even of the
same product, has other means or other details.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.opencv import cv2
from edge.records import Float32, UInt8

Kind = Literal["same", "shifted", "another photo"]
_BLOCK_PX = 16
# Nine of ten blocks of a copy keep their mean within so many levels (JPEG at quality 30: 3).
_MEANS_DIFFER_AT_MOST = 5.0
# Of a copy's own details the photo has this share at least; chance gives 0, a copy 1.
_DETAIL_SHARED_AT_LEAST = 0.5
# Details below this, in levels, tell nothing: a bare surface, smoothed by JPEG.
_DETAIL_FROM = 1.0
_SHIFT_FROM_PX = 0.75
# A shift is believed where undoing it takes away this share of the difference.
_EXPLAINED_AT_LEAST = 0.5
_TOO_LITTLE_SEEN = 0.02


@dataclass(frozen=True)
class Comparison:
    """A drawing's relation to a photo. `shift_px`: how far (right, down) it lies from the photo; (0, 0) if the same.

    `means_differ`: levels, for nine of ten blocks at most. `detail_shared`: 0-1, None where there is none to compare.
    """

    kind: Kind
    shift_px: tuple[float, float]
    means_differ: float
    detail_shared: float | None


def compare(photo: UInt8, drawing: UInt8, painted: NDArray[np.bool_]) -> Comparison:
    """Compare two BGR pictures of one size, uint8 [H, W, 3], where `painted`, bool [H, W], is False."""
    before = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY).astype(np.float32)
    after = cv2.cvtColor(drawing, cv2.COLOR_BGR2GRAY).astype(np.float32)
    seen = ~painted
    shift = _shift_between(before, after, seen)
    if max(map(abs, shift)) >= _SHIFT_FROM_PX and _explained(before, after, seen, shift) >= _EXPLAINED_AT_LEAST:
        return Comparison("shifted", shift, *_alike(before, after, seen))
    means, shared = _alike(before, after, seen)
    same = means <= _MEANS_DIFFER_AT_MOST and (shared is None or shared >= _DETAIL_SHARED_AT_LEAST)
    return Comparison("same" if same else "another photo", (0.0, 0.0), means, shared)


def _alike(before: Float32, after: Float32, seen: NDArray[np.bool_]) -> tuple[float, float | None]:
    """Return by how many levels block means differ, and which share of the second's details the first has."""
    known = seen.astype(np.float32)
    weight = cv2.boxFilter(known, -1, (_BLOCK_PX, _BLOCK_PX))
    mean_before = cv2.boxFilter(before * known, -1, (_BLOCK_PX, _BLOCK_PX)) / np.maximum(weight, 1e-3)
    mean_after = cv2.boxFilter(after * known, -1, (_BLOCK_PX, _BLOCK_PX)) / np.maximum(weight, 1e-3)
    judged = seen & (weight > 0.5)
    if judged.mean() < _TOO_LITTLE_SEEN:
        return 0.0, None
    means = float(np.quantile(np.abs(mean_after - mean_before)[judged], 0.9))
    detail_before, detail_after = (before - mean_before)[judged], (after - mean_after)[judged]
    variance = float((detail_after**2).mean())
    if variance < _DETAIL_FROM**2:
        return means, None
    # the slope of the photo's details on the copy's: 1 where the copy was made from it by leaving details out
    return means, float((detail_before * detail_after).mean()) / variance


def _shift_between(before: Float32, after: Float32, seen: NDArray[np.bool_]) -> tuple[float, float]:
    hidden = after.copy()
    hidden[~seen] = float(np.median(after[seen])) if seen.any() else 0.0
    window = cv2.createHanningWindow(before.shape[::-1], cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(before - before.mean(), hidden - hidden.mean(), window)
    return round(right, 2), round(down, 2)


def _explained(before: Float32, after: Float32, seen: NDArray[np.bool_], shift: tuple[float, float]) -> float:
    """Return the share of the difference (its mean square) that is gone when the photo is moved by `shift`."""
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    size = before.shape[::-1]
    moved = cv2.warpAffine(before, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones_like(before), matrix, size) > 0.99
    judged = seen & inside
    if judged.mean() < 0.1:
        return 0.0
    unmoved = float(((after - before)[judged] ** 2).mean())
    return 1 - float(((after - moved)[judged] ** 2).mean()) / max(unmoved, 1e-6)
