"""The inspected cells of a map, and those of each zone; the judging of zones with limits of their own.

Inspected is the region, within the frame, within the part where it is looked for, and nothing that is ignored. A zone
lies on the frame or on the part; of it only what is inspected counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.inspection.grading import GradeRow, grade
from edge.inspection.limits import judge
from edge.inspection.measuring import Region, region
from edge.inspection.scale import Scale
from edge.inspection.settings import InspectSettings, ZoneSettings
from edge.opencv import cv2
from edge.preparing.geometry import resampled_nearest
from edge.records import (
    ClassMeasure,
    DefectMap,
    Float64,
    Grade,
    Judgement,
    Measurement,
    PartBox,
    Transform,
    UInt8,
    Verdict,
)

# A mask is as large as a frame. Few are of use again where each frame is cropped its own way.
_REGIONS_AT_MOST = 8
# By so much of the part's box a zone in mm may reach beyond it, as parts differ in size.
_BEYOND_AT_MOST = 0.02
_HERE = Transform.identity()

Remeasure = Callable[[DefectMap, Region], Measurement]


@dataclass(frozen=True)
class Placed:
    """The inspected cells of one frame's map, and each zone of it. `problem`: why neither is known, or nothing."""

    inspected: Region
    zones: Mapping[str, Region]
    problem: str = ""


@dataclass(frozen=True)
class _Sheet:
    """One frame's map: its `shape` (h, w), the way from its cells to the frame, the frame's size, and the part."""

    shape: tuple[int, int]
    to_frame: Transform
    size_px: tuple[int, int]
    part: PartBox | None


class Zoning:
    """Places region, part, zones and what is ignored on the map of each frame, by one view's settings."""

    def __init__(self, settings: InspectSettings, scale: Scale | None) -> None:
        self._settings = settings
        self._scale = scale
        self._zones = {name: zone for name, zone in settings.zones.items() if not zone.ignore}
        self._ignored = {name: zone for name, zone in settings.zones.items() if zone.ignore}
        self._regions: dict[tuple[object, ...], Region] = {}
        self._mask = None if settings.ignore is None else settings.ignore.pixels

    def place(self, stitched: DefectMap, to_frame: Transform, size_px: tuple[int, int], part: PartBox | None) -> Placed:
        """Return what is inspected of a map, whose prepared pixels `to_frame` places in a frame (width, height)."""
        shape = (stitched.classes.shape[0], stitched.classes.shape[1])
        sheet = _Sheet(shape, to_frame.from_cells(stitched.stride), size_px, part)
        nothing = Region(None, 0)
        if problem := self._outside(size_px) or self._beyond_part(part):
            return Placed(nothing, {}, problem)
        asked = self._settings.region
        corners = asked.corners if asked else _beyond(shape, stitched.stride, to_frame, size_px)
        inspected = self._region(sheet, corners)
        if part is not None:
            inspected = _within(region(shape, _pairs(part.outline), sheet.to_frame), inspected)
        for zone in self._ignored.values():
            inspected = _without(inspected, self._zone(sheet, zone))
        if self._mask is not None:
            inspected = _without(inspected, self._masked(sheet))
        if not inspected.cells:
            return Placed(nothing, {}, "the inspected region holds no pixel")
        zones = {name: _within(self._zone(sheet, zone), inspected) for name, zone in self._zones.items()}
        empty = next((name for name, zone in zones.items() if not zone.cells), None)
        return Placed(inspected, zones, "" if empty is None else f"the zone {empty} holds no inspected pixel")

    def _outside(self, size_px: tuple[int, int]) -> str:
        """Say so if what is asked for does not lie within the frame, as when a camera changed its resolution."""
        width, height = size_px
        told = f"within the frame of {width} x {height} px"
        asked = {"inspected region": self._settings.region}
        asked |= {f"zone {name}": zone for name, zone in self._settings.zones.items() if zone.on == "frame"}
        for name, shape in asked.items():
            if shape is not None and not all(0 <= x <= width and 0 <= y <= height for x, y in shape.corners):
                return f"the {name} does not lie {told}"
        ignore = self._settings.ignore
        if ignore is not None and ignore.on == "frame" and self._mask is not None:
            high, wide = self._mask.shape
            if (wide, high) != size_px:
                return f"the ignore mask of {wide} x {high} px does not fit the frame of {width} x {height} px"
        return ""

    def _beyond_part(self, part: PartBox | None) -> str:
        """Say so if a zone in mm does not lie on the part that was found."""
        for name, zone in self._settings.zones.items():
            if zone.on == "part_mm" and part is not None:
                shares = self._shares(zone, part)
                if shares.min() < -_BEYOND_AT_MOST or shares.max() > 1 + _BEYOND_AT_MOST:
                    wide, high = self._size_mm(part)
                    return f"the zone {name} does not lie within the part of {wide:.1f} x {high:.1f} mm"
        return ""

    def _size_mm(self, part: PartBox) -> tuple[float, float]:
        assert self._scale is not None  # noqa: S101 - the settings ask for one
        return size_mm(part, self._scale)

    def _shares(self, zone: ZoneSettings, part: PartBox) -> Float64:
        corners = np.array(zone.corners)
        return corners / np.array(self._size_mm(part)) if zone.on == "part_mm" else corners

    def _zone(self, sheet: _Sheet, zone: ZoneSettings) -> Region:
        if zone.on == "frame":
            return self._region(sheet, zone.corners)
        assert sheet.part is not None  # noqa: S101 - where it is not found the frame is NO_READ
        on_frame = sheet.part.to_frame.apply(self._shares(zone, sheet.part))
        return region(sheet.shape, _pairs(on_frame), sheet.to_frame)

    def _region(self, sheet: _Sheet, corners: tuple[tuple[float, float], ...] | None) -> Region:
        """Return a region that stays where it is on the frame; the last ones are remembered."""
        key = (sheet.shape, sheet.size_px, sheet.to_frame.matrix.tobytes(), corners)
        return self._remembered(key, lambda: region(sheet.shape, corners, sheet.to_frame))

    def _masked(self, sheet: _Sheet) -> Region:
        assert self._mask is not None  # noqa: S101 - read before
        height, width = self._mask.shape
        on_part = self._settings.ignore is not None and self._settings.ignore.on == "part"
        if not on_part or sheet.part is None:
            key = (sheet.shape, sheet.size_px, sheet.to_frame.matrix.tobytes(), "ignored")
            return self._remembered(key, lambda: _ignored(self._mask, sheet.to_frame, sheet.shape))
        to_mask = sheet.part.to_frame.inverse().then(Transform(np.array([[width, 0.0, 0.0], [0.0, height, 0.0]])))
        return _ignored(self._mask, sheet.to_frame.then(to_mask), sheet.shape)

    def _remembered(self, key: tuple[object, ...], make: Callable[[], Region]) -> Region:
        if key not in self._regions:
            if len(self._regions) >= _REGIONS_AT_MOST * (1 + (self._mask is not None) + len(self._settings.zones)):
                del self._regions[next(iter(self._regions))]  # the oldest
            self._regions[key] = make()
        return self._regions[key]


def size_mm(part: PartBox, scale: Scale) -> tuple[float, float]:
    """Return the width and height of a part's box in mm, along the sides at its top left corner."""
    corners = part.to_frame.apply(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    corner, right, below = scale.points_mm(corners)
    return float(np.hypot(*(right - corner))), float(np.hypot(*(below - corner)))


def _pairs(points: Float64) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)


def _ignored(mask: UInt8 | None, to_mask: Transform, shape: tuple[int, int]) -> Region:
    assert mask is not None  # noqa: S101 - read before
    cells = resampled_nearest(mask, to_mask, shape)
    return Region(cells, int(cv2.countNonZero(cells)))


def _within(zone: Region, inspected: Region) -> Region:
    """Return the part of a zone that is inspected."""
    if zone.mask is None or inspected.mask is None:
        return inspected if zone.mask is None else zone
    mask: UInt8 = cv2.bitwise_and(zone.mask, inspected.mask)
    return Region(mask, int(cv2.countNonZero(mask)))


def _without(inspected: Region, left_out: Region) -> Region:
    """Return what is inspected but for what is left out."""
    if left_out.mask is None:
        return Region(None, 0)
    outside: UInt8 = cv2.bitwise_not(left_out.mask)
    return _within(Region(outside, int(cv2.countNonZero(outside))), inspected)


def _beyond(
    shape: tuple[int, int], stride: int, to_frame: Transform, size: tuple[int, int]
) -> tuple[tuple[float, float], ...] | None:
    """Return the corners of a frame of `size` (width, height) if a map of [h, w] cells reaches beyond, else None."""
    if to_frame.is_identity:
        return None  # a cell that the frame's end cuts counts whole
    width, height = size
    right, bottom = shape[1] - 0.5, shape[0] - 0.5
    outermost = to_frame.apply(np.array([[0.5, 0.5], [right, 0.5], [0.5, bottom], [right, bottom]]) * stride)
    if (outermost >= 0).all() and (outermost <= size).all():
        return None
    return ((0.0, 0.0), (float(width), 0.0), (float(width), float(height)), (0.0, float(height)))


# --- judging ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shown:
    """The measures of a frame: the whole of what is inspected, and of it each zone. `kept`: the map without specks."""

    kept: DefectMap
    placed: Placed
    whole: Measurement
    zones: Mapping[str, Measurement]


def measured_zones(kept: DefectMap, placed: Placed, whole: Measurement, measure: Remeasure) -> dict[str, Measurement]:
    """Return what each zone shows of a frame's map without specks; only zones with a defect are measured."""
    return {
        name: measure(kept, zone) if whole.defects and _touched(kept.classes, zone) else _clean(whole, placed, zone)
        for name, zone in placed.zones.items()
    }


def _touched(classes: UInt8, zone: Region) -> bool:
    return zone.mask is None or bool(cv2.countNonZero(cv2.bitwise_and(classes, zone.mask)))


def _clean(whole: Measurement, placed: Placed, zone: Region) -> Measurement:
    """Return the measurement of a zone without any defect."""
    return replace(
        whole,
        coverage=0.0,
        coverage_mm2=None if whole.coverage_mm2 is None else 0.0,
        region_px=whole.region_px * zone.cells / placed.inspected.cells,
        classes={name: ClassMeasure(0.0, 0) for name in whole.classes},
        defects=(),
    )


def judge_zones(shown: Shown, settings: InspectSettings, measure: Remeasure) -> tuple[Judgement, Grade | None]:
    """Judge and grade a frame: each zone that has limits or grades by its own, and the rest by the view's.

    Each zone sees the whole of a defect that lies across zones, and judges its count and its sizes. Coverage is of what
    lies within. The frame is NG if one of them is, and has the worst of their grades.
    """
    limited = {name: zone for name, zone in settings.zones.items() if zone.limits is not None}
    graded = {name: zone for name, zone in settings.zones.items() if zone.grades}
    if not limited and not graded:
        return judge(shown.whole, settings.limits), grade(shown.whole, settings.grades)
    seen = _Touching(shown, measure)
    reasons: list[str] = []
    rest = seen.rest(limited)
    judgements = {"": judge(rest, settings.limits)} if rest is not None else {}
    judgements |= {f"zone {name}: ": judge(seen.zone(name), zone.limits or {}) for name, zone in limited.items()}
    for where, told in judgements.items():
        reasons += [f"{where}{told.reason}"] if told.verdict is Verdict.NG else []
    judgement = Judgement(Verdict.NG, "; ".join(reasons)) if reasons else Judgement(Verdict.OK, None)
    return judgement, _worst(seen, settings.grades, graded)


def _worst(seen: _Touching, table: Sequence[GradeRow], graded: Mapping[str, ZoneSettings]) -> Grade | None:
    rest = seen.rest(graded)
    grades = [grade(rest, table)] if rest is not None else []
    grades += [grade(seen.zone(name), zone.grades) for name, zone in graded.items()]
    known = [one for one in grades if one is not None]
    return min(known, key=lambda one: one.value_factor, default=None)


class _Touching:
    """Measures the defects of one frame that touch a zone, or the rest, as whole defects."""

    def __init__(self, shown: Shown, measure: Remeasure) -> None:
        self._shown = shown
        self._measure = measure
        self._labels: np.ndarray[tuple[int, ...], np.dtype[np.int32]] | None = None

    def zone(self, name: str) -> Measurement:
        """Return what a zone is judged by."""
        return self._whole(self._shown.zones[name], self._shown.placed.zones[name])

    def rest(self, zones: Mapping[str, object]) -> Measurement | None:
        """Return what lies in none of these zones; None where nothing of it is inspected."""
        if not zones:
            return self._shown.whole
        rest = self._shown.placed.inspected
        for name in zones:
            rest = _without(rest, self._shown.placed.zones[name])
        if not rest.cells:
            return None
        return self._whole(self._measure(self._shown.kept, rest), rest)

    def _whole(self, within: Measurement, place: Region) -> Measurement:
        if not within.defects or place.mask is None:
            return within
        if self._labels is None:
            self._labels = _labelled(self._shown.kept.classes)
        touching = np.zeros(int(self._labels.max()) + 1, np.uint8)
        touching[np.unique(self._labels[place.mask > 0])] = 255
        touching[0] = 0
        mask: UInt8 = touching[self._labels]
        kept = self._shown.kept
        whole_map = replace(
            kept, classes=cv2.bitwise_and(kept.classes, mask), scores=cv2.bitwise_and(kept.scores, mask)
        )
        whole = self._measure(whole_map, Region(None, place.cells))
        classes = {
            name: ClassMeasure(within.classes[name].coverage, seen.count) for name, seen in whole.classes.items()
        }
        return replace(within, classes=classes, defects=whole.defects)


def _labelled(classes: UInt8) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Return the number of the 8-connected defect at each cell of uint8 [h, w], int32 [h, w], 0 where clean."""
    labels = np.zeros(classes.shape, np.int32)
    last = 0
    for class_id in np.flatnonzero(np.bincount(classes.ravel(), minlength=256)[1:]) + 1:
        count, own = cv2.connectedComponents((classes == class_id).view(np.uint8), connectivity=8)
        labels += np.where(own > 0, own + last, 0).astype(np.int32)
        last += count - 1
    return labels
