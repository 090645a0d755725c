"""One shard's work, the same on this machine and on any other: pictures are judged, and their rows written."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import TracebackType
from typing import Any
from urllib.parse import quote

from typing_extensions import Self

from edge.bundle import Bundle
from edge.errors import StoreError
from edge.files import write_bytes
from edge.opencv import cv2
from edge.reinspecting.comparing import against_row, against_schema
from edge.reinspecting.folder import AGAINST, MAPS, Turn
from edge.reinspecting.judging import Judge, JudgedPicture, Station
from edge.reinspecting.listed import Listed
from edge.reinspecting.listing import ToDo
from edge.reinspecting.reading import Reader
from edge.reinspecting.shards import Row, row_schema

_NAME_AT_MOST, _DIGITS = 200, 16  # of a disk's 255 bytes
_READ_ONCE = 16  # pictures whose bytes are held while two stations judge them


@dataclass(frozen=True)
class Task:
    """One task: pictures, judge and folder. `against`: a second station that judges the same pictures."""

    station: Station
    against: Station | None
    source: str
    todo: ToDo
    turn: Turn
    maps: bool = False


@dataclass(frozen=True)
class ShardDone:
    """The pictures of a shard that have their rows, and those for which the inference failed, in numbers."""

    pictures: int
    failed: int


class Worker:
    """Has the engines of a task, and works at its shards. Raises BundleError, EngineError, SettingsError, StoreError.

    One thread works.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._reader = Reader(task.source)
        self._scope = ExitStack()
        self._judges: list[Judge] = []

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            stations = [self._task.station, *([] if self._task.against is None else [self._task.against])]
            self._judges = [opening.enter_context(Judge(station, self._reader)) for station in stations]
            self._scope = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scope.close()

    @property
    def engines(self) -> dict[str, str]:
        """Tell which engine answers for each bundle."""
        return {bundle: engine for judge in self._judges for bundle, engine in judge.engines.items()}

    def work(self, number: int, stop: threading.Event, each: Callable[[], object] = lambda: None) -> ShardDone:
        """Judge the pictures of a shard and write their rows; a set `stop` limits them to those judged by then."""
        task = self._task
        rows: list[Row] = []
        seconds: list[Row] = []
        failed = 0
        for former, new in self._judged(task.todo.shard(number), stop):
            if task.maps:
                self._write_map(former)
            rows.append(former.row)
            failed += former.seen.failed
            if new is not None:
                seconds.append(against_row(former, new))
                failed += new.seen.failed
            if self._reader.trouble is not None:  # not the picture's fault: nobody may take it for judged
                raise self._reader.trouble
            each()
        if rows and task.against is not None:  # first: what is in the results is done
            task.turn.write(number, seconds, against_schema(), AGAINST)
        if rows:
            task.turn.write(number, rows, row_schema())
        return ShardDone(len(rows), failed)

    def _judged(
        self, pictures: Sequence[Listed], stop: threading.Event
    ) -> Iterator[tuple[JudgedPicture, JudgedPicture | None]]:
        first, *others = self._judges
        if not others:
            yield from ((judged, None) for judged in first.judge(pictures, stop))
            return
        for begins in range(0, len(pictures), _READ_ONCE):
            yield from self.judged_twice(pictures[begins : begins + _READ_ONCE], stop)

    def judged_twice(
        self, pictures: Sequence[Listed], stop: threading.Event
    ) -> list[tuple[JudgedPicture, JudgedPicture]]:
        """Return a few pictures as both stations judge them; those that both have judged before `stop` was set."""
        self._reader.keep(pictures=True)
        former, new = ({each.row["picture"]: each for each in judge.judge(pictures, stop)} for judge in self._judges)
        self._reader.keep(pictures=False)
        return [(one, new[picture]) for picture, one in former.items() if picture in new]

    def bundle(self, side: int, view: str) -> Bundle:
        """Return the bundle of a view of the first station (0) or the second (1)."""
        return self._judges[side].bundle(view)

    def classes(self, side: int, listed: Listed) -> Any:
        """Return the classes of the first station's (0) or the second's (1) bundle that judges a picture."""
        station = self._task.station if side == 0 or self._task.against is None else self._task.against
        return self._judges[side].bundle(station.judged_by(listed)).classes

    def _write_map(self, judged: JudgedPicture) -> None:
        kept = judged.seen.outcome.kept
        if kept is None:
            return
        path = self._task.turn.folder / MAPS / map_name(judged.row["picture"])
        _, encoded = cv2.imencode(".png", kept.classes_per_pixel(), [cv2.IMWRITE_PNG_COMPRESSION, 1])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{path.parent} cannot be made: {error.strerror or error}. Free some space") from error
        write_bytes(path, encoded.tobytes())


def map_name(picture: str) -> str:
    """Return where below `maps` the defect map of a picture lies: its name with .png, and no way out of the folder.

    A name that would be too long for a disk ends in digits of its SHA-256.
    """
    return "/".join(_on_disk(part) for part in PurePosixPath(picture).parts) + ".png"


def _on_disk(part: str) -> str:
    quoted = quote(part, safe=" ") if part != ".." else "%2E%2E"
    if len(quoted) <= _NAME_AT_MOST:
        return quoted
    return f"{quoted[:_NAME_AT_MOST]}-{hashlib.sha256(part.encode()).hexdigest()[:_DIGITS]}"
