"""Records → topic, payload, QoS, retain, expiry. The one place that rounds and that knows the versions of schemas.

Every payload is an envelope (schemas/envelope.json) whose `body` keeps schemas/<kind>.json. docs/mqtt.md describes both
for those who subscribe.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

import edge
from edge.alarms import AlarmRule, Moment
from edge.commands.requests import COMMANDS, Answer
from edge.printable import as_json, encodable
from edge.records import AlarmEvent, AlarmStanding, Defect, FrameResult, Grade, JournalEntry, Measurement, Message
from edge.records.health import EngineNow, ModelDriftNow
from edge.records.models import ModelIdentity
from edge.records.parts import PartResult, ViewResult

ENVELOPE = "linewatch/envelope/1"
LISTED_DEFECTS = 50  # keeps a result below 20 kB, the smallest packet limit among brokers
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


@dataclass(frozen=True)
class _Kind:
    """The way of one kind of message; `topic` is below the line's root."""

    topic: str
    qos: int = 1
    retain: bool = True
    expiry_s: int | None = None
    urgent: bool = False
    durable: bool = False


KINDS: Mapping[str, _Kind] = {
    "status": _Kind("status"),
    "birth": _Kind("birth"),
    "recipe": _Kind("state/recipe"),
    "reload": _Kind("state/reload"),
    "health": _Kind("state/health"),
    "counters": _Kind("state/counters"),
    "signals": _Kind("state/signals", qos=0, retain=False, expiry_s=10),
    "result": _Kind("event/result", retain=False, expiry_s=86_400, durable=True),
    "part": _Kind("event/result", retain=False, expiry_s=86_400, durable=True),
    "alarm": _Kind("event/alarm", retain=False, urgent=True, durable=True),
    "alarm-state": _Kind("alarm/{alarm}", urgent=True, durable=True),
    "seq": _Kind("seq", qos=0),
    "picture": _Kind("image/last", qos=0, retain=False, expiry_s=10),
    # below no root: where who asked wants it
    "answer": _Kind("{response_topic}", retain=False, expiry_s=60),
}
PICTURE = "image/jpeg"
# Of a body that has changed since its first version.
_VERSIONS: Mapping[str, int] = {"counters": 3, "health": 5, "birth": 2, "recipe": 3, "result": 3, "part": 2}


def boot_id() -> str:
    """Return the kernel's id of this boot, or a fresh one where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid4())


@dataclass(frozen=True)
class Identity:
    """The speaker: five levels of every topic, then names. `epoch` is the outbox's."""

    enterprise: str
    site: str
    area: str
    line: str
    cell: str
    device: str
    recipe: str
    model: ModelIdentity
    epoch: str
    boot_id: str = field(default_factory=boot_id)

    @property
    def root(self) -> str:
        """Tell what every topic of this line begins with."""
        return f"{self.enterprise}/{self.site}/{self.area}/{self.line}/{self.cell}/inspect/v1"


@dataclass(frozen=True)
class InForce:
    """A recipe, and the model of each of its views. `finds`: how small a defect each finds, where it was measured."""

    recipe: str
    models: Mapping[str, ModelIdentity]
    finds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def model(self) -> ModelIdentity | None:
        """The model, where all views are judged by one; else None."""
        return next(iter(self.models.values())) if len(set(self.models.values())) == 1 else None


@dataclass(frozen=True)
class Stamp:
    """One moment on both clocks. `synced`: whether the wall clock follows a reference; None where that is unknown."""

    wall: datetime
    mono_ns: int
    synced: bool | None


def stamp_now() -> Stamp:
    """Read both clocks, and from the kernel whether the wall clock is synchronised."""
    return Stamp(datetime.now(timezone.utc), time.monotonic_ns(), _clock_synced())


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None)


def _clock_synced() -> bool | None:
    try:
        # struct timex is 208 bytes on 64-bit Linux; all zeros asks for the state and sets nothing.
        state = _libc().adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else bool(state != _TIME_ERROR)


@dataclass(frozen=True)
class CameraHealth:
    """The state of one camera now. `condition`: `running` or why no frame comes; `detail` in words.

    `age_ms`: of its last frame, from capture to decision; None without one. `max_age_ms`: from which on a frame is
    NO_READ. `last_frame_s`: how long ago the last frame came, None before the first. `ready`: whether a frame has come,
    or the camera waits for its trigger. `fault`: why it is not believed (CameraFault), None = nothing.
    `missed`, `unreadable`, `differences`: see CameraFacts. `model_drift`: None where no model of good parts judges.
    """

    condition: str
    detail: str
    frames_per_s: float
    age_ms: float | None
    dropped: int
    max_age_ms: int = 1000
    last_frame_s: float | None = None
    ready: bool = True
    fault: str | None = None
    missed: int = 0
    unreadable: int = 0
    differences: Sequence[str] = ()
    model_drift: ModelDriftNow | None = None


@dataclass(frozen=True)
class DeviceHealth:
    """The device: bytes of the store's disk, and the clock on the wall; None where a thing is unknown.

    `clock_jumps`: since the start; `jumped_s`: how long ago the last one was.
    """

    free_bytes: int | None = None
    size_bytes: int | None = None
    clock_synced: bool | None = None
    clock_jumps: int = 0
    jumped_s: float | None = None


@dataclass(frozen=True)
class Health:
    """The state of the line now. Troubles are for people, None = none."""

    cameras: Mapping[str, CameraHealth]
    connected: bool
    outbox_pending: int
    outbox_dead_letters: int
    outbox_trouble: str | None
    broker_trouble: str | None
    engines: Sequence[EngineNow] = ()
    device: DeviceHealth = DeviceHealth()


@dataclass(frozen=True)
class Counters:
    """The counts since the process started. `ok`, `ng`, `no_read`: of parts where there are any, else of frames.

    `frames_dropped` were replaced by newer ones before inspection.

    `alarms_chattering`: how often an alarm began to chatter. `commands_refused`: unread, since too many came, or late;
    `answers_withheld`: wanted where the line does not publish. The next six are the sender's (SenderCounts). `grades`:
    frames by grade; `value_factor_mean`: of those, what they are worth on average, None without any.
    `frames_without_part`: judged while no part was open. `ng_without_part`: of them NG. `trigger_faults`: deeds of the
    trigger that no part can do. `challenged`: parts of challenges, which are in no other count.
    """

    frames: int
    parts: int
    ok: int
    ng: int
    no_read: int
    frames_dropped: int
    alarms_raised: int
    alarms_cleared: int
    acknowledged: int
    dead_letters: int
    results_dropped: int
    alarms_chattering: int = 0
    commands_refused: int = 0
    answers_withheld: int = 0
    answers_dropped: int = 0
    announcements_dropped: int = 0
    resent: int = 0
    connections_lost: int = 0
    taken_over: int = 0
    foreign: int = 0
    grades: Mapping[str, int] = field(default_factory=dict)
    value_factor_mean: float | None = None
    frames_without_part: int = 0
    ng_without_part: int = 0
    trigger_faults: int = 0
    challenged: int = 0
    recipe_changes: int = 0


@dataclass(frozen=True)
class DiffReport:
    """The comparison of two models on the same parts. `verdicts`: those that differ, as `former`, `new` and `count`.

    `classes`: by name the defects `gained` and `lost`. `slow`: of `frames`, those that took too long.
    """

    compared: int
    skipped: int
    verdicts: Sequence[Mapping[str, str | int]]
    classes: Mapping[str, Mapping[str, int]]
    frames: int
    slow: int


@dataclass(frozen=True)
class ReloadReport:
    """The progress of a change of models and settings. `former`, `new`: the model of each view of the recipe.

    `stage`: compared = the shadow run is over; switched = the new is in force; done = it stays; else the former judges.
    `settings_sha256`: of what is new. `unit`: what is compared, parts or frames.
    """

    stage: Literal["compared", "switched", "done", "rolled_back", "failed", "cancelled"]
    reason: str
    recipe: str
    former: Mapping[str, ModelIdentity]
    new: Mapping[str, ModelIdentity]
    settings_sha256: str | None
    unit: Literal["part", "frame"]
    shadow: DiffReport | None
    watch: DiffReport | None
    user: str
    comment: str


def health_body(health: Health) -> dict[str, Any]:
    """Return the body of `state/health`."""
    device = health.device
    return {
        "schema": _schema("health"),
        "cameras": {
            name: {
                "condition": camera.condition,
                "detail": camera.detail,
                "frames_per_s": _rounded(camera.frames_per_s, 2),
                "age_ms": _rounded(camera.age_ms, 1),
                "dropped": camera.dropped,
                "max_age_ms": camera.max_age_ms,
                "last_frame_s": _rounded(camera.last_frame_s, 1),
                "ready": camera.ready,
                "fault": camera.fault,
                "missed": camera.missed,
                "unreadable": camera.unreadable,
                "differences": list(camera.differences),
                "model_drift": _drift_body(camera.model_drift),
            }
            for name, camera in health.cameras.items()
        },
        "engines": [asdict(engine) for engine in health.engines],
        "broker": {"connected": health.connected, "trouble": health.broker_trouble},
        "outbox": {
            "pending": health.outbox_pending,
            "dead_letters": health.outbox_dead_letters,
            "trouble": health.outbox_trouble,
        },
        "disk": {"free_bytes": device.free_bytes, "size_bytes": device.size_bytes},
        "clock": {
            "synced": device.clock_synced,
            "jumps": device.clock_jumps,
            "jumped_s": _rounded(device.jumped_s, 1),
        },
    }


def result_body(inspection: FrameResult, model: ModelIdentity, evidence_id: str | None = None) -> dict[str, Any]:
    """Return the body of one `event/result`, which is also one line of a replay's events.

    Only `captured_at` and `age_ms` depend on when it was run. On NO_READ everything measured is None. Defects are
    listed from the largest down, at most LISTED_DEFECTS; `defects_omitted` counts the rest.
    """
    measurement = inspection.measurement
    return {
        "schema": _schema("result"),
        "camera": inspection.camera,
        "frame": inspection.frame,
        "name": inspection.name or None,
        "part_id": None,
        "captured_at": _iso(inspection.captured_at),
        "age_ms": _rounded(inspection.age_ms, 1),
        "verdict": inspection.judgement.verdict.value,
        "reason": inspection.judgement.reason,
        "grade": None if inspection.grade is None else asdict(inspection.grade),
        **(_unmeasured() if measurement is None else _measured(measurement)),
        "model": asdict(model),
        "evidence_id": evidence_id,
    }


def part_body(
    part: PartResult, *, opened_at: datetime | None, challenge: bool = False, evidence_id: str | None = None
) -> dict[str, Any]:
    """Return the body of one `event/result` about a part, which is also one line of a replay's events.

    `opened_at`: UTC, None where nothing tells. A view shows its worst readable frame; without one all that is measured
    of it is None. `challenge`: a known bad part, which is in no counter.
    """
    lasted = timedelta(microseconds=(part.closed_ns - part.opened_ns) / 1000)
    return {
        "schema": _schema("part"),
        "part_id": part.part_id,
        "part_number": part.number,
        "repeated_id": part.repeated,
        "recipe": part.recipe,
        "opened_at": None if opened_at is None else _iso(opened_at),
        "closed_at": None if opened_at is None else _iso(opened_at + lasted),
        "closing": part.closing.value,
        "verdict": part.judgement.verdict.value,
        "reason": part.judgement.reason,
        "grade": None if part.grade is None else asdict(part.grade),
        "challenge": challenge,
        "views": {name: _view(seen, len(part.views)) for name, seen in part.views.items()},
        "missing_views": list(part.missing_views),
        "evidence_id": evidence_id,
    }


def _diff(diff: DiffReport | None) -> dict[str, Any] | None:
    return None if diff is None else asdict(diff)


def _view(seen: ViewResult, views: int) -> dict[str, Any]:
    shown = seen.worst or seen.unread
    measurement = None if seen.worst is None else seen.worst.measurement
    listed = LISTED_DEFECTS // views
    return {
        "frames": seen.frames,
        "readable": seen.readable,
        "ng": seen.ng,
        "dropped": seen.lost,
        "frame": None if shown is None else shown.frame,
        "name": None if shown is None else shown.name or None,
        "captured_at": None if shown is None else _iso(shown.captured_at),
        "age_ms": None if shown is None else _rounded(shown.age_ms, 1),
        "reason": None if shown is None else shown.judgement.reason,
        **(_unmeasured() if measurement is None else _measured(measurement, listed)),
        "model": None if shown is None or shown.model is None else asdict(shown.model),
    }


def _unmeasured() -> dict[str, Any]:
    return dict.fromkeys(("coverage", "coverage_mm2", "classes", "defects", "defects_omitted"))


def _measured(measurement: Measurement, listed: int = LISTED_DEFECTS) -> dict[str, Any]:
    largest = sorted(measurement.defects, key=lambda defect: -defect.area_px)
    return {
        "coverage": _rounded(measurement.coverage, 8),
        "coverage_mm2": _rounded(measurement.coverage_mm2, 4),
        "classes": {
            name: {"coverage": _rounded(seen.coverage, 8), "count": int(seen.count)}
            for name, seen in measurement.classes.items()
        },
        "defects": [_defect(defect) for defect in largest[:listed]],
        "defects_omitted": max(0, len(largest) - listed),
    }


def _defect(defect: Defect) -> dict[str, Any]:
    return {
        "class": defect.class_name,
        "score": _rounded(defect.score, 3),
        "area_px": _rounded(defect.area_px, 1),
        "area_mm2": _rounded(defect.area_mm2, 4),
        "u_area_mm2": _rounded(defect.u_area_mm2, 4),
        "length_mm": _rounded(defect.length_mm, 3),
        "u_mm": _rounded(defect.u_mm, 3),
        "width_mm": _rounded(defect.width_mm, 3),
        "width_max_mm": _rounded(defect.width_max_mm, 3),
        "contrast": _rounded(defect.contrast, 1),
        "orientation_deg": None if defect.orientation_deg is None else round(defect.orientation_deg, 1) % 180,
        "edge_distance_mm": _rounded(defect.edge_distance_mm, 3),
        "measured_by": "grey" if defect.by_grey else "mask",
        "pieces": defect.pieces,
        "bbox": [int(side) for side in defect.bbox],
    }


class MessageWriter:
    """Builds every message of one station. `seq` numbers events only: a gap in what a consumer got is a lost event.

    `in_force`: the recipe that new parts are judged by, and the model of each of its views. `evidence_id`: names the
    pictures of a result by its `seq` and its part's id; None where the station keeps none.
    """

    def __init__(self, identity: Identity, stamp: Callable[[], Stamp] = stamp_now) -> None:
        self.identity = identity
        self._stamp = stamp
        self.in_force = InForce(identity.recipe, {})
        self.evidence_id: Callable[[int, str], str] | None = None

    def result(self, inspection: FrameResult, seq: int) -> tuple[Message, dict[str, Any]]:
        """Return the message of one inspection, and its body for those who write files."""
        model = inspection.model or self.in_force.model or self.identity.model
        evidence_id = self._evidence_id(seq, f"{inspection.camera}:{inspection.frame}")
        body = result_body(inspection, model, evidence_id)
        return self._message("result", body, seq=seq, by=self.judged_by(inspection)), body

    def judged_by(self, result: FrameResult | PartResult) -> InForce:
        """Return the recipe that a result was judged by, which may no longer be in force, and its models."""
        recipe = result.recipe or self.in_force.recipe
        if isinstance(result, PartResult):
            return InForce(recipe, result.models if result.recipe is not None else self.in_force.models)
        if result.recipe is not None and result.model is None:
            return InForce(recipe, {})
        return InForce(recipe, {result.view: result.model or self.in_force.model or self.identity.model})

    def part(
        self, part: PartResult, seq: int, *, live: bool, challenge: bool = False
    ) -> tuple[Message, dict[str, Any]]:
        """Return the message of one part, and its body for those who write files. `live`: times are of our clock."""
        body = part_body(
            part,
            opened_at=self._opened_at(part, live=live),
            challenge=challenge,
            evidence_id=self._evidence_id(seq, part.part_id),
        )
        return self._message("part", body, seq=seq, by=self.judged_by(part)), body

    def _evidence_id(self, seq: int, part_id: str) -> str | None:
        return None if self.evidence_id is None else self.evidence_id(seq, part_id)

    def _opened_at(self, part: PartResult, *, live: bool) -> datetime | None:
        """Return when a part was opened, UTC: by a frame of it, which has both clocks, or else by the station's."""
        for seen in part.views.values():
            frame = seen.worst or seen.unread
            if frame is not None:
                return frame.captured_at + timedelta(microseconds=(part.opened_ns - frame.captured_ns) / 1000)
        if not live:
            return None
        stamp = self._stamp()
        return stamp.wall - timedelta(microseconds=(stamp.mono_ns - part.opened_ns) / 1000)

    def alarm(self, event: AlarmEvent, seq: int, by: InForce | None = None) -> Message:
        """Return a transition's entry in the journal. Put it together with the alarm's state and record.

        `by`: what judged the result that brought it; None = what is in force.
        """
        return self._message("alarm", {"schema": _schema("alarm"), **vars(event)}, seq=seq, by=by)

    def alarm_state(
        self, alarm: str, standing: AlarmStanding | None, seq: int | None, by: InForce | None = None
    ) -> Message:
        """Return the retained state of an alarm, an empty one where it is normal. `seq`: of its event, if any."""
        if standing is None:
            return self._message("alarm-state", None, alarm=alarm)
        shelf = standing.shelf
        shelved = shelf and {
            "kind": shelf.kind,
            "until": _iso(self._stamp().wall + timedelta(microseconds=shelf.left_ns / 1000)),
            "user": shelf.user,
            "comment": shelf.comment,
        }
        body = {"schema": _schema("alarm-state"), **vars(standing), "shelf": shelved}
        return self._message("alarm-state", body, seq=seq, alarm=alarm, by=by)

    def journal_entry(
        self,
        kind: str,
        *,
        alarm: str = "",
        occurrence_id: str | None = None,
        user: str = "",
        comment: str = "",
        detail: str = "",
        account: str = "",
    ) -> JournalEntry:
        """Return one row of the journal on the device, as of now on both clocks."""
        stamp = self._stamp()
        said = (encodable(text) for text in (user, comment, detail, account))
        return JournalEntry(stamp.wall, self.identity.boot_id, stamp.mono_ns, kind, alarm, occurrence_id, *said)

    def moment(self, now_ns: int) -> Moment:
        """Return the wall time that goes with a moment of the line's clock."""
        return Moment(now_ns, self._stamp().wall, self.identity.boot_id)

    def status(self, status: Literal["starting", "online", "offline"], reason: str) -> Message:
        """Return the retained status of the line; `reason` is for people."""
        return self._message("status", {"schema": _schema("status"), "status": status, "reason": reason})

    def will(self) -> Message:
        """Return what the broker shall publish if the connection ends without a farewell; its time is of now."""
        return self.status("offline", "the connection was lost")

    def birth(
        self,
        cameras: Sequence[str],
        classes: Sequence[str],
        alarms: Sequence[AlarmRule],
        operators: Sequence[str] = (),
        grades: Sequence[Grade] = (),
        *,
        recipes: Sequence[str] = (),
    ) -> Message:
        """Return what a consumer needs to know of this station to show it without asking."""
        body = {
            "schema": _schema("birth"),
            "software": {"linewatch": edge.__version__, "python": platform.python_version()},
            "models": {name: asdict(model) for name, model in self.in_force.models.items()},
            "recipes": list(recipes) or [self.in_force.recipe],
            "cameras": list(cameras),
            "classes": list(classes),
            "alarms": [rule.model_dump(mode="json", by_alias=True) for rule in alarms],
            "operators": list(operators),
            "grades": [asdict(grade) for grade in grades],
            "commands": list(COMMANDS),
            "schemas": {kind: _schema(kind) for kind in KINDS if kind != "picture"},
        }
        return self._message("birth", body)

    def recipe(self) -> Message:
        """Return which recipe is in force, which model judges each of its views, and how small a defect that finds."""
        models = {name: asdict(model) for name, model in self.in_force.models.items()}
        finds = {name: list(told) for name, told in self.in_force.finds.items() if told}
        body = {"schema": _schema("recipe"), "name": self.in_force.recipe, "models": models, "finds": finds}
        return self._message("recipe", body)

    def reload(self, report: ReloadReport) -> Message:
        """Return how far a change of models and settings has come."""
        shadow, watch = (_diff(one) for one in (report.shadow, report.watch))
        body = {"schema": _schema("reload"), **vars(report), "shadow": shadow, "watch": watch}
        body |= {name: {view: asdict(model) for view, model in body[name].items()} for name in ("former", "new")}
        return self._message("reload", body)

    def health(self, health: Health) -> Message:
        """Return how the line is."""
        return self._message("health", health_body(health))

    def counters(self, counters: Counters) -> Message:
        """Return what was counted since the process started."""
        return self._message("counters", {"schema": _schema("counters"), **asdict(counters)})

    def signals(self, told: Mapping[str, Any]) -> Message:
        """Return how the signals between station and machine stand just now."""
        return self._message("signals", {"schema": _schema("signals"), **told})

    def sequence(self, committed: int) -> Message:
        """Return the highest committed event number, by which a consumer sees a lost tail."""
        return self._message("seq", {"schema": _schema("seq"), "committed": committed})

    def picture(self, jpeg: bytes) -> Message:
        """Return the picture of the last frame; its payload is the JPEG itself, without an envelope."""
        way = KINDS["picture"]
        return Message(
            id=str(uuid.uuid4()),
            kind="picture",
            topic=f"{self.identity.root}/{way.topic}",
            payload=jpeg,
            qos=way.qos,
            expiry_s=way.expiry_s,
            durable=way.durable,
            content_type=PICTURE,
        )

    def answer(self, answer: Answer) -> Message:
        """Return what is said to who gave a command, at the place that they named."""
        body = {
            "schema": _schema("answer"),
            "command": answer.command,
            "outcome": answer.outcome,
            "detail": answer.detail,
        }
        written = self._message("answer", body)
        return replace(written, topic=answer.response_topic, correlation=answer.correlation)

    def _sha256(self, by: InForce) -> str | None:
        """Return the hash of the one model, and of the first recipe's before it is loaded.

        None of several, or of none.
        """
        model = by.model if by.models or self.in_force.models else self.identity.model
        return None if model is None else model.sha256

    def _message(
        self,
        kind: str,
        body: dict[str, Any] | None,
        *,
        seq: int | None = None,
        alarm: str = "",
        by: InForce | None = None,
    ) -> Message:
        way = KINDS[kind]
        identifier = str(uuid.uuid4())
        return Message(
            id=identifier,
            kind=kind,
            topic=f"{self.identity.root}/{way.topic.format(alarm=alarm, response_topic='')}",
            payload=b"" if body is None else self._envelope(identifier, seq, body, by or self.in_force),
            qos=way.qos,
            retain=way.retain,
            expiry_s=way.expiry_s,
            urgent=way.urgent,
            durable=way.durable,
        )

    def _envelope(self, identifier: str, seq: int | None, body: dict[str, Any], by: InForce) -> bytes:
        identity, stamp = self.identity, self._stamp()
        envelope = {
            "schema": ENVELOPE,
            "id": identifier,
            "seq": seq,
            "epoch": identity.epoch,
            "boot_id": identity.boot_id,
            "ts": _iso(stamp.wall),
            "mono_ns": stamp.mono_ns,
            "clock_synced": stamp.synced,
            "device": identity.device,
            "recipe": by.recipe,
            "model_sha256": self._sha256(by),
            "body": body,
        }
        return as_json(envelope).encode()


def _schema(kind: str) -> str:
    return f"linewatch/{kind}/{_VERSIONS.get(kind, 1)}"


def _iso(moment: datetime) -> str:
    """Write a time as UTC to the millisecond: 2026-01-31T12:00:00.000Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _drift_body(drift: ModelDriftNow | None) -> dict[str, Any] | None:
    if drift is None:
        return None
    scores = {key: _rounded(getattr(drift, key), 3) for key in ("median", "low", "high")}
    return {**scores, "scores": drift.scores, "drifted": drift.drifted}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(float(value), digits)
