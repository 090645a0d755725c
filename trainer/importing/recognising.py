"""The contents of a folder: recognised by its files, said in words, refused where it could be several things."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge.errors import DatasetError, SourceError
from edge.evidence.exporting import MANIFEST as EVIDENCE_MANIFEST
from edge.evidence.index import INDEX as EVIDENCE_INDEX
from edge.pictures import SUFFIXES, list_files
from edge.pictures.tables import read_table
from edge.wording import command, counted
from trainer.datasets.class_naming import means_clean
from trainer.importing.annotations import LabelChoices
from trainer.importing.class_folders import Level, read_class_folders
from trainer.importing.coco import CocoChoices, is_coco, read_coco
from trainer.importing.cvat import LABEL_MAP, read_cvat
from trainer.importing.datumaro import is_datumaro, read_datumaro
from trainer.importing.evidence import read_evidence
from trainer.importing.label_json import Node, read_label_json
from trainer.importing.label_studio import is_label_studio, read_label_studio
from trainer.importing.labelled import LabelSource
from trainer.importing.labelme import is_labelme, read_labelme
from trainer.importing.lookout import SUFFIXES as LOOKOUT
from trainer.importing.lookout import is_lookout, read_lookout
from trainer.importing.manifest_csv import read_manifests
from trainer.importing.mask_folders import read_masks, read_masks_by_class
from trainer.importing.mask_sets import MaskChoices
from trainer.importing.pairing import has_pictures, some, without_suffix
from trainer.importing.picture_folders import is_mvtec, read_mvtec, read_side_by_side, twins_below
from trainer.importing.rle_csv import JOINED, SEPARATE, read_rle
from trainer.importing.voc_boxes import read_voc
from trainer.importing.yolo import find_data_yaml, label_files, read_yolo

MANIFEST = "manifest.csv"
_PICTURES = ("images", "imgs", "img", "pictures", "photos", "JPEGImages")
_MASKS = ("masks", "mask", "ground_truth", "gt", "SegmentationClass")
_SUFFIXES_OF_MASKS = ("_mask", "_label", "_gt", "_seg")
_DEFECT = "defect"
_HEAD = 4096
_KINDS_SHOWN = 12
Reader = Callable[[LabelChoices, Path], LabelSource]


@dataclass(frozen=True)
class Recognised:
    """One thing that a folder may be. `verb`: the import that reads it; `words`: what it is, for people.

    `read`: makes labels of it, given choices and an empty folder that lasts as long as they are wanted. `beside`: what
    lies there too and is not read.
    """

    verb: str
    words: str
    read: Reader
    beside: tuple[str, ...] = ()


def recognised(folder: Path) -> Recognised:
    """Tell what lies in a folder. Raises DatasetError where that is nothing known, or could be several things."""
    if not folder.is_dir():
        raise DatasetError(f"No folder at {folder}; expected one with pictures and their labels")
    labels = [*_of_tools(folder)]
    if (folder / MANIFEST).is_file():
        beside = tuple(f"not read, since manifest.csv says all: {each.words}" for each in labels)
        rows = len(read_manifest_rows(folder / MANIFEST))
        return Recognised(
            "manifest",
            f"a dataset with manifest.csv, {counted(rows, 'row')}",
            lambda *_: read_manifests([folder]),
            beside,
        )
    found = labels or [*_of_folders(folder)]
    if len(found) > 1:
        ways = "; ".join(f"{each.words} (import {each.verb})" for each in found)
        raise DatasetError(f"{folder} could be several things: {ways}. Name the one that is meant")
    if not found:
        raise DatasetError(
            f"{folder}: {_what_there_is(folder)}. {command('linewatch-train', 'import', '--help')} lists "
            "what can be imported"
        )
    return found[0]


def read_manifest_rows(path: Path) -> Sequence[object]:
    """Return the rows of a manifest. Raises DatasetError."""
    try:
        return read_table(path, ("image", "class", "group")).rows
    except SourceError as error:
        raise DatasetError(str(error)) from error


def _of_tools(folder: Path) -> Iterator[Recognised]:
    """Yield what files of labels say."""
    if (folder / EVIDENCE_MANIFEST).is_file() or (folder / EVIDENCE_INDEX).is_file():
        yield Recognised("evidence", "pictures that a station kept", lambda _, scratch: read_evidence(folder, scratch))
        return
    yield from _of_json(folder)
    yield from _of_xml(folder)
    yield from _of_yolo(folder)
    yield from _of_csv(folder)
    if (folder / LABEL_MAP).is_file():
        yield Recognised("cvat", "CVAT's masks with labelmap.txt", lambda choices, _: read_cvat(folder, None, choices))
    for path in _files(folder, *LOOKOUT):
        if is_lookout(path):
            words = f"Lookout for Vision's manifest: {_named([path], folder)}"
            yield Recognised("lookout", words, _reading_lookout(path, folder))


def _reading_lookout(path: Path, folder: Path) -> Reader:
    return lambda choices, _: read_lookout(path, folder, choices)


def _of_json(folder: Path) -> Iterator[Recognised]:
    kinds: dict[str, list[Path]] = defaultdict(list)
    for path in _files(folder, ".json"):
        kinds[_json_kind(read_label_json(path))].append(path)
    readers: dict[str, tuple[str, Reader]] = {
        "coco": ("COCO's JSON", lambda choices, _: read_coco(folder, None, choices, CocoChoices())),
        "labelme": ("labelme's JSON", lambda choices, scratch: read_labelme(folder, None, choices, scratch)),
        "label-studio": ("Label Studio's JSON", lambda choices, _: read_label_studio(folder, None, choices)),
        "datumaro": ("Datumaro's JSON", lambda choices, _: read_datumaro(folder, None, choices)),
    }
    for kind, (words, read) in readers.items():
        if own := kinds.get(kind):
            yield Recognised(kind, f"{words}: {_named(own, folder)}", read)


def _json_kind(root: Node) -> str:
    kinds = {"coco": is_coco, "labelme": is_labelme, "label-studio": is_label_studio, "datumaro": is_datumaro}
    return next((kind for kind, fits in kinds.items() if root.value and fits(root)), "")


def _of_xml(folder: Path) -> Iterator[Recognised]:
    kinds: dict[str, list[Path]] = defaultdict(list)
    for path in _files(folder, ".xml"):
        kinds[_xml_kind(path)].append(path)
    if own := kinds.get("cvat"):
        yield Recognised(
            "cvat", f"CVAT's XML: {_named(own, folder)}", lambda choices, _: read_cvat(folder, None, choices)
        )
    if own := kinds.get("voc"):
        places = {path.parent for path in own}
        images = next((folder / name for name in _PICTURES if (folder / name).is_dir()), folder)
        labels = places.pop() if len(places) == 1 else folder

        def read(choices: LabelChoices, _: Path) -> LabelSource:
            clean, lie = choices.missing_is_clean, choices.labels_lie
            return read_voc(images, labels, first_pixel=1, missing_is_clean=clean, labels_lie=lie)

        yield Recognised("voc", f"boxes in Pascal VOC's XML, counted from 1: {_named(own, folder)}", read)


def _xml_kind(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    if b"<annotations>" in head or b"<annotations " in head:
        return "cvat"
    return "voc" if b"<annotation>" in head or b"<annotation " in head else ""


def _of_yolo(folder: Path) -> Iterator[Recognised]:
    named = find_data_yaml(folder) is not None or any(
        (folder / name).is_file() for name in ("classes.txt", "obj.names")
    )
    if not named or not _files(folder, ".txt"):
        return
    if own := label_files(folder):
        yield Recognised(
            "yolo",
            f"YOLO's text files: {counted(len(own), 'file')}",
            lambda choices, _: read_yolo(folder, None, {}, choices),
        )


def _of_csv(folder: Path) -> Iterator[Recognised]:
    for path in _files(folder, ".csv"):
        if path.name == MANIFEST:
            continue
        try:
            read_table(path, SEPARATE, JOINED)
        except SourceError:
            continue
        yield Recognised(
            "rle",
            f"run-length encoded masks: {_named([path], folder)}",
            lambda choices, _, path=path: read_rle(path, folder, {}, choices.labels_lie),  # type: ignore[misc]  # bound now
        )


def _of_folders(folder: Path) -> Iterator[Recognised]:
    """Yield what the folders and names of pictures say, the first that fits."""
    if is_mvtec(folder):
        yield Recognised(
            "mvtec", "MVTec's folders", lambda choices, _: read_mvtec(folder, MaskChoices(), choices.labels_lie)
        )
        return
    if (apart := _images_and_masks(folder)) is not None:
        yield apart
        return
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder, *SUFFIXES)}
    if (suffixed := _by_suffix(folder, files)) is not None:
        yield suffixed
        return
    if any(mask for _, mask in _twins(folder).values()):
        yield Recognised(
            "side-by-side",
            "pictures with their masks beside them, folders are classes",
            lambda choices, _: read_side_by_side(folder, "", MaskChoices(), choices.labels_lie),
        )
        return
    if (classes := _class_folders(folder, files)) is not None:
        yield classes


def _images_and_masks(folder: Path) -> Recognised | None:
    """Tell of a folder of pictures with one of masks beside it."""
    images = [folder / name for name in _PICTURES if (folder / name).is_dir() and has_pictures(folder / name)]
    masks = [folder / name for name in _MASKS if (folder / name).is_dir() and has_pictures(folder / name)]
    if len(images) != 1 or len(masks) != 1:
        return None
    (pictures,), (drawn,) = images, masks
    kinds = sorted(path.name for path in drawn.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    where = f"pictures in {pictures.name}, masks in {drawn.name}"
    if not kinds or _numbered(kinds):
        words = f"{where}: all of one class, which is called {_DEFECT}"
        return Recognised("masks", words, lambda choices, _: _of_one_class(pictures, drawn, "", choices))
    return Recognised(
        "masks",
        f"{where}, whose folders are classes: {some(kinds)}",
        lambda choices, _: read_masks_by_class(
            pictures, drawn, "", choices=MaskChoices(), labels_lie=choices.labels_lie
        ),
    )


def _by_suffix(folder: Path, files: Mapping[str, Path]) -> Recognised | None:
    """Tell of masks that lie among the pictures, and whose names say so."""
    stems = {without_suffix(name) for name in files}
    for suffix in _SUFFIXES_OF_MASKS:
        masks = {stem for stem in stems if stem.endswith(suffix)}
        if not masks or not all(stem.removesuffix(suffix) in stems for stem in masks):
            continue
        inner = sorted({PurePosixPath(stem).parts[0] for stem in masks if "/" in stem})
        words = f"masks beside their pictures, named …{suffix}: all of one class, which is called {_DEFECT}"
        if inner and not _numbered(inner):
            raise DatasetError(
                f"{folder}: {words.partition(':')[0]}, in the folders {some(inner)}, which may be classes. Import each "
                f"of them: import masks {folder / inner[0]} {folder / inner[0]} --suffix {suffix} --class {inner[0]}, "
                "and join them (import manifest A B)"
            )
        if inner:
            words += f". If each folder is a piece ({some(inner)}) give --group-from-path '^([^/]+)/'"
        return Recognised("masks", words, _reading_suffix(folder, suffix))
    return None


def _reading_suffix(folder: Path, suffix: str) -> Reader:
    return lambda choices, _: _of_one_class(folder, folder, suffix, choices)


def _of_one_class(images: Path, masks: Path, suffix: str, choices: LabelChoices) -> LabelSource:
    return read_masks(
        images,
        masks,
        suffix,
        class_name=_DEFECT,
        choices=MaskChoices(),
        labels_lie=choices.labels_lie,
        missing_is_clean=choices.missing_is_clean,
    )


def _class_folders(folder: Path, files: Mapping[str, Path]) -> Recognised | None:
    """Tell of pictures in folders that are called as classes, without masks."""
    inner = next((folder / name for name in _PICTURES if (folder / name).is_dir()), folder)
    names = [path.relative_to(inner).parts[:-1] for path in files.values() if path.is_relative_to(inner)]
    if not names or not all(names):
        return None
    first, last = (sorted({parts[place] for parts in names}) for place in (0, -1))
    level: Level = "last" if _numbered(first) and first != last else "first"
    classes = last if level == "last" else first
    if _numbered(classes):
        raise DatasetError(
            f"{folder}: pictures in the folders {some(classes)}, which differ by a number only and so may be pieces or "
            "days rather than classes. Put them into a folder of their class, such as good, or name the import that is "
            "meant: import class-folders"
        )
    words = f"folders of classes without masks: {some(classes)}"
    if level == "last":
        words += f", in the folders {some(first)}"
    return Recognised("class-folders", words, lambda *_: read_class_folders(inner, at_most=None, seed=0, level=level))


def _numbered(names: Sequence[str]) -> bool:
    """Tell whether names differ by their numbers only, as those of pieces and days do: kos01, kos02; 3, 4."""
    bare = {"".join(sign for sign in name if not sign.isdigit()).casefold() for name in names}
    return len(names) > 1 and len(bare) == 1 and not any(means_clean(name) for name in names)


def _twins(folder: Path) -> Mapping[str, tuple[Path, Path | None]]:
    return twins_below(folder) if has_pictures(folder) else {}


def _files(folder: Path, *suffixes: str) -> tuple[Path, ...]:
    try:
        return list_files(folder, suffixes).files
    except SourceError as error:
        raise DatasetError(str(error)) from error


def _named(paths: Sequence[Path], folder: Path) -> str:
    return some([path.relative_to(folder).as_posix() for path in paths])


def _what_there_is(folder: Path) -> str:
    kinds: dict[str, int] = defaultdict(int)
    for path in folder.rglob("*"):
        if path.is_file() and len(kinds) < _KINDS_SHOWN:
            kinds[path.suffix.lower() or "no suffix"] += 1
    there = ", ".join(f"{count} {suffix}" for suffix, count in sorted(kinds.items())) or "nothing"
    return f"expected pictures with labels in a form that is known, received {there}"
