"""Masks of defects → their skeletons: lines one pixel wide in the middle, as branches between ends and joints.

Masks are thinned 64 pixels at a time, all at once, by the two half-steps of Zhang and Suen. Source: "A fast parallel
algorithm for thinning digital patterns", CACM 27, 1984. Thicker rests are thinned by deleting simple points, a quarter
of the grid at a time. So no line ever breaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.inspection.packed import Bools, Indices, boxes_of, together
from edge.opencv import cv2
from edge.records import Float64, UInt8

_Words = npt.NDArray[np.uint64]

# The eight neighbours (rows, columns), clockwise from the one above; the first is the highest bit of a code.
_AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


@dataclass(frozen=True)
class Branch:
    """A line between two ends or joints: `points` float64 [N, 2], the centres (x, y) of its pixels in their order.

    `closed`: a ring, whose last point adjoins the first. `joints`: the number of the joint at its beginning and at its
    end, None at a free end.
    """

    points: Float64
    closed: bool = False
    joints: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True)
class Skeleton:
    """The branches of one mask, and where its joints lie: `joints` float64 [J, 2], (x, y)."""

    branches: tuple[Branch, ...]
    joints: Float64


def _bits(code: int) -> list[int]:
    return [code >> (7 - place) & 1 for place in range(8)]


def _superfluous(code: int) -> bool:
    """Tell whether deleting a pixel with these neighbours breaks no line, opens no hole and shortens none by its end.

    A simple point (8-connected): its neighbours hang together without it, and a side of it is free.
    """
    around = _bits(code)
    if sum(around) < 2 or all(around[::2]):
        return False
    # neighbours in a row hang together; so do two sides across a corner, whether or not that is set
    linked = [around[place] or (place % 2 and around[place - 1] and around[(place + 1) % 8]) for place in range(8)]
    return sum(not before and bool(after) for before, after in zip(linked, linked[1:] + linked[:1], strict=True)) == 1


_SUPERFLUOUS = np.array([_superfluous(code) for code in range(256)])
_PLACE_VALUES: UInt8 = np.array([128, 64, 32, 16, 8, 4, 2, 1], np.uint8)
_COUNT: UInt8 = np.array([sum(_bits(code)) for code in range(256)], np.uint8)

# Branches that meet in more pixels than this are a web, no scratch; following it would take seconds.
_KNOTS_AT_MOST = 120


def skeletons(masks: Sequence[UInt8]) -> list[Skeleton]:
    """Return the skeleton of each mask, uint8 [h, w], 0 or 1, whose outermost rows and columns are all 0.

    One that meets itself in very many places has no branches. Points are in pixels from the mask's corner: pixel (row,
    column) has its centre at (column + 0.5, row + 0.5).
    """
    if not masks:
        return []
    canvas, boxes = together(masks)
    thin, line = _thinned(canvas)
    knots = _clean(thin, line)
    meeting = _meeting(thin, knots, boxes) if len(knots) else {}
    lines = _traced(thin)
    owner = boxes_of(lines.points[lines.starts[:-1]], boxes)
    corners_of_lines = np.repeat(boxes[owner, :2] - 0.5, np.diff(lines.starts), axis=0)
    points = lines.points.astype(np.float64) - corners_of_lines
    branches: list[list[Branch]] = [[] for _ in masks]
    starts = lines.starts.tolist()
    for number, start, stop, closed in zip(owner.tolist(), starts, starts[1:], lines.closed.tolist(), strict=False):
        branches[number].append(Branch(points[start:stop], closed))
    found = [Skeleton(tuple(own), _NOWHERE) for own in branches]
    for number, at in meeting.items():
        left, top, right, bottom = boxes[number].tolist()
        found[number] = _branched(branches[number], at, (bottom - top, right - left))
    return found


def _meeting(thin: UInt8, knots: Indices, boxes: Indices) -> dict[int, Indices]:
    """Delete in place where lines meet, int64 [N] counted row by row; return those places for each mask by its number.

    Places are int64 [N, 2], (row, column) from the mask's corner. Webs are deleted as a whole.
    """
    rows, columns = np.divmod(knots, thin.shape[1])
    owner = boxes_of(np.column_stack([columns, rows]).astype(np.int32), boxes)
    thin.reshape(-1)[knots] = 0
    found = {}
    for number in np.unique(owner).tolist():
        left, top, right, bottom = boxes[number].tolist()
        own = owner == number
        if np.count_nonzero(own) > _KNOTS_AT_MOST:
            thin[top:bottom, left:right] = 0
        else:
            found[number] = np.column_stack([rows[own] - top, columns[own] - left])
    return found


_NOWHERE: Float64 = np.empty((0, 2))


def _thinned(canvas: UInt8) -> tuple[UInt8, Indices]:
    """Peel a picture of 0 and 1, uint8 [H, W], until its masks are about one pixel wide; their borders are 0.

    Returned beside it: which of its pixels are set, int64 [N], counted row by row.
    """
    height, width = canvas.shape
    words = width // 64
    bits: _Words = np.zeros((height + 2) * words + 2, np.uint64)
    lines = bits[words + 1 : -words - 1]
    lines[:] = np.packbits(canvas, bitorder="little").view(np.uint64)
    # most words are empty and stay so; one of a neighbour's bits lies in the same word or the next
    filled = np.flatnonzero(lines) + words + 1
    around = filled + np.array([[row + column for column in (-1, 0, 1)] for row in (-words, 0, words)])[..., None]
    half_step, idle = 0, 0
    while idle < 2:
        gone = _peeled(bits.take(around), half_step)
        idle = 0 if gone.any() else idle + 1
        bits[filled] &= ~gone
        half_step = 1 - half_step
    thin = np.unpackbits(lines.view(np.uint8), bitorder="little").reshape(height, width)
    word = filled - words - 1
    # one after the other: NumPy finds what is set in one row five times as quickly as in many
    at = np.flatnonzero(thin.reshape(-1, 64)[word].view(np.bool_))
    return thin, word[at // 64] * 64 + at % 64


def _peeled(around: _Words, half_step: int) -> _Words:
    """Return what a half-step deletes, uint64 [N], of words [3, 3, N]: the middle one of each, and those around it."""
    here = around[:, 1]
    # clockwise from the neighbour above, and that again
    ring: _Words = np.empty((9, around.shape[2]), np.uint64)
    np.bitwise_or(here >> 1, around[:, 2] << 63, out=ring[1:4])
    np.bitwise_or(here << 1, around[:, 0] >> 63, out=ring[7:4:-1])
    ring[0], ring[4], ring[8] = here[0], here[2], here[0]
    both = ring[:-1] & ring[1:]
    rise = ring[1:] ^ both  # the next is set and this one is not
    either = rise[::2] | rise[1::2]  # never both
    some, twice = either[:2] | either[2:], either[:2] & either[2:]
    # three in a row, of one run, have a pair from an even place and one from an odd one
    pairs = both[:4] | both[4:]
    pairs = pairs[:2] | pairs[2:]
    north, east_of, south, west_of = ring[:-1:2]
    sides = east_of & south & (north | west_of) if half_step == 0 else north & west_of & (east_of | south)
    # a single run of neighbours, of three to six: of seven with all corners; one without a corner has all four sides
    corners = ring[1:4:2] & ring[5:8:2]
    kept = twice[0] | twice[1] | sides | corners[0] & corners[1]
    deleted: _Words = here[1] & (some[0] ^ some[1]) & pairs[0] & pairs[1] & ~kept
    return deleted


def _codes(flat: UInt8, at: Indices, around: Indices) -> UInt8:
    """Return which neighbours each pixel has, a bit each."""
    codes: UInt8 = np.einsum("i,ij->j", _PLACE_VALUES, flat.take(at + around[:, None]))
    return codes


def _clean(thin: UInt8, line: Indices) -> Indices:
    """Delete in place what makes a line thicker than a pixel; return where lines meet, int64 [N] counted row by row.

    `line`: which pixels are set, int64 [N], counted row by row.
    """
    flat, width = thin.reshape(-1), thin.shape[1]
    around = np.array([row * width + column for row, column in _AROUND], np.int64)
    codes = _codes(flat, line, around)
    for _ in range(2):
        doubtful = line[_SUPERFLUOUS[codes]]
        if not len(doubtful):
            break
        quarter = (doubtful // width & 1) * 2 + (doubtful & 1)
        for number in range(4):
            own = doubtful[quarter == number]
            flat[own[_SUPERFLUOUS[_codes(flat, own, around)]]] = 0
        line = line[flat[line].view(np.bool_)]
        codes = _codes(flat, line, around)
    return line[_COUNT[codes] > 2]


@dataclass(frozen=True)
class _Lines:
    """Lines of a picture: `points` int32 [N, 2], (x, y), of one after the other.

    `starts` int64 [L + 1]: where each begins. `closed` bool [L].
    """

    points: npt.NDArray[np.int32]
    starts: Indices
    closed: Bools


def _traced(line: UInt8) -> _Lines:
    """Follow the lines of a picture without joints, uint8 [h, w]: open ones from end to end, and rings."""
    outlines, _ = cv2.findContours(line, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return _Lines(np.empty((0, 2), np.int32), np.zeros(1, np.int64), np.zeros(0, np.bool_))
    counts = np.array([len(outline) for outline in outlines])
    points = np.concatenate(outlines).reshape(-1, 2)
    ends = np.cumsum(counts)
    starts = ends - counts
    # an outline runs along a line and back, so it turns about at an end
    each = points.view(np.int64)[:, 0]  # x and y in one
    following, leading = np.empty_like(each), np.empty_like(each)
    following[:-1], leading[1:] = each[1:], each[:-1]
    following[ends - 1], leading[starts] = each[starts], each[ends - 1]
    turns = np.append(np.flatnonzero(following == leading), len(each))
    first = turns[np.searchsorted(turns, starts)]
    closed = first >= ends
    first[closed] = starts[closed]
    lengths = np.where(closed, counts, counts // 2 + 1)
    begins = np.concatenate([[0], np.cumsum(lengths)])
    at = np.arange(begins[-1]) + np.repeat(first - begins[:-1], lengths)
    beyond = at >= np.repeat(ends, lengths)
    at[beyond] -= np.repeat(counts, lengths)[beyond]
    return _Lines(points[at], begins, closed)


def _branched(lines: Sequence[Branch], at: Indices, shape: tuple[int, int]) -> Skeleton:
    """Tell which joints the lines of a mask of this shape lie between; they meet `at` int64 [N, 2], (row, column)."""
    knots = np.zeros(shape, np.uint8)
    knots[at[:, 0], at[:, 1]] = 1
    _, labels, _, centres = cv2.connectedComponentsWithStats(knots, connectivity=8)
    joints: Float64 = centres[1:] + 0.5
    branches = []
    for branch in lines:
        first, last = ((int(y), int(x)) for x, y in (branch.points[0], branch.points[-1]))
        beside = [_joints_beside(labels, *end) for end in (first, last)]
        begin = beside[0][0] if beside[0] else None
        others = [joint for joint in beside[1] if len(branch.points) > 1 or joint != begin]
        end = others[0] if others else None
        branches.append(Branch(branch.points, closed=branch.closed, joints=(begin, end)))
    return Skeleton(tuple(branches), joints)


def _joints_beside(labels: npt.NDArray[np.int32], row: int, column: int) -> list[int]:
    """List the joints that touch a pixel."""
    around = labels[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    return [int(label) - 1 for label in np.unique(around[around > 0])]
