"""The step `levels`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from edge.opencv import cv2
from edge.preparing.step import Step
from edge.records import Transform, UInt8


class Levels(Step):
    """Stretch each picture's grey levels to 0-255, so that short and long exposures look alike.

    out = clip(255 * (pixel - low) / max(high - low, least_range)). `dark_share` of the pixels do not exceed low, and
    `bright_share` of them are not below high. `least_range` keeps a picture of nothing from becoming amplified noise.
    All channels are stretched alike, so a colour keeps its hue.
    """

    step: Literal["levels"] = "levels"
    dark_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.01
    bright_share: Annotated[float, Field(ge=0, lt=0.5)] = 0.005
    least_range: Annotated[int, Field(ge=1, le=255)] = 24

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, C] → [H, W, C]; moves no pixel."""
        flat = np.ascontiguousarray(pixels).reshape(pixels.shape[0], -1)
        at_most = np.cumsum(cv2.calcHist([flat], [0], None, [256], [0, 256]).ravel(), dtype=np.float64)
        # the first level that more than the share of the pixels do not exceed; as sought from the bright end
        low = int(np.searchsorted(at_most, self.dark_share * flat.size, side="right"))
        high = int(np.searchsorted(at_most, (1 - self.bright_share) * flat.size - 0.5, side="left"))
        stretch = 255 / max(high - low, self.least_range)
        table = np.clip(np.rint((np.arange(256) - low) * stretch), 0, 255).astype(np.uint8)
        return cv2.LUT(flat, table).reshape(pixels.shape), transform
