"""OpenCV's VideoCapture as a source of live pictures: USB cameras (V4L2) and GStreamer pipelines.

The time of a picture is taken after `grab()`, when it has arrived and is not decoded. Then it is compared with the
driver's or the pipeline's own.

The JPEGs of a Motion JPEG camera are decoded here, since OpenCV shows damage as grey and says nothing. Levels of more
than 8 bits are brought to 8 by `depth_bits`.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge.cameras.capture import Shot
from edge.cameras.device_settings import DeviceSettings, VideoDevice, apply
from edge.cameras.gstreamer import pipeline_trouble
from edge.cameras.stream_clock import StreamClock, StreamGaps
from edge.errors import DependencyError, SourceError
from edge.opencv import cv2
from edge.pictures import NotReadableError, as_frame, decode, to_eight_bits
from edge.printable import encodable, printable
from edge.records import UInt8
from edge.redacting import redacted
from edge.wording import counted

Kind = Literal["device", "gstreamer"]

DEVICE_AT_MOST = 255
_VIDEO4LINUX = 81  # the kernel's major number of its devices
# So many pictures in a row that cannot be had end the try: the device is opened anew.
_FAILED_AT_MOST = 25
_LATE_AT_MOST_S = 3.0
_MJPEG = frozenset({cv2.VideoWriter_fourcc(*"MJPG"), cv2.VideoWriter_fourcc(*"JPEG"), cv2.VideoWriter_fourcc(*"mjpg")})
# Video4Linux's names for grey levels of more than 8 bits, which OpenCV would cut to the upper or lower 8.
_DEEP = frozenset(cv2.VideoWriter_fourcc(*code) for code in ("Y16 ", "Y10 ", "Y12 ", "Y14 "))
_BIG_ENDIAN = 1 << 31  # in the code of a format whose upper byte comes first


def open_capture(kind: Kind, source: str) -> VideoDevice:
    """Open a device (number or path) by V4L2, or a pipeline by GStreamer, with OpenCV."""
    capture: VideoDevice
    if kind == "gstreamer":
        capture = cv2.VideoCapture(source, cv2.CAP_GSTREAMER)
    else:
        number = device_number(source)
        capture = cv2.VideoCapture(source if number is None else number, cv2.CAP_V4L2)
    return capture


def device_number(source: str) -> int | None:
    """Return N of `N` or `/dev/videoN`, None for another path. Raises SourceError for a number that no device has."""
    digits = source.removeprefix("/dev/video")
    if not (digits.isascii() and digits.isdecimal()):
        return None
    if len(digits) > 5 or int(digits) > DEVICE_AT_MOST:
        raise SourceError(f"expected the number of a video device, 0 to {DEVICE_AT_MOST}, as in /dev/video0")
    return int(digits)


def require_gstreamer(camera: str) -> None:
    """Raise DependencyError where this OpenCV was built without GStreamer."""
    if not any("GStreamer" in line and "YES" in line for line in cv2.getBuildInformation().splitlines()):
        raise DependencyError(
            f"The camera {camera} is a GStreamer pipeline and this OpenCV ({cv2.__version__}) was built without "
            "GStreamer. Use Debian's or JetPack's python3-opencv in a virtual environment made with "
            "--system-site-packages, and remove opencv-python-headless from it"
        )


class OpenCvSource:
    """One VideoCapture. `source`: a device (number or path) or a GStreamer pipeline; `device`: what a device is set to.

    `max_age_ms`: an older picture is thrown away, 0 = none is; `clock`: whether the source's own clock is compared with
    ours. `opener` opens it; another one may stand in for OpenCV.
    """

    total = 0

    def __init__(
        self,
        kind: Kind,
        source: str,
        *,
        max_age_ms: int = 0,
        device: DeviceSettings | None = None,
        clock: bool = True,
        depth_bits: int | None = None,
        opener: Callable[[Kind, str], VideoDevice] = open_capture,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.shown = printable(redacted(source))
        self.differences: tuple[str, ...] = ()
        self._kind: Kind = kind
        self._source = source
        self._max_age_ms = max_age_ms
        self._device = device or DeviceSettings()
        self._compare = clock
        self._depth_bits = depth_bits
        self._encoded = False  # it gives JPEGs, decoded here, so that damage is told
        self._swapped = False  # the upper byte of each level comes first
        self._opener = opener
        self._monotonic_ns = monotonic_ns
        self._clock = StreamClock()
        self._gaps = StreamGaps()
        self._missed = 0
        self._capture: VideoDevice | None = None
        self._failed = 0
        self._late_since_ns: int | None = None

    def open(self) -> None:
        """Open it and set it. Raises SourceError with a sentence."""
        if encodable(self._source) != self._source:  # OpenCV would end the process
            raise SourceError(
                f"expected UTF-8, received {self._source!r:.80}: name it otherwise, a device by its number"
            )
        if self._kind == "gstreamer" and (trouble := pipeline_trouble(self._source)):
            raise SourceError(trouble)
        if self._kind == "device" and self._opener is open_capture:
            _require_device(self._source)
        self._capture = self._opener(self._kind, self._source)
        if not self._capture.isOpened():
            raise SourceError(
                "it cannot be opened: another program may use it, or it is no camera"
                if self._kind == "device"
                else "GStreamer cannot start the pipeline: try it with gst-launch-1.0 and fakesink in place of appsink"
            )
        if self._kind == "device":
            self.differences = tuple(apply(self._device, self._capture))
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
            deep = code & ~_BIG_ENDIAN in _DEEP
            self._encoded, self._swapped = code in _MJPEG, deep and bool(code & _BIG_ENDIAN)
            if self._encoded or deep:  # JPEGs come as they are, and grey levels with all their bits
                self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def take(self) -> Sequence[Shot] | None:
        """Wait for the next picture; None when it gives no more."""
        if self._capture is None or not self._capture.grab():
            return None
        arrived_ns = self._monotonic_ns()
        captured_ns = self._captured_ns(arrived_ns)
        late_ms = (arrived_ns - captured_ns) / 1e6
        if self._max_age_ms and late_ms > self._max_age_ms:
            return [Shot(None, captured_ns, self._behind(late_ms, arrived_ns))]
        self._late_since_ns = None
        ok, pixels = self._capture.retrieve()
        if not ok or pixels is None or not pixels.size:
            self._failed += 1
            if self._failed > _FAILED_AT_MOST:
                raise SourceError(f"{counted(self._failed, 'picture')} in a row could not be decoded")
            return [Shot(None, captured_ns, "the picture is damaged: it could not be decoded")]
        self._failed = 0
        height = round(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if self._kind == "gstreamer" and height > 0 and pixels.shape[0] != height:
            raise SourceError(
                f"it gives a planar picture of {list(pixels.shape)} for {counted(height, 'row')}; let the "
                f"pipeline end in "
                "videoconvert ! video/x-raw,format=BGR ! appsink"
            )
        try:
            missed, self._missed = self._missed, 0
            return [Shot(self._readable(pixels), captured_ns, missed=missed)]
        except NotReadableError as error:
            return [Shot(None, captured_ns, f"the picture cannot be read: {error}")]

    def close(self) -> None:
        """Let go of the device or pipeline."""
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def _readable(self, pixels: Any) -> UInt8:
        """Return what was retrieved as uint8 levels. Raises NotReadableError."""
        if self._encoded:
            return as_frame(decode(pixels.tobytes()), self._depth_bits)
        if pixels.dtype.name != "uint16":
            eight: UInt8 = pixels
            return eight
        eight = to_eight_bits(pixels.byteswap() if self._swapped else pixels, self._depth_bits)
        return np.repeat(eight[:, :, None], 3, axis=2) if eight.ndim == 2 else eight

    def _captured_ns(self, arrived_ns: int) -> int:
        position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC) if self._capture and self._compare else 0.0
        if not position_ms > 0:
            return arrived_ns
        media_ns = round(position_ms * 1e6)
        self._clock.arrived(media_ns, arrived_ns)
        if self._kind == "device":  # an appsink leaves pictures out by itself, as it is told to
            self._missed += self._gaps.missed_before(media_ns)
        return self._clock.captured_ns(media_ns, arrived_ns)

    def _behind(self, late_ms: float, now_ns: int) -> str:
        """Say how late a picture is. Raises SourceError where pictures that are not looked at do not catch up."""
        told = f"the picture is {late_ms:.0f} ms old by the source's own clock, at most {self._max_age_ms} ms allowed"
        if self._late_since_ns is None:
            self._late_since_ns = now_ns
        if now_ns - self._late_since_ns > _LATE_AT_MOST_S * 1e9:
            raise SourceError(f"{told}; it is opened anew")
        return f"{told}; it was thrown away"


def _require_device(source: str) -> None:
    number = device_number(source)
    path = Path(source if number is None else f"/dev/video{number}")
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise SourceError("it cannot be opened: this is no path of a device") from error
    if not there:
        raise SourceError(
            f"there is no {printable(path)}: plug the camera in, or look for its name with v4l2-ctl --list-devices"
        )
    status = path.stat()
    if stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) != _VIDEO4LINUX:
        raise SourceError(
            f"{printable(path)} is a device, but no camera: name that of a camera, as in /dev/video0; "
            "v4l2-ctl --list-devices shows them"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(f"{printable(path)} may not be opened by this account: add it to the group video")
