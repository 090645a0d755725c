"""A USB camera that is not there: it stands in for OpenCV's VideoCapture, properties and all.

It takes what a cheap webcam takes: a few sizes, the nearest of them for any other; MJPG and YUYV; exposure only once
that is manual. Its pictures are grey ramps that move.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from edge.cameras.device_settings import AUTOMATIC, MANUAL
from edge.opencv import cv2
from edge.records import UInt8

SIZES = ((640, 480), (1280, 720), (1920, 1080))
FORMATS = ("MJPG", "YUYV")
_UNKNOWN = -1.0  # what OpenCV reads of a property that the driver does not have


class SimulatedUsbDevice:
    """One device. `buffered_ms`: for how long each picture waited before it is given; it may be changed at any time."""

    def __init__(
        self,
        *,
        fps_at_most: float = 30.0,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        self.buffered_ms = 0.0
        self._fps_at_most = fps_at_most
        self._monotonic_ns = monotonic_ns
        self._sleep_s = sleep_s
        self._open = True
        self._grabbed = 0
        self._stamp_ms = 0.0
        self._values: dict[int, float] = {
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter_fourcc(*FORMATS[1])),
            cv2.CAP_PROP_FRAME_WIDTH: 640.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
            cv2.CAP_PROP_FPS: fps_at_most,
            cv2.CAP_PROP_AUTO_EXPOSURE: float(AUTOMATIC),
            cv2.CAP_PROP_EXPOSURE: 157.0,
            cv2.CAP_PROP_GAIN: 0.0,
            cv2.CAP_PROP_AUTO_WB: 1.0,
            cv2.CAP_PROP_BUFFERSIZE: 4.0,
        }

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's own name
        """Tell whether it was not released."""
        return self._open

    def set(self, prop: int, value: float) -> bool:
        """Take a property as the driver can; False if it cannot."""
        if prop not in self._values:
            return False
        if prop == cv2.CAP_PROP_FOURCC and value not in {float(cv2.VideoWriter_fourcc(*each)) for each in FORMATS}:
            return False
        if prop == cv2.CAP_PROP_EXPOSURE and self._values[cv2.CAP_PROP_AUTO_EXPOSURE] != MANUAL:
            return False
        if prop == cv2.CAP_PROP_FPS:
            value = min(value, self._fps_at_most)
        self._values[prop] = value
        return True

    def get(self, prop: int) -> float:
        """Return a property; -1 for one that it does not have."""
        if prop in {cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT}:
            return float(self._size()[0 if prop == cv2.CAP_PROP_FRAME_WIDTH else 1])
        if prop == cv2.CAP_PROP_POS_MSEC:
            return self._stamp_ms
        return self._values.get(prop, _UNKNOWN)

    def grab(self) -> bool:
        """Wait for the next picture."""
        self._sleep_s(1 / self._values[cv2.CAP_PROP_FPS])
        self._grabbed += 1
        self._stamp_ms = self._monotonic_ns() / 1e6 - self.buffered_ms
        return self._open

    def retrieve(self) -> tuple[bool, UInt8]:
        """Return the picture that was grabbed: uint8 [H, W, 3]."""
        width, height = self._size()
        ramp = ((np.arange(width) + 4 * self._grabbed) % 256).astype(np.uint8)
        return self._open, np.repeat(np.repeat(ramp[None, :, None], height, axis=0), 3, axis=2)

    def release(self) -> None:
        """Close it."""
        self._open = False

    def _size(self) -> tuple[int, int]:
        asked = self._values[cv2.CAP_PROP_FRAME_WIDTH] * self._values[cv2.CAP_PROP_FRAME_HEIGHT]
        return min(SIZES, key=lambda size: abs(size[0] * size[1] - asked))
