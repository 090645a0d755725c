"""The step `edges`."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from edge.opencv import cv2
from edge.preparing.step import Step, refuse_foreign
from edge.records import Transform, UInt8

_TAKES = {"sobel": {"size_px", "gain"}, "laplacian": {"size_px", "gain"}, "unsharp": {"sigma_px", "amount"}}
_SIZE_PX, _GAIN, _SIGMA_PX, _AMOUNT = 3, 1.0, 2.0, 1.0


class Edges(Step):
    """Show where the picture changes, or sharpen it.

    | kind | out | parameters |
    |---|---|---|
    | `sobel` | `gain` x the gradient's magnitude; a straight border between two grey levels gives their difference | \
`size_px` 3 or 5, `gain` 1.0 |
    | `laplacian` | `gain` x the second derivative's magnitude; a lone pixel gives its difference from the others | \
`size_px` 3 or 5, `gain` 1.0 |
    | `unsharp` | pixel + `amount` x (pixel - its surroundings, a Gaussian mean) | `sigma_px` 2.0, `amount` 1.0 |

    Values are clipped to 0-255. A parameter of another kind is an error.
    """

    step: Literal["edges"] = "edges"
    kind: Literal["sobel", "laplacian", "unsharp"]
    size_px: Literal[3, 5] | None = None
    gain: Annotated[float, Field(gt=0, le=100)] | None = None
    sigma_px: Annotated[float, Field(gt=0, le=32)] | None = None
    amount: Annotated[float, Field(gt=0, le=20)] | None = None

    @model_validator(mode="after")
    def _parameters_fit_the_kind(self) -> Edges:
        refuse_foreign(self, _TAKES[self.kind], ("size_px", "gain", "sigma_px", "amount"))
        return self

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, C] → [H, W, C], each channel for itself; moves no pixel."""
        match self.kind:
            case "sobel":
                shown = self._sobel(pixels)
            case "laplacian":
                shown = self._laplacian(pixels)
            case "unsharp":
                sigma, amount = self.sigma_px or _SIGMA_PX, self.amount or _AMOUNT
                around = cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
                shown = cv2.addWeighted(pixels.reshape(around.shape), 1 + amount, around, -amount, 0)
        return shown.reshape(pixels.shape), transform

    def _sobel(self, pixels: UInt8) -> UInt8:
        size = self.size_px or _SIZE_PX
        derivative, smoothing = cv2.getDerivKernels(1, 0, size)
        of_a_step = float(np.maximum(derivative, 0).sum() * smoothing.sum())
        scale = (self.gain or _GAIN) / of_a_step
        border = {"ksize": size, "scale": scale, "borderType": cv2.BORDER_REPLICATE}
        across = cv2.Sobel(pixels, cv2.CV_32F, 1, 0, **border)
        down = cv2.Sobel(pixels, cv2.CV_32F, 0, 1, **border)
        shown: UInt8 = cv2.convertScaleAbs(cv2.magnitude(across, down))
        return shown

    def _laplacian(self, pixels: UInt8) -> UInt8:
        size = self.size_px or _SIZE_PX
        of_a_lone_pixel = _laplacian_of_a_lone_pixel(size)
        second = cv2.Laplacian(pixels, cv2.CV_16S, ksize=size, borderType=cv2.BORDER_REPLICATE)
        shown: UInt8 = cv2.convertScaleAbs(second, alpha=(self.gain or _GAIN) / of_a_lone_pixel)
        return shown


def _laplacian_of_a_lone_pixel(size: int) -> float:
    """Return what OpenCV's kernel of `size` px has in its middle."""
    lone: UInt8 = np.zeros((2 * size + 1, 2 * size + 1), np.uint8)
    lone[size, size] = 1
    return float(abs(cv2.Laplacian(lone, cv2.CV_16S, ksize=size)[size, size]))
