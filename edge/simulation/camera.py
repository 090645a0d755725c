"""The simulated line as a camera that also knows the truth, as a recording, and as a dataset to train on."""

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
from edge.records import CameraCondition, CameraState, Frame, UInt8
from edge.simulation.rendering import CLASS_NAMES, RenderedLine, SimulatedLineSettings, varied_picture

_REMEMBERED = 256
_LINE_EVERY = 2  # of a dataset's pictures one is a frame of some simulated line, the others are varied further
_LINE_SEEDS = 10**9  # lines to learn from have seeds from here on, so that no demo or test runs on one of them
VIDEO_FPS = 25


class SimulatedCamera:
    """Draws frames when they are read, at `fps` frames/s or, with 0, at once. Drops none: a slow reader slows the belt.

    The truth of the last 256 frames is kept for `truth`.
    """

    def __init__(
        self,
        name: str,
        settings: SimulatedLineSettings,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.dropped = 0
        self._settings = settings
        self._monotonic_ns = monotonic_ns
        self._sleep_s = sleep_s
        self._line = RenderedLine(settings)
        self._truths: OrderedDict[int, UInt8] = OrderedDict()
        self._index = 0
        self._due_ns: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._truths.clear()

    @property
    def total(self) -> int:
        """How many frames there will be; 0 if the line never ends."""
        return self._settings.frames

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame when it is due, NO_FRAME_YET if that is later than `timeout_s`."""
        if self._settings.frames and self._index >= self._settings.frames:
            return CameraState(self.name, CameraCondition.END_OF_STREAM)
        if self._settings.fps and not self._wait_until_due(timeout_s):
            return CameraState(self.name, CameraCondition.NO_FRAME_YET)
        index = self._index
        self._index += 1
        pixels, truth = self._line.frame(index)
        self._truths[index] = truth
        if len(self._truths) > _REMEMBERED:
            self._truths.popitem(last=False)
        return Frame(self.name, index, pixels, self._monotonic_ns(), datetime.now(timezone.utc))

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


def write_video(path: Path, settings: SimulatedLineSettings, frames: int) -> None:
    """Write an mp4 at 25 frames/s; beside it `<name>-truth/000000.png` (class ids) and `<name>-truth.csv`.

    Raises StoreError where it cannot be written.
    """
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
        writer.release()
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}. Free some space or name another") from error


def write_dataset(out: Path, pictures: int, seed: int, size: tuple[int, int]) -> None:
    """Write a dataset folder to train on: `pictures` of `size` (height, width) px in images/, masks/, manifest.csv.

    Half are frames of simulated lines, each of another; the others vary further. Each picture is of a part of its
    own, so each is its own group; clean ones are of class `ok`. Raises StoreError.
    """
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        with (out / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["image", "mask", "class", "group"])
            for index in range(pictures):
                pixels, truth = _dataset_picture(*size, seed, index)
                image, group = f"images/{index:05d}.jpg", f"part{index:05d}"
                _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 94])
                (out / image).write_bytes(encoded.tobytes())
                table.writerows(_rows(out, image, group, truth))
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error.strerror}. Free some space or name another") from error


def _dataset_picture(height: int, width: int, seed: int, index: int) -> tuple[UInt8, UInt8]:
    generator = np.random.default_rng([seed, index])
    if index % _LINE_EVERY:
        return varied_picture(height, width, generator)
    line_seed = _LINE_SEEDS + int(generator.integers(10**9))
    settings = SimulatedLineSettings(width=width, height=height, seed=line_seed, defective_share=0.7)
    return RenderedLine(settings).frame(int(generator.integers(2 * settings.frames_per_part)))


def _rows(out: Path, image: str, group: str, truth: UInt8) -> list[tuple[str, str, str, str]]:
    rows = []
    for class_id, name in enumerate(CLASS_NAMES, start=1):
        mask = (truth == class_id).astype(np.uint8) * 255
        if mask.any():
            path = f"masks/{name}/{Path(image).stem}.png"
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            _write_png(out / path, mask)
            rows.append((image, path, name, group))
    return rows or [(image, "", "ok", group)]


def _write_png(path: Path, pixels: UInt8) -> None:
    _, encoded = cv2.imencode(".png", pixels)
    path.write_bytes(encoded.tobytes())
