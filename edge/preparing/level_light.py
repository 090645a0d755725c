"""The step `level_light`."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edge.opencv import cv2
from edge.preparing.step import Step
from edge.records import Float32, Transform, UInt8


class LevelLight(Step):
    """Level by division by a local mean: each pixel over its neighbourhood's, so that uneven light becomes even.

    out = clip(target * pixel / max(background, floor)). The background is the picture averaged over cells of `cell_px`
    and smoothed over `smooth_cells` of them. `floor` keeps dark surfaces from becoming amplified noise. `strength` 0-1
    mixes the divided picture with the untouched one.
    """

    step: Literal["level_light"] = "level_light"
    cell_px: Annotated[int, Field(ge=4, le=512)] = 32
    smooth_cells: Annotated[float, Field(gt=0, le=16)] = 2.0
    target: Annotated[int, Field(ge=1, le=255)] = 96
    floor: Annotated[int, Field(ge=1, le=255)] = 24
    strength: Annotated[float, Field(ge=0, le=1)] = 1.0

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, C] → [H, W, C], each channel for itself; moves no pixel."""
        height, width, channels = pixels.shape
        cells = (max(1, -(-width // self.cell_px)), max(1, -(-height // self.cell_px)))
        means = means_of(pixels, cells)
        background = cv2.GaussianBlur(means, (0, 0), self.smooth_cells, borderType=cv2.BORDER_REPLICATE)
        background = np.maximum(background, self.floor)
        background = cv2.resize(background, (width, height), interpolation=cv2.INTER_LINEAR)
        level: UInt8 = cv2.divide(pixels.reshape(background.shape), background, scale=self.target)
        if self.strength < 1:
            level = cv2.addWeighted(level, self.strength, pixels.reshape(level.shape), 1 - self.strength, 0)
        return level.reshape(height, width, channels), transform


def means_of(pixels: UInt8, cells: tuple[int, int]) -> UInt8:
    """Return the means of a picture's cells, uint8 [h, w, C] of [H, W, C].

    They are OpenCV's INTER_AREA to the bit. `cells`: (w, h). Cells that are not a whole number of pixels high cost
    OpenCV six times as long for a grey picture.
    """
    height, width, channels = pixels.shape
    wide, rest = divmod(width, cells[0])
    # of a power of two the sums are exact, in whatever order
    if channels > 1 or rest or height % cells[1] == 0 or wide not in _POWERS_OF_TWO:
        means: UInt8 = cv2.resize(pixels, cells, interpolation=cv2.INTER_AREA)
        return means.reshape(cells[1], cells[0], channels)
    sums = np.einsum("ywk->yw", pixels.reshape(height, cells[0], wide), dtype=np.uint16)
    rows = sums.astype(np.float32) * np.float32(1 / wide)
    places, shares = _shares(height, cells[1])
    total = rows[places[0]] * shares[0]
    for place, share in zip(places[1:], shares[1:], strict=True):
        total += rows[place] * share
    rounded: UInt8 = np.rint(total).astype(np.uint8)
    return rounded[:, :, None]


_POWERS_OF_TWO = frozenset({2, 4, 8, 16, 32, 64, 128, 256})


@lru_cache(maxsize=16)
def _shares(size: int, cells: int) -> tuple[npt.NDArray[np.int64], Float32]:
    """Return the pixels of `size` in each of so many cells, int64 [P, cells], and their shares of its mean.

    The shares are float32 [P, cells, 1], 0 for what fills up.
    """
    scale = size / cells
    places, shares = (np.zeros((math.ceil(scale) + 1, cells), kind) for kind in (np.int64, np.float32))
    for cell in range(cells):
        begin, end = cell * scale, min((cell + 1) * scale, size)
        first, last = math.floor(begin + 1e-3), math.ceil(end - 1e-3)
        for number, pixel in enumerate(range(first, last)):
            places[number, cell] = pixel
            shares[number, cell] = (min(end, pixel + 1) - max(begin, pixel)) / (end - begin)
    return places, shares[:, :, None]
