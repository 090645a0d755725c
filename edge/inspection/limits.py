"""Measurement → verdict, by the limits of each class. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from edge.records import Judgement, Measurement, Verdict
from edge.wording import counted
from edge.yaml_settings import StrictModel


class Limit(StrictModel):
    """The limits of one class; a frame is NG when any of these is exceeded. Absent keys set no limit."""

    max_count: Annotated[int, Field(ge=0, description="defects of the class in one frame")] | None = None
    max_coverage: Annotated[float, Field(ge=0, le=1, description="fraction of the inspected region, 0-1")] | None = None
    max_area_mm2: (
        Annotated[float, Field(ge=0, description="largest single defect, mm²; needs a calibration")] | None
    ) = None
    max_length_mm: (
        Annotated[float, Field(ge=0, description="longest single defect, mm; needs a calibration")] | None
    ) = None

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
        largest_mm2 = max((defect.area_mm2 or 0.0 for defect in own), default=0.0)
        if limit.max_area_mm2 is not None and largest_mm2 > limit.max_area_mm2:
            reasons.append(f"{name}: {largest_mm2:.2f} mm², at most {limit.max_area_mm2:g} allowed")
        longest_mm = max((defect.length_mm or 0.0 for defect in own), default=0.0)
        if limit.max_length_mm is not None and longest_mm > limit.max_length_mm:
            reasons.append(f"{name}: {longest_mm:.2f} mm long, at most {limit.max_length_mm:g} allowed")
    return Judgement(Verdict.NG, "; ".join(reasons)) if reasons else Judgement(Verdict.OK, None)


def no_read(reason: str) -> Judgement:
    """Return the verdict of a frame that could not be read, which is never OK."""
    return Judgement(Verdict.NO_READ, reason)
