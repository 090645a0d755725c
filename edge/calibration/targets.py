"""Calibration targets, such as `chessboard:9x6:10mm`, and the places of their points on their surface."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from edge.errors import LinewatchError
from edge.records import Float64

TargetKind = Literal["chessboard", "charuco", "circles", "acircles"]

HOW = (
    "chessboard:COLUMNSxROWS:SIZEmm (inner corners, as OpenCV counts), "
    "charuco:COLUMNSxROWS:SQUAREmm:MARKERmm[:DICTIONARY] (squares), "
    "circles:COLUMNSxROWS:SPACINGmm or acircles:COLUMNSxROWS:SPACINGmm (centres)"
)
_EXAMPLE = "such as chessboard:9x6:10mm"
_COUNTS = re.compile(r"([0-9]{1,3})x([0-9]{1,3})")
_LENGTH = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)mm")
_DICTIONARY = re.compile(r"[4-7]X[4-7]_(?:50|100|250|1000)")
DICTIONARY = "4X4_50"
_KINDS: dict[str, TargetKind] = {kind: kind for kind in get_args(TargetKind)}
_MOST = 60  # along one side; more are too small to be found


class TargetSpecError(LinewatchError):
    """A description of a target that says none; it was a word of the command line."""

    exit_code = 2


@dataclass(frozen=True)
class Target:
    """A flat target with a grid of points.

    `columns`, `rows`: inner corners of a chessboard, squares of a ChArUco board, centres of circles. `size_mm`: the
    side of a square, or the distance of neighbours in a grid of circles. Of an asymmetric grid it is the distance of
    two rows. `marker_mm`: the side of a ChArUco board's marker; `dictionary`: which markers.
    """

    kind: TargetKind
    columns: int
    rows: int
    size_mm: float
    marker_mm: float | None = None
    dictionary: str | None = None

    @property
    def spec(self) -> str:
        """Tell how the command line names it."""
        more = "" if self.marker_mm is None else f":{self.marker_mm:g}mm:{self.dictionary}"
        return f"{self.kind}:{self.columns}x{self.rows}:{self.size_mm:g}mm{more}"

    @property
    def grid(self) -> tuple[int, int]:
        """Columns and rows of its points."""
        less = 1 if self.kind == "charuco" else 0
        return self.columns - less, self.rows - less

    @property
    def points_mm(self) -> Float64:
        """Its points on its surface, float64 [N, 2] in mm, row by row; x to the right and y down."""
        columns, rows = self.grid
        y, x = np.mgrid[:rows, :columns].astype(np.float64)
        if self.kind == "acircles":
            x = 2 * x + y % 2
        return np.column_stack([x.ravel(), y.ravel()]) * self.size_mm

    @property
    def squares(self) -> tuple[int, int]:
        """Columns and rows of the squares of a chessboard or a ChArUco board."""
        more = 1 if self.kind == "chessboard" else 0
        return self.columns + more, self.rows + more


def parse_target(text: str) -> Target:
    """Return the target that a text describes. Raises TargetSpecError."""
    kind, *rest = text.split(":")
    if kind not in _KINDS:
        raise _none(text, f"the kind {kind!r} is unknown")
    wanted = {"charuco": (3, 4)}.get(kind, (2,))
    if len(rest) not in wanted:
        raise _none(text, "it has too few or too many parts")
    counts = _COUNTS.fullmatch(rest[0])
    if counts is None:
        raise _none(text, f"{rest[0]!r} are no columns and rows")
    columns, rows = int(counts[1]), int(counts[2])
    least = 3 if kind != "charuco" else 4
    if not (least <= columns <= _MOST and least <= rows <= _MOST):
        raise _none(text, f"each side has {least} to {_MOST}")
    size = _length(text, rest[1])
    if kind != "charuco":
        return Target(_KINDS[kind], columns, rows, size)
    marker = _length(text, rest[2])
    dictionary = rest[3].upper().removeprefix("DICT_") if len(rest) > 3 else DICTIONARY
    if not 0.2 * size <= marker < size:
        raise _none(text, f"a marker of {marker:g} mm does not lie well in a square of {size:g} mm")
    if not _DICTIONARY.fullmatch(dictionary) or dictionary[0] != dictionary[2]:
        raise _none(text, f"{rest[3] if len(rest) > 3 else dictionary!r} is no dictionary, such as 4X4_50 or 6X6_250")
    if columns * rows // 2 > int(dictionary.split("_")[1]):
        raise _none(text, f"{columns * rows // 2} markers are more than {dictionary} has")
    return Target("charuco", columns, rows, size, marker, dictionary)


def _length(text: str, part: str) -> float:
    found = _LENGTH.fullmatch(part)
    if found is None or not 0.01 <= float(found[1]) <= 10_000:
        raise _none(text, f"{part!r} is no length in mm, such as 10mm")
    return float(found[1])


def _none(text: str, why: str) -> TargetSpecError:
    return TargetSpecError(f"Expected a target, {HOW}, {_EXAMPLE}; received {text[:80]!r}: {why}")
