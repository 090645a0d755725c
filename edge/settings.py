"""`config/*.yaml` → frozen typed settings of one line. Every key is commented, with its unit, in config/line.yaml."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.alarms.rules import AlarmRule, alarm_rules, suppressors
from edge.broker import BrokerSettings
from edge.bundle import Bundle, Name
from edge.deciding import Limit
from edge.errors import SettingsError
from edge.grading import GradeRow, problem_of
from edge.rendering import SimulatedLineSettings
from edge.seeing import WatchSettings
from edge.yaml_settings import ModelT, StrictModel, load_yaml

_Number = Annotated[float, Field(allow_inf_nan=False)]


class LineSettings(StrictModel):
    """Who this line is: the levels of its topics and the names in its messages."""

    enterprise: Name = "enterprise"
    site: Name = "site"
    area: Name = "area"
    line: Name = "line"
    cell: Name = "cell"
    device: Name = "linewatch"
    recipe: Name = "default"


class CameraSettings(StrictModel):
    """Where frames come from. `source`: a device, file, folder, RTSP URL, GStreamer pipeline or the simulated line.

    `watch`: when the camera is frozen or blind; `auto` watches live cameras, and neither recordings, whose pictures may
    rightly stand still, nor the simulated line.
    """

    name: Name = "camera"
    kind: Literal["auto", "device", "file", "images", "rtsp", "gstreamer", "simulated"] = "auto"
    source: str | int | None = None
    max_age_ms: Annotated[int, Field(ge=10, le=3_600_000)] = 1000
    watch: WatchSettings | Literal["auto", "off"] = "auto"
    simulated: SimulatedLineSettings = SimulatedLineSettings()

    def watched(self, *, live: bool) -> WatchSettings | None:
        """Tell how the camera of a live line, or a recording, is watched; None for not at all."""
        if isinstance(self.watch, WatchSettings):
            return self.watch
        camera = live and self.resolved_kind() in {"device", "rtsp", "gstreamer"}
        return WatchSettings() if self.watch == "auto" and camera else None

    def resolved_kind(self) -> Literal["device", "file", "images", "rtsp", "gstreamer", "simulated"]:
        """Tell what `auto` means for the given source."""
        if self.kind != "auto":
            return self.kind
        source = str(self.source)
        if source == "simulated":
            return "simulated"
        if source.isdecimal() or source.startswith("/dev/"):
            return "device"
        if "!" in source:
            return "gstreamer"
        if "://" in source:  # FFmpeg takes MJPEG over HTTP and the like on the same road
            return "rtsp"
        return "images" if Path(source).is_dir() else "file"


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
    """What is looked at and what is still good."""

    region: RegionSettings | None = None
    mm_per_px: Annotated[float, Field(gt=0, le=1000)] | None = None
    thresholds: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
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


class EngineSettings(StrictModel):
    """What runs the model. `batch`: tiles at once; `threads` 0 = as many as the machine has cores."""

    backend: Literal["onnxruntime", "simulated"] = "onnxruntime"
    batch: Annotated[int, Field(ge=1, le=256)] = 4
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    simulated_tiles_per_s: Annotated[float, Field(ge=0)] = 0.0


class StoreSettings(StrictModel):
    """Where the outbox lies, what it keeps and for whom. A relative path is relative to the settings file.

    `expect_consumer`: the classes of events that somebody at the broker is to get; they wait in the outbox while nobody
    does. `kept_h`: how long acknowledged messages can be had again, in hours.
    """

    path: Path = Path("/var/lib/linewatch/outbox.db")
    max_results: Annotated[int, Field(ge=100)] = 200_000
    kept_h: Annotated[float, Field(ge=0, le=8760, allow_inf_nan=False)] = 24.0
    expect_consumer: tuple[Literal["alarms", "results"], ...] = ("alarms", "results")


class ReportSettings(StrictModel):
    """How often the line speaks of itself, in seconds. `picture_every_s` 0 = it shows no pictures."""

    health_every_s: Annotated[float, Field(gt=0)] = 5.0
    sequence_every_s: Annotated[float, Field(gt=0)] = 2.0
    picture_every_s: Annotated[float, Field(ge=0)] = 1.0


class Settings(StrictModel):
    """One line's settings. Relative paths count from the settings file."""

    line: LineSettings = LineSettings()
    bundle: Path | None = None
    camera: CameraSettings = CameraSettings()
    inspect: InspectSettings = InspectSettings()
    engine: EngineSettings = EngineSettings()
    alarms: tuple[AlarmRule, ...] = ()
    operators: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = ()
    broker: BrokerSettings = BrokerSettings()
    store: StoreSettings = StoreSettings()
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _alarm_ids_differ(self) -> Settings:
        ids = [rule.id for rule in self.alarms]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"expected alarms with ids of their own, received twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _alarms_name_what_is_there(self) -> Settings:
        rules = alarm_rules(self.alarms)
        ids, zones = {rule.id for rule in rules}, self.inspect.zones
        grades = {row.name for row in self.inspect.grades}
        for rule in self.alarms:
            if unknown := sorted(set(rule.suppressed_by) - ids):
                raise ValueError(f"key alarms.{rule.id}.suppressed_by: expected ids of alarms, received {unknown}")
            if rule.zone is not None and rule.zone not in zones:
                raise ValueError(
                    f"key alarms.{rule.id}.zone: expected one of inspect.zones {sorted(zones)}, received {rule.zone!r}"
                )
            if unknown := sorted(set(rule.grades) - grades):
                raise ValueError(
                    f"key alarms.{rule.id}.grades: expected some of inspect.grades {sorted(grades)}, received {unknown}"
                )
            if rule.needs_calibration and self.inspect.mm_per_px is None:
                raise ValueError(
                    f"key inspect.mm_per_px: expected a size, for alarms.{rule.id} is in millimetres; received nothing"
                )
        try:
            TopologicalSorter({rule.id: suppressors(rule, rules) for rule in rules}).prepare()
        except CycleError as error:
            around = " by ".join(error.args[1])
            raise ValueError(f"key alarms: expected no alarm to be suppressed by itself, received {around}") from error
        return self


def load_settings(path: Path) -> Settings:
    """Read one line's settings and make their paths absolute. Raises SettingsError."""
    settings = load_yaml(path, Settings)
    home = path.resolve().parent
    camera, broker = settings.camera, settings.broker
    if isinstance(camera.source, str) and camera.resolved_kind() in {"file", "images"}:
        camera = camera.model_copy(update={"source": str(home / camera.source)})
    if broker.tls is not None:
        broker = broker.model_copy(update={"tls": _at_home(broker.tls, home, "ca_file", "cert_file", "key_file")})
    return settings.model_copy(
        update={
            "bundle": settings.bundle and home / settings.bundle,
            "camera": camera,
            "broker": _at_home(broker, home, "password_file"),
            "store": settings.store.model_copy(update={"path": home / settings.store.path}),
        }
    )


def _at_home(model: ModelT, home: Path, *names: str) -> ModelT:
    """Make the named paths of a part of the settings absolute, counted from the settings file's folder."""
    return model.model_copy(update={name: home / path for name in names if (path := getattr(model, name)) is not None})


def settings_warnings(settings: Settings, bundle: Bundle) -> list[str]:
    """Say what in the settings the bundle cannot honour: limits, thresholds and alarms of classes that it lacks."""
    known = {entry.name for entry in bundle.classes}
    named = [
        *((f"inspect.limits.{name}", name) for name in settings.inspect.limits),
        *((f"inspect.thresholds.{name}", name) for name in settings.inspect.thresholds),
        *((f"alarms.{rule.id}", rule.class_name) for rule in settings.alarms if rule.class_name is not None),
        *((f"inspect.grades.{row.name}.limits", name) for row in settings.inspect.grades for name in row.limits or {}),
    ]
    return [
        f"{where}: the bundle {bundle.manifest.name} has no class {name!r} (it has {', '.join(sorted(known))}); "
        "this setting has no effect"
        for where, name in named
        if name not in known
    ]


def effective_thresholds(settings: Settings, bundle: Bundle) -> tuple[float, ...]:
    """Return the probability per class, in id order: the settings' own, else the bundle's."""
    own = settings.inspect.thresholds
    return tuple(own.get(entry.name, entry.threshold) for entry in bundle.classes)


def require_bundle(settings: Settings, given: Path | None) -> Path:
    """Return the bundle's path from the command line or else the settings. Raises SettingsError without either."""
    path = given or settings.bundle
    if path is None:
        raise SettingsError("No bundle: expected the key `bundle` in the settings, or --bundle; received neither")
    return path
