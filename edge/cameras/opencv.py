"""OpenCV's VideoCapture in a thread of its own: files, devices, RTSP and GStreamer.

A file never drops a frame: the thread waits while two are unread. A live source keeps only the newest: what nobody read
is replaced and counted. A live source that fails, for any reason and also at the start, is reopened for ever, with
pauses that double from 0.5 to 10 s. The time of a frame is taken after `grab()`, when it has arrived, and before it is
decoded.

The JPEGs of a Motion JPEG stream are decoded here rather than by FFmpeg or OpenCV, which show what is damaged of them
as grey and say nothing: such a frame is UNREADABLE. Levels of more than 8 bits are brought to 8 by `depth_bits`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from typing_extensions import Self

from edge.errors import DependencyError, SourceError
from edge.opencv import cv2
from edge.pictures import NotReadableError, as_frame, as_text, decode, is_text, to_eight_bits
from edge.records import CameraCondition, CameraState, Frame
from edge.redacting import redacted

Kind = Literal["file", "device", "rtsp", "gstreamer"]

_READ_AHEAD = 2
_PAUSE_FIRST_S = 0.5
_PAUSE_LONGEST_S = 10.0
_PATIENCE_MS = 5000
_JOIN_S = 2.0
_MJPEG = frozenset({cv2.VideoWriter_fourcc(*"MJPG"), cv2.VideoWriter_fourcc(*"JPEG"), cv2.VideoWriter_fourcc(*"mjpg")})
# Video4Linux's names for grey levels of more than 8 bits, which OpenCV would cut to the upper or lower 8.
_DEEP = frozenset(cv2.VideoWriter_fourcc(*code) for code in ("Y16 ", "Y10 ", "Y12 ", "Y14 "))


class OpenCvCamera:
    """One VideoCapture. `source`: a path, device (number or /dev/videoN), RTSP URL, or GStreamer pipeline.

    `monotonic_ns` and `utc` are the live clock; a file's frames carry the recording's own time instead, counted from
    `started_at`.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        source: str,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        started_at: datetime | None = None,
        alive: Callable[[], None] = lambda: None,
        depth_bits: int | None = None,
    ) -> None:
        self.name = name
        self.dropped = 0
        self._kind = kind
        self._source = source
        self._monotonic_ns = monotonic_ns
        self._started_at = started_at or datetime.now(timezone.utc)
        self._alive = alive
        self._depth_bits = depth_bits
        self._encoded = False  # it gives JPEGs, decoded here, so that damage is told
        self._frames: deque[Frame | CameraState] = deque()
        self._changed = threading.Condition()
        self._state = CameraState(name, CameraCondition.STARTING, f"opening {redacted(source)}")
        self._stop = threading.Event()
        self._index = 0
        self._capture: Any = None
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)

    @property
    def total(self) -> int:
        """How many frames a file says it has; 0 if unknown or live."""
        if self._kind != "file" or self._capture is None:
            return 0
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __enter__(self) -> Self:
        if self._kind == "gstreamer" and not _has_gstreamer():
            raise DependencyError(
                f"The camera {self.name} is a GStreamer pipeline and this OpenCV ({cv2.__version__}) was built without "
                "GStreamer. Use Debian's or JetPack's python3-opencv in a virtual environment made with "
                "--system-site-packages, and remove opencv-python-headless from it"
            )
        if self._kind == "file":
            self._open_file()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        # A driver may hang in its read; the thread is a daemon, so that such a one cannot hold the process.
        self._thread.join(_JOIN_S)

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next (file) or newest (live) frame, or the camera's state after `timeout_s` without one."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended(), timeout_s)
            if self._frames:
                frame = self._frames.popleft()
                self._changed.notify_all()
                return frame
            if self._state.condition is CameraCondition.STARTING and self._index:
                return CameraState(self.name, CameraCondition.NO_FRAME_YET)
            return self._state

    def _ended(self) -> bool:
        return self._state.condition is CameraCondition.END_OF_STREAM

    def _open_file(self) -> None:
        path = Path(self._source)
        if not path.is_file():
            raise SourceError(f"No recording at {path}: expected a video file that OpenCV can read")
        if not is_text(str(path)):
            raise SourceError(f"{as_text(str(path))}: expected a name in UTF-8, for OpenCV opens no other. Rename it")
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise SourceError(
                f"{path} is no video that can be read, or was cut off: OpenCV {cv2.__version__} cannot open it. "
                "Record or copy it again"
            )
        self._take_undecoded()

    def _open_live(self) -> bool:
        if self._kind == "device":
            number = self._source.removeprefix("/dev/video")
            self._capture = cv2.VideoCapture(int(number) if number.isdecimal() else self._source)
            self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            # JPEGs come as they are, and grey levels with all their bits
            code = self._fourcc()
            self._encoded = code in _MJPEG
            if self._encoded or code in _DEEP:
                self._capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        elif self._kind == "gstreamer":
            self._capture = cv2.VideoCapture(self._source, cv2.CAP_GSTREAMER)
        else:
            patience = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _PATIENCE_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _PATIENCE_MS]
            self._capture = cv2.VideoCapture(self._source, cv2.CAP_FFMPEG, patience)
            self._take_undecoded()
        return bool(self._capture.isOpened())

    def _fourcc(self) -> int:
        return int(self._capture.get(cv2.CAP_PROP_FOURCC)) if self._capture.isOpened() else 0

    def _take_undecoded(self) -> None:
        """Have FFmpeg hand over the JPEGs of a Motion JPEG stream: it conceals what is damaged of them."""
        self._encoded = self._fourcc() in _MJPEG and bool(self._capture.set(cv2.CAP_PROP_FORMAT, -1))

    def _seen(self, pixels: Any, captured_ns: int, captured_at: datetime) -> Frame | CameraState:
        """Return what was retrieved as a frame, or that it cannot be read. Takes the frame's number."""
        index = self._index
        self._index += 1
        try:
            if self._encoded:
                pixels = as_frame(decode(pixels.tobytes()), self._depth_bits)
            elif pixels.dtype.name == "uint16":
                pixels = to_eight_bits(pixels, self._depth_bits)
        except NotReadableError as error:
            detail = f"frame {index} of the camera {self.name} cannot be read: {error}"
            unreadable = CameraCondition.UNREADABLE
            return CameraState(self.name, unreadable, detail, index, "", captured_ns, captured_at)
        return Frame(self.name, index, pixels, captured_ns, captured_at)

    def _run(self) -> None:
        try:
            if self._kind == "file":
                self._play_file()
            else:
                self._watch_live()
        except Exception as error:  # noqa: BLE001 - a thread that ended unseen would leave the reader waiting for ever
            self._set_state(CameraCondition.END_OF_STREAM, redacted(f"{self._source} failed: {error}"))
        finally:
            if self._capture is not None:
                self._capture.release()

    def _play_file(self) -> None:
        promised = self.total
        fps = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        while not self._stop.is_set():
            self._alive()
            if not self._capture.grab():
                break
            # A recording's own time; some containers have none, and then the frame rate tells.
            position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC) or self._index * 1000 / fps
            ok, pixels = self._capture.retrieve()
            if not ok:
                break
            captured_ns = round(position_ms * 1e6)
            frame = self._seen(pixels, captured_ns, self._started_at + timedelta(milliseconds=position_ms))
            with self._changed:
                self._changed.wait_for(lambda: len(self._frames) < _READ_AHEAD or self._stop.is_set())
                self._frames.append(frame)
                self._changed.notify_all()
        # Frame counts are estimates in some containers, so a small shortfall is none.
        missing = promised - self._index
        cut_off = missing > max(2, promised // 50)
        detail = f"{self._source} ended after {self._index} of {promised} frames: it is cut off or damaged"
        self._set_state(CameraCondition.END_OF_STREAM, detail if cut_off else "")

    def _watch_live(self) -> None:
        pause_s = _PAUSE_FIRST_S
        while not self._stop.is_set():
            self._alive()
            try:
                trouble = "it cannot be opened"
                if self._open_live():
                    trouble = "it gave no frame"
                    while not self._stop.is_set() and self._take_live():
                        self._alive()
                        pause_s = _PAUSE_FIRST_S
                        trouble = "it stopped giving frames"
            except (cv2.error, SourceError) as error:
                trouble = str(error)
            self._capture.release()
            self._set_state(CameraCondition.LOST, f"{redacted(self._source)}: {trouble}; trying again in {pause_s:g} s")
            self._stop.wait(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_LONGEST_S)

    def _take_live(self) -> bool:
        if not self._capture.grab():
            return False
        captured_ns, captured_at = self._monotonic_ns(), datetime.now(timezone.utc)
        ok, pixels = self._capture.retrieve()
        if not ok:
            return False
        height = round(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        if self._kind == "gstreamer" and height > 0 and not self._encoded and pixels.shape[0] != height:
            raise SourceError(
                f"it gives a planar picture of {list(pixels.shape)} for {height} rows; let the pipeline end in "
                "videoconvert ! video/x-raw,format=BGR ! appsink"
            )
        frame = self._seen(pixels, captured_ns, captured_at)
        with self._changed:
            self.dropped += len(self._frames)
            self._frames.clear()
            self._frames.append(frame)
            self._state = CameraState(self.name, CameraCondition.NO_FRAME_YET)
            self._changed.notify_all()
        return True

    def _set_state(self, condition: CameraCondition, detail: str) -> None:
        with self._changed:
            self._state = CameraState(self.name, condition, detail)
            self._changed.notify_all()


def _has_gstreamer() -> bool:
    return any("GStreamer" in line and "YES" in line for line in cv2.getBuildInformation().splitlines())
