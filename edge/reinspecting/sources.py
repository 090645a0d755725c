"""The pictures of a SOURCE, one by one: a folder, recordings, an evidence export, a list, or an address."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

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
_VIDEOS = (".mkv", ".mp4", ".avi", ".mov", ".webm", ".m4v", ".ts")


def pictures_of_source(source: str, tell: Tell, results: Path) -> Iterator[Listed]:
    """Yield each picture of a source but for those below `results`, which are maps of others.

    `tell` hears what was left out. Raises SourceError for what is no source.
    """
    if is_address(source):
        yield from _of_address(source, results)
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
    with os.scandir(folder) as entries:
        recordings = sorted(Path(each.path) for each in entries if each.is_dir() and is_recording(Path(each.path)))
    for recording in recordings:
        yield from _of_recording(recording, f"{recording.name}/")
    if not recordings:
        yield from _of_pictures(folder, tell, results)


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
        with parquet.ParquetFile(path) as file:
            columns = [name for name in ("path", "part_id", "view") if name in file.schema_arrow.names]
            if "path" not in columns:
                raise SourceError(
                    f"{as_text(str(path))}: expected the column path, received {', '.join(file.schema_arrow.names)}"
                )
            number = 0
            for batch in file.iter_batches(_ROWS, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    yield _of_row(path, f"row {number}", row)
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise SourceError(f"{as_text(str(path))} is no Parquet that can be read: {error}") from error


def _of_row(path: Path, where: str, row: Any) -> Listed:
    """Return the picture of a list's row.

    It is called by its path below the list's folder, if it lies there.
    """
    named = row.get("path")
    if not isinstance(named, str) or not named or "\0" in named:
        raise SourceError(f"{as_text(str(path))}, {where}: expected a path, received {named!r:.80}")
    told = (row.get(key) for key in ("part_id", "view"))
    part, view = (None if value is None or value == "" else str(value) for value in told)
    if is_address(named):
        scheme, _, rest = named.partition("?")[0].partition("://")
        return Listed(_name(f"{scheme}/{rest.rpartition('@')[2]}"), "address", named.encode(), part_id=part, view=view)
    below = f"{path.parent.absolute()}{os.sep}"
    plain = os.path.normpath(named).removeprefix(below)
    # behind a linked folder the kernel takes `..` for another folder than the text says
    place = path.parent / (named if ".." in PurePosixPath(named).parts else plain)
    return Listed(_name(plain), "file", os.fsencode(place), part_id=part, view=view)


def _of_address(source: str, results: Path) -> Iterator[Listed]:
    storage = open_storage(source)
    ours = _below(results, storage.place) if storage.system.type_name == "local" else os.sep
    for path in storage.pictures():
        below = path[len(storage.place) :].lstrip("/") or PurePosixPath(path).name
        # the address itself may hold a secret, and is not written down
        if not below.startswith(ours):
            yield Listed(_name(below), "address", b"", within=path)
