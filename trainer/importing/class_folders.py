"""One folder of pictures per class, for classification → labels without masks."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

from edge.bundle import sha256_of
from edge.errors import DatasetError
from edge.pictures import SUFFIXES, why_left_out
from trainer.datasets.class_naming import is_clean
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelSource, one_by_one
from trainer.importing.pairing import pictures_below, read_file, some

Level = Literal["first", "last"]


def read_class_folders(folder: Path, *, at_most: int | None, seed: int, level: Level = "first") -> LabelSource:
    """Read `folder/<class>/…`; of each class at most `at_most` pictures, chosen by `seed`.

    `level`: the first folder below `folder` is the class, or the last one, as in `day1/good/…`. Raises DatasetError for
    pictures outside the classes' folders and a class without pictures. Raises it for one picture (the same bytes) in
    two classes.
    """
    if not folder.is_dir():
        raise DatasetError(f"No folder at {folder}; expected one with a folder of pictures for each class")
    if not any(path.is_dir() for path in folder.iterdir()):
        raise DatasetError(f"{folder}: expected a folder of pictures for each class, received none")
    told: list[str] = []
    chosen = _chosen(folder, level, told, at_most=at_most, seed=seed)
    classes: dict[str, tuple[str, Path]] = {}

    def make(name: str, item: tuple[str, Path]) -> LabelledPicture:
        class_name, path = item
        file, _ = read_file(path)
        known_class, known = classes.setdefault(sha256_of(path), (class_name, path))
        if known_class != class_name:
            raise DatasetError(
                f"{path} is the same picture as {known}; expected a picture in one class only. Remove one"
            )
        clean = is_clean(class_name)
        findings = () if clean else (ClassMask(class_name, None),)
        return LabelledPicture(
            name,
            path,
            file.shape_px,
            findings,
            str(path),
            declared_clean=clean,
            notes=file.notes(),
            greatest=file.greatest,
        )

    return LabelSource(len(chosen), one_by_one(chosen.items(), make), told=told)


def _class_of(name: str, level: Level) -> str:
    folders = name.split("/")[:-1]
    return folders[0 if level == "first" else -1]


def _chosen(
    folder: Path, level: Level, told: list[str], *, at_most: int | None, seed: int
) -> dict[str, tuple[str, Path]]:
    """Return the class and the file of each picture that is taken, by its name."""
    names = pictures_below(folder, told)
    if stray := [name for name in names if "/" not in name]:
        raise DatasetError(f"{folder / stray[0]} is in no class's folder; expected all pictures in one")
    folders = {_class_of(name, level) for name in names}
    if level == "first":
        folders |= {path.name for path in folder.iterdir() if path.is_dir()}
    by_class = {
        each: [name for name in names if _class_of(name, level) == each]
        for each in sorted(folders)
        if not each.startswith((".", "__")) and not why_left_out(each)
    }
    if apart := [name for name in names if name.startswith((".", "__"))]:
        told.append(f"left out, for their folders' names begin with __: {some(apart)}")
    if bare := [each for each, own in by_class.items() if not own]:
        reason = f"{folder / bare[0]} holds no file with one of the suffixes {', '.join(SUFFIXES)}"
        raise DatasetError("; ".join((reason, *told)))
    chosen: dict[str, tuple[str, Path]] = {}
    for class_name, own in by_class.items():
        taken = own
        if at_most is not None and len(own) > at_most:
            taken = sorted(random.Random(f"{seed} {class_name}").sample(sorted(own), at_most))
        chosen |= {name: (class_name, names[name]) for name in taken}
    return chosen
