"""Amazon Lookout for Vision's manifest: a line of JSON for each picture, and masks in colours.

The service ended on 2025-10-31; its datasets live on as manifests (Ground Truth's augmented manifests). A label is
normal or anomaly; a mask's colours are named in the line, white is its background.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge.errors import DatasetError, SourceError
from edge.pictures import list_files
from edge.wording import counted
from trainer.importing.annotations import LabelChoices, Painted, PictureLabels, Shape, label_source, names_of
from trainer.importing.label_json import Node, parse_label_json
from trainer.importing.labelled import LabelSource
from trainer.importing.pairing import NameIndex, below, pictures_below, source_folder

SUFFIXES = (".manifest", ".jsonl")
_BYTES_AT_MOST = 256_000_000
_METADATA = "-metadata"
_HEX = re.compile(r"^#?([0-9A-Fa-f]{6})$")
_NORMAL, _BACKGROUND = "normal", "background"
_WHITE = (255, 255, 255)


def is_lookout(path: Path) -> bool:
    """Tell whether a file's first line looks like a line of such a manifest."""
    try:
        with path.open("rb") as file:
            line = file.readline(1 << 20)
            return b'"source-ref"' in line and line.lstrip(b"\xef\xbb\xbf \t").startswith(b"{")
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error


def manifests_below(folder: Path) -> tuple[Path, ...]:
    """Return the manifests of a folder and its subfolders. Raises DatasetError."""
    try:
        return tuple(path for path in list_files(folder, (*SUFFIXES, ".json")).files if is_lookout(path))
    except SourceError as error:
        raise DatasetError(str(error)) from error


def read_lookout(source: Path, images: Path | None, choices: LabelChoices) -> LabelSource:
    """Read a manifest, or all of a folder's.

    Pictures and masks are found by their names below `images`, or where the manifests lie. Raises DatasetError naming
    file and line.
    """
    folder = images or source_folder(source)
    manifests = (source,) if source.is_file() else manifests_below(source)
    files = pictures_below(folder)
    index = NameIndex(tuple(files), "mask")
    labels, masks = [], []
    for manifest in manifests:
        inside = below(manifest.parent, folder)
        for line in _lines(manifest):
            shapes, clean, mask = _shapes(line, index, files, inside)
            masks += [mask] if mask is not None else []
            called = names_of(line.get("source-ref").text(), inside)
            labels.append(PictureLabels(called, None, tuple(shapes), line.where, declared_clean=clean))
    if not labels:
        raise DatasetError(f"{source}: expected a line of JSON with source-ref for each picture, received none")
    told = [f"{counted(len(masks), 'mask')} in colours"] if masks else []
    return label_source(labels, folder, choices, told, lists_pictures=True, masks=masks)


def _lines(manifest: Path) -> Iterator[Node]:
    try:
        raw = manifest.read_bytes()
    except OSError as error:
        raise DatasetError(f"{manifest} cannot be read: {error.strerror or error}") from error
    if len(raw) > _BYTES_AT_MOST:
        raise DatasetError(f"{manifest}: expected labels of at most {_BYTES_AT_MOST // 1_000_000} MB, received more")
    for number, line in enumerate(raw.splitlines(), start=1):
        if line.strip():
            yield parse_label_json(line, f"{manifest}, line {number}")


def _shapes(
    line: Node, index: NameIndex, files: Mapping[str, Path], inside: str
) -> tuple[list[Shape], bool, Path | None]:
    """Return what a line labels, whether it says that the picture is normal, and its mask."""
    if not isinstance(line.value, dict):
        raise line.wrong("an object")
    masks = [key for key in line.value if key.endswith("-ref") and key != "source-ref"]
    if len(masks) > 1:
        raise DatasetError(f"{line.where}: expected one mask, received {', '.join(masks)}")
    normal, label = _label(line)
    if not masks:
        return ([] if normal else [Shape(label, None, line.where)]), normal, None
    key = masks[0]
    colours = line.get(f"{key}{_METADATA}").get("internal-color-map")
    if not isinstance(colours.value, dict):
        raise colours.wrong("the names of its mask's colours")
    named = {
        _colour(entry.get("hex-color")): entry.get("class-name").text()
        for entry in (colours.get(number) for number in colours.value)
    }
    classes = {colour: called for colour, called in named.items() if called.lower() != _BACKGROUND}
    if normal and not classes:  # the service gives all normal pictures one mask, of another size
        return [], True, None
    name = index.find(*names_of(line.get(key).text(), inside), where=line.where)
    if name is None:
        raise DatasetError(f"{line.where}: expected the mask {line.get(key).text()}, received none")
    known = frozenset({_WHITE, *named})
    shapes = [Shape(called, Painted(files[name], colour, known), line.where) for colour, called in classes.items()]
    return shapes, False, files[name]


def _label(line: Node) -> tuple[bool, str]:
    """Return whether a picture is normal, and the class that it has as a whole."""
    named = [
        line.get(key).get("class-name").text()
        for key in line.value
        if key.endswith(_METADATA) and isinstance(line.value[key], dict) and "class-name" in line.value[key]
    ]
    if len(named) != 1:
        raise DatasetError(
            f"{line.where}: expected one label with a class-name, received {counted(len(named), 'label')}"
        )
    return named[0].lower() == _NORMAL, named[0]


def _colour(node: Node) -> tuple[int, int, int]:
    found = _HEX.match(node.text())
    if not found:
        raise node.wrong("a colour such as #2ca02c")
    value = int(found[1], 16)
    return value >> 16, value >> 8 & 255, value & 255
