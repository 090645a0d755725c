"""The dataset folder that every import writes: pictures as they are, masks of 0 and 255, the manifest, a preview.

It is checked as the trainer reads it, and an import that was interrupted is absent, not half there.
"""

from __future__ import annotations

import csv
import random
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from rich.console import Console
from rich.progress import track

from edge.errors import DatasetError, StoreError
from edge.opencv import cv2
from edge.pictures import bits_seen
from edge.records import UInt8
from edge.wording import counted
from trainer.datasets.class_naming import is_clean, questions, renamed
from trainer.datasets.dataset import ANNOTATOR, COLUMNS, IGNORE_MASK, read_manifest
from trainer.datasets.whole_folders import unwritable, whole_or_absent
from trainer.importing.labelled import BrokenPicture, ClassMask, LabelledPicture, LabelSource
from trainer.importing.pairing import each_told, some, without_suffix
from trainer.importing.preview import write_preview

IMAGES, MASKS, MANIFEST, PREVIEW, REPORT = "images", "masks", "manifest.csv", "preview.png", "report.csv"
IGNORE_MASKS = "ignore_masks"
CLEAN_NAME = "ok"
BY_PATH = "--group-from-path"
_CLEAN_ROW = ("", CLEAN_NAME, "")


@dataclass(frozen=True)
class WritingSettings:
    """The choices of all imports.

    `empty_share`: of the pictures whose masks have no pixel, 0-1, that become clean pictures; the others are left out.
    `group_from`: a regular expression on a picture's file name; its first group (or all of it) names the physical
    piece. `group_from_path`: the same on its whole path, all of whose groups count. `rename`: class names → other
    names. `preview`: how many pictures the contact sheet shows. `seed` chooses. `annotator`: who drew the masks, where
    the labels do not say.
    """

    empty_share: float = 1.0
    group_from: re.Pattern[str] | None = None
    group_from_path: re.Pattern[str] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    preview: int = 24
    seed: int = 0
    annotator: str = ""


@dataclass(frozen=True)
class Written:
    """The outcome of an import. `by_class`: pictures of each class; `clean`: pictures without any, the empty included.

    `empty_kept`, `empty_dropped`: names of pictures whose masks have no pixel. `overlapping`: names of pictures with
    pixels of two classes, where the class that comes last counts. `ignored`: pictures with pixels that are left out.
    `notes`: how files were understood, for people.
    """

    pictures: int
    groups: int
    by_class: Mapping[str, int]
    clean: int
    empty_kept: tuple[str, ...]
    empty_dropped: tuple[str, ...]
    overlapping: tuple[str, ...]
    notes: tuple[str, ...] = ()
    ignored: int = 0


def write_dataset(source: LabelSource, out: Path, settings: WritingSettings, console: Console) -> Written:
    """Write the dataset folder `out`, which is absent or empty before and whole after.

    Raises DatasetError, StoreError.
    """
    with whole_or_absent(out, "importing") as folder:
        writer = _DatasetWriter(folder, settings)
        for picture in track(
            source.pictures,
            "importing",
            total=source.total,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ):
            writer.take(picture)
        return writer.finish(source.names, source.told)


@dataclass(frozen=True)
class _Kept:
    """One picture as it stands in the manifest.

    `rows`: (mask path or nothing, class, annotator or nothing). `ignore_mask`: the path of its mask, or nothing.
    """

    name: str
    group: str | None
    rows: tuple[tuple[str, str, str], ...]
    ignore_mask: str = ""


class _DatasetWriter:
    def __init__(self, folder: Path, settings: WritingSettings) -> None:
        self._folder, self._settings = folder, settings
        self._kept: list[_Kept] = []
        # the number of those kept before it, for the order; the picture; its mask of ignored pixels
        self._empty: list[tuple[int, LabelledPicture, str]] = []
        self._names: set[str] = set()
        self._mask_names: set[str] = set()
        self._overlapping: list[str] = []
        self._shown: set[str] = set()
        self._bare: dict[str, list[str]] = {}  # the places of a class's masks that have no pixel
        self._broken: list[str] = []
        self._unfit: dict[str, str] = {}  # what no class may be called, and why
        self._notes: Counter[str] = Counter()
        self._greatest = self._deep = 0
        self._called: set[str] = set()  # classes as the labels call them
        for name in (IMAGES, MASKS):
            (folder / name).mkdir()

    def take(self, picture: LabelledPicture | BrokenPicture) -> None:
        """Add a picture; its faults are kept, so that all can be told at once."""
        if isinstance(picture, BrokenPicture):
            self._broken.append(picture.reason)
            return
        try:
            self.add(picture)
        except DatasetError as error:
            self._broken.append(str(error))

    def add(self, picture: LabelledPicture) -> None:
        if picture.name in self._names:
            raise DatasetError(f"{picture.where}: the picture {picture.name} comes twice; expected each once")
        self._names.add(picture.name)
        self._notes.update(picture.notes)
        if picture.greatest:
            self._greatest, self._deep = max(self._greatest, picture.greatest), self._deep + 1
        masks, labels, declared_clean = self._by_class(picture)
        ignored = self._write_ignored(picture)
        if not masks and not labels and not declared_clean:
            self._empty.append((len(self._kept), _without_masks(picture), ignored))
            return
        self._copy(picture)
        drawn_by = self._annotators(picture)
        rows = [(self._write_mask(picture.name, name, mask), name, drawn_by[name]) for name, mask in masks.items()]
        rows += [("", name, drawn_by[name]) for name in sorted(labels)]
        if len(masks) > 1 and int(np.sum([mask > 0 for mask in masks.values()], axis=0).max()) > 1:
            self._overlapping.append(picture.name)
        self._kept.append(_Kept(picture.name, picture.group, tuple(rows) or (_CLEAN_ROW,), ignored))

    def _by_class(self, picture: LabelledPicture) -> tuple[dict[str, UInt8], set[str], bool]:
        """Return masks with pixels by class, classes without masks, and whether it is said to be clean."""
        masks: dict[str, UInt8] = {}
        labels: set[str] = set()
        declared_clean = picture.declared_clean
        for finding in _of_classes(picture):
            where = finding.where or picture.where
            self._called.add(finding.name)
            try:
                name = renamed(finding.name, self._settings.rename, where)
            except DatasetError as error:  # told at the end, with all others
                self._unfit.setdefault(finding.name, str(error))
                continue
            if is_clean(name):  # said in words, unless by a mask that has no pixel either
                declared_clean |= finding.mask is None or bool(finding.mask.any())
            elif finding.mask is None:
                labels.add(name)
            elif finding.mask.shape != picture.shape_px:
                raise _other_size(where, finding.mask, picture)
            elif finding.mask.any():
                mask = np.where(finding.mask > 0, np.uint8(255), np.uint8(0))
                masks[name] = masks[name] | mask if name in masks else mask
            else:
                self._bare.setdefault(name, []).append(where)
        self._shown |= labels | masks.keys()
        return masks, labels - set(masks), declared_clean

    def _annotators(self, picture: LabelledPicture) -> dict[str, str]:
        """Return who drew each class on a picture; several, if their masks became one, with + between them."""
        found: dict[str, set[str]] = defaultdict(set)
        for finding in _of_classes(picture):
            name = self._settings.rename.get(finding.name, finding.name)
            found[name].add(finding.annotator or self._settings.annotator)
        return {name: "+".join(sorted(filter(None, who))) for name, who in found.items()}

    def _copy(self, picture: LabelledPicture) -> None:
        target = self._folder / IMAGES / picture.name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture.path, target)
        except OSError as error:
            raise StoreError(
                f"{picture.path} cannot be copied to {target}: {error.strerror or error}. "
                "Free some space or name another folder"
            ) from error

    def _write_ignored(self, picture: LabelledPicture) -> str:
        """Write the mask of what is left out of a picture; return its path, or nothing where nothing is."""
        masks = [each.mask for each in picture.findings if each.name == IGNORE_MASK and each.mask is not None]
        for mask in masks:
            if mask.shape != picture.shape_px:
                raise _other_size(picture.where, mask, picture)
        ignored = np.maximum.reduce(masks) > 0 if masks else np.zeros((1, 1), bool)
        if not ignored.any():
            return ""
        mask = np.where(ignored, np.uint8(255), np.uint8(0))
        return self._write_png(f"{IGNORE_MASKS}/{without_suffix(picture.name)}", mask)

    def _write_mask(self, picture: str, name: str, mask: UInt8) -> str:
        return self._write_png(f"{MASKS}/{name}/{without_suffix(picture)}", mask)

    def _write_png(self, stem: str, mask: UInt8) -> str:
        relative, number = f"{stem}.png", 1
        while relative in self._mask_names:  # a.jpg and a.png are two pictures
            number += 1
            relative = f"{stem}-{number}.png"
        self._mask_names.add(relative)
        _, encoded = cv2.imencode(".png", mask)
        target = self._folder / relative
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(encoded.tobytes())
        except OSError as error:
            raise unwritable(target, error) from error
        return relative

    def _check_classes(self, expected: Iterable[str]) -> None:
        """Raise DatasetError for a class that is spoken of and that no picture shows: nothing can learn it."""
        named = [renamed(name, self._settings.rename, "--names") for name in expected]
        for name in (*self._bare, *named):
            if name not in self._shown and not is_clean(name):
                bare = self._bare.get(name, [])
                masks = f"{counted(len(bare), 'mask')} without a pixel: {some(bare)}" if bare else "no mask of it"
                raise DatasetError(
                    f"The class {name} is empty: expected a picture that shows it, received {masks}. Mend the labels, "
                    f"or leave the class out, with --rename {name}=ok where an import takes it"
                )

    def finish(self, expected: Iterable[str], told: Sequence[str]) -> Written:
        if self._broken or self._unfit:
            raise DatasetError(*_all_of([*self._unfit.values()], "class name"), *_all_of(self._broken, "picture"))
        self._check_names()
        if self._names:  # more is amiss than a class where no picture fits at all
            self._check_classes(expected)
        kept, dropped = self._keep_a_share_of_the_empty()
        if not self._kept:
            raise DatasetError(
                "No picture is left to import: expected at least one"
                + (f", received {len(dropped)} whose masks have no pixel. Keep them: --empty keep" if dropped else "")
            )
        groups = self._groups()
        self._write_manifest(groups)
        entries = read_manifest(self._folder, need_masks=False)
        write_preview(self._folder / PREVIEW, entries, at_most=self._settings.preview, seed=self._settings.seed)
        classes = Counter(name for entry in entries for name in entry.classes)
        return Written(
            pictures=len(entries),
            groups=len(set(groups.values())),
            by_class=dict(sorted(classes.items())),
            clean=sum(not entry.classes for entry in entries),
            empty_kept=kept,
            empty_dropped=dropped,
            overlapping=tuple(self._overlapping),
            notes=(*told, *self._told()),
            ignored=sum(bool(kept.ignore_mask) for kept in self._kept),
        )

    def _check_names(self) -> None:
        """Ask about classes that may not be what they seem, and about renamings of what is not there."""
        names = self._settings.rename
        if unused := sorted(old for old, new in names.items() if old != new and old not in self._called):
            raise DatasetError(
                f"--rename {unused[0]}={names[unused[0]]}: expected one of the classes "
                f"{', '.join(sorted(self._called)) or 'none'}, received {unused[0]}"
            )
        if asked := questions(self._shown | self._bare.keys(), names):
            raise DatasetError(*asked)

    def _told(self) -> list[str]:
        lines = [f"{counted(count, 'picture is', 'pictures are')} {note}" for note, count in self._notes.items()]
        if self._deep:
            bits = bits_seen(self._greatest)
            deep = f"{counted(self._deep, 'picture has', 'pictures have')} 16 bits for each level"
            lines.append(
                f"{deep} and none above {self._greatest}: say how many bits count in the recipe, such as preparing: "
                f"[{{step: depth, bits: {bits}}}]"
                if bits < 16
                else f"{deep}; the upper 8 of them are used"
            )
        return lines

    def _keep_a_share_of_the_empty(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        count = round(self._settings.empty_share * len(self._empty))
        chosen = set(random.Random(self._settings.seed).sample(range(len(self._empty)), count))
        for added, place in enumerate(sorted(chosen)):
            before, picture, ignored = self._empty[place]
            self._copy(picture)
            self._kept.insert(before + added, _Kept(picture.name, picture.group, (_CLEAN_ROW,), ignored))
        for place, (_, _, ignored) in enumerate(self._empty):
            if ignored and place not in chosen:
                (self._folder / ignored).unlink()
        names = [picture.name for _, picture, _ in self._empty]
        return (
            tuple(name for place, name in enumerate(names) if place in chosen),
            tuple(name for place, name in enumerate(names) if place not in chosen),
        )

    def _groups(self) -> dict[str, str]:
        """Name each picture's group: by the expression, by the format, or else each picture is a piece of its own."""
        by_name, by_path = self._settings.group_from, self._settings.group_from_path
        stems = Counter(PurePosixPath(kept.name).stem for kept in self._kept)
        groups = {}
        for kept in self._kept:
            last = PurePosixPath(kept.name)
            if by_path is not None:
                groups[kept.name] = _group_by(by_path, kept.name, BY_PATH)
            elif by_name is not None:
                groups[kept.name] = _group_by(by_name, last.name, "--group-from")
            else:
                groups[kept.name] = kept.group or (last.stem if stems[last.stem] == 1 else without_suffix(kept.name))
        return groups

    def _write_manifest(self, groups: Mapping[str, str]) -> None:
        path = self._folder / MANIFEST
        try:
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                known = any(annotator for kept in self._kept for *_, annotator in kept.rows)
                ignored = any(kept.ignore_mask for kept in self._kept)
                writer.writerow((*COLUMNS, *[ANNOTATOR] * known, *[IGNORE_MASK] * ignored))
                for kept in self._kept:
                    for mask, name, annotator in kept.rows:
                        row = (f"{IMAGES}/{kept.name}", mask, name, groups[kept.name])
                        writer.writerow((*row, *[annotator] * known, *[kept.ignore_mask] * ignored))
        except OSError as error:
            raise unwritable(path, error) from error


def _all_of(problems: Sequence[str], what: str) -> list[str]:
    """Return the lines of an error, one for each; none of no problem."""
    if len(problems) < 2:
        return [line for problem in problems for line in problem.split("\n")]
    return each_told(f"{counted(len(problems), what)} cannot be used:", problems)


def _of_classes(picture: LabelledPicture) -> list[ClassMask]:
    return [finding for finding in picture.findings if finding.name != IGNORE_MASK]


def _other_size(where: str, mask: UInt8, picture: LabelledPicture) -> DatasetError:
    height, width = mask.shape
    return DatasetError(
        f"{where}: expected a mask of {picture.shape_px[1]} x {picture.shape_px[0]} px as in {picture.path}, "
        f"received {width} x {height}"
    )


def _without_masks(picture: LabelledPicture) -> LabelledPicture:
    """Forget masks that have no pixel, so that many empty pictures do not fill the memory."""
    return replace(picture, findings=())


def _group_by(expression: re.Pattern[str], file_name: str, option: str) -> str:
    match = expression.search(file_name)
    group = None
    if match:
        found = match.groups() or (match.group(),)
        group = "-".join(filter(None, found)) if option == BY_PATH else found[0]
    if not group or not group.strip():
        raise DatasetError(
            f"{file_name}: expected a group by {option} '{expression.pattern}', which does not match this name. "
            "Mend the expression, or rename the file"
        )
    return group.strip()


def summary_lines(written: Written, out: Path) -> Sequence[str]:
    """Say in a few lines what an import came to and where to look."""
    classes = ", ".join(f"{name} {count}" for name, count in written.by_class.items()) or "none"
    found = f"{counted(written.pictures, 'picture')} in {counted(written.groups, 'group')}"
    lines = [f"{out}: {found}; classes: {classes}; clean: {written.clean}"]
    if not written.by_class:
        lines.append("  no picture shows a defect: nothing can be learned from these alone")
    if written.empty_kept:
        lines.append(f"  {len(written.empty_kept)} with empty masks became clean pictures")
    if written.empty_dropped:
        lines.append(
            f"  {len(written.empty_dropped)} with empty masks were left out; --empty keep makes them clean pictures"
        )
    if written.overlapping:
        lines.append(
            f"  on {counted(len(written.overlapping), 'picture')} classes overlap, and the one that "
            f"comes last counts there: {some(written.overlapping)}"
        )
    if written.ignored:
        lines.append(f"  on {counted(written.ignored, 'picture')} pixels are ignored: neither learned from nor judged")
    lines += [f"  {note}" for note in written.notes]
    lines.append(f"  look at {out / PREVIEW} before training")
    return lines
