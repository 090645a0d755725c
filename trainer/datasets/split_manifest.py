"""`split.csv` of a bundle: which picture was in which part, with the hash of every file, masks included."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.bundle import sha256_of
from edge.errors import BundleError, StoreError
from trainer.datasets.dataset import Entry, content_sha256
from trainer.datasets.splitting import PARTS, Split

COLUMNS = ("image", "class", "group", "split", "sha256", "masks_sha256")
_CLEAN = "clean"


@dataclass(frozen=True)
class SplitRow:
    """One picture as it was split. `sha256` of its file; `masks`: (class, sha256 of the mask) in the manifest's order.

    `masks` is None where the bundle was written before masks were hashed.
    """

    image: str
    classes: tuple[str, ...]
    group: str
    part: Split
    sha256: str
    masks: tuple[tuple[str, str], ...] | None


def write_split(path: Path, entries: Sequence[Entry], parts: Mapping[str, Split]) -> None:
    """Write `split.csv`: a row per picture; masks as `class:sha256`, separated by blanks.

    Raises DatasetError where a picture or mask cannot be read, StoreError.
    """
    rows = [_written(entry, parts[entry.image]) for entry in entries]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}. Free some space or choose another place"
        ) from error


def _written(entry: Entry, part: Split) -> tuple[str, ...]:
    masks = " ".join(f"{name}:{content_sha256(mask)}" for name, mask in entry.all_masks)
    kinds = "+".join(entry.classes) or _CLEAN
    return entry.image, kinds, entry.group, part, content_sha256(entry.path), masks


def append_split(path: Path, learned: Iterable[Entry]) -> None:
    """Add pictures that were learned from to a `split.csv`. Raises DatasetError, OSError."""
    rows = [_written(one, "train") for one in learned]
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def read_split(path: Path) -> list[SplitRow]:
    """Read `split.csv`, also one without hashes of masks. Raises BundleError naming the file and the row."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = sorted(set(COLUMNS[:-1]) - set(reader.fieldnames or ()))
            if missing:
                raise BundleError(f"{path}: expected the columns {', '.join(COLUMNS)}, missing {', '.join(missing)}")
            return [_row(f"{path}, row {number}", row) for number, row in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BundleError(f"{path} cannot be read: {error}. Train the bundle again") from error


def _row(where: str, row: dict[str, str | None]) -> SplitRow:
    image, kinds, group, part, sha256 = (row[column] or "" for column in COLUMNS[:-1])
    if part not in PARTS or not image or not sha256:
        raise BundleError(f"{where}: expected an image, one of {', '.join(PARTS)} and a sha256, received {part!r}")
    hashed = row.get(COLUMNS[-1])
    masks = None if hashed is None else tuple(_mask(where, item) for item in hashed.split())
    classes = () if kinds == _CLEAN else tuple(kinds.split("+"))
    return SplitRow(image, classes, group, part, sha256, masks)


def _mask(where: str, item: str) -> tuple[str, str]:
    name, colon, sha256 = item.partition(":")
    if not colon:
        raise BundleError(f"{where}: expected masks as class:sha256, received {item!r}")
    return name, sha256


def changed_since(rows: Iterable[SplitRow], entries: Sequence[Entry]) -> dict[str, str]:
    """Tell what became of the pictures of a split, by image: removed, another picture, or other masks; nothing else."""
    now = {entry.image: entry for entry in entries}
    found = {}
    for row in rows:
        entry = now.get(row.image)
        if entry is None:
            found[row.image] = "is no longer in the dataset"
        elif sha256_of(entry.path) != row.sha256:
            found[row.image] = "is another picture now"
        elif row.masks is not None and sorted(row.masks) != sorted((n, sha256_of(m)) for n, m in entry.all_masks):
            found[row.image] = "has other masks now"
    return found
