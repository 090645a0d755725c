"""The labels of any tool in one record, and from it the labelled pictures.

Each format's file makes `PictureLabels`; here they are paired with pictures, laid on them and drawn. So what holds for
one format (other machines' paths, turned pictures, shapes past the edge) holds for all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from edge.errors import DatasetError
from edge.pictures import as_text
from edge.records import Float64, UInt8
from edge.wording import counted
from trainer.datasets.dataset import IGNORE_MASK
from trainer.importing.labelled import BrokenPicture, ClassMask, LabelledPicture, LabelsLie, LabelSource, one_by_one
from trainer.importing.mask_sets import in_colour
from trainer.importing.outlines import drawn_line, filled
from trainer.importing.pairing import (
    NameIndex,
    NotOneError,
    PictureFile,
    each_told,
    never_clean,
    pictures_below,
    read_file,
    some,
)
from trainer.importing.run_lengths import of_brush, of_counts

# Each class on a picture has a mask of its size.
_MASK_BYTES_AT_MOST = 1 << 28
_CORNERS = 3
_PAST_EDGE_PX = 1.0  # tools round differently
_NORMALISED_FROM_PX = 8  # a picture so large has no outlines that all lie within its first pixel
_DRIVE = re.compile(r"^[A-Za-z]:/")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_SHOWN = 120
_UNCLEAR_PX = 3  # around an outline that goes round nothing


@dataclass(frozen=True)
class Area:
    """Outlines, float64 [N, 2] of x and y in px each, filled together by the even-odd rule."""

    rings: tuple[Float64, ...]


@dataclass(frozen=True)
class Pixels:
    """A mask, uint8 [h, w] (not 0 = inside), whose upper left pixel lies at `at`: column and row."""

    mask: UInt8
    at: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Runs:
    """A run-length encoded mask of `size_px` (height, width) at `at`, read only when it is drawn.

    `counts`: outside and inside by turns, down the columns or `along_rows`; of a `brush` Label Studio's bytes.
    """

    counts: Sequence[int]
    size_px: tuple[int, int]
    at: tuple[int, int] = (0, 0)
    along_rows: bool = False
    brush: bool = False


@dataclass(frozen=True)
class Painted:
    """The area of one colour (red, green, blue) in a mask of several classes. Read only when it is drawn.

    `known`: all colours that the mask may have.
    """

    path: Path
    colour: tuple[int, int, int]
    known: frozenset[tuple[int, int, int]]


@dataclass(frozen=True)
class Line:
    """A line through float64 [N, 2] points; one point is a dot. Nothing says how wide it is."""

    points: Float64


@dataclass(frozen=True)
class Shape:
    """One thing that was labelled. `what` is None where the picture as a whole is. `where`: for messages.

    Of the name `ignore_mask` it says what is neither learned from nor judged.
    """

    name: str
    what: Area | Pixels | Runs | Painted | Line | None
    where: str


@dataclass(frozen=True)
class PictureLabels:
    """A tool's labels of one picture.

    `called`: names by which its file may be found, the best first (`names_of`). `size_px`: (height, width) as the tool
    states it; None where it does not. `shapes`: later ones lie over earlier ones. `declared_clean`: it says in words
    that nothing is wrong with it. `in_shares`: areas are in shares of the picture's width and height, 0 to 1.
    `also`: names that may lead to no other picture. `lists_only`: its file labels no picture at all, so that labels of
    another file count. `group`: the piece that it shows, of our own exports.
    """

    called: tuple[str, ...]
    size_px: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    where: str
    declared_clean: bool = False
    annotator: str = ""
    in_shares: bool = False
    also: tuple[str, ...] = ()
    lists_only: bool = False
    group: str | None = None


@dataclass(frozen=True)
class LabelChoices:
    """The importing person's word on a tool's labels.

    `missing_is_clean`: pictures that the labels do not name have nothing wrong with them. `labels_lie`: how labels lie
    on pictures that are turned. `line_px`: how wide lines and points are; 0: not said.
    """

    missing_is_clean: bool = False
    labels_lie: LabelsLie = ""
    line_px: float = 0.0


def names_of(path: str, *folders: str) -> tuple[str, ...]:
    """Return how the file may be called that a tool, perhaps on another machine, names by `path`.

    `folders`: a relative path may begin in these as well, each below the pictures' folder. Of an absolute path or an
    address any number of folders may be another machine's: names with most of them come first.
    """
    plain = path.strip().replace("\\", "/")
    absolute = plain.startswith("/") or bool(_DRIVE.match(plain)) or bool(_SCHEME.match(plain))
    if _SCHEME.match(plain) or "?" in plain:
        address = urlsplit(plain)
        plain = parse_qs(address.query).get("d", [unquote(address.path)])[0]
    parts = [part for part in plain.split("/") if part not in {"", ".", ".."} and not part.endswith(":")]
    if not parts:
        return ()
    relative = "/".join(parts)
    own = ["/".join(parts[first:]) for first in range(len(parts))] if absolute else [relative]
    inside = [f"{folder}/{name}" for folder in folders if folder not in {"", "."} for name in own]
    return tuple(dict.fromkeys([*inside, *own]))


def label_source(
    labels: Sequence[PictureLabels],
    images: Path,
    choices: LabelChoices,
    told: Sequence[str] = (),
    *,
    lists_pictures: bool = False,
    masks: Collection[Path] = (),
) -> LabelSource:
    """Pair labels with the pictures below a folder, and draw them.

    A picture without labels is clean where `choices` say so. Else it is left out and told of if the labels are a list
    of pictures (`lists_pictures`). It is an error if they are files beside pictures. `masks` are no pictures. Raises
    DatasetError naming all that does not pair.
    """
    lines = list(told)
    apart = {path.resolve() for path in masks}
    found = {name: path for name, path in pictures_below(images, lines).items() if path.resolve() not in apart}
    by_picture = _paired(labels, found, images, lines)
    lacking = [name for name in found if name not in by_picture]
    others = never_clean(lacking, found, lines)
    lacking = [name for name in lacking if name not in others]
    found = {name: path for name, path in found.items() if name not in others}
    if lacking and not choices.missing_is_clean:
        paths = some([str(found[name]) for name in lacking])
        if not lists_pictures:
            raise DatasetError(
                f"{counted(len(lacking), 'picture has', 'pictures have')} no labels: {paths}. If nothing is wrong with "
                "them give --missing-is-clean, otherwise label them or take them out"
            )
        lines.append(
            f"left out: {counted(len(lacking), 'picture')} that the labels do not list: {paths}. If nothing is wrong "
            "with them, --missing-is-clean takes them as clean"
        )
        found = {name: path for name, path in found.items() if name in by_picture}
    return LabelSource(len(found), _drawn(found, by_picture, _Drawer(choices), lines), told=lines)


def _drawn(
    found: Mapping[str, Path], labels: Mapping[str, PictureLabels], drawer: _Drawer, told: list[str]
) -> Iterator[LabelledPicture | BrokenPicture]:
    yield from one_by_one(found.items(), _labelling(labels, drawer))
    told += drawer.told()


def _paired(
    labels: Sequence[PictureLabels], found: Mapping[str, Path], images: Path, told: list[str]
) -> Mapping[str, PictureLabels]:
    index = NameIndex(tuple(found), "picture")
    by_picture: dict[str, PictureLabels] = {}
    lost: list[str] = []
    problems: list[str] = []
    loose = 0
    for own in labels:
        try:
            name, by_its_name = _picture_of(own, index, images)
        except DatasetError as error:
            lost.append(str(error))
            continue
        loose += not by_its_name
        if (other := _other(own, name, index)) is not None:
            problems.append(
                f"{own.where} has the name of {other}, and names {name} as its picture: expected one. Call the file as "
                "its picture, or mend what it names"
            )
        elif (before := by_picture.setdefault(name, own)) is not own:
            if not own.lists_only and not before.lists_only:
                problems.append(
                    f"{found[name]}: expected labels once, received {before.where} and {own.where}. If they lie in two "
                    "files import one by itself"
                )
            by_picture[name] = before if own.lists_only else own
    give = ". Give the pictures' folder with --images" if lost else ""
    problems = [*lost, *problems]
    if len(problems) == 1:
        raise DatasetError(f"{problems[0]}{give}")
    if problems:
        head = f"{counted(len(problems), 'label does', 'labels do')} not pair{give}:"
        raise DatasetError(*each_told(head, problems))
    if loose:
        alike = counted(loose, "picture has its label's name but for", "pictures have their labels' names but for")
        told.append(f"{alike} capitals, blanks or signs")
    return by_picture


def _picture_of(labels: PictureLabels, index: NameIndex, images: Path) -> tuple[str, bool]:
    """Return the name of the picture that labels are of, and whether they call it so. Raises DatasetError."""
    if (name := index.find(*labels.called, where=labels.where)) is not None:
        return name, True
    if (name := index.find_loosely(*labels.called, where=labels.where)) is not None:
        return name, False
    called = as_text(labels.called[0])[:_SHOWN] if labels.called else "(none)"
    raise DatasetError(f"{labels.where}: expected the picture {called} below {images}, received none")


def _other(labels: PictureLabels, name: str, index: NameIndex) -> str | None:
    """Return another picture that labels may be of as well."""
    with suppress(NotOneError):
        found = index.find(*labels.also, where=labels.where) if labels.also else None
        return found if found != name else None
    return None


def _labelling(labels: Mapping[str, PictureLabels], drawer: _Drawer) -> Callable[[str, Path], LabelledPicture | None]:
    def make(name: str, path: Path) -> LabelledPicture | None:
        file, _ = read_file(path)
        own = labels.get(name)
        if own is None:
            return LabelledPicture(name, path, file.shape_px, (), str(path), notes=file.notes(), greatest=file.greatest)
        findings, shown = drawer.draw(own, file)
        if findings is None:
            return None
        return LabelledPicture(
            name,
            path,
            file.shape_px,
            findings,
            own.where,
            own.declared_clean,
            own.group,
            notes=file.notes(by_labels=shown),
            greatest=file.greatest,
        )

    return make


class _Drawer:
    """Draws shapes into masks, and counts what was not as it should be."""

    def __init__(self, choices: LabelChoices) -> None:
        self._choices = choices
        self._counts: Counter[tuple[str, str]] = Counter()  # of one shape, of several
        self._left_out: list[str] = []

    def told(self) -> list[str]:
        lines = [counted(count, f"shape {one}", f"shapes {many}") for (one, many), count in self._counts.items()]
        if self._left_out:
            lines.append(
                f"left out: {counted(len(self._left_out), 'picture')} of which no shape goes round anything: "
                f"{some(self._left_out)}"
            )
        return lines

    def draw(self, labels: PictureLabels, file: PictureFile) -> tuple[tuple[ClassMask, ...] | None, bool | None]:
        """Return a picture's masks, and whether labels lie on it as shown; None of masks: it is to be left out.

        Raises DatasetError naming the shape.
        """
        drawn = [shape for shape in labels.shapes if shape.what is not None]
        if not drawn:
            file.place(labels.size_px, "shown", labels.where)
            return tuple(ClassMask(each.name, None, each.where, labels.annotator) for each in labels.shapes), None
        shown = file.place(labels.size_px, self._choices.labels_lie, labels.where)
        size = file.shape_px if shown else file.stored_px
        if labels.in_shares:
            drawn = [_in_pixels(shape, size) for shape in drawn]
        else:
            _refuse_normalised(drawn, size, labels.where)
        masks = self._masks(drawn, size)
        if not masks.keys() - {IGNORE_MASK} and any(shape.name != IGNORE_MASK for shape in drawn):
            self._left_out.append(str(file.path))
            return None, None
        found = [
            ClassMask(name, mask if shown else file.as_shown(mask), labels.where, labels.annotator)
            for name, mask in masks.items()
        ]
        whole = [ClassMask(each.name, None, each.where, labels.annotator) for each in labels.shapes if not each.what]
        return (*found, *whole), shown

    def _masks(self, shapes: Sequence[Shape], size: tuple[int, int]) -> dict[str, UInt8]:
        masks: dict[str, UInt8] = {}
        for shape in shapes:
            own = self._mask(shape, size)
            name = shape.name
            if own is None:
                own, name = _surroundings(shape, size), IGNORE_MASK
            if name not in masks and (len(masks) + 1) * size[0] * size[1] > _MASK_BYTES_AT_MOST:
                raise DatasetError(
                    f"{shape.where}: expected at most {counted(len(masks), 'class', 'classes')} on a picture of "
                    f"{size[1]} x {size[0]} px, received one more. Are these the names of objects rather than of "
                    "classes?"
                )
            masks[name] = masks[name] | own if name in masks else own
        return masks

    def _mask(self, shape: Shape, size: tuple[int, int]) -> UInt8 | None:
        """Draw one shape; None where it is an outline that goes round nothing."""
        what = shape.what
        if isinstance(what, (Pixels, Runs, Painted)):
            return _pasted(_read(what, shape.where), size, shape.where)
        if isinstance(what, Line):
            if not self._choices.line_px:
                raise DatasetError(
                    f"{shape.where}: expected an outline, received a line or a point. Give --line-width with its width "
                    "in px, which nothing says"
                )
            self._check_place(what.points, size, shape.where)
            how = f"drawn {self._choices.line_px:g} px wide"
            self._counts[f"is a line or a point, {how}", f"are lines or points, {how}"] += 1
            return drawn_line(what.points, self._choices.line_px, size)
        assert isinstance(what, Area)  # noqa: S101 - there is no other kind
        if all(len(np.unique(ring, axis=0)) < _CORNERS for ring in what.rings):
            how = "on is ignored: neither learned nor judged"
            has, have = ("fewer than 3 corners, and what it lies", "fewer than 3 corners, and what they lie")
            self._counts[f"has {has} {how}", f"have {have} {how}"] += 1
            return None
        self._check_place(np.concatenate(what.rings), size, shape.where)
        mask = filled(what.rings, size)
        if not mask.any():
            self._counts[
                "is narrower than a pixel, and was drawn as a line",
                "are narrower than a pixel, and were drawn as lines",
            ] += 1
            for ring in what.rings:
                mask |= drawn_line(ring, 1, size, closed=True)
        return mask

    def _check_place(self, points: Float64, size: tuple[int, int], where: str) -> None:
        height, width = size
        low, high = points.min(axis=0), points.max(axis=0)
        if (high < 0).any() or low[0] > width or low[1] > height:
            raise DatasetError(
                f"{where}: x is {low[0]:.1f} to {high[0]:.1f} and y {low[1]:.1f} to {high[1]:.1f}, beside the picture "
                f"of {width} x {height} px. Are they of another size, or another picture's?"
            )
        if (low < -_PAST_EDGE_PX).any() or high[0] > width + _PAST_EDGE_PX or high[1] > height + _PAST_EDGE_PX:
            edge = "past the picture's edge, and"
            self._counts[f"reaches {edge} was cut off there", f"reach {edge} were cut off there"] += 1


def _in_pixels(shape: Shape, size: tuple[int, int]) -> Shape:
    assert isinstance(shape.what, Area)  # noqa: S101 - formats in shares have nothing else
    return replace(shape, what=Area(tuple(ring * (size[1], size[0]) for ring in shape.what.rings)))


def _refuse_normalised(shapes: Sequence[Shape], size: tuple[int, int], where: str) -> None:
    """Raise DatasetError where all outlines lie within the first pixel, as shares of the picture's size do."""
    rings = [ring for shape in shapes if isinstance(shape.what, Area) for ring in shape.what.rings if len(ring)]
    if rings and min(size) >= _NORMALISED_FROM_PX and all(ring.min() >= 0 and ring.max() <= 1 for ring in rings):
        raise DatasetError(
            f"{where}: expected coordinates in pixels of {size[1]} x {size[0]}, received none above 1. They look like "
            "shares of the picture's size; export them in pixels"
        )


def _read(what: Pixels | Runs | Painted, where: str) -> Pixels:
    if isinstance(what, Pixels):
        return what
    if isinstance(what, Painted):
        return Pixels(in_colour(what.path, what.colour, what.known))
    if what.brush:
        return Pixels(of_brush(what.counts, what.size_px, where), what.at)
    return Pixels(of_counts(what.counts, what.size_px, where, along_rows=what.along_rows), what.at)


def _pasted(what: Pixels, size: tuple[int, int], where: str) -> UInt8:
    (column, row), (height, width) = what.at, what.mask.shape
    if column < 0 or row < 0 or row + height > size[0] or column + width > size[1]:
        raise DatasetError(
            f"{where}: expected a mask within the picture's {size[1]} x {size[0]} px, received one of {width} x "
            f"{height} px at {column}, {row}"
        )
    mask: UInt8 = np.zeros(size, np.uint8)
    mask[row : row + height, column : column + width] = np.where(what.mask > 0, np.uint8(255), np.uint8(0))
    return mask


def _surroundings(shape: Shape, size: tuple[int, int]) -> UInt8:
    """Return what a shape without an area may have meant: the box around its corners."""
    mask: UInt8 = np.zeros(size, np.uint8)
    if isinstance(shape.what, Area) and (points := np.concatenate(shape.what.rings)).size:
        left, top = (int(v) for v in np.clip(points.min(axis=0) - _UNCLEAR_PX, 0, size[::-1]))
        right, bottom = (int(v) for v in np.clip(np.ceil(points.max(axis=0)) + _UNCLEAR_PX, 0, size[::-1]))
        mask[top:bottom, left:right] = 255
    return mask
