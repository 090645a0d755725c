"""The pictures of a SOURCE, one by one: a folder, recordings, an evidence export, a list, or an address."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from edge.errors import SourceError
from edge.evidence.exporting import MANIFEST as EXPORT_MANIFEST
from edge.evidence.exporting import SCHEMA as EXPORT_SCHEMA
from edge.inspection.inspector import pictures_at
from edge.pictures import SUFFIXES, LeftOut, Listing, as_text
from edge.pictures.folders import pictures_below
from edge.pictures.tables import read_table
from edge.recording.clips import rows_of
from edge.recording.manifest import is_recording
from edge.recording.playing import load_recording
from edge.reinspecting.listed import Listed
from edge.reinspecting.storage import is_address, load_arrow, open_storage
from edge.strict_json import BYTES_AT_MOST, parse_json
from edge.wording import counted

Tell = Callable[[str], object]
_RECORD = "/record.json"
_ROWS = 4096
_FILE = "file://"
_VIDEOS = (".mkv", ".mp4", ".avi", ".mov", ".webm", ".m4v", ".ts")


def pictures_of_source(source: str, tell: Tell, results: Path) -> Iterator[Listed]:
    """Yield each picture of a source but for those below `results`, which are maps of others.

    `tell` hears what was left out. Raises SourceError for what is no source.
    """
    if is_address(source):
        yield from _of_address(source, tell, results)
        return
    path = Path(source)
    try:
        there, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:
        raise SourceError(f"{as_text(source)} cannot be read: {error}") from error
    if not there:
        raise SourceError(f"Nothing at {as_text(source)}: expected pictures, recordings, an evidence export or a list")
    if not is_folder:
        yield from _of_file(path)
        return
    try:
        yield from _of_folder(path, tell, results)
    except OSError as error:
        said = error.strerror or error
        raise SourceError(f"{as_text(source)} cannot be read: {said}. Look at its rights") from error


def _of_file(path: Path) -> Iterator[Listed]:
    suffix = path.suffix.lower()
    if not path.is_file():  # a pipe would be waited for without end
        raise SourceError(f"{as_text(str(path))} is no file: expected a folder or a file, received something else")
    if suffix in {".csv", ".tsv"}:
        yield from _of_csv(path)
    elif suffix in {".parquet", ".pq"}:
        yield from _of_parquet(path)
    elif suffix == ".zip":
        yield from _of_export(path)
    elif suffix in SUFFIXES:
        yield Listed(_name(path.name), "file", os.fsencode(path))
    elif suffix in _VIDEOS:
        yield from _of_video(path, path.name)
    else:
        raise SourceError(
            f"{as_text(str(path))}: expected a folder, a recording, a video ({', '.join(_VIDEOS)}), an evidence export "
            "(.zip) or a list of paths (.csv, .parquet); received another kind of file"
        )


def _name(name: str) -> str:
    return as_text(str(PurePosixPath(name)))


def _of_folder(folder: Path, tell: Tell, results: Path) -> Iterator[Listed]:
    if is_recording(folder):
        yield from _of_recording(folder, "")
        return
    if (folder / EXPORT_MANIFEST).is_file() and any(folder.glob(f"*{_RECORD}")):
        yield from _of_unpacked(folder)
        return
    recordings, others = _recordings_in(folder)
    if not recordings:
        yield from _of_pictures(folder, tell, results)
        return
    for recording in recordings:
        yield from _of_recording(recording, f"{_name(recording.name)}/")
    left_out = [LeftOut(path, "no recording, and beside some") for path in others if not _is_same(path, results)]
    for told in Listing(folder, (), tuple(left_out)).told():
        tell(told)


def _recordings_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the recordings that lie in a folder, and what else does; what is hidden is neither."""
    recordings, others = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                recorded = entry.is_dir() and is_recording(Path(entry.path))
            except OSError:  # a link that leads to itself
                recorded = False
            if recorded:
                recordings.append(Path(entry.path))
            elif not entry.name.startswith("."):
                others.append(Path(entry.path))
    return sorted(recordings), sorted(others)


def _is_same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _of_pictures(folder: Path, tell: Tell, results: Path) -> Iterator[Listed]:
    ours = _below(results, folder)
    left_out: list[LeftOut] = []
    # of a dataset those that its manifest names, as `inspect` takes them
    named = (folder / "manifest.csv").is_file()
    for path in pictures_at([folder], tell) if named else pictures_below(folder, left_out):
        name = os.path.relpath(path, folder)
        if not name.startswith(ours):
            yield Listed(_name(name), "file", os.fsencode(path))
    for told in Listing(folder, (), tuple(left_out)).told():
        tell(told)


def _below(results: Path, folder: str | Path) -> str:
    """Return what the names of all files below `results` begin with, as seen from a folder."""
    return os.path.relpath(os.path.realpath(results), os.path.realpath(folder)) + os.sep


def _of_recording(folder: Path, before: str) -> Iterator[Listed]:
    recording = load_recording(folder)
    for camera, clips in recording.clips.items():
        for clip in clips:
            for index, row in enumerate(rows_of(clip)):
                name = f"{before}{camera}/{row.index:08d}"
                yield Listed(name, "frame", os.fsencode(clip), index=index, view=camera)


def _of_video(path: Path, name: str) -> Iterator[Listed]:
    from edge.reinspecting.frames import frames_of_video

    for index in range(frames_of_video(path)):
        yield Listed(f"{_name(name)}/{index:08d}", "video", os.fsencode(path), index=index)


def _of_export(path: Path) -> Iterator[Listed]:
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open(EXPORT_MANIFEST) as manifest:
                _require_export(path, manifest.read(512))
            for info in archive.infolist():
                if info.filename.endswith(_RECORD):
                    with archive.open(info) as file:
                        record = _record(path, info.filename, file.read(BYTES_AT_MOST + 1))
                    for name, listed in _of_record(info.filename.removesuffix(_RECORD), record):
                        yield Listed(name, "zip", os.fsencode(path), within=name, **listed)
    # zipfile raises NotImplementedError for a compression that it lacks, RuntimeError for a password
    except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"{as_text(str(path))} is no evidence export that can be read: {error}") from error


def _of_unpacked(folder: Path) -> Iterator[Listed]:
    manifest = folder / EXPORT_MANIFEST
    try:
        with manifest.open("rb") as file:
            _require_export(manifest, file.read(512))
        for place in folder.glob(f"*{_RECORD}"):
            with place.open("rb") as file:
                record = _record(folder, str(place), file.read(BYTES_AT_MOST + 1))
            for name, listed in _of_record(place.parent.name, record):
                yield Listed(name, "file", os.fsencode(folder / name), **listed)
    except OSError as error:
        raise SourceError(f"{as_text(str(folder))} cannot be read: {error.strerror or error}") from error


def _require_export(path: Path, begins: bytes) -> None:
    if EXPORT_SCHEMA.encode() not in begins:
        raise SourceError(
            f"{as_text(str(path))}: expected an evidence export, whose manifest.json says {EXPORT_SCHEMA}; received "
            "another. Make one with: linewatch evidence CONFIG export"
        )


def _record(path: Path, name: str, content: bytes) -> dict[str, Any]:
    try:
        record = parse_json(content)
        if isinstance(record["views"], list):
            return dict(record)
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{as_text(str(path))}: {as_text(name)} cannot be read: {error}. It was altered") from error
    raise SourceError(f"{as_text(str(path))}: {as_text(name)} has no views. It was altered")


def _of_record(evidence: str, record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each picture that was kept of a result, and what is known of it."""
    for view in record["views"]:
        picture = view.get("picture") if isinstance(view, dict) else None
        if isinstance(picture, dict) and isinstance(file := picture.get("file"), str) and "/" not in file:
            part = record.get("part_id")
            told = {"part_id": None if part is None else str(part), "view": str(view.get("view"))}
            yield f"{evidence}/{file}", told


def _of_csv(path: Path) -> Iterator[Listed]:
    table = read_table(path, ("path",))
    for row in table.rows:
        if row.fewer or row.more:
            raise SourceError(
                f"{as_text(str(path))}, line {row.number}: expected {counted(len(table.columns), 'value')}, received "
                f"{'fewer' if row.fewer else 'more'}"
            )
        yield _of_row(path, f"line {row.number}", row.values)


def _of_parquet(path: Path) -> Iterator[Listed]:
    parquet, arrow = load_arrow("pyarrow.parquet"), load_arrow()
    try:
        # opened here: pyarrow itself takes no name that is not UTF-8
        with path.open("rb") as opened, parquet.ParquetFile(opened) as file:
            columns = _columns(path, file.schema_arrow.names)
            number = 0
            for batch in file.iter_batches(_ROWS, columns=[*columns]):
                for row in batch.to_pylist():
                    number += 1
                    yield _of_row(path, f"row {number}", {columns[name]: value for name, value in row.items()})
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise SourceError(f"{as_text(str(path))} is no Parquet that can be read: {error}") from error


def _columns(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Return a list's columns that are read, each with what it is called here: in any capitals, as in a CSV."""
    known = {name: told for name in names if (told := name.strip().lower()) in {"path", "part_id", "view"}}
    called = [name.strip().lower() for name in names if name in known]
    if twice := sorted({name for name in called if called.count(name) > 1}):
        raise SourceError(f"{as_text(str(path))}: expected each column once, received twice: {', '.join(twice)}")
    if "path" not in called:
        received = ", ".join(names)[:200] or "none"
        raise SourceError(f"{as_text(str(path))}: expected the column path, received {received}")
    return known


def _of_row(path: Path, where: str, row: Any) -> Listed:
    """Return the picture of a list's row.

    It is called by its path below the list's folder, if it lies there. Its `where` is one for each file, however its
    folder is spelled or linked.
    """
    named = row.get("path")
    if not isinstance(named, str) or not named or "\0" in named:
        raise SourceError(f"{as_text(str(path))}, {where}: expected a path, received {named!r:.80}")
    told = (row.get(key) for key in ("part_id", "view"))
    part, view = (None if value is None or value == "" else str(value) for value in told)
    if named.startswith(_FILE):
        named = unquote(named.removeprefix(_FILE))
    if is_address(named):
        scheme, _, rest = named.partition("?")[0].partition("://")
        return Listed(_name(f"{scheme}/{rest.rpartition('@')[2]}"), "address", named.encode(), part_id=part, view=view)
    folder, name = os.path.split(path.parent / named)
    place = f"{_real(folder).rstrip(os.sep)}{os.sep}{name}"
    inside = f"{_real(str(path.parent))}{os.sep}"
    plain = os.path.normpath(named)
    if named.startswith(os.sep):
        plain = place.removeprefix(inside) if place.startswith(inside) else f"{os.sep}{plain.lstrip(os.sep)}"
    return Listed(_name(plain), "file", os.fsencode(place), part_id=part, view=view)


@lru_cache(4096)
def _real(folder: str) -> str:
    """Return a folder's path without links: behind one the kernel takes `..` for another folder than the text does."""
    return os.path.realpath(folder)


def _of_address(source: str, tell: Tell, results: Path) -> Iterator[Listed]:
    storage = open_storage(source)
    ours = _below(results, storage.place) if storage.system.type_name == "local" else os.sep
    for path in storage.pictures(tell):
        below = path[len(storage.place) :].lstrip("/") or PurePosixPath(path).name
        # the address itself may hold a secret, and is not written down
        if not below.startswith(ours):
            yield Listed(_name(below), "address", b"", within=path)
