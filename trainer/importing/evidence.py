"""Kept evidence, exported or in a station's folder → labels: what people said of each result decides.

A reject that was right has the masks that the model drew. A false reject is clean. A missed defect is a label of its
class without a mask. An unsure judgement, or none, teaches nothing and is left out.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import DatasetError, StoreError
from edge.evidence.exporting import MANIFEST, SCHEMA
from edge.evidence.index import INDEX, Sought
from edge.evidence.judging import WORDS
from edge.evidence.reading import EvidenceReader
from edge.pictures import read_decoded
from edge.records import UInt8
from edge.strict_json import parse_json
from edge.wording import counted
from trainer.datasets.class_naming import checked_name
from trainer.importing.labelled import BrokenPicture, ClassMask, LabelledPicture, LabelSource
from trainer.importing.pairing import read_file

_MANIFEST_BYTES, _FILE_BYTES = 256_000_000, 1 << 29
_RESULTS_AT_MOST = 1_000_000
_ID = re.compile(r"[0-9a-f]{8}-[0-9]{8,19}-[0-9a-f]{8}")
_FILE = re.compile(r"record\.json|[A-Za-z0-9][A-Za-z0-9_-]{0,63}(?:\.map)?\.(?:jpg|png|avi)")


@dataclass(frozen=True)
class _Result:
    """One kept result. `files`: by name, with the hash that each is to have. `judgement`: None where nobody judged."""

    name: str
    verdict: str
    part_id: str
    station: str
    judgement: str | None
    class_name: str | None
    files: Mapping[str, str]


def read_evidence(source: Path, scratch: Path) -> LabelSource:
    """Read a zip of `linewatch evidence export`, the folder of an unpacked one, or a station's evidence folder.

    `scratch`: an empty folder for what a zip holds; it must last as long as the pictures are wanted. Raises
    DatasetError for what is none of these.
    """
    if source.is_file():
        results, folders = _unpacked(source, scratch)
    elif (source / MANIFEST).is_file():
        results = _results(_read(source / MANIFEST), source / MANIFEST)
        folders = {one.name: source / one.name for one in results}
    elif (source / INDEX).is_file():
        results, folders = _of_station(source)
    else:
        raise DatasetError(
            f"{source}: expected a zip of linewatch evidence export, the folder of one, or a station's evidence folder"
        )
    left_out: Counter[str] = Counter()
    wanted = [one for one in results if _teaches(one, left_out)]
    told = [f"left out: {counted(count, 'result')}: {why}" for why, count in sorted(left_out.items())]
    if not wanted:
        raise DatasetError(
            "; ".join((f"{source}: expected results that somebody judged right, false_reject or missed", *told))
        )
    return LabelSource(len(wanted), _pictures(wanted, folders, told), told=told)


def _teaches(one: _Result, left_out: Counter[str]) -> bool:
    why = ""
    if one.judgement is None:
        why = "nobody judged it"
    elif one.judgement == "unsure":
        why = "who judged it was unsure"
    elif one.verdict == "NO_READ":
        why = "NO_READ, of which nothing is known"
    elif one.judgement == "missed" and one.class_name is None:
        why = "missed, and nobody said which class"
    if why:
        left_out[why] += 1
    return not why


def _pictures(
    results: Sequence[_Result], folders: Mapping[str, Path], told: list[str]
) -> Iterator[LabelledPicture | BrokenPicture]:
    unclear = 0
    for one in results:
        try:
            views = _views(one, folders[one.name])
            if one.judgement == "missed" and len(views) > 1:
                unclear += 1
                continue
            for view in views:
                yield _labelled(one, folders[one.name], view)
        except DatasetError as error:
            yield BrokenPicture(one.name, str(error))
    if unclear:
        told.append(f"left out: {counted(unclear, 'result')}: missed, and nobody said in which view")


def _views(one: _Result, folder: Path) -> list[Mapping[str, Any]]:
    """Return the views of a result that have a picture. Raises DatasetError for a record that is none."""
    try:
        record = parse_json(_whole(one, folder, "record.json"))
        views = [view for view in record["views"] if view["picture"] is not None]
        if not all(
            _FILE.fullmatch(view[which]["file"]) for view in views for which in ("picture", "map") if view[which]
        ):
            raise ValueError("it names other files")  # noqa: TRY301 - told with the rest
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{folder / 'record.json'}: expected the record of a result: {error}") from error
    return views


def _labelled(one: _Result, folder: Path, view: Mapping[str, Any]) -> LabelledPicture:
    name = view["picture"]["file"]
    _whole(one, folder, name)
    file, _ = read_file(folder / name)
    findings: list[ClassMask] = []
    if one.judgement != "false_reject" and view["map"]:
        findings = _masks(one, folder, view, file.shape_px)
    if one.judgement == "missed":
        findings.append(ClassMask(checked_name(str(one.class_name), one.name), None))
    group = hashlib.sha256(f"{one.station} {one.part_id}".encode("utf-8", "replace")).hexdigest()[:12]
    return LabelledPicture(
        f"{one.name}-{name}",
        folder / name,
        file.shape_px,
        tuple(findings),
        str(folder / name),
        declared_clean=one.judgement == "false_reject" or not findings,
        group=f"part-{group}",
        notes=file.notes(),
        greatest=file.greatest,
    )


def _masks(one: _Result, folder: Path, view: Mapping[str, Any], shape_px: tuple[int, int]) -> list[ClassMask]:
    """Return the masks that the model drew; of one class alone, it is the class that a person named."""
    name = view["map"]["file"]
    _whole(one, folder, name)
    found = read_decoded(folder / name).pixels
    if found.dtype != np.uint8 or found.shape != shape_px:
        raise DatasetError(f"{folder / name}: expected a map as large as its picture, 8 bits, received {found.shape}")
    numbers = [int(number) for number in np.unique(found) if number]
    names = {entry["id"]: str(entry["name"]) for entry in view["classes"]}
    if unknown := [number for number in numbers if number not in names]:
        raise DatasetError(f"{folder / name}: expected classes of its record, received {unknown[:5]}")
    if one.class_name is not None and one.judgement == "right" and len(numbers) == 1:
        names[numbers[0]] = checked_name(one.class_name, one.name)
    masks: list[ClassMask] = []
    for number in numbers:
        mask: UInt8 = np.where(found == number, np.uint8(255), np.uint8(0))
        masks.append(ClassMask(names[number], mask, str(folder / name)))
    return masks


def _whole(one: _Result, folder: Path, name: str) -> bytes:
    """Return a file's bytes, which are those that were exported. Raises DatasetError."""
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise DatasetError(f"{folder / name} cannot be read: {error.strerror or error}") from error
    if name not in one.files or hashlib.sha256(content).hexdigest() != one.files[name]:
        raise DatasetError(f"{folder / name}: expected the file of the manifest, received another; export it again")
    return content


def _read(path: Path) -> bytes:
    if path.stat().st_size > _MANIFEST_BYTES:
        raise DatasetError(f"{path}: expected at most {_MANIFEST_BYTES // 1_000_000} MB, received more")
    return path.read_bytes()


def _results(raw: bytes, where: Path) -> list[_Result]:
    try:
        manifest = json.loads(raw)
        if manifest["schema"] != SCHEMA or len(manifest["results"]) > _RESULTS_AT_MOST:
            raise ValueError("it is of another version, or has no end")  # noqa: TRY301 - told with the rest
        return [_result(entry) for entry in manifest["results"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DatasetError(f"{where}: expected the manifest of an export of evidence: {error}") from error


def _result(entry: Mapping[str, Any]) -> _Result:
    said = entry["judgement"]
    files = dict(entry["files"])
    if not _ID.fullmatch(entry["id"]) or not all(_FILE.fullmatch(name) for name in files):
        raise ValueError(f"{entry['id']!r:.80} names what no result can have")
    if said is not None and said["judgement"] not in WORDS:
        raise ValueError(f"expected a judgement of {', '.join(WORDS)}, received {said['judgement']!r:.80}")
    return _Result(
        entry["id"],
        str(entry["verdict"]),
        str(entry["part_id"]),
        str(entry["station"]),
        None if said is None else said["judgement"],
        None if said is None or said["class"] is None else str(said["class"]),
        files,
    )


def _unpacked(source: Path, scratch: Path) -> tuple[list[_Result], dict[str, Path]]:
    """Take out of a zip what its manifest names, and nothing else."""
    try:
        with zipfile.ZipFile(source) as archive:
            if archive.getinfo(MANIFEST).file_size > _MANIFEST_BYTES:
                raise DatasetError(f"{source}: its manifest is too large")
            results = _results(archive.read(MANIFEST), source)
            for one in results:
                (scratch / one.name).mkdir(exist_ok=True)
                for name in one.files:
                    if archive.getinfo(f"{one.name}/{name}").file_size > _FILE_BYTES:
                        raise DatasetError(f"{source}: {one.name}/{name} is too large")
                    (scratch / one.name / name).write_bytes(archive.read(f"{one.name}/{name}"))
    except KeyError as error:
        raise DatasetError(f"{source}: expected what its manifest names: {error.args[0]}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DatasetError(f"{source}: expected a zip of linewatch evidence export: {error}") from error
    except OSError as error:
        raise StoreError(f"{source} cannot be unpacked: {error.strerror or error}. Free some space") from error
    return results, {one.name: scratch / one.name for one in results}


def _of_station(folder: Path) -> tuple[list[_Result], dict[str, Path]]:
    results, folders = [], {}
    with EvidenceReader(folder) as reader:
        for row in reader.find(Sought(judged=True), _RESULTS_AT_MOST):
            place = folder / str(row["place"])
            record = reader.record(row["name"])
            files = {
                view[which]["file"]: view[which]["sha256"]
                for view in record["views"]
                for which in ("picture", "map")
                if view[which]
            }
            files["record.json"] = hashlib.sha256((place / "record.json").read_bytes()).hexdigest()
            entry = {
                "id": row["name"],
                "verdict": row["verdict"],
                "part_id": row["part_id"],
                "station": record["station"],
                "judgement": {"judgement": row["judgement"], "class": row["class"]},
                "files": files,
            }
            results.append(_result(entry))
            folders[row["name"]] = place
    return results, folders
