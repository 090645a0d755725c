"""The file of a backup: a zip of known names with a manifest of sizes and hashes; read with distrust.

A manifest tells a torn file and an altered part. The hash of the whole file finds out who alters the manifest too.
`linewatch backup` prints it: keep it elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from edge.backup.parts import PARTS
from edge.errors import StoreError
from edge.files import replacing
from edge.strict_json import parse_json

SCHEMA = "linewatch/backup/1"
MANIFEST = "manifest.json"
_MANIFEST_BYTES = 1_000_000
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Packed:
    """One part as the manifest tells of it. `version`: of an SQLite part's tables, 0 of others."""

    name: str
    version: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contents of a backup. `absent`: parts not there, with the reason; `not_carried`: what it leaves out."""

    software: str
    taken_at: str
    root: str
    device: str
    parts: tuple[Packed, ...]
    absent: Mapping[str, str]
    not_carried: tuple[str, ...] = ()

    def as_json(self) -> bytes:
        """Return it as it is written."""
        told = {"schema": SCHEMA, **asdict(self), "parts": [asdict(part) for part in self.parts]}
        return json.dumps(told, indent=1).encode() + b"\n"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return _sha256(file)


def _sha256(file: IO[bytes]) -> str:
    found = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        found.update(chunk)
    return found.hexdigest()


def write(path: Path, manifest: Manifest, folder: Path) -> str:
    """Write the archive of the parts that lie in `folder`, whole or not at all, readable by this user alone.

    Returns its SHA-256. Raises StoreError.
    """
    try:
        with replacing(path) as unfinished:
            os.close(os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
            with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                archive.writestr(MANIFEST, manifest.as_json())
                for part in manifest.parts:
                    archive.write(folder / part.name, part.name)
            found = sha256_of(unfinished)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}. Expected a folder that this user may write, on a "
            "disk with room"
        ) from error
    return found


class Archive:
    """An archive to restore from, looked through before anything of it is used. Raises StoreError.

    `sha256`: of the file that is open here, and of no other that takes its name meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe is not waited for
        except FileNotFoundError as error:
            raise StoreError(f"No backup at {path}: expected a file that `linewatch backup` wrote") from error
        except (OSError, ValueError) as error:
            raise self._refused(f"it cannot be read ({error})") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._refused("it is no file")
        self._file = os.fdopen(descriptor, "rb")
        try:
            self.sha256 = _sha256(self._file)
            self._zip = zipfile.ZipFile(self._file)
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            self._file.close()
            raise self._refused(f"it is torn or no backup ({error})") from error
        try:
            self.manifest = self._manifest()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def _refused(self, why: str) -> StoreError:
        return StoreError(
            f"{self.path} is not restored: {why}. Expected a file as `linewatch backup` wrote it; copy it again, or "
            "take another one. Nothing was changed"
        )

    def _manifest(self) -> Manifest:
        names = [entry.filename for entry in self._zip.infolist()]
        if foreign := [name for name in names if name != MANIFEST and name not in PARTS]:
            raise self._refused(f"it holds {foreign[0]!r:.120}, which no backup does")
        if len(set(names)) != len(names):
            raise self._refused("it holds one name twice")
        if odd := [entry.filename for entry in self._zip.infolist() if not _is_plain(entry)]:
            raise self._refused(f"{odd[0]} is a link, a folder or encrypted")
        if MANIFEST not in names:
            raise self._refused("it has no manifest")
        if self._zip.getinfo(MANIFEST).file_size > _MANIFEST_BYTES:
            raise self._refused("its manifest is too large")
        try:
            with self._zip.open(MANIFEST) as file:
                told = parse_json(file.read(_MANIFEST_BYTES + 1))
        except (ValueError, OSError, zipfile.BadZipFile, EOFError, RuntimeError) as error:
            raise self._refused(f"its manifest cannot be read ({error})") from error
        manifest = self._understood(told)
        if {part.name for part in manifest.parts} != set(names) - {MANIFEST}:
            raise self._refused("its manifest tells of other parts than it holds")
        return manifest

    def _understood(self, told: Any) -> Manifest:
        schema = told.get("schema") if isinstance(told, dict) else None
        if schema != SCHEMA:
            newer = isinstance(schema, str) and schema.startswith("linewatch/backup/")
            hint = "; it is of another version of Linewatch: install the one that wrote it, or a later one" * newer
            raise self._refused(f"its manifest is {schema!r:.80}, and this version reads {SCHEMA}{hint}")
        try:
            parts = tuple(Packed(**part) for part in told["parts"])
            manifest = Manifest(
                software=str(told["software"]),
                taken_at=str(told["taken_at"]),
                root=str(told["root"]),
                device=str(told["device"]),
                parts=parts,
                absent={str(name): str(why) for name, why in told["absent"].items()},
                not_carried=tuple(str(each) for each in told["not_carried"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise self._refused(f"its manifest lacks something ({error})") from error
        if not all(isinstance(p.size, int) and isinstance(p.version, int) and isinstance(p.sha256, str) for p in parts):
            raise self._refused("its manifest is altered")
        return manifest

    def extract(self, part: Packed, to: Path) -> None:
        """Write one part to a new file, for this user alone. Refuse it where size or hash are others than told."""
        found, left = hashlib.sha256(), part.size
        try:
            descriptor = os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file, self._zip.open(part.name) as packed:
                while chunk := packed.read(min(_CHUNK, left + 1)):  # no further than one byte too many
                    left -= len(chunk)
                    if left < 0:
                        break
                    found.update(chunk)
                    file.write(chunk)
                _synced(file)
        except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
            raise self._refused(f"{part.name} is torn ({error})") from error
        except OSError as error:
            raise StoreError(
                f"{to} cannot be written: {error.strerror or error}. Expected a folder that this user may write, on a "
                "disk with room. Nothing was changed"
            ) from error
        except zlib.error as error:
            raise self._refused(f"{part.name} is torn ({error})") from error
        if left or found.hexdigest() != part.sha256:
            raise self._refused(f"{part.name} is not as it was written: its size or its SHA-256 differs")


def _synced(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _is_plain(entry: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return not entry.is_dir() and not entry.flag_bits & 0x1 and kind in {0, stat.S_IFREG}
