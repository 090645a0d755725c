"""A dataset folder → COCO's JSON, YOLO's folders, or one mask of class ids per picture: as imports read them again.

Each is whole or absent. A defect is one 8-connected part of a class's mask.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.progress import track

from edge.errors import DatasetError, StoreError
from edge.files import replacing
from edge.opencv import cv2
from edge.records import UInt8
from trainer.datasets.dataset import IGNORE_MASK, Entry, class_names, read_manifest, truth_of
from trainer.datasets.masks import IGNORED, read_mask
from trainer.datasets.whole_folders import unwritable, whole_or_absent
from trainer.importing.grouping import GROUPS, groups_text
from trainer.importing.outlines import traced
from trainer.importing.pairing import read_whole, some, without_suffix
from trainer.importing.run_lengths import to_counts

_IMAGES = "images/"


@dataclass(frozen=True)
class Exported:
    """The outcome of an export. `ids`: classes by their numbers. `ignored`: pictures with pixels that are left out."""

    pictures: int
    defects: int
    ids: Mapping[int, str]
    ignored: int


@dataclass(frozen=True)
class _Read:
    """One picture: its size (height, width), its masks by class, uint8 [H, W], and what is ignored of it."""

    entry: Entry
    size_px: tuple[int, int]
    masks: Mapping[str, UInt8]
    ignored: UInt8


def _pictures(entries: Sequence[Entry], console: Console) -> Iterator[_Read]:
    for entry in track(entries, "exporting", console=console, transient=True, disable=not console.is_terminal):
        size = read_whole(entry.path).shape[:2]
        masks: dict[str, UInt8] = {}
        for name, path in entry.masks:
            mask = read_mask(path, entry.path, size)
            masks[name] = masks[name] | mask if name in masks else mask
        ignored: UInt8 = np.zeros(size, np.uint8)
        for path in entry.ignored:
            ignored |= read_mask(path, entry.path, size)
        yield _Read(entry, size, masks, ignored)


def write_coco(data: Path, target: Path, *, polygons: bool, console: Console) -> Exported:
    """Write a JSON file: a run-length encoded mask of each defect, or with `polygons` its outline.

    Pictures are named by their paths below `data`, and have a key `group`, which COCO does not know. An ignored region
    is an annotation with `ignore` and `iscrowd` 1.
    Raises DatasetError, StoreError.
    """
    entries = read_manifest(data)
    ids = {name: number for number, name in enumerate(class_names(entries), start=1)}
    if target.exists():
        raise StoreError(f"{target} exists, and exports do not overwrite. Name another file or remove it")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    ignored = 0
    for number, picture in enumerate(_pictures(entries, console), start=1):
        height, width = picture.size_px
        image = {"id": number, "file_name": picture.entry.image, "width": width, "height": height}
        images.append(image | {"group": picture.entry.group})
        for name in (each for each in ids if each in picture.masks):
            for part in _parts(picture.masks[name]):
                annotations.append(_annotation(len(annotations) + 1, number, ids[name], part, polygons=polygons))
        if picture.ignored.any():
            ignored += 1
            own = _annotation(
                len(annotations) + 1, number, min(ids.values(), default=1), picture.ignored, polygons=False
            )
            annotations.append(own | {"iscrowd": 1, "ignore": 1})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in (ids or {IGNORE_MASK: 1}).items()],
    }
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as unfinished:
            unfinished.write_text(json.dumps(content), encoding="utf-8")
    except OSError as error:
        raise unwritable(target, error) from error
    return Exported(len(images), len(annotations) - ignored, {number: name for name, number in ids.items()}, ignored)


def _annotation(number: int, image: int, category: int, mask: UInt8, *, polygons: bool) -> dict[str, Any]:
    height, width = mask.shape
    x, y, w, h = (int(v) for v in cv2.boundingRect(mask))
    runs = {"size": [height, width], "counts": to_counts(mask)}
    outlines = [[round(float(v), 2) for v in outline.reshape(-1)] for outline in traced(mask)] if polygons else runs
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": outlines,
        "area": int(np.count_nonzero(mask)),
        "bbox": [x, y, w, h],
        "iscrowd": 0,
    }


def _parts(mask: UInt8) -> Iterator[UInt8]:
    count, labels = cv2.connectedComponents((mask > 0).view(np.uint8), connectivity=8)
    for label in range(1, count):
        yield np.where(labels == label, np.uint8(255), np.uint8(0))


def write_yolo(data: Path, out: Path, console: Console) -> Exported:
    """Write `images/`, `labels/`, `data.yaml`, and `groups.csv`: an outline of each defect, and no ignored region.

    Raises DatasetError, StoreError.
    """
    entries = read_manifest(data)
    names = class_names(entries)
    _refuse_twins(entries)
    defects = ignored = 0
    with whole_or_absent(out, "exporting") as folder:
        for picture in _pictures(entries, console):
            ignored += bool(picture.ignored.any())
            lines = []
            for number, name in enumerate(names):
                for outline in traced(picture.masks[name]) if name in picture.masks else ():
                    shares = (outline / picture.size_px[::-1]).reshape(-1)
                    lines.append(" ".join((str(number), *(f"{v:.8f}" for v in shares))))
            defects += len(lines)
            name = picture.entry.image.removeprefix(_IMAGES)
            _copied(picture.entry.path, folder / "images" / name)
            _written(folder / "labels" / f"{without_suffix(name)}.txt", "".join(f"{line}\n" for line in lines).encode())
        content = {"train": "images", "val": "images", "names": dict(enumerate(names))}
        _written(folder / "data.yaml", yaml.safe_dump(content, sort_keys=False).encode())
        _write_groups(folder, entries)
    return Exported(len(entries), defects, dict(enumerate(names)), ignored)


def write_id_masks(data: Path, out: Path, console: Console) -> Exported:
    """Write a grey PNG per picture whose values are class ids, 0 = clean, 255 = ignored; and `groups.csv`.

    The one of the later row counts where classes overlap, as in training. Raises DatasetError, StoreError.
    """
    entries = read_manifest(data)
    names = class_names(entries)
    _refuse_twins(entries)
    defects = ignored = 0
    with whole_or_absent(out, "exporting") as folder:
        for picture in _pictures(entries, console):
            truth = truth_of(picture.entry, names, picture.size_px)
            ignored += bool((truth == IGNORED).any())
            for number in range(1, len(names) + 1):
                defects += cv2.connectedComponents((truth == number).view(np.uint8), connectivity=8)[0] - 1
            _, encoded = cv2.imencode(".png", truth)
            name = without_suffix(picture.entry.image.removeprefix(_IMAGES))
            _written(folder / f"{name}.png", encoded.tobytes())
        _write_groups(folder, entries)
    return Exported(len(entries), defects, dict(enumerate(names, start=1)), ignored)


def _write_groups(folder: Path, entries: Sequence[Entry]) -> None:
    groups = {entry.image.removeprefix(_IMAGES): entry.group for entry in entries}
    _written(folder / GROUPS, groups_text(groups).encode())


def _refuse_twins(entries: Sequence[Entry]) -> None:
    """Raise DatasetError for pictures whose labels would have one name."""
    stems = Counter(without_suffix(entry.image) for entry in entries)
    if twins := [entry.image for entry in entries if stems[without_suffix(entry.image)] > 1]:
        raise DatasetError(
            f"{some(twins)} differ by their suffix only, and their labels would have one name. Rename one"
        )


def _copied(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise unwritable(target, error) from error


def _written(target: Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        raise unwritable(target, error) from error
