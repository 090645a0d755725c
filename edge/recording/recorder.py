"""Records cameras: each has a thread that reads it and one that writes, with a bounded number of bytes between them.

A disk or codec that is too slow costs frames, which are counted and told. It never holds a camera up. Written frames
stay whole, whatever ends the recording: a wish, a budget, a full disk or a kill.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import LinewatchError, SourceError, StoreError
from edge.protocols import Camera, TellsFacts
from edge.recording.clips import ClipWriter, OpenFile, Row, open_to_write, shape_of
from edge.recording.manifest import TRIGGER, CameraEnd, Ending, RecordingManifest, write_manifest
from edge.recording.playing import trigger_line
from edge.records import CameraCondition, CameraState, Frame
from edge.records.inspection import CameraFacts
from edge.records.parts import PartClosed, PartOpened, TriggerEvent

_LOG = logging.getLogger(__name__)
GB = 1_000_000_000
_READ_S = 0.25
_TURN_S = 0.05
_LOOK_EVERY_S = 1.0  # at the disk
_WRITE_WITHIN_S = 30.0  # the time for frames that wait at the end of the recording
# of a clip whose first pictures could not be read: it ends with the first one that can
_NO_PICTURE = shape_of(np.zeros((16, 16), np.uint8))
_RESERVE = ".reserve"
_RESERVE_BYTES = 1_000_000  # given back to a full disk, so that the end can be written


@dataclass(frozen=True)
class RecordingLimits:
    """The limits of a recording, in time and size; None, or 0, = without limit.

    `frames`: of each camera. `most_bytes`: of all clips. `keep_free_bytes`: of the disk stay free. `segment_s`: a clip
    is at most so long. `waiting_bytes`: pixels of one camera that wait for the disk.
    """

    seconds: float | None = None
    frames: int | None = None
    most_bytes: int | None = None
    keep_free_bytes: int = GB
    segment_s: float = 600.0
    waiting_bytes: int = 256_000_000


@dataclass(frozen=True)
class Disk:
    """The disk that is written to: how a file is opened, and how many bytes are free around a folder. A seam."""

    open_file: OpenFile = open_to_write
    free_bytes: Callable[[Path], int] = field(default=lambda folder: shutil.disk_usage(folder).free)


@dataclass(frozen=True)
class CameraNow:
    """The recording of one camera now. `dropped`: frames that were not recorded; `lost`: why none comes now."""

    frames: int = 0
    unreadable: int = 0
    dropped: int = 0
    segments: int = 0
    bytes: int = 0
    lost: str = ""
    ended: bool = False


class _Tape:
    """One camera and its clips."""

    def __init__(
        self, camera: Camera, folder: Path, limits: RecordingLimits, disk: Disk, spend: Callable[[int], bool]
    ) -> None:
        self._camera = camera
        self._folder = folder
        self._limits = limits
        self._disk = disk
        self._spend = spend
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Row, Frame | None]] = deque()
        self._bytes = 0
        self._left_out = 0
        self._stop = threading.Event()
        self._over = False
        self._clip: ClipWriter | None = None
        self._shape: tuple[Any, ...] | None = None
        self._began_ns = 0
        self._closed_bytes = 0
        # each is written by one thread alone: what came is the reader's, what was written the writer's
        self._dropped, self._lost = 0, ""
        self._written = CameraNow()
        self.trouble = ""
        self.failed: LinewatchError | OSError | None = None
        self.full = False
        name = camera.name
        self._threads = [
            threading.Thread(target=self._read, name=f"record {name}", daemon=True),
            threading.Thread(target=self._write, name=f"write {name}", daemon=True),
        ]

    def start(self) -> None:
        """Begin to read and to write."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Read no more; waiting frames are written."""
        self._stop.set()

    def join(self) -> None:
        """Wait until all is written, for a bounded time."""
        until_s = time.monotonic() + _WRITE_WITHIN_S
        for thread in self._threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads) and self.failed is None:
            self.failed = StoreError(
                f"{self._folder}: the disk did not take what waits within {_WRITE_WITHIN_S:g} s. The clips hold what "
                "was written before; look at the disk"
            )

    @property
    def now(self) -> CameraNow:
        """Tell how it stands; from any thread."""
        return replace(self._written, dropped=self._dropped, lost=self._lost)

    @property
    def end(self) -> CameraEnd:
        """Tell what it came to, with what the camera told of itself."""
        now, camera = self.now, self._camera
        facts = camera.facts if isinstance(camera, TellsFacts) else CameraFacts()
        return CameraEnd(
            frames=now.frames,
            unreadable=now.unreadable,
            dropped=now.dropped,
            segments=now.segments,
            missed=facts.missed,
            differences=facts.differences,
        )

    @property
    def done(self) -> bool:
        """Tell whether all has been written that will be."""
        return not any(thread.is_alive() for thread in self._threads)

    def _read(self) -> None:
        taken = 0
        try:
            while not self._stop.is_set() and (self._limits.frames is None or taken < self._limits.frames):
                item = self._camera.read(_READ_S)
                if isinstance(item, Frame):
                    taken += self._keep(_row(item), item)
                elif item.condition is CameraCondition.UNREADABLE:
                    taken += self._keep(_unread(item), None)
                elif item.condition is CameraCondition.END_OF_STREAM:
                    self.trouble = item.detail
                    break
                else:
                    self._silent(item)
        except Exception as error:  # noqa: BLE001 - a thread that ends unseen would leave the recording waiting
            self.failed = (
                error
                if isinstance(error, LinewatchError)
                else SourceError(f"The camera {self._camera.name} failed: {type(error).__name__}: {error}")
            )
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _silent(self, state: CameraState) -> None:
        lost = state.detail if state.condition is CameraCondition.LOST else ""
        if lost and lost != self._lost:
            _LOG.warning("camera %s: %s", self._camera.name, lost)
        self._lost = lost

    def _keep(self, row: Row, frame: Frame | None) -> bool:
        """Have a picture written, unless too many wait for the disk; then it is counted as dropped."""
        size = 0 if frame is None else frame.pixels.nbytes
        with self._changed:
            if self._waiting and self._bytes + size > self._limits.waiting_bytes:
                self._left_out += 1
                if self._left_out == 1:
                    told = "camera %s: the disk or this processor is too slow; frames are left out and counted"
                    _LOG.warning(told, self._camera.name)
                kept = False
            else:
                dropped = self._camera.dropped + self._left_out
                self._waiting.append((replace(row, dropped=dropped), frame))
                self._bytes += size
                self._changed.notify_all()
                kept = True
        self._dropped, self._lost = self._camera.dropped + self._left_out, ""
        return kept

    def _write(self) -> None:
        try:
            while (item := self._next()) is not None:
                if not self._spend(0):
                    self.full = True
                    break
                self._write_one(*item)
            self._close()
        except (OSError, LinewatchError) as error:
            self.failed = error
            with contextlib.suppress(OSError):
                self._close()
        except Exception as error:  # noqa: BLE001 - a codec's own error; whoever waits must hear of it
            self.failed = StoreError(f"{self._folder} cannot be written: {type(error).__name__}: {error}")
        finally:
            self._stop.set()
            self._written = replace(self._written, ended=True)

    def _next(self) -> tuple[Row, Frame | None] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._over)
            if not self._waiting:
                return None
            row, frame = self._waiting.popleft()
            self._bytes -= 0 if frame is None else frame.pixels.nbytes
            return row, frame

    def _write_one(self, row: Row, frame: Frame | None) -> None:
        clip = self._clip
        if frame is None:
            clip = clip or self._opened(_NO_PICTURE, row)
            clip.note(row)
            self._written = replace(self._written, unreadable=self._written.unreadable + 1)
        else:
            shape = shape_of(frame.pixels)
            old = (row.captured_ns - self._began_ns) / 1e9 >= self._limits.segment_s
            if clip is None or self._shape != shape or old:
                clip = self._opened(shape, row)
            clip.write(row, frame.pixels)
            self._written = replace(self._written, frames=self._written.frames + 1)
        written = self._closed_bytes + clip.bytes_written
        self._spend(written - self._written.bytes)
        self._written = replace(self._written, bytes=written)

    def _opened(self, shape: tuple[Any, ...], row: Row) -> ClipWriter:
        self._close()
        number = self._written.segments + 1
        self._clip = ClipWriter(self._folder / f"{number:04d}", shape, self._disk.open_file)
        self._shape, self._began_ns = shape, row.captured_ns
        self._written = replace(self._written, segments=number)
        return self._clip

    def _close(self) -> None:
        clip, self._clip = self._clip, None
        if clip is not None:
            with clip:
                pass
            self._closed_bytes += clip.bytes_written


def _row(frame: Frame) -> Row:
    return Row("frame", frame.index, frame.captured_ns, frame.captured_at, frame.name)


def _unread(state: CameraState) -> Row:
    at = state.captured_at or datetime.now(timezone.utc)
    captured_ns = time.monotonic_ns() if state.captured_ns is None else state.captured_ns
    return Row("unreadable", state.index or 0, captured_ns, at, state.name, trouble=state.detail)


class _Budget:
    """The bytes that may still be written; asked by every writer."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._spent = 0
        self._lock = threading.Lock()

    def spend(self, written: int) -> bool:
        """Note bytes that were written, and tell whether more may follow."""
        with self._lock:
            self._spent += written
            return self._most is None or self._spent < self._most


@dataclass(frozen=True)
class Recorded:
    """The outcome of a recording. `full`: why no more could be written, or nothing; `trouble`: of a camera."""

    reason: str
    cameras: Mapping[str, CameraNow]
    full: str = ""
    trouble: str = ""

    @property
    def bytes(self) -> int:
        """Of all clips."""
        return sum(each.bytes for each in self.cameras.values())


def record(
    cameras: Mapping[str, Camera],
    folder: Path,
    manifest: RecordingManifest,
    limits: RecordingLimits,
    stop: threading.Event,
    *,
    trigger: Callable[[], list[TriggerEvent]] | None = None,
    each_turn: Callable[[Mapping[str, CameraNow]], None] = lambda _: None,
    disk: Disk = Disk(),
) -> Recorded:
    """Record cameras, not opened yet, into `folder`, an empty one, until a limit is reached or `stop` is set.

    `trigger`: tells what opened and closed parts since last asked. Raises SourceError for a camera that cannot be
    opened, StoreError where nothing can be written at all. A disk that is full later ends the recording as `Recorded`.
    """
    budget = _Budget(limits.most_bytes)
    tapes: dict[str, _Tape] = {}
    try:
        for name in cameras:
            (folder / name).mkdir()
        (folder / _RESERVE).write_bytes(bytes(_RESERVE_BYTES))
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error.strerror or error}. Name another place") from error
    write_manifest(folder, manifest)
    with ExitStack() as scope:
        for name, camera in cameras.items():
            tapes[name] = _Tape(scope.enter_context(camera), folder / name, limits, disk, budget.spend)
        for tape in tapes.values():
            tape.start()
        try:
            reason, full = _until_over(tapes, folder, limits, stop, trigger=trigger, each_turn=each_turn, disk=disk)
        finally:
            for tape in tapes.values():
                tape.stop()
            for tape in tapes.values():
                tape.join()
    return _end(folder, manifest, tapes, reason, full)


def _until_over(
    tapes: Mapping[str, _Tape],
    folder: Path,
    limits: RecordingLimits,
    stop: threading.Event,
    *,
    trigger: Callable[[], list[TriggerEvent]] | None,
    each_turn: Callable[[Mapping[str, CameraNow]], None],
    disk: Disk,
) -> tuple[str, str]:
    """Wait until the recording is over; return why, and why the disk takes no more, or nothing."""
    began_s, looked_s = time.monotonic(), -_LOOK_EVERY_S
    while True:
        now_s = time.monotonic()
        each_turn({name: tape.now for name, tape in tapes.items()})
        if trigger is not None:
            _note_trigger(folder, trigger())
        if now_s - looked_s >= _LOOK_EVERY_S:
            looked_s = now_s
            if (free := disk.free_bytes(folder)) < limits.keep_free_bytes:
                told = f"{free / GB:.1f} GB of the disk are free, and {limits.keep_free_bytes / GB:g} GB stay so"
                return "the disk is full", told
        if stop.is_set():
            return "stopped", ""
        if any(tape.full for tape in tapes.values()):
            return "the budget is spent", ""
        if any(tape.failed is not None for tape in tapes.values()):
            return "it failed", ""
        if all(tape.done for tape in tapes.values()):
            return "the frames are recorded" if limits.frames else "the cameras gave no more", ""
        if limits.seconds is not None and now_s - began_s >= limits.seconds:
            return "the time is over", ""
        stop.wait(_TURN_S)


def _note_trigger(folder: Path, events: list[TriggerEvent]) -> None:
    told = [trigger_line(event) for event in events if isinstance(event, PartOpened | PartClosed)]
    if told:
        try:
            with (folder / TRIGGER).open("a", encoding="utf-8") as file:
                file.write("".join(told))
        except OSError as error:
            raise StoreError(f"{folder / TRIGGER} cannot be written: {error.strerror or error}") from error


def _end(folder: Path, manifest: RecordingManifest, tapes: Mapping[str, _Tape], reason: str, full: str) -> Recorded:
    """Write the end down, with room that was kept for it, and say what the recording came to."""
    cameras = {name: tape.now for name, tape in tapes.items()}
    failed = [(name, tape.failed) for name, tape in tapes.items() if tape.failed is not None]
    troubles = [f"camera {name}: {tape.trouble}" for name, tape in tapes.items() if tape.trouble]
    troubles += [f"camera {name}: {error}" for name, error in failed if isinstance(error, SourceError)]
    for name, error in failed:
        if not isinstance(error, SourceError):
            reason, full = "the disk took no more", f"{folder / name}: {getattr(error, 'strerror', None) or error}"
    with contextlib.suppress(OSError):
        (folder / _RESERVE).unlink(missing_ok=True)
    ends = {name: tape.end for name, tape in tapes.items()}
    told = Recorded(reason, cameras, full, "; ".join(troubles))
    ending = Ending(at=datetime.now(timezone.utc), reason=reason, bytes=told.bytes, cameras=ends)
    # a clip that the disk cut off may lack its last frames: then it counts as never ended
    if not any(not isinstance(error, SourceError) for _, error in failed):
        write_manifest(folder, manifest.model_copy(update={"ended": ending}))
    return told
