"""Pictures in folders, and which mask, drawing or annotation belongs to which of them: by their names."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from edge.errors import DatasetError, SourceError
from edge.pictures import (
    SUFFIXES,
    as_text,
    is_text,
    list_files,
    read_decoded,
    read_to_look_at,
    to_look_at,
    turned,
)
from edge.records import UInt8
from edge.wording import counted
from trainer.importing.labelled import LabelsLie

_NAMED = 20
_MANIFEST = "manifest.csv"
_MASK = re.compile(r"(?<![a-z])masks?(?![a-z])", re.IGNORECASE)
# Folders that hold pictures, in lower case.
OF_PICTURES = frozenset({"images", "imgs", "img", "image", "pictures", "photos", "jpegimages"})
# Folders that hold drawings of pictures rather than pictures, in lower case.
OF_MASKS = frozenset({
    "mask", "masks", "ground_truth", "groundtruth", "gt", "gtfine", "gtcoarse", "label", "labels", "annotation",
    "annotations", "ann", "seg", "segmentation", "segmentationclass", "segmentationobject", "ignore_masks",
})  # fmt: skip


def files_below(folder: Path, suffixes: Sequence[str], told: list[str] | None = None) -> dict[str, Path]:
    """Return the files of a folder and its subfolders by their path below it (`/` between), in natural order.

    `suffixes` are in lower case; a file's may be in any. Left-out files are added to `told`. Raises DatasetError where
    the folder is none or holds none, or for a name that no table can hold.
    """
    if not folder.is_dir():
        raise DatasetError(f"No folder at {folder}; expected one with files {', '.join(suffixes)} in it")
    try:
        listing = list_files(folder, suffixes)
    except SourceError as error:
        raise DatasetError(str(error)) from error
    if told is not None:
        told += listing.told()
    if not listing.files:
        raise DatasetError(
            "; ".join((f"{folder} holds no file with one of the suffixes {', '.join(suffixes)}", *listing.told()))
        )
    found = {path.relative_to(folder).as_posix(): path for path in listing.files}
    if odd := [as_text(name) for name in found if not is_text(name)]:
        raise DatasetError(f"{folder}: expected names in UTF-8, which a table can hold; rename {listed(odd)}")
    return found


def pictures_below(folder: Path, told: list[str] | None = None) -> dict[str, Path]:
    """Return the pictures of a folder and its subfolders, as `files_below` does."""
    return files_below(folder, SUFFIXES, told)


def lies_among_masks(name: str) -> bool:
    """Tell whether a file's path, `/` between, has a folder that is called as folders of masks are."""
    return any(part.lower() in OF_MASKS or _MASK.search(part) for part in name.split("/")[:-1])


def never_clean(lacking: Sequence[str], found: Mapping[str, Path], told: list[str]) -> set[str]:
    """Return those of the pictures that lack labels which are none: masks, and what an earlier import has written.

    `found`: all pictures by their names; of these at least one is kept. `told` gets what is left out.
    """
    written = _imported({path.parents[depth] for name, path in found.items() for depth in range(name.count("/"))})
    kinds = {
        "folders of masks": [name for name in lacking if lies_among_masks(name)],
        f"datasets, which have {_MANIFEST}": [
            name for name in lacking if any(parent in written for parent in found[name].parents)
        ],
    }
    if len(left_out := {name for names in kinds.values() for name in names}) == len(found):
        return set()
    told += [
        f"left out: {counted(len(names), 'file')} in {kind}: {some(names)}" for kind, names in kinds.items() if names
    ]
    return left_out


def _imported(folders: Collection[Path]) -> set[Path]:
    return {folder for folder in folders if (folder / _MANIFEST).is_file()}


def has_pictures(folder: Path) -> bool:
    """Tell whether a folder or one below it has pictures."""
    try:
        return bool(list_files(folder, SUFFIXES).files)
    except SourceError as error:
        raise DatasetError(str(error)) from error


def source_folder(source: Path) -> Path:
    """Return where pictures lie that a file or folder of labels speaks of: beside it or, where there are none, above.

    Raises DatasetError where there is nothing at `source`.
    """
    if not source.exists():
        raise DatasetError(f"No labels at {source}; expected a file or a folder")
    folder = source.resolve() if source.is_dir() else source.resolve().parent
    return folder if has_pictures(folder) else folder.parent


def below(folder: Path, root: Path) -> str:
    """Return a folder's path below another, `/` between, or nothing where it lies elsewhere."""
    own, above = folder.resolve(), root.resolve()
    return own.relative_to(above).as_posix() if own.is_relative_to(above) else ""


def folders_called(folder: Path, names: Collection[str]) -> list[Path]:
    """Return the folders in one that hold pictures and have one of these names, which are in lower case."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror or error}") from error
    return [path for path in inside if path.name.lower() in names and path.is_dir() and has_pictures(path)]


def folder_of_masks(folder: Path) -> Path | None:
    """Return the folder in one that holds masks of classes; None where there is none, or several may."""
    found = [path for path in folders_called(folder, OF_MASKS) if path.name.lower() != "segmentationobject"]
    return found[0] if len(found) == 1 else None


def read_whole(path: Path) -> UInt8:
    """Read a picture to look at, as uint8 BGR [H, W, 3]. Raises DatasetError naming the file."""
    try:
        return read_to_look_at(path)
    except SourceError as error:
        raise DatasetError(str(error)) from error


@dataclass(frozen=True)
class PictureFile:
    """A picture that was read and found whole, and how it is turned. Shapes are (height, width), px.

    `orientation`: Exif's, 1 = as stored. `greatest`: the greatest level of one of 16 bits that states no depth, else 0.
    """

    path: Path
    shape_px: tuple[int, int]
    stored_px: tuple[int, int]
    orientation: int
    greatest: int

    def place(self, labels_px: tuple[int, int] | None, lie: LabelsLie, where: str) -> bool:
        """Tell whether labels of `labels_px` (None: they do not say) lie on the picture as shown; else as stored.

        Raises DatasetError for labels of another size, and where a picture is turned and nothing says which.
        """
        fits_shown = labels_px in {None, self.shape_px}
        fits_stored = self.orientation != 1 and labels_px in {None, self.stored_px}
        if fits_shown and fits_stored and not lie:
            raise DatasetError(
                f"{where}: {self.path} is turned by its orientation ({self.orientation}), and its labels fit it turned "
                "and unturned. Give --labels-lie shown if they were drawn on the picture as a viewer shows it, or "
                "--labels-lie stored"
            )
        if fits_shown and (lie != "stored" or not fits_stored):
            return True
        if fits_stored:
            return False
        assert labels_px is not None  # noqa: S101 - None fits what is shown
        raise DatasetError(
            f"{where}: expected {self.shape_px[1]} x {self.shape_px[0]} px as in {self.path}, "
            f"received {labels_px[1]} x {labels_px[0]}"
        )

    def as_shown(self, mask: UInt8) -> UInt8:
        """Turn a mask that lies on the picture as stored."""
        found: UInt8 = turned(mask, self.orientation)
        return found

    def notes(self, *, by_labels: bool | None = None) -> tuple[str, ...]:
        """Say that the picture is turned, and how its labels were taken: None = it has none."""
        if self.orientation == 1:
            return ()
        labels = {None: "", True: "; labels lie as shown", False: "; labels were turned too"}
        return (f"turned by the orientation in the file{labels[by_labels]}",)


def read_file(path: Path) -> tuple[PictureFile, UInt8]:
    """Read a picture and return what is known of it, and its pixels to look at. Raises DatasetError naming the file."""
    try:
        decoded = read_decoded(path)
        pixels = to_look_at(path, decoded)
    except SourceError as error:
        raise DatasetError(str(error)) from error
    deep = decoded.pixels.dtype == np.uint16 and decoded.header.declared_bits is None
    greatest = int(decoded.pixels.max()) if deep else 0
    height, width = decoded.shape_px
    orientation = decoded.header.orientation
    stored = (width, height) if orientation >= 5 else (height, width)
    return PictureFile(path, (height, width), stored, orientation, greatest), pixels


def some(names: Sequence[str]) -> str:
    """Name the first three of many, and say how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def listed(names: Sequence[Any]) -> str:
    """Name all of a few, or the first twenty of many and how many more there are."""
    return ", ".join(map(str, names[:_NAMED])) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def each_told(head: str, problems: Sequence[Any]) -> list[str]:
    """Return the lines of an error: all of a few problems, or the first twenty and how many more there are.

    A problem of several lines stays below one another. Give each line to the error as an argument of its own.
    """
    shown = [f"  {line}" for problem in problems[:_NAMED] for line in str(problem).split("\n")]
    return [head, *shown, *([f"  and {len(problems) - _NAMED} more"] if len(problems) > _NAMED else [])]


def without_suffix(name: str, added: str = "") -> str:
    """`a/b.jpg` → `a/b`; `a/b_mask.png` → `a/b` where `_mask` is added."""
    bare = PurePosixPath(name).with_suffix("").as_posix()
    return _key(bare).removesuffix(_key(added)) if added else bare


def has_suffix(name: str, added: str) -> bool:
    """Tell whether a file's name ends in what is added, before its own suffix; accents in either form."""
    return _key(without_suffix(name)).endswith(_key(added))


def _key(name: str) -> str:
    """Return a name whose accents are composed, as tables of one system and folders of another may not have them."""
    return unicodedata.normalize("NFC", name)


def _loose(name: str) -> str:
    """Return a name in lower case, with `_` for blanks and without signs, as Django's uploads have them."""
    return re.sub(r"[^\w./-]", "", _key(name).strip().replace(" ", "_")).lower()


class NotOneError(DatasetError):
    """Several files have a name."""


class NameIndex:
    """Finds a file by what another program calls it: with folders or without, with its suffix or without.

    Folders count: of a name and a file's path, one must be the end of the other, part by part.
    """

    def __init__(self, names: Sequence[str], kind: str) -> None:
        self._kind = kind
        self._by_name: dict[str, set[str]] = defaultdict(set)
        self._by_last: dict[str, set[str]] = defaultdict(set)
        self._keys: dict[str, str] = {}
        self._loose: NameIndex | None = None
        for name in names:
            self._add(_key(name), name)

    def _add(self, key: str, name: str) -> None:
        self._keys[name] = key
        for called in (key, without_suffix(key)):
            self._by_name[called].add(name)
            self._by_last[PurePosixPath(called).name].add(name)

    def find(self, *called: str, where: str) -> str | None:
        """Return the one file of the first name that fits: the whole path first, then one that ends as the other.

        None where no file has one of these names. Raises NotOneError where several have, naming them.
        """
        wanted = [_key(name) for name in called]
        for name in wanted:
            if found := self._one(self._by_name.get(name, set()), name, where):
                return found
        for name in wanted:
            files = self._by_last.get(PurePosixPath(name).name, ())
            alike = {file for file in files if _ends_alike(name, self._keys[file])}
            if found := self._one(alike, name, where):
                return found
        return None

    def find_loosely(self, *called: str, where: str) -> str | None:
        """Return the one file whose name differs in capitals, blanks and signs only, as systems and uploads alter them.

        As `find`, which comes first.
        """
        if self._loose is None:
            self._loose = NameIndex((), self._kind)
            for name in self._keys:
                self._loose._add(_loose(name), name)  # noqa: SLF001 - of its own kind
        return self._loose.find(*map(_loose, called), where=where)

    def _one(self, files: set[str], name: str, where: str) -> str:
        found = sorted(files)
        if len(found) > 1:
            raise NotOneError(
                f"{where}: expected one {self._kind} of the name {name}, received {', '.join(found)}. "
                "Keep one of them, or let both folders have the same subfolders"
            )
        return found[0] if found else ""


def _ends_alike(name: str, file: str) -> bool:
    folders, others = PurePosixPath(name).parts[:-1], PurePosixPath(file).parts[:-1]
    shared = min(len(folders), len(others))
    return not shared or folders[-shared:] == others[-shared:]
