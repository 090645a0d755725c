"""The settings of alarms: what each watches, when it raises and clears, and how it must be dealt with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from edge.alarms.states import Guard, traits_of
from edge.bundle import Name
from edge.records import CameraFault, EngineFault
from edge.yaml_settings import StrictModel, without_earlier_names

Priority = Literal["low", "medium", "high"]
Measure = Literal[
    "coverage",
    "count",
    "area_mm2",
    "length_mm",
    "ng",
    "no_read",
    "grade",
    "camera",
    "engine",
    "trigger",
    "queue_age_ms",
    "delivery",
    "station",
    "raises",
]

Trouble = Literal[
    "disk", "broker", "refused", "no_consumer", "set_aside", "overflow", "unwritable", "taken_over", "foreign"
]

# Faults of the inspection itself, see StationTroubles.
StationTrouble = Literal[
    "bypassed",
    "challenge_missed",
    "challenge_due",
    "recipe_failed",
    "reload_failed",
    "evidence_unkept",
    "model_drift",
    "output_lost",
    "output_late",
]

_DelayMs = Annotated[int, Field(ge=0, le=86_400_000)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

# Findings on the surface, by class and zone if wished; a camera that sees nothing suppresses all of them.
OF_SURFACE = frozenset({"coverage", "count", "area_mm2", "length_mm"})
OF_FRAMES = OF_SURFACE | {"ng", "no_read", "grade", "camera", "engine"}
OF_DELIVERY = frozenset({"queue_age_ms", "delivery"})
# Measures about what a frame comes from and goes through; they suppress what is seen on it.
OF_FAULTS = frozenset({"camera", "engine"})
# Measures that a part has as well as a frame; a camera's fault, or an engine's, is of frames alone.
OF_PARTS = OF_FRAMES - OF_FAULTS
# Measures that are 1 or 0 and need no limits.
_FLAGS = frozenset({"ng", "no_read", "grade", "camera", "engine", "trigger", "delivery", "station"})
# Measures that need the names of what they watch.
_NAMED = frozenset({"grade", "camera", "engine", "delivery", "station"})
# Alarms about the line itself. They are shown in a flood too: they may be its cause.
OF_LINE = frozenset({"no_read", "raises", "station", "trigger"}) | OF_FAULTS | OF_DELIVERY

DAY_S = 86_400
FLOOD_WITHIN_S = 600


class Frames(StrictModel):
    """N of M: how many of the last frames that could be read must agree."""

    at_least: Annotated[int, Field(ge=1, le=100)]
    of: Annotated[int, Field(ge=1, le=100)]

    @model_validator(mode="after")
    def _at_least_is_possible(self) -> Frames:
        if self.at_least > self.of:
            raise ValueError(f"expected at_least ≤ of = {self.of}, received {self.at_least}")
        return self


class AlarmRule(StrictModel):
    """One alarm: when it raises and clears, what the operator should do then, and what they may do with it.

    `measure` is one of these:

    - `coverage` (fraction of the region or zone, 0-1), `count` (defects), `area_mm2` (largest defect) and `length_mm`
      (longest defect). Each may be of one `class` and one `zone`.
    - `ng` and `no_read`: the frame's verdict; `grade`: one of `grades`; `camera`, `engine`: one of the faults in the
      key of that name. They need no limits.
    - `trigger` (it did what no part can do; over with the next part in order). It needs no limits.
    - `delivery` (one of the troubles in `delivery`, see DeliveryState) and `station` (one of the troubles in `station`,
      see StationTroubles). They need no limits.
    - `queue_age_ms` (for how long the oldest undelivered message has waited) and `raises` (alarms raised within
      `within_s`).

    Raises when the value has been ≥ `raise_at` for `on_delay_ms`. Clears when it has been < `clear_below` for
    `off_delay_ms`. `clear_below` is ≤ `raise_at`, its default; or it is `raise_at` - `deadband`. With `frames` at least
    N of the last M frames must agree, for either.

    `per`: what the value is of, a frame or a part; left out, a part where the station has parts. `frames` then counts
    parts. `cameras`: whose frames it is about; of frames, none named = each camera has an alarm of its own.
    """

    model_config = ConfigDict(populate_by_name=True)
    id: Name
    measure: Measure
    class_name: Annotated[Name | None, Field(alias="class")] = None
    zone: Name | None = None
    cameras: Annotated[tuple[Name, ...], Field(max_length=16)] = ()
    per: Literal["frame", "part"] | None = None
    grades: Annotated[tuple[Name, ...], Field(max_length=20)] = ()
    camera: Annotated[tuple[CameraFault, ...], Field(max_length=10)] = ()
    engine: Annotated[tuple[EngineFault, ...], Field(max_length=10)] = ()
    delivery: Annotated[tuple[Trouble, ...], Field(max_length=10)] = ()
    station: Annotated[tuple[StationTrouble, ...], Field(max_length=10)] = ()
    raise_at: _Positive | None = None
    clear_below: _Positive | None = None
    deadband: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    within_s: Annotated[int, Field(ge=1, le=DAY_S)] | None = None
    on_delay_ms: _DelayMs = 0
    off_delay_ms: _DelayMs = 0
    frames: Frames = Frames(at_least=1, of=1)
    priority: Priority = "medium"
    latch: bool = False
    needs_ack: bool = True
    re_alarm_ms: Annotated[int, Field(ge=1_000, le=7 * DAY_S * 1000)] | None = None
    max_shelve_s: Annotated[int, Field(ge=1, le=7 * DAY_S)] = 8 * 3600
    suppressed_by: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    out_of_service: bool = False
    text: Annotated[str, Field(min_length=1, max_length=500)]
    cause: Annotated[str, Field(max_length=500)] = ""
    consequence: Annotated[str, Field(max_length=500)] = ""

    @model_validator(mode="before")
    @classmethod
    def _no_earlier_names(cls, given: Any) -> Any:
        return without_earlier_names(given, {"severity": "priority"})

    @model_validator(mode="after")
    def _keys_fit_the_measure(self) -> AlarmRule:
        for key, fits in (
            ("class_name", OF_SURFACE),
            ("zone", OF_SURFACE),
            ("cameras", OF_FRAMES),
            ("per", OF_FRAMES),
            ("grades", {"grade"}),
            ("camera", {"camera"}),
            ("engine", {"engine"}),
            ("delivery", {"delivery"}),
            ("station", {"station"}),
            ("within_s", {"raises"}),
        ):
            if getattr(self, key) and self.measure not in fits:
                shown = "class" if key == "class_name" else key
                raise ValueError(f"expected no {shown} for the measure {self.measure}")
        if self.measure in _NAMED and not getattr(self, _named_by(self.measure)):
            raise ValueError(f"expected {_named_by(self.measure)} for the measure {self.measure}, received none")
        if self.measure in OF_FAULTS and self.per == "part":
            raise ValueError(
                f"expected per: frame for the measure {self.measure}, for a part has no such fault; received part"
            )
        if self.id in self.suppressed_by:
            raise ValueError("expected suppressed_by to name other alarms, received this one's own id")
        return self

    @model_validator(mode="after")
    def _limits_fit_the_measure(self) -> AlarmRule:
        if self.measure in _FLAGS:
            if (self.raise_at, self.clear_below, self.deadband) != (None, None, None):
                raise ValueError(f"expected neither raise_at, clear_below nor deadband for the measure {self.measure}")
            return self
        if self.raise_at is None:
            raise ValueError(f"expected raise_at for the measure {self.measure}, received none")
        if self.measure == "coverage" and self.raise_at > 1:
            raise ValueError(f"expected raise_at as a fraction, at most 1, received {self.raise_at}")
        if self.clear_below is not None and self.deadband is not None:
            raise ValueError("expected clear_below or deadband, received both")
        if self.clear_below is not None and self.clear_below > self.raise_at:
            raise ValueError(f"expected clear_below ≤ raise_at = {self.raise_at}, received {self.clear_below}")
        if self.deadband is not None and self.deadband >= self.raise_at:
            raise ValueError(f"expected deadband < raise_at = {self.raise_at}, received {self.deadband}")
        return self

    @property
    def raise_limit(self) -> float:
        """The value from which the alarm raises."""
        return 1.0 if self.raise_at is None else self.raise_at

    @property
    def clear_limit(self) -> float:
        """The value below which the alarm clears."""
        if self.deadband is not None:
            return self.raise_limit - self.deadband
        return self.raise_limit if self.clear_below is None else self.clear_below

    @cached_property
    def traits(self) -> frozenset[Guard]:
        """The traits of this rule that the table of states must know."""
        return traits_of(latch=self.latch, needs_ack=self.needs_ack)

    @property
    def needs_calibration(self) -> bool:
        """True where it watches millimetres."""
        return self.measure in {"area_mm2", "length_mm"}


def _named_by(measure: str) -> str:
    return "grades" if measure == "grade" else measure


CAMERA_ALARMS = (
    AlarmRule(
        id="camera-lost",
        measure="camera",
        camera=(CameraFault.LOST,),
        priority="high",
        text="The camera gives no frames: check its cable and power; stop shipping until frames are read",
    ),
    AlarmRule(
        id="camera-frozen",
        measure="camera",
        camera=(CameraFault.FROZEN,),
        priority="high",
        text="The camera repeats one picture: restart it; stop shipping until frames are read",
    ),
    AlarmRule(
        id="camera-blind",
        measure="camera",
        camera=(CameraFault.BLIND,),
        priority="high",
        text="The camera sees nothing: check its light and its lens; stop shipping until frames are read",
    ),
    AlarmRule(
        id="calibration-drifted",
        measure="camera",
        camera=(CameraFault.DRIFTED,),
        priority="high",
        text="Lengths come out wrong, for the camera or its lens moved: calibrate it again; stop shipping until then",
        cause="A camera that was pushed or refocused, another lens, parts that lie higher or lower than the target did",
        consequence="A length or an area in mm would be wrong, and with it each verdict by such a limit",
    ),
)
QUALITY_ALARMS = (
    AlarmRule(
        id="exposure",
        measure="camera",
        camera=(CameraFault.EXPOSURE,),
        priority="high",
        text="Pictures are too dark, too bright or clipped: check the light, the aperture and the exposure time",
        cause="A lamp that ages or is off, daylight, an exposure that was set anew, another surface of the parts",
        consequence="Frames are NO_READ: their parts are not judged",
    ),
    AlarmRule(
        id="glare",
        measure="camera",
        camera=(CameraFault.GLARE,),
        priority="high",
        text="Glare hides a part of the picture: turn the lamp or the part, or shade what shines into the camera",
        cause="A reflection of a lamp or of daylight, a part that lies tilted",
        consequence="Frames are NO_READ: a defect under the glare cannot be seen",
    ),
    AlarmRule(
        id="camera-moved",
        measure="camera",
        camera=(CameraFault.MOVED,),
        priority="high",
        text="The camera does not look where it looked: set it back and fasten it, or set it up anew: regions, "
        "calibration and linewatch learn-quality",
        cause="A bump, a loose screw, a camera that was cleaned or exchanged",
        consequence="Frames are NO_READ: regions, zones and millimetres do not hold any more",
    ),
    AlarmRule(
        id="motion-blur",
        measure="camera",
        camera=(CameraFault.MOTION_BLUR,),
        priority="high",
        text="Pictures are blurred by motion: shorten the exposure, add light, slow the belt or fasten the camera",
        cause="A faster belt, a longer exposure, vibration",
        consequence="Frames are NO_READ: fine defects would not be seen",
    ),
    AlarmRule(
        id="out-of-focus",
        measure="camera",
        camera=(CameraFault.OUT_OF_FOCUS,),
        priority="high",
        text="Pictures are out of focus: clean the lens, focus it again and fasten its ring; check the part's height",
        cause="Dirt or mist on the lens, a loose focus ring, parts of another height",
        consequence="Frames are NO_READ: fine defects would not be seen",
    ),
)
ENGINE_ALARMS = (
    AlarmRule(
        id="engine-hangs",
        measure="engine",
        engine=(EngineFault.HANGS,),
        priority="high",
        text="The engine that runs the model does not answer: restart the line; stop shipping until frames are read",
        cause="A hung driver or GPU, or a model whose loop does not end",
    ),
    AlarmRule(
        id="engine-fails",
        measure="engine",
        engine=(EngineFault.FAILS,),
        priority="high",
        text="The engine that runs the model fails: read the results' reasons; stop shipping until frames are read",
    ),
    AlarmRule(
        id="engine-answers-wrong",
        measure="engine",
        engine=(EngineFault.WRONG_ANSWER,),
        priority="high",
        text="The engine gives answers that no model may give: convert the bundle again; stop shipping until then",
    ),
    AlarmRule(
        id="engine-slow",
        measure="engine",
        engine=(EngineFault.SLOW,),
        priority="high",
        text="The model is too slow for this device, and frames grow too old: take a faster engine or a smaller region",
        cause="Another backend or precision, another program that computes here, or a device that is too hot",
    ),
)
DELIVERY_ALARMS = (
    AlarmRule(
        id="outbox-disk",
        measure="delivery",
        delivery=("disk",),
        priority="high",
        text="Results and alarms cannot be written to the device's disk and wait in memory: free some space on it",
    ),
    AlarmRule(
        id="outbox-replaced",
        measure="delivery",
        delivery=("set_aside",),
        priority="high",
        text="The store was corrupt, removed or replaced, and was begun anew: ask who did it, check the disk",
    ),
    AlarmRule(
        id="alarms-lost",
        measure="delivery",
        delivery=("overflow",),
        priority="high",
        text="Alarm messages were dropped for want of room: bring the broker back, and read the journal on the device",
    ),
    AlarmRule(
        id="messages-unwritable",
        measure="delivery",
        delivery=("unwritable",),
        priority="high",
        text="The store does not take a message of this line, which was set aside: read the log, and tell the maker",
    ),
    AlarmRule(
        id="broker-refuses",
        measure="delivery",
        delivery=("refused",),
        priority="high",
        text="The broker refuses messages of this line, which are kept: check its access list and its limits",
    ),
    AlarmRule(
        id="no-consumer",
        measure="delivery",
        delivery=("no_consumer",),
        text="Nobody takes the results or alarms of this line from the broker: start what should listen to them",
    ),
    AlarmRule(
        id="session-taken-over",
        measure="delivery",
        delivery=("taken_over",),
        priority="high",
        text="Another client uses this line's id at the broker, and each throws the other out: change its client_id",
    ),
    AlarmRule(
        id="foreign-messages",
        measure="delivery",
        delivery=("foreign",),
        priority="high",
        text="Somebody else writes on this line's own topics: find who; let the line alone write there (access list)",
    ),
)
STATION_ALARMS = (
    AlarmRule(
        id="bypass",
        measure="station",
        station=("bypassed",),
        priority="high",
        text="Inspection is taken out, and no part is judged: stop shipping, or check parts by hand, until it is back",
    ),
    AlarmRule(
        id="challenge-missed",
        measure="station",
        station=("challenge_missed",),
        priority="high",
        text="A known bad part was not NG: stop shipping, check what went out since the last challenge, and repeat it",
    ),
    AlarmRule(
        id="challenge-due",
        measure="station",
        station=("challenge_due",),
        text="This shift had no challenge: send the known bad parts through (linewatch challenge)",
    ),
    AlarmRule(
        id="recipe-failed",
        measure="station",
        station=("recipe_failed",),
        priority="high",
        text="A recipe cannot be loaded: read the reason, which names the bundle or engine; mend it, and change again",
    ),
    AlarmRule(
        id="evidence-unkept",
        measure="station",
        station=("evidence_unkept",),
        off_delay_ms=10_000,
        text="Pictures of rejects are not kept, and inspection goes on: free some space, or export what was judged",
        cause="A full disk, a budget full of judged parts that were not exported, or a disk that is too slow",
    ),
    AlarmRule(
        id="model-drift",
        measure="station",
        station=("model_drift",),
        text="Passed parts look other than those that were taught: check light, lens and camera; if they are good, "
        "teach them: linewatch-train teach",
        cause="A lamp that ages, dirt on the lens, wear of a tool, another batch of material",
        consequence="Soon good parts are flagged, or defects pass: the threshold fits the parts that were taught",
    ),
    AlarmRule(
        id="reload-failed",
        measure="station",
        station=("reload_failed",),
        priority="high",
        text="New models or settings were not taken, and the former ones judge: read the reason, mend it, and reload; "
        "until then the next start takes what is on the disk",
    ),
)
NO_READ_ALARM = AlarmRule(
    id="no-read",
    measure="no_read",
    priority="high",
    text="Frames cannot be inspected: read the reason, which names what to check; stop shipping until frames are read",
)
FLOOD_ALARM = AlarmRule(
    id="alarm-flood",
    measure="raises",
    within_s=FLOOD_WITHIN_S,
    raise_at=10,
    clear_below=5,
    needs_ack=False,
    priority="high",
    text="Too many alarms to be read one by one: look for their common cause; the journal has each of them",
)


OUTPUT_ALARMS = (
    AlarmRule(
        id="output-lost",
        measure="station",
        station=("output_lost",),
        priority="high",
        text="Signals do not reach the machine: check cable and PLC; sort out bad parts by hand until it is back",
        cause="A cable, a PLC that is off or in stop, another address, unit or register than the settings name",
    ),
    AlarmRule(
        id="output-late",
        measure="station",
        station=("output_late",),
        priority="high",
        off_delay_ms=10_000,
        text="A bad part may have passed the gate, for its pulse was late and was dropped: look for it behind the gate",
        cause="A delay that is shorter than the inspection takes, a slow network or PLC, a device that is too busy",
    ),
)
TRIGGER_ALARM = AlarmRule(
    id="trigger-fault",
    measure="trigger",
    off_delay_ms=10_000,
    text="The trigger does not fit the parts: read the reason; check the trigger's signal and parts.timeout_ms",
    cause="A bouncing light barrier, a part id that is sent twice, a part that is never closed",
)


def alarm_rules(own: Sequence[AlarmRule]) -> tuple[AlarmRule, ...]:
    """Add the built-in alarms that the settings do not define themselves. Those about the line itself come first."""
    defined = {rule.id for rule in own}
    built_in = [
        rule
        for rule in (*STATION_ALARMS, *CAMERA_ALARMS, *ENGINE_ALARMS, NO_READ_ALARM, *DELIVERY_ALARMS, FLOOD_ALARM)
        if rule.id not in defined
    ]
    return tuple(sorted([*built_in, *own], key=lambda rule: rule.measure not in OF_LINE))


def station_rules(
    own: Sequence[AlarmRule],
    cameras: Sequence[str],
    *,
    parts: bool,
    machine: bool = False,
    quality: Sequence[str] = (),
) -> tuple[AlarmRule, ...]:
    """Return the rules of a station: each says whether it is of frames or of parts, and of which cameras.

    `cameras`: the station's, by name. `parts`: whether the station has parts; `machine`: whether it has signals;
    `quality`: the cameras whose pictures' quality is looked at. With several cameras, a rule of frames becomes one rule
    for each camera, called `<id>-<camera>`. So a good camera never ends the alarm of a bad one. A rule that names one
    camera keeps its id.
    """
    defined = {rule.id for rule in own}
    rules = alarm_rules(own)
    if parts and TRIGGER_ALARM.id not in defined:
        rules = (TRIGGER_ALARM, *rules)
    if machine:
        rules = (*(rule for rule in OUTPUT_ALARMS if rule.id not in defined), *rules)
    of_quality = [rule.model_copy(update={"cameras": tuple(quality)}) for rule in QUALITY_ALARMS if quality]
    rules = (*(rule for rule in of_quality if rule.id not in defined), *rules)
    became = {rule.id: _of_station(rule, cameras, parts=parts) for rule in rules}
    return tuple(_renamed(rule, became) for rules in became.values() for rule in rules)


def _of_station(rule: AlarmRule, cameras: Sequence[str], *, parts: bool) -> list[AlarmRule]:
    if rule.measure not in OF_FRAMES:
        return [rule]
    if rule.measure in OF_PARTS and (rule.per or ("part" if parts else "frame")) == "part":
        return [rule.model_copy(update={"per": "part"})]
    concerned = [name for name in cameras if name in rule.cameras or not rule.cameras]
    if len(concerned) == 1:
        return [rule.model_copy(update={"per": "frame", "cameras": tuple(concerned)})]
    return [
        rule.model_copy(
            update={"id": f"{rule.id}-{name}", "per": "frame", "cameras": (name,), "text": f"{name}: {rule.text}"}
        )
        for name in concerned
    ]


def _renamed(rule: AlarmRule, became: Mapping[str, Sequence[AlarmRule]]) -> AlarmRule:
    """Let `suppressed_by` name what rules have become: of one for each camera, that of the same camera."""
    by: list[str] = []
    for name in rule.suppressed_by:
        others = became.get(name, ())
        by += [other.id for other in others if _of_one_camera(rule, other)] or [other.id for other in others]
    return rule.model_copy(update={"suppressed_by": tuple(dict.fromkeys(by))}) if by else rule


def _of_one_camera(rule: AlarmRule, other: AlarmRule) -> bool:
    return not rule.cameras or not other.cameras or bool(set(rule.cameras) & set(other.cameras))


def suppressors(rule: AlarmRule, rules: Sequence[AlarmRule]) -> tuple[str, ...]:
    """Return the ids of the alarms that suppress `rule`: those it names, and a camera's or engine's of all they see.

    A bypassed inspection reads nothing, and `bypass` says so in place of the alarms about that.

    An alarm of parts is suppressed by no camera where the station has several: the others still see the part.
    """
    seen = rule.measure in OF_PARTS
    several = len({name for other in rules if other.measure == "camera" for name in other.cameras}) > 1
    cameras = [
        other.id
        for other in rules
        if other.measure in OF_FAULTS and other.id != rule.id and seen and _of_one_camera(rule, other)
    ]
    if rule.per == "part" and several and len(rule.cameras) != 1:
        cameras = []
    bypass = [other.id for other in rules if rule.measure == "no_read" and "bypassed" in other.station]
    return tuple(dict.fromkeys([*cameras, *bypass, *rule.suppressed_by]))
