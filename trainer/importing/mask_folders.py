"""Pictures, and masks of the same names → labels.

There are three kinds of folders: one folder of masks per class; one mask per picture, all of one class; one mask per
picture whose values are class ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from edge.errors import DatasetError
from edge.records import UInt8
from trainer.datasets.dataset import MASK_ABOVE, read_mask
from trainer.importing.class_naming import checked_name, is_clean
from trainer.importing.indexed_png import read_indexed
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelSource
from trainer.importing.pairing import NameIndex, pictures_below, read_whole, some, without_suffix

_Reader = Callable[[Path, Path, tuple[int, int]], tuple[ClassMask, ...]]


def read_masks_by_class(images: Path, masks: Path, suffix: str) -> LabelSource:
    """Read `masks/<class>/…`: each folder's masks are of its class. A picture without any mask has empty ones.

    `suffix`: what a mask's name has behind its picture's. Raises DatasetError naming the file.
    """
    folders = sorted(path for path in masks.iterdir() if path.is_dir()) if masks.is_dir() else []
    folders = [folder for folder in folders if not folder.name.startswith(".")]
    if not folders:
        raise DatasetError(
            f"{masks}: expected a folder of masks for each class, received none. One mask per picture is read with "
            "--class NAME, or with --names 1=NAME,2=NAME if its values are class ids"
        )
    found = _pictures_apart(images, masks, suffix)
    index = NameIndex(tuple(found), "picture")
    by_picture: dict[str, list[tuple[Path, _Reader]]] = defaultdict(list)
    for folder in folders:
        for name, path in pictures_below(folder).items():
            called = without_suffix(name).removesuffix(suffix)
            picture = _picture_of(index, path, called, f"{folder.name}/{called}")
            by_picture[picture].append((path, _binary(folder.name)))
    return LabelSource(len(found), _labelled(found, by_picture))


def read_masks(
    images: Path,
    masks: Path,
    suffix: str,
    *,
    class_name: str = "",
    ids: Mapping[int, str] | None = None,
    missing_is_clean: bool,
) -> LabelSource:
    """Read one mask per picture: all of `class_name`, or of `ids`, class by pixel value, where 0 is clean.

    A picture without a mask is an error, unless `missing_is_clean`. Raises DatasetError naming the file.
    """
    found = _pictures_apart(images, masks, suffix)
    index = NameIndex(tuple(found), "picture")
    reader = _indexed(ids) if ids else _binary(checked_name(class_name, "--class"))
    by_picture: dict[str, list[tuple[Path, _Reader]]] = {}
    for name, path in pictures_below(masks).items():
        if not without_suffix(name).endswith(suffix):
            continue
        picture = _picture_of(index, path, without_suffix(name).removesuffix(suffix))
        if picture in by_picture:
            raise DatasetError(f"{found[picture]}: expected one mask, received {by_picture[picture][0][0]} and {path}")
        by_picture[picture] = [(path, reader)]
    lacking = [str(path) for name, path in found.items() if name not in by_picture]
    if lacking and not missing_is_clean:
        raise DatasetError(
            f"{len(lacking)} pictures have no mask in {masks}: {some(lacking)}. "
            "If nothing is wrong with them give --missing-is-clean, otherwise add their masks"
        )
    return LabelSource(len(found), _labelled(found, by_picture), tuple(ids.values()) if ids else (class_name,))


def _pictures_apart(images: Path, masks: Path, suffix: str) -> dict[str, Path]:
    """List the pictures; where masks lie among them, they are left out by their suffix or their folder."""
    found = pictures_below(images)
    if images.resolve() == masks.resolve():
        if not suffix:
            raise DatasetError(f"{images} holds pictures and masks: expected --suffix, which tells masks from pictures")
        found = {name: path for name, path in found.items() if not without_suffix(name).endswith(suffix)}
    elif masks.resolve().is_relative_to(images.resolve()):
        found = {name: path for name, path in found.items() if not path.resolve().is_relative_to(masks.resolve())}
    if not found:
        raise DatasetError(f"{images} holds no picture beside masks")
    return found


def _picture_of(index: NameIndex, mask: Path, *called: str) -> str:
    picture = index.find(*called, where=str(mask))
    if picture is None:
        raise DatasetError(f"{mask}: expected a picture of the name {called[0]} for this mask, received none")
    return picture


def _labelled(found: Mapping[str, Path], masks: Mapping[str, list[tuple[Path, _Reader]]]) -> Iterator[LabelledPicture]:
    for name, path in found.items():
        pixels = read_whole(path)
        shape_px = (pixels.shape[0], pixels.shape[1])
        own = masks.get(name, [])
        findings = tuple(finding for mask, read in own for finding in read(mask, path, shape_px))
        where = str(own[0][0]) if own else str(path)
        yield LabelledPicture(name, path, shape_px, findings, where)


def _binary(name: str) -> _Reader:
    def read(mask: Path, picture: Path, shape_px: tuple[int, int]) -> tuple[ClassMask, ...]:
        if is_clean(name):
            return (ClassMask(name, None),)
        return (ClassMask(name, binary(read_mask(mask, picture, shape_px), mask), str(mask)),)

    return read


def binary(levels: UInt8, path: Path) -> UInt8:
    """Make a mask of levels one of 0 and 255: 0 and 1 are told apart, otherwise what is above 127 is defect.

    Raises DatasetError for levels above 0 none of which would count, such as a mask of class ids.
    """
    largest = int(levels.max())
    if largest == 1:
        return levels * np.uint8(255)
    if 1 < largest <= MASK_ABOVE:
        raise DatasetError(
            f"{path}: expected a mask of 0 and 255, received levels up to {largest}. If they are class ids give "
            "--names 1=NAME,2=NAME"
        )
    return np.where(levels > MASK_ABOVE, np.uint8(255), np.uint8(0))


def _indexed(ids: Mapping[int, str]) -> _Reader:
    def read(mask: Path, picture: Path, shape_px: tuple[int, int]) -> tuple[ClassMask, ...]:
        values = read_indexed(mask)
        if values.shape != shape_px:
            raise DatasetError(
                f"{mask}: expected {shape_px[1]} x {shape_px[0]} px as in {picture}, "
                f"received {values.shape[1]} x {values.shape[0]}"
            )
        counts = np.bincount(values.reshape(-1), minlength=256)
        present = [int(value) for value in np.flatnonzero(counts) if value]
        if unknown := [value for value in present if value not in ids]:
            raise DatasetError(
                f"{mask}: expected the values 0 and {', '.join(map(str, sorted(ids)))}, received {unknown[0]} on "
                f"{int(counts[unknown[0]])} px. Name it: --names {unknown[0]}=NAME, or =ok if it says nothing"
            )
        return tuple(
            ClassMask(ids[value], np.where(values == value, np.uint8(255), np.uint8(0)))
            for value in present
            if not is_clean(ids[value])
        )

    return read
