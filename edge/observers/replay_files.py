"""The files of a replay: one JSON line per result, one indexed PNG per defect map.

These files must be complete. So they are written in the loop's thread, and a disk that takes nothing ends the replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from typing_extensions import Self

from edge.errors import StoreError
from edge.opencv import cv2
from edge.printable import as_json
from edge.records import UInt8
from edge.records.decided import Decided, DecidedPart


class EventsFile:
    """Writes result bodies as JSON lines, each whole and flushed before the next frame. Raises StoreError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w", encoding="utf-8")
        except OSError as error:
            raise _unwritable(self._path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as unwritten:
            if error is None:  # else the line that could not be written has been told of already
                raise _unwritable(self._path, unwritten) from unwritten

    def write(self, body: dict[str, Any]) -> None:
        """Append one result message's body."""
        if self._file is None:
            raise StoreError(f"{self._path} is closed; open it with `with` before writing")
        try:
            self._file.write(as_json(body) + "\n")
            self._file.flush()
        except OSError as error:
            raise _unwritable(self._path, error) from error


class MapsFolder:
    """Writes each frame's defect map as an 8-bit PNG whose pixel values are class ids, named by the frame's index.

    `cameras`: their names where there are several; each then has a folder of its own, for they count alike.
    """

    def __init__(self, folder: Path, cameras: Sequence[str] = ()) -> None:
        self._folders = {name: folder / name for name in cameras} if len(cameras) > 1 else {}
        self._folder = folder
        try:
            for each in self._folders.values() or [folder]:
                each.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(folder, error) from error

    def write(self, frame: int, classes: UInt8, camera: str = "") -> None:
        """Write uint8 [h, w] as `000123.png`. Raises StoreError."""
        _, encoded = cv2.imencode(".png", classes, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        path = self._folders.get(camera, self._folder) / f"{frame:06d}.png"
        try:
            path.write_bytes(encoded.tobytes())
        except OSError as error:
            raise _unwritable(path, error) from error


class ReplayFiles:
    """Observes a replay: writes each result's body, unless `events` is None, and each map.

    A frame of a part has no body of its own. Unlike other observers it waits for the disk, and raises StoreError where
    that takes nothing.
    """

    def __init__(self, events: EventsFile | None, maps: MapsFolder | None = None) -> None:
        self._events = events
        self._maps = maps

    def offer(self, decided: Decided | DecidedPart) -> None:
        """Write what was decided, whole, before this returns. Raises StoreError."""
        if decided.body is not None and self._events is not None:
            self._events.write(decided.body)
        if self._maps is None or isinstance(decided, DecidedPart) or decided.defect_map is None:
            return
        seen = decided.inspection
        if seen.frame is not None:
            self._maps.write(seen.frame, decided.defect_map.classes_per_pixel(), seen.camera)


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be written: {error.strerror or error}. What was written before it is whole; "
        "free some space or choose another place"
    )
