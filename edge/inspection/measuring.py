"""From a defect map to coverage, defects and millimetres.

The whole map is looked at once for outlines (OpenCV's `findContours`, ten times cheaper than labelling it); only the
boxes around them are labelled. A defect below its class's smallest area is a speck: it is wiped from the map, so that
map, coverage and count always tell the same story.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.inspection.scale import Scale
from edge.opencv import cv2
from edge.records import ClassMeasure, Defect, DefectClass, DefectMap, Float32, Float64, Measurement, Transform, UInt8

# Beyond this many islands one labelling of the whole map is cheaper than a labelling per box.
_BOXES_AT_MOST = 256

# A defect that fills more of its smallest rectangle than this is as long as that rectangle.
_FILLED = 0.5


@dataclass(frozen=True)
class Region:
    """The inspected part of a prepared frame. `mask`: uint8 [h, w] 0/255, or None for all of it; `cells` inside it."""

    mask: UInt8 | None
    cells: int


@dataclass(frozen=True)
class _Component:
    """One 8-connected defect: `mask` uint8 [h, w] 0/1 of its box, whose corner is map cell (x, y); `cells` in it."""

    class_id: int
    x: int
    y: int
    mask: UInt8
    cells: int


@dataclass(frozen=True)
class _Cells:
    """How map cells lie in the frame (`to_frame`), how many of its pixels one is, and how large those are, if known.

    `ends`: the prepared frame's right and lower border, in cells; the last cells may reach beyond it.
    """

    to_frame: Transform
    px_per_cell: float
    scale: Scale | None
    ends: tuple[float, float]


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
    y = np.arange(height)[:, None] + 0.5
    rows, edges = np.nonzero((y0 <= y) != (y1 <= y))
    borders = x0[edges] + (y[rows, 0] - y0[edges]) * (x1 - x0)[edges] / (y1 - y0)[edges]
    # cell i has its centre at i + 0.5, so it is beyond the border from ceil(border - 0.5) on
    columns = np.clip(np.ceil(borders - 0.5), 0, width).astype(np.int64)
    crossed: UInt8 = np.zeros((height, width + 1), np.uint8)
    np.add.at(crossed, (rows, columns), 1)
    inside = np.cumsum(crossed[:, :width], axis=1, dtype=np.uint8) & 1
    mask: UInt8 = (inside * 255).astype(np.uint8)
    return Region(mask, int(cv2.countNonZero(mask)))


def _components(classes: UInt8) -> list[_Component]:
    """Find the 8-connected components of each class in a uint8 [h, w] map."""
    outlines, hierarchy = cv2.findContours(classes, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    # with RETR_CCOMP an outline without a parent is the outer border of one island of touching defects of any class
    outer = [outline for outline, links in zip(outlines, hierarchy[0], strict=True) if links[3] < 0] if outlines else []
    if len(outer) > _BOXES_AT_MOST:
        return _label(classes, 0, 0)
    found: list[_Component] = []
    for outline in outer:
        x, y, w, h = cv2.boundingRect(outline)
        box = classes[y : y + h, x : x + w]
        seed_x, seed_y = outline.reshape(-1, 2)[0]  # OpenCV 4 and 5 differ in the shape of point lists
        seed = (int(seed_y) - y, int(seed_x) - x)
        class_id = int(box[seed])
        own = (box == class_id).view(np.uint8)
        if cv2.countNonZero(own) == cv2.countNonZero(box):  # one class, so the island is the one defect at its seed
            found.append(_at_seed(own, class_id, x, y, seed))
        else:
            _, islands = cv2.connectedComponents((box > 0).view(np.uint8), connectivity=8)
            found += _label(np.where(islands == islands[seed], box, np.uint8(0)), x, y)
    return found


def _at_seed(mask: UInt8, class_id: int, x: int, y: int, seed: tuple[int, int]) -> _Component:
    """Keep of a box's mask, uint8 [h, w] 0/1, what is connected to its pixel `seed` (row, column), which spans it."""
    labels, label_map, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if labels > 2:  # parts of other islands reach into the box
        label = int(label_map[seed])
        return _Component(class_id, x, y, (label_map == label).view(np.uint8), int(stats[label, cv2.CC_STAT_AREA]))
    return _Component(class_id, x, y, mask, int(stats[1, cv2.CC_STAT_AREA]))


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


def measure(
    defect_map: DefectMap,
    classes: tuple[DefectClass, ...],
    inspected: Region,
    to_frame: Transform,
    scale: Scale | None,
) -> tuple[Measurement, DefectMap]:
    """Measure one stitched map; return what it shows and the map without specks and without what lies outside.

    `to_frame` is the prepared frame's. Sizes are in pixels of the camera's frame, and in mm where a scale is known.
    Defects come largest first. The argument is left as it was.
    """
    by_id = {defect_class.id: defect_class for defect_class in classes}
    cell_to_frame = to_frame.from_cells(defect_map.stride)
    px_per_cell = cell_to_frame.area_scale
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

    height, width = (side / kept.stride for side in kept.size_px) if kept.size_px else kept.classes.shape
    cells = _Cells(cell_to_frame, px_per_cell, scale, ends=(width, height))
    defects = [_describe(component, by_id[component.class_id], kept.scores, cells) for component in components]
    defects.sort(key=lambda defect: (-defect.area_px, defect.bbox))
    defective = sum(component.cells for component in components)
    measurement = Measurement(
        coverage=_share(defective, inspected.cells),
        coverage_mm2=None if scale is None else sum(defect.area_mm2 or 0.0 for defect in defects),
        region_px=inspected.cells * px_per_cell,
        classes={each.name: _of_class(each, components, inspected) for each in classes},
        defects=tuple(defects),
    )
    return measurement, kept


def _wipe(kept: DefectMap, specks: Sequence[_Component]) -> None:
    """Set the pixels of specks to nothing, in place."""
    for speck in specks:
        h, w = speck.mask.shape
        clean = 1 - speck.mask
        kept.classes[speck.y : speck.y + h, speck.x : speck.x + w] *= clean
        kept.scores[speck.y : speck.y + h, speck.x : speck.x + w] *= clean


def _of_class(defect_class: DefectClass, components: Sequence[_Component], inspected: Region) -> ClassMeasure:
    own = [component.cells for component in components if component.class_id == defect_class.id]
    return ClassMeasure(_share(sum(own), inspected.cells), len(own))


def _share(cells: int, of: int) -> float:
    return cells / of if of else 0.0


def _describe(component: _Component, defect_class: DefectClass, scores: UInt8, where: _Cells) -> Defect:
    h, w = component.mask.shape
    own_scores = scores[component.y : component.y + h, component.x : component.x + w]
    cells = _outline(component)
    # the last cells of a map may reach beyond the picture
    if where.to_frame.upright:  # nearly always; then two corners of the component's box say all
        corners = np.minimum([[component.x, component.y], [component.x + w, component.y + h]], where.ends)
    else:
        corners = np.minimum(cells[:, None] + _CORNERS, where.ends).reshape(-1, 2)
    box, outline = where.to_frame.apply(corners), where.to_frame.apply(cells)
    (x0, y0), (x1, y1) = np.floor(box.min(axis=0) + 1e-6), np.ceil(box.max(axis=0) - 1e-6)
    area_px = component.cells * where.px_per_cell
    middle: Float64 = (box.min(axis=0) + box.max(axis=0)) / 2
    mm_per_px = where.scale.mm_per_px_at(middle) if where.scale else None
    length_px = _length_px(outline.astype(np.float32), area_px, float(where.px_per_cell**0.5))
    width_px = area_px / length_px
    return Defect(
        class_id=component.class_id,
        class_name=defect_class.name,
        score=cv2.mean(own_scores, component.mask)[0] / 255,
        area_px=area_px,
        bbox=(int(x0), int(y0), int(x1 - x0), int(y1 - y0)),
        length_px=length_px,
        width_px=width_px,
        area_mm2=None if mm_per_px is None else area_px * mm_per_px**2,
        length_mm=None if mm_per_px is None else length_px * mm_per_px,
        width_mm=None if mm_per_px is None else width_px * mm_per_px,
    )


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

    Fibre length: of a thin shape with perimeter P = 2 (L + w) and area A = L w, L is the larger root of
    L² - L P / 2 + A = 0. The outline runs through pixel centres, so half a pixel is missing at either end.
    """
    _, (side_a, side_b), _ = cv2.minAreaRect(outline)
    longest = float(max(side_a, side_b)) + cell_px
    if area_px > _FILLED * (side_a + cell_px) * (side_b + cell_px):
        return longest
    half_perimeter, area = cv2.arcLength(outline, True) / 2, cv2.contourArea(outline)
    fibre = (half_perimeter + max(0.0, half_perimeter**2 - 4 * area) ** 0.5) / 2 + cell_px
    return max(longest, float(fibre))
