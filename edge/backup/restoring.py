"""Restoring a backup: every part is written beside its place and proven first; then all take their places, or none.

A file that is there already is not overwritten. With `replace` it is moved aside, and moved back where anything fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edge import __version__
from edge.backup.archive import Archive
from edge.backup.parts import HISTORY, INDEX, PARTS, SETTINGS, STORE, Places, places_of
from edge.dashboard.schema import SCHEMA_VERSION as HISTORY_VERSION
from edge.errors import StoreError
from edge.evidence.index import VERSION as INDEX_VERSION
from edge.messages.writer import boot_id
from edge.outbox.cloning import become_another
from edge.outbox.store import SCHEMA_VERSION as STORE_VERSION
from edge.records import JournalEntry

_VERSIONS = {STORE.name: STORE_VERSION, HISTORY.name: HISTORY_VERSION, INDEX.name: INDEX_VERSION}


@dataclass(frozen=True)
class Restored:
    """A backup that was restored: where each part is now, what was moved aside, and the new epoch of the store."""

    taken_at: str
    places: dict[str, Path]
    aside: tuple[Path, ...]
    absent: dict[str, str]
    not_carried: tuple[str, ...]
    epoch: str | None


def restore(file: Path, config: Path, *, replace: bool = False, sha256: str | None = None, user: str = "") -> Restored:
    """Restore a backup, its settings to `config` and all else to where they say. Raises StoreError, SettingsError.

    `sha256`: of the whole file, as `linewatch backup` printed it; another file is refused. `user`: for the journal.
    """
    archive = Archive(file)
    try:
        if sha256 is not None and archive.sha256 != sha256.strip().lower():
            raise StoreError(
                f"{file} is not the backup that was meant: its SHA-256 is {archive.sha256}, expected {sha256:.80}. "
                "Copy it again. Nothing was changed"
            )
        with ExitStack() as scope:
            return _restored(archive, config.absolute(), scope, replace=replace, user=user)
    finally:
        archive.close()


def _restored(archive: Archive, config: Path, scope: ExitStack, *, replace: bool, user: str) -> Restored:
    manifest = archive.manifest
    _require_known(archive)
    packed = {part.name: part for part in manifest.parts}
    if SETTINGS.name not in packed:
        raise StoreError(f"{archive.path} has no settings, without which no place is known. Take another backup")
    staging = _Staging(scope)
    settings = staging.beside(config)
    archive.extract(packed[SETTINGS.name], settings)
    places = places_of(settings, config)
    targets = {PARTS[name]: _target(places, name) for name in packed}
    for part, path in targets.items():
        _require_free(path, replace=replace)
        if part in {STORE, HISTORY}:
            scope.enter_context(_held(path))
    for part, path in targets.items():
        if part != SETTINGS:
            archive.extract(packed[part.name], staging.beside(path))
    epoch = None
    if STORE in targets:
        epoch = become_another(staging.staged[targets[STORE]], lambda before: _note(archive, before, user))
    aside = staging.take_places()
    return Restored(
        manifest.taken_at,
        {part.name: path for part, path in targets.items()},
        tuple(aside),
        dict(manifest.absent),
        manifest.not_carried,
        epoch,
    )


def _require_known(archive: Archive) -> None:
    """Refuse what a later version wrote; an earlier one's store is brought to this one at its opening."""
    for part in archive.manifest.parts:
        known = _VERSIONS.get(part.name, 0)
        if part.version > known:
            raise StoreError(
                f"{archive.path} is not restored: {part.name} is of version {part.version}, and Linewatch "
                f"{__version__} reads up to {known}. Linewatch {archive.manifest.software} wrote it: install "
                "that version or a later one. Nothing was changed"
            )


def _target(places: Places, name: str) -> Path:
    found = places.of.get(PARTS[name])
    if found is None:
        raise StoreError(
            f"The backup holds {name}, and its settings name no place for it: they were altered. Nothing was changed"
        )
    return found.absolute()


def _require_free(path: Path, *, replace: bool) -> None:
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise StoreError(
            f"{path} is a link or a folder; expected a file, or nothing. Move it away. Nothing was changed"
        )
    if path.exists() and not replace:
        raise StoreError(
            f"{path} is there already. With --replace it is moved aside and kept; or name other places. Nothing was "
            "changed"
        )


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold what a line, or a dashboard, holds while it runs. Raises StoreError where one does."""
    lock = Path(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be restored: {error.strerror}. Run this as the user that the line runs as. Nothing was "
            "changed"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise StoreError(
            f"{path} is in use by a line or a dashboard that runs. Stop it first. Nothing was changed"
        ) from error
    finally:
        os.close(descriptor)


def _note(archive: Archive, before: str, user: str) -> JournalEntry:
    manifest = archive.manifest
    told = (
        f"from a backup of {manifest.taken_at} by Linewatch {manifest.software} on {manifest.device}; "
        f"the epoch was {before}; sha256 {archive.sha256}"
    )
    return JournalEntry(datetime.now(timezone.utc), boot_id(), 0, "restored", "", None, user, "", told)


class _Staging:
    """Files beside their places. A file that has not taken its place in the end is gone."""

    def __init__(self, scope: ExitStack) -> None:
        self.staged: dict[Path, Path] = {}
        self._mark = uuid.uuid4().hex[:8]
        scope.callback(self._clean)

    def beside(self, path: Path) -> Path:
        """Return a new name beside a place, in its folder, which is made."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(
                f"{path.parent} cannot be made: {error.strerror or error}. Run this as the user that the line runs as"
            ) from error
        self.staged[path] = path.with_name(f".{path.name}.{self._mark}.restoring")
        return self.staged[path]

    def take_places(self) -> list[Path]:
        """Move every file to its place, the settings last; move all back where one cannot move. Raises StoreError."""
        moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        undo: list[tuple[Path, Path]] = []
        aside: list[Path] = []
        try:
            for path, staged in reversed(self.staged.items()):
                for suffix in ("", "-wal", "-shm"):
                    there = path.with_name(f"{path.name}{suffix}")
                    if there.exists():
                        kept = path.with_name(f"{path.name}.before-{moment}{suffix}")
                        there.rename(kept)
                        undo.append((kept, there))
                        aside += [] if suffix else [kept]
                staged.rename(path)
                undo.append((path, staged))
                _sync(path.parent)
        except OSError as error:
            for now, before in reversed(undo):
                with contextlib.suppress(OSError):
                    now.rename(before)
            raise StoreError(
                f"The backup is not restored: {error.strerror or error}. What was there before is there again"
            ) from error
        return aside

    def _clean(self) -> None:
        for staged in self.staged.values():
            for suffix in ("", "-wal", "-shm", "-journal"):
                with contextlib.suppress(OSError):
                    staged.with_name(f"{staged.name}{suffix}").unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
