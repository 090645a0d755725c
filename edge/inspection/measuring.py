"""From a defect map to coverage, defects and millimetres.

The whole map is looked at once for outlines (OpenCV's `findContours`, ten times cheaper than labelling it). Only the
boxes around them are labelled. A defect below its class's smallest area is a speck: it is wiped from the map, so that
map, coverage and count always tell the same story. `edge/inspection/sizing.py` finds the size of a defect in the
original picture.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from edge.inspection.joining import Joining, joined
from edge.inspection.middles import Outline, Places
from edge.inspection.scale import Scale
from edge.inspection.sizing import Marked, Sizes, box_in_mm, of_box, sizes_of
from edge.opencv import cv2
from edge.preparing.geometry import warped
from edge.records import ClassMeasure, Defect, DefectClass, DefectMap, Float32, Float64, Measurement, Transform, UInt8

# Beyond this many islands one labelling of the whole map is cheaper than a labelling per box.
_BOXES_AT_MOST = 256

# A defect that fills more of its smallest rectangle than this is as long as that rectangle.
_FILLED = 0.5

# So many defects of a frame, the longest, and so many pixels around them are measured finely. Outlines measure the
# others.
_FINE_AT_MOST, _FINE_PX_AT_MOST = 64, 2_100_000

# A picture's edges are not looked for in a map with larger cells than this, px: a cell holds too many.
_CELL_PX_AT_MOST = 6.0


@dataclass(frozen=True)
class Region:
    """The inspected part of a prepared frame. `mask`: uint8 [h, w] 0/255, or None for all of it; `cells` inside it."""

    mask: UInt8 | None
    cells: int


@dataclass(frozen=True)
class _Component:
    """One 8-connected defect: `mask` uint8 [h, w] 0/1 of its box, whose corner is map cell (x, y); `cells` in it.

    `outline` int32 [N, 2]: the map's cells along its outer border, in their order; None where others touch it.
    """

    class_id: int
    x: int
    y: int
    mask: UInt8
    cells: int
    outline: Places | None = None


@dataclass(frozen=True)
class Sight:
    """The aids to measuring defects, beside the map: all may be missing.

    `pixels`: the camera's frame, uint8 [H, W] or [H, W, C]. `part_px`: the part's outline, float64 [N, 2] px of the
    frame. `joining`: which dashes are one scratch.
    """

    pixels: UInt8 | None = None
    part_px: Float64 | None = None
    joining: Joining | None = None


@dataclass(frozen=True)
class _Cells:
    """The cells of a map in the frame (`to_frame`): how many of its pixels one is, and how large those are, if known.

    `ends`: the prepared frame's right and lower border, in cells; the last cells may reach beyond it.
    """

    to_frame: Transform
    px_per_cell: float
    scale: Scale | None
    ends: tuple[float, float]
    sight: Sight

    @cached_property
    def matrix(self) -> list[list[float]]:
        """The numbers of `to_frame`: what one point needs is quicker reckoned with them than with arrays."""
        numbers: list[list[float]] = self.to_frame.matrix.tolist()
        return numbers


def region(shape: tuple[int, int], polygon: tuple[tuple[float, float], ...] | None, to_frame: Transform) -> Region:
    """Rasterise a polygon, given in frame pixels, into a map of `shape` (h, w) whose cells `to_frame` places.

    A cell is inspected where its centre lies inside the polygon (even-odd rule); None inspects everything.
    """
    height, width = shape
    if polygon is None:
        return Region(None, height * width)
    corners = to_frame.inverse().apply(np.array(polygon, np.float64))
    ends = np.roll(corners, -1, axis=0)
    (x0, y0), (x1, y1) = corners.T, ends.T
    first, last = (int(np.clip(np.floor(end), 0, height)) for end in (y0.min(), y0.max() + 1))
    y = np.arange(first, last)[:, None] + 0.5
    rows, edges = np.nonzero((y0 <= y) != (y1 <= y))
    borders = x0[edges] + (y[rows, 0] - y0[edges]) * (x1 - x0)[edges] / (y1 - y0)[edges]
    rows += first
    # cell i has its centre at i + 0.5, so it is beyond the border from ceil(border - 0.5) on
    columns = np.clip(np.ceil(borders - 0.5), 0, width).astype(np.int64)
    order = np.lexsort((columns, rows))
    starts, ends_at = columns[order][::2].tolist(), columns[order][1::2].tolist()
    mask: UInt8 = np.zeros(shape, np.uint8)
    for row, start, end in zip(rows[order][::2].tolist(), starts, ends_at, strict=True):  # a row is crossed in pairs
        mask[row, start:end] ^= 255
    return Region(mask, int(cv2.countNonZero(mask)))


def _components(classes: UInt8) -> list[_Component]:
    """Find the 8-connected components of each class in a uint8 [h, w] map."""
    outlines, hierarchy = cv2.findContours(classes, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # with RETR_CCOMP an outline without a parent is the outer border of one island of touching defects of any class
    parents = hierarchy[0, :, 3].tolist() if outlines else []
    outer = [outline for outline, parent in zip(outlines, parents, strict=True) if parent < 0]
    if len(outer) > _BOXES_AT_MOST:
        return _label(classes, 0, 0)
    found: list[_Component] = []
    boxes = [cv2.boundingRect(outline) for outline in outer]
    for outline, (x, y, w, h), lonely in zip(outer, boxes, _apart(boxes), strict=True):
        box = classes[y : y + h, x : x + w]
        points = outline.reshape(-1, 2)  # OpenCV 4 and 5 differ in the shape of point lists
        seed_x, seed_y = points[0].tolist()
        seed = (seed_y - y, seed_x - x)
        class_id = int(box[seed])
        own = (box == class_id).view(np.uint8)
        cells = cv2.countNonZero(own)
        if cells == cv2.countNonZero(box):  # one class, so the island is the one defect at its seed
            if not lonely:
                own, cells = _at_seed(own, seed)
            found.append(_Component(class_id, x, y, own, cells, points))
        else:
            _, islands = cv2.connectedComponents((box > 0).view(np.uint8), connectivity=8)
            found += _label(np.where(islands == islands[seed], box, np.uint8(0)), x, y)
    return found


def _apart(boxes: Sequence[tuple[int, int, int, int]]) -> list[bool]:
    """Tell which boxes (x, y, w, h) no other overlaps: nothing else lies in them."""
    if not boxes:
        return []
    x, y, w, h = np.array(boxes).T
    across = (x[:, None] < x + w) & (x < (x + w)[:, None])
    down = (y[:, None] < y + h) & (y < (y + h)[:, None])
    lonely: list[bool] = ((across & down).sum(axis=1) == 1).tolist()
    return lonely


def _at_seed(mask: UInt8, seed: tuple[int, int]) -> tuple[UInt8, int]:
    """Keep the part of a box's mask, uint8 [h, w] 0/1, that is connected to `seed`.

    That pixel (row, column) spans it. Return beside it how many cells that is.
    """
    labels, label_map, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if labels > 2:  # parts of other islands reach into the box
        label = int(label_map[seed])
        return (label_map == label).view(np.uint8), int(stats[label, cv2.CC_STAT_AREA])
    return mask, int(stats[1, cv2.CC_STAT_AREA])


def _label(box: UInt8, x: int, y: int) -> list[_Component]:
    """Label each class in one box of the map, whose corner is (x, y)."""
    found = []
    for class_id in np.flatnonzero(np.bincount(box.ravel(), minlength=256)):
        if class_id == 0:
            continue
        _, labels, stats, _ = cv2.connectedComponentsWithStats((box == class_id).view(np.uint8), connectivity=8)
        for label, (left, top, w, h, cells) in enumerate(stats.tolist()[1:], start=1):
            mask = (labels[top : top + h, left : left + w] == label).view(np.uint8)
            found.append(_Component(int(class_id), x + left, y + top, mask, cells))
    return found


def wiped(defect_map: DefectMap, classes: tuple[DefectClass, ...], inspected: Region) -> DefectMap:
    """Return a map without specks and without what lies outside; the argument is left as it was."""
    return _cleaned(defect_map, classes, inspected)[0]


def measure(
    defect_map: DefectMap,
    classes: tuple[DefectClass, ...],
    inspected: Region,
    to_frame: Transform,
    scale: Scale | None,
    *,
    sight: Sight | None = None,
) -> tuple[Measurement, DefectMap]:
    """Measure one stitched map; return what it shows and the map without specks and without what lies outside.

    `to_frame` is the prepared frame's. Sizes are in pixels of the camera's frame, and in mm where a scale is known.
    Defects come largest first. The argument is left as it was.
    """
    kept, components = _cleaned(defect_map, classes, inspected)
    by_id = {defect_class.id: defect_class for defect_class in classes}
    cell_to_frame = to_frame.from_cells(defect_map.stride)
    px_per_cell = cell_to_frame.area_scale
    height, width = (side / kept.stride for side in kept.size_px) if kept.size_px else kept.classes.shape
    cells = _Cells(cell_to_frame, px_per_cell, scale, ends=(width, height), sight=sight or Sight())
    defects = _defects(components, by_id, kept.scores, cells)
    defects.sort(key=lambda defect: (-defect.area_px, defect.bbox))
    defective = sum(component.cells for component in components)
    measurement = Measurement(
        coverage=_share(defective, inspected.cells),
        coverage_mm2=_marked_mm2(components, cells),
        region_px=inspected.cells * px_per_cell,
        classes=_of_classes(classes, components, defects, inspected),
        defects=tuple(defects),
    )
    return measurement, kept


def _cleaned(
    defect_map: DefectMap, classes: tuple[DefectClass, ...], inspected: Region
) -> tuple[DefectMap, list[_Component]]:
    """Return a map without specks and without what lies outside, and its defects."""
    by_id = {defect_class.id: defect_class for defect_class in classes}
    kept = defect_map
    if inspected.mask is not None:
        kept = replace(
            defect_map,
            classes=cv2.bitwise_and(defect_map.classes, inspected.mask),
            scores=cv2.bitwise_and(defect_map.scores, inspected.mask),
        )
    components: list[_Component] = []
    specks: list[_Component] = []
    for component in _components(kept.classes):
        known = component.class_id in by_id
        large = known and component.cells * defect_map.stride**2 >= by_id[component.class_id].min_area_px
        (components if large else specks).append(component)
    if specks:
        if kept is defect_map:
            kept = replace(kept, classes=kept.classes.copy(), scores=kept.scores.copy())
        _wipe(kept, specks)
    return kept, components


def _wipe(kept: DefectMap, specks: Sequence[_Component]) -> None:
    """Set the pixels of specks to nothing, in place."""
    for speck in specks:
        h, w = speck.mask.shape
        clean = 1 - speck.mask
        kept.classes[speck.y : speck.y + h, speck.x : speck.x + w] *= clean
        kept.scores[speck.y : speck.y + h, speck.x : speck.x + w] *= clean


def _of_classes(
    classes: Sequence[DefectClass], components: Sequence[_Component], defects: Sequence[Defect], inspected: Region
) -> dict[str, ClassMeasure]:
    cells, counts = dict.fromkeys((each.id for each in classes), 0), Counter(defect.class_id for defect in defects)
    for component in components:
        cells[component.class_id] += component.cells
    return {each.name: ClassMeasure(_share(cells[each.id], inspected.cells), counts[each.id]) for each in classes}


def _share(cells: int, of: int) -> float:
    return cells / of if of else 0.0


def _marked_mm2(components: Sequence[_Component], where: _Cells) -> float | None:
    """Return the area that components' cells cover on the part's surface, mm²; None where there is no scale."""
    if where.scale is None:
        return None
    if not components:
        return 0.0
    boxes = np.array([(each.x, each.y, *each.mask.shape) for each in components], np.float64)
    middles = where.to_frame.apply(boxes[:, :2] + boxes[:, :1:-1] / 2)
    sides = [where.scale.mm_per_px_at(middle) for middle in middles]
    return sum(each.cells * where.px_per_cell * side**2 for each, side in zip(components, sides, strict=True))


def _defects(
    components: Sequence[_Component], by_id: dict[int, DefectClass], scores: UInt8, where: _Cells
) -> list[Defect]:
    """Measure components, the longest ones finely; dashes of one scratch are joined where that is asked for."""
    sizes = _sizes(components, where)
    defects = [
        _describe(by_id[component.class_id], _score(component, scores), where, own, box)
        for component, own, box in zip(components, sizes, _boxes(components, where), strict=True)
    ]
    joining = where.sight.joining
    if joining is None or where.scale is None:
        return defects
    return joined(defects, sizes, joining, where.scale)


def _sizes(components: Sequence[_Component], where: _Cells) -> list[Sizes]:
    order = sorted(range(len(components)), key=lambda number: -max(components[number].mask.shape))
    fine: list[int] = []
    marked: list[Marked] = []
    left = _FINE_PX_AT_MOST
    coarse = where.px_per_cell > _CELL_PX_AT_MOST**2
    for number in [] if coarse else order[:_FINE_AT_MOST]:
        each = _in_frame(components[number], where, left)
        if each is not None:
            fine.append(number)
            marked.append(each)
            left -= each.mask.size
    found = sizes_of(marked, where.sight.pixels, where.scale)
    by_number = dict(zip(fine, found, strict=True))
    return [_sized(each, by_number.get(number), where) for number, each in enumerate(components)]


def _sized(component: _Component, found: Sizes | None, where: _Cells) -> Sizes:
    """Return a component's sizes; one that the picture does not show has its cells' area."""
    if found is None:
        return _by_outline(component, where)
    if found.by_grey:
        return found
    area_px = component.cells * where.px_per_cell
    times = area_px / max(found.length_px * found.width_px, 1e-9)
    return replace(
        found,
        area_px=area_px,
        width_px=found.width_px * times,
        width_mm=None if found.width_mm is None else found.width_mm * times,
        area_mm2=None if found.area_mm2 is None else found.area_mm2 * area_px / max(found.area_px, 1e-9),
    )


def _in_frame(component: _Component, where: _Cells, px_at_most: int) -> Marked | None:
    """Return a component's mask in pixels of the frame, with a border.

    None where that is too large to look at.
    """
    h, w = component.mask.shape
    cell_px = float(where.px_per_cell**0.5)
    if h * w * where.px_per_cell > px_at_most:
        return None
    (a, b, x), (c, d, y) = where.matrix
    if (a, b, c, d) == (1.0, 0.0, 0.0, 1.0) and x == round(x) and y == round(y):
        mask = cv2.copyMakeBorder(component.mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        corner = (component.x + round(x) - 1, component.y + round(y) - 1)
        around = component.outline
        return Marked(
            mask, corner, 1.0, None if around is None else Outline(around, (component.x - 1, component.y - 1))
        )
    box = np.array([[0, 0], [w, 0], [0, h], [w, h]], np.float64) + np.array([component.x, component.y])
    corners = where.to_frame.apply(box)
    left, top = (int(v) - 2 for v in np.floor(corners.min(axis=0)))
    right, bottom = (int(v) + 2 for v in np.ceil(corners.max(axis=0)))
    size = (right - left, bottom - top)
    if size[0] * size[1] > px_at_most:
        return None
    there = Transform.shift(left, top).then(where.to_frame.inverse()).then(Transform.shift(-component.x, -component.y))
    grey = warped((component.mask * np.uint8(255))[..., None], there, size, 0)[..., 0]
    grey[0], grey[-1], grey[:, 0], grey[:, -1] = 0, 0, 0, 0
    mask = (grey >= 128).view(np.uint8)
    return Marked(mask, (left, top), cell_px) if mask.any() else None


def _score(component: _Component, scores: UInt8) -> float:
    """Return the mean probability of a component's cells, 0-1."""
    h, w = component.mask.shape
    own: float = cv2.mean(scores[component.y : component.y + h, component.x : component.x + w], component.mask)[0]
    return own / 255


def _describe(defect_class: DefectClass, score: float, where: _Cells, sizes: Sizes, box: _Box) -> Defect:
    far = _to_edge(sizes.points, where.sight.part_px)
    nearest = None if far is None or where.scale is None else where.scale.mm_per_px_at(sizes.points.mean(axis=0))
    expanded = None if sizes.u_length_mm is None else 2 * sizes.u_length_mm
    return Defect(
        class_id=defect_class.id,
        class_name=defect_class.name,
        score=score,
        area_px=sizes.area_px,
        bbox=box,
        length_px=sizes.length_px,
        width_px=sizes.width_px,
        area_mm2=sizes.area_mm2,
        length_mm=sizes.length_mm,
        width_mm=sizes.width_mm,
        width_max_px=sizes.width_max_px,
        width_max_mm=sizes.width_max_mm,
        u_mm=expanded,
        u_width_mm=None if sizes.u_width_mm is None else 2 * sizes.u_width_mm,
        u_area_mm2=_u_area(sizes),
        contrast=sizes.contrast,
        orientation_deg=sizes.orientation_deg,
        edge_distance_px=far,
        edge_distance_mm=None if far is None or nearest is None else far * nearest,
        by_grey=sizes.by_grey,
    )


def _u_area(sizes: Sizes) -> float | None:
    """Return the expanded uncertainty (k = 2) of an area, mm²: of a product of length and width.

    u(A)² = (w u(L))² + (L u(w))², JCGM 100:2008 (GUM), equation 10, for A = L w.
    """
    length, width, u_length, u_width = sizes.length_mm, sizes.width_mm, sizes.u_length_mm, sizes.u_width_mm
    if length is None or width is None or u_length is None or u_width is None:
        return None
    return 2 * math.hypot(width * u_length, length * u_width)


def _to_edge(points: Float64, outline: Float64 | None) -> float | None:
    """Return the distance of a defect from the part's outline at its nearest point, px.

    None where it is unknown.
    """
    if outline is None or len(outline) < 3:
        return None
    start, way = outline, np.roll(outline, -1, axis=0) - outline
    square = np.maximum((way**2).sum(axis=1), 1e-12)
    from_start = points[:, None] - start
    along = np.clip((from_start * way).sum(axis=2) / square, 0, 1)
    away = from_start - along[..., None] * way
    return float(np.hypot(away[..., 0], away[..., 1]).min())


_Box: TypeAlias = tuple[int, int, int, int]


def _boxes(components: Sequence[_Component], where: _Cells) -> list[_Box]:
    """Return the boxes around components, (x, y, w, h) in whole pixels of the frame."""
    if not components:
        return []
    if where.to_frame.upright:  # nearly always; then two corners of a component's box say all
        boxes = np.array([(each.x, each.y, *each.mask.shape) for each in components], np.float64)
        corners = np.stack([boxes[:, :2], boxes[:, :2] + boxes[:, :1:-1]])
        # the last cells of a map may reach beyond the picture
        ends = where.to_frame.apply(np.minimum(corners, where.ends).reshape(-1, 2)).reshape(corners.shape)
        low, high = ends.min(axis=0), ends.max(axis=0)
    else:
        outlines = [(_outline(each)[:, None] + _CORNERS).reshape(-1, 2) for each in components]
        ends_of = [where.to_frame.apply(np.minimum(outline, where.ends)) for outline in outlines]
        low, high = (np.array([getattr(each, side)(axis=0) for each in ends_of]) for side in ("min", "max"))
    first, last = np.floor(low + 1e-6).astype(np.int64), np.ceil(high - 1e-6).astype(np.int64)
    return [(x, y, w, h) for x, y, w, h in np.column_stack([first, last - first]).tolist()]


def _by_outline(component: _Component, where: _Cells) -> Sizes:
    """Measure a component by the outline of its mask alone."""
    outline = where.to_frame.apply(_outline(component)).astype(np.float32)
    cell_px = float(where.px_per_cell**0.5)
    area_px = component.cells * where.px_per_cell
    middle, (side_a, side_b), turn = cv2.minAreaRect(outline)
    corners = cv2.boxPoints((middle, (side_a + cell_px, side_b + cell_px), turn)).astype(np.float64)
    length_px = _length_px(outline, area_px, cell_px)
    sizes = of_box(corners, area_px)
    sizes = replace(
        sizes,
        length_px=length_px,
        width_px=area_px / length_px,
        u_length_px=cell_px / 3**0.5 + sizes.width_px / 12**0.5,
        u_width_px=cell_px / 3**0.5 + sizes.width_px / 12**0.5,
    )
    if where.scale is None:
        return sizes
    longer = length_px / max(float(max(side_a, side_b)) + cell_px, 1e-9)
    return box_in_mm(sizes, where.scale, longer)


# From a cell's centre to its corners, in cells.
_CORNERS = np.array([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]])


def _outline(component: _Component) -> Float64:
    """Return the centres of the cells on a component's outer border, float64 [N, 2] in cells of the map."""
    outlines, _ = cv2.findContours(component.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    centres = np.concatenate([outline.reshape(-1, 2) for outline in outlines]) + 0.5
    cells: Float64 = centres + np.array([component.x, component.y])
    return cells


def _length_px(outline: Float32, area_px: float, cell_px: float) -> float:
    """Return a component's length in frame pixels, by its outline, float32 [N, 2], and the side of its cells.

    Fibre length: a thin shape has the perimeter P = 2 (L + w) and the area A = L w. L is the larger root of L² - L P /
    2 + A = 0. The outline runs through pixel centres, so half a pixel is missing at either end.
    """
    _, (side_a, side_b), _ = cv2.minAreaRect(outline)
    longest = float(max(side_a, side_b)) + cell_px
    if area_px > _FILLED * (side_a + cell_px) * (side_b + cell_px):
        return longest
    half_perimeter, area = cv2.arcLength(outline, True) / 2, cv2.contourArea(outline)
    fibre = (half_perimeter + max(0.0, half_perimeter**2 - 4 * area) ** 0.5) / 2 + cell_px
    return max(longest, float(fibre))
