"""Dashes of one scratch → one defect: free ends that face each other over a small gap belong together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.inspection.scale import Scale
from edge.inspection.sizing import Sizes
from edge.records import Defect, Float64


@dataclass(frozen=True)
class Joining:
    """One scratch by rule: no gap is wider than `gap_mm`, and no end turns away from the next by over `angle_deg`."""

    gap_mm: float
    angle_deg: float


@dataclass(frozen=True)
class _Gap:
    """Two defects whose ends face each other, and how far apart these are."""

    one: int
    other: int
    gap_px: float
    gap_mm: float


def joined(defects: Sequence[Defect], sizes: Sequence[Sizes | None], joining: Joining, scale: Scale) -> list[Defect]:
    """Return the defects with the dashes of each scratch made one.

    They are of one class, and gaps are as small as needed.
    """
    gaps = sorted(_gaps(defects, sizes, joining, scale), key=lambda gap: gap.gap_mm)
    group = list(range(len(defects)))
    used: list[_Gap] = []
    for gap in gaps:
        one, other = group[gap.one], group[gap.other]
        if one != other:
            group = [one if number == other else number for number in group]
            used.append(gap)
    found = []
    for number in dict.fromkeys(group):
        members = [defect for defect, own in zip(defects, group, strict=True) if own == number]
        bridges = [gap for gap in used if group[gap.one] == number]
        found.append(_one(members, bridges) if len(members) > 1 else members[0])
    return found


def _gaps(defects: Sequence[Defect], sizes: Sequence[Sizes | None], joining: Joining, scale: Scale) -> list[_Gap]:
    """List the pairs of ends that face each other closely enough."""
    ends = [
        (number, np.array([tip, tip - inner]))
        for number, size in enumerate(sizes)
        if size is not None
        for tip, inner in size.ends
    ]
    if len(ends) < 2:
        return []
    places = scale.points_mm(np.array([end[0] for _, end in ends]))
    least = float(np.cos(np.radians(joining.angle_deg)))
    found = []
    for (first, (one, end)), (second, (other, back)) in itertools.combinations(enumerate(ends), 2):
        if one == other or defects[one].class_id != defects[other].class_id:
            continue
        gap_mm = float(np.hypot(*(places[first] - places[second])))
        if gap_mm <= joining.gap_mm and _face(end, back, least):
            found.append(_Gap(one, other, float(np.hypot(*(end[0] - back[0]))), gap_mm))
    return found


def _face(end: Float64, back: Float64, least: float) -> bool:
    """Tell whether two ends, each a point and a way outward, lie ahead of each other and face each other."""
    out, into = (way / max(1e-9, float(np.hypot(*way))) for way in (end[1], back[1]))
    if float(out @ into) > -least:
        return False
    across = back[0] - end[0]
    size = float(np.hypot(*across))
    # ends closer than a few pixels have no direction to each other that means anything
    return size < 3 or (float(out @ across) >= least * size and float(into @ across) <= -least * size)


def _one(members: Sequence[Defect], bridges: Sequence[_Gap]) -> Defect:
    """Make one defect of a scratch's dashes: as long as they and the gaps between them."""
    lengths = np.array([max(defect.length_px, 1e-9) for defect in members])
    areas = np.array([max(defect.area_px, 1e-9) for defect in members])
    corners = np.array([defect.bbox for defect in members])
    x0, y0 = corners[:, :2].min(axis=0)
    x1, y1 = (corners[:, :2] + corners[:, 2:]).max(axis=0)
    longest = members[int(lengths.argmax())]
    contrasts = [defect.contrast for defect in members if defect.contrast is not None]
    return Defect(
        class_id=longest.class_id,
        class_name=longest.class_name,
        score=float(np.average([defect.score for defect in members], weights=areas)),
        area_px=float(sum(defect.area_px for defect in members)),
        bbox=(int(x0), int(y0), int(x1 - x0), int(y1 - y0)),
        length_px=float(lengths.sum()) + sum(gap.gap_px for gap in bridges),
        width_px=float(np.average([defect.width_px for defect in members], weights=lengths)),
        width_max_px=max(defect.width_max_px for defect in members),
        area_mm2=_total([defect.area_mm2 for defect in members]),
        length_mm=_total([*(defect.length_mm for defect in members), *(gap.gap_mm for gap in bridges)]),
        width_mm=float(np.average([defect.width_mm or 0.0 for defect in members], weights=lengths)),
        width_max_mm=max(defect.width_max_mm or 0.0 for defect in members),
        # each dash's own, which the scale's residual is part of: it is the same for all, so they add up
        u_mm=_total([defect.u_mm for defect in members]),
        u_width_mm=max(defect.u_width_mm or 0.0 for defect in members),
        u_area_mm2=_total([defect.u_area_mm2 for defect in members]),
        contrast=float(np.mean(contrasts)) if contrasts else None,
        orientation_deg=longest.orientation_deg,
        edge_distance_px=_least([defect.edge_distance_px for defect in members]),
        edge_distance_mm=_least([defect.edge_distance_mm for defect in members]),
        by_grey=all(defect.by_grey for defect in members),
        pieces=len(members),
    )


def _total(values: Sequence[float | None]) -> float:
    return float(sum(value or 0.0 for value in values))


def _least(values: Sequence[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)
