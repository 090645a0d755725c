"""The section `inspect` of the settings: region, thresholds, limits, zones and grades."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from edge.bundle import Name, Threshold
from edge.inspection.grading import GradeRow, problem_of
from edge.inspection.limits import Limit
from edge.yaml_settings import StrictModel

_Number = Annotated[float, Field(allow_inf_nan=False)]


class RegionSettings(StrictModel):
    """The inspected part of the frame, in its pixels: a rectangle [x, y, width, height] or a polygon of [x, y]."""

    rectangle: tuple[_Number, _Number, _Number, _Number] | None = None
    polygon: Annotated[tuple[tuple[_Number, _Number], ...], Field(min_length=3)] | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> RegionSettings:
        if (self.rectangle is None) == (self.polygon is None):
            raise ValueError("expected either a rectangle [x, y, width, height] or a polygon [[x, y], …]")
        if self.rectangle is not None and min(self.rectangle[2:]) <= 0:
            raise ValueError(f"expected a rectangle with a width and height above 0, received {list(self.rectangle)}")
        return self

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """The region's outline as corners (x, y), in pixels of the frame."""
        if self.polygon is not None:
            return self.polygon
        assert self.rectangle is not None  # noqa: S101 - the validator saw to it
        x, y, w, h = self.rectangle
        return ((x, y), (x + w, y), (x + w, y + h), (x, y + h))


class InspectSettings(StrictModel):
    """Region, scale, thresholds, limits, zones and grades of one view."""

    region: RegionSettings | None = None
    mm_per_px: Annotated[float, Field(gt=0, le=1000)] | None = None
    thresholds: dict[str, Threshold] = Field(default_factory=dict)
    limits: dict[str, Limit] = Field(default_factory=dict)
    zones: Annotated[dict[Name, RegionSettings], Field(max_length=20)] = Field(default_factory=dict)
    grades: Annotated[tuple[GradeRow, ...], Field(max_length=20)] = ()

    @model_validator(mode="after")
    def _millimetres_need_a_calibration(self) -> InspectSettings:
        wanting = [name for name, limit in self.limits.items() if limit.needs_calibration]
        wanting += [f"the grade {row.name}" for row in self.grades if row.needs_calibration]
        if wanting and self.mm_per_px is None:
            raise ValueError(f"expected mm_per_px, since the limits of {', '.join(wanting)} are in millimetres")
        return self

    @model_validator(mode="after")
    def _every_part_has_one_grade(self) -> InspectSettings:
        if problem := problem_of(self.grades):
            raise ValueError(problem)
        return self
