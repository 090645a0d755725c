"""`config/*.yaml` → frozen typed settings of one line. Every key is commented, with its unit, in config/line.yaml."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise, permutations
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from edge.alarms.rules import AlarmRule, alarm_rules, station_rules, suppressors
from edge.bundle import Bundle, Name, load_bundle
from edge.calibration.record import CameraIdentity
from edge.cameras.addresses import parse_address
from edge.cameras.camera_watch import WatchSettings
from edge.cameras.device_settings import OF_GENICAM, OF_USB, DeviceSettings
from edge.cameras.files_settings import FilesSettings
from edge.cameras.opencv import device_number
from edge.commands.requests import CommandSettings
from edge.errors import SettingsError, SourceError
from edge.evidence.settings import EvidenceSettings
from edge.inspection.recipe_settings import RecipeSettings, ViewSettings
from edge.inspection.reload_settings import ReloadSettings
from edge.inspection.settings import InspectSettings
from edge.inspection.zone_files import with_files
from edge.messages.home_assistant import HomeAssistantSettings
from edge.monitoring.settings import MonitoringSettings
from edge.outputs.input_settings import InputRule
from edge.outputs.settings import MOST_SIGNALS, MachineSettings, OutputRule, check_alarms, check_signals
from edge.parts.challenge import ChallengeSettings
from edge.parts.settings import PartSettings
from edge.parts.shifts import ShiftPlan, time_of_day, zone_of
from edge.preparing import depth_bits, locates
from edge.publishers.broker_settings import BrokerSettings
from edge.quality.settings import QualitySettings
from edge.redacting import redacted
from edge.simulation.engine import SimulatedFault
from edge.simulation.rendering import SimulatedLineSettings
from edge.wording import command
from edge.yaml_settings import ModelT, StrictModel, load_yaml

SHIFTS_AT_MOST = 12  # a day
# The meaning of `--bundle demo`: the model that comes with Linewatch, and has seen simulated pictures only.
DEMO = "demo"
_ID_AT_MOST = 200
SHIPPED_BUNDLE = Path(__file__).parent / "bundles" / "simulated-glass"
MOST_CAMERAS = 16
MOST_RECIPES = 200
# The precisions of each backend; the first is its default.
PRECISIONS: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
    "tensorrt": ("fp16", "fp32", "int8"),
}


class LineSettings(StrictModel):
    """The line's identity: the levels of its topics and the names in its messages."""

    enterprise: Name = "enterprise"
    site: Name = "site"
    area: Name = "area"
    line: Name = "line"
    cell: Name = "cell"
    device: Name = "linewatch"
    recipe: Name = "default"

    @property
    def root(self) -> str:
        """Tell what every topic of this line begins with."""
        return f"{self.enterprise}/{self.site}/{self.area}/{self.line}/{self.cell}/inspect/v1"


LiveKind = Literal["device", "rtsp", "gstreamer", "genicam", "watched_folder"]
Kind = Literal["device", "file", "images", "rtsp", "gstreamer", "genicam", "watched_folder", "simulated"]
_GivenKind = Literal["auto", "device", "file", "images", "rtsp", "gstreamer", "genicam", "watched_folder", "simulated"]
# The possible settings of each kind. The settings of a network camera are its own pages', those of a pipeline its text.
_DEVICE_KEYS: dict[str, tuple[str, ...]] = {"device": OF_USB, "genicam": OF_GENICAM}
_SidePx = Annotated[int, Field(ge=16, le=16384)]


class CameraSettings(StrictModel):
    """The source of frames. `source`: a device, file, folder, RTSP URL, GStreamer pipeline or the simulated line.

    `id`: in its place the serial number, IP address or Aravis's name of a GenICam camera.

    `loop`: a file or folder begins anew when it is over. `depth_bits`: how many bits of a camera's, or of a picture's,
    16 count; none: as the bundle's `preparing` says. `watch`: when the camera is frozen or blind. `auto` watches live
    cameras. It watches neither recordings, whose pictures may rightly stand still, nor the simulated line. `quality`:
    when a frame is not good enough to be judged; None = that is not looked at. `size_px`: width and height that
    pictures must have; without it, those of the first one. `compare_clocks`: whether a stream's own clock tells how old
    its pictures are. `device`: what a USB or GenICam camera is set to. `fps`: the pace of a folder of pictures, per
    second; without it one per second. `triggered`: the camera gives a frame only when it is triggered. Its silence is
    no fault, and none of its frames is left out. `take`: of frames that wait to be judged only the `latest`, or `every`
    one; left out: every one of a triggered camera and of a watched folder, else the latest. `files`: how files are
    taken from a watched folder. `lens`: which lens is on it, in your words; a calibration that names another one is
    refused.
    """

    name: Name = "camera"
    kind: _GivenKind = "auto"
    source: str | int | None = None
    id: str | int | None = None
    loop: bool = False
    max_age_ms: Annotated[int, Field(ge=10, le=3_600_000)] = 1000
    depth_bits: Annotated[int, Field(ge=8, le=16)] | None = None
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None
    triggered: bool = False
    take: Literal["latest", "every"] | None = None
    files: FilesSettings = FilesSettings()
    lens: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    size_px: tuple[_SidePx, _SidePx] | None = None
    compare_clocks: bool = True
    device: DeviceSettings = DeviceSettings()
    watch: WatchSettings | Literal["auto", "off"] = "auto"
    quality: QualitySettings | None = None
    simulated: SimulatedLineSettings = SimulatedLineSettings()

    @field_validator("source", mode="before")
    @classmethod
    def _source_can_be_one(cls, source: object, info: ValidationInfo) -> object:
        if isinstance(source, bool) or source == "" or "\0" in str(source):
            raise ValueError("expected a device, file, folder, URL or pipeline")
        if isinstance(source, float):  # YAML reads 1e3 as one
            raise ValueError(  # noqa: TRY004 - what pydantic takes as an answer
                "expected the whole number of a device, or the name of a file in quotes"
            )
        if isinstance(source, int) and source < 0:
            raise ValueError("expected the number of a device, from 0 on")
        if source is not None and info.data.get("kind") in {"auto", "device"}:
            try:
                device_number(str(source))
            except SourceError as error:
                raise ValueError(str(error)) from error
        if isinstance(source, str) and _is_address(source, str(info.data.get("kind"))):
            try:
                parse_address(source)
            except SourceError as error:
                raise ValueError(str(error)) from error
        return source

    @field_validator("watch", mode="before")
    @classmethod
    def _watch_is_of_the_picture(cls, watch: object) -> object:
        if watch is True or watch == "on":
            raise ValueError(
                "expected auto, off, or limits by which a camera is frozen or blind; a folder into which a camera "
                "drops files is kind: watched_folder"
            )
        return watch

    @field_validator("id", mode="before")
    @classmethod
    def _id_can_be_one(cls, wanted: object) -> object:
        if isinstance(wanted, bool | float) or not str(wanted).strip() or len(str(wanted)) > _ID_AT_MOST:
            raise ValueError("expected a serial number, an IP address or a name, in quotes; see linewatch cameras")
        return wanted

    @model_validator(mode="after")
    def _names_one_camera(self) -> CameraSettings:
        kind = self.resolved_kind()
        if self.id is not None and (kind != "genicam" or self.source is not None):
            raise ValueError(
                f"expected id for a GenICam camera, and no source beside it; received it for a {kind} camera"
            )
        if kind == "genicam" and self.genicam_id is None:
            raise ValueError(
                "expected id: the serial number, IP address or name that linewatch cameras shows; received none"
            )
        if kind == "watched_folder" and self.source is None:
            raise ValueError("expected source, the folder that is watched; received none")
        if "files" in self.model_fields_set and kind != "watched_folder":
            raise ValueError(f"expected files for a watched_folder only, received it for a {kind} camera")
        if self.take == "latest" and (self.triggered or self.device.waits_for_a_line):
            raise ValueError("expected take: every, for no frame of a triggered camera is left out; received latest")
        return self

    @model_validator(mode="after")
    def _device_can_be_set(self) -> CameraSettings:
        kind = self.resolved_kind()
        known = _DEVICE_KEYS.get(kind, ())
        if unknown := [name for name in self.device.given if name not in known]:
            what = f"one of {', '.join(known)}" if known else "no key of device, for it cannot be set from here"
            raise ValueError(f"expected for a {kind} camera {what}; received device.{unknown[0]}")
        if kind == "genicam" and isinstance(self.device.white_balance_k, int):
            raise ValueError("expected device.white_balance_k: auto for a GenICam camera, received a number")
        return self

    @property
    def genicam_id(self) -> str | None:
        """The serial number, IP address or name of a GenICam camera."""
        wanted = self.id if self.id is not None else self.source
        return None if wanted is None else str(wanted).strip()

    @property
    def shown_source(self) -> str:
        """Tell what names the camera in the settings; it may hold a secret."""
        return str(self.genicam_id if self.resolved_kind() == "genicam" else self.source)

    @property
    def takes_every(self) -> bool:
        """Tell whether each frame is judged that waits, not only the latest one."""
        if self.take is not None:
            return self.take == "every"
        return self.triggered or self.resolved_kind() == "watched_folder"

    @model_validator(mode="after")
    def _only_files_loop(self) -> CameraSettings:
        if self.loop and self.resolved_kind() not in {"file", "images"}:
            raise ValueError(
                f"expected loop for a file or folder only, received it for a {self.resolved_kind()} camera"
            )
        return self

    @model_validator(mode="after")
    def _only_folders_have_a_pace(self) -> CameraSettings:
        if self.fps is not None and self.resolved_kind() not in {"images", "file"}:
            raise ValueError(
                f"expected fps for a folder of pictures only, received it for a {self.resolved_kind()} camera; "
                "device.fps sets a USB camera"
            )
        return self

    @property
    def expected_px(self) -> tuple[int, int] | None:
        """Width and height that pictures must have, by `size_px` or else by what the device is set to."""
        return self.size_px or self.device.size_px

    def watched(self, *, live: bool) -> WatchSettings | None:
        """Tell how the camera of a live line, or a recording, is watched; None for not at all."""
        if isinstance(self.watch, WatchSettings):
            return self.watch
        camera = live and self.resolved_kind() in get_args(LiveKind)
        return WatchSettings() if self.watch == "auto" and camera else None

    def watched_files(self) -> WatchSettings | None:
        """Tell how pictures that stand alone are watched: as a live camera's frames, unless it is off."""
        return None if self.watch == "off" else WatchSettings() if self.watch == "auto" else self.watch

    def depth(self, bundle: Bundle) -> int | None:
        """Return how many bits of 16 count, by these settings or else by the bundle; None where neither says."""
        return self.depth_bits or depth_bits(bundle.manifest.preparing)

    def resolved_kind(self) -> Kind:
        """Tell what `auto` means for the given source."""
        if self.kind != "auto":
            return self.kind
        if self.source in {None, "simulated"}:
            return "simulated" if self.source else "genicam" if self.id is not None else "file"
        source = str(self.source)
        if (source.isascii() and source.isdecimal()) or _is_device(source):
            return "device"
        # a pipeline ends in appsink; a file's name may hold an exclamation mark
        if "!" in source and ("appsink" in source or (" ! " in source and not Path(source).suffix)):
            return "gstreamer"
        if "://" in source:  # FFmpeg takes MJPEG over HTTP and the like on the same road
            return "rtsp"
        return "images" if _is_folder(source) else "file"


def _one_source(camera: CameraSettings) -> str:
    """Return what two cameras may not share, in one spelling: the device, folder, address or pipeline."""
    kind, source = camera.resolved_kind(), str(camera.source)
    if kind == "genicam":
        return str(camera.genicam_id)
    if kind == "device" and (number := device_number(source)) is not None:
        source = f"/dev/video{number}"
    if kind in {"device", "watched_folder"}:
        with suppress(OSError, ValueError, RuntimeError):
            return str(Path(source).resolve())  # /dev/v4l/by-id/… leads to /dev/video0
    return source


def _is_address(source: str, kind: str) -> bool:
    return kind == "rtsp" or (kind == "auto" and "://" in source and "!" not in source)


def _is_device(source: str) -> bool:
    return source.startswith("/dev/") and not source.startswith("/dev/shm/")  # noqa: S108 - holds files, in memory


def _is_folder(source: str) -> bool:
    try:
        return Path(source).is_dir()
    except (OSError, ValueError):  # too long, or no name of a file at all: it is refused when it is opened
        return False


class EngineSettings(StrictModel):
    """Settings of the engine. `batch`: tiles at once; `threads` 0 = as many as the machine has cores.

    `backend` auto: the fastest here that sees the golden frames as they were seen; `precision` auto: likewise, of those
    that the backend has. `max_batch_s`: an inference that takes longer hangs. `simulated_fault`: what the simulated
    engine does wrong, to try it. The rest is TensorRT's. `missing`: what to do without an engine for this device.
    `memory`: whether tiles are copied to the device or read in place. `cuda_graphs`: whether inferences are replayed.
    """

    backend: Literal["auto", "onnxruntime", "openvino", "tensorrt", "simulated"] = "onnxruntime"
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"
    batch: Annotated[int, Field(ge=1, le=256)] = 4
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    # below the 60 s after which systemd's watchdog takes the line for dead
    max_batch_s: Annotated[float, Field(ge=0.1, le=45)] = 10.0
    simulated_tiles_per_s: Annotated[float, Field(ge=0)] = 0.0
    simulated_fault: SimulatedFault | None = None
    missing: Literal["build", "refuse"] = "build"
    memory: Literal["copied", "mapped"] = "copied"
    cuda_graphs: bool = False

    @property
    def asked(self) -> str:
        """The backend and the precision that are asked for."""
        return f"{self.backend} {self.precision}"

    @property
    def simulated(self) -> bool:
        """Tell whether it is the simulated engine, which answers for the simulated camera alone."""
        return self.backend == "simulated"

    def without_simulation(self) -> EngineSettings:
        """Return the same, with ONNX Runtime in place of the simulated engine, which answers for its camera alone."""
        return self.model_copy(update={"backend": "onnxruntime"}) if self.backend == "simulated" else self

    @model_validator(mode="after")
    def _precision_is_the_backend_s(self) -> EngineSettings:
        known = PRECISIONS.get(self.backend)
        if known is not None and self.precision not in {"auto", *known}:
            raise ValueError(f"expected precision auto, {', '.join(known)} for {self.backend}; got {self.precision}")
        return self


class StoreSettings(StrictModel):
    """The place of the outbox, what it keeps and for whom. A relative path is relative to the settings file.

    `expect_consumer`: the classes of events that somebody at the broker is to get; they wait in the outbox while nobody
    does. `kept_h`: how long acknowledged messages can be had again, in hours.
    """

    path: Path = Path("/var/lib/linewatch/outbox.db")
    max_results: Annotated[int, Field(ge=100)] = 200_000
    kept_h: Annotated[float, Field(ge=0, le=8760, allow_inf_nan=False)] = 24.0
    expect_consumer: tuple[Literal["alarms", "results"], ...] = ("alarms", "results")


class ReportSettings(StrictModel):
    """Settings of the line's own reports, each interval in seconds. `picture_every_s` 0 = it shows no pictures."""

    health_every_s: Annotated[float, Field(gt=0)] = 5.0
    sequence_every_s: Annotated[float, Field(gt=0)] = 2.0
    picture_every_s: Annotated[float, Field(ge=0)] = 1.0


class Settings(StrictModel):
    """One station's settings. Relative paths count from the settings file.

    `camera`, `bundle` and `inspect` are short for one camera and one recipe; `cameras` and `recipes` are the long form.
    `cameras` with `bundle` and `inspect` is one recipe that judges every camera alike. `recipe`: the one in force at
    the start; it may be left out where there is only one. `keep_recipes`: of so many recipes, with the one in force,
    the engines stay open. `swap`: whether a recipe is loaded beside the running one, or the running engines are closed
    first, where memory is short. `reload`: how far a new model is trusted. `machine`, `outputs`, `inputs`: the link to
    the machine beside the line, and the signals to it and from it, by name. `monitoring`: what is served over HTTP;
    None = nothing. `logs`: how the log is written. `home_assistant`: where it is told of the station; None = nowhere.
    `shifts`: when shifts begin, "HH:MM" by the clock of `time_zone`, an IANA name such as Europe/Berlin.
    """

    line: LineSettings = LineSettings()
    bundle: Path | None = None
    camera: CameraSettings = CameraSettings()
    cameras: Annotated[dict[Name, CameraSettings], Field(max_length=MOST_CAMERAS)] = Field(default_factory=dict)
    inspect: InspectSettings = InspectSettings()
    recipes: Annotated[dict[Name, RecipeSettings], Field(max_length=MOST_RECIPES)] = Field(default_factory=dict)
    recipe: Name | None = None
    keep_recipes: Annotated[int, Field(ge=1, le=MOST_RECIPES)] = 2
    swap: Literal["side_by_side", "drain_first"] = "side_by_side"
    reload: ReloadSettings = ReloadSettings()
    parts: PartSettings = PartSettings()
    challenge: ChallengeSettings = ChallengeSettings()
    machine: MachineSettings | None = None
    outputs: Annotated[dict[Name, OutputRule], Field(max_length=MOST_SIGNALS)] = Field(default_factory=dict)
    inputs: Annotated[dict[Name, InputRule], Field(max_length=MOST_SIGNALS)] = Field(default_factory=dict)
    engine: EngineSettings = EngineSettings()
    alarms: tuple[AlarmRule, ...] = ()
    operators: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = ()
    broker: BrokerSettings = BrokerSettings()
    commands: CommandSettings = CommandSettings()
    store: StoreSettings = StoreSettings()
    report: ReportSettings = ReportSettings()
    monitoring: MonitoringSettings | None = None
    logs: Literal["text", "json"] = "text"
    home_assistant: HomeAssistantSettings | None = None
    evidence: EvidenceSettings = EvidenceSettings()
    shifts: Annotated[tuple[str, ...], Field(min_length=1, max_length=SHIFTS_AT_MOST)] = ("00:00",)
    time_zone: str = "UTC"

    @field_validator("shifts")
    @classmethod
    def _shifts_follow_each_other(cls, shifts: tuple[str, ...]) -> tuple[str, ...]:
        starts = [time_of_day(text) for text in shifts]
        if any(later <= earlier for earlier, later in pairwise(starts)):
            raise ValueError("expected each shift to begin later in the day than the one before it")
        return shifts

    @field_validator("time_zone")
    @classmethod
    def _time_zone_is_known(cls, name: str) -> str:
        zone_of(name)
        return name

    @property
    def shift_plan(self) -> ShiftPlan:
        """Tell which shift a moment belongs to, by these settings."""
        return ShiftPlan(tuple(time_of_day(text) for text in self.shifts), zone_of(self.time_zone))

    @model_validator(mode="after")
    def _one_form_of_each(self) -> Settings:
        if self.cameras and "camera" in self.model_fields_set:
            raise ValueError("key cameras: expected either camera or cameras, received both")
        short = [key for key in ("bundle", "inspect") if key in self.model_fields_set]
        if self.recipes and short:
            raise ValueError(
                f"key recipes: expected either recipes or {' and '.join(short)}, received both. Put the bundle and its "
                "limits below recipes.NAME.views.CAMERA"
            )
        if named := [name for name, camera in self.cameras.items() if "name" in camera.model_fields_set]:
            raise ValueError(f"key cameras.{named[0]}.name: expected no name beside the key, which names the camera")
        return self

    @model_validator(mode="after")
    def _recipes_and_cameras_fit(self) -> Settings:
        if not self.recipes:
            if self.recipe not in {None, self.line.recipe}:
                raise ValueError(f"key recipe: expected one of recipes, which has none, received {self.recipe!r}")
            return self
        known = sorted(self.recipes)
        if self.recipe is None and len(known) > 1:
            raise ValueError(f"key recipe: expected one of {', '.join(known)}, received none")
        if self.recipe is not None and self.recipe not in self.recipes:
            raise ValueError(f"key recipe: expected one of {', '.join(known)}, received {self.recipe!r}")
        cameras = self.station_cameras
        for name, recipe in self.recipes.items():
            for view, entry in recipe.views.items():
                if view not in cameras:
                    raise ValueError(
                        f"key recipes.{name}.views.{view}: expected the name of a camera ({', '.join(cameras)}), "
                        f"received {view!r}"
                    )
                if entry.bundle is None:
                    raise ValueError(f"key recipes.{name}.views.{view}.bundle: expected a bundle, received none")
        if idle := [name for name in cameras if not any(name in recipe.views for recipe in self.recipes.values())]:
            raise ValueError(
                f"key cameras.{idle[0]}: expected a view of it in a recipe, received none. Add "
                f"recipes.NAME.views.{idle[0]}, or take the camera out"
            )
        return self

    @model_validator(mode="after")
    def _names_are_told_apart(self) -> Settings:
        for key, names in (("cameras", self.cameras), ("recipes", self.recipes)):
            known: dict[str, str] = {}
            for name in names:
                other = known.setdefault(name.lower(), name)
                if other != name:
                    raise ValueError(
                        f"key {key}.{name}: expected a name that differs from {key}.{other} by more than capitals, "
                        "which people, and some file systems, take for one; received both"
                    )
        return self

    @model_validator(mode="after")
    def _triggered_views_can_be_judged(self) -> Settings:
        if self.parts.trigger != "camera":
            return self
        for name, recipe in self.recipes.items():
            for view, own in recipe.views.items():
                where = f"key recipes.{name}.views.{view}"
                for key, wanted in (("frames", own.frames or 1), ("ng_frames", own.ng_frames or 1)):
                    if problem := self.parts.beyond(wanted):
                        raise ValueError(f"{where}.{key}: expected it {problem}")
                if own.offset_ms:
                    raise ValueError(
                        f"{where}.offset_ms: expected 0 with parts.trigger camera, whose frames open the parts, "
                        f"received {own.offset_ms}. parts.together_ms says how far apart frames of one part may be"
                    )
        return self

    @model_validator(mode="after")
    def _sources_differ(self) -> Settings:
        taken: dict[tuple[str, str], str] = {}
        for name, camera in self.cameras.items():
            kind = camera.resolved_kind()
            if kind not in get_args(LiveKind):
                continue
            key, source = "id" if camera.id is not None else "source", _one_source(camera)
            if (kind, source) in taken:
                raise ValueError(
                    f"key cameras.{name}.{key}: expected a device of its own, received {redacted(source)!r}, which is "
                    f"that of cameras.{taken[kind, source]}"
                )
            taken[kind, source] = name
        watched = [(name, Path(source)) for (kind, source), name in taken.items() if kind == "watched_folder"]
        for (outer, folder), (inner, within) in permutations(watched, 2):
            if folder in within.parents and self.cameras[outer].files.subfolders:
                raise ValueError(
                    f"key cameras.{inner}.source: expected a folder beside that of cameras.{outer}, received one "
                    f"within it: its pictures would come from both. Set cameras.{outer}.files.subfolders: false, or "
                    "move it"
                )
        return self

    @model_validator(mode="after")
    def _prefixes_name_one_recipe(self) -> Settings:
        whose: dict[str, str] = {}
        for name, recipe in self.recipes.items():
            for prefix in recipe.part_id_prefixes:
                if whose.get(prefix) == name:
                    raise ValueError(f"key recipes.{name}.part_id_prefixes: expected {prefix!r} once, received two")
                if prefix in whose:
                    raise ValueError(
                        f"key recipes.{name}.part_id_prefixes: expected prefixes of its own, received {prefix!r}, "
                        f"which is that of {whose[prefix]}"
                    )
                whose[prefix] = name
        return self

    @model_validator(mode="after")
    def _presence_looks_at_a_view(self) -> Settings:
        if self.parts.trigger != "presence":
            return self
        view, cameras = self.parts.presence.view, self.station_cameras
        if view is None and len(cameras) > 1:
            raise ValueError(f"key parts.presence.view: expected one of {', '.join(cameras)}, received none")
        if view is not None and view not in cameras:
            raise ValueError(f"key parts.presence.view: expected one of {', '.join(cameras)}, received {view!r}")
        looks = view or next(iter(cameras))
        if blind := [name for name, recipe in self.recipes.items() if looks not in recipe.views]:
            raise ValueError(
                f"key parts.presence.view: expected a camera that every recipe looks at, received {looks!r}, which "
                f"{', '.join(blind)} does not: no part of it would ever be seen"
            )
        return self

    @model_validator(mode="after")
    def _a_challenge_has_parts(self) -> Settings:
        if self.challenge.each_shift and not self.parts.exist:
            raise ValueError(
                "key challenge.each_shift: expected false, for parts.trigger is every_frame, and a challenge is of "
                "parts; received true"
            )
        return self

    @property
    def station_cameras(self) -> dict[str, CameraSettings]:
        """The cameras by name, from either form."""
        triggered = self.parts.trigger == "camera"
        return {
            name: camera.model_copy(
                update={
                    "name": name,
                    "triggered": camera.triggered or triggered or camera.device.waits_for_a_line,
                }
            )
            for name, camera in (self.cameras or {self.camera.name: self.camera}).items()
        }

    @property
    def station_recipes(self) -> dict[str, RecipeSettings]:
        """The recipes by name, from either form."""
        if self.recipes:
            return dict(self.recipes)
        view = ViewSettings(bundle=self.bundle, inspect=self.inspect)
        return {self.line.recipe: RecipeSettings(views=dict.fromkeys(self.station_cameras, view))}

    @property
    def alarm_rules(self) -> tuple[AlarmRule, ...]:
        """Every alarm of the station: of which camera each is, and whether of frames or of parts."""
        return station_rules(
            self.alarms,
            list(self.station_cameras),
            parts=self.parts.exist,
            machine=self.machine is not None,
            quality=[name for name, camera in self.station_cameras.items() if camera.quality is not None],
        )

    def _inspected(self, cameras: Sequence[str]) -> list[InspectSettings]:
        """Return how each view of these cameras is judged, in every recipe; of no camera = of all."""
        return [
            recipe.inspect(view)
            for recipe in self.station_recipes.values()
            for view in recipe.views
            if not cameras or view in cameras
        ]

    @property
    def first_recipe(self) -> str:
        """The recipe that is in force at the start."""
        return self.recipe or next(iter(self.station_recipes))

    def of_view(self, camera: str | None = None, recipe: str | None = None) -> Settings:
        """Return the settings of one view alone, in the short form. Raises SettingsError where there are several.

        `camera`, `recipe`: which; left out where there is only one, or for the recipe that is in force at the start.
        """
        recipe = recipe or self.first_recipe
        if recipe not in self.station_recipes:
            raise SettingsError(f"Expected a recipe of {', '.join(self.station_recipes)}; received {recipe!r}")
        views = self.station_recipes[recipe].views
        if camera is None and len(views) > 1:
            raise SettingsError(
                f"Expected which camera, one of {', '.join(views)}; received none. Name it with --camera"
            )
        name = camera or next(iter(views))
        if name not in views:
            raise SettingsError(f"Expected a camera of the recipe {recipe}, {', '.join(views)}; received {name!r}")
        return self.model_copy(
            update={
                "camera": self.station_cameras[name],
                "cameras": {},
                "bundle": views[name].bundle,
                "inspect": self.station_recipes[recipe].inspect(name),
                "recipes": {},
                "recipe": None,
                "line": self.line.model_copy(update={"recipe": recipe}),
            }
        )

    def with_bundle(self, bundle: Path) -> Settings:
        """Return the same with another bundle, as the command line names it. Raises SettingsError for several views."""
        if self.recipes:
            raise SettingsError(
                f"--bundle {bundle}: expected settings with one bundle, received recipes, each view of which names its "
                "own. Change recipes.NAME.views.CAMERA.bundle"
            )
        return self.model_copy(update={"bundle": bundle})

    @model_validator(mode="after")
    def _answers_have_topics_of_their_own(self) -> Settings:
        self.commands.prefix(self.line.root)
        return self

    @model_validator(mode="after")
    def _signals_can_be(self) -> Settings:
        check_signals(self.machine, self.outputs, self.inputs)
        opens = any(rule.rule == "part" for rule in self.inputs.values())
        if opens != (self.parts.trigger == "machine"):
            raise ValueError(
                "key parts.trigger: expected machine where an input has the rule part, and only there; received "
                f"{self.parts.trigger} {'with' if opens else 'without'} one"
            )
        check_alarms(self.outputs, frozenset(rule.id for rule in self.alarm_rules))
        return self

    @model_validator(mode="after")
    def _alarm_ids_differ(self) -> Settings:
        ids = [rule.id for rule in self.alarms]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"expected alarms with ids of their own, received twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _zones_lie_in_the_picture(self) -> Settings:
        for key, recipe in self.station_recipes.items():
            for name, view in recipe.views.items():
                where = f"recipes.{key}.views.{name}.inspect" if self.recipes else "inspect"
                size_px = self.station_cameras[name].expected_px
                if size_px is not None and (problem := view.inspect.beyond(size_px)):
                    raise ValueError(f"key {where}.{problem}")
        return self

    @model_validator(mode="after")
    def _alarms_name_what_is_there(self) -> Settings:
        rules = self.alarm_rules
        ids = {rule.id for rule in rules} | {rule.id for rule in alarm_rules(self.alarms)}
        cameras, where = self.station_cameras, "recipes.NAME.views.CAMERA.inspect" if self.recipes else "inspect"
        for rule in self.alarms:
            views = self._inspected(rule.cameras)
            zones = {name for inspect in views for name, zone in inspect.zones.items() if not zone.ignore}
            grades = {row.name for inspect in views for row in inspect.every_grade}
            if unknown := sorted(set(rule.suppressed_by) - ids):
                raise ValueError(f"key alarms.{rule.id}.suppressed_by: expected ids of alarms, received {unknown}")
            if unknown := sorted(set(rule.cameras) - set(cameras)):
                raise ValueError(
                    f"key alarms.{rule.id}.cameras: expected some of {', '.join(cameras)}, received {unknown}"
                )
            if rule.per == "part" and not self.parts.exist:
                raise ValueError(
                    f"key alarms.{rule.id}.per: expected frame, for parts.trigger is every_frame; received part"
                )
            unread = any(inspect.zones_file is not None and not inspect.zones for inspect in views)
            if rule.zone is not None and rule.zone not in zones and not unread:
                raise ValueError(
                    f"key alarms.{rule.id}.zone: expected one of {where}.zones {sorted(zones)}, received {rule.zone!r}"
                )
            if (unknown := sorted(set(rule.grades) - grades)) and not unread:
                raise ValueError(
                    f"key alarms.{rule.id}.grades: expected some of {where}.grades {sorted(grades)}, received {unknown}"
                )
            if rule.needs_calibration and not all(inspect.has_scale for inspect in views):
                raise ValueError(
                    f"key {where}.mm_per_px: expected a size, or calibration, for alarms.{rule.id} is in millimetres; "
                    "received nothing"
                )
        try:
            TopologicalSorter({rule.id: suppressors(rule, rules) for rule in rules}).prepare()
        except CycleError as error:
            around = " by ".join(error.args[1])
            raise ValueError(f"key alarms: expected no alarm to be suppressed by itself, received {around}") from error
        return self


def load_settings(path: Path, *, calibrated: bool = True) -> Settings:
    """Read one station's settings and make their paths absolute. Raises SettingsError.

    Calibrations are read with them, and must be of their cameras; not so without `calibrated`.
    """
    settings = _with_zones(load_yaml(path, Settings), path)
    home = path.resolve().parent
    broker = settings.broker
    if broker.tls is not None:
        broker = broker.model_copy(update={"tls": _at_home(broker.tls, home, "ca_file", "cert_file", "key_file")})
    presence = _at_home(settings.parts.presence, home, "belt")
    found = settings.model_copy(
        update={
            "bundle": settings.bundle and home / settings.bundle,
            "camera": _camera_at_home(settings.camera, home),
            "cameras": {name: _camera_at_home(camera, home) for name, camera in settings.cameras.items()},
            "recipes": {
                name: _recipe_at_home(recipe, home, read=calibrated) for name, recipe in settings.recipes.items()
            },
            "parts": settings.parts.model_copy(update={"presence": presence}),
            "broker": _at_home(broker, home, "password_file"),
            "store": settings.store.model_copy(update={"path": home / settings.store.path}),
            "evidence": _at_home(settings.evidence, home, "folder"),
            "machine": _machine_at_home(settings.machine, home),
            "inspect": _inspect_at_home(settings.inspect, home, read=calibrated),
        }
    )
    if calibrated:
        _require_own_calibrations(found, path)
    return found


def _inspect_at_home(inspect: InspectSettings, home: Path, *, read: bool) -> InspectSettings:
    own = _at_home(inspect, home, "calibration")
    return own.with_calibration() if read else own


def _require_own_calibrations(settings: Settings, path: Path) -> None:
    """Raise SettingsError where a view's calibration is of another camera, lens or size than its camera's."""
    for name, recipe in settings.station_recipes.items():
        for view in recipe.views:
            inspect, camera = recipe.inspect(view), settings.station_cameras[view]
            kept = inspect.calibrated
            if kept is None:
                continue
            told = kept.other_camera(identity_of_camera(camera))
            if not told and camera.expected_px is not None:
                told = kept.misfit(camera.expected_px)
            if told:
                where = f"recipes.{name}.views.{view}.inspect" if settings.recipes else "inspect"
                raise SettingsError(
                    f"{path}: key {where}.calibration: {inspect.calibration}: {told}. Calibrate this camera: "
                    f"{command('linewatch', 'calibrate', path, view)}"
                )


_LIVE = frozenset({"device", "rtsp", "gstreamer"})  # whose source says which camera it is


def identity_of_camera(camera: CameraSettings, lens: str | None = None) -> CameraIdentity:
    """Return which camera the settings mean, as calibrations tell it. `lens`: in place of the settings' own."""
    kind = camera.resolved_kind()
    named = camera.genicam_id if kind == "genicam" else camera.source if kind in _LIVE else None
    source = None if named is None else redacted(str(named))
    return CameraIdentity(camera.name, source, lens or camera.lens)


def _camera_at_home(camera: CameraSettings, home: Path) -> CameraSettings:
    if camera.quality is not None:
        camera = camera.model_copy(update={"quality": _at_home(camera.quality, home, "learned")})
    if isinstance(camera.source, str) and camera.resolved_kind() in {"file", "images", "watched_folder"}:
        return camera.model_copy(update={"source": str(home / camera.source)})
    return camera


def _machine_at_home(machine: MachineSettings | None, home: Path) -> MachineSettings | None:
    if machine is None or machine.opcua is None:
        return machine
    files = _at_home(machine.opcua, home, "certificate", "private_key", "peer_certificate")
    return machine.model_copy(update={"opcua": files})


def _recipe_at_home(recipe: RecipeSettings, home: Path, *, read: bool) -> RecipeSettings:
    views = {
        name: _at_home(view, home, "bundle").model_copy(
            update={"inspect": _inspect_at_home(view.inspect, home, read=read)}
        )
        for name, view in recipe.views.items()
    }
    return recipe.model_copy(update={"views": views})


def _with_zones(settings: Settings, path: Path) -> Settings:
    """Return the settings with zones and masks from the files that they name. Raises SettingsError."""
    home = path.resolve().parent
    try:
        inspect = with_files(settings.inspect, home, "inspect")
        recipes = {name: _recipe_with_zones(recipe, home, name) for name, recipe in settings.recipes.items()}
    except SettingsError as error:
        raise SettingsError(f"{path}, {error}") from error
    read: dict[str, object] = {"inspect": inspect} if inspect is not settings.inspect else {}
    read |= {"recipes": recipes} if any(recipes[name] is not own for name, own in settings.recipes.items()) else {}
    if not read:
        return settings
    try:  # alarms name zones and grades, which are known only now
        return Settings.model_validate({name: getattr(settings, name) for name in settings.model_fields_set} | read)
    except ValidationError as error:
        told = [str(problem["msg"]).removeprefix("Value error, ") for problem in error.errors()]
        raise SettingsError(*(f"{path}, {one}" for one in told)) from error


def _recipe_with_zones(recipe: RecipeSettings, home: Path, key: str) -> RecipeSettings:
    views = {
        name: with_files(view.inspect, home, f"recipes.{key}.views.{name}.inspect")
        for name, view in recipe.views.items()
    }
    if all(views[name] is view.inspect for name, view in recipe.views.items()):
        return recipe
    updated = {name: view.model_copy(update={"inspect": views[name]}) for name, view in recipe.views.items()}
    return recipe.model_copy(update={"views": updated})


def _at_home(model: ModelT, home: Path, *names: str) -> ModelT:
    """Make the named paths of a part of the settings absolute, counted from the settings file's folder."""
    return model.model_copy(update={name: home / path for name in names if (path := getattr(model, name)) is not None})


def unknown_classes(settings: Settings, bundles: Mapping[Path | None, Bundle]) -> list[str]:
    """Name each key of limits, thresholds, grades and alarms whose class the bundles lack, and what it may mean.

    `bundles`: by their path in the settings.
    """
    told: list[str] = []
    for name, recipe in settings.station_recipes.items():
        for key, view in recipe.views.items():
            where = f"recipes.{name}.views.{key}.inspect" if settings.recipes else "inspect"
            told += _unknown_in(where, recipe.inspect(key), bundles[view.bundle])
    told = list(dict.fromkeys(told))  # cameras of the short form share its keys
    named = "/".join(dict.fromkeys(bundle.manifest.name for bundle in bundles.values()))
    for rule in settings.alarms:
        seen = _classes_seen(settings, rule, bundles)
        if rule.class_name is not None and rule.class_name not in seen:
            told.append(_unknown(f"alarms.{rule.id}.class", rule.class_name, seen, named))
    return told


def _classes_seen(settings: Settings, rule: AlarmRule, bundles: Mapping[Path | None, Bundle]) -> list[str]:
    """Return the classes of every bundle whose views an alarm is about, sorted."""
    concerned = {
        view.bundle
        for recipe in settings.station_recipes.values()
        for name, view in recipe.views.items()
        if not rule.cameras or name in rule.cameras
    }
    return sorted({entry.name for path in concerned for entry in bundles[path].classes})


def _unknown_in(where: str, inspect: InspectSettings, bundle: Bundle) -> list[str]:
    """Name the keys of one view's section `inspect`, called `where`, whose class its bundle lacks."""
    known = sorted(entry.name for entry in bundle.classes)
    named = [
        *((f"{where}.limits.{name}", name) for name in inspect.limits),
        *((f"{where}.thresholds.{name}", name) for name in inspect.thresholds),
        *((f"{where}.grades.{row.name}.limits.{name}", name) for row in inspect.grades for name in row.limits or {}),
        *(
            (f"{where}.zones.{zone}.limits.{name}", name)
            for zone, own in inspect.zones.items()
            for name in own.limits or {}
        ),
        *(
            (f"{where}.zones.{zone}.grades.{row.name}.limits.{name}", name)
            for zone, own in inspect.zones.items()
            for row in own.grades
            for name in row.limits or {}
        ),
    ]
    return [_unknown(key, name, known, bundle.manifest.name) for key, name in named if name not in known]


def _unknown(key: str, name: str, known: Sequence[str], bundle: str) -> str:
    return (
        f"key {key}: expected a class of the bundle {bundle} ({', '.join(known)}), received {name!r}"
        f"{_meant(name, known)}"
    )


def _meant(name: str, known: Sequence[str]) -> str:
    lowered = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), lowered, n=1)
    return f"; did you mean {lowered[near[0]]}?" if near else ""


def require_known_classes(settings: Settings, bundles: Mapping[Path | None, Bundle], file: Path) -> None:
    """Raise SettingsError with every class in the settings that the bundles lack: such a limit or alarm never acts.

    So with a part that is to be found as a bundle finds it that finds none.
    """
    for name, recipe in settings.station_recipes.items():
        for key, view in recipe.views.items():
            part, bundle = view.inspect.part, bundles[view.bundle]
            if part is not None and part.find == "bundle" and not locates(bundle.manifest.preparing):
                where = f"recipes.{name}.views.{key}.inspect" if settings.recipes else "inspect"
                raise SettingsError(
                    f"{file}, key {where}.part.find: expected rectangle, circle or outline, for the bundle "
                    f"{bundle.manifest.name} finds no product; received bundle"
                )
            presence = settings.parts.presence
            looks = settings.parts.trigger == "presence" and presence.belt is None and presence.view in {None, key}
            if looks and not locates(bundle.manifest.preparing):
                raise SettingsError(
                    f"{file}, key parts.presence.belt: expected an empty belt, for the bundle {bundle.manifest.name} "
                    "finds no product, so every frame would show a part; received none. Make one with: "
                    f"{command('linewatch', 'learn-belt', file, key)}"
                )
    if unknown := unknown_classes(settings, bundles):
        raise SettingsError(f"{file}: {'. '.join(unknown)}. A limit, grade or alarm of another class never acts")


def load_bundles(settings: Settings) -> dict[Path | None, Bundle]:
    """Load each bundle that a recipe names, once, by its path. Raises BundleError."""
    paths = {view.bundle for recipe in settings.station_recipes.values() for view in recipe.views.values()}
    return {path: load_bundle(path) for path in sorted(path for path in paths if path is not None)}


def fingerprint(settings: Settings) -> str:
    """Return the SHA-256 of what the settings come to, defaults and absolute paths included, and no secrets."""
    told = json.dumps(settings.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(redacted(told).encode()).hexdigest()


def readable_secrets(settings: Settings, path: Path) -> str | None:
    """Say that every user of the device may read a password in the settings file; None where all is well."""
    sources = {
        f"cameras.{name}.source" if settings.cameras else "camera.source": str(camera.source)
        for name, camera in settings.station_cameras.items()
    }
    secrets = [
        *(["broker.password"] if settings.broker.password is not None else []),
        *(key for key, source in sources.items() if redacted(source) != source),
    ]
    if not secrets or not path.stat().st_mode & stat.S_IROTH:
        return None
    return (
        f"{path} holds a secret ({', '.join(secrets)}) and every user of this device may read it. "
        f"Run: chmod 0640 {path}, with the service's group"
    )


def effective_thresholds(inspect: InspectSettings, bundle: Bundle) -> tuple[float, ...]:
    """Return the probability per class, in id order: the view's own, else the bundle's."""
    own = inspect.thresholds
    return tuple(own.get(entry.name, entry.threshold) for entry in bundle.classes)


def require_bundle(settings: Settings, given: Path | None) -> Path:
    """Return the bundle's path from the command line or else the settings. Raises SettingsError without either."""
    path = settings.bundle if given is None else shipped_if_demo(given)
    if path is None:
        raise SettingsError("No bundle: expected the key `bundle` in the settings, or --bundle; received neither")
    return path


def shipped_if_demo(given: Path) -> Path:
    """Return the shipped bundle for `demo`, else what was given. Raises SettingsError where a folder is so called."""
    if given != Path(DEMO):
        return given
    if given.exists():
        raise SettingsError(
            f"--bundle {DEMO} means the shipped model, and there is {given.resolve()} too. Give the folder's whole path"
        )
    return SHIPPED_BUNDLE
