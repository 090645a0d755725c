"""The contents of a folder: recognised by its files, said in words, refused where it could be several things."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from edge.errors import DatasetError, SourceError
from edge.evidence.exporting import MANIFEST as EVIDENCE_MANIFEST
from edge.evidence.index import INDEX as EVIDENCE_INDEX
from edge.pictures import SUFFIXES, list_files, why_left_out
from edge.pictures.tables import read_table
from edge.wording import command, counted
from trainer.datasets.class_naming import is_of_a_split, means_clean
from trainer.importing.annotations import LabelChoices
from trainer.importing.class_folders import Level, read_class_folders
from trainer.importing.coco import CocoChoices, is_coco, read_coco
from trainer.importing.cvat import LABEL_MAP, read_cvat
from trainer.importing.datumaro import is_datumaro, read_datumaro
from trainer.importing.evidence import read_evidence
from trainer.importing.label_json import Node, read_label_json
from trainer.importing.label_studio import is_label_studio, is_without_kinds, read_label_studio
from trainer.importing.labelled import LabelSource
from trainer.importing.labelme import is_labelme, read_labelme
from trainer.importing.lookout import SUFFIXES as LOOKOUT
from trainer.importing.lookout import is_lookout, manifests_below, read_lookout
from trainer.importing.manifest_csv import read_manifests
from trainer.importing.mask_folders import beside_masks, read_masks, read_masks_by_class
from trainer.importing.mask_sets import MaskChoices
from trainer.importing.pairing import (
    OF_MASKS,
    OF_PICTURES,
    folder_of_masks,
    folders_called,
    has_pictures,
    lies_among_masks,
    some,
    without_suffix,
)
from trainer.importing.picture_folders import is_mvtec, read_mvtec, read_side_by_side, twins_below
from trainer.importing.rle_csv import JOINED, SEPARATE, read_rle
from trainer.importing.voc_boxes import read_voc
from trainer.importing.yolo import find_data_yaml, label_files, looks_like_labels, names_files, read_yolo

MANIFEST = "manifest.csv"
_SUFFIXES_OF_MASKS = ("_mask", "_masks", "_label", "_labels", "_gt", "_seg")
_OF_MASKS_ALONE = re.compile(r"(?:_masks?|_labels?|_gt|_seg|labelids|instanceids|_color)$", re.IGNORECASE)
_LABELS = (".json", ".jsonl", ".manifest", ".xml", ".csv", ".yaml", ".yml")
_NO_LABELS = re.compile(r"readme|licen[cs]e|changelog|requirements|notes|citation", re.IGNORECASE)
_VOC_MASKS = "SegmentationClass"
_CLASSES = "_classes.csv"
_DEEPEST = 8
_DEFECT = "defect"
_HEAD = 4096
_KINDS_SHOWN = 12
Reader = Callable[[LabelChoices, Path], LabelSource]


@dataclass(frozen=True)
class Recognised:
    """One thing that a folder may be. `verb`: the import that reads it; `words`: what it is, for people.

    `given`: what that import is given. `read`: makes labels of it, given choices and an empty folder that lasts as long
    as they are wanted. `beside`: what lies there too and is not read. `folder`: where it lies, in the folder that was
    asked about.
    """

    verb: str
    words: str
    given: tuple[str | Path, ...]
    read: Reader
    beside: tuple[str, ...] = ()
    folder: Path = Path()

    def typed(self) -> str:
        """Return its command."""
        return command("linewatch-train", "import", self.verb, *map(str, self.given))


def recognised(folder: Path) -> Recognised:
    """Tell what lies in a folder, or in the only one that it holds.

    Raises DatasetError where that is nothing known, or could be several things.
    """
    if folder.is_file():
        kind = _kind_of_file(folder)
        raise DatasetError(
            f"{folder} is a file; expected the folder of a whole export, or a zip of it. Give its folder, or name its "
            f"import: {command('linewatch-train', 'import', *([kind, folder] if kind else ['--help']))}"
        )
    if not folder.is_dir():
        raise DatasetError(f"No folder at {folder}; expected one with pictures and their labels")
    found = _inside(folder, _DEEPEST)
    if found is None:
        raise DatasetError(
            f"{folder}: {_what_there_is(folder)}. {command('linewatch-train', 'import', '--help')} lists "
            "what can be imported"
        )
    return found


def _kind_of_file(path: Path) -> str:
    """Return the import that reads a file, or nothing."""
    if path.suffix.lower() in {*LOOKOUT, ".json"} and is_lookout(path):
        return "lookout"
    if path.suffix.lower() == ".json":
        return _json_kind(read_label_json(path))
    return _xml_kind(path) if path.suffix.lower() == ".xml" else ""


def _inside(folder: Path, deepest: int) -> Recognised | None:
    """Tell what lies in a folder; None where that is nothing known."""
    inner = _only_folder(folder) if deepest else None
    if inner is not None and not _strays(folder):
        return _inside(inner, deepest - 1)
    labels = [*_of_tools(folder)]
    if (folder / MANIFEST).is_file():
        beside = tuple(f"not read, since manifest.csv says all: {each.words}" for each in labels)
        rows = len(read_manifest_rows(folder / MANIFEST))
        words = f"a dataset with manifest.csv, {counted(rows, 'row')}"
        return Recognised("manifest", words, (folder,), lambda *_: read_manifests([folder]), beside, folder)
    if (found := _one(folder, labels) or _one(folder, [*_of_folders(folder)])) is not None:
        return found
    if inner is not None and (found := _inside(inner, deepest - 1)) is not None:
        strays = some([path.name for path in _strays(folder)])
        return replace(found, beside=(*found.beside, f"not read, of a form that is not known: {strays}"))
    if sets := [path for path in _entries(folder) if path.is_dir() and is_mvtec(path)]:
        each = command("linewatch-train", "import", "auto", sets[0])
        raise DatasetError(
            f"{folder}: MVTec's folders in {some([path.name for path in sets])}. Import one by one: {each}"
        )
    files = {path.relative_to(folder).as_posix(): path for path in _files(folder, *SUFFIXES)}
    return _one(folder, [each for each in (_class_folders(folder, files),) if each is not None])


def _one(folder: Path, found: Sequence[Recognised]) -> Recognised | None:
    if len(found) > 1:
        ways = "; ".join(f"{each.words} (import {each.verb})" for each in found)
        raise DatasetError(
            f"{folder} could be several things: {ways}. Type the one that is meant:",
            *(f"  {each.typed()}" for each in found),
        )
    return replace(found[0], folder=folder) if found else None


def _entries(folder: Path) -> list[Path]:
    """Return what lies in a folder and counts: nothing hidden, and nothing that says what others are."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror or error}") from error
    return [
        path
        for path in entries
        if not path.name.startswith(".") and not why_left_out(path.name) and not _NO_LABELS.match(path.name)
    ]


def _strays(folder: Path) -> list[Path]:
    """Return the files of a folder itself that may be labels or pictures."""
    known = {*_LABELS, *SUFFIXES, ".txt", ".names", ".data", ".db"}
    return [path for path in _entries(folder) if path.suffix.lower() in known and path.is_file()]


def _only_folder(folder: Path) -> Path | None:
    """Return the only folder in one where it is more than a class: it has files of labels, or several folders."""
    folders = [path for path in _entries(folder) if path.is_dir()]
    if len(folders) != 1 or any(path.suffix.lower() in SUFFIXES for path in _strays(folder)):
        return None
    (inner,) = folders
    labels = [path for path in _strays(inner) if path.suffix.lower() not in SUFFIXES]
    several = sum(path.is_dir() for path in _entries(inner)) > 1
    return inner if labels or several or _only_folder(inner) is not None else None


def read_manifest_rows(path: Path) -> Sequence[object]:
    """Return the rows of a manifest. Raises DatasetError."""
    try:
        return read_table(path, ("image", "class", "group")).rows
    except SourceError as error:
        raise DatasetError(str(error)) from error


def _of_tools(folder: Path) -> Iterator[Recognised]:
    """Yield what files of labels say."""
    if (folder / EVIDENCE_MANIFEST).is_file() or (folder / EVIDENCE_INDEX).is_file():
        words = "pictures that a station kept"
        yield Recognised("evidence", words, (folder,), lambda _, scratch: read_evidence(folder, scratch))
        return
    manifests = manifests_below(folder)
    yield from _of_json(folder, manifests)
    yield from _of_xml(folder)
    yield from _of_yolo(folder)
    yield from _of_csv(folder)
    if (folder / LABEL_MAP).is_file():
        words = f"CVAT's masks with {LABEL_MAP}"
        label_map = folder / LABEL_MAP
        yield Recognised("cvat", words, (label_map,), lambda choices, _: read_cvat(label_map, None, choices))
    if manifests:
        words = f"Lookout for Vision's manifest: {_named(manifests, folder)}"
        yield Recognised("lookout", words, (folder,), lambda choices, _: read_lookout(folder, folder, choices))


def _of_json(folder: Path, manifests: Sequence[Path]) -> Iterator[Recognised]:
    kinds: dict[str, list[Path]] = defaultdict(list)
    for path in _files(folder, ".json"):
        if path not in manifests:
            kinds[_json_kind(read_label_json(path))].append(path)
    readers: dict[str, tuple[str, Reader]] = {
        "coco": ("COCO's JSON", lambda choices, _: read_coco(folder, None, choices, CocoChoices())),
        "labelme": ("labelme's JSON", lambda choices, scratch: read_labelme(folder, None, choices, scratch)),
        "label-studio": ("Label Studio's JSON", lambda choices, _: read_label_studio(folder, None, choices)),
        "datumaro": ("Datumaro's JSON", lambda choices, _: read_datumaro(folder, None, choices)),
    }
    for kind, (words, read) in readers.items():
        if own := kinds.get(kind):
            yield Recognised(kind, f"{words}: {_named(own, folder)}", (folder,), read)


def _json_kind(root: Node) -> str:
    if root.value and is_without_kinds(root):
        raise DatasetError(
            f"{root.where} looks like Label Studio's JSON-MIN, which does not say what of it is a label. Export JSON"
        )
    kinds = {"coco": is_coco, "labelme": is_labelme, "label-studio": is_label_studio, "datumaro": is_datumaro}
    return next((kind for kind, fits in kinds.items() if root.value and fits(root)), "")


def _of_xml(folder: Path) -> Iterator[Recognised]:
    kinds: dict[str, list[Path]] = defaultdict(list)
    for path in _files(folder, ".xml"):
        kinds[_xml_kind(path)].append(path)
    if own := kinds.get("cvat"):
        given = own[0] if len(own) == 1 else folder
        words = f"CVAT's XML: {_named(own, folder)}"
        yield Recognised("cvat", words, (given,), lambda choices, _: read_cvat(given, folder, choices))
    if own := kinds.get("voc"):
        places = {path.parent for path in own}
        images = _folder_of_pictures(folder) or folder
        labels = places.pop() if len(places) == 1 else folder

        def read(choices: LabelChoices, _: Path) -> LabelSource:
            clean, lie = choices.missing_is_clean, choices.labels_lie
            return read_voc(images, labels, first_pixel=1, missing_is_clean=clean, labels_lie=lie)

        words = f"boxes in Pascal VOC's XML, counted from 1: {_named(own, folder)}"
        yield Recognised("voc", words, (images, labels), read)
        if (masks := folder / _VOC_MASKS).is_dir() and not (folder / LABEL_MAP).is_file():
            by_ids = (images, masks, "--names", "1=NAME", "--ignore", "255", "--missing-is-clean")
            yield Recognised("masks", f"masks of class ids in {_VOC_MASKS}", by_ids, lambda *_: _never())


def _never() -> LabelSource:
    raise AssertionError("what could be several things is not read")


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
    if not _files(folder, ".txt") or not _files(folder, *SUFFIXES):
        return
    own = label_files(folder)
    named = find_data_yaml(folder) is not None or bool(names_files(folder))
    if own and (named or looks_like_labels(max(own.values(), key=lambda path: path.stat().st_size))):
        words = f"YOLO's text files: {counted(len(own), 'file')}" + ("" if named else ", without names of classes")
        yield Recognised("yolo", words, (folder,), lambda choices, _: read_yolo(folder, None, {}, choices))


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
            (path, "--images", folder),
            lambda choices, _, path=path: read_rle(path, folder, {}, choices.labels_lie),  # type: ignore[misc]  # bound now
        )


def _of_folders(folder: Path) -> Iterator[Recognised]:
    """Yield what the folders and names of pictures say, the first that fits."""
    if is_mvtec(folder):
        words = "MVTec's folders"
        yield Recognised(
            "mvtec", words, (folder,), lambda choices, _: read_mvtec(folder, MaskChoices(), choices.labels_lie)
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
            (folder,),
            lambda choices, _: read_side_by_side(folder, "", MaskChoices(), choices.labels_lie),
        )


def _folder_of_pictures(folder: Path) -> Path | None:
    found = folders_called(folder, OF_PICTURES)
    return found[0] if len(found) == 1 else None


def _images_and_masks(folder: Path) -> Recognised | None:
    """Tell of a folder of pictures with one of masks beside it."""
    pictures, drawn = _folder_of_pictures(folder), folder_of_masks(folder)
    if pictures is None or drawn is None:
        return None
    kinds = [path.name for path in _entries(drawn) if path.is_dir()]
    where = f"pictures in {pictures.name}, masks in {drawn.name}"
    if not kinds or _numbered(kinds) or all(map(is_of_a_split, kinds)):
        words = f"{where}: all of one class, which is called {_DEFECT}"
        return Recognised(
            "masks", words, (pictures, drawn), lambda choices, _: _of_one_class(pictures, drawn, "", choices)
        )
    return Recognised(
        "masks",
        f"{where}, whose folders are classes: {some(kinds)}",
        (pictures, drawn),
        lambda choices, _: read_masks_by_class(
            pictures, drawn, "", choices=MaskChoices(), labels_lie=choices.labels_lie
        ),
    )


def _by_suffix(folder: Path, files: Mapping[str, Path]) -> Recognised | None:
    """Tell of masks that lie among the pictures, or in a folder beside them, and whose names say so."""
    stems = {without_suffix(name) for name in files}
    for known in _SUFFIXES_OF_MASKS:
        masks = {stem for stem in stems if stem.lower().endswith(known)}
        ends = {stem[-len(known) :] for stem in masks}  # in whichever capitals
        if len(ends) != 1:
            continue
        (suffix,) = ends
        if any(not {name := stem.removesuffix(suffix), beside_masks(name)} & stems for stem in masks):
            continue
        inner = sorted({PurePosixPath(stem).parts[0] for stem in masks if "/" in stem})
        words = f"masks beside their pictures, named …{suffix}: all of one class, which is called {_DEFECT}"
        if all(is_of_a_split(each) or each.lower() in OF_MASKS for each in inner):
            inner = []
        if inner and not _numbered(inner):
            raise DatasetError(
                f"{folder}: {words.partition(':')[0]}, in the folders {some(inner)}, which may be classes. Import each "
                f"of them: import masks {folder / inner[0]} {folder / inner[0]} --suffix {suffix} --class {inner[0]}, "
                "and join them (import manifest A B)"
            )
        if inner:
            words += f". If each folder is a piece ({some(inner)}) give --group-from-path '^([^/]+)/'"
        given: tuple[str | Path, ...] = (folder, folder, "--suffix", suffix)
        if ids := _roboflow_classes(folder):
            names = ",".join(f"{number}={name}" for number, name in ids.items())
            words = f"{words.partition(':')[0]}: class ids, {names} by {_CLASSES}"
            return Recognised("masks", words, (*given, "--names", names), _reading_suffix(folder, suffix, ids))
        return Recognised("masks", words, given, _reading_suffix(folder, suffix))
    return None


def _roboflow_classes(folder: Path) -> dict[int, str]:
    """Return the classes by number that tables of Roboflow's masks name; nothing where there is none."""
    tables = {}
    for path in (path for path in _files(folder, ".csv") if path.name == _CLASSES):
        try:
            rows = read_table(path, ("Pixel Value", "Class")).rows
        except SourceError:
            return {}
        tables[tuple((row.values["Pixel Value"].strip(), row.values["Class"].strip()) for row in rows)] = path
    if len(tables) != 1:
        return {}
    (found,) = tables
    numbers = [
        (number, name) for number, name in found if number.isascii() and number.isdecimal() and int(number) <= 255
    ]
    return {int(number): name for number, name in numbers if int(number)} if len(numbers) == len(found) else {}


def _reading_suffix(folder: Path, suffix: str, ids: Mapping[int, str] | None = None) -> Reader:
    if not ids:
        return lambda choices, _: _of_one_class(folder, folder, suffix, choices)
    return lambda choices, _: replace(
        read_masks(
            folder, folder, suffix, ids=ids, labels_lie=choices.labels_lie, missing_is_clean=choices.missing_is_clean
        ),
        names=(),  # a project has classes that no picture shows
    )


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
    """Tell of pictures in folders that are called as classes, without masks.

    Raises DatasetError where they may be pieces, days, parts of a set, or masks.
    """
    inner = _folder_of_pictures(folder) or folder
    names = [path.relative_to(inner).parts[:-1] for path in files.values() if path.is_relative_to(inner)]
    if not names or not all(names):
        return None
    first, last = (sorted({parts[place] for parts in names}) for place in (0, -1))
    good_inside = any(map(means_clean, last)) and not any(map(means_clean, first))
    level: Level = (
        "last" if first != last and (_numbered(first) or all(map(is_of_a_split, first)) or good_inside) else "first"
    )
    classes = last if level == "last" else first
    given = (inner, "--class-folder", "last") if level == "last" else (inner,)
    by_hand = command("linewatch-train", "import", "class-folders", *map(str, given))
    if why := _why_no_classes(folder, files, classes, [parts[1:] for parts in names] if level == "first" else []):
        raise DatasetError(
            f"{folder}: pictures in the folders {some(classes)}, {why}. Put each into a folder of its class, such as "
            f"good, or name the import that is meant. If these folders are classes: {by_hand}"
        )
    words = f"folders of classes without masks: {some(classes)}"
    if level == "last":
        words += f", in the folders {some(first)}"
    return Recognised(
        "class-folders", words, given, lambda *_: read_class_folders(inner, at_most=None, seed=0, level=level)
    )


def _why_no_classes(
    folder: Path, files: Mapping[str, Path], classes: Sequence[str], below: Sequence[tuple[str, ...]]
) -> str:
    """Say why folders may be no classes, or nothing. `below`: the folders in them, of each picture."""
    why = ""
    if labels := [path for path in _files(folder, ".json", ".xml", ".csv") if not _NO_LABELS.match(path.name)]:
        why = f"and labels in a form that is not known: {_named(labels, folder)}"
    elif _numbered(classes):
        why = "which differ by a number only and so may be pieces or days rather than classes"
    elif len(classes) == 1 and not means_clean(classes[0]):
        why = "which is one folder only, and nothing says whether they are good"
    elif any(map(is_of_a_split, classes)):
        why = "which look like parts of a set rather than classes"
    elif masks := [name for name in files if lies_among_masks(name) or _OF_MASKS_ALONE.search(without_suffix(name))]:
        alike = counted(len(masks), "file among them looks like a mask", "files among them look like masks")
        why = f"and {alike}: {some(masks)}"
    elif inside := sorted({part for parts in below for part in parts if means_clean(part) or is_of_a_split(part)}):
        why = f"with the folders {some(inside)} in them: these may be sets, to be imported one by one"
    elif len(inside := sorted({parts[-1] for parts in below if parts})) > 1:
        why = f"with the folders {some(inside)} in them, which may be the classes: give --class-folder last if they are"
    return why


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
