"""A recording as the cameras and the trigger that it was made of: the very same frames, in their own time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import cast

from pydantic import TypeAdapter, ValidationError
from typing_extensions import Self

from edge.cameras.frame_size import FrameSize
from edge.errors import SourceError
from edge.printable import as_json
from edge.recording.clips import Row, pictures_of, rows_of
from edge.recording.manifest import (
    TRIGGER,
    RecordingManifest,
    clips_of,
    is_recording,
    read_manifest,
    require_fitting,
)
from edge.records import CameraCondition, CameraState, Frame, UInt8
from edge.records.parts import PartClosed, PartOpened, TriggerEvent

_LOG = logging.getLogger(__name__)
_LINE_BYTES = 4096


@dataclass(frozen=True)
class Recording:
    """A recording that was looked through. `clips`: of each camera, without suffix. `frames`: how many rows they have.

    `began_ns`: when its first frame was captured, on the station's clock; all of its times count from there.
    """

    folder: Path
    manifest: RecordingManifest
    clips: dict[str, list[Path]]
    frames: dict[str, int]
    began_ns: int


def load_recording(folder: Path) -> Recording:
    """Look through what `linewatch record` wrote. Raises SourceError for what is missing, altered or empty."""
    manifest = read_manifest(folder)
    clips = {name: clips_of(folder, name) for name in manifest.cameras}
    seen = {name: _looked_through(folder / name, own) for name, own in clips.items()}
    require_fitting(folder, manifest, {name: (len(clips[name]), frames) for name, (frames, _) in seen.items()})
    times = [first_ns for _, first_ns in seen.values() if first_ns is not None]
    if not times:
        raise SourceError(f"{folder} holds no frame: the recording ended before one came")
    if manifest.ended is None:
        _LOG.warning("%s was never ended: it is played up to where it was cut off", folder)
    return Recording(folder, manifest, clips, {name: frames for name, (frames, _) in seen.items()}, min(times))


def _looked_through(place: Path, clips: Sequence[Path]) -> tuple[int, int | None]:
    """Return how many rows a camera's clips have, and when the first frame was captured. Raises SourceError."""
    frames, first_ns, before = 0, None, None
    for clip in clips:
        for row in rows_of(clip):
            first_ns = row.captured_ns if first_ns is None else first_ns
            _require_order(place, before, row)
            before, frames = row, frames + 1
    return frames, first_ns


def _require_order(place: Path, before: Row | None, row: Row) -> None:
    if before is None:
        return
    if row.index <= before.index or row.captured_ns < before.captured_ns or row.dropped < before.dropped:
        raise SourceError(
            f"{place}: the frame {row.index} stands behind {before.index}, or its time or count goes back. The "
            "recording was altered"
        )


def recording_of(path: Path) -> tuple[Path, str | None] | None:
    """Return the recording that a path is, or lies in: its folder, and the camera where one is named. None: neither."""
    if is_recording(path):
        return path, None
    if path.is_dir() and is_recording(path.parent):
        return path.parent, path.name
    return None


class RecordedCamera:
    """Plays one camera of a recording; a thread of its own reads the next picture while the last is inspected.

    A picture that is damaged, missing in its clip, or not of `size_px` (width, height) is UNREADABLE. `name`: of the
    camera that it stands for; `camera`: what the recording calls it.
    """

    def __init__(self, name: str, recording: Recording, camera: str, size_px: tuple[int, int] | None = None) -> None:
        self.name = name
        self.dropped = 0
        self._size = None if size_px is None else FrameSize(size_px)
        self._recording = recording
        self._camera = camera
        self._reader: ThreadPoolExecutor | None = None
        self._items: Iterator[tuple[Frame | CameraState, int]] = iter(())
        self._ahead: Future[tuple[Frame | CameraState, int] | None] | None = None

    @property
    def total(self) -> int:
        """The number of frames."""
        return self._recording.frames[self._camera]

    def __enter__(self) -> Self:
        self._items = self._played()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix=f"camera {self.name}")
        self._ahead = self._reader.submit(next, self._items, None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)

    def read(self, timeout_s: float) -> Frame | CameraState:  # noqa: ARG002 - a file is there at once
        """Return the next frame, UNREADABLE for one that is none, END_OF_STREAM after the last."""
        end = CameraState(self.name, CameraCondition.END_OF_STREAM)
        if self._ahead is None or self._reader is None:
            return end
        try:
            found = self._ahead.result()
        except SourceError as error:
            self._ahead = None
            return CameraState(self.name, CameraCondition.END_OF_STREAM, str(error))
        if found is None:
            self._ahead = None
            return end
        self._ahead = self._reader.submit(next, self._items, None)
        item, self.dropped = found
        return item

    def _played(self) -> Iterator[tuple[Frame | CameraState, int]]:
        for path in self._recording.clips[self._camera]:
            for row, pixels, trouble in pictures_of(path, rows_of(path)):
                yield self._item(row, cast("UInt8 | None", pixels), trouble), row.dropped

    def _item(self, row: Row, pixels: UInt8 | None, trouble: str) -> Frame | CameraState:
        """Return a frame; its pixels may be of 16 bits, which a view takes for garbled, and says so."""
        captured_ns = row.captured_ns - self._recording.began_ns
        misfit = "" if pixels is None or self._size is None else self._size.look(pixels)
        if pixels is not None and not misfit:
            return Frame(self.name, row.index, pixels, captured_ns, row.captured_at, row.name)
        unread, told = CameraCondition.UNREADABLE, misfit or trouble
        return CameraState(self.name, unread, told, row.index, row.name, captured_ns, row.captured_at)


class RecordedTrigger:
    """Opens and closes parts as the trigger of the recorded station did."""

    def __init__(self, events: Sequence[PartOpened | PartClosed]) -> None:
        self._events = list(reversed(events))

    def frame(self, frame: object) -> Sequence[TriggerEvent]:
        """Return nothing: frames open no part."""
        del frame
        return ()

    def events(self, now_ns: int) -> Sequence[TriggerEvent]:
        """Return what happened up to now, in its order."""
        told: list[TriggerEvent] = []
        while self._events and self._events[-1].at_ns <= now_ns:
            told.append(self._events.pop())
        return told

    def settled_ns(self) -> None:
        """Return None: a part is told before a frame of it can be read."""


@dataclass(frozen=True)
class _Told:
    """One line of `trigger.jsonl`; see PartOpened and PartClosed."""

    opened: bool
    at_ns: int
    part_id: str | None
    recipe: str | None = None
    exactly: int | None = None
    alone: bool = False


_TOLD = TypeAdapter(_Told)


def trigger_line(event: PartOpened | PartClosed) -> str:
    """Return one line of `trigger.jsonl`."""
    if isinstance(event, PartClosed):
        return as_json(asdict(_Told(False, event.at_ns, event.part_id))) + "\n"
    told = _Told(True, event.at_ns, event.part_id, event.recipe, event.exactly, event.alone)
    return as_json(asdict(told)) + "\n"


def read_trigger(recording: Recording) -> RecordedTrigger | None:
    """Return what opened and closed the parts of a recording, in its time; None where no trigger was recorded.

    Raises SourceError with the line that is not understood.
    """
    path = recording.folder / TRIGGER
    if not path.exists():
        return None
    events: list[PartOpened | PartClosed] = []
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(_LINE_BYTES), b""), start=1):
                if not line.endswith(b"\n"):
                    break  # it was cut off
                events.append(_trigger_event(line, f"{path}, line {number}", recording.began_ns))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}. The recording is not whole") from error
    return RecordedTrigger(sorted(events, key=lambda event: event.at_ns))


def _trigger_event(line: bytes, where: str, began_ns: int) -> PartOpened | PartClosed:
    try:
        told = _TOLD.validate_json(line, strict=True)
    except ValidationError as error:
        raise SourceError(
            f"{where}: expected what `linewatch record` writes of a part; {error.errors()[0]['msg']}. The recording "
            "was altered or is damaged"
        ) from error
    at_ns = max(0, told.at_ns - began_ns)
    if not told.opened:
        return PartClosed(at_ns, told.part_id)
    return PartOpened(at_ns, told.part_id, told.recipe, told.exactly, alone=told.alone)
