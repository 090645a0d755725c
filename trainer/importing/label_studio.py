"""Label Studio's JSON export: polygons, rectangles, ellipses and key points in percent, brushes as packed runs.

Shapes of predictions are no labels, and neither are cancelled annotations. A file that was uploaded has eight letters
and a hyphen before its name.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from edge.errors import DatasetError
from edge.pictures import SUFFIXES, NotReadableError, decode
from edge.records import Float64
from edge.wording import counted
from trainer.datasets.masks import plane_of
from trainer.importing.annotations import (
    Area,
    LabelChoices,
    Line,
    PictureLabels,
    Pixels,
    Runs,
    Shape,
    label_source,
    names_of,
)
from trainer.importing.label_json import Node, read_label_json
from trainer.importing.labelled import LabelSource
from trainer.importing.outlines import box_corners, ellipse_corners, turned_about
from trainer.importing.pairing import below, files_below, source_folder

Which = Literal["first", "last", "all", ""]
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
_DATA_URL = re.compile(r"^data:image/png;base64,")
_AREAS = ("polygon", "rectangle", "ellipse", "keypoint", "brush", "bitmask", "vector")
# Answers that say nothing of where a defect is, nor of whether there is one.
_REMARKS = frozenset({"textarea", "number", "rating", "datetime", "taxonomy", "pairwise", "ranker"})


def is_label_studio(root: Node) -> bool:
    """Tell whether a JSON file looks like Label Studio's: a list of tasks with data and annotations."""
    tasks = root.value
    return isinstance(tasks, list) and all(
        isinstance(task, dict) and "data" in task and ("annotations" in task or "completions" in task) for task in tasks
    )


def is_without_kinds(root: Node) -> bool:
    """Tell whether a JSON file looks like Label Studio's JSON-MIN, which does not say what is a label."""
    rows = root.value
    return isinstance(rows, list) and all(isinstance(row, dict) and "annotation_id" in row for row in rows)


def read_label_studio(source: Path, images: Path | None, choices: LabelChoices, which: Which = "") -> LabelSource:
    """Read a JSON export, or all of a folder's that are Label Studio's.

    `which`: of several annotations of one picture; "" refuses them. Tasks that nobody annotated are left out and told.
    Raises DatasetError.
    """
    files = [source] if source.is_file() else list(files_below(source, (".json",)).values())
    roots = [(path, read_label_json(path)) for path in files]
    wanted = [(path, root) for path, root in roots if is_label_studio(root)]
    if not wanted or not any(root.value for _, root in wanted):
        raise DatasetError(
            f"{source}: expected a list of tasks with data and annotations, as Label Studio's export JSON has it (not "
            "JSON-MIN)"
        )
    folder = images or source_folder(source)
    left_out: Counter[str] = Counter()
    labels = [
        own
        for path, root in wanted
        for task in root.items()
        if (own := _of_task(task, below(path.parent, folder), which, left_out)) is not None
    ]
    told = [f"left out: {counted(count, what)}" for what, count in left_out.items()]
    return label_source(labels, folder, choices, told, lists_pictures=True)


def _of_task(task: Node, folder: str, which: Which, left_out: Counter[str]) -> PictureLabels | None:
    listed = task.get("annotations" if task.has("annotations") else "completions")
    done = [each for each in listed.items() if not each.get("was_cancelled").value]
    if not done:
        left_out["task that nobody annotated"] += 1
        return None
    if len(done) > 1:
        true = [each for each in done if each.get("ground_truth").value]
        done = true if len(true) == 1 else _chosen(task, done, which)
    shapes = [shape for each in done for shape in _shapes(each, left_out)]
    results = [result for each in done for result in each.get("result").items()]
    return PictureLabels(_called(task, folder), _size(results), tuple(shapes), task.where)


def _chosen(task: Node, done: list[Node], which: Which) -> list[Node]:
    if not which:
        raise DatasetError(
            f"{task.where}: expected one annotation, received {len(done)}. Mark one as ground truth, or give "
            "--annotation first, last or all"
        )
    return {"first": done[:1], "last": done[-1:], "all": done}[which]


def _called(task: Node, folder: str) -> tuple[str, ...]:
    data = task.get("data")
    values = data.value if isinstance(data.value, dict) else {}
    texts = {key: value for key, value in values.items() if isinstance(value, str)}
    named = [value for value in texts.values() if value.lower().partition("?")[0].endswith(SUFFIXES) or "?d=" in value]
    if len(named) != 1 and "image" in texts:
        named = [texts["image"]]
    if len(named) != 1:
        raise DatasetError(f"{data.where}: expected the path of one picture, received {counted(len(named), 'path')}")
    called = names_of(named[0], folder)
    bare = [_UPLOADED.sub("", name.rpartition("/")[2]) for name in called[-1:]]
    return tuple(dict.fromkeys([*called, *bare]))


def _size(results: Sequence[Node]) -> tuple[int, int] | None:
    sizes = {
        (result.get("original_height").whole(), result.get("original_width").whole())
        for result in results
        if result.has("original_height") and result.has("original_width")
    }
    if len(sizes) > 1:
        raise DatasetError(f"{results[0].where}: expected one size of its picture, received {sorted(sizes)}")
    return next(iter(sizes), None)


def _shapes(annotation: Node, left_out: Counter[str]) -> Iterator[Shape]:
    names: dict[str, list[str]] = {}
    areas: dict[str, Node] = {}
    for result in annotation.get("result").items():
        kind = result.get("type").text()
        key = str(result.get("id").key()) if result.has("id") else result.where
        if kind == "choices":
            yield from (Shape(name.text(), None, result.where) for name in result.get("value").get("choices").items())
        elif kind == "relation":
            continue
        elif kind == "labels" or (base := kind.removesuffix("labels")) in _AREAS:
            if kind != "labels" and any(result.get("value").has(word) for word in _VALUES[base]):
                areas[key] = result
            names.setdefault(key, []).extend(_names(result, kind))
        elif kind in _REMARKS:
            left_out[f"{kind}, which is no shape"] += 1
        else:
            raise DatasetError(
                f"{result.where}: expected choices, or a shape: {', '.join(_AREAS)}; received {kind}. Take it out in "
                "Label Studio, or draw it as one of these"
            )
    for key, result in areas.items():
        if not (own := list(dict.fromkeys(names.get(key, ())))):
            raise DatasetError(f"{result.where}: expected a label of this shape, received none")
        what = _area(result)
        yield from (Shape(name, what, result.where) for name in own)


_VALUES: Mapping[str, tuple[str, ...]] = {
    "polygon": ("points",),
    "rectangle": ("x",),
    "ellipse": ("x",),
    "keypoint": ("x",),
    "brush": ("rle",),
    "bitmask": ("imageDataURL",),
    "vector": ("vertices",),
}


def _names(result: Node, kind: str) -> list[str]:
    value = result.get("value")
    return [name.text() for name in value.get(kind).items() if name.value != ""] if value.has(kind) else []


def _area(result: Node) -> Area | Line | Pixels | Runs:
    value, kind = result.get("value"), result.get("type").text().removesuffix("labels")
    height, width = result.get("original_height").whole(), result.get("original_width").whole()
    if result.get("image_rotation").number(0):
        raise DatasetError(
            f"{result.where}: expected a picture as it is, received one turned in the tool. Turn it back"
        )
    if kind == "brush":
        if value.get("format").text() != "rle":
            raise value.get("format").wrong("rle")
        return Runs([round(number) for number in value.get("rle").numbers()], (height, width), brush=True)
    if kind == "bitmask":
        return _bitmask(value.get("imageDataURL"))
    share = np.array([width, height], np.float64) / 100
    if kind == "polygon":
        return Area((value.get("points").points() * share,))
    if kind == "vector":
        return _path(value, share)
    return Area((_corners(kind, value, share),))


def _path(value: Node, share: Float64) -> Area | Line:
    """Return an outline where the path is closed, else a line; `share`: px of one percent of width and height."""
    vertices = list(value.get("vertices").items())
    if curved := next((each for each in vertices if each.get("isBezier").value), None):
        raise DatasetError(f"{curved.where}: expected straight edges, received a curve. Draw it as a polygon")
    points = np.array([[each.get("x").number(), each.get("y").number()] for each in vertices], np.float64)
    if not len(points):
        raise value.get("vertices").wrong("points")
    return Area((points * share,)) if value.get("closed").value else Line(points * share)


def _corners(kind: str, value: Node, share: Float64) -> Float64:
    """Return the outline of a rectangle, ellipse or key point in px; `share`: px of one percent of width and height."""
    x, y = (float(v) for v in np.array([value.get("x").number(), value.get("y").number()]) * share)
    turned = value.get("rotation").number(0)
    if kind == "keypoint":
        radius = max(value.get("width").number(0) * float(share[0]) / 2, 0.5)
        return ellipse_corners(x, y, radius, radius)
    if kind == "ellipse":
        radii = np.array([value.get("radiusX").number(), value.get("radiusY").number()]) * share
        return ellipse_corners(x, y, float(radii[0]), float(radii[1]), turned)
    width, height = (float(v) for v in np.array([value.get("width").number(), value.get("height").number()]) * share)
    return turned_about(box_corners(x, y, width, height), (x, y), turned)  # about its corner


def _bitmask(node: Node) -> Pixels:
    text = node.text()
    if not _DATA_URL.match(text):
        raise node.wrong("a picture as data:image/png;base64,…")
    try:
        levels = plane_of(decode(base64.b64decode(_DATA_URL.sub("", text), validate=True))).levels
    except (binascii.Error, NotReadableError, ValueError) as error:
        raise DatasetError(f"{node.where}: expected a picture of a mask: {error}") from error
    return Pixels(np.where(levels > 0, np.uint8(255), np.uint8(0)))
