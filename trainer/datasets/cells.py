"""The truth of models that answer one class per cell of several pixels: from class ids per pixel to ids per cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge.errors import DatasetError
from edge.records import UInt8
from trainer.datasets.dataset import Picture
from trainer.datasets.masks import IGNORED


def cells_of(truth: UInt8, stride: int, min_share: float, min_px: int | None = None) -> UInt8:
    """Reduce class ids uint8 [N, H, W], 0 = clean, to uint8 [N, H / stride, W / stride].

    A cell is defective if defects of any class fill at least `min_share` of it. With `min_px`, so many pixels in it do,
    too: a thin scratch fills little of a large cell. Its class is then the defect class with most pixels in it, the
    lowest id of equals. Else it is 0. A cell without any defect pixel is always 0. One that is not defective and half
    of which or more is ignored is ignored. Raises ValueError if H or W is no multiple of `stride`.
    """
    count, height, width = truth.shape
    if height % stride or width % stride:
        raise ValueError(f"maps of {height} x {width} px have no whole cells of {stride} px")
    if stride == 1:
        return truth
    blocks = truth.reshape(count, height // stride, stride, width // stride, stride)
    ids = [int(class_id) for class_id in np.unique(truth) if class_id not in {0, IGNORED}]
    left_out = (blocks == IGNORED).sum(axis=(2, 4)) >= stride**2 / 2
    cells: UInt8 = np.where(left_out, np.uint8(IGNORED), np.uint8(0))
    if not ids:
        return cells
    filled = np.stack([(blocks == class_id).sum(axis=(2, 4)) for class_id in ids])  # [classes, N, h, w]
    defective = filled.sum(axis=0)
    enough = defective >= min_share * stride**2
    if min_px is not None:
        enough |= defective >= min_px
    enough &= defective > 0
    cells[enough] = np.array(ids, np.uint8)[filled.argmax(axis=0)][enough]
    return cells


def labelled_whole(picture: Picture, names: Sequence[str]) -> Picture:
    """Give every pixel of a picture with a label and no mask its class, for models that answer whole tiles.

    Ignored pixels stay so.

    Raises DatasetError where it has several: a tile has one answer.
    """
    entry = picture.entry
    if entry.masks or not entry.labels:
        return picture
    if len(entry.labels) > 1:
        raise DatasetError(
            f"{entry.path}: expected one class for a picture without a mask, received {', '.join(sorted(entry.labels))}"
        )
    (name,) = entry.labels
    whole = np.full_like(picture.truth, names.index(name) + 1)
    return replace(picture, truth=np.where(picture.truth == IGNORED, picture.truth, whole))
