"""Run-length encoded masks in a CSV, as the Severstal steel competition has them, from and to a dataset folder.

A mask is `start length start length …`: pixels are counted from 1, down the first column, then down the next. Newer
files have the columns ImageId, ClassId, EncodedPixels and a row for each class that a picture shows. Older ones have
ImageId_ClassId, EncodedPixels and a row for every class of every picture. That row has no runs where the picture does
not show the class.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from rich.console import Console
from rich.progress import track

from edge.errors import DatasetError, SourceError, StoreError
from edge.files import replacing
from edge.pictures.tables import read_table
from edge.records import UInt8
from trainer.datasets.dataset import Entry, class_names, read_manifest
from trainer.datasets.masks import read_mask
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelsLie, LabelSource, one_by_one
from trainer.importing.pairing import NameIndex, listed, never_clean, pictures_below, read_file, read_whole

Form = Literal["separate", "joined"]
SEPARATE = ("ImageId", "ClassId", "EncodedPixels")
JOINED = ("ImageId_ClassId", "EncodedPixels")
_UNNAMED = "class-"


def encode_rle(mask: UInt8) -> str:
    """Write uint8 [H, W] (defect where not 0) as runs down the columns, pixels counted from 1; empty if none."""
    down_columns = np.concatenate(([0], (mask.T != 0).reshape(-1).astype(np.int8), [0]))
    edges = np.flatnonzero(np.diff(down_columns))
    starts, ends = edges[::2], edges[1::2]
    return " ".join(f"{start + 1} {end - start}" for start, end in zip(starts, ends, strict=True))


def decode_rle(text: str, shape_px: tuple[int, int], where: str) -> UInt8:
    """Read runs as uint8 [H, W] of 0 and 255; `shape_px`: (height, width).

    Raises DatasetError that begins with `where`.
    """
    height, width = shape_px
    runs = _runs(text, where)
    flat = np.zeros(height * width, np.uint8)
    reached = 0
    for start, length in sorted(runs):
        if start < 1 or length < 1:
            raise DatasetError(f"{where}: expected runs of start and length from 1 on, received {start} {length}")
        if start + length - 1 > flat.size:
            raise DatasetError(
                f"{where}: the run {start} {length} ends at pixel {start + length - 1}, past the last one of "
                f"{width} x {height} px, which is {flat.size}. Is it another picture's row?"
            )
        if start <= reached:
            raise DatasetError(
                f"{where}: the run {start} {length} overlaps the one before it, which ends at pixel {reached}; "
                "expected each pixel once"
            )
        reached = start + length - 1
        flat[start - 1 : reached] = 255
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _runs(text: str, where: str) -> list[tuple[int, int]]:
    words = text.split()
    if wrong := next((word for word in words if not (word.isascii() and word.removeprefix("-").isdecimal())), None):
        raise DatasetError(f"{where}: expected whole numbers, received {wrong[:40]!r}")
    if len(words) % 2:
        raise DatasetError(
            f"{where}: expected pairs of start and length, received an odd number of values, {len(words)}"
        )
    if long := next((word for word in words if len(word) > 18), None):
        raise DatasetError(f"{where}: expected pixels of a picture, received {long[:40]}")
    numbers = [int(word) for word in words]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


@dataclass(frozen=True)
class _Row:
    number: int
    image_id: str
    class_id: int
    runs: str


def read_rle(table: Path, images: Path, names: Mapping[int, str], labels_lie: LabelsLie = "") -> LabelSource:
    """Read a CSV's labels of the pictures in a folder; `names`: ClassId → class, otherwise `class-1` and so on.

    `labels_lie`: how runs lie on pictures that are turned. A picture that no row gives pixels to is offered as one with
    an empty mask. Raises DatasetError naming file and row.
    """
    told: list[str] = []
    found = pictures_below(images, told)
    index = NameIndex(tuple(found), "picture")
    by_picture: dict[str, dict[int, _Row]] = defaultdict(dict)
    unknown: dict[str, str] = {}
    for row in _rows(table):
        where = f"{table}, row {row.number}"
        name = index.find(row.image_id, where=where)
        if name is None:
            unknown.setdefault(row.image_id, where)
            continue
        if names and row.class_id not in names:
            raise DatasetError(
                f"{where}: expected one of the classes {', '.join(map(str, sorted(names)))} that --names has, received "
                f"{row.class_id}"
            )
        before = by_picture[name].setdefault(row.class_id, row)
        if before is not row:
            raise DatasetError(
                f"{where}: {row.image_id} has class {row.class_id} in row {before.number} already; expected one row "
                "per picture and class"
            )
    if unknown:
        image_id, where = next(iter(unknown.items()))
        more = f" ({len(unknown)} such pictures: {listed(list(unknown))})" if len(unknown) > 1 else ""
        raise DatasetError(
            f"{where}: no picture {image_id} in {images}{more}. Give the folder that the table was made for"
        )
    others = never_clean([name for name in found if name not in by_picture], found, told)
    found = {name: path for name, path in found.items() if name not in others}
    make = _labelling(table, by_picture, names, labels_lie)
    return LabelSource(len(found), one_by_one(found.items(), make), tuple(names.values()), told)


def _labelling(
    table: Path, rows: Mapping[str, Mapping[int, _Row]], names: Mapping[int, str], labels_lie: LabelsLie
) -> Callable[[str, Path], LabelledPicture]:
    def make(name: str, path: Path) -> LabelledPicture:
        file, _ = read_file(path)
        own = tuple(rows.get(name, {}).values())
        where = f"{table}, row {own[0].number}" if own else str(table)
        drawn = any(row.runs.strip() for row in own)
        shown = file.place(None, labels_lie, where) if drawn else True
        findings = []
        for row in own:
            at = f"{table}, row {row.number}"
            mask = decode_rle(row.runs, file.shape_px if shown else file.stored_px, at)
            called = names.get(row.class_id, f"{_UNNAMED}{row.class_id}")
            findings.append(ClassMask(called, mask if shown else file.as_shown(mask), at))
        notes = file.notes(by_labels=shown if drawn else None)
        return LabelledPicture(name, path, file.shape_px, tuple(findings), where, notes=notes, greatest=file.greatest)

    return make


def _rows(table: Path) -> Iterator[_Row]:
    try:
        read = read_table(table, SEPARATE, JOINED)
    except SourceError as error:
        raise DatasetError(f"{error}. Give the CSV with the runs") from error
    separate = set(SEPARATE) <= set(read.columns)
    for row in read.rows:
        image_id, class_id = _key(row.values, f"{table}, row {row.number}", separate=separate)
        if row.fewer or row.more:  # cut off, or runs with commas between them
            raise DatasetError(
                f"{table}, row {row.number}: expected a value for each of the columns "
                f"{', '.join(read.columns)}, received {'fewer' if row.fewer else 'more'}. "
                "Separate the numbers of runs by blanks; no runs are an empty value"
            )
        yield _Row(row.number, image_id.replace("\\", "/"), class_id, row.values["EncodedPixels"])


def _key(row: Mapping[str, str], where: str, *, separate: bool) -> tuple[str, int]:
    if separate:
        image_id, class_id = (row.get(column, "") for column in ("ImageId", "ClassId"))
    else:
        image_id, _, class_id = row.get("ImageId_ClassId", "").rpartition("_")
    if not image_id or not (class_id.isascii() and class_id.isdecimal()) or not 1 <= int(class_id[:4]) <= 255:
        raise DatasetError(
            f"{where}: expected a picture and a class from 1 to 255, received {image_id!r}, {class_id!r}"
        )
    return image_id, int(class_id)


@dataclass(frozen=True)
class Exported:
    """The outcome of an export. `ids`: ClassId → class."""

    pictures: int
    rows: int
    ids: Mapping[int, str]


def write_rle(data: Path, table: Path, names: Mapping[int, str], form: Form, console: Console) -> Exported:
    """Write the masks of a dataset folder as a CSV that is absent before and whole after.

    `names`: ClassId → class; without it, `class-2` is 2, or else classes are numbered from 1 in the order of their
    names. Pictures are called by their file names or, where two have one name, by their paths below `images/`.
    Raises DatasetError, StoreError.
    """
    entries = read_manifest(data)
    ids = _ids(class_names(entries), names, data)
    called = _picture_ids(entries)
    if table.exists():
        raise StoreError(f"{table} exists, and exports do not overwrite. Name another file or remove it")
    rows = 0
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
        with replacing(table) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(SEPARATE if form == "separate" else JOINED)
            for entry in track(entries, "exporting", console=console, transient=True, disable=not console.is_terminal):
                for row in _rows_of(entry, called[entry.image], ids, form):
                    writer.writerow(row)
                    rows += 1
    except OSError as error:
        raise StoreError(f"{table} cannot be written: {error.strerror or error}. Name another file") from error
    return Exported(len(entries), rows, ids)


def _rows_of(entry: Entry, image_id: str, ids: Mapping[int, str], form: Form) -> Iterator[tuple[str | int, ...]]:
    pixels = read_whole(entry.path)
    masks: dict[str, UInt8] = {}
    for name, path in entry.masks:
        mask = np.asarray(read_mask(path, entry.path, (pixels.shape[0], pixels.shape[1])) > 0, np.uint8)
        masks[name] = masks[name] | mask if name in masks else mask
    in_order = list(masks)  # the later class counts where classes overlap, so that their order is part of the truth
    by_order = sorted(ids.items(), key=lambda item: in_order.index(item[1]) if item[1] in masks else len(in_order))
    for class_id, name in by_order:
        runs = encode_rle(masks[name]) if name in masks else ""
        if form == "joined":
            yield f"{image_id}_{class_id}", runs
        elif runs:
            yield image_id, class_id, runs


def _ids(classes: Sequence[str], names: Mapping[int, str], data: Path) -> dict[int, str]:
    if names:
        if unknown := sorted(set(classes) - set(names.values())):
            raise DatasetError(f"{data} has the classes {', '.join(unknown)} too; expected all of them in --names")
        if 0 in names or len(set(names.values())) < len(names):
            raise DatasetError("--names: expected each class once, with a number from 1 on")
        return dict(sorted(names.items()))
    numbers = [name.removeprefix(_UNNAMED) for name in classes if name.startswith(_UNNAMED)]
    if len(numbers) == len(classes) and all(number.isdecimal() and 1 <= int(number) <= 255 for number in numbers):
        return dict(sorted((int(number), name) for number, name in zip(numbers, classes, strict=True)))
    return dict(enumerate(classes, start=1))


def _picture_ids(entries: Sequence[Entry]) -> dict[str, str]:
    last = {entry.image: PurePosixPath(entry.image).name for entry in entries}
    if max(Counter(last.values()).values()) == 1:
        return last
    return {entry.image: entry.image.removeprefix("images/") for entry in entries}
