"""One folder of pictures per class, for classification → labels without masks."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge.bundle import sha256_of
from edge.errors import DatasetError
from trainer.importing.class_naming import is_clean
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelSource
from trainer.importing.pairing import pictures_below, read_whole


def read_class_folders(folder: Path, *, at_most: int | None, seed: int) -> LabelSource:
    """Read `folder/<class>/…`; of each class at most `at_most` pictures, chosen by `seed`.

    Raises DatasetError for pictures outside the classes' folders, a class without pictures, or one picture (the same
    bytes) in two classes.
    """
    if not folder.is_dir():
        raise DatasetError(f"No folder at {folder}; expected one with a folder of pictures for each class")
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DatasetError(f"{folder}: expected a folder of pictures for each class, received none")
    if stray := [name for name in pictures_below(folder) if "/" not in name]:
        raise DatasetError(f"{folder / stray[0]} is in no class's folder; expected all pictures in one")
    chosen: dict[str, tuple[str, Path]] = {}
    for class_folder in folders:
        found = pictures_below(class_folder)
        names = sorted(found)
        if at_most is not None and len(names) > at_most:
            names = sorted(random.Random(f"{seed} {class_folder.name}").sample(names, at_most))
        chosen |= {f"{class_folder.name}/{name}": (class_folder.name, found[name]) for name in names}
    return LabelSource(len(chosen), _pictures(chosen))


def _pictures(chosen: Mapping[str, tuple[str, Path]]) -> Iterator[LabelledPicture]:
    classes: dict[str, tuple[str, Path]] = {}
    for name, (class_name, path) in chosen.items():
        pixels = read_whole(path)
        known_class, known = classes.setdefault(sha256_of(path), (class_name, path))
        if known_class != class_name:
            raise DatasetError(
                f"{path} is the same picture as {known}; expected a picture in one class only. Remove one"
            )
        clean = is_clean(class_name)
        findings = () if clean else (ClassMask(class_name, None),)
        yield LabelledPicture(name, path, (pixels.shape[0], pixels.shape[1]), findings, str(path), declared_clean=clean)
