"""A folder into which a camera drops files, as by FTP, as a source of live pictures.

A file is taken when it is finished: it has not changed for a while, and can be read whole. A half of a picture cannot:
it waits, and is NO_READ when it never becomes whole. The folder is looked at again and again, since a network share
tells nobody of a new file.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.cameras.capture import Shot
from edge.cameras.files_settings import FilesSettings
from edge.errors import SourceError
from edge.pictures import SUFFIXES, NotReadableError, as_frame, as_text, decode, natural_order, read_bytes
from edge.records import UInt8
from edge.wording import counted

_log = logging.getLogger(__name__)

TAKEN = "taken"
_LOOK_EVERY_S = 0.1
# A folder of very many files is looked at less often: no more than a fifth of the time.
_LOOK_SHARE = 5
_REMEMBERED_AT_MOST = 200_000

# A file of the folder as it was at one moment: its path below the folder, its bytes, and when it was last written, ns.
Seen = tuple[str, int, int]


class KnownFiles:
    """The known files of a folder over all openings of it: those taken, and those that lay there before."""

    def __init__(self) -> None:
        self.looked = False
        self._known: dict[Seen, None] = {}

    def __contains__(self, seen: Seen) -> bool:
        return seen in self._known

    def add(self, seen: Seen) -> None:
        """Remember a file as it is now; written anew it would be another one."""
        self._known[seen] = None
        while len(self._known) > _REMEMBERED_AT_MOST:
            del self._known[next(iter(self._known))]


@dataclass
class _Waiting:
    """A file that is not taken yet. `since_ns`: our clock when it was first seen as it is now; `tried`: in vain."""

    seen: Seen
    since_ns: int
    tried: bool = False


class WatchedFolder:
    """The files of one folder. `known` outlives it. `clock`: how old a picture is by when its file was last written.

    Without `clock` a picture counts from when its file was last seen to change. Files that lay in the folder before
    the first look are left alone, and their number is told.
    """

    total = 0
    differences: tuple[str, ...] = ()

    def __init__(
        self,
        folder: Path,
        settings: FilesSettings,
        known: KnownFiles,
        *,
        depth_bits: int | None = None,
        clock: bool = True,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.shown = as_text(str(folder))
        self._folder = folder
        self._settings = settings
        self._known = known
        self._depth_bits = depth_bits
        self._clock = clock
        self._monotonic_ns = monotonic_ns
        self._waiting: dict[str, _Waiting] = {}
        self._disk = 0
        self._look_s = 0.0
        self._told: set[str] = set()

    def open(self) -> None:
        """Look into the folder. Raises SourceError where there is none."""
        first, self._known.looked = not self._known.looked, True
        try:
            self._disk = self._folder.stat().st_dev
        except OSError as error:
            raise SourceError(
                f"the folder cannot be read ({error.strerror}): make it, or bring its disk back"
            ) from error
        if not self._folder.is_dir():
            raise SourceError("it is no folder: expected the one into which the camera drops its files")
        before = list(self._files())
        if first:
            for seen in before:
                self._known.add(seen)
            if before:
                _log.warning("%s: %s lay there before and are left alone", self.shown, counted(len(before), "picture"))

    def take(self) -> Sequence[Shot] | None:
        """Look once, and return the next finished picture; nothing where there is none. Raises SourceError."""
        begun_s = time.monotonic()
        if begun_s < self._look_s:
            time.sleep(min(_LOOK_EVERY_S, self._look_s - begun_s))
        begun_s = time.monotonic()
        ready = self._ready()
        for waiting in ready:
            shot = self._shot(waiting)
            if shot is not None:
                return [shot]
        took_s = time.monotonic() - begun_s
        self._look_s = time.monotonic() + max(_LOOK_EVERY_S, (_LOOK_SHARE - 1) * took_s)
        return []

    def close(self) -> None:
        """Forget what waits; it is found again."""
        self._waiting.clear()

    def _ready(self) -> list[_Waiting]:
        """Return the files that have settled, in order."""
        now_ns = self._monotonic_ns()
        there = {seen[0]: seen for seen in self._files() if seen not in self._known}
        for name in [name for name in self._waiting if name not in there]:
            del self._waiting[name]
        for name, seen in there.items():
            if name not in self._waiting or self._waiting[name].seen != seen:
                self._waiting[name] = _Waiting(seen, now_ns)
        settled = [each for each in self._waiting.values() if now_ns - each.since_ns >= self._settings.settled_ms * 1e6]
        if self._settings.order == "time":
            return sorted(settled, key=lambda each: (each.seen[2], natural_order(each.seen[0])))
        return sorted(settled, key=lambda each: natural_order(each.seen[0]))

    def _files(self) -> Iterator[Seen]:
        """Yield the pictures of the folder as they are. Raises SourceError where it is gone."""
        try:
            if self._folder.stat().st_dev != self._disk:
                raise SourceError("the folder lies on another disk than before: its own was taken away")
            yield from self._below(self._folder, "")
        except OSError as error:
            raise SourceError(f"the folder is gone ({error.strerror}): make it, or bring its disk back") from error

    def _below(self, folder: Path, above: str) -> Iterator[Seen]:
        with os.scandir(folder) as entries:
            found = list(entries)
        for entry in found:
            if entry.name.startswith(".") or (not above and entry.name == TAKEN):
                continue
            with suppress(FileNotFoundError):  # it went meanwhile
                if entry.is_dir(follow_symlinks=False):
                    if self._settings.subfolders:
                        yield from self._below(folder / entry.name, f"{above}{entry.name}/")
                elif entry.is_file() and self._is_picture(entry.name):
                    status = entry.stat()
                    yield f"{above}{entry.name}", status.st_size, status.st_mtime_ns

    def _is_picture(self, name: str) -> bool:
        suffix = Path(name).suffix.lower()
        if suffix in SUFFIXES:
            return True
        if suffix not in self._told:
            self._told.add(suffix)
            _log.info("%s: files like %s are no pictures, and are left alone", self.shown, as_text(name))
        return False

    def _shot(self, waiting: _Waiting) -> Shot | None:
        """Read a file that has settled; None while it may still become whole."""
        name, _, written_ns = waiting.seen
        now_ns = self._monotonic_ns()
        held_s = (now_ns - waiting.since_ns) / 1e9
        over = held_s >= self._settings.unfinished_s
        if waiting.tried and not over:
            return None
        captured_ns = now_ns - max(0, time.time_ns() - written_ns) if self._clock else waiting.since_ns
        pixels, trouble = self._read(name)
        if self._as_it_is(name) != waiting.seen:
            return None  # it was written to meanwhile
        if trouble and not over:
            waiting.tried = True
            return None
        self._known.add(waiting.seen)
        del self._waiting[name]
        if pixels is None:
            told = f"{as_text(name)} was not finished: unchanged for {held_s:.0f} s, and {trouble}"
            return Shot(None, captured_ns, told, name=as_text(name))
        self._put_away(name)
        return Shot(pixels, captured_ns, name=as_text(name))

    def _read(self, name: str) -> tuple[UInt8 | None, str]:
        try:
            return as_frame(decode(read_bytes(self._folder / name)), self._depth_bits), ""
        except (NotReadableError, SourceError) as error:
            return None, f"it cannot be read: {error}"

    def _as_it_is(self, name: str) -> Seen | None:
        try:
            status = (self._folder / name).stat()
        except OSError:
            return None
        return name, status.st_size, status.st_mtime_ns

    def _put_away(self, name: str) -> None:
        """Do with a taken file what the settings say; a file where that fails stays, and is not taken again."""
        path = self._folder / name
        try:
            if self._settings.after == "delete":
                path.unlink()
            elif self._settings.after == "move":
                path.replace(_free_name(self._folder / TAKEN / name))
        except OSError as error:
            if "after" not in self._told:
                self._told.add("after")
                _log.warning(
                    "%s: files.after: %s cannot be done with %s: %s. It stays, and so may others",
                    self.shown,
                    self._settings.after,
                    as_text(name),
                    error.strerror,
                )


def _free_name(path: Path) -> Path:
    """Return a path that is not taken: with a number where a camera uses its names again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    free, number = path, 1
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
