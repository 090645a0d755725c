"""Masks of plain lines → their middles, straight from their outlines: most scratches are such, and need no thinning.

An outline is parted at the two ends of its line; the middle lies half-way between both sides. A mask with unlike sides,
as at a branch, a ring or a bend back, is no plain line. The skeleton tells its kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.inspection.packed import Bools, Indices, boxes_of, starts_of, together
from edge.opencv import cv2
from edge.records import Float64, UInt8

Places = npt.NDArray[np.int32]
_Complex = npt.NDArray[np.complex128]

# A plain line is nowhere wider than so many times its mean, and a pixel. Its area is its length by its width, about. It
# has so many times the area of a square as wide.
_EVEN = 1.5
_AREA_FROM, _AREA_TO = 0.8, 1.25
_SLENDER = 6.0
_POINTS_AT_LEAST = 12
# Its ends are about the farthest from each other where they are this share of its length apart: up to half a circle.
_STRAIGHT = 0.62
_STEPS = 4


@dataclass(frozen=True)
class Middle:
    """The middle of a plain line: `points` float64 [N, 2], (x, y) px from its mask's corner, about a pixel apart.

    It ends half its width before the mask does. `half_width`: of the mask where it is widest, px.
    """

    points: Float64
    half_width: float


@dataclass(frozen=True)
class Outline:
    """The border of a mask: `points` int32 [N, 2], (x, y), the pixels along its outer border in their order.

    `corner`: where the mask's corner lies among these.
    """

    points: Places
    corner: tuple[int, int]


def middles(asked: Sequence[tuple[UInt8, Outline | None]]) -> list[Middle | None]:
    """Return the middle of each mask, uint8 [h, w], 0 or 1, with a border of 0.

    It is None where the mask is no plain line. Each mask comes with its outline, where that is known.
    """
    found: list[Middle | None] = [None] * len(asked)
    known = [(number, outline) for number, (_, outline) in enumerate(asked) if outline is not None]
    known += _traced({number: mask for number, (mask, outline) in enumerate(asked) if outline is None})
    known = [(number, outline) for number, outline in known if _slender(asked[number][0], outline)]
    if not known:
        return found
    points = np.concatenate([outline.points for _, outline in known]).astype(np.float64)
    counts = np.array([len(outline.points) for _, outline in known])
    points -= np.repeat(np.array([outline.corner for _, outline in known]) - 0.5, counts, axis=0)
    areas = np.array([cv2.countNonZero(asked[number][0]) for number, _ in known], np.float64)
    lines = _halved(points, starts_of(counts), areas)
    begins, widest = lines.starts.tolist(), lines.widest.tolist()
    for place in np.flatnonzero(lines.plain(areas)).tolist():
        found[known[place][0]] = Middle(lines.points[begins[place] : begins[place + 1]], widest[place] / 2)
    return found


def _slender(mask: UInt8, outline: Outline) -> bool:
    """Tell whether a mask may be a plain line, by its area and how long its outline is."""
    count = len(outline.points)
    # along a diagonal an outline has fewer points, by the root of 2
    return count >= _POINTS_AT_LEAST and count**2 >= 2 * _SLENDER * cv2.countNonZero(mask)


def _traced(masks: Mapping[int, UInt8]) -> list[tuple[int, Outline]]:
    """Return the outlines of masks by their numbers, but for those in several pieces."""
    if not masks:
        return []
    canvas, boxes = together(list(masks.values()))
    outlines, _ = cv2.findContours(canvas, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = [outline.reshape(-1, 2) for outline in outlines]
    if not points:
        return []
    mask_of = boxes_of(np.array([own[0] for own in points]), boxes)
    alone = np.bincount(mask_of)[mask_of] == 1
    numbers = list(masks)
    return [
        (numbers[which], Outline(own, (int(boxes[which, 0]), int(boxes[which, 1]))))
        for which, own, only in zip(mask_of.tolist(), points, alone.tolist(), strict=True)
        if only
    ]


@dataclass(frozen=True)
class _Halved:
    """The middles of L outlines: `points` float64 [N, 2], each from `starts` int64 [L + 1] on; all else [L], px.

    `length`: of the whole line, whose ends are so far `apart`; `mean` and `widest`: of its widths.
    """

    points: Float64
    starts: Indices
    length: Float64
    apart: Float64
    mean: Float64
    widest: Float64

    def plain(self, areas: Float64) -> Bools:
        """Tell which are plain lines, bool [L]. `areas` [L]: of their masks, px."""
        share = areas / np.maximum(self.length * self.mean, 1e-9)
        even = self.widest <= _EVEN * self.mean + 1
        even &= self.apart >= _STRAIGHT * self.length
        plain: Bools = even & (share >= _AREA_FROM) & (share <= _AREA_TO) & (areas >= _SLENDER * self.widest**2)
        return plain


def _halved(points: Float64, starts: Indices, areas: Float64) -> _Halved:
    """Return the middles of outlines, whose points float64 [P, 2] are one after the other, each from `starts` on.

    `areas` [L]: what each encloses, px.
    """
    counts = np.diff(starts)
    places = points.view(np.complex128)[:, 0]
    about = 2 * areas / counts
    one, other = _tips(places, starts, about)
    # both ways from one end to the other, as many points each as the line is long
    each = np.maximum(counts // 2 + 1 - about.astype(np.int64), 3)
    begins = starts_of(each)
    line = np.repeat(np.arange(len(each)), each)
    number = np.arange(begins[-1]) - begins[line]
    left, right = _sides(places, starts, (one, other), line, number / (each - 1)[line])
    lines = (left + right) * 0.5
    # pixels make steps, so directions and lengths are those over a few of them
    low, high = np.maximum(number - _STEPS, 0), np.minimum(number + _STEPS, each[line] - 1)
    ways = lines[begins[line] + high] - lines[begins[line] + low]
    lengths = np.maximum(np.abs(ways), 1e-9)
    widths = np.abs((ways.conj() * (left - right)).imag) / lengths + 1
    so_far = np.cumsum(lengths / (high - low))
    so_far -= so_far[begins[:-1]][line]
    length = so_far[begins[1:] - 1]
    # beside its ends a line has no two sides
    cut = np.minimum(about.astype(np.int64) + 1, (each - 1) // 2)[line]
    inner = (number >= cut) & (number < each[line] - cut)
    widest = np.maximum.reduceat(widths * inner, begins[:-1])
    # a stroke's end is sought from where its mask's skeleton ends: half its width before the mask does
    short = np.minimum(np.maximum(widest / 2 - 1, 0), length / 2 - 1)[line]
    kept = (so_far >= short) & (so_far <= length[line] - short)
    return _Halved(
        points=lines[kept].view(np.float64).reshape(-1, 2),
        starts=starts_of(np.add.reduceat(kept, begins[:-1], dtype=np.int64)),
        length=length + 1,
        apart=np.abs(places[one] - places[other]),
        mean=np.add.reduceat(widths * inner, begins[:-1]) / np.add.reduceat(inner, begins[:-1], dtype=np.int64),
        widest=widest,
    )


def _sides(
    places: _Complex, starts: Indices, ends: tuple[Indices, Indices], line: Indices, share: Float64
) -> tuple[_Complex, _Complex]:
    """Return points of outlines on both ways from one end to the other, at shares [N] of the way.

    `line` int64 [N]: of which outline.
    """
    counts, (one, other) = np.diff(starts), ends
    ahead, size = ((other - one) % counts)[line] * share, counts[line]
    at = (one - starts[:-1])[line] + np.rint(np.array([ahead, ahead - size * share])).astype(np.int64)
    at -= size * (at >= size)
    at += size * (at < 0)
    left, right = places[at + starts[:-1][line]]
    return left, right


def _tips(places: _Complex, starts: Indices, about: Float64) -> tuple[Indices, Indices]:
    """Return which points of outlines are the ends of their lines, int64 [L] each; these are `about` so wide, px."""
    counts, first = np.diff(starts), starts[:-1]
    owner = np.repeat(np.arange(len(counts)), counts)
    middle = (np.add.reduceat(places, first) / counts).astype(np.complex128)
    one = _farthest(places, middle[owner], owner, first)
    other = _farthest(places, places[one][owner], owner, first)
    # the farthest point of a bent line may lie beside its end: the tip is the farthest from the line shortly before
    reach = np.tile((2 * about).astype(np.int64) + 2, 2)[:, None]
    begin, size = np.tile(first, 2)[:, None], np.tile(counts, 2)[:, None]
    near = np.concatenate([one, other])[:, None] - begin
    before = places[begin + (near + reach * (-1, 1)) % size]
    steps = np.arange(-reach.max(), reach.max() + 1)
    at = begin + (near + steps) % size
    away = np.abs(places[at] - (before[:, :1] + before[:, 1:]) * 0.5)
    away[np.abs(steps) > reach] = 0
    tips = at[np.arange(len(at)), away.argmax(axis=1)].reshape(2, -1)
    return tips[0], tips[1]


def _farthest(places: _Complex, origins: _Complex, owner: Indices, first: Indices) -> Indices:
    """Return which point of each outline is farthest from its origin, x + i y of each point [P]."""
    away = places - origins
    square = away.real**2 + away.imag**2
    most = np.flatnonzero(square == np.maximum.reduceat(square, first)[owner])
    at: Indices = most[np.searchsorted(most, first)]
    return at
