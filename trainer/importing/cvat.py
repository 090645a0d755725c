"""CVAT's exports: "CVAT for images 1.1" (XML), and "Segmentation mask 1.1" (labelmap.txt and coloured masks)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from edge.errors import DatasetError
from edge.pictures import as_text
from trainer.datasets.class_naming import is_clean
from trainer.datasets.dataset import IGNORE_MASK
from trainer.importing.annotations import (
    Area,
    LabelChoices,
    Line,
    PictureLabels,
    Runs,
    Shape,
    label_source,
    names_of,
)
from trainer.importing.label_xml import read_label_xml
from trainer.importing.labelled import LabelSource
from trainer.importing.mask_folders import read_masks
from trainer.importing.outlines import box_corners, ellipse_corners
from trainer.importing.pairing import (
    OF_PICTURES,
    below,
    files_below,
    folder_of_masks,
    folders_called,
    has_pictures,
    source_folder,
)

LABEL_MAP = "labelmap.txt"
_BYTES_AT_MOST = 256_000_000
_MASKS = "SegmentationClass"
_BACKGROUND = "background"
_VOID = (224, 224, 192)  # the value that Pascal VOC's masks leave out
_SIDE_AT_MOST = 1 << 20


def read_cvat(source: Path, images: Path | None, choices: LabelChoices) -> LabelSource:
    """Read an XML file, all XML files of a folder, or labelmap.txt or a folder with it.

    `images`: the folder with the pictures; else the source's own, or the one above it. Raises DatasetError.
    """
    if source.is_dir() and (source / LABEL_MAP).is_file():
        if both := sorted(source.glob("*.xml")):
            raise DatasetError(
                f"{source}: expected {LABEL_MAP} or XML, received both. Give {source / LABEL_MAP} or {both[0]}"
            )
        return _coloured(source, images, choices)
    if source.is_file() and source.name == LABEL_MAP:
        return _coloured(source.parent, images, choices)
    files = [source] if source.is_file() else list(files_below(source, (".xml",)).values())
    folder = images or source_folder(source)
    labels = [each for path in files for each in _labels_of(path, below(path.parent, folder))]
    return label_source(labels, folder, choices, lists_pictures=True)


def _labels_of(path: Path, folder: str) -> list[PictureLabels]:
    root = read_label_xml(path, "annotations", "CVAT", _BYTES_AT_MOST)
    if root.find("track") is not None:
        raise DatasetError(
            f"{path}: expected labels of pictures, received tracks of a video. Export CVAT for images 1.1"
        )
    found = []
    for number, image in enumerate(root.iterfind("image"), start=1):
        where = f"{path}, image {number}"
        name = image.get("name", "")
        size = (int(_number(image, "height", where)), int(_number(image, "width", where)))
        ordered = sorted(image, key=lambda item: _z_order(item, where))
        shapes = [each for item in ordered for each in _shapes(item, f"{where} ({as_text(name)}), {item.tag}")]
        inside = "images" if folder in {"", "."} else f"{folder}/images"
        subset = [f"{inside}/{image.get('subset', '')}"] if image.get("subset") else []  # of a whole project
        found.append(PictureLabels(names_of(name, *subset, folder, inside), size, tuple(shapes), where))
    return found


def _z_order(item: Element, where: str) -> float:
    return _number(item, "z_order", where) if item.get("z_order") else 0.0


def _shapes(item: Element, where: str) -> Sequence[Shape]:
    name = item.get("label", "")
    if not name:
        raise DatasetError(f"{where}: expected a label, received none")
    return [Shape(name, what, where) for what in _areas(item, where)]


def _areas(item: Element, where: str) -> Sequence[Area | Runs | Line | None]:
    turned = _number(item, "rotation", where) if item.get("rotation") else 0.0
    match item.tag:
        case "polygon":
            found: Sequence[Area | Runs | Line | None] = [Area((_points(item, where),))]
        case "box":
            left, top, right, bottom = (_number(item, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
            found = [Area((box_corners(left, top, right - left, bottom - top, turned),))]
        case "ellipse":
            x, y, radius_x, radius_y = (_number(item, key, where) for key in ("cx", "cy", "rx", "ry"))
            found = [Area((ellipse_corners(x, y, radius_x, radius_y, turned),))]
        case "mask":
            found = [_mask(item, where)]
        case "polyline":
            found = [Line(_points(item, where))]
        case "points":
            found = [Line(point[None]) for point in _points(item, where)]
        case "tag":
            found = [None]
        case _:
            raise DatasetError(
                f"{where}: expected a polygon, box, ellipse, mask, polyline, points or tag, received {item.tag}. Take "
                "it out in CVAT, or draw it as one of these"
            )
    return found


def _mask(item: Element, where: str) -> Runs:
    """Read a mask: counts along the rows of its box."""
    left, top, width, height = (round(_number(item, key, where)) for key in ("left", "top", "width", "height"))
    if min(width, height) < 1 or max(width, height) > _SIDE_AT_MOST:
        raise DatasetError(f"{where}: expected a width and a height from 1 on, received {width} and {height}")
    words = [word.strip() for word in item.get("rle", "").split(",")]
    if not all(word.isascii() and word.isdecimal() and len(word) <= 12 for word in words):
        raise DatasetError(f"{where}: expected whole numbers with commas between them in rle")
    return Runs([int(word) for word in words], (height, width), (left, top), along_rows=True)


def _points(item: Element, where: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    pairs = [pair.split(",") for pair in item.get("points", "").split(";") if pair.strip()]
    try:
        points = np.array([[float(value) for value in pair] for pair in pairs], np.float64)
    except ValueError as error:
        raise DatasetError(f"{where}: expected points as x,y;x,y: {error}") from error
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise DatasetError(f"{where}: expected points as x,y;x,y, received {item.get('points', '')[:40]!r}")
    return points


def _number(item: Element, key: str, where: str) -> float:
    text = item.get(key, "")
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) <= _SIDE_AT_MOST:
        raise DatasetError(f"{where}: expected a number of px as {key}, received {text[:40]!r}")
    return value


def _coloured(folder: Path, images: Path | None, choices: LabelChoices) -> LabelSource:
    colours = read_label_map(folder / LABEL_MAP)
    inside = folders_called(folder, OF_PICTURES)
    pictures = images or (inside[0] if len(inside) == 1 else None)
    if pictures is None or not has_pictures(pictures):
        raise DatasetError(f"{folder}: expected the pictures in JPEGImages or images. Give their folder with --images")
    source = read_masks(
        pictures,
        folder / _MASKS if (folder / _MASKS).is_dir() else folder_of_masks(folder) or folder / _MASKS,
        "",
        colours={_VOID: IGNORE_MASK, **colours},
        labels_lie=choices.labels_lie,
        missing_is_clean=choices.missing_is_clean,
    )
    return replace(source, names=())  # a project has classes that no picture shows


def read_label_map(path: Path) -> dict[tuple[int, int, int], str]:
    """Read `label:r,g,b:parts:actions` lines: colour → class; black is the background. Raises DatasetError."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    found: dict[tuple[int, int, int], str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        levels = rest.partition(":")[0].split(",")
        if len(levels) != 3 or not all(each.strip().isdecimal() and int(each) <= 255 for each in levels):
            raise DatasetError(f"{path}, line {number}: expected label:r,g,b::, received {as_text(line[:40])!r}")
        colour = (int(levels[0]), int(levels[1]), int(levels[2]))
        if colour in found:
            raise DatasetError(f"{path}, line {number}: {found[colour]} has this colour already; expected each once")
        if any(colour) or not (name == _BACKGROUND or is_clean(name)):
            found[colour] = "ok" if name == _BACKGROUND else name
    if not found:
        raise DatasetError(f"{path} names no class; expected lines of label:r,g,b::")
    return found
