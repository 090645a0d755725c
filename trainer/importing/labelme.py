"""labelme's JSON, a file per picture: polygons, boxes, circles, masks; the picture beside it, or embedded."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from edge.errors import DatasetError, StoreError
from edge.pictures import SUFFIXES, NotReadableError, as_text, decode
from edge.records import UInt8
from edge.wording import counted
from trainer.datasets.dataset import IGNORE_MASK
from trainer.datasets.masks import plane_of
from trainer.importing.annotations import (
    Area,
    LabelChoices,
    Line,
    PictureLabels,
    Pixels,
    Shape,
    label_source,
    names_of,
)
from trainer.importing.label_json import Node, read_label_json
from trainer.importing.labelled import LabelSource
from trainer.importing.outlines import box_corners, ellipse_corners
from trainer.importing.pairing import below, files_below, has_pictures, some, source_folder

_What = Area | Pixels | Line
_IGNORED = "__ignore__"  # the label that labelme's own exports write as 255


def is_labelme(root: Node) -> bool:
    """Tell whether a JSON file looks like labelme's."""
    return isinstance(root.value, dict) and {"shapes", "imagePath"} <= root.value.keys()


def read_labelme(source: Path, images: Path | None, choices: LabelChoices, scratch: Path) -> LabelSource:
    """Read the JSON files of a folder and its subfolders, or one of them.

    Other JSON is left out and told. `images`: the folder with the pictures; else the source's own, or the one above it.
    Pictures embedded in the files are written into `scratch` where neither has any. That is an empty folder that must
    last as long as they are wanted. Raises DatasetError.
    """
    told: list[str] = []
    files = {source.name: source} if source.is_file() else files_below(source, (".json",), told)
    roots = {name: read_label_json(path) for name, path in files.items()}
    wanted = {name: root for name, root in roots.items() if is_labelme(root)}
    if not wanted:
        raise DatasetError(f"{source}: expected JSON with shapes and imagePath, as labelme has it")
    if others := [name for name in files if name not in wanted]:
        told.append(f"left out: {counted(len(others), 'JSON file')} of another kind: {', '.join(others[:3])}")
    folder = images or _folder_of(source)
    if folder is None:
        folder = scratch
        for name, root in wanted.items():
            _write_embedded(root, scratch, name)
        told.append(f"{counted(len(wanted), 'picture')} taken out of the JSON files, which embed them")
    base = source if source.is_dir() else source.parent
    labels = [_labels_of(root, below(base, folder), name) for name, root in wanted.items()]
    if both := [root.where for root in wanted.values() if root.get("shapes").value and _flags(root)]:
        told.append(f"left out: the flags of {counted(len(both), 'picture')} with shapes as well: {some(both)}")
    if ignored := sum(shape.name == IGNORE_MASK for each in labels for shape in each.shapes):
        told.append(f"{counted(ignored, 'shape is', 'shapes are')} labelled {_IGNORED}: what it covers is ignored")
    # pictures that lie elsewhere may be of other things too
    elsewhere = images is None and below(folder, base) == ""
    return label_source(labels, folder, choices, told, lists_pictures=elsewhere)


def _folder_of(source: Path) -> Path | None:
    """Return the folder with the pictures, beside the labels or above; None where there are none."""
    folder = source_folder(source)
    return folder if has_pictures(folder) else None


def _labels_of(root: Node, folder: str, name: str) -> PictureLabels:
    own_folder = PurePosixPath(folder, name).parent.as_posix()
    stem = PurePosixPath(folder, name).with_suffix("").as_posix()
    height, width = root.get("imageHeight").whole(0), root.get("imageWidth").whole(0)
    called = (*names_of(root.get("imagePath").text(""), own_folder), stem, PurePosixPath(stem).name)
    shapes = [shape for node in root.get("shapes").items() for shape in _shapes(node)]
    if not shapes:  # then flags are what the picture as a whole shows
        shapes = [Shape(flag, None, root.where) for flag in _flags(root)]
    size = (height, width) if height > 0 and width > 0 else None
    return PictureLabels(tuple(dict.fromkeys(called)), size, tuple(shapes), root.where, also=(stem,))


def _flags(root: Node) -> list[str]:
    """Return the flags of a picture that are set."""
    flags = root.get("flags").value
    return [as_text(name) for name, is_set in flags.items() if is_set is True] if isinstance(flags, dict) else []


def _shapes(node: Node) -> Iterator[Shape]:
    label = node.get("label").text()
    name = IGNORE_MASK if label == _IGNORED else label
    for what in _areas(node):
        yield Shape(name, what, node.where)


def _areas(node: Node) -> Sequence[_What]:
    kind, points = node.get("shape_type").text("polygon"), node.get("points").points()
    if not len(points):
        raise DatasetError(f"{node.where}: expected points, received none")
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        return [Area((box_corners(left, top, right - left, bottom - top),))]
    if kind == "circle" and len(points) == 2:
        radius = float(np.hypot(*(points[1] - points[0])))
        return [Area((ellipse_corners(float(points[0, 0]), float(points[0, 1]), radius, radius),))]
    if kind in {"line", "linestrip"}:
        return [Line(points)]
    if kind in {"point", "points"}:
        return [Line(point[None]) for point in points]
    if kind == "mask":
        left, top = points.min(axis=0)
        return [Pixels(_mask(node.get("mask")), (round(left), round(top)))]
    if kind in {"polygon", "rectangle", "rotation", "oriented_rectangle"}:
        return [Area((points,))]
    raise DatasetError(
        f"{node.where}: expected a polygon, rectangle, circle, line, linestrip, point, points or mask, received {kind} "
        f"of {counted(len(points), 'point')}"
    )


def _mask(node: Node) -> UInt8:
    try:
        levels = plane_of(decode(_bytes(node))).levels
    except (NotReadableError, ValueError) as error:
        raise DatasetError(f"{node.where}: expected a picture of a mask: {error}") from error
    return np.where(levels > 0, np.uint8(255), np.uint8(0))


def _bytes(node: Node) -> bytes:
    try:
        return base64.b64decode(node.text(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DatasetError(f"{node.where}: expected base64, received something else: {error}") from error


def _write_embedded(root: Node, folder: Path, name: str) -> None:
    if not root.has("imageData"):
        raise DatasetError(
            f"{root.where}: expected its picture {root.get('imagePath').text('')} beside it, or embedded; received "
            "neither. Give the pictures' folder with --images"
        )
    suffix = PurePosixPath(root.get("imagePath").text("").replace("\\", "/")).suffix.lower()
    path = folder / PurePosixPath(name).with_suffix(suffix if suffix in SUFFIXES else ".png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_bytes(root.get("imageData")))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}. Free some space") from error
