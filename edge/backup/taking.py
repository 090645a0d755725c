"""Taking a backup: each part as of one moment, while the line and the dashboard go on."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edge import __version__
from edge.backup.archive import Manifest, Packed, sha256_of, write
from edge.backup.parts import HISTORY, STORE, Part, Places, places_of
from edge.errors import StoreError
from edge.outbox.cloning import copied


@dataclass(frozen=True)
class Taken:
    """A backup that was taken. `sha256`: of the whole file."""

    manifest: Manifest
    sha256: str
    size: int


def take(config: Path, to: Path) -> Taken:
    """Write a backup of what the settings name. Raises SettingsError, StoreError; then there is no file."""
    places = places_of(config)
    try:
        folder = tempfile.TemporaryDirectory(prefix=".linewatch-backup-", dir=to.absolute().parent)
    except OSError as error:
        raise StoreError(
            f"{to} cannot be written: {error.strerror or error}. Expected a folder that is there, and that this user "
            "may write"
        ) from error
    with folder as name:
        manifest = _copied(places, Path(name))
        sha256 = write(to, manifest, Path(name))
    return Taken(manifest, sha256, to.stat().st_size)


def _copied(places: Places, folder: Path) -> Manifest:
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    parts: list[Packed] = []
    absent: dict[str, str] = {}
    for part, path in places.of.items():
        try:
            there = path.is_file()
        except OSError as error:
            raise _unreadable(path, error) from error
        if not there:
            absent[part.name] = f"no file {path}"
            continue
        parts.append(_copy(part, path, folder))
    if not {STORE.name, HISTORY.name} & {part.name for part in parts}:
        raise StoreError(
            f"Nothing to back up: {'; '.join(absent.values())}. Start the station or the dashboard once, or name the "
            "settings of one that has run"
        )
    return Manifest(__version__, at, places.root, places.device, tuple(parts), absent, places.not_carried)


def _copy(part: Part, path: Path, folder: Path) -> Packed:
    to, version = folder / part.name, 0
    try:
        to.parent.mkdir(exist_ok=True)
        if part.kind == "sqlite":
            version = copied(path, to)
        elif part.kind == "lines":  # the last line may be half written
            raw = path.read_bytes()
            to.write_bytes(raw[: raw.rfind(b"\n") + 1])
        else:
            shutil.copyfile(path, to)
        return Packed(part.name, version, to.stat().st_size, sha256_of(to))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be copied: {error.strerror or error}. Run this as the user that the line runs as, on a disk "
        "with room"
    )
