"""Measurement → verdict, by the limits of each class. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field, model_validator

from edge.records import Judgement, Measurement, Verdict
from edge.wording import counted
from edge.yaml_settings import StrictModel


class Limit(StrictModel):
    """The limits of one class; a frame is NG when any of these is exceeded. Absent keys set no limit.

    `guard`: lengths and areas are judged with their uncertainty added, so that what may be too large is NG.
    """

    max_count: Annotated[int, Field(ge=0, description="defects of the class in one frame")] | None = None
    max_coverage: Annotated[float, Field(ge=0, le=1, description="fraction of the inspected region, 0-1")] | None = None
    max_area_mm2: (
        Annotated[float, Field(ge=0, description="largest single defect, mm²; needs a calibration")] | None
    ) = None
    max_length_mm: (
        Annotated[float, Field(ge=0, description="longest single defect, mm; needs a calibration")] | None
    ) = None

    guard: Annotated[bool, Field(description="lengths and areas are judged with their uncertainty added")] = False

    @model_validator(mode="after")
    def _guards_something(self) -> Limit:
        if self.guard and not self.needs_calibration:
            raise ValueError("expected max_length_mm or max_area_mm2 beside guard: true, which is about them")
        return self

    @property
    def needs_calibration(self) -> bool:
        """True where any of the limits is in millimetres."""
        return self.max_area_mm2 is not None or self.max_length_mm is not None


NOTHING_TOLERATED = Limit(max_count=0)


def judge(measurement: Measurement, limits: Mapping[str, Limit]) -> Judgement:
    """Return OK, or NG with every exceeded limit as its reason. A class without a limit tolerates no defect."""
    reasons: list[str] = []
    for name, seen in measurement.classes.items():
        limit = limits.get(name, NOTHING_TOLERATED)
        if limit.max_count is not None and seen.count > limit.max_count:
            reasons.append(f"{name}: {counted(seen.count, 'defect')}, at most {limit.max_count} allowed")
        if limit.max_coverage is not None and seen.coverage > limit.max_coverage:
            reasons.append(f"{name}: coverage {seen.coverage:.5f}, at most {limit.max_coverage:g} allowed")
        own = [defect for defect in measurement.defects if defect.class_name == name]
        areas = [(defect.area_mm2 or 0.0, defect.u_area_mm2 or 0.0) for defect in own]
        if found := _exceeding(areas, limit.max_area_mm2, guard=limit.guard):
            reasons.append(f"{name}: {_told(found, 'mm²', guard=limit.guard)}, at most {limit.max_area_mm2:g} allowed")
        lengths = [(defect.length_mm or 0.0, defect.u_mm or 0.0) for defect in own]
        if found := _exceeding(lengths, limit.max_length_mm, guard=limit.guard):
            told = _told(found, "mm long", guard=limit.guard)
            reasons.append(f"{name}: {told}, at most {limit.max_length_mm:g} allowed")
    return Judgement(Verdict.NG, "; ".join(reasons)) if reasons else Judgement(Verdict.OK, None)


def _exceeding(
    values: Sequence[tuple[float, float]], at_most: float | None, *, guard: bool
) -> tuple[float, float] | None:
    """Return the value, with its uncertainty, that is farthest above a limit, if any is."""
    if at_most is None or not values:
        return None
    worst = max(values, key=lambda each: each[0] + guard * each[1])
    return worst if worst[0] + guard * worst[1] > at_most else None


def _told(value: tuple[float, float], unit: str, *, guard: bool) -> str:
    return f"{value[0]:.2f} ± {value[1]:.2f} {unit}" if guard else f"{value[0]:.2f} {unit}"


def no_read(reason: str) -> Judgement:
    """Return the verdict of a frame that could not be read, which is never OK."""
    return Judgement(Verdict.NO_READ, reason)
