"""A station's health by one table of rules: ok, warning, error or unknown, each with its reason. Pure.

`/readyz` of the station judges its own `state/health` body by these rules. A dashboard judges the one that the broker
said. A value that a body lacks, or has in another form, is unknown, and never ok.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["ok", "warning", "error", "unknown"]
Subject = Literal["station", "camera", "engine", "broker", "outbox", "disk", "clock", "software"]

MANY_WAIT = 1000  # messages: more have found no broker, or no consumer, for a while
DISK_LOW_BYTES, DISK_LOW_SHARE = 2_000_000_000, 0.05
DISK_FULL_BYTES = 200_000_000
JUMP_TOLD_S = 3600.0  # a clock that jumped is told of for so long

# The English of each reason; a dashboard has it in other languages by the same code.
REASONS: Mapping[str, str] = {
    "ok": "",
    "not_told": "nothing was told of it",
    "stale": "its last word is {seconds} s old",
    "silent": "{detail}",
    "starting": "it is starting: {detail}",
    "offline": "it is offline: {detail}",
    "bypassed": "inspection is taken out, and no part is judged",
    "camera_starting": "no frame has come yet: {detail}",
    "camera_fault": "{fault}: {detail}",
    "frame_stale": "its last frame was {age_ms} ms old when it was judged; {max_age_ms} ms are allowed",
    "frame_unreadable": "its last frame could not be read: {detail}",
    "engine_hangs": "it does not answer",
    "engine_other": "the settings ask for {asked}, in use is {in_use}",
    "no_engine": "no engine is open",
    "broker_lost": "not connected: {detail}",
    "broker_trouble": "{detail}",
    "disk_refuses": "nothing can be written: {detail}",
    "dead_letters": "the broker refused {count} messages",
    "many_wait": "{count} messages wait",
    "disk_low": "{free_gb} GB of {size_gb} GB are free",
    "disk_full": "only {free_gb} GB of {size_gb} GB are free",
    "clock_unsynced": "it follows no reference",
    "clock_unknown": "the system does not tell whether it follows a reference",
    "clock_jumped": "it was set {seconds} s ago",
}
# The needs of a station: these must be known, and without an error, for it to be ready.
NEEDED: frozenset[Subject] = frozenset({"station", "camera", "engine", "outbox"})


@dataclass(frozen=True)
class Check:
    """The answer of one rule. `name`: of the camera or engine, else empty. `code`: of REASONS; `values`: its blanks."""

    subject: Subject
    level: Level
    code: str = "ok"
    name: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The reason in English; empty where all is well."""
        return REASONS[self.code].format(**self.values).rstrip(": ")

    def as_json(self) -> dict[str, Any]:
        """Return it in values that JSON holds."""
        about = {"check": self.subject} | ({"name": self.name} if self.name else {})
        return about | {"level": self.level, "code": self.code, "reason": self.reason}


def judged_station(status: str | None, detail: str = "", *, bypassed: bool = False) -> Check:
    """Judge what a station says of itself. `status`: starting, online, offline; None where it said nothing."""
    if status == "online":
        return Check("station", "error", "bypassed") if bypassed else Check("station", "ok")
    if status in {"starting", "offline"}:
        return Check("station", "error", status, values={"detail": detail})
    return Check("station", "unknown", "not_told")


def judged_health(body: object, age_s: float = 0.0, believed_s: float = 30.0) -> list[Check]:
    """Judge a `state/health` body. `age_s`: how old it is; one that is older than `believed_s` tells nothing."""
    if not isinstance(body, Mapping):
        return [_unknown(subject) for subject in ("camera", "engine", "broker", "outbox", "disk", "clock")]
    found = [
        *_cameras(body.get("cameras")),
        *_engines(body.get("engines")),
        _broker(_part(body, "broker")),
        _outbox(_part(body, "outbox")),
        _disk(_part(body, "disk")),
        _clock(_part(body, "clock")),
    ]
    if age_s <= believed_s:
        return found
    return [Check(each.subject, "unknown", "stale", each.name, {"seconds": round(age_s)}) for each in found]


def ready(checks: Sequence[Check]) -> bool:
    """Tell whether a station does its work: all that it needs is known, and nothing of it in error."""
    needed = [check for check in checks if check.subject in NEEDED]
    return all(check.level in {"ok", "warning"} for check in needed) and {each.subject for each in needed} == NEEDED


def worst(checks: Sequence[Check]) -> Level:
    """Return the gravest level among them; unknown goes before ok, and behind a warning."""
    order: tuple[Level, ...] = ("error", "warning", "unknown", "ok")
    return min((check.level for check in checks), key=order.index, default="unknown")


def _unknown(subject: Subject, name: str = "") -> Check:
    return Check(subject, "unknown", "not_told", name)


def _part(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = body.get(key)
    return part if isinstance(part, Mapping) else {}


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _cameras(cameras: object) -> Iterator[Check]:
    if not isinstance(cameras, Mapping) or not cameras:
        yield _unknown("camera")
        return
    for name, camera in cameras.items():
        yield _camera(str(name), camera) if isinstance(camera, Mapping) else _unknown("camera", str(name))


def _camera(name: str, camera: Mapping[str, Any]) -> Check:
    detail = _text(camera.get("detail"))
    age_ms, max_age_ms = _number(camera.get("age_ms")), _number(camera.get("max_age_ms"))
    fault = camera.get("fault", "")
    if fault:
        return Check("camera", "error", "camera_fault", name, {"fault": str(fault), "detail": detail})
    if camera.get("ready") is False:
        return Check("camera", "error", "camera_starting", name, {"detail": detail or camera.get("condition", "")})
    if fault is not None or camera.get("ready") is not True or max_age_ms is None:
        return _unknown("camera", name)
    if age_ms is not None and age_ms > max_age_ms:
        values = {"age_ms": round(age_ms), "max_age_ms": round(max_age_ms)}
        return Check("camera", "error", "frame_stale", name, values)
    if camera.get("condition") == "unreadable":
        return Check("camera", "warning", "frame_unreadable", name, {"detail": detail})
    return Check("camera", "ok", name=name)


def _engines(engines: object) -> Iterator[Check]:
    if not isinstance(engines, Sequence) or isinstance(engines, str):
        yield _unknown("engine")
        return
    if not engines:
        yield Check("engine", "error", "no_engine")
    for engine in engines:
        yield _engine(engine) if isinstance(engine, Mapping) else _unknown("engine")


def _engine(engine: Mapping[str, Any]) -> Check:
    name, asked, in_use = (_text(engine.get(key)) for key in ("model", "asked", "in_use"))
    if engine.get("hangs") is True:
        return Check("engine", "error", "engine_hangs", name)
    if engine.get("hangs") is not False or not in_use:
        return _unknown("engine", name)
    wanted = [word for word in asked.split() if word != "auto"]
    if any(word not in in_use.split() for word in wanted):
        return Check("engine", "warning", "engine_other", name, {"asked": asked, "in_use": in_use})
    return Check("engine", "ok", name=name)


def _broker(broker: Mapping[str, Any]) -> Check:
    trouble = _text(broker.get("trouble"))
    if broker.get("connected") is False:
        return Check("broker", "warning", "broker_lost", values={"detail": trouble})
    if broker.get("connected") is not True:
        return _unknown("broker")
    return (
        Check("broker", "warning", "broker_trouble", values={"detail": trouble}) if trouble else Check("broker", "ok")
    )


def _outbox(outbox: Mapping[str, Any]) -> Check:
    trouble, waiting, refused = outbox.get("trouble", ""), _number(outbox.get("pending")), outbox.get("dead_letters")
    if trouble:
        return Check("outbox", "error", "disk_refuses", values={"detail": str(trouble)})
    if trouble is not None or waiting is None or _number(refused) is None:
        return _unknown("outbox")
    if refused:
        return Check("outbox", "warning", "dead_letters", values={"count": refused})
    if waiting > MANY_WAIT:
        return Check("outbox", "warning", "many_wait", values={"count": round(waiting)})
    return Check("outbox", "ok")


def _disk(disk: Mapping[str, Any]) -> Check:
    free, size = _number(disk.get("free_bytes")), _number(disk.get("size_bytes"))
    if free is None or not size:
        return _unknown("disk")
    values = {"free_gb": f"{free / 1e9:.1f}", "size_gb": f"{size / 1e9:.1f}"}
    if free < DISK_FULL_BYTES:
        return Check("disk", "error", "disk_full", values=values)
    if free < DISK_LOW_BYTES or free < DISK_LOW_SHARE * size:
        return Check("disk", "warning", "disk_low", values=values)
    return Check("disk", "ok")


def _clock(clock: Mapping[str, Any]) -> Check:
    jumped_s = _number(clock.get("jumped_s"))
    if jumped_s is not None and jumped_s < JUMP_TOLD_S:
        return Check("clock", "warning", "clock_jumped", values={"seconds": round(jumped_s)})
    if clock.get("synced") is True:
        return Check("clock", "ok")
    if clock.get("synced") is False:
        return Check("clock", "warning", "clock_unsynced")
    return Check("clock", "unknown", "clock_unknown" if "synced" in clock else "not_told")
