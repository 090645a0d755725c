"""YOLO's text files, one per picture, and the `data.yaml` that names the classes: polygons and boxes in shares.

A line is a class's number and x, y by turns, each a share of the picture's width or height. With four values it is a
box: middle, width, height. Source: docs.ultralytics.com, "Instance segmentation datasets format".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from edge.errors import DatasetError
from edge.pictures import as_text
from edge.wording import counted
from trainer.importing.annotations import Area, LabelChoices, PictureLabels, Shape, label_source
from trainer.importing.grouping import with_groups
from trainer.importing.labelled import LabelSource
from trainer.importing.outlines import box_corners
from trainer.importing.pairing import files_below, pictures_below, some, without_suffix

_YAML_BYTES, _TEXT_BYTES = 1_000_000, 16_000_000
_PAST = 1e-3  # tools round
# PyYAML's errors for a file that is none.
_NO_YAML = (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError)
_NAMES_FILES = ("classes.txt", "obj.names")
_LABELS, _IMAGES = "labels", "images"


def find_data_yaml(folder: Path) -> Path | None:
    """Return the YAML file of a folder that names classes as YOLO's does, if there is one. Raises DatasetError."""
    found = [path for path in sorted(folder.glob("*.y*ml")) if path.is_file() and "names" in _yaml(path)]
    if len(found) > 1:
        raise DatasetError(f"{folder}: expected one YAML file with names, received {', '.join(map(str, found))}")
    return found[0] if found else None


def label_files(folder: Path, told: list[str] | None = None) -> dict[str, Path]:
    """Return the text files that label pictures: those in folders called labels or, without any, beside pictures."""
    texts = {name: path for name, path in files_below(folder, (".txt",)).items() if path.name not in _NAMES_FILES}
    in_labels = {name: path for name, path in texts.items() if _LABELS in PurePosixPath(name).parts[:-1]}
    if in_labels:
        return in_labels
    stems = {without_suffix(name) for name in pictures_below(folder)}
    beside = {name: path for name, path in texts.items() if without_suffix(name) in stems}
    if told is not None and (others := [name for name in texts if name not in beside]):
        told.append(f"left out: {counted(len(others), 'text file')} without a picture of the name: {some(others)}")
    return beside


def read_yolo(folder: Path, images: Path | None, names: Mapping[int, str], choices: LabelChoices) -> LabelSource:
    """Read the labels of a folder. `names`: class number → name, where the folder does not say.

    A picture with an empty text file has no defect. One without any is an error unless it is said to be clean. Raises
    DatasetError naming file and line.
    """
    told: list[str] = []
    named = names or _names(folder)
    if not named:
        raise DatasetError(
            f"{folder}: expected data.yaml or classes.txt with the names of classes. Give --names 0=NAME,1=NAME"
        )
    files = label_files(folder, told)
    if not files:
        raise DatasetError(f"{folder}: expected text files in a folder labels, or beside the pictures, received none")
    labels = []
    boxes = 0
    for name, path in files.items():
        shapes, count = _shapes(path, named)
        boxes += count
        labels.append(PictureLabels(_called(name), None, tuple(shapes), str(path), in_shares=True))
    if boxes:
        told.append(f"{counted(boxes, 'line is a box', 'lines are boxes')}, all of which is the defect")
    return with_groups(label_source(labels, images or folder, choices, told), folder)


def _called(name: str) -> tuple[str, ...]:
    """Return the picture's names: its path with `images` in place of `labels`, then as it is."""
    parts = PurePosixPath(without_suffix(name)).parts
    places = [place for place, part in enumerate(parts[:-1]) if part == _LABELS]
    if not places:
        return (without_suffix(name),)
    last = places[-1]
    swapped = (*parts[:last], _IMAGES, *parts[last + 1 :])
    return ("/".join(swapped), "/".join((*parts[:last], *parts[last + 1 :])), "/".join(parts[last + 1 :]))


def _names(folder: Path) -> dict[int, str]:
    path = find_data_yaml(folder)
    if path is not None:
        content = _yaml(path)
        if "kpt_shape" in content:
            raise DatasetError(f"{path}: it labels key points (kpt_shape), which have no area; expected outlines")
        return _as_numbers(content["names"], path)
    lists = {_listed(path): path for path in names_files(folder)}
    if len(lists) > 1:
        raise DatasetError(
            f"{folder}: expected one list of classes, received {' and '.join(map(str, lists.values()))}, which differ"
        )
    return {number: line for listed in lists for number, line in enumerate(listed) if line}


def names_files(folder: Path) -> tuple[Path, ...]:
    """Return the lists of classes: in the folder itself or, without any, beside text files in its subfolders."""
    own = tuple(folder / name for name in _NAMES_FILES if (folder / name).is_file())
    return own[:1] or tuple(path for name in _NAMES_FILES for path in sorted(folder.rglob(name)) if path.is_file())


def _listed(path: Path) -> tuple[str, ...]:
    return tuple(line.strip() for line in _text(path).rstrip().splitlines())


def looks_like_labels(path: Path) -> bool:
    """Tell whether a text file's first line is one of YOLO's. Raises DatasetError."""
    words = next((line.split() for line in _text(path).splitlines() if line.strip()), [])
    try:
        return len(words) >= 5 and words[0].isdecimal() and all(abs(float(word)) <= 2 for word in words[1:])
    except ValueError:
        return False


def _as_numbers(names: object, path: Path) -> dict[int, str]:
    pairs: list[tuple[object, object]] = []
    if isinstance(names, (list, dict)):
        pairs = list(enumerate(names)) if isinstance(names, list) else list(names.items())
    found = {
        number: as_text(str(name))
        for number, name in pairs
        if isinstance(number, int) and number >= 0 and isinstance(name, (str, int, float))
    }
    if unquoted := [number for number, name in pairs if isinstance(name, bool)]:
        raise DatasetError(
            f"{path}: the name of class {unquoted[0]} is yes, no, on or off, which YAML reads as true or false. "
            "Put it in quotes"
        )
    if not found or len(found) < len(pairs):
        raise DatasetError(f"{path}: expected names as a list of texts, or as number: name")
    return found


def _yaml(path: Path) -> dict[str, object]:
    text = _text(path, _YAML_BYTES)
    try:
        content = yaml.safe_load(text)
    except _NO_YAML as error:
        raise DatasetError(f"{path} is no YAML: {str(error).splitlines()[0]}") from error
    return content if isinstance(content, dict) else {}


def _text(path: Path, at_most: int = _TEXT_BYTES) -> str:
    try:
        raw = path.read_bytes()
        if len(raw) > at_most:
            raise DatasetError(f"{path} has {counted(len(raw), 'byte')}; expected at most {at_most}")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: expected text in UTF-8: {error.reason}") from error


def _shapes(path: Path, names: Mapping[int, str]) -> tuple[list[Shape], int]:
    """Return the shapes of one file, in shares, and how many of them are boxes."""
    shapes, boxes = [], 0
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        class_id, values = _class_id(words[0], names, where), _shares(words[1:], where)
        if len(values) == 4:
            x, y, width, height = values
            corners, boxes = box_corners(x - width / 2, y - height / 2, width, height), boxes + 1
        elif len(values) % 2 or not values:
            raise DatasetError(
                f"{where}: expected x and y by turns behind the class, or a box's four values; received "
                f"{counted(len(values), 'value')}. Are these predictions with a confidence?"
            )
        else:
            corners = np.array(values, np.float64).reshape(-1, 2)
        shapes.append(Shape(names[class_id], Area((np.clip(corners, 0, 1),)), where))
    return shapes, boxes


def _class_id(word: str, names: Mapping[int, str], where: str) -> int:
    number = int(word[:9]) if word.isascii() and word.isdecimal() else -1
    if number not in names:
        raise DatasetError(f"{where}: expected a class of {some(sorted(map(str, names)))}, received {word[:40]!r}")
    return number


def _shares(words: Sequence[str], where: str) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        raise DatasetError(f"{where}: expected numbers behind the class: {error}") from error
    if wrong := next((value for value in values if not -_PAST <= value <= 1 + _PAST), None):
        raise DatasetError(
            f"{where}: expected shares of the picture's size, 0 to 1, received {wrong:g}. Are these pixels?"
        )
    return values
