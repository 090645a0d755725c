"""A USB camera that is not there: it stands in for OpenCV's VideoCapture, properties and all.

It takes what a cheap webcam takes: a few sizes, the nearest of them for any other; MJPG and YUYV; exposure only once
that is manual. Its pictures are grey ramps that move. One that is given levels of more than 8 bits is an industrial
camera: it also has Y16, Y12 and Y10, and shows these levels in its one size.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from edge.cameras.device_settings import AUTOMATIC, MANUAL
from edge.opencv import cv2
from edge.pictures import UInt16
from edge.records import UInt8

SIZES = ((640, 480), (1280, 720), (1920, 1080))
FORMATS = ("MJPG", "YUYV")
DEEP_FORMATS = ("Y16 ", "Y12 ", "Y10 ")
_BIG_ENDIAN = 1 << 31  # in Video4Linux's code of a format
_UNKNOWN = -1.0  # OpenCV's reading of a property that the driver does not have


class SimulatedUsbDevice:
    """One device. `buffered_ms`: for how long each picture waited before it is given; it may be changed at any time.

    `levels`: uint16 [H, W], what it sees in its formats of more than 8 bits; None for a camera that has none.
    """

    def __init__(
        self,
        *,
        levels: UInt16 | None = None,
        fps_at_most: float = 30.0,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        self.buffered_ms = 0.0
        self._levels = levels
        codes = [*FORMATS, *(() if levels is None else DEEP_FORMATS)]
        self._formats = {cv2.VideoWriter_fourcc(*each): each for each in codes}
        self._formats |= {code | _BIG_ENDIAN: name for code, name in self._formats.items() if name in DEEP_FORMATS}
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
            cv2.CAP_PROP_CONVERT_RGB: 1.0,
        }

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's own name
        """Tell whether it was not released."""
        return self._open

    def set(self, prop: int, value: float) -> bool:
        """Take a property as the driver can; False if it cannot."""
        if prop not in self._values:
            return False
        if prop == cv2.CAP_PROP_FOURCC and int(value) not in self._formats:
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

    def retrieve(self) -> tuple[bool, UInt8 | UInt16]:
        """Return the picture that was grabbed: uint8 [H, W, 3].

        Without CONVERT_RGB, as it came: levels of more than 8 bits are uint16 [H, W], a JPEG is its bytes, [1, n].
        """
        converted = bool(self._values[cv2.CAP_PROP_CONVERT_RGB])
        if self._deep and self._levels is not None:
            if converted:  # as OpenCV does it, whatever the depth
                return self._open, np.repeat((self._levels >> 8).astype(np.uint8)[..., None], 3, axis=2)
            swapped = int(self._values[cv2.CAP_PROP_FOURCC]) & _BIG_ENDIAN
            return self._open, self._levels.byteswap() if swapped else self._levels.copy()
        width, height = self._size()
        ramp = ((np.arange(width) + 4 * self._grabbed) % 256).astype(np.uint8)
        pixels = np.repeat(np.repeat(ramp[None, :, None], height, axis=0), 3, axis=2)
        if not converted and self._formats[int(self._values[cv2.CAP_PROP_FOURCC])] == "MJPG":
            return self._open, cv2.imencode(".jpg", pixels)[1].reshape(1, -1)
        return self._open, pixels

    def release(self) -> None:
        """Close it."""
        self._open = False

    @property
    def _deep(self) -> bool:
        return self._formats[int(self._values[cv2.CAP_PROP_FOURCC])] in DEEP_FORMATS

    def _size(self) -> tuple[int, int]:
        if self._deep and self._levels is not None:
            return self._levels.shape[1], self._levels.shape[0]
        asked = self._values[cv2.CAP_PROP_FRAME_WIDTH] * self._values[cv2.CAP_PROP_FRAME_HEIGHT]
        return min(SIZES, key=lambda size: abs(size[0] * size[1] - asked))
