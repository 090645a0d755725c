"""The step `smooth`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.opencv import cv2
from edge.preparing.step import Step, refuse_foreign
from edge.records import Transform, UInt8

_TAKES = {
    "mean": {"size_px"},
    "gaussian": {"sigma_px"},
    "median": {"size_px"},
    "bilateral": {"size_px", "sigma_px", "sigma_grey"},
}
_SIZE_PX, _SIGMA_PX, _SIGMA_GREY = 3, 1.0, 25.0


class Smooth(Step):
    """Take noise out of the picture.

    | kind | each pixel becomes | parameters |
    |---|---|---|
    | `mean` | the mean of `size_px` x `size_px` | `size_px`, odd, 3 |
    | `gaussian` | their mean, weighted by a normal distribution | `sigma_px`, its standard deviation, 1.0 |
    | `median` | the median of `size_px` x `size_px`: specks go, borders stay | `size_px`, odd, 3 |
    | `bilateral` | a mean of those near and alike: noise goes, borders stay | `size_px` 3, `sigma_px` 1.0, \
`sigma_grey` 25, the standard deviation in grey levels |

    A parameter of another kind is an error.
    """

    step: Literal["smooth"] = "smooth"
    kind: Literal["mean", "gaussian", "median", "bilateral"]
    size_px: Annotated[int, Field(ge=3, le=63)] | None = None
    sigma_px: Annotated[float, Field(gt=0, le=32)] | None = None
    sigma_grey: Annotated[float, Field(gt=0, le=255)] | None = None

    @model_validator(mode="after")
    def _parameters_fit_the_kind(self) -> Smooth:
        refuse_foreign(self, _TAKES[self.kind], ("size_px", "sigma_px", "sigma_grey"))
        if self.size_px is not None and self.size_px % 2 == 0:
            raise ValueError(f"expected size_px to be odd, received {self.size_px}")
        return self

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, C] → [H, W, C], each channel for itself (bilateral: likeness is that of all); moves no pixel."""
        size, sigma = self.size_px or _SIZE_PX, self.sigma_px or _SIGMA_PX
        match self.kind:
            case "mean":
                smooth = cv2.blur(pixels, (size, size), borderType=cv2.BORDER_REPLICATE)
            case "gaussian":
                smooth = cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
            case "median":
                smooth = cv2.medianBlur(pixels, size)
            case "bilateral":
                grey = self.sigma_grey or _SIGMA_GREY
                smooth = cv2.bilateralFilter(pixels, size, grey, sigma, borderType=cv2.BORDER_REPLICATE)
        return smooth.reshape(pixels.shape), transform
