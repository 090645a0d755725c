"""The step `crop_circle`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from edge.errors import ProductNotFoundError
from edge.opencv import cv2
from edge.preparing.geometry import cropped
from edge.preparing.grey import luminance
from edge.preparing.locating import Circle, find_circle
from edge.preparing.part_box import circle_box
from edge.preparing.step import Step
from edge.records import PartBox, Transform, UInt8


class CropCircle(Step):
    """Find the round product (a watch glass, a lens) by its rim and crop the square around it.

    Of several concentric rims the outermost is taken. The crop's side is the diameter times `margin`. Pixels beyond the
    frame are `fill`, and with `outside: fill` so are those outside the circle of that diameter. The radius is looked
    for between `min_radius` and `max_radius`, shares of the frame's shorter side. A rim counts where at least `min_rim`
    of its circumference is seen with `min_contrast` grey levels across it. Otherwise the product is not found, and the
    frame is NO_READ.
    """

    step: Literal["crop_circle"] = "crop_circle"
    margin: Annotated[float, Field(ge=0.5, le=3)] = 1.05
    outside: Literal["keep", "fill"] = "keep"
    fill: Annotated[int, Field(ge=0, le=255)] = 0
    min_radius: Annotated[float, Field(gt=0, le=2)] = 0.15
    max_radius: Annotated[float, Field(gt=0, le=2)] = 0.6
    min_rim: Annotated[float, Field(gt=0, le=1)] = 0.6
    min_contrast: Annotated[float, Field(ge=1, le=255)] = 8.0

    @model_validator(mode="after")
    def _radii_in_order(self) -> CropCircle:
        if self.min_radius >= self.max_radius:
            raise ValueError(f"expected min_radius below max_radius, received {self.min_radius} and {self.max_radius}")
        return self

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, C] → [S, S, C], S by the product. Raises ProductNotFoundError."""
        circle = self.find(pixels)
        side = max(1, round(2 * circle.radius * self.margin))
        x, y = round(circle.x - side / 2), round(circle.y - side / 2)
        crop = cropped(pixels, (x, y), (side, side), self.fill)
        if self.outside == "fill":
            mask = np.zeros((side, side), np.uint8)
            centre = (round((circle.x - x - 0.5) * 16), round((circle.y - y - 0.5) * 16))  # with 4 bits of fraction
            cv2.circle(mask, centre, round(circle.radius * self.margin * 16), 1, -1, cv2.LINE_8, 4)
            crop = np.where(mask.view(np.bool_)[:, :, None], crop, np.uint8(self.fill))
        return crop, Transform.shift(x, y).then(transform)

    def part(self, size_px: tuple[int, int], to_frame: Transform) -> PartBox:
        """Return where the product lies in the frame, by the crop's size (width, height) and its way to the frame."""
        side = size_px[0]
        return circle_box(Circle(side / 2, side / 2, side / self.margin / 2, 1.0), to_frame)

    def find(self, pixels: UInt8) -> Circle:
        """Return the product's rim in uint8 [H, W, C]. Raises ProductNotFoundError."""
        shorter = min(pixels.shape[:2])
        radii = (self.min_radius * shorter, self.max_radius * shorter)
        circle = find_circle(luminance(pixels), radii, self.min_contrast)
        if circle is None or circle.rim < self.min_rim:
            seen = "no edges at all" if circle is None else f"one of which {circle.rim:.0%} can be seen"
            raise ProductNotFoundError(
                f"expected a circular rim of {radii[0]:.0f} to {radii[1]:.0f} px radius, seen over at least "
                f"{self.min_rim:.0%} of its length, received {seen}"
            )
        return circle
