"""The step `grey`."""

from __future__ import annotations

from typing import Literal

from edge.opencv import cv2
from edge.preparing.step import Step
from edge.records import Transform, UInt8


class Grey(Step):
    """Reduce BGR to luminance (ITU-R BT.601); grey pictures pass through."""

    step: Literal["grey"] = "grey"

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, 3] or [H, W, 1] → [H, W, 1]; moves no pixel."""
        return luminance(pixels)[:, :, None], transform


def luminance(pixels: UInt8) -> UInt8:
    """Return uint8 [H, W] of [H, W, 3] in BGR order or [H, W, 1]; of the latter a view."""
    if pixels.shape[2] == 1:
        return pixels[:, :, 0]
    grey: UInt8 = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return grey
