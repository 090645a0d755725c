"""The steps that pixels take before tiling, the same on the line and in training; each keeps its way back.

A bundle's manifest records the steps with their parameters, so that a model never meets pixels prepared another way.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from edge.opencv import cv2
from edge.records import Transform, UInt8


class Grey(BaseModel):
    """Reduce BGR to luminance (ITU-R BT.601); grey pictures pass through."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    step: Literal["grey"] = "grey"

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, 3] or [H, W, 1] → [H, W, 1]; moves no pixel."""
        if pixels.shape[2] == 1:
            return pixels, transform
        grey: UInt8 = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        return grey[:, :, None], transform


class LevelLight(BaseModel):
    """Flat-field by division: each pixel over its neighbourhood's mean, so that uneven light becomes even.

    out = clip(target * pixel / max(background, floor)), the background being the picture averaged over cells of
    `cell_px` and smoothed over `smooth_cells` of them. `floor` keeps dark surfaces from becoming amplified noise.
    `strength` 0-1 mixes the divided picture with the untouched one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
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


PreparingStep = Annotated[Grey | LevelLight, Field(discriminator="step")]


def prepare(pixels: UInt8, steps: tuple[PreparingStep, ...], channels: int) -> tuple[UInt8, Transform]:
    """Take uint8 [H, W] or [H, W, 3] (BGR) through the steps; return uint8 [H', W', channels] and the way back.

    A grey picture is repeated for a three-channel model; a colour one without a grey step is reduced for a
    one-channel model, so that any camera serves any model.
    """
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    transform = Transform.identity()
    for step in steps:
        pixels, transform = step.apply(pixels, transform)
    if pixels.shape[2] == channels:
        return pixels, transform
    if channels == 1:
        return Grey().apply(pixels, transform)
    return np.repeat(pixels[:, :, :1], channels, axis=2), transform
