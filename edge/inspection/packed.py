"""Many masks in one picture, many lines in one array: one step for all defects in place of one for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge.records import Float64, UInt8

Indices = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Masks lie beside each other in a picture this wide, unless one is wider; a multiple of 64.
_SHELF = 512


def together(masks: Sequence[UInt8]) -> tuple[UInt8, Indices]:
    """Lay masks, uint8 [h, w], beside each other into one, uint8 [H, W].

    Return beside it where each lies, int64 [M, 4] (left, top, right, bottom).
    """
    corners, height, width = _shelved([mask.shape for mask in masks])
    canvas: UInt8 = np.zeros((height, width), np.uint8)
    boxes = [(x, y, x + m.shape[1], y + m.shape[0]) for (y, x), m in zip(corners, masks, strict=True)]
    for (left, top, right, bottom), mask in zip(boxes, masks, strict=True):
        canvas[top:bottom, left:right] = mask
    return canvas, np.array(boxes)


def boxes_of(points: npt.NDArray[np.int32], boxes: Indices) -> Indices:
    """Tell in which boxes, int64 [B, 4] (left, top, right, bottom), points [N, 2] (x, y) lie, each in its own."""
    x, y = points[:, :1], points[:, 1:]
    inside = (x >= boxes[:, 0]) & (y >= boxes[:, 1]) & (x < boxes[:, 2]) & (y < boxes[:, 3])
    which: Indices = inside.argmax(axis=1)
    return which


def _shelved(shapes: Sequence[tuple[int, ...]]) -> tuple[list[tuple[int, int]], int, int]:
    """Place boxes of (height, width) on shelves; return their corners (row, column), and how high and wide all are."""
    width = max(_SHELF, -(-max(w for _, w in shapes) // 64) * 64)
    corners = [(0, 0)] * len(shapes)
    top, left, tallest = 0, 0, 0
    for negative, number in sorted((-h, number) for number, (h, _) in enumerate(shapes)):
        h, w = -negative, shapes[number][1]
        if left + w > width:
            top, left, tallest = top + tallest, 0, 0
        corners[number] = (top, left)
        left, tallest = left + w, max(tallest, h)
    return corners, top + tallest, width


def starts_of(counts: Indices) -> Indices:
    """Return where consecutive parts of these sizes begin, and where the last ends, int64 [N + 1]."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def lengths_of(points: Float64, starts: Indices) -> Float64:
    """Return how long lines are, float64 [S], whose points [N, 2] of any unit begin at `starts` int64 [S]."""
    steps = np.zeros_like(points)
    np.subtract(points[1:], points[:-1], out=steps[:-1])
    steps[starts[1:] - 1] = 0
    lengths: Float64 = np.add.reduceat(np.sqrt(np.einsum("ij,ij->i", steps, steps)), starts)
    return lengths
