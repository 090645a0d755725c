"""Datumaro's JSON, as CVAT, Geti and it itself write it: annotations/SUBSET.json, pictures in images/SUBSET."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.errors import DatasetError
from edge.records import Float64
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
from trainer.importing.coco import runs_of
from trainer.importing.label_json import Node, read_label_json
from trainer.importing.labelled import LabelSource
from trainer.importing.outlines import box_corners, ellipse_corners
from trainer.importing.pairing import below, files_below, source_folder

_REMARKS = frozenset({"caption", "hash_key", "feature_vector"})  # say nothing of where a defect is


def is_datumaro(root: Node) -> bool:
    """Tell whether a JSON file looks like Datumaro's."""
    return isinstance(root.value, dict) and {"items", "categories"} <= root.value.keys()


def read_datumaro(source: Path, images: Path | None, choices: LabelChoices) -> LabelSource:
    """Read a JSON file, or all of a folder's that are Datumaro's. Raises DatasetError."""
    files = [source] if source.is_file() else list(files_below(source, (".json",)).values())
    roots = [(path, read_label_json(path)) for path in files]
    wanted = [(path, root) for path, root in roots if is_datumaro(root)]
    if not wanted:
        raise DatasetError(f"{source}: expected JSON with items and categories, as Datumaro has it")
    folder = images or source_folder(source)
    labels = [each for path, root in wanted for each in _labels_of(root, path, folder)]
    return label_source(labels, folder, choices, lists_pictures=True)


def _labels_of(root: Node, path: Path, folder: Path) -> list[PictureLabels]:
    names = [label.get("name").text() for label in root.get("categories").get("label").get("labels").items()]
    above = below(path.parent.parent, folder)
    inside = ["images" if above in {"", "."} else f"{above}/images"]
    inside = [f"{inside[0]}/{path.stem}", *inside]
    found = []
    for item in root.get("items").items():
        image = item.get("image" if item.has("image") else "media")
        told = image.get("path").text("") if image.value is not None else ""
        size = image.get("size").numbers() if image.value is not None and image.has("size") else ()
        ordered = sorted(item.get("annotations").items(), key=lambda each: each.get("z_order").number(0))
        shapes = [
            shape for each in ordered if each.get("type").text() not in _REMARKS for shape in _shapes(each, names)
        ]
        called = (*(names_of(told, *inside) if told else ()), *names_of(item.get("id").text(), *inside))
        height_width = (round(size[0]), round(size[1])) if len(size) == 2 else None
        found.append(PictureLabels(tuple(dict.fromkeys(called)), height_width, tuple(shapes), item.where))
    return found


def _shapes(annotation: Node, names: Sequence[str]) -> list[Shape]:
    number = annotation.get("label_id").whole(-1)
    if not 0 <= number < len(names):
        raise DatasetError(f"{annotation.where}: expected a label from 0 to {len(names) - 1}, received {number}")
    return [Shape(names[number], what, annotation.where) for what in _areas(annotation)]


def _areas(annotation: Node) -> Sequence[Area | Runs | Line | None]:
    kind = annotation.get("type").text()
    match kind:
        case "label":
            found: Sequence[Area | Runs | Line | None] = [None]
        case "mask":
            found = [runs_of(annotation.get("rle"), None)]
        case "polygon":
            found = [Area((_points(annotation),))]
        case "bbox":
            box = annotation.get("bbox").numbers()
            if len(box) != 4:
                raise annotation.get("bbox").wrong("x, y, width and height")
            found = [Area((box_corners(*box),))]
        case "ellipse":
            found = [Area((_ellipse(annotation),))]
        case "polyline":
            found = [Line(_points(annotation))]
        case "points":
            found = [Line(point[None]) for point in _points(annotation)]
        case _:
            raise DatasetError(
                f"{annotation.where}: expected a label, mask, polygon, bbox, ellipse, polyline or points, received "
                f"{kind}. Take it out, or draw it as one of these"
            )
    return found


def _ellipse(annotation: Node) -> Float64:
    points = _points(annotation)
    if len(points) != 2:
        raise annotation.get("points").wrong("the corners of an ellipse's box")
    (left, top), (right, bottom) = points.tolist()
    return ellipse_corners((left + right) / 2, (top + bottom) / 2, abs(right - left) / 2, abs(bottom - top) / 2)


def _points(annotation: Node) -> Float64:
    numbers = annotation.get("points").numbers()
    if len(numbers) % 2 or not numbers:
        raise annotation.get("points").wrong("x and y by turns")
    return np.array(numbers, np.float64).reshape(-1, 2)
