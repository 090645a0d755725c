"""The evidence folder: what is written into it, what goes from it, and what is repaired when it is opened.

Each result has a folder of its own, `DAY/NAME/`: `record.json`, and for each view the picture and the defect map. It is
whole or absent. The index is made anew from the folders, and the judgements from their file, where it is missing.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.errors import StoreError
from edge.evidence.choosing import Kept, Kind, to_make_room, too_old
from edge.evidence.index import INDEX, EvidenceIndex, iso
from edge.evidence.judging import Judgements, judgement_of
from edge.evidence.settings import EvidenceSettings
from edge.files import replacing_folder
from edge.printable import as_json
from edge.strict_json import read_json
from edge.wording import counted

_log = logging.getLogger(__name__)

RECORD = "record.json"
SCHEMA = "linewatch/evidence/1"
TORN = "torn"
_GB = 1_000_000_000
_BLOCK = 4096
_LOOKED_AT_EVERY_S, _JUMP_S, _DAY_S = 60.0, 3600.0, 86_400.0
# A pass over what is kept frees a little more than is needed, so that not each picture needs one.
_SLACK = 0.01


@dataclass(frozen=True)
class Repaired:
    """The repairs at an opening: `unfinished` folders removed, `torn` ones set aside, rows `added` and `gone`."""

    unfinished: int = 0
    torn: int = 0
    added: int = 0
    gone: int = 0


class EvidenceFolder:
    """Keeps evidence within its settings. One process writes it; others read, judge and export. Raises StoreError.

    `free_bytes`: of the folder's disk. `now` is the clock on the wall, `monotonic_s` one that never jumps.
    """

    def __init__(
        self,
        folder: Path,
        settings: EvidenceSettings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self._settings = settings
        self._now = now
        self._free_bytes = free_bytes
        self._monotonic_s = monotonic_s
        self._looked_at: tuple[datetime, float] | None = None
        self._jumped_s: float | None = None
        self._total = 0
        self.repaired = Repaired()

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        self._index = EvidenceIndex(self.folder, writes=True)
        try:
            self._index.__enter__()
        except StoreError as error:
            _log.warning("%s. It is set aside, and made anew", error)
            self._set_aside(self.folder / INDEX)
            self._index.__enter__()
        self.repaired = self._repair()
        self._total = self._index.bytes
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._index.__exit__(kind, error, trace)

    @property
    def total_bytes(self) -> int:
        """Tell what all of it takes on the disk."""
        return self._total

    def keep(self, row: Mapping[str, Any], record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Write one thing, whole, and make room for it first.

        `row`: name, kind, at, verdict, part_id, recipe, reason and why. `record`: what is written as record.json.
        `files`: by their names. A name that is kept already is left as it is. Raises StoreError with what to do.
        """
        if self._index.one(str(row["name"])) is not None:
            return
        at = self._now()
        place = f"{at.astimezone(timezone.utc):%Y-%m-%d}/{row['name']}"
        written = {**files, RECORD: as_json(record, indent=1).encode()}
        size = sum(_on_disk(len(content)) for content in written.values()) + _BLOCK
        self._make_room(size)
        target = self.folder / place
        try:
            with replacing_folder(target) as unfinished:
                for name, content in written.items():
                    (unfinished / name).write_bytes(content)
        except OSError as error:
            raise unwritable(target, error) from error
        self._index.add([{**row, "place": place, "at": iso(at), "bytes": size}])
        self._total += size

    def forget_old(self) -> int:
        """Remove what is older than its kind may become, once a minute at most; return how much went.

        For a day after the clock on the wall has jumped nothing is too old: it may be wrong, or have been.
        """
        now, now_s = self._now(), self._monotonic_s()
        if self._looked_at is not None:
            before, before_s = self._looked_at
            if 0 <= now_s - before_s < _LOOKED_AT_EVERY_S:
                return 0
            jump_s = (now - before).total_seconds() - (now_s - before_s)
            if abs(jump_s) > _JUMP_S:
                _log.warning("The clock jumped by %.0f s; for a day no evidence goes for its age", jump_s)
                self._jumped_s = now_s
        self._looked_at = now, now_s
        if self._jumped_s is not None and now_s - self._jumped_s < _DAY_S:
            return 0
        return self._remove(too_old(self._settings, self._index.kept(), now))

    def _make_room(self, size: int) -> None:
        self.forget_old()
        budget = int(self._settings.budget_gb * _GB)
        over = self._total + size - budget
        if over > 0:
            self._remove(to_make_room(self._index.kept(), over + int(budget * _SLACK)))
        if self._total + size > budget:
            raise StoreError(
                f"The evidence in {self.folder} has reached its budget of {self._settings.budget_gb:g} GB, and what is "
                "left was judged and not exported. Run linewatch evidence CONFIG export, or raise evidence.budget_gb"
            )
        try:
            free = self._free_bytes(self.folder)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        if free - size < self._settings.min_free_gb * _GB:
            raise StoreError(
                f"The disk of {self.folder} has {free / _GB:.1f} GB free; evidence leaves "
                f"{self._settings.min_free_gb:g} GB free for everything else. Free some space"
            )

    def _remove(self, going: Sequence[Kept]) -> int:
        if not going:
            return 0
        places = self._index.places()
        gone = []
        for one in going:
            try:
                _remove_whole(self.folder / places[one.name])
            except OSError as error:
                _log.warning("%s cannot be removed: %s", self.folder / places[one.name], error.strerror or error)
                continue
            gone.append(one)
        self._index.remove([one.name for one in gone])
        self._total = self._index.bytes
        return len(gone)

    def _repair(self) -> Repaired:
        """Remove what a kill left half written, set aside what cannot be read, and make the index fit the folders."""
        unfinished = torn = 0
        known, there = self._index.places(), set()
        added: list[dict[str, Any]] = []
        for place in self._places():
            if place.name.startswith("."):
                shutil.rmtree(place, ignore_errors=True)
                unfinished += 1
                continue
            if known.get(place.name) == f"{place.parent.name}/{place.name}" and (place / RECORD).is_file():
                there.add(place.name)
                continue
            row = row_of(place)
            if row is None:
                self._set_aside(place)
                torn += 1
            else:
                there.add(place.name)
                added.append(row)
        gone = sorted(set(known) - there)
        self._index.add(added)
        self._index.remove(gone)
        if added:
            self._judge_again({str(row["name"]) for row in added})
        repaired = Repaired(unfinished, torn, len(added), len(gone))
        if repaired != Repaired():
            _log.warning(
                "The evidence in %s was put right: %s removed, %s set aside in %s, %s read again, %s gone",
                self.folder,
                counted(unfinished, "unfinished folder"),
                counted(torn, "unreadable folder"),
                TORN,
                counted(len(added), "result"),
                counted(len(gone), "result"),
            )
        return repaired

    def _judge_again(self, names: set[str]) -> None:
        """Put judgements and exports back into rows that were read from folders."""
        for line in Judgements(self.folder).lines():
            if line["id"] not in names:
                continue
            judgement = judgement_of(line)
            if judgement is not None:
                self._index.judge(judgement)
            elif line["kind"] == "exported":
                self._index.exported([line["id"]], datetime.fromisoformat(line["at"]))

    def _places(self) -> Iterator[Path]:
        try:
            for day in sorted(self.folder.iterdir()):
                if day.name != TORN and day.is_dir() and not day.is_symlink():
                    yield from sorted(place for place in day.iterdir() if place.is_dir() and not place.is_symlink())
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def _set_aside(self, path: Path) -> None:
        aside = self.folder / TORN / f"{self._now():%Y%m%dT%H%M%S}-{path.name}"
        try:
            aside.parent.mkdir(exist_ok=True)
            path.rename(aside)
            for beside in (path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")):
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error


def row_of(place: Path) -> dict[str, Any] | None:
    """Return the index's row of a folder by its record; None where that is no record."""
    try:
        record = read_json(place / RECORD)
        if record["schema"] != SCHEMA or record["id"] != place.name:
            return None
        size = sum(_on_disk(file.stat().st_size) for file in place.iterdir()) + _BLOCK
        return {
            "name": place.name,
            "place": f"{place.parent.name}/{place.name}",
            "kind": Kind(record["kind"]).value,
            "at": iso(datetime.fromisoformat(record["kept_at"])),
            "bytes": size,
            **{key: _text(record[key]) for key in ("verdict", "reason")},
            **{key: str(record[key]) for key in ("part_id", "recipe", "why")},
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _remove_whole(place: Path) -> None:
    """Remove a folder so that a kill meanwhile leaves nothing that passes for evidence."""
    going = place.with_name(f".{place.name}.going.tmp")
    try:
        place.rename(going)
    except FileNotFoundError:
        return
    shutil.rmtree(going)


def unwritable(path: Path, error: OSError) -> StoreError:
    """Return what is told where evidence cannot be written."""
    return StoreError(f"{path} cannot be written: {error.strerror or error}. Free some space or choose another place")
