"""Boxes in Pascal VOC's XML, one file per picture → labels whose masks are filled rectangles.

A box is as good as its corners: everything in it counts as defect, so a model learned from boxes finds boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from edge.errors import DatasetError
from edge.records import UInt8
from edge.wording import counted
from trainer.importing.label_xml import read_label_xml
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelsLie, LabelSource, one_by_one
from trainer.importing.pairing import (
    NameIndex,
    NotOneError,
    each_told,
    files_below,
    never_clean,
    pictures_below,
    read_file,
    some,
    without_suffix,
)

_BYTES_AT_MOST = 4_000_000
# Each class on a picture has a mask of its size.
_MASK_BYTES_AT_MOST = 1 << 28
# Tools round differently, and some write the pixel after the last: a box may pass the edge by so much, and is cut.
_PAST_EDGE_PX = 1


@dataclass(frozen=True)
class _Annotation:
    path: Path
    root: Element


def read_voc(
    images: Path, annotations: Path, *, first_pixel: int, missing_is_clean: bool, labels_lie: LabelsLie = ""
) -> LabelSource:
    """Pair XML files with pictures by name (their own, or what <filename> says) and read their boxes.

    `first_pixel`: what the tool calls the first column and row, 0 or 1: VOC says 1; corners belong to the box. Raises
    DatasetError naming the file and the object.
    """
    told: list[str] = []
    found = pictures_below(images, told)
    index = NameIndex(tuple(found), "picture")
    by_picture: dict[str, _Annotation] = {}
    problems: list[str] = []
    for name, path in files_below(annotations, (".xml",), told).items():
        try:
            annotation = _Annotation(path, read_label_xml(path, "annotation", "Pascal VOC", _BYTES_AT_MOST))
            picture = _picture_of(annotation, name, index, images)
        except DatasetError as error:
            problems.append(str(error))
            continue
        if picture in by_picture:
            problems.append(
                f"{found[picture]}: expected one annotation, received {by_picture[picture].path} and {path}"
            )
        by_picture[picture] = annotation
    if problems:
        if len(problems) == 1:
            raise DatasetError(problems[0])
        raise DatasetError(*each_told(f"{counted(len(problems), 'annotation')} cannot be used:", problems))
    others = never_clean([name for name in found if name not in by_picture], found, told)
    found = {name: path for name, path in found.items() if name not in others}
    lacking = [str(path) for name, path in found.items() if name not in by_picture]
    if lacking and not missing_is_clean:
        raise DatasetError(
            f"{counted(len(lacking), 'picture has', 'pictures have')} no XML in {annotations}: {some(lacking)}. "
            "If nothing is wrong with them give --missing-is-clean, otherwise add their files"
        )
    make = _labelling(by_picture, first_pixel, labels_lie)
    return LabelSource(len(found), one_by_one(found.items(), make), told=told)


def _picture_of(annotation: _Annotation, name: str, index: NameIndex, images: Path) -> str:
    called = [without_suffix(name)]
    if written := (annotation.root.findtext("filename") or "").strip().replace("\\", "/"):
        called += [written, without_suffix(written)] if not written.startswith((".", "/")) else []
    picture = index.find(*called, where=str(annotation.path))
    if picture is None:
        raise DatasetError(f"{annotation.path}: expected a picture of the name {called[0]} in {images}, received none")
    _refuse_another(annotation, picture, called[1:], index)
    return picture


def _refuse_another(annotation: _Annotation, picture: str, written: Sequence[str], index: NameIndex) -> None:
    """Raise DatasetError where <filename> names another picture, and one that is there, than the file's own name."""
    where = str(annotation.path)
    with suppress(NotOneError):
        if written and (other := index.find(*written, where=where)) not in {None, picture}:
            raise DatasetError(
                f"{where} has the name of {picture}, and its <filename> is that of {other}: expected one picture. Call "
                "the file as its picture, or mend <filename>"
            )


def _labelling(
    annotations: Mapping[str, _Annotation], first_pixel: int, labels_lie: LabelsLie
) -> Callable[[str, Path], LabelledPicture]:
    def make(name: str, path: Path) -> LabelledPicture:
        file, _ = read_file(path)
        own = annotations.get(name)
        findings: tuple[ClassMask, ...] = ()
        shown: bool | None = None
        if own and own.root.find("object") is None:
            file.place(_told_size(own), "shown", str(own.path))
        elif own:
            shown = file.place(_told_size(own), labels_lie, str(own.path))
            drawn = _findings(own, file.shape_px if shown else file.stored_px, first_pixel)
            findings = drawn if shown else tuple(ClassMask(each.name, file.as_shown(_mask(each))) for each in drawn)
        where = str(own.path if own else path)
        notes = file.notes(by_labels=shown)
        return LabelledPicture(name, path, file.shape_px, findings, where, notes=notes, greatest=file.greatest)

    return make


def _mask(finding: ClassMask) -> UInt8:
    assert finding.mask is not None  # noqa: S101 - boxes have one each
    return finding.mask


def _told_size(annotation: _Annotation) -> tuple[int, int] | None:
    """Return (height, width), px, as an annotation states it; None where a tool left zeros."""
    told = [_number(annotation.root.findtext(f"size/{side}") or "0", annotation.path) for side in ("height", "width")]
    return (round(told[0]), round(told[1])) if any(told) else None


def _findings(annotation: _Annotation, shape_px: tuple[int, int], first_pixel: int) -> tuple[ClassMask, ...]:
    masks: dict[str, UInt8] = {}
    for number, item in enumerate(annotation.root.iterfind("object"), start=1):
        where = f"{annotation.path}, object {number}"
        name = (item.findtext("name") or "").strip()
        if not name:
            raise DatasetError(f"{where}: expected <name>, received none")
        left, top, right, bottom = _box(item, where, shape_px, first_pixel)
        if name not in masks and (len(masks) + 1) * shape_px[0] * shape_px[1] > _MASK_BYTES_AT_MOST:
            raise DatasetError(
                f"{where}: expected at most {counted(len(masks), 'class', 'classes')} on a picture of "
                f"{shape_px[1]} x {shape_px[0]} px, "
                "received one more. Are these the names of objects rather than of classes?"
            )
        mask = masks.setdefault(name, np.zeros(shape_px, np.uint8))
        mask[top : bottom + 1, left : right + 1] = 255
    return tuple(ClassMask(name, mask) for name, mask in masks.items())


def _box(item: Element, where: str, shape_px: tuple[int, int], first_pixel: int) -> tuple[int, int, int, int]:
    """Return the first and last column and row of a box, counted from 0: left, top, right, bottom."""
    corners = [item.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")]
    if None in corners:
        raise DatasetError(f"{where}: expected <bndbox> with xmin, ymin, xmax, ymax, received {corners}")
    left, top, right, bottom = (round(_number(corner or "", where)) - first_pixel for corner in corners)
    last_column, last_row = shape_px[1] - 1, shape_px[0] - 1
    if right < left or bottom < top:
        raise DatasetError(f"{where}: expected xmax and ymax from xmin and ymin on, received {corners}")
    if min(left, top) < -_PAST_EDGE_PX or right > last_column + _PAST_EDGE_PX or bottom > last_row + _PAST_EDGE_PX:
        raise DatasetError(
            f"{where}: the box {corners} (xmin, ymin, xmax, ymax) ends past the picture's {shape_px[1]} x "
            f"{shape_px[0]} px, whose first column and row are called {first_pixel} (--first-pixel)"
        )
    return max(left, 0), max(top, 0), min(right, last_column), min(bottom, last_row)


def _number(text: str, where: object) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise DatasetError(f"{where}: expected a number, received {text.strip()[:40]!r}")
    return number
