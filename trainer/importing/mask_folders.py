"""Pictures, and masks of the same names → labels.

There are four kinds of folders:

- one folder of masks per class;
- one mask per picture, all of one class;
- one mask per picture whose values are class ids;
- one mask per picture whose colours are classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge.errors import DatasetError, SourceError
from edge.pictures import list_pictures, read_decoded, why_left_out
from edge.records import UInt8
from edge.wording import counted
from trainer.datasets.class_naming import checked_name, is_clean, speaks_of_good
from trainer.datasets.dataset import IGNORE_MASK
from trainer.importing.grouping import with_groups
from trainer.importing.indexed_png import read_indexed
from trainer.importing.labelled import ClassMask, LabelledPicture, LabelsLie, LabelSource, one_by_one
from trainer.importing.mask_sets import Colour, MaskChoices, MaskSet, by_colour
from trainer.importing.pairing import (
    OF_MASKS,
    NameIndex,
    PictureFile,
    each_told,
    has_suffix,
    never_clean,
    pictures_below,
    read_file,
    some,
    without_suffix,
)

# Gives the masks of one file by class, uint8 [H, W], before they are placed on the picture.
_Reader = Callable[[Path], Sequence[tuple[str, UInt8 | None]]]
_Masks = Mapping[str, Sequence[tuple[Path, _Reader]]]


def read_masks_by_class(
    images: Path, masks: Path, suffix: str, *, choices: MaskChoices | None = None, labels_lie: LabelsLie = ""
) -> LabelSource:
    """Read `masks/<class>/…`: each folder's masks are of its class. A picture without any mask has empty ones.

    `suffix`: what a mask's name has behind its picture's. Raises DatasetError naming every mask without a picture.
    """
    told: list[str] = []
    folders = sorted(path for path in masks.iterdir() if path.is_dir()) if masks.is_dir() else []
    folders = [each for each in folders if not each.name.startswith((".", "__")) and not why_left_out(each.name)]
    if not folders:
        raise DatasetError(
            f"{masks}: expected a folder of masks for each class, received none. One mask per picture is read with "
            "--class NAME, or with --names 1=NAME,2=NAME if its values are class ids"
        )
    _refuse_stray(masks, folders)
    found = _pictures_apart(images, masks, suffix, told)
    pairs = _Pairs(found, frozenset(folder.name for folder in folders))
    for folder in folders:
        files = pictures_below(folder, told)
        reader = _one_class(folder.name, list(files.values()), choices or MaskChoices(), told)
        for name, path in files.items():
            called = without_suffix(name, suffix)
            pairs.add(path, reader, called, f"{folder.name}/{called}", of_class=folder.name)
    return LabelSource(len(found), one_by_one(found.items(), _labelling(pairs.finish(), labels_lie)), told=told)


def read_masks(
    images: Path,
    masks: Path,
    suffix: str,
    *,
    class_name: str = "",
    ids: Mapping[int, str] | None = None,
    ignored_ids: Sequence[int] = (),
    colours: Mapping[Colour, str] | None = None,
    choices: MaskChoices | None = None,
    labels_lie: LabelsLie = "",
    missing_is_clean: bool,
) -> LabelSource:
    """Read one mask per picture: all of `class_name`, or of `ids` by pixel value (0 is clean), or of `colours`.

    Pixels of `ignored_ids` are neither learned from nor judged.

    A picture without a mask is an error, unless `missing_is_clean`. Raises DatasetError naming every mask without a
    picture.
    """
    told: list[str] = []
    found = _pictures_apart(images, masks, suffix, told)
    below = pictures_below(masks, told)
    files = {name: path for name, path in below.items() if has_suffix(name, suffix)}
    if images.resolve() != masks.resolve() and (
        others := [str(path) for name, path in below.items() if name not in files]
    ):
        told.append(
            f"{counted(len(others), 'file')} of {masks} are no masks, for their names do not end in {suffix}: "
            f"{some(others)}"
        )
    if ids or colours:
        reader = _indexed({**ids, **dict.fromkeys(ignored_ids, IGNORE_MASK)}) if ids else _coloured(colours or {})
        named = [name for name in (ids or colours or {}).values() if name != IGNORE_MASK]
    else:
        name = checked_name(class_name, "--class")
        reader, named = _one_class(name, list(files.values()), choices or MaskChoices(), told), [class_name]
    pairs = _Pairs(found)
    for name, path in files.items():
        called = without_suffix(name, suffix)
        pairs.add(path, reader, *dict.fromkeys((beside_masks(called), called)), of_class="")
    by_picture = pairs.finish()
    apart = never_clean([name for name in found if name not in by_picture], found, told)
    found = {name: path for name, path in found.items() if name not in apart}
    lacking = [str(path) for name, path in found.items() if name not in by_picture]
    if lacking and not missing_is_clean:
        raise DatasetError(
            f"{counted(len(lacking), 'picture has', 'pictures have')} no mask in {masks}: {some(lacking)}. "
            "If nothing is wrong with them give --missing-is-clean, otherwise add their masks"
        )
    labelled = one_by_one(found.items(), _labelling(by_picture, labels_lie))
    return with_groups(LabelSource(len(found), labelled, tuple(dict.fromkeys(named)), told), masks)


def beside_masks(name: str) -> str:
    """Return a mask's name as that of its picture where masks have a folder beside them: `a/Label/1` → `a/1`."""
    folder, _, last = name.rpartition("/")
    above, _, own = folder.rpartition("/")
    if own.lower() not in OF_MASKS:
        return name
    return f"{above}/{last}" if above else last


def _refuse_stray(masks: Path, folders: Sequence[Path]) -> None:
    """Raise DatasetError for masks beside the folders of the classes: of which class they are nothing says."""
    listing = list_pictures(masks)
    inside = {folder.name for folder in folders}
    stray = [str(path) for path in listing.files if path.relative_to(masks).parts[0] not in inside]
    if stray:
        raise DatasetError(
            f"{counted(len(stray), 'mask lies', 'masks lie')} in no class's folder: {some(stray)}. Move them "
            f"into one, or read masks of one "
            "class with --class NAME"
        )


def _pictures_apart(images: Path, masks: Path, suffix: str, told: list[str]) -> dict[str, Path]:
    """List the pictures; masks among them are left out by their suffix or their folder."""
    found = pictures_below(images, told)
    if images.resolve() == masks.resolve():
        if not suffix:
            raise DatasetError(f"{images} holds pictures and masks: expected --suffix, which tells masks from pictures")
        found = {name: path for name, path in found.items() if not has_suffix(name, suffix)}
    elif masks.resolve().is_relative_to(images.resolve()):
        found = {name: path for name, path in found.items() if not path.resolve().is_relative_to(masks.resolve())}
    if not found:
        raise DatasetError(f"{images} holds no picture beside masks")
    return found


class _Pairs:
    """The masks of each picture; unpaired files are collected, and told of all at once.

    `classes`: the folders that masks lie in by class. A picture is none of this class in a folder with another one's
    name, or one that says clean.
    """

    def __init__(self, found: Mapping[str, Path], classes: frozenset[str] = frozenset()) -> None:
        self._found, self._classes = found, classes
        self._index = NameIndex(tuple(found), "picture")
        self._by_picture: dict[str, list[tuple[Path, _Reader]]] = defaultdict(list)
        self._first: dict[tuple[str, str], Path] = {}
        self._problems: list[str] = []

    def add(self, mask: Path, reader: _Reader, *called: str, of_class: str) -> None:
        """Pair one mask by what it is called."""
        try:
            picture = self._index.find(*reversed(called), where=str(mask))
        except DatasetError as error:
            self._problems.append(str(error))
            return
        if picture is not None and (folder := self._contradicts(picture, of_class)):
            self._problems.append(f"{mask}: {picture} has its name, and lies in the folder {folder}")
        elif picture is None:
            self._problems.append(
                f"{mask}: expected a picture of the name {called[0]} for this mask, received none"
                + self._hint(called[0])
            )
        elif (before := self._first.setdefault((picture, of_class), mask)) != mask:
            self._problems.append(f"{self._found[picture]}: expected one mask, received {before} and {mask}")
        else:
            self._by_picture[picture].append((mask, reader))

    def _hint(self, called: str) -> str:
        """Name the suffix that would pair a mask, or what its name has before its picture's."""
        last = called.rpartition("/")[2]
        stems = sorted((without_suffix(name).rpartition("/")[2] for name in self._found), key=len, reverse=True)
        for stem in stems:
            if last.startswith(stem) and last[len(stem) : len(stem) + 1] in {"_", "-", ".", " "}:
                return f". Give --suffix {last[len(stem) :]}, if that is what masks have behind their pictures' names"
            if last.endswith(stem) and not last[: -len(stem)][-1:].isalnum() and last != stem:
                return f". Is it {stem}'s? Then take {last[: -len(stem)]} off the names of the masks"
            if last == stem:
                return f". A picture called {stem} lies in another folder: give both the same folders"
            if last.casefold() == stem.casefold():
                return f". {stem} differs from it in capitals: give both the same name"
        return ""

    def _contradicts(self, picture: str, of_class: str) -> str:
        folders = picture.split("/")[:-1]
        if not of_class or of_class in folders:
            return ""
        return next((each for each in folders if each in self._classes or speaks_of_good(each)), "")

    def finish(self) -> Mapping[str, list[tuple[Path, _Reader]]]:
        """Return the masks of each picture. Raises DatasetError with all that does not pair."""
        if len(self._problems) == 1:
            raise DatasetError(self._problems[0])
        if self._problems:
            head = f"{counted(len(self._problems), 'mask does', 'masks do')} not pair:"
            raise DatasetError(*each_told(head, self._problems))
        return self._by_picture


def _labelling(masks: _Masks, labels_lie: LabelsLie) -> Callable[[str, Path], LabelledPicture]:
    def make(name: str, path: Path) -> LabelledPicture:
        file, _ = read_file(path)
        own = masks.get(name, ())
        findings: list[ClassMask] = []
        shown: bool | None = None
        for mask_path, read in own:
            for class_name, mask in read(mask_path):
                if mask is None:
                    findings.append(ClassMask(class_name, None))
                    continue
                clean = next((part for part in name.split("/")[:-1] if speaks_of_good(part)), "")
                if clean and mask.any() and class_name != IGNORE_MASK:
                    raise DatasetError(
                        f"{mask_path}: it has a defect, and its picture {path} lies in the folder {clean}. Is it "
                        "another picture's mask? Otherwise move the picture to another folder"
                    )
                placed, lies_shown = _placed(file, mask, mask_path, labels_lie)
                shown = lies_shown if shown is None else shown and lies_shown
                findings.append(ClassMask(class_name, placed, str(mask_path)))
        where = str(own[0][0]) if own else str(path)
        notes = file.notes(by_labels=shown)
        return LabelledPicture(name, path, file.shape_px, tuple(findings), where, notes=notes, greatest=file.greatest)

    return make


def _placed(file: PictureFile, mask: UInt8, path: Path, labels_lie: LabelsLie) -> tuple[UInt8, bool | None]:
    shape = (mask.shape[0], mask.shape[1])
    own = read_decoded(path).header.orientation if mask.any() else 1
    if own not in {1, file.orientation}:
        raise DatasetError(
            f"{path} is turned by an orientation of its own ({own}), and its picture {file.path} by "
            f"{file.orientation}: expected a mask as it is shown. Save it without Exif"
        )
    if own == file.orientation or (not mask.any() and shape == file.shape_px):
        file.place(shape, "shown", str(path))
        return mask, True if mask.any() else None
    shown = file.place(shape, labels_lie, str(path))
    return (mask if shown else file.as_shown(mask)), shown


def _one_class(name: str, paths: Sequence[Path], choices: MaskChoices, told: list[str]) -> _Reader:
    if is_clean(name):
        return lambda _: ((name, None),)
    masks = MaskSet(paths, choices)
    told += [f"{name}: {line}" for line in masks.told]
    return lambda path: ((name, masks.read(path)[0]),)


def _coloured(colours: Mapping[Colour, str]) -> _Reader:
    def read(mask: Path) -> Sequence[tuple[str, UInt8 | None]]:
        try:
            decoded = read_decoded(mask)
        except SourceError as error:
            raise DatasetError(str(error)) from error
        return [each for each in by_colour(decoded, mask, colours) if not is_clean(each[0])]

    return read


def _indexed(ids: Mapping[int, str]) -> _Reader:
    def read(mask: Path) -> Sequence[tuple[str, UInt8 | None]]:
        values = read_indexed(mask)
        counts = np.bincount(values.reshape(-1), minlength=256)
        present = [int(value) for value in np.flatnonzero(counts) if value]
        if unknown := [value for value in present if value not in ids]:
            raise DatasetError(
                f"{mask}: expected the values 0 and {', '.join(map(str, sorted(ids)))}, received {unknown[0]} on "
                f"{int(counts[unknown[0]])} px. Name it: --names {unknown[0]}=NAME, or =ok if it says nothing, or give "
                f"--ignore {unknown[0]} if what it covers is neither to be learned from nor judged"
            )
        return [
            (ids[value], np.where(values == value, np.uint8(255), np.uint8(0)))
            for value in present
            if not is_clean(ids[value])
        ]

    return read
