"""What every format's file hands to the writer: pictures with the masks that their labels come to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.records import UInt8


@dataclass(frozen=True)
class ClassMask:
    """One class on one picture. `mask`: uint8 [H, W], defect where not 0; None where labels do not say where it is.

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
    found whole. `shape_px`: (height, width). `declared_clean`: the label says in words that nothing is wrong with it,
    rather than by a mask without pixels. `group`: of the physical piece, where the format knows it. `where`: the
    label's file, and row if it has rows, for messages.
    """

    name: str
    path: Path
    shape_px: tuple[int, int]
    findings: tuple[ClassMask, ...]
    where: str
    declared_clean: bool = False
    group: str | None = None


@dataclass(frozen=True)
class LabelSource:
    """How many pictures a format offers at most, for a bar that shows what is left, and the pictures, read lazily.

    `names`: the classes that somebody has named for it, each of which is to be on a picture.
    """

    total: int
    pictures: Iterator[LabelledPicture]
    names: tuple[str, ...] = ()
