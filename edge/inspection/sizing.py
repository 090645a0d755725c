"""The size of each defect of a frame, by grey-value edges of the original picture or by its mask.

A thin defect is measured along and across its strokes, a compact one by the smallest rectangle around its edge. A mask
that is wider than what it marks does not matter: it only says where to look. docs/measuring.md has the drawings.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, overload

import numpy as np

from edge.inspection.compact import blob
from edge.inspection.evening import evened
from edge.inspection.middles import Middle, Outline, middles
from edge.inspection.packed import Indices, lengths_of, starts_of
from edge.inspection.scale import Scale
from edge.inspection.skeleton import skeletons
from edge.inspection.strokes import Drawing, Stroke, drawing
from edge.inspection.thin import SizedStrokes, paths_of, sized
from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8

# A defect with this many times the area of the largest square within it is thin.
_THIN = 3.0
# One with less than so many times may hide more strokes than its mask shows.
_STUBBY = 6.0
# A defect that stands out of the picture is as long as this share of its mask, less its excess.
_REACHES = 0.85
# Ground to read beyond a mask that stands for the picture, px.
_PADDING = 12
# Pixels of masks that are laid side by side at once, so that memory stays bounded.
_SHEET_PX = 4_000_000
# The uncertainty of a length along a bent line itself, measured on drawn shapes (docs/measuring.md).
_ALONG = 0.003
_NO_ENDS: Float64 = np.empty((0, 2, 2))


@dataclass(frozen=True)
class Marked:
    """A defect as it was found: `mask` uint8 [h, w] 0/1 in pixels of the frame, its outermost rows and columns 0.

    `corner`: (x, y) of the mask in the frame, px. `cell_px`: the side of the map's cells, px. `outline`: None where it
    is not known.
    """

    mask: UInt8
    corner: tuple[int, int]
    cell_px: float = 1.0
    outline: Outline | None = None


@dataclass(frozen=True)
class Sizes:
    """The sizes of a defect, in px of the frame and, where a scale is known, in mm; `u_…`: standard uncertainties.

    `points` [P, 2] px: its middle line, or the corners around it. `ends` [E, 2, 2]: its free ends, each a point and one
    within the defect. `contrast`: grey levels above the ground, None where it shows no edge.
    `by_grey`: measured at the grey-value edge, or else by its mask. `orientation_deg`: None where it has none.
    """

    length_px: float
    width_px: float
    width_max_px: float
    area_px: float
    u_length_px: float
    u_width_px: float
    points: Float64
    ends: Float64 = field(default_factory=lambda: _NO_ENDS)
    contrast: float | None = None
    orientation_deg: float | None = None
    by_grey: bool = True
    length_mm: float | None = None
    width_mm: float | None = None
    width_max_mm: float | None = None
    area_mm2: float | None = None
    u_length_mm: float | None = None
    u_width_mm: float | None = None


def sizes_of(marked: Sequence[Marked], picture: UInt8 | None, scale: Scale | None) -> list[Sizes | None]:
    """Measure defects in a picture, uint8 [H, W] or [H, W, C]; None where neither it nor the mask can be measured.

    Without a picture all are measured by their masks.
    """
    found: dict[int, Sizes] = {}
    if picture is not None:
        found = _thin_ones(_looked_at(marked), picture, scale, forked=False)
        again: dict[int, tuple[Marked, _Spread]] = {}
        for number, each in enumerate(marked):
            if number in found:
                continue
            seen, own = _by_blob(each, picture, scale), _spread(each.mask)
            if isinstance(seen, Sizes) and not own.is_thin():
                found[number] = seen
            elif isinstance(seen, Marked):
                again[number] = seen, _spread(seen.mask)
            elif own.is_thin():
                again[number] = each, own
        # thin parts within a wide mask, and forks, by masks as narrow as the picture allows
        found |= _thin_ones(again, picture, scale, forked=True)
    left = {number: each for number, each in enumerate(marked) if number not in found}
    found |= _by_masks(left, scale)
    return [found.get(number) for number in range(len(marked))]


@dataclass(frozen=True)
class _Spread:
    """A mask's spread: the `distance` of its pixels to its edge, float32 [h, w], the `widest` of them, and its area."""

    distance: Float32
    widest: float
    area_px: int

    def is_thin(self, times: float = _THIN) -> bool:
        """Tell whether it has so many times the area of the largest square within it."""
        return self.area_px >= times * max(1.0, 2 * self.widest - 1) ** 2


def _spread(mask: UInt8) -> _Spread:
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    return _Spread(distance, cv2.minMaxLoc(distance)[1], cv2.countNonZero(mask))


def _looked_at(marked: Sequence[Marked]) -> dict[int, tuple[Marked, Middle | _Spread]]:
    """Return the thin ones of defects, by their numbers, with their middles where they are plain lines."""
    found: dict[int, tuple[Marked, Middle | _Spread]] = {}
    plain = middles([(each.mask, each.outline) for each in marked])
    for number, (each, middle) in enumerate(zip(marked, plain, strict=True)):
        how = _spread(each.mask) if middle is None else middle
        if isinstance(how, Middle) or how.is_thin():
            found[number] = each, how
    return found


def _drawn(asked: Collection[tuple[Marked, Middle | _Spread]]) -> tuple[list[Drawing], list[float]]:
    """Return the strokes of masks, and half the width of each mask, px."""
    forked = [(each.mask, how) for each, how in asked if isinstance(how, _Spread)]
    lines = iter(skeletons([evened(mask, how.widest) for mask, how in forked]))
    drawings, half_widths = [], []
    for _, how in asked:
        if isinstance(how, Middle):
            drawings.append(Drawing((Stroke(how.points),)))
            half_widths.append(how.half_width)
        else:
            drawings.append(drawing(next(lines), how.distance))
            half_widths.append(how.widest)
    return drawings, half_widths


def _thin_ones(
    asked: Mapping[int, tuple[Marked, Middle | _Spread]], picture: UInt8, scale: Scale | None, *, forked: bool
) -> dict[int, Sizes]:
    """Measure thin defects together, by their numbers; left out are those with a stroke that shows no edges.

    So are those whose strokes meet, or that are stubby enough to do so, unless `forked`.
    """
    if not asked:
        return {}
    drawings, half_widths = _drawn(asked.values())
    strokes = sized(picture, paths_of(drawings, half_widths, [each.corner for each, _ in asked.values()]))
    plain = [
        forked or isinstance(how, Middle) or (not len(drawn.joints) and how.is_thin(_STUBBY))
        for drawn, (_, how) in zip(drawings, asked.values(), strict=True)
    ]
    return _of_strokes(list(asked), drawings, strokes, plain, scale)


def _by_masks(asked: Mapping[int, Marked], scale: Scale | None) -> dict[int, Sizes]:
    """Measure thin defects, by their numbers, by their masks alone, in place of a picture; left out are others.

    The masks are laid side by side, so that none is seen by another, and measured together.
    """
    found: dict[int, Sizes] = {}
    thin = {list(asked)[place]: each for place, each in _looked_at(list(asked.values())).items()}
    for some in _sheets({number: each for number, (each, _) in thin.items()}):
        sheet, corners = _sheet([asked[number].mask for number in some])
        drawings, half_widths = _drawn([thin[number] for number in some])
        strokes = sized(sheet, paths_of(drawings, half_widths, corners), sharp=True)
        if strokes is not None:
            shifts = np.subtract([asked[number].corner for number in some], corners).astype(np.float64)
            owner = np.repeat(np.arange(len(some)), [len(drawn.strokes) for drawn in drawings])
            strokes = strokes.moved(shifts[owner[strokes.number]])
        sizes = _of_strokes(some, drawings, strokes, [True] * len(some), scale)
        found |= {number: _less_certain(own, asked[number]) for number, own in sizes.items()}
    return found


def _sheets(asked: Mapping[int, Marked]) -> list[list[int]]:
    """Part defects into groups whose masks have few pixels together, but for a single one with many."""
    parts: list[list[int]] = []
    pixels = _SHEET_PX
    for number, each in asked.items():
        pixels += each.mask.size
        if pixels > _SHEET_PX:
            parts.append([])
            pixels = each.mask.size
        parts[-1].append(number)
    return parts


def _sheet(masks: Sequence[UInt8]) -> tuple[UInt8, list[tuple[int, int]]]:
    """Lay masks, uint8 [h, w] 0/1, below each other as a picture of 0 and 255.

    Return it and the corner of each.
    """
    height = sum(mask.shape[0] + 2 * _PADDING for mask in masks)
    sheet: UInt8 = np.zeros((height, max(mask.shape[1] for mask in masks) + 2 * _PADDING), np.uint8)
    corners, top = [], _PADDING
    for mask in masks:
        np.multiply(mask, np.uint8(255), out=sheet[top : top + mask.shape[0], _PADDING : _PADDING + mask.shape[1]])
        corners.append((_PADDING, top))
        top += mask.shape[0] + 2 * _PADDING
    return sheet, corners


def _less_certain(sizes: Sizes, each: Marked) -> Sizes:
    """Return what a mask measures as such: an edge lies within a cell of the map and a quarter of the width."""
    ratio = 1.0 if sizes.length_mm is None else sizes.length_mm / sizes.length_px
    u_length = float(np.hypot(sizes.u_length_px, (each.cell_px + sizes.width_px / 2) / 3**0.5))
    u_width = (each.cell_px + sizes.width_px / 2) / 3**0.5
    known = sizes.length_mm is not None
    return replace(
        sizes,
        contrast=None,
        by_grey=False,
        u_length_px=u_length,
        u_width_px=u_width,
        u_length_mm=u_length * ratio if known else None,
        u_width_mm=u_width * ratio if known else None,
    )


def _of_strokes(
    numbers: Sequence[int],
    drawings: Sequence[Drawing],
    strokes: SizedStrokes | None,
    plain: Sequence[bool],
    scale: Scale | None,
) -> dict[int, Sizes]:
    """Put the strokes of thin defects together; left out are those that are not `plain`, or lack a stroke."""
    if strokes is None:
        return {}
    counts = np.array([len(drawn.strokes) for drawn in drawings])
    owner = np.repeat(np.arange(len(drawings)), counts)[strokes.number]
    whole = (np.bincount(owner, minlength=len(drawings)) == counts) & np.array(plain) & (counts > 0)
    kept = np.flatnonzero(whole).tolist()
    if not kept:
        return {}
    every = strokes.only(whole[owner])
    own = [drawings[number] for number in kept]
    starts = starts_of(counts[kept])
    px = _in_px(every, starts, np.array([sum(drawn.overlaps) for drawn in own]))
    mm = () if scale is None else _in_mm(px, every, starts, scale)
    free, free_starts = _free_ends(every, starts, own)
    begins = every.begins[starts]
    lines = itertools.starmap(slice, itertools.pairwise(begins.tolist()))
    ends = itertools.starmap(slice, itertools.pairwise(free_starts))
    return {
        numbers[number]: Sizes(*(*sizes, every.points[line], free[own_ends], contrast, turned, True, *on_part))
        for number, line, own_ends, contrast, turned, sizes, on_part in zip(
            kept,
            lines,
            ends,
            _weighted(every.height, every.length_px, starts).tolist(),
            _orientations(every.points, begins),
            _rows(px, len(kept)),
            _rows(mm, len(kept)),
            strict=True,
        )
    }


def _rows(columns: Sequence[Float64], count: int) -> Iterable[Any]:
    """Return `count` rows of columns, float64 [count] each, as tuples; empty ones of none."""
    return zip(*(column.tolist() for column in columns), strict=True) if columns else [()] * count


def _in_px(strokes: SizedStrokes, starts: Indices, overlaps: Float64) -> tuple[Float64, ...]:
    """Return the first six of `Sizes` of D defects, each float64 [D], whose strokes begin at `starts` [D + 1].

    `overlaps` [D]: the area that strokes share, in squares of their width.
    """
    first = starts[:-1]
    length = np.add.reduceat(strokes.length_px, first)
    width = _weighted(strokes.width_px, strokes.length_px, starts)
    covered = np.add.reduceat(strokes.drawn_px * strokes.width_px, first)
    edges = 2**0.5 * _edge_px(np.maximum.reduceat(strokes.blur, first))
    seen = np.diff(strokes.bounds[starts])
    noise = _weighted(strokes.u_width_px, strokes.length_px, starts)
    return (
        length,
        width,
        np.maximum.reduceat(strokes.width_max_px, first),
        np.maximum(covered - overlaps * width**2, 0.25 * covered),
        np.hypot(edges, _ALONG * length),
        np.where(
            np.logical_and.reduceat(strokes.resolved, first),
            np.hypot(edges / np.minimum(4.0, np.sqrt(np.maximum(1, seen))), noise),
            width / 12**0.5,
        ),
    )


def _weighted(values: Float64, weights: Float64, starts: Indices) -> Float64:
    """Return of each part the mean of values by their weights; parts begin at `starts` [D + 1]."""
    if len(values) == len(starts) - 1:
        return values
    means: Float64 = np.add.reduceat(values * weights, starts[:-1])
    return means / np.maximum(np.add.reduceat(weights, starts[:-1]), 1e-9)


@overload
def _edge_px(blur: float) -> float: ...


@overload
def _edge_px(blur: Float64) -> Float64: ...


def _edge_px(blur: float | Float64) -> float | Float64:
    """Return the standard uncertainty of one edge's place, px: within its pixel, and within its blur's deviation.

    Both are rectangular distributions, as wide as a pixel and as the deviation: 1 / sqrt(12) of their width
    (JCGM 100:2008, Guide to the expression of uncertainty in measurement, 4.3.7).
    """
    return ((1.0 + blur**2) / 12) ** 0.5


def _free_ends(strokes: SizedStrokes, starts: Indices, drawings: Sequence[Drawing]) -> tuple[Float64, list[int]]:
    """Return the free ends of strokes, float64 [E, 2, 2], each as its point and one within the stroke.

    And where those of each drawing begin, and the last end, in it; a drawing's strokes begin at `starts`.
    """
    free = np.array([not line.closed and end for drawn in drawings for line in drawn.strokes for end in line.free])
    first, last = strokes.begins[:-1], strokes.begins[1:] - 1
    reach = np.minimum(last - first, 8)
    tips, within = (np.array(each).T.reshape(-1)[free] for each in ((first, last), (first + reach, last - reach)))
    ends = np.empty((len(tips), 2, 2))
    ends[:, 0], ends[:, 1] = strokes.points[tips], strokes.points[within]
    return ends, starts_of(free)[2 * starts].tolist()


def _orientations(points: Float64, begins: Indices) -> list[float | None]:
    """Return the direction of each defect's longest extent, degrees from the picture's x axis towards its top, 0-180.

    None where there is none. `points` [N, 2]: of all defects, each one's from its beginning to the next one's.
    """
    counts, starts = np.diff(begins), begins[:-1]
    x, y = (points - np.repeat(np.add.reduceat(points, starts) / counts[:, None], counts, axis=0)).T
    xx, xy, yy = np.add.reduceat(np.array([x * x, x * y, y * y]), starts, axis=1)
    # of the two principal moments, (xx + yy ± apart) / 2
    apart = np.hypot(xx - yy, 2 * xy)
    round_ = xx + yy + apart < 1.2 * np.maximum(xx + yy - apart, 1e-12)
    turned = np.degrees(0.5 * np.arctan2(-2 * xy, xx - yy)) % 180
    return [None if none else way for none, way in zip(round_.tolist(), turned.tolist(), strict=True)]


def _in_mm(px: tuple[Float64, ...], strokes: SizedStrokes, starts: Indices, scale: Scale) -> tuple[Float64, ...]:
    """Return the last six of `Sizes` of D defects, each float64 [D], from the first six.

    Each stroke's points and edges are taken to the part's surface by themselves.
    """
    length_px, width_px, largest_px, area_px, u_length_px, u_width_px = px
    first = starts[:-1]
    length = np.add.reduceat(lengths_of(scale.points_mm(strokes.points), strokes.begins[:-1]), first)
    on_part = scale.points_mm(strokes.edges.reshape(-1, 2)).reshape(strokes.edges.shape)
    way = on_part[1] - on_part[0]
    shown = np.add.reduceat(np.sqrt(np.einsum("ij,ij->i", way, way)), strokes.bounds[starts][:-1])
    shown_px = np.add.reduceat(strokes.width_px * np.diff(strokes.bounds), first)
    longways, across = length / np.maximum(length_px, 1e-9), shown / np.maximum(shown_px, 1e-9)
    lens = np.maximum.reduceat(scale.unsure_at(strokes.points), strokes.begins[starts[:-1]])
    return (
        length,
        width_px * across,
        largest_px * across,
        area_px * longways * across,
        np.sqrt((u_length_px * longways) ** 2 + scale.residual_mm**2 + (lens * length) ** 2),
        np.sqrt((u_width_px * across) ** 2 + scale.residual_mm**2 + (lens * width_px * across) ** 2),
    )


def _scaled(sizes: Sizes, length_mm: float, across: float, scale: Scale) -> Sizes:
    """Return sizes in mm too; `across`: mm per px across the defect."""
    longways = length_mm / max(sizes.length_px, 1e-9)
    lens = float(scale.unsure_at(sizes.points).max())
    return Sizes(
        sizes.length_px,
        sizes.width_px,
        sizes.width_max_px,
        sizes.area_px,
        sizes.u_length_px,
        sizes.u_width_px,
        sizes.points,
        sizes.ends,
        sizes.contrast,
        sizes.orientation_deg,
        sizes.by_grey,
        length_mm=length_mm,
        width_mm=sizes.width_px * across,
        width_max_mm=sizes.width_max_px * across,
        area_mm2=sizes.area_px * longways * across,
        u_length_mm=math.hypot(sizes.u_length_px * longways, scale.residual_mm, lens * length_mm),
        u_width_mm=math.hypot(sizes.u_width_px * across, scale.residual_mm, lens * sizes.width_px * across),
    )


def _by_blob(each: Marked, picture: UInt8, scale: Scale | None) -> Sizes | Marked | None:
    """Measure a compact defect; a tighter mask where it is thin within its own; None where it shows no edge."""
    seen = blob(picture, each.mask, each.corner)
    if seen is None:
        return None
    if _spread(seen.mask).is_thin():
        if max(seen.mask.shape) < _REACHES * max(each.mask.shape) - 24:
            return None  # only a part of it stands out
        return Marked(seen.mask, seen.corner, each.cell_px)
    edges = 2**0.5 * _edge_px(seen.blur)
    sizes = of_box(seen.box, seen.area_px, edges, contrast=seen.height)
    sizes = replace(sizes, u_length_px=math.hypot(edges, seen.u_box[0]), u_width_px=math.hypot(edges, seen.u_box[1]))
    return sizes if scale is None else box_in_mm(sizes, scale)


def of_box(corners: Float64, area_px: float, u_px: float = 0.0, *, contrast: float | None = None) -> Sizes:
    """Return the sizes of a compact defect, by the corners [4, 2] of the rectangle around it and its area.

    `u_px`: standard uncertainty of its sides. `contrast`: of the picture that shows its edge; None where none does.
    """
    first, second, third, _ = corners.tolist()
    sides = [(end[0] - start[0], end[1] - start[1]) for start, end in ((first, second), (second, third))]
    one, other = (math.hypot(*side) for side in sides)
    way = sides[0] if one >= other else sides[1]
    long, short = max(one, other), min(one, other)
    turned = math.degrees(math.atan2(-way[1], way[0])) % 180
    return Sizes(
        length_px=long,
        width_px=area_px / max(long, 1e-9),
        width_max_px=short,
        area_px=area_px,
        u_length_px=u_px,
        u_width_px=u_px,
        points=corners,
        ends=_box_ends(corners, np.array(way) / max(long, 1e-9)) if long > 1.2 * short else _NO_ENDS,
        contrast=contrast,
        orientation_deg=turned if long > 1.2 * short else None,
        by_grey=contrast is not None,
    )


def _box_ends(corners: Float64, way: Float64) -> Float64:
    """Return the two short sides of a rectangle as free ends."""
    middle = corners.mean(axis=0)
    half = float(np.abs((corners - middle) @ way).max())
    return np.array([(middle + sign * half * way, middle) for sign in (1.0, -1.0)])


# The corner that follows each around a rectangle.
_NEXT = [1, 2, 3, 0]


def box_in_mm(sizes: Sizes, scale: Scale, longer: float = 1.0) -> Sizes:
    """Take a compact defect's sizes to the part's surface, by the middles of its rectangle's sides.

    `longer`: how many times as long as that rectangle it is.
    """
    middles = (sizes.points + sizes.points[_NEXT]) / 2
    on_part = scale.points_mm(middles)
    spans, spans_px = (
        [math.dist(first, third), math.dist(second, fourth)]
        for first, second, third, fourth in (on_part.tolist(), middles.tolist())
    )
    long, short = (0, 1) if spans_px[0] >= spans_px[1] else (1, 0)
    return _scaled(sizes, longer * spans[long], spans[short] / max(spans_px[short], 1e-9), scale)
