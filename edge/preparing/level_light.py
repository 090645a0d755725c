"""The step `level_light`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from edge.opencv import cv2
from edge.preparing.step import Step
from edge.records import Transform, UInt8


class LevelLight(Step):
    """Level by division by a local mean: each pixel over its neighbourhood's, so that uneven light becomes even.

    out = clip(target * pixel / max(background, floor)), the background being the picture averaged over cells of
    `cell_px` and smoothed over `smooth_cells` of them. `floor` keeps dark surfaces from becoming amplified noise.
    `strength` 0-1 mixes the divided picture with the untouched one.
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
        means = cv2.resize(pixels, cells, interpolation=cv2.INTER_AREA)
        background = cv2.GaussianBlur(means, (0, 0), self.smooth_cells, borderType=cv2.BORDER_REPLICATE)
        background = np.maximum(background, self.floor)
        background = cv2.resize(background, (width, height), interpolation=cv2.INTER_LINEAR)
        level: UInt8 = cv2.divide(pixels.reshape(background.shape), background, scale=self.target)
        if self.strength < 1:
            level = cv2.addWeighted(level, self.strength, pixels.reshape(level.shape), 1 - self.strength, 0)
        return level.reshape(height, width, channels), transform
