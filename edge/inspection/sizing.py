"""The size of each defect of a frame, by the grey-value edges of the original picture or else by its mask.

A thin defect is measured along and across its strokes, a compact one by the smallest rectangle around its edge. A mask
that is wider than what it marks does not matter: it only says where to look. docs/measuring.md has the drawings.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.inspection.compact import blob
from edge.inspection.scale import Scale
from edge.inspection.skeleton import skeletons
from edge.inspection.strokes import Drawing, Stroke, drawing
from edge.inspection.thin import Indices, SizedStroke, lengths_of, paths_of, sized
from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8

# A defect with this many times the area of the largest square within it is thin.
_THIN = 3.0
# One with less than so many times may hide more strokes than its mask shows.
_STUBBY = 6.0
# What stands out of the picture is as long as this share of its mask, but for how far a mask may be too wide.
_REACHES = 0.85
# Ground to read beyond a mask that stands for the picture, px.
_PADDING = 12
# Pixels of masks that are laid side by side at once, so that memory stays bounded.
_SHEET_PX = 4_000_000
# What a length along a bent line is uncertain by in itself, measured on drawn shapes (docs/measuring.md).
_ALONG = 0.003


@dataclass(frozen=True)
class Marked:
    """A defect as it was found: `mask` uint8 [h, w] 0/1 in pixels of the frame, its outermost rows and columns 0.

    `corner`: (x, y) of the mask in the frame, px. `cell_px`: the side of the map's cells, px.
    """

    mask: UInt8
    corner: tuple[int, int]
    cell_px: float = 1.0


@dataclass(frozen=True)
class Sizes:
    """What a defect measures, in px of the frame and, where a scale is known, in mm; `u_…`: standard uncertainties.

    `points` [P, 2] px: its middle line, or the corners around it. `ends`: its free ends, each a point
    and one within the defect, float64 [2]. `contrast`: grey levels above the ground, None where it shows no edge.
    `by_grey`: measured at the grey-value edge, or else by its mask. `orientation_deg`: None where it has none.
    """

    length_px: float
    width_px: float
    width_max_px: float
    area_px: float
    u_length_px: float
    u_width_px: float
    points: Float64
    ends: tuple[tuple[Float64, Float64], ...] = ()
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
    distances = [cv2.distanceTransform(each.mask, cv2.DIST_L2, 3) for each in marked]
    thin = [number for number, each in enumerate(marked) if _is_thin(each.mask, _widest(distances[number]))]
    found: dict[int, Sizes] = {}
    if picture is not None:
        found = _thin_ones(thin, marked, distances, picture, scale, forked=False)
        again: dict[int, Marked] = {}
        for number, each in enumerate(marked):
            if number in found:
                continue
            seen = _by_blob(each, picture, scale)
            if isinstance(seen, Sizes) and number not in thin:
                found[number] = seen
            elif isinstance(seen, Marked) or number in thin:
                again[number] = seen if isinstance(seen, Marked) else each
        if again:  # what is thin within a wide mask, and what forks, by masks as narrow as the picture allows
            closer = [again.get(number, each) for number, each in enumerate(marked)]
            for number, each in again.items():
                distances[number] = cv2.distanceTransform(each.mask, cv2.DIST_L2, 3)
            found |= _thin_ones(list(again), closer, distances, picture, scale, forked=True)
    found |= _by_masks([number for number in range(len(marked)) if number not in found], marked, scale)
    return [found.get(number) for number in range(len(marked))]


def _widest(distance: Float32) -> float:
    """Return how far the middle of a mask is from its edge, px, by the distances [h, w] of its pixels."""
    return float(cv2.minMaxLoc(distance)[1])


def _is_thin(mask: UInt8, widest: float, times: float = _THIN) -> bool:
    largest = max(1.0, 2 * widest - 1)
    return bool(cv2.countNonZero(mask) >= times * largest**2)


def _thin_ones(
    numbers: Sequence[int],
    marked: Sequence[Marked],
    distances: Sequence[Float32],
    picture: UInt8,
    scale: Scale | None,
    *,
    forked: bool,
) -> dict[int, Sizes]:
    """Measure thin defects together; left out are those with a stroke that shows no edges.

    Unless `forked`, those are too whose strokes meet, or that are so stubby that they may.
    """
    lines = skeletons([marked[number].mask for number in numbers])
    drawings = [drawing(line, distances[number]) for number, line in zip(numbers, lines, strict=True)]
    widest = [_widest(distances[number]) for number in numbers]
    paths = paths_of(drawings, widest, [marked[number].corner for number in numbers])
    strokes = sized(picture, paths)
    whole, start = [], 0
    for number, drawn, reach in zip(numbers, drawings, widest, strict=True):
        own = [stroke for stroke in strokes[start : start + len(drawn.strokes)] if stroke is not None]
        start += len(drawn.strokes)
        plain = forked or (not drawn.joints.size and _is_thin(marked[number].mask, reach, _STUBBY))
        if own and plain and len(own) == len(drawn.strokes):
            whole.append((number, drawn, own))
    sizes = _of_strokes([own for _, _, own in whole], [drawn for _, drawn, _ in whole], scale)
    return {number: own for (number, _, _), own in zip(whole, sizes, strict=True)}


def _by_masks(numbers: Sequence[int], marked: Sequence[Marked], scale: Scale | None) -> dict[int, Sizes]:
    """Measure thin defects by their masks alone, in place of a picture; left out are those that are not thin.

    The masks are laid side by side, so that none is seen by another, and measured together.
    """
    distances = {number: cv2.distanceTransform(marked[number].mask, cv2.DIST_L2, 3) for number in numbers}
    widest = {number: _widest(distances[number]) for number in numbers}
    thin = [number for number in numbers if _is_thin(marked[number].mask, widest[number])]
    found: dict[int, Sizes] = {}
    for some in _sheets(thin, marked):
        sheet, corners = _sheet([marked[number].mask for number in some])
        lines = skeletons([marked[number].mask for number in some])
        drawings = [drawing(line, distances[number]) for number, line in zip(some, lines, strict=True)]
        strokes = sized(sheet, paths_of(drawings, [widest[number] for number in some], corners), sharp=True)
        start, whole = 0, []
        for number, drawn, corner in zip(some, drawings, corners, strict=True):
            own = [stroke for stroke in strokes[start : start + len(drawn.strokes)] if stroke is not None]
            start += len(drawn.strokes)
            if own and len(own) == len(drawn.strokes):
                whole.append((number, drawn, _moved(own, np.subtract(marked[number].corner, corner).astype(float))))
        sizes = _of_strokes([own for _, _, own in whole], [drawn for _, drawn, _ in whole], scale)
        found |= {number: _less_certain(own, marked[number]) for (number, _, _), own in zip(whole, sizes, strict=True)}
    return found


def _sheets(numbers: Sequence[int], marked: Sequence[Marked]) -> list[list[int]]:
    """Part defects so that the masks of each part have few pixels together, but for one that has many by itself."""
    parts: list[list[int]] = []
    pixels = _SHEET_PX
    for number in numbers:
        pixels += marked[number].mask.size
        if pixels > _SHEET_PX:
            parts.append([])
            pixels = marked[number].mask.size
        parts[-1].append(number)
    return parts


def _sheet(masks: Sequence[UInt8]) -> tuple[UInt8, list[tuple[int, int]]]:
    """Lay masks, uint8 [h, w] 0/1, below each other as a picture of 0 and 255; return it and the corner of each."""
    height = sum(mask.shape[0] + 2 * _PADDING for mask in masks)
    sheet: UInt8 = np.zeros((height, max(mask.shape[1] for mask in masks) + 2 * _PADDING), np.uint8)
    corners, top = [], _PADDING
    for mask in masks:
        np.multiply(mask, np.uint8(255), out=sheet[top : top + mask.shape[0], _PADDING : _PADDING + mask.shape[1]])
        corners.append((_PADDING, top))
        top += mask.shape[0] + 2 * _PADDING
    return sheet, corners


def _moved(strokes: Sequence[SizedStroke], shift: Float64) -> list[SizedStroke]:
    return [replace(stroke, points=stroke.points + shift, edges=stroke.edges + shift) for stroke in strokes]


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
    defects: Sequence[Sequence[SizedStroke]], drawings: Sequence[Drawing], scale: Scale | None
) -> list[Sizes]:
    """Put the strokes of thin defects together."""
    if not defects:
        return []
    every = [stroke for strokes in defects for stroke in strokes]
    points = np.concatenate([stroke.points for stroke in every])
    ends = np.cumsum([sum(len(stroke.points) for stroke in strokes) for strokes in defects])
    starts = np.concatenate([[0], ends[:-1]])
    turned = _orientations(points, starts, ends)
    in_mm = [None] * len(defects) if scale is None else _in_mm(defects, points, scale)
    return [
        _of_one(strokes, drawn, points[start:end], _Placed(angle, own, scale))
        for strokes, drawn, start, end, angle, own in zip(
            defects, drawings, starts.tolist(), ends.tolist(), turned, in_mm, strict=True
        )
    ]


@dataclass(frozen=True)
class _Placed:
    """How a thin defect lies: its direction, degrees, and its length in mm and mm per px across it, by a scale."""

    orientation_deg: float | None
    in_mm: tuple[float, float] | None
    scale: Scale | None


def _of_one(strokes: Sequence[SizedStroke], drawn: Drawing, points: Float64, placed: _Placed) -> Sizes:
    """Put the strokes of one thin defect together."""
    lengths, widths = [stroke.length_px for stroke in strokes], [stroke.width_px for stroke in strokes]
    length, width = sum(lengths), _weighted(widths, lengths)
    covered = sum(stroke.drawn_px * own for stroke, own in zip(strokes, widths, strict=True))
    edge = _edge_px(max(stroke.blur for stroke in strokes))
    known = all(stroke.resolved for stroke in strokes)
    seen = sum(len(stroke.widths) for stroke in strokes)
    sizes = Sizes(
        length_px=length,
        width_px=width,
        width_max_px=max(stroke.width_max_px for stroke in strokes),
        area_px=max(covered - sum(drawn.overlaps) * width**2, 0.25 * covered),
        u_length_px=math.hypot(2**0.5 * edge, _ALONG * length),
        u_width_px=2**0.5 * edge / min(4.0, max(1.0, seen**0.5)) if known else width / 12**0.5,
        points=points,
        ends=_ends(strokes, drawn.strokes),
        contrast=_weighted([stroke.height for stroke in strokes], lengths),
        orientation_deg=placed.orientation_deg,
    )
    return sizes if placed.scale is None or placed.in_mm is None else _scaled(sizes, *placed.in_mm, placed.scale)


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the mean of values by their weights."""
    if len(values) == 1:
        return values[0]
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / max(sum(weights), 1e-9)


def _edge_px(blur: float) -> float:
    """Return the standard uncertainty of one edge's place, px: within its pixel, and within its blur's deviation.

    Both are rectangular distributions, as wide as a pixel and as the deviation: 1 / sqrt(12) of their width
    (JCGM 100:2008, Guide to the expression of uncertainty in measurement, 4.3.7).
    """
    return float(((1.0 + blur**2) / 12) ** 0.5)


def _ends(strokes: Sequence[SizedStroke], drawn: Sequence[Stroke]) -> tuple[tuple[Float64, Float64], ...]:
    """Return the free ends of strokes, each as its point and one within the stroke."""
    found = []
    for stroke, line in zip(strokes, drawn, strict=True):
        if line.closed:
            continue
        reach = min(len(stroke.points) - 1, 8)
        for free, end, inner in ((line.free[0], 0, reach), (line.free[1], -1, -1 - reach)):
            if free and reach:
                found.append((stroke.points[end], stroke.points[inner]))
    return tuple(found)


def _orientations(points: Float64, starts: Indices, ends: Indices) -> list[float | None]:
    """Return the direction of each defect's longest extent, degrees from the picture's x axis towards its top, 0-180.

    `points` [N, 2]: of all defects, each one's from its start to its end.
    """
    counts = ends - starts
    spread = points - np.repeat(np.add.reduceat(points, starts) / counts[:, None], counts, axis=0)
    x, y = spread[:, 0], spread[:, 1]
    moments = np.add.reduceat(np.column_stack([x * x, x * y, y * y]), starts)
    return [_direction(*each) for each in moments.tolist()]


def _direction(xx: float, xy: float, yy: float) -> float | None:
    """Return the direction of the larger principal moment, degrees; None where both are alike."""
    # of the two principal moments, (xx + yy ± apart) / 2
    apart = math.hypot(xx - yy, 2 * xy)
    if xx + yy + apart < 1.2 * max(xx + yy - apart, 1e-12):
        return None
    return math.degrees(0.5 * math.atan2(-2 * xy, xx - yy)) % 180


def _in_mm(defects: Sequence[Sequence[SizedStroke]], points: Float64, scale: Scale) -> list[tuple[float, float]]:
    """Return how long thin defects are on the part's surface, mm, and how many mm a px across each is.

    `points` [N, 2] px: of all strokes. Each stroke's points and edges are taken there by themselves.
    """
    every = [stroke for strokes in defects for stroke in strokes]
    lengths = lengths_of(scale.points_mm(points), _starts(len(stroke.points) for stroke in every)).tolist()
    edges = np.concatenate([stroke.edges for stroke in every], axis=1)
    on_part = scale.points_mm(edges.reshape(-1, 2)).reshape(edges.shape)
    across = on_part[1] - on_part[0]
    starts = _starts(len(stroke.widths) for stroke in every)
    shown = np.add.reduceat(np.sqrt(np.einsum("ij,ij->i", across, across)), starts).tolist()
    found, start = [], 0
    for strokes in defects:
        own = slice(start, start + len(strokes))
        start = own.stop
        shown_px = sum(stroke.width_px * len(stroke.widths) for stroke in strokes)
        found.append((sum(lengths[own]), sum(shown[own]) / max(shown_px, 1e-9)))
    return found


def _starts(counts: Iterable[int]) -> Indices:
    """Return where parts of these sizes begin, int64, that lie one after the other."""
    return np.cumsum([0, *counts])[:-1]


def _scaled(sizes: Sizes, length_mm: float, across: float, scale: Scale) -> Sizes:
    """Return sizes in mm too; `across`: mm per px across the defect."""
    longways = length_mm / max(sizes.length_px, 1e-9)
    return Sizes(  # `replace` takes twice as long, and every defect comes here
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
        u_length_mm=math.hypot(sizes.u_length_px * longways, scale.residual_mm),
        u_width_mm=math.hypot(sizes.u_width_px * across, scale.residual_mm),
    )


def _by_blob(each: Marked, picture: UInt8, scale: Scale | None) -> Sizes | Marked | None:
    """Measure a compact defect; a tighter mask where it is thin within its own; None where it shows no edge."""
    seen = blob(picture, each.mask, each.corner)
    if seen is None:
        return None
    if _is_thin(seen.mask, _widest(cv2.distanceTransform(seen.mask, cv2.DIST_L2, 3))):
        if max(seen.mask.shape) < _REACHES * max(each.mask.shape) - 24:
            return None  # only a part of it stands out
        return Marked(seen.mask, seen.corner, each.cell_px)
    sizes = of_box(seen.box, seen.area_px, 2**0.5 * _edge_px(seen.blur), contrast=seen.height)
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
        ends=_box_ends(corners, np.array(way) / max(long, 1e-9)) if long > 1.2 * short else (),
        contrast=contrast,
        orientation_deg=turned if long > 1.2 * short else None,
        by_grey=contrast is not None,
    )


def _box_ends(corners: Float64, way: Float64) -> tuple[tuple[Float64, Float64], ...]:
    """Return the two short sides of a rectangle as free ends."""
    middle = corners.mean(axis=0)
    half = float(np.abs((corners - middle) @ way).max())
    return tuple((middle + sign * half * way, middle) for sign in (1.0, -1.0))


# Which corner follows each around a rectangle.
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
