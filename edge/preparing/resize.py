"""The step `resize`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from edge.opencv import cv2
from edge.preparing.step import Step
from edge.records import Transform, UInt8

_INTERPOLATIONS = {
    "nearest": "INTER_NEAREST_EXACT",  # INTER_NEAREST is off by half a pixel
    "linear": "INTER_LINEAR",
    "cubic": "INTER_CUBIC",
    "area": "INTER_AREA",
}


class Resize(Step):
    """Bring every picture to `width` x `height` px, or with `inside` to no more than that.

    `letterbox` keeps the aspect: the picture is made as large as fits, stands in the middle, and `fill` is beside it.
    Those pixels are not inspected. `inside` makes it as large as fits, and nothing is beside it: its size then follows
    from the aspect. `stretch` fills all of it. `interpolation` `auto` averages over areas where the picture is made
    smaller and is linear where it grows.
    """

    step: Literal["resize"] = "resize"
    width: Annotated[int, Field(ge=1, le=16384)]
    height: Annotated[int, Field(ge=1, le=16384)]
    fit: Literal["letterbox", "stretch", "inside"] = "letterbox"
    fill: Annotated[int, Field(ge=0, le=255)] = 0
    interpolation: Literal["auto", "nearest", "linear", "cubic", "area"] = "auto"

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, C] → [height, width, C], or with `inside` [at most height, at most width, C]."""
        height, width, channels = pixels.shape
        inner_width, inner_height = self._inner(width, height)
        outer = (inner_width, inner_height) if self.fit == "inside" else (self.width, self.height)
        left, top = (outer[0] - inner_width) // 2, (outer[1] - inner_height) // 2
        if (inner_width, inner_height) == (width, height):
            resized = pixels
        else:
            how = self._interpolation(shrinks=inner_width <= width and inner_height <= height)
            resized = cv2.resize(pixels, (inner_width, inner_height), interpolation=how)
            resized = resized.reshape(inner_height, inner_width, channels)
        if (inner_width, inner_height) != outer:
            whole: UInt8 = np.full((*outer[::-1], channels), self.fill, np.uint8)
            whole[top : top + inner_height, left : left + inner_width] = resized
            resized = whole
        # whole pixels inside, so that both sides have their own scale, and the way back is exact
        x_scale, y_scale = width / inner_width, height / inner_height
        own = Transform(np.array([[x_scale, 0.0, -left * x_scale], [0.0, y_scale, -top * y_scale]]))
        return resized, own.then(transform)

    def _inner(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height that the picture itself takes."""
        if self.fit == "stretch":
            return self.width, self.height
        scale = min(self.width / width, self.height / height)
        return min(self.width, max(1, round(width * scale))), min(self.height, max(1, round(height * scale)))

    def _interpolation(self, *, shrinks: bool) -> int:
        name = self.interpolation if self.interpolation != "auto" else "area" if shrinks else "linear"
        return int(getattr(cv2, _INTERPOLATIONS[name]))
