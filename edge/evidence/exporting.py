"""A zip of evidence: pictures, maps and messages as they were kept, and a manifest with what people said of them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edge import __version__
from edge.errors import StoreError
from edge.evidence.reading import EvidenceReader, GoneError
from edge.files import replacing
from edge.printable import as_json

MANIFEST = "manifest.json"
SCHEMA = "linewatch/evidence-export/1"
# Zip's own clock begins in 1980; with one time for all, the same evidence makes the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Exported:
    """The results and bytes that went into a zip, and what is wrong with the rest, one line each."""

    results: int
    bytes: int
    wrong: tuple[str, ...]


def export(
    reader: EvidenceReader,
    rows: Sequence[dict[str, Any]],
    path: Path,
    *,
    now: datetime,
    user: str,
    each: Callable[[], None] = lambda: None,
) -> Exported:
    """Write the zip, whole or not at all, and then note the rows as exported. Raises StoreError."""
    entries: list[dict[str, Any]] = []
    wrong: list[str] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
                for row in rows:
                    entry, told = _add(archive, reader, row)
                    entries += [] if entry is None else [entry]
                    wrong += told
                    each()
                _write(archive, MANIFEST, as_json(_manifest(entries, now, user), indent=1).encode())
            size = unfinished.stat().st_size
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}. Name another file") from error
    if entries:
        reader.exported([entry["id"] for entry in entries], now, user)
    return Exported(len(entries), size, tuple(wrong))


def _manifest(entries: Sequence[dict[str, Any]], now: datetime, user: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "made_at": now.isoformat(timespec="seconds"),
        "made_by": user,
        "linewatch": __version__,
        "results": list(entries),
    }


def _add(
    archive: zipfile.ZipFile, reader: EvidenceReader, row: dict[str, Any]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Add one result; return its entry in the manifest, None where nothing of it is there, and what is wrong."""
    try:
        record, files, wrong = reader.files(row["name"])
    except GoneError as error:
        return None, [str(error)]
    files = {**files, "record.json": as_json(record, indent=1).encode()}
    for name, content in files.items():
        _write(archive, f"{row['name']}/{name}", content)
    judgement = None
    if row["judgement"] is not None:
        judgement = {
            "judgement": row["judgement"],
            "class": row["class"],
            "comment": row["comment"],
            "user": row["user"],
            "at": row["judged_at"],
        }
    return {
        "id": row["name"],
        "kind": row["kind"],
        "verdict": row["verdict"],
        "reason": row["reason"],
        "part_id": row["part_id"],
        "recipe": row["recipe"],
        "station": record.get("station"),
        "models": record.get("models"),
        "kept_at": row["at"],
        "judgement": judgement,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }, wrong


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    info.external_attr = 0o644 << 16
    archive.writestr(info, content)
