"""A dataset folder that has a manifest.csv already → the same, checked and made uniform; several become one.

Several folders may label the same pictures with different classes, such as red and blue drawings imported apart.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from edge.bundle import sha256_of
from edge.errors import DatasetError
from trainer.datasets.dataset import Entry, read_manifest, read_mask
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelSource
from trainer.importing.mask_folders import binary
from trainer.importing.pairing import read_whole


def read_manifests(folders: Sequence[Path]) -> LabelSource:
    """Read the datasets in `folders`, whose pictures of one name must be the same picture. Raises DatasetError."""
    by_name: dict[str, list[tuple[Path, Entry]]] = defaultdict(list)
    for folder in folders:
        for entry in read_manifest(folder, need_masks=False):
            by_name[_below_images(entry.image)].append((folder, entry))
    rows = {folder: _row_numbers(folder) for folder in folders}
    drawn_by = {folder: _annotators(folder) for folder in folders}
    return LabelSource(len(by_name), _pictures(by_name, rows, drawn_by))


def _below_images(image: str) -> str:
    """Name a picture below `images/`, wherever it lies in its own dataset."""
    return "/".join(part for part in PurePosixPath(image.removeprefix("images/")).parts if part not in {"..", "/"})


def _row_numbers(folder: Path) -> dict[str, int]:
    """Return the first row of each picture, for messages; the manifest has been read and found whole."""
    numbers: dict[str, int] = {}
    with (folder / "manifest.csv").open(newline="", encoding="utf-8-sig") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            numbers.setdefault(row["image"].strip(), number)
    return numbers


def _annotators(folder: Path) -> dict[tuple[str, str], str]:
    """Return who drew each (picture, class), where the manifest has a column for it; several, with + between them."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    with (folder / "manifest.csv").open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            annotator = (row.get("annotator") or "").strip()
            found[row["image"].strip(), row["class"].strip()] |= {annotator} - {""}
    return {key: "+".join(sorted(who)) for key, who in found.items()}


def _pictures(
    by_name: Mapping[str, list[tuple[Path, Entry]]],
    rows: Mapping[Path, Mapping[str, int]],
    drawn_by: Mapping[Path, Mapping[tuple[str, str], str]],
) -> Iterator[LabelledPicture]:
    for name, found in by_name.items():
        (folder, first), *others = found
        where = f"{folder / 'manifest.csv'}, row {rows[folder][first.image]}"
        pixels = read_whole(first.path)
        shape_px = (pixels.shape[0], pixels.shape[1])
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
                shape_px,
                f"{in_folder / 'manifest.csv'}, row {rows[in_folder][entry.image]}",
                drawn_by[in_folder],
            )
        )
        declared_clean = any(not entry.classes for _, entry in found)
        yield LabelledPicture(name, first.path, shape_px, findings, where, declared_clean, first.group)


def _findings(
    entry: Entry, shape_px: tuple[int, int], where: str, drawn_by: Mapping[tuple[str, str], str]
) -> Iterator[ClassMask]:
    for name, path in entry.masks:
        try:
            mask = binary(read_mask(path, entry.path, shape_px), path)
        except DatasetError as error:
            raise DatasetError(f"{where}: {error}") from error
        yield ClassMask(name, mask, str(path), drawn_by[entry.image, name])
    for name in sorted(entry.labels - {name for name, _ in entry.masks}):
        yield ClassMask(name, None, where, drawn_by[entry.image, name])
