"""The watch over a camera: frozen and blind pictures are no look at a part. Pure.

Only cheap things are looked at. Every fourth pixel of every fourth row says whether a picture is dark, saturated or
without contrast. All pixels are compared only where those are the same as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from edge.opencv import cv2
from edge.records import CameraFault, Frame, UInt8
from edge.yaml_settings import StrictModel

_EVERY_PX = 4
_SATURATED = 250  # grey levels from here on are counted as saturated


class WatchSettings(StrictModel):
    """The limits beyond which a camera is frozen or blind. A check with 0 (`saturated_share`: 1) is not made.

    `frozen_ms`: for so long the very same pixels must have come, in at least `frozen_frames` frames. `dark_below`: mean
    grey level, 0-255. `saturated_share`: share of pixels at 250 or more. `contrast_below`: standard deviation of the
    grey levels.
    """

    frozen_ms: Annotated[int, Field(ge=0, le=86_400_000)] = 10_000
    frozen_frames: Annotated[int, Field(ge=2, le=100_000)] = 10
    dark_below: Annotated[float, Field(ge=0, le=255)] = 6.0
    saturated_share: Annotated[float, Field(gt=0, le=1)] = 0.98
    contrast_below: Annotated[float, Field(ge=0, le=128)] = 1.0


@dataclass(frozen=True)
class Distrust:
    """The camera's fault for which a frame is not believed, and a reason for people."""

    fault: CameraFault
    reason: str


class CameraWatch:
    """Looks at one camera's frames, in order. `settings` None looks at nothing."""

    def __init__(self, settings: WatchSettings | None) -> None:
        self._settings = settings
        self._last: UInt8 | None = None
        self._last_sample: UInt8 | None = None
        self._since_ns = 0
        self._same = 0

    def look(self, frame: Frame) -> Distrust | None:
        """Return why this frame is not to be believed, or None."""
        if self._settings is None:
            return None
        sample = np.ascontiguousarray(frame.pixels[::_EVERY_PX, ::_EVERY_PX])
        frozen = self._frozen(self._settings, frame, sample)
        return frozen or _blind(self._settings, sample)

    def _frozen(self, settings: WatchSettings, frame: Frame, sample: UInt8) -> Distrust | None:
        same = (
            self._last is not None
            and self._last_sample is not None
            and np.array_equal(sample, self._last_sample)
            and np.array_equal(frame.pixels, self._last)
        )
        self._last, self._last_sample = frame.pixels, sample
        if not same:
            self._since_ns, self._same = frame.captured_ns, 1
            return None
        self._same += 1
        held_ms = (frame.captured_ns - self._since_ns) / 1e6
        if not settings.frozen_ms or held_ms < settings.frozen_ms or self._same < settings.frozen_frames:
            return None
        return Distrust(CameraFault.FROZEN, f"the camera is frozen: the same picture for {held_ms / 1000:.1f} s")


def blind(settings: WatchSettings | None, pixels: UInt8) -> Distrust | None:
    """Return why uint8 [H, W] or [H, W, 3] that stands alone shows nothing, or None."""
    return None if settings is None else _blind(settings, np.ascontiguousarray(pixels[::_EVERY_PX, ::_EVERY_PX]))


def _blind(settings: WatchSettings, sample: UInt8) -> Distrust | None:
    grey: UInt8 = sample if sample.ndim == 2 or sample.shape[2] == 1 else cv2.cvtColor(sample, cv2.COLOR_BGR2GRAY)
    (mean,), (deviation,) = (side.ravel()[:1] for side in cv2.meanStdDev(grey))
    seen = ""
    if mean < settings.dark_below:
        seen = f"it is dark, grey level {mean:.1f} of 255 on average, at least {settings.dark_below:g} expected"
    elif (share := float((grey >= _SATURATED).mean())) >= settings.saturated_share and settings.saturated_share < 1:
        seen = f"it is saturated, {share:.0%} of the pixels, less than {settings.saturated_share:.0%} expected"
    elif deviation < settings.contrast_below:
        seen = f"nothing is to be seen, a contrast of {deviation:.2f}, at least {settings.contrast_below:g} expected"
    return Distrust(CameraFault.BLIND, f"the camera is blind: {seen}") if seen else None
