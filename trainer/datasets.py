"""A dataset folder with `manifest.csv` → checked entries, and prepared pixels with their class maps.

`manifest.csv` has the columns image, mask, class, group. One picture may have several rows: a row's mask pixels above
127 get its class. `Free`, `ok` and `good`, in any case, are clean; their mask may be left out.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge.bundle import safe_name, sha256_of
from edge.cameras.images import read_picture
from edge.errors import DatasetError, ProductNotFoundError, SourceError
from edge.opencv import cv2
from edge.preparing import PreparingStep, prepare, prepare_map
from edge.records import UInt8

CLEAN = frozenset({"free", "ok", "good"})
COLUMNS = ("image", "mask", "class", "group")


@dataclass(frozen=True)
class Entry:
    """One picture of a dataset. `masks`: (class name, mask path) of each row that has one; empty if clean.

    `labels`: the defect classes that its rows name, with a mask or, for classification, without.
    """

    image: str
    path: Path
    masks: tuple[tuple[str, Path], ...]
    group: str
    labels: frozenset[str] = frozenset()

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes that its rows name, sorted."""
        return tuple(sorted(self.labels | {name for name, _ in self.masks}))


@dataclass(frozen=True)
class Picture:
    """A picture in memory: `pixels` uint8 [H, W, C] prepared; `truth` uint8 [H, W] of class ids, 0 = clean."""

    entry: Entry
    pixels: UInt8
    truth: UInt8


def read_manifest(folder: Path, *, need_masks: bool = True) -> list[Entry]:
    """Read and check a dataset's manifest; DatasetError names the file and the row before hours are spent.

    `need_masks` is False for classification, which learns what a picture shows and not where.
    """
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise DatasetError(f"No dataset at {folder}: expected manifest.csv with the columns {', '.join(COLUMNS)}")
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = sorted(set(COLUMNS) - set(reader.fieldnames or ()))
            if missing:
                raise DatasetError(
                    f"{manifest}: expected the columns {', '.join(COLUMNS)}, missing {', '.join(missing)}"
                )
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{manifest} cannot be read as CSV in UTF-8: {error}") from error
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows, start=2):
        entry = _entry(folder, f"{manifest}, row {number}", row, need_masks=need_masks)
        known = entries.get(entry.image)
        if known is not None and known.group != entry.group:
            raise DatasetError(
                f"{manifest}, row {number}: {entry.image} is in group {entry.group!r}, and in {known.group!r} before; "
                "a picture shows one piece"
            )
        if known is not None:
            entry = replace(entry, masks=known.masks + entry.masks, labels=known.labels | entry.labels)
        entries[entry.image] = entry
    if not entries:
        raise DatasetError(f"{manifest} names no picture; expected at least one row")
    return list(entries.values())


def _entry(folder: Path, where: str, row: dict[str, str | None], *, need_masks: bool) -> Entry:
    image, mask, name, group = ((row.get(column) or "").strip() for column in COLUMNS)
    if not image or not name or not group:
        raise DatasetError(f"{where}: expected image, class and group, received {image!r}, {name!r}, {group!r}")
    path = folder / image
    if not path.is_file():
        raise DatasetError(f"{where}: the picture {path} is missing")
    if name.lower() in CLEAN:
        return Entry(image, path, (), group)
    if safe_name(name) != name:
        raise DatasetError(f"{where}: expected a class of letters, digits, _ and -, received {name!r}")
    if not mask and need_masks:
        raise DatasetError(f"{where}: the class {name} is a defect and has no mask; clean classes are Free, ok, good")
    if not mask:
        return Entry(image, path, (), group, frozenset({name}))
    if not (folder / mask).is_file():
        raise DatasetError(f"{where}: the mask {folder / mask} is missing")
    return Entry(image, path, ((name, folder / mask),), group, frozenset({name}))


def class_names(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return the defect classes of a dataset in the order in which they get their ids: sorted."""
    return tuple(sorted({name for entry in entries for name in entry.classes}))


def load_picture(entry: Entry, names: Sequence[str], steps: tuple[PreparingStep, ...], channels: int) -> Picture:
    """Read, check and prepare one picture; `names` in id order 1…K. Raises DatasetError naming the file."""
    try:
        raw = read_picture(entry.path)
    except SourceError as error:
        raise DatasetError(str(error)) from error
    truth: UInt8 = np.zeros(raw.shape[:2], np.uint8)
    for name, mask_path in entry.masks:
        if name not in names:
            raise DatasetError(f"{entry.path}: expected one of the classes {', '.join(names)}, received {name}")
        mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise DatasetError(f"{mask_path} is no picture that can be read; expected the mask of {entry.path}")
        if mask.shape != truth.shape:
            raise DatasetError(
                f"{mask_path}: expected {truth.shape[1]} x {truth.shape[0]} px as in {entry.path}, "
                f"received {mask.shape[1]} x {mask.shape[0]}"
            )
        truth[mask > 127] = names.index(name) + 1
    try:
        pixels, to_frame = prepare(raw, steps, channels)
    except ProductNotFoundError as error:
        raise DatasetError(f"{entry.path}: the product was not found: {error}") from error
    # a crop is a view that would keep the whole picture in memory
    return Picture(entry, np.ascontiguousarray(pixels), prepare_map(truth, to_frame, pixels.shape[:2]))


def dataset_sha256(entries: Iterable[Entry]) -> str:
    """Hash a dataset: the names and contents of its pictures and masks, in the order of their names."""
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.image):
        digest.update(f"{entry.image}\0{entry.group}\0{sha256_of(entry.path)}\0".encode())
        for name, mask in sorted(entry.masks):
            digest.update(f"{name}\0{sha256_of(mask)}\0".encode())
    return digest.hexdigest()
