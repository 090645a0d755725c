"""The hand-over from every format's file to the writer: pictures with the masks that their labels come to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from edge.errors import DatasetError
from edge.records import UInt8

Item = TypeVar("Item")
# The way labels lie on a turned picture: as a viewer shows it, as its file stores it, or not said.
LabelsLie = Literal["shown", "stored", ""]


@dataclass(frozen=True)
class ClassMask:
    """One class on one picture. `mask`: uint8 [H, W], defect where not 0; None where labels do not say where it is.

    Of the name `ignore_mask` it says what is neither learned from nor judged.

    `where`: the label's own file and row, for messages; empty where the picture's will do. `annotator`: who drew it,
    where the format knows.
    """

    name: str
    mask: UInt8 | None
    where: str = ""
    annotator: str = ""


@dataclass(frozen=True)
class LabelledPicture:
    """One picture as a format labels it.

    `name`: its path below `images/`, with its suffix, `/` between folders. `path`: the file, which has been read and
    found whole. `shape_px`: (height, width) as shown. `declared_clean`: the label says in words that nothing is wrong
    with it, rather than by a mask without pixels. `group`: of the physical piece, where the format knows it. `where`:
    the label's file, and row if it has rows, for messages. `notes`: how it was understood, for people; alike notes of
    many pictures are told once. `greatest`: the greatest level of a picture of 16 bits that states no depth, else 0.
    """

    name: str
    path: Path
    shape_px: tuple[int, int]
    findings: tuple[ClassMask, ...]
    where: str
    declared_clean: bool = False
    group: str | None = None
    notes: tuple[str, ...] = ()
    greatest: int = 0


@dataclass(frozen=True)
class BrokenPicture:
    """A picture, or its labels, that cannot be used, and why: the import names all of them before it ends."""

    name: str
    reason: str


@dataclass(frozen=True)
class LabelSource:
    """The pictures of a format, read lazily, and their greatest number, for a bar of what is left.

    `names`: the classes that somebody has named for it, each of which is to be on a picture. `told`: how files were
    understood and what was left out, for people.
    """

    total: int
    pictures: Iterator[LabelledPicture | BrokenPicture]
    names: tuple[str, ...] = ()
    told: Sequence[str] = field(default_factory=list)


def one_by_one(
    items: Iterable[tuple[str, Item]], make: Callable[[str, Item], LabelledPicture | None]
) -> Iterator[LabelledPicture | BrokenPicture]:
    """Make a labelled picture of each (name, what is known of it), or None to leave it out.

    One that raises DatasetError is broken.
    """
    for name, item in items:
        try:
            made = make(name, item)
            if made is not None:
                yield made
        except DatasetError as error:  # noqa: PERF203 - all that is broken is told at once
            yield BrokenPicture(name, str(error))
