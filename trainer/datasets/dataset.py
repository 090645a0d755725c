"""A dataset folder with `manifest.csv` → checked entries, and prepared pixels with their class maps.

`manifest.csv` has the columns image, mask, class, group. One picture may have several rows: what a row's mask says is
defective (trainer/datasets/masks.py) gets its class. `Free`, `ok` and `good`, in any case, are clean; their mask may be
left out. A column `ignore_mask` may name masks of what is neither learned from nor judged, on rows of any class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge.bundle import safe_name, sha256_of
from edge.errors import DatasetError, ProductNotFoundError, SourceError
from edge.pictures import read_picture
from edge.pictures.tables import inside, read_table
from edge.preparing import PreparingStep, depth_bits, prepare, prepare_map
from edge.records import UInt8
from edge.wording import counted
from trainer.datasets.masks import IGNORED, read_mask
from trainer.recipe.good_parts_settings import ANOMALY

CLEAN = frozenset({"free", "ok", "good"})
COLUMNS = ("image", "mask", "class", "group")
ANNOTATOR = "annotator"
IGNORE_MASK = "ignore_mask"
# Names in use already: all classes together, the background, a picture without defects, an ignored region.
RESERVED = frozenset({"all", "background", "clean", IGNORE_MASK})


@dataclass(frozen=True)
class Entry:
    """One picture of a dataset. `masks`: (class name, mask path) of each row that has one; empty if clean.

    `labels`: the defect classes that its rows name, with a mask or, for classification, without. `ignored`: masks of
    what is neither learned from nor judged.
    """

    image: str
    path: Path
    masks: tuple[tuple[str, Path], ...]
    group: str
    labels: frozenset[str] = frozenset()
    ignored: tuple[Path, ...] = ()

    @property
    def all_masks(self) -> tuple[tuple[str, Path], ...]:
        """The masks of its classes, and those of what is ignored under the name `ignore_mask`."""
        return (*self.masks, *((IGNORE_MASK, path) for path in self.ignored))

    @property
    def classes(self) -> tuple[str, ...]:
        """The defect classes that its rows name, sorted."""
        return tuple(sorted(self.labels | {name for name, _ in self.masks}))


@dataclass(frozen=True)
class Picture:
    """A picture in memory.

    `pixels`: uint8 [H, W, C], prepared. `truth`: uint8 [H, W] of class ids, 0 = clean, 255 = ignored.
    """

    entry: Entry
    pixels: UInt8
    truth: UInt8


def find_manifest(folder: Path) -> Path:
    """Return the manifest.csv of a dataset folder. Raises DatasetError where there is none."""
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise DatasetError(f"No dataset at {folder}: expected manifest.csv with the columns {', '.join(COLUMNS)}")
    return manifest


def read_manifest(folder: Path, *, need_masks: bool = True, any_names: bool = False) -> list[Entry]:
    """Read and check a dataset's manifest; DatasetError names the file and the row before hours are spent.

    `need_masks` is False for classification, which learns what a picture shows and not where. `any_names`: classes may
    be called anything, for they are to be renamed.
    """
    manifest = find_manifest(folder)
    try:
        rows = read_table(manifest, COLUMNS).rows
    except SourceError as error:
        raise DatasetError(str(error)) from error
    entries: dict[str, Entry] = {}
    for row in rows:
        where = f"{manifest}, row {row.number}"
        if row.more:
            raise DatasetError(
                f"{where}: it has more values than there are columns. Quote values that hold the separator"
            )
        entry = _entry(folder, where, row.values, need_masks=need_masks, any_names=any_names)
        known = entries.get(entry.image)
        if known is not None and known.group != entry.group:
            raise DatasetError(
                f"{where}: {entry.image} is in group {entry.group!r}, and in {known.group!r} before; "
                "a picture shows one piece"
            )
        if known is not None and bool(known.classes) != bool(entry.classes):
            raise DatasetError(
                f"{where}: {entry.image} is clean in one row and shows {', '.join(known.classes or entry.classes)} in "
                "another; expected one of both. Remove the wrong row"
            )
        if known is not None:
            entry = replace(
                entry,
                masks=known.masks + entry.masks,
                labels=known.labels | entry.labels,
                ignored=tuple(dict.fromkeys(known.ignored + entry.ignored)),
            )
        entries[entry.image] = entry
    if not entries:
        raise DatasetError(f"{manifest} names no picture; expected at least one row")
    if not any_names:
        _refuse_look_alikes(manifest, class_names(entries.values()))
    return list(entries.values())


def _refuse_look_alikes(manifest: Path, names: Sequence[str]) -> None:
    """Raise DatasetError for classes that differ in capitals only."""
    known: dict[str, str] = {}
    for name in names:
        if (before := known.setdefault(name.casefold(), name)) != name:
            raise DatasetError(
                f"{manifest}: the classes {before} and {name} differ in capitals only; expected one of them, or names "
                "that differ more. Mend the manifest, or `linewatch-train import manifest` with --rename"
            )


def _entry(folder: Path, where: str, row: Mapping[str, str], *, need_masks: bool, any_names: bool) -> Entry:
    image, mask, name, group = (row.get(column, "") for column in COLUMNS)
    if not image or not name or not group:
        raise DatasetError(f"{where}: expected image, class and group, received {image!r}, {name!r}, {group!r}")
    path = _named_file(folder, where, image, "picture")
    image = path.relative_to(folder).as_posix()
    left_out = row.get(IGNORE_MASK, "")
    ignored = (_named_file(folder, where, left_out, "ignore_mask"),) if left_out else ()
    if name.lower() in CLEAN:
        return Entry(image, path, (), group, ignored=ignored)
    if safe_name(name) != name and not any_names:
        raise DatasetError(f"{where}: expected a class of letters, digits, _ and -, received {name!r}")
    if not mask and need_masks:
        raise DatasetError(f"{where}: the class {name} is a defect and has no mask; clean classes are Free, ok, good")
    if not mask:
        return Entry(image, path, (), group, frozenset({name}), ignored)
    masks = ((name, _named_file(folder, where, mask, "mask")),)
    return Entry(image, path, masks, group, frozenset({name}), ignored)


def _named_file(folder: Path, where: str, name: str, kind: str) -> Path:
    try:
        path = inside(folder, name)
    except SourceError as error:
        raise DatasetError(f"{where}: {error}") from error
    if not path.is_file():
        raise DatasetError(f"{where}: the {kind} {path} is missing")
    return path


def read_judged(folder: Path, *, some_masks: bool = False) -> tuple[list[Entry], bool]:
    """Read what may have labels alone: the entries, and whether these alone can judge. Raises DatasetError.

    A defect without a mask is a mistake where others have one, and is named. With `some_masks` it is none: labels judge
    them all.
    """
    entries = read_manifest(folder, need_masks=False)
    without_masks = [bool(entry.labels) and not entry.masks for entry in entries]
    if any(without_masks) and (some_masks or not any(entry.masks for entry in entries)):
        return entries, True
    return read_manifest(folder), False


def as_anomaly(entry: Entry) -> Entry:
    """Return an entry whose defects, whatever their classes, are of the one class `anomaly`."""
    masks = tuple((ANOMALY, path) for _, path in entry.masks)
    return replace(entry, masks=masks, labels=frozenset({ANOMALY}) if entry.classes else frozenset())


def class_names(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return the defect classes of a dataset in the order in which they get their ids: sorted."""
    return tuple(sorted({name for entry in entries for name in entry.classes}))


def load_picture(entry: Entry, names: Sequence[str], steps: tuple[PreparingStep, ...], channels: int) -> Picture:
    """Read, check and prepare one picture; `names` in id order 1…K. Raises DatasetError naming the file.

    A picture whose class has no mask (classification) gets that class's id everywhere.
    """
    raw, truth = load_unprepared(entry, names, steps)
    try:
        pixels, to_frame = prepare(raw, steps, channels)
    except ProductNotFoundError as error:
        raise DatasetError(f"{entry.path}: the product was not found: {error}") from error
    # a crop is a view that would keep the whole picture in memory
    return Picture(entry, np.ascontiguousarray(pixels), prepare_map(truth, to_frame, pixels.shape[:2]))


def load_unprepared(entry: Entry, names: Sequence[str], steps: tuple[PreparingStep, ...]) -> tuple[UInt8, UInt8]:
    """Read one picture as a camera gives it, uint8 [H, W, 3], and its truth, uint8 [H, W] of class ids.

    `steps` say how deep its pixels are. Raises DatasetError naming the file.
    """
    try:
        raw = read_picture(entry.path, depth_bits(steps))
    except SourceError as error:
        raise DatasetError(str(error)) from error
    return raw, truth_of(entry, names, (raw.shape[0], raw.shape[1]))


def check_files(
    entries: Iterable[Entry], names: Sequence[str], steps: tuple[PreparingStep, ...], channels: int
) -> None:
    """Load pictures as `load_picture` does, and keep none; for what is needed only when hours are spent.

    Raises DatasetError naming the file.
    """
    for entry in entries:
        load_picture(entry, names, steps, channels)


def truth_of(entry: Entry, names: Sequence[str], shape_px: tuple[int, int]) -> UInt8:
    """Lay the masks of a picture on one another: uint8 [H, W] of class ids, 0 = clean, 255 = ignored.

    `names` in id order 1…K; `shape_px`: (height, width). Raises DatasetError naming the file.
    """
    for name in entry.classes:
        if name not in names:
            raise DatasetError(f"{entry.path}: expected one of the classes {', '.join(names)}, received {name}")
    if len(names) >= IGNORED:
        raise DatasetError(f"{entry.path}: expected at most {IGNORED - 1} classes, received {len(names)}")
    truth: UInt8 = np.zeros(shape_px, np.uint8)
    without_mask = sorted(entry.labels - {name for name, _ in entry.masks})
    if without_mask and len(entry.classes) > 1:
        raise DatasetError(
            f"{entry.path} is labelled {', '.join(entry.classes)}, and {', '.join(without_mask)} without a mask: a "
            "picture whose class has no mask can have one class only. Keep one of its rows, or give masks"
        )
    if without_mask:
        truth[:] = names.index(without_mask[0]) + 1
    for name, mask_path in entry.masks:
        truth[read_mask(mask_path, entry.path, shape_px) > 0] = names.index(name) + 1
    for mask_path in entry.ignored:
        truth[read_mask(mask_path, entry.path, shape_px) > 0] = IGNORED
    return truth


def check_classes(pictures: Iterable[Picture], names: Sequence[str]) -> tuple[str, ...]:
    """Look before hours are spent whether each class has pixels at all; `names` in id order 1…K.

    Raises DatasetError for a class of which no picture has a pixel. Returns a warning for each class of which some
    pictures have none: they are learned as clean, or as what lies over it.
    """
    shown = dict.fromkeys(names, 0)
    bare: dict[str, list[str]] = {name: [] for name in names}
    for picture in pictures:
        pixels = np.bincount(picture.truth.reshape(-1), minlength=len(names) + 1)
        for class_id, name in enumerate(names, start=1):
            if pixels[class_id]:
                shown[name] += 1
            elif name in picture.entry.classes:
                bare[name].append(picture.entry.image)
    for name in names:
        if not shown[name]:
            raise DatasetError(
                f"The class {name} cannot be learned: expected pictures that show it, received "
                f"{_named_or_none(bare[name])}. A later row covers an earlier one. Mend the masks, or remove the "
                "rows of this class"
            )
    return tuple(
        f"{len(images)} of {counted(len(images) + shown[name], 'picture')} of {name} have no pixel of it in "
        f"their masks: "
        f"{_some(images)}"
        for name, images in bare.items()
        if images
    )


def _named_or_none(images: Sequence[str]) -> str:
    return f"{len(images)} whose masks have no pixel of it: {_some(images)}" if images else "none"


def _some(images: Sequence[str]) -> str:
    return ", ".join(images[:3]) + (f" and {len(images) - 3} more" if len(images) > 3 else "")


def content_sha256(path: Path) -> str:
    """Hash a picture or mask of a dataset. Raises DatasetError naming the file."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}. Look at its rights and at the disk") from error


def dataset_sha256(entries: Iterable[Entry]) -> str:
    """Hash a dataset: its pictures' names and contents, and their masks or labels, in the order of their names.

    Raises DatasetError naming a file that cannot be read.
    """
    digest = hashlib.sha256()
    for entry in sorted(entries, key=lambda entry: entry.image):
        digest.update(f"{entry.image}\0{entry.group}\0{content_sha256(entry.path)}\0".encode())
        for name, mask in sorted(entry.all_masks):
            digest.update(f"{name}\0{content_sha256(mask)}\0".encode())
        for name in sorted(entry.labels - {name for name, _ in entry.masks}):
            digest.update(f"{name}\0".encode())
    return digest.hexdigest()
