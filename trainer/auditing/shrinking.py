"""Labels that were painted with a pen, shrunk to the picture's edge before a model learns them.

A pen is wider than a scratch, so that a painted mask holds a rim of what is clean. The rings of the mask outside of a
clear edge of the picture become clean. Such an edge lies inside of a defect's outline.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edge.opencv import cv2
from edge.records import UInt8
from trainer.auditing.annotator_styles import dilation_px
from trainer.datasets.dataset import Picture
from trainer.datasets.masks import IGNORED

_MARGIN_PX = 8


def shrunk_to_edge(picture: Picture) -> tuple[Picture, list[float]]:
    """Return the picture with each defect shrunk to its edge, and each shrunk one's loss of width in px.

    A defect without a clear edge, or drawn no wider than it is, stays as it was; none vanishes.
    """
    pixels = picture.pixels
    grey = pixels[:, :, 0] if pixels.shape[2] == 1 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    truth, shrunk = picture.truth.copy(), []
    for class_id in np.unique(picture.truth):
        if class_id in {0, IGNORED}:
            continue
        own = (picture.truth == class_id).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
        for label in range(1, count):
            window = _window(stats[label], own.shape)
            drawn = (labels[window] == label).astype(np.uint8)
            rim, px = _rim(grey[window], drawn)
            truth[window][rim] = 0
            if px:
                shrunk.append(px)
    return replace(picture, truth=truth), shrunk


def _window(stats: npt.NDArray[np.int32], shape: tuple[int, ...]) -> tuple[slice, slice]:
    x, y, width, height = (int(value) for value in stats[:4])
    return (
        slice(max(0, y - _MARGIN_PX), min(shape[0], y + height + _MARGIN_PX)),
        slice(max(0, x - _MARGIN_PX), min(shape[1], x + width + _MARGIN_PX)),
    )


def _rim(grey: UInt8, drawn: UInt8) -> tuple[npt.NDArray[np.bool_], float]:
    """Return the part of a mask, uint8 [H, W] of 0 and 1, outside of the edge.

    It is bool [H, W], and comes with its width in px.
    """
    nothing = np.zeros(drawn.shape, np.bool_)
    px = dilation_px(grey, drawn)
    if px is None or px < 1:
        return nothing, 0.0
    inside = cv2.distanceTransform(drawn, cv2.DIST_L2, 5)
    rings = min(np.floor(px), np.ceil(inside.max()) - 1)  # the innermost ring stays
    if rings < 1:
        return nothing, 0.0
    return (drawn > 0) & (np.ceil(inside) - 1 < rings), float(rings)
