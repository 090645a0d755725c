"""COCO's JSON: polygons, boxes and both kinds of run-length encoded masks, in one file or in several.

A category's number says nothing: the numbers need not begin at 1, nor follow one another. Several polygons of one
annotation are its parts (cocodataset.org, "data format"). One that lies within another would add nothing. It is taken
as a hole where the annotation's area says so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from edge.errors import DatasetError
from edge.opencv import cv2
from edge.records import Float64
from edge.wording import counted
from trainer.datasets.dataset import IGNORE_MASK
from trainer.importing.annotations import Area, LabelChoices, PictureLabels, Runs, Shape, label_source, names_of
from trainer.importing.label_json import Key, Node, read_label_json
from trainer.importing.labelled import LabelSource
from trainer.importing.outlines import box_corners
from trainer.importing.pairing import below, files_below, some, source_folder
from trainer.importing.run_lengths import unpacked

Inner = Literal["hole", "filled", ""]
Crowd = Literal["class", "ignore"]
_AREA_WITHIN = 0.1


@dataclass(frozen=True)
class CocoChoices:
    """The choices that COCO's JSON leaves open. `inner`: a polygon within another of the same annotation; "": not said.

    `crowd`: annotations with `iscrowd` 1 are of their class, or what they cover is ignored.
    """

    inner: Inner = ""
    crowd: Crowd = "class"


def is_coco(root: Node) -> bool:
    """Tell whether a JSON file looks like COCO's."""
    return isinstance(root.value, dict) and {"images", "annotations", "categories"} <= root.value.keys()


def read_coco(source: Path, images: Path | None, choices: LabelChoices, coco: CocoChoices) -> LabelSource:
    """Read a JSON file, or all of a folder's that are COCO's.

    `images`: the folder with the pictures; else the source's own, or the one above it where that has none. Raises
    DatasetError.
    """
    files = [source] if source.is_file() else list(files_below(source, (".json",)).values())
    roots = [(path, read_label_json(path)) for path in files]
    wanted = [(path, root) for path, root in roots if is_coco(root)]
    if not wanted:
        raise DatasetError(f"{source}: expected JSON with images, annotations and categories, as COCO has it")
    told: list[str] = []
    if panoptic := [str(path) for path, root in wanted if _is_panoptic(root)]:
        wanted = [(path, root) for path, root in wanted if str(path) not in panoptic]
        if not wanted:
            raise DatasetError(f"{some(panoptic)}: expected COCO's instances, received its panoptic form. Export those")
        told.append(f"left out: {some(panoptic)}, of COCO's panoptic form")
    folder = images or source_folder(source)
    counts: Counter[str] = Counter()
    labels = [each for path, root in wanted for each in _labels_of(root, _places(path, folder), coco, counts)]
    if boxes := counts["boxes"]:
        told.append(f"{counted(boxes, 'annotation has', 'annotations have')} a box alone, all of which is the defect")
    if crowds := counts["crowds"]:
        ignored = coco.crowd == "ignore"
        is_, are = ("is ignored", "are ignored") if ignored else ("is of its class", "are of their class")
        crowd = counted(crowds, f"annotation of crowds (iscrowd) {is_}", f"annotations of crowds (iscrowd) {are}")
        told.append(crowd + ("" if ignored else "; --crowd ignore leaves them out"))
    return label_source(labels, folder, choices, told, lists_pictures=True)


def _is_panoptic(root: Node) -> bool:
    annotations = root.value["annotations"]
    return isinstance(annotations, list) and any(
        isinstance(each, dict) and "segments_info" in each for each in annotations
    )


def _places(path: Path, folder: Path) -> tuple[str, ...]:
    """Return where the pictures of a JSON file may lie, below the pictures' folder.

    They lie beside it or, of annotations/instances_train.json, in images/train or train.
    """
    above = below(path.parent.parent, folder) if path.parent.name == "annotations" else below(path.parent, folder)
    subsets = {path.stem, path.stem.partition("_")[2], path.stem.rpartition("_")[2]} - {""}
    inside = [PurePosixPath(above, *parts) for name in sorted(subsets) for parts in (("images", name), (name,))]
    return (below(path.parent, folder), *map(str, inside))


def _called(name: str, places: Sequence[str]) -> tuple[str, ...]:
    """Return a picture's names: beside its JSON file first."""
    beside, *elsewhere = places
    return tuple(dict.fromkeys((*names_of(name, beside), *names_of(name, *elsewhere))))


def _labels_of(root: Node, places: Sequence[str], coco: CocoChoices, counts: Counter[str]) -> list[PictureLabels]:
    names = _categories(root)
    images = _images(root)
    shapes: dict[Key, list[Shape]] = defaultdict(list)
    for annotation in root.get("annotations").items():
        image_id, category_id = annotation.get("image_id").key(), annotation.get("category_id").key()
        if image_id not in images:
            raise DatasetError(f"{annotation.where}: expected the id of an image, received {image_id}")
        if category_id not in names:
            raise DatasetError(
                f"{annotation.where}: expected the id of a category, {some(sorted(map(str, names)))}, received "
                f"{category_id}"
            )
        crowd = annotation.get("iscrowd").value == 1
        left_out = annotation.get("ignore").value == 1
        counts["crowds"] += crowd and not left_out
        ignored = left_out or (crowd and coco.crowd == "ignore")
        what, of_box = _areas(annotation, _size(images[image_id]), coco)
        counts["boxes"] += of_box
        name = IGNORE_MASK if ignored else names[category_id]
        shapes[image_id] += [Shape(name, each, annotation.where) for each in what]
    lists_only = not shapes
    return [
        PictureLabels(
            _called(image.get("file_name").text(), places),
            _size(image),
            tuple(shapes[image_id]),
            image.where,
            lists_only=lists_only,
            group=image.get("group").value.strip() or None if isinstance(image.get("group").value, str) else None,
        )
        for image_id, image in images.items()
    ]


def _categories(root: Node) -> Mapping[Key, str]:
    names: dict[Key, str] = {}
    for category in root.get("categories").items():
        number = category.get("id").key()
        if number in names:
            raise DatasetError(f"{category.where}: the id {number} is given twice; expected each category once")
        names[number] = category.get("name").text()
    return names


def _images(root: Node) -> Mapping[Key, Node]:
    images: dict[Key, Node] = {}
    for image in root.get("images").items():
        number = image.get("id").key()
        if number in images:
            raise DatasetError(f"{image.where}: the id {number} is given twice; expected each image once")
        images[number] = image
    return images


def _size(image: Node) -> tuple[int, int] | None:
    height, width = image.get("height").whole(0), image.get("width").whole(0)
    return (height, width) if height > 0 and width > 0 else None


def _areas(annotation: Node, size: tuple[int, int] | None, coco: CocoChoices) -> tuple[list[Area | Runs], bool]:
    """Return what an annotation covers, and whether only its box says so."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation.value, dict):
        return [runs_of(segmentation, size)], False
    if segmentation.value:
        rings = [_ring(part) for part in segmentation.items()]
        return _parts(rings, annotation, coco), False
    if not annotation.has("bbox"):
        raise DatasetError(f"{annotation.where}: expected segmentation or bbox, received neither")
    box = annotation.get("bbox").numbers()
    if len(box) != 4 or min(box[2:]) < 0:
        raise annotation.get("bbox").wrong("x, y, width and height")
    return [Area((box_corners(*box),))], True


def runs_of(node: Node, size: tuple[int, int] | None) -> Runs:
    """Read a run-length encoded mask, `{counts, size: [height, width]}`, of either kind. Raises DatasetError."""
    height, width = (round(v) for v in _pair(node.get("size")))
    if size is not None and (height, width) != size:
        raise DatasetError(
            f"{node.where}: expected runs of {size[1]} x {size[0]} px as its picture has, received {width} x {height}"
        )
    counts = node.get("counts")
    if isinstance(counts.value, str):
        numbers = unpacked(counts.value, counts.where)
    else:
        numbers = [round(v) for v in counts.numbers()]
    return Runs(numbers, (height, width))


def _pair(node: Node) -> Sequence[float]:
    numbers = node.numbers()
    if len(numbers) != 2 or min(numbers) < 1 or max(numbers) > 1 << 20:
        raise node.wrong("height and width")
    return numbers


def _ring(part: Node) -> Float64:
    numbers = part.numbers()
    if len(numbers) % 2:
        raise DatasetError(f"{part.where}: expected x and y by turns, received an odd number of values, {len(numbers)}")
    return np.array(numbers, np.float64).reshape(-1, 2)


def _parts(rings: Sequence[Float64], annotation: Node, coco: CocoChoices) -> list[Area | Runs]:
    """Return each part of an annotation, with the holes in it."""
    inside = {
        place: next((other for other, outer in enumerate(rings) if other != place and _within(ring, outer)), None)
        for place, ring in enumerate(rings)
    }
    if all(outer is None for outer in inside.values()):
        return [Area((ring,)) for ring in rings]
    holes = coco.inner or _by_area(rings, inside, annotation)
    if holes == "filled":
        return [Area((ring,)) for ring in rings]
    outers = [place for place, outer in inside.items() if outer is None]
    return [Area((rings[place], *(rings[k] for k, outer in inside.items() if outer == place))) for place in outers]


def _within(ring: Float64, outer: Float64) -> bool:
    if len(ring) < 3 or len(outer) < 3:
        return False
    contour = outer.astype(np.float32).reshape(-1, 1, 2)
    return all(cv2.pointPolygonTest(contour, (float(x), float(y)), False) > 0 for x, y in ring)


def _by_area(rings: Sequence[Float64], inside: Mapping[int, int | None], annotation: Node) -> Inner:
    """Tell by the annotation's area whether polygons within others are holes. Raises DatasetError where it does not."""
    areas = [abs(float(cv2.contourArea(ring.astype(np.float32).reshape(-1, 1, 2)))) for ring in rings]
    outer = sum(area for place, area in enumerate(areas) if inside[place] is None)
    inner = sum(areas) - outer
    told = annotation.get("area").number(-1)
    hole, whole = (abs(told - expected) <= _AREA_WITHIN * inner for expected in (outer - inner, outer))
    if hole != whole:
        return "hole" if hole else "filled"
    raise DatasetError(
        f"{annotation.where}: a polygon lies within another, and its area ({told:g}) does not say whether it is a "
        f"hole: expected {outer - inner:.0f} px with a hole or {outer:.0f} px without. Give --inner hole or --inner "
        "filled"
    )
