"""The step `crop_rectangle`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from edge.errors import ProductNotFoundError
from edge.preparing.geometry import cropped, warped
from edge.preparing.grey import luminance
from edge.preparing.locating import Rectangle, find_rectangle
from edge.preparing.part_box import rectangle_box
from edge.preparing.step import Step
from edge.records import PartBox, Transform, UInt8

# A turn that moves the crop's corners by less than this is not worth resampling all pixels.
_TURN_AT_LEAST_PX = 0.5


class CropRectangle(Step):
    """Find the rectangular product (a phone, a tile), turn it upright and crop it.

    The crop's sides are the product's times `margin`; pixels beyond the frame are `fill`. It is turned by less than 45
    degrees. With `orientation` landscape or portrait its longer side lies or stands. Pixels keep their size. A product
    is found by four conditions. It differs from its surroundings by `min_contrast` grey levels. It covers `min_area` of
    the frame (a share). It fills `min_fill` of its rectangle (rounded corners are missing). It has all four sides in
    the frame. Otherwise the frame is NO_READ.
    """

    step: Literal["crop_rectangle"] = "crop_rectangle"
    margin: Annotated[float, Field(ge=0.5, le=3)] = 1.0
    orientation: Literal["keep", "landscape", "portrait"] = "keep"
    fill: Annotated[int, Field(ge=0, le=255)] = 0
    min_area: Annotated[float, Field(gt=0, le=1)] = 0.1
    min_fill: Annotated[float, Field(gt=0, le=1)] = 0.85
    min_contrast: Annotated[float, Field(ge=1, le=255)] = 10.0

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, C] → [h, w, C], h and w by the product. Raises ProductNotFoundError."""
        found = self.find(pixels)
        width, height = (max(1, round(side * self.margin)) for side in (found.width, found.height))
        if abs(math.sin(found.angle)) * max(width, height) / 2 < _TURN_AT_LEAST_PX and math.cos(found.angle) > 0:
            x, y = round(found.x - width / 2), round(found.y - height / 2)
            return cropped(pixels, (x, y), (width, height), self.fill), Transform.shift(x, y).then(transform)
        cos, sin = math.cos(found.angle), math.sin(found.angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        corner = np.array([found.x, found.y]) - turn @ [width / 2, height / 2]
        own = Transform(np.column_stack([turn, corner]))
        return warped(pixels, own, (width, height), self.fill), own.then(transform)

    def find(self, pixels: UInt8) -> Rectangle:
        """Return the product in uint8 [H, W, C], turned as `orientation` says. Raises ProductNotFoundError."""
        found = find_rectangle(luminance(pixels), self.min_area, self.min_fill, self.min_contrast)
        if found is None:
            raise ProductNotFoundError(
                f"expected a rectangle of at least {self.min_area:.0%} of the frame, with all four sides in it and "
                f"{self.min_contrast:g} grey levels from what surrounds it, received none"
            )
        return self._oriented(found)

    def part(self, size_px: tuple[int, int], to_frame: Transform) -> PartBox:
        """Return where the product lies in the frame, by the crop's size (width, height) and its way to the frame."""
        width, height = size_px
        return rectangle_box(Rectangle(width / 2, height / 2, width / self.margin, height / self.margin, 0.0), to_frame)

    def _oriented(self, found: Rectangle) -> Rectangle:
        lies = found.width >= found.height
        if self.orientation == "keep" or lies == (self.orientation == "landscape"):
            return found
        # a quarter turn, the way that leaves the smaller angle
        quarter = -math.pi / 2 if found.angle > 0 else math.pi / 2
        return Rectangle(found.x, found.y, found.height, found.width, found.angle + quarter)
