"""The simulated line as a camera that also knows the truth, and as a recording."""

from __future__ import annotations

import csv
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

import numpy as np
from typing_extensions import Self

from edge.errors import SourceError, StoreError
from edge.opencv import cv2
from edge.printable import encodable
from edge.records import CameraCondition, CameraState, Frame, UInt8
from edge.simulation.belt import SimulatedBelt
from edge.simulation.rendering import CLASS_NAMES, RenderedLine, SimulatedLineSettings

_REMEMBERED = 256
VIDEO_FPS = 25


class SimulatedCamera:
    """Draws frames when they are read, at `fps` frames/s or, with 0, at once. Drops none: a slow reader slows the belt.

    Cameras over one `belt` see it at the same position at the same moment. Without one a camera has its own. The truth
    of the last 256 frames is kept for `truth`.
    """

    def __init__(
        self,
        name: str,
        settings: SimulatedLineSettings,
        *,
        belt: SimulatedBelt | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._belt = belt
        self.dropped = 0
        self._settings = settings
        self._monotonic_ns = monotonic_ns
        self._sleep_s = sleep_s
        self._line = RenderedLine(settings)
        self._truths: OrderedDict[int, UInt8] = OrderedDict()
        self._index = 0
        self._due_ns: int | None = None

    def __enter__(self) -> Self:
        if self._belt is not None:
            self._belt.join(self.name)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._belt is not None:
            self._belt.leave(self.name)
        self._truths.clear()

    @property
    def total(self) -> int:
        """Tell how many frames there will be; 0 if the line never ends."""
        return self._settings.frames

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame when it is due, NO_FRAME_YET if that is later than `timeout_s`."""
        if self._settings.frames and self._index >= self._settings.frames:
            if self._belt is not None:
                self._belt.leave(self.name)
            return CameraState(self.name, CameraCondition.END_OF_STREAM)
        taken = self._take(timeout_s)
        if taken is None:
            return CameraState(self.name, CameraCondition.NO_FRAME_YET)
        index, captured_ns = taken
        self._index = index + 1
        pixels, truth = self._line.frame(index)
        self._truths[index] = truth
        if len(self._truths) > _REMEMBERED:
            self._truths.popitem(last=False)
        at_ns = self._monotonic_ns() if captured_ns is None else captured_ns
        return Frame(self.name, index, pixels, at_ns, datetime.now(timezone.utc))

    def _take(self, timeout_s: float) -> tuple[int, int | None] | None:
        """Return the index of the frame that is due, and its moment where the belt tells it; None: not in time."""
        if self._belt is not None:
            return self._belt.take(self.name, timeout_s)
        if self._settings.fps and not self._wait_until_due(timeout_s):
            return None
        return self._index, None

    def truth(self, index: int) -> UInt8:
        """Return the true class map, uint8 [H, W], of one of the last 256 frames. Raises SourceError."""
        if index not in self._truths:
            raise SourceError(f"The truth of frame {index} is gone: the last {_REMEMBERED} frames are kept")
        return self._truths[index]

    def _wait_until_due(self, timeout_s: float) -> bool:
        now_ns = self._monotonic_ns()
        due_ns = now_ns if self._due_ns is None else self._due_ns
        wait_s = (due_ns - now_ns) / 1e9
        if wait_s > timeout_s:
            self._sleep_s(timeout_s)
            return False
        if wait_s > 0:
            self._sleep_s(wait_s)
        # a reader that came late does not get the missed frames in a burst
        self._due_ns = max(due_ns, now_ns) + round(1e9 / self._settings.fps)
        return True


def write_video(
    path: Path, settings: SimulatedLineSettings, frames: int, each: Callable[[], object] = lambda: None
) -> None:
    """Write an mp4 at 25 frames/s; beside it `<name>-truth/000000.png` (class ids) and `<name>-truth.csv`.

    `each` is called after each frame. Raises StoreError where it cannot be written.
    """
    if encodable(str(path)) != str(path):  # OpenCV would end the process
        raise StoreError(f"{path} cannot be written: OpenCV takes names in UTF-8 only. Choose another name")
    if not path.name:
        raise StoreError(f"{path} cannot be written: it is a folder. Name a file that ends in .mp4")
    folder = path.with_name(f"{path.stem}-truth")
    line = RenderedLine(settings)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(
            str(path), cv2.VideoWriter_fourcc(*"mp4v"), VIDEO_FPS, (settings.width, settings.height)
        )
        if not writer.isOpened():
            raise StoreError(f"OpenCV {cv2.__version__} cannot write {path}; expected a path that ends in .mp4")
        with path.with_name(f"{path.stem}-truth.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["frame", *(f"{name}_px" for name in CLASS_NAMES)])
            for index in range(frames):
                pixels, truth = line.frame(index)
                writer.write(pixels)
                _write_png(folder / f"{index:06d}.png", truth)
                table.writerow([index, *np.bincount(truth.ravel(), minlength=len(CLASS_NAMES) + 1)[1:].tolist()])
                each()
        writer.release()
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}. Free some space or name another") from error


def _write_png(path: Path, pixels: UInt8) -> None:
    _, encoded = cv2.imencode(".png", pixels)
    path.write_bytes(encoded.tobytes())
