"""The section `inspect` of the settings: region, part, thresholds, limits, zones, ignore mask and grades."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, model_validator

from edge.bundle import Name, Threshold
from edge.calibration.drift import DriftWatch
from edge.calibration.record import Calibration, read_calibration
from edge.inspection.grading import GradeRow, problem_of
from edge.inspection.joining import Joining
from edge.inspection.limits import Limit
from edge.inspection.model_drift import ModelDriftSettings
from edge.inspection.scale import Scale, UniformScale
from edge.yaml_settings import StrictModel
from edge.zones.mask import IgnoreMask
from edge.zones.part import PartFinding
from edge.zones.shapes import Place, RegionSettings, ShapeSettings

__all__ = ["InspectSettings", "RegionSettings", "ZoneSettings", "ZonesFile"]

ZONES_AT_MOST = 20


class ZoneSettings(ShapeSettings):
    """A named part of the frame, or of the part: its shape, and by what it is judged.

    `limits`: what is good within it, in place of `inspect.limits`; `grades`: in place of `inspect.grades`. A zone
    without either is measured, for alarms of its own. `ignore`: nothing within it is judged, nor counted in the area.
    """

    limits: dict[str, Limit] | None = None
    grades: Annotated[tuple[GradeRow, ...], Field(max_length=20)] = ()
    ignore: bool = False

    @model_validator(mode="after")
    def _ignored_or_judged(self) -> ZoneSettings:
        if self.ignore and (self.limits is not None or self.grades):
            raise ValueError("expected no limits or grades for a zone with ignore: true, received some")
        if problem := problem_of(self.grades):
            raise ValueError(problem)
        return self


class ZonesFile(StrictModel):
    """Zones from a file, in place of naming them: `svg`, shapes by their ids, or `file`, as `linewatch zones` writes.

    `on`: where an SVG file's shapes are: on the `frame`, its viewBox in pixels; on the `part`, its viewBox over the
    part's box; or `part_mm`, in mm. `limits`, `grades`: by the zone's name. `ignore`: names of zones to ignore.
    """

    svg: Path | None = None
    file: Path | None = None
    on: Place | None = None
    limits: dict[Name, dict[str, Limit]] = Field(default_factory=dict)
    grades: dict[Name, tuple[GradeRow, ...]] = Field(default_factory=dict)
    ignore: tuple[Name, ...] = ()
    _drawn_px: tuple[float, float] | None = PrivateAttr(default=None)

    def drawn_on(self, size_px: tuple[float, float]) -> ZonesFile:
        """Return the same, which knows the width and height of its viewBox, the frame's."""
        drawn = self.model_copy()
        drawn._drawn_px = size_px  # noqa: SLF001 - our own
        return drawn

    def misfit(self, size_px: tuple[int, int]) -> str:
        """Say so if its shapes were drawn on a frame of another width and height than this, or nothing."""
        drawn = self._drawn_px
        if drawn is None or all(abs(one - other) <= 1 for one, other in zip(drawn, size_px, strict=True)):
            return ""
        return (
            f"zones: {self.svg}: expected its viewBox to be the frame of {size_px[0]} x {size_px[1]} px, received "
            f"{drawn[0]:g} x {drawn[1]:g}. Draw it on a picture of the camera"
        )

    @model_validator(mode="after")
    def _one_file(self) -> ZonesFile:
        if (self.svg is None) == (self.file is None):
            raise ValueError("expected either svg or file, each the name of a file")
        if self.file is not None and self.on is not None:
            raise ValueError("expected no `on` beside `file`, whose zones say it themselves")
        return self


class InspectSettings(StrictModel):
    """Region, part, scale, thresholds, limits, zones, what is ignored, and grades of one view.

    `part`: the part is found in each frame, coverage is of its area, and zones may lie on it. `zones_file`: where the
    zones are from; `zones: {svg: FILE}` and `zones: {file: FILE}` are short for it.

    `calibration`: the file of `linewatch calibrate`, in place of `mm_per_px`. That one holds for a camera that looks
    straight down through a lens without distortion.

    `model_drift`: how passed parts are compared with those that a model of good parts was taught; None = not at all.
    """

    region: RegionSettings | None = None
    part: PartFinding | None = None
    mm_per_px: Annotated[float, Field(gt=0, le=1000)] | None = None
    calibration: Path | None = None
    join_gap_mm: Annotated[float, Field(ge=0, le=1000)] = 0.0
    join_angle_deg: Annotated[float, Field(gt=0, le=90)] = 20.0
    thresholds: dict[str, Threshold] = Field(default_factory=dict)
    limits: dict[str, Limit] = Field(default_factory=dict)
    zones: Annotated[dict[Name, ZoneSettings], Field(max_length=ZONES_AT_MOST)] = Field(default_factory=dict)
    zones_file: ZonesFile | None = None
    ignore: IgnoreMask | None = None
    grades: Annotated[tuple[GradeRow, ...], Field(max_length=20)] = ()
    model_drift: ModelDriftSettings | None = ModelDriftSettings()
    # the file's content, so that settings are equal only where it is
    _calibrated: Calibration | None = PrivateAttr(default=None)

    def with_calibration(self) -> InspectSettings:
        """Return the same with its calibration's file read. Raises SettingsError."""
        if self.calibration is None:
            return self
        read = self.model_copy()
        read._calibrated = read_calibration(self.calibration)  # noqa: SLF001 - our own
        return read

    @property
    def calibrated(self) -> Calibration | None:
        """Return the file's calibration; None without one. Raises SettingsError where it was not read before."""
        return self._calibrated if self.calibration is None or self._calibrated else read_calibration(self.calibration)

    @property
    def scale(self) -> Scale | None:
        """Tell how large pixels are; None where that is not known."""
        if (calibrated := self.calibrated) is not None:
            return calibrated.scale
        return None if self.mm_per_px is None else UniformScale(self.mm_per_px)

    @property
    def has_scale(self) -> bool:
        """Tell whether lengths are known in mm."""
        return self.mm_per_px is not None or self.calibration is not None

    @property
    def centre_mm_per_px(self) -> float | None:
        """The side of a pixel, mm: of all of them, or of the one in the picture's centre; None where not known."""
        calibrated = self.calibrated
        return self.mm_per_px if calibrated is None else calibrated.mm_per_px

    @model_validator(mode="after")
    def _one_scale(self) -> InspectSettings:
        if self.mm_per_px is not None and self.calibration is not None:
            raise ValueError("expected mm_per_px or calibration, received both: which of them holds is not guessed")
        return self

    @model_validator(mode="before")
    @classmethod
    def _zones_of_a_file(cls, given: Any) -> Any:
        zones = given.get("zones") if isinstance(given, dict) else None
        if isinstance(zones, dict) and any(isinstance(zones.get(key), str | Path) for key in ("svg", "file")):
            if given.get("zones_file") is not None:
                raise ValueError("expected either zones or zones_file, received both")
            return {**{key: value for key, value in given.items() if key != "zones"}, "zones_file": zones}
        return given

    @model_validator(mode="after")
    def _zones_on_the_part_need_one(self) -> InspectSettings:
        on_part = [f"zones.{name}.on" for name, zone in self.zones.items() if zone.on != "frame"]
        on_part += ["ignore.on"] if self.ignore is not None and self.ignore.on == "part" else []
        if on_part and self.part is None:
            raise ValueError(
                f"expected the key part, how the part is found, for {' and '.join(on_part)}; received none"
            )
        in_mm = [name for name, zone in self.zones.items() if zone.on == "part_mm"]
        if in_mm and not self.has_scale:
            raise ValueError(
                f"expected mm_per_px or calibration, since the zones {', '.join(in_mm)} are in millimetres"
            )
        return self

    @model_validator(mode="after")
    def _millimetres_need_a_calibration(self) -> InspectSettings:
        wanting = [name for name, limit in self.limits.items() if limit.needs_calibration]
        wanting += [f"the grade {row.name}" for row in self.grades if row.needs_calibration]
        for zone, own in self.zones.items():
            wanting += [
                f"{name} in the zone {zone}" for name, limit in (own.limits or {}).items() if limit.needs_calibration
            ]
            wanting += [f"the grade {row.name} of the zone {zone}" for row in own.grades if row.needs_calibration]
        if self.join_gap_mm and not self.has_scale:
            raise ValueError("expected mm_per_px or calibration, since join_gap_mm is in millimetres")
        if wanting and not self.has_scale:
            raise ValueError(
                f"expected mm_per_px or calibration, since the limits of {', '.join(wanting)} are in millimetres"
            )
        return self

    @model_validator(mode="after")
    def _every_part_has_one_grade(self) -> InspectSettings:
        if problem := problem_of(self.grades):
            raise ValueError(problem)
        return self

    @property
    def every_grade(self) -> tuple[GradeRow, ...]:
        """The rows of the view's own table and of its zones'."""
        return (*self.grades, *(row for zone in self.zones.values() for row in zone.grades))

    def beyond(self, size_px: tuple[int, int]) -> str:
        """Say which key lies outside a picture of this width and height, or nothing."""
        width, height = size_px
        if self.zones_file is not None and (problem := self.zones_file.misfit(size_px)):
            return problem
        asked: dict[str, RegionSettings] = {"region": self.region} if self.region else {}
        asked |= {f"zones.{name}": zone for name, zone in self.zones.items() if zone.on == "frame"}
        for key, shape in asked.items():
            if not all(0 <= x <= width and 0 <= y <= height for x, y in shape.corners):
                return f"{key}: expected it within the picture of {width} x {height} px, received it outside"
        return ""

    @property
    def joining(self) -> Joining | None:
        """Tell which dashes are one scratch; None where none are joined."""
        return Joining(self.join_gap_mm, self.join_angle_deg) if self.join_gap_mm else None


def drift_watch(settings: InspectSettings) -> DriftWatch | None:
    """Return what tells whether a view's calibration drifted; None without one."""
    calibrated = settings.calibrated
    if calibrated is None or settings.calibration is None:
        return None
    return DriftWatch(settings.calibration, calibrated.sha256)
