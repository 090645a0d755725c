"""The size of each defect of a frame, by the grey-value edges of the original picture or else by its mask.

A thin defect is measured along and across its strokes, a compact one by the smallest rectangle around its edge. A mask
that is wider than what it marks does not matter: it only says where to look. docs/measuring.md has the drawings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.inspection.compact import blob
from edge.inspection.scale import Scale
from edge.inspection.skeleton import skeletons
from edge.inspection.strokes import Drawing, drawing
from edge.inspection.thin import Path, SizedStroke, along, paths_of, sized
from edge.opencv import cv2
from edge.records import Float64, UInt8

# A defect with this many times the area of the largest square within it is thin.
_THIN = 3.0
# One with less than so many times may hide more strokes than its mask shows.
_STUBBY = 6.0
# What stands out of the picture is as long as this share of its mask, but for how far a mask may be too wide.
_REACHES = 0.85
# Ground to read beyond a mask that stands for the picture, px.
_PADDING = 12
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
    thin = [number for number, each in enumerate(marked) if _is_thin(each.mask, distances[number])]
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
    return [found[number] if number in found else _by_mask(each, scale) for number, each in enumerate(marked)]


def _is_thin(mask: UInt8, distance: UInt8, times: float = _THIN) -> bool:
    largest = max(1.0, 2 * float(distance.max()) - 1)
    return bool(cv2.countNonZero(mask) >= times * largest**2)


def _thin_ones(
    numbers: Sequence[int],
    marked: Sequence[Marked],
    distances: Sequence[UInt8],
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
    paths = [
        paths_of(each, float(distances[number].max()), marked[number].corner)
        for number, each in zip(numbers, drawings, strict=True)
    ]
    strokes = sized(picture, [path for own in paths for path in own])
    found, start = {}, 0
    for number, own, drawn in zip(numbers, paths, drawings, strict=True):
        seen = strokes[start : start + len(own)]
        start += len(own)
        stubby = not _is_thin(marked[number].mask, distances[number], _STUBBY)
        if own and all(stroke is not None for stroke in seen) and (forked or not (drawn.joints.size or stubby)):
            found[number] = _of_strokes([stroke for stroke in seen if stroke is not None], own, drawn, scale)
    return found


def _by_mask(each: Marked, scale: Scale | None) -> Sizes | None:
    """Measure a thin defect by its mask alone, in place of a picture; None where it is not thin."""
    distance = cv2.distanceTransform(each.mask, cv2.DIST_L2, 3)
    if not _is_thin(each.mask, distance):
        return None
    padded = cv2.copyMakeBorder(each.mask * np.uint8(255), *(_PADDING,) * 4, cv2.BORDER_CONSTANT, value=0)
    shift = np.array([each.corner[0] - _PADDING, each.corner[1] - _PADDING], np.float64)
    (line,) = skeletons([each.mask])
    drawn = drawing(line, distance)
    paths = paths_of(drawn, float(distance.max()), (_PADDING, _PADDING))
    seen = [stroke for stroke in sized(padded, paths, sharp=True) if stroke is not None]
    if not seen or len(seen) < len(paths):
        return None
    moved = [replace(stroke, points=stroke.points + shift, edges=stroke.edges + shift) for stroke in seen]
    sizes = _of_strokes(moved, paths, drawn, scale)
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


def _of_strokes(strokes: Sequence[SizedStroke], paths: Sequence[Path], drawn: Drawing, scale: Scale | None) -> Sizes:
    """Put a thin defect's strokes together."""
    lengths = [stroke.length_px for stroke in strokes]
    widths = [float(stroke.widths.mean()) for stroke in strokes]
    length = sum(lengths)
    width = _weighted(widths, lengths)
    covered = sum(stroke.drawn_px * own for stroke, own in zip(strokes, widths, strict=True))
    area = max(covered - sum(drawn.overlaps) * width**2, 0.25 * covered)
    blur = max(stroke.blur for stroke in strokes)
    edge = _edge_px(blur)
    known = all(stroke.resolved for stroke in strokes)
    points = strokes[0].points if len(strokes) == 1 else np.concatenate([stroke.points for stroke in strokes])
    seen = sum(len(stroke.widths) for stroke in strokes)
    sizes = Sizes(
        length_px=length,
        width_px=width,
        width_max_px=max(_largest(stroke.widths) for stroke in strokes),
        area_px=area,
        u_length_px=math.hypot(2**0.5 * edge, _ALONG * length),
        u_width_px=2**0.5 * edge / min(4.0, max(1.0, seen**0.5)) if known else width / 12**0.5,
        points=points,
        ends=_ends(strokes, paths),
        contrast=_weighted([stroke.height for stroke in strokes], lengths),
        orientation_deg=_orientation(points),
    )
    return sizes if scale is None else _in_mm(sizes, strokes, scale)


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the mean of values by their weights."""
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / max(sum(weights), 1e-9)


def _edge_px(blur: float) -> float:
    """Return the standard uncertainty of one edge's place, px: within its pixel, and within its blur's deviation.

    Both are rectangular distributions, as wide as a pixel and as the deviation: 1 / sqrt(12) of their width
    (JCGM 100:2008, Guide to the expression of uncertainty in measurement, 4.3.7).
    """
    return float(((1.0 + blur**2) / 12) ** 0.5)


def _largest(widths: Float64) -> float:
    """Return the largest width that three neighbours agree on."""
    if len(widths) < 3:
        return float(widths.max())
    agreed = np.minimum(np.minimum(widths[:-2], widths[1:-1]), widths[2:])
    return max(float(agreed.max()), float(widths.mean()))


def _ends(strokes: Sequence[SizedStroke], paths: Sequence[Path]) -> tuple[tuple[Float64, Float64], ...]:
    """Return the free ends of strokes, each as its point and one within the stroke."""
    found = []
    for stroke, path in zip(strokes, paths, strict=True):
        if path.closed:
            continue
        reach = min(len(stroke.points) - 1, 8)
        for free, end, inner in ((path.free[0], 0, reach), (path.free[1], -1, -1 - reach)):
            if free and reach:
                found.append((stroke.points[end], stroke.points[inner]))
    return tuple(found)


def _orientation(points: Float64) -> float | None:
    """Return the direction of the longest extent, degrees from the picture's x axis towards its top, 0 to 180."""
    spread = points - points.mean(axis=0)
    (xx, xy), (_, yy) = (spread.T @ spread).tolist()
    # of the two principal moments, (xx + yy ± apart) / 2
    apart = math.hypot(xx - yy, 2 * xy)
    if xx + yy + apart < 1.2 * max(xx + yy - apart, 1e-12):
        return None
    return math.degrees(0.5 * math.atan2(-2 * xy, xx - yy)) % 180


def _in_mm(sizes: Sizes, strokes: Sequence[SizedStroke], scale: Scale) -> Sizes:
    """Take sizes to the part's surface, each stroke's points and edges by themselves."""
    length = sum(along(scale.points_mm(stroke.points)) for stroke in strokes)
    shown_px = sum(float(stroke.widths.sum()) for stroke in strokes)
    shown = 0.0
    for stroke in strokes:
        edges = scale.points_mm(stroke.edges.reshape(-1, 2)).reshape(stroke.edges.shape)
        across = edges[1] - edges[0]
        shown += float(np.sqrt(np.einsum("ij,ij->i", across, across)).sum())
    return _scaled(sizes, length, shown / max(shown_px, 1e-9), scale)


def _scaled(sizes: Sizes, length_mm: float, across: float, scale: Scale) -> Sizes:
    """Return sizes in mm too; `across`: mm per px across the defect."""
    longways = length_mm / max(sizes.length_px, 1e-9)
    return replace(
        sizes,
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
    if _is_thin(seen.mask, cv2.distanceTransform(seen.mask, cv2.DIST_L2, 3)):
        if max(seen.mask.shape) < _REACHES * max(each.mask.shape) - 24:
            return None  # only a part of it stands out
        return Marked(seen.mask, seen.corner, each.cell_px)
    sizes = of_box(seen.box, seen.area_px)
    edge = _edge_px(seen.blur)
    sizes = replace(sizes, contrast=seen.height, by_grey=True, u_length_px=2**0.5 * edge, u_width_px=2**0.5 * edge)
    return sizes if scale is None else box_in_mm(sizes, scale)


def of_box(corners: Float64, area_px: float) -> Sizes:
    """Return the sizes of a compact defect, by the corners [4, 2] of the rectangle around it and its area."""
    sides = np.diff(np.concatenate([corners, corners[:1]]), axis=0)
    one, other = (float(np.hypot(*side)) for side in sides[:2])
    way = sides[0] if one >= other else sides[1]
    long, short = max(one, other), min(one, other)
    turned = float(np.degrees(np.arctan2(-way[1], way[0])) % 180)
    return Sizes(
        length_px=long,
        width_px=area_px / max(long, 1e-9),
        width_max_px=short,
        area_px=area_px,
        u_length_px=0.0,
        u_width_px=0.0,
        points=corners,
        ends=_box_ends(corners, way / max(long, 1e-9)) if long > 1.2 * short else (),
        orientation_deg=turned if long > 1.2 * short else None,
        by_grey=False,
    )


def _box_ends(corners: Float64, way: Float64) -> tuple[tuple[Float64, Float64], ...]:
    """Return the two short sides of a rectangle as free ends."""
    middle = corners.mean(axis=0)
    half = float(np.abs((corners - middle) @ way).max())
    return tuple((middle + sign * half * way, middle) for sign in (1.0, -1.0))


def box_in_mm(sizes: Sizes, scale: Scale, longer: float = 1.0) -> Sizes:
    """Take a compact defect's sizes to the part's surface, by the middles of its rectangle's sides.

    `longer`: how many times as long as that rectangle it is.
    """
    corners = sizes.points
    middles = (corners + np.roll(corners, -1, axis=0)) / 2
    on_part = scale.points_mm(middles)
    spans = [float(np.hypot(*(on_part[2 + number] - on_part[number]))) for number in (0, 1)]
    spans_px = [float(np.hypot(*(middles[2 + number] - middles[number]))) for number in (0, 1)]
    long, short = (0, 1) if spans_px[0] >= spans_px[1] else (1, 0)
    return _scaled(sizes, longer * spans[long], spans[short] / max(spans_px[short], 1e-9), scale)
