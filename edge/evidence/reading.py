"""Evidence as others see it: lists, records, pictures that are what was kept, and what people say of them.

Nothing from outside becomes a path: names are checked, and a record names files of its own folder only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.errors import SourceError, StoreError
from edge.evidence.choosing import is_evidence_id
from edge.evidence.folder import RECORD, SCHEMA
from edge.evidence.index import EvidenceIndex, Sought
from edge.evidence.judging import Judgement, Judgements
from edge.evidence.marking import decoded, marked
from edge.pictures.decoding import read_bytes
from edge.records import UInt8
from edge.strict_json import read_json

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.map)?\.(jpg|png|avi)")
_PLACE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".avi": "video/x-msvideo"}


class GoneError(StoreError):
    """Evidence that is not here: it was not kept, its time is over, or somebody deleted or altered it."""


@dataclass(frozen=True)
class KeptFile:
    """One file as it was kept. `type`: its media type."""

    content: bytes
    type: str


class EvidenceReader:
    """Reads the evidence folder of a station, beside it. Raises StoreError; GoneError for what is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index = EvidenceIndex(folder, writes=False)

    def __enter__(self) -> Self:
        self._index.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._index.__exit__(kind, error, trace)

    def find(self, sought: Sought, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """Return rows, the newest first."""
        return self._index.find(sought, limit, offset)

    def count(self, sought: Sought) -> int:
        """Return how many there are."""
        return self._index.count(sought)

    def beside(self, sought: Sought, name: str) -> tuple[str | None, str | None]:
        """Return the newer and the older neighbour."""
        return self._index.beside(sought, name)

    def row(self, name: str) -> dict[str, Any]:
        """Return the row of one."""
        found = self._index.one(name) if is_evidence_id(name) else None
        if found is None:
            raise GoneError(
                f"There is no evidence {name[:64]!r} in {self.folder}: it was not kept, its time is over, or there was "
                "no room for it"
            )
        return found

    def record(self, name: str) -> dict[str, Any]:
        """Return the record of one."""
        place = self._place(name)
        try:
            record = read_json(place / RECORD)
            sound = record["schema"] == SCHEMA and record["id"] == name and isinstance(record["views"], list)
        except FileNotFoundError as error:
            raise GoneError(f"The evidence {name} was deleted from {self.folder} by hand") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise GoneError(f"The record of the evidence {name} cannot be read: {error}. It was altered") from error
        if not sound:
            raise GoneError(f"The record of the evidence {name} is of another result or version. It was altered")
        return dict(record)

    def picture(self, name: str, view: str, which: str = "picture") -> KeptFile:
        """Return the clean picture of a view, or with `which` map its defect map, as it was kept."""
        return self._file(name, self._view(self.record(name), view), which)

    def marked(self, name: str, view: str) -> UInt8:
        """Return a view's picture with what was found in it, uint8 BGR."""
        told = self._view(self.record(name), view)
        pixels = self._decoded(name, self._file(name, told, "picture"))
        found = self._decoded(name, self._file(name, told, "map")) if told.get("map") else None
        return marked(pixels, found, told.get("classes", ()))

    def judge(self, judgement: Judgement) -> None:
        """Write down what a person says. Raises ValueError for words that are none, GoneError for what is not there."""
        self.row(judgement.name)
        Judgements(self.folder).judge(judgement)
        self._index.judge(judgement)

    def journal(self) -> Iterator[dict[str, Any]]:
        """Yield what was judged and exported, oldest first. Raises JournalError where the chain is broken."""
        return Judgements(self.folder).lines()

    def files(self, name: str) -> tuple[dict[str, Any], dict[str, bytes], list[str]]:
        """Return a result's record, its files by name, and what is wrong with those that cannot be had."""
        record, files, wrong = self.record(name), {}, []
        for told in record["views"]:
            for which in ("picture", "map", "clip"):
                if isinstance(told, Mapping) and told.get(which):
                    try:
                        files[str(told[which]["file"])] = self._file(name, told, which).content
                    except (GoneError, TypeError, KeyError) as error:
                        wrong.append(str(error))
        return record, files, wrong

    def exported(self, names: list[str], at: datetime, user: str) -> None:
        """Note what has been exported."""
        Judgements(self.folder).exported(names, at, user)
        self._index.exported(names, at)

    def _place(self, name: str) -> Path:
        day, _, last = str(self.row(name)["place"]).partition("/")
        if not _PLACE.fullmatch(day) or last != name:
            raise GoneError(f"The index names no place of its own for the evidence {name}. It was altered")
        return self.folder / day / name

    def _view(self, record: Mapping[str, Any], view: str) -> Mapping[str, Any]:
        for told in record["views"]:
            if isinstance(told, Mapping) and told.get("view") == view:
                return told
        raise GoneError(f"The evidence {record['id']} has no view {view[:64]!r}")

    def _file(self, name: str, told: Mapping[str, Any], which: str) -> KeptFile:
        named = told.get(which)
        if named is None and which == "picture":
            why = str(told.get("missing") or "none was kept")[:200]
            raise GoneError(f"There is no picture of {told['view']}: {why}")
        if not isinstance(named, Mapping) or not _FILE.fullmatch(str(named.get("file"))):
            raise GoneError(f"There is no such file of {told['view']}")
        path = self._place(name) / str(named["file"])
        if path.is_symlink():
            raise GoneError(f"{path.name} of the evidence {name} was replaced by a link")
        try:
            content = read_bytes(path)
        except SourceError as error:
            raise GoneError(f"{path.name} of the evidence {name} cannot be read: it was deleted by hand") from error
        if hashlib.sha256(content).hexdigest() != named.get("sha256"):
            raise GoneError(f"{path.name} of the evidence {name} is not the file that was kept: it was altered")
        return KeptFile(content, _TYPES[path.suffix])

    def _decoded(self, name: str, file: KeptFile) -> UInt8:
        try:
            return decoded(file.content)
        except SourceError as error:
            raise GoneError(f"A file of the evidence {name} is no picture that can be read: {error}") from error
