"""A dataset folder that has a manifest.csv already → the same, checked and made uniform; several become one.

Several folders may label the same pictures with different classes, such as red and blue drawings imported apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from edge.bundle import sha256_of
from edge.errors import DatasetError
from edge.pictures.tables import TableRow, below, inside, read_table
from trainer.datasets.class_naming import is_clean
from trainer.datasets.dataset import ANNOTATOR, COLUMNS, Entry, read_manifest
from trainer.datasets.masks import read_mask
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelSource, one_by_one
from trainer.importing.pairing import read_file


def read_manifests(folders: Sequence[Path]) -> LabelSource:
    """Read the datasets in `folders`, whose pictures of one name must be the same picture. Raises DatasetError."""
    by_name: dict[str, list[tuple[Path, Entry]]] = defaultdict(list)
    for folder in folders:
        for entry in read_manifest(folder, need_masks=False, any_names=True):
            by_name[_below_images(entry.image)].append((folder, entry))
    rows = {folder: _row_numbers(folder) for folder in folders}
    drawn_by = {folder: _annotators(folder) for folder in folders}
    make = _labelling(rows, drawn_by)
    clean = {folder: _masks_of_clean(folder) for folder in folders}

    def checked(name: str, found: list[tuple[Path, Entry]]) -> LabelledPicture:
        made = make(name, found)
        for folder, entry in found:
            for row, mask in clean[folder].get(entry.image, ()):
                _refuse_drawn(folder, row, mask, entry, made.shape_px)
        return made

    return LabelSource(len(by_name), one_by_one(by_name.items(), checked))


def _below_images(image: str) -> str:
    """Name a picture below `images/`, wherever it lies in its own dataset."""
    return "/".join(part for part in PurePosixPath(image.removeprefix("images/")).parts if part not in {"..", "/"})


def _rows(folder: Path) -> tuple[TableRow, ...]:
    """Return the rows of a manifest that has been read and found whole."""
    return read_table(folder / "manifest.csv", COLUMNS).rows


def _row_numbers(folder: Path) -> dict[str, int]:
    """Return the first row of each picture, for messages."""
    numbers: dict[str, int] = {}
    for row in _rows(folder):
        numbers.setdefault(below(folder, row.values["image"]), row.number)
    return numbers


def _annotators(folder: Path) -> dict[tuple[str, str], str]:
    """Return who drew each (picture, class), where the manifest has a column for it; several, with + between them."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in _rows(folder):
        found[below(folder, row.values["image"]), row.values["class"]] |= {row.values.get(ANNOTATOR, "")} - {""}
    return {key: "+".join(sorted(who)) for key, who in found.items()}


def _masks_of_clean(folder: Path) -> dict[str, list[tuple[TableRow, str]]]:
    """Return the masks that rows of clean classes name, by picture: they are to be empty."""
    found: dict[str, list[tuple[TableRow, str]]] = defaultdict(list)
    for row in _rows(folder):
        if is_clean(row.values["class"]) and row.values["mask"]:
            found[below(folder, row.values["image"])].append((row, row.values["mask"]))
    return found


def _refuse_drawn(folder: Path, row: TableRow, mask: str, entry: Entry, shape_px: tuple[int, int]) -> None:
    """Raise DatasetError where a picture that is called clean has a mask with pixels."""
    path = inside(folder, mask)
    if path.is_file() and (drawn := int(np.count_nonzero(read_mask(path, entry.path, shape_px)))):
        raise DatasetError(
            f"{folder / 'manifest.csv'}, row {row.number}: {entry.image} is {row.values['class']}, and its mask has "
            f"{drawn} px. Name the class of the defect, or leave the mask out"
        )


def _labelling(
    rows: Mapping[Path, Mapping[str, int]], drawn_by: Mapping[Path, Mapping[tuple[str, str], str]]
) -> Callable[[str, list[tuple[Path, Entry]]], LabelledPicture]:
    def make(name: str, found: list[tuple[Path, Entry]]) -> LabelledPicture:
        (folder, first), *others = found
        where = f"{folder / 'manifest.csv'}, row {rows[folder][first.image]}"
        file, _ = read_file(first.path)
        for other_folder, other in others:
            if sha256_of(other.path) != sha256_of(first.path) or other.group != first.group:
                raise DatasetError(
                    f"{other_folder / 'manifest.csv'}, row {rows[other_folder][other.image]}: expected the picture and "
                    f"the group that {first.path} has ({first.group}), received {other.path} in {other.group}"
                )
        findings = tuple(
            finding
            for in_folder, entry in found
            for finding in _findings(
                entry,
                file.shape_px,
                f"{in_folder / 'manifest.csv'}, row {rows[in_folder][entry.image]}",
                drawn_by[in_folder],
            )
        )
        declared_clean = any(not entry.classes for _, entry in found)
        return LabelledPicture(
            name,
            first.path,
            file.shape_px,
            findings,
            where,
            declared_clean,
            first.group,
            file.notes(by_labels=True if findings else None),
            file.greatest,
        )

    return make


def _findings(
    entry: Entry, shape_px: tuple[int, int], where: str, drawn_by: Mapping[tuple[str, str], str]
) -> Iterator[ClassMask]:
    for name, path in entry.all_masks:
        try:
            mask = read_mask(path, entry.path, shape_px)
        except DatasetError as error:
            raise DatasetError(f"{where}: {error}") from error
        yield ClassMask(name, mask, str(path), drawn_by.get((entry.image, name), ""))
    for name in sorted(entry.labels - {name for name, _ in entry.masks}):
        yield ClassMask(name, None, where, drawn_by[entry.image, name])
