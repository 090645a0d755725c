"""A station's health, as the rows of the screen Health: each check with its figures. Pure: the broker's word alone.

The rules are those by which the station itself answers `/readyz` (`edge/monitoring/judging.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edge.monitoring.judging import Check, Level, judged_health, judged_station, worst

_BELIEVED_S = 30.0
_ROWS_AT_MOST = 64  # a station has 16 cameras and some engines; more is forged


@dataclass(frozen=True)
class Figure:
    """One figure of a row: `key` of its words, and what stands in them."""

    key: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One check, with the figures that belong to it."""

    check: Check
    figures: tuple[Figure, ...] = ()


def rows_of(picture: Mapping[str, Any], health: Mapping[str, Any], birth: Mapping[str, Any]) -> list[Row]:
    """Return the rows of a station. `picture`: how it stands (Watched); `health`, `birth`: what it said of itself."""
    bypassed = any(alarm.get("alarm") == "bypass" and alarm.get("state") != "normal" for alarm in picture["alarms"])
    state = picture["state"] if picture["state"] in {"online", "starting", "offline"} else None
    station = judged_station(state, str(picture["why"] or ""), bypassed=bypassed)
    if picture["state"] in {"stale", "no_broker", "waiting"}:
        station = Check("station", "unknown", "silent", values={"detail": str(picture["why"] or "")})
    checks = [station, *_believed(picture, health)]
    found = [Row(check, tuple(_figures(check, health))) for check in checks[:_ROWS_AT_MOST]]
    return [*found, _version(birth)]


def level_of(rows: Sequence[Row]) -> Level:
    """Return the gravest level of a station."""
    return worst([row.check for row in rows if row.check.subject != "software"])


def _believed(picture: Mapping[str, Any], health: Mapping[str, Any]) -> list[Check]:
    age_s = picture.get("health_s_ago")
    checks = judged_health(health, age_s if isinstance(age_s, int | float) else 0.0, _BELIEVED_S)
    if picture["believable"] and isinstance(age_s, int | float):
        return checks
    # a message only retained may be of another day
    return [replace(check, level="unknown", code="not_told", values={}) for check in checks]


def _version(birth: Mapping[str, Any]) -> Row:
    software = birth.get("software")
    told = software if isinstance(software, Mapping) else {}
    names = [f"{name} {version}" for name, version in list(told.items())[:8] if isinstance(version, str)]
    check = Check("software", "ok" if names else "unknown", "ok" if names else "not_told")
    return Row(check, (Figure("version", {"detail": ", ".join(names)[:200]}),) if names else ())


def _figures(check: Check, health: Mapping[str, Any]) -> list[Figure]:
    """Return what is to be read beside a check; a figure that was not told is left out."""
    part = _part_of(check, health)
    if check.subject == "camera":
        age_ms = _number(part, "age_ms")
        told = [
            ("fps", {"n": _shown(_number(part, "frames_per_s"), ".1f")}),
            ("last_frame", {"s": _shown(_number(part, "last_frame_s"), ".1f")}),
            ("took", {"ms": _shown(age_ms, ".0f"), "limit": _shown(_number(part, "max_age_ms"), ".0f")}),
            ("dropped", {"n": _shown(_number(part, "dropped"), ",.0f")}),
        ]
    elif check.subject == "engine":
        batches, tiles, full = (_number(part, key) for key in ("batches", "tiles", "full"))
        each = None if not batches or tiles is None else tiles / batches
        told = [
            ("asked", {"engine": _text(part, "asked")}),
            ("in_use", {"engine": _text(part, "in_use")}),
            ("batches", {"n": _shown(batches, ",.0f"), "each": _shown(each, ".1f"), "full": _shown(full, ",.0f")}),
        ]
    elif check.subject == "outbox":
        told = [
            ("pending", {"n": _shown(_number(part, "pending"), ",.0f")}),
            ("dead_letters", {"n": _shown(_number(part, "dead_letters"), ",.0f")}),
        ]
    elif check.subject == "disk":
        free, size = (_number(part, key) for key in ("free_bytes", "size_bytes"))
        told = [("free", {"free": _shown(free and free / 1e9, ".1f"), "size": _shown(size and size / 1e9, ".1f")})]
    elif check.subject == "clock":
        told = [("jumps", {"n": _shown(_number(part, "jumps"), ",.0f")})]
    else:
        told = []
    return [Figure(key, values) for key, values in told if all(value is not None for value in values.values())]


def _part_of(check: Check, health: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what of the body a check is about."""
    found: Any = health.get({"camera": "cameras", "engine": "engines"}.get(check.subject, check.subject))
    if check.subject == "camera":
        found = found.get(check.name) if isinstance(found, Mapping) else None
    if check.subject == "engine":
        engines = found if isinstance(found, list) else []
        found = next((each for each in engines if isinstance(each, Mapping) and each.get("model") == check.name), None)
    return found if isinstance(found, Mapping) else {}


def _shown(value: float | None, how: str) -> str | None:
    return None if value is None else format(value, how)


def _text(part: Mapping[str, Any], key: str) -> str | None:
    value = part.get(key)
    return value[:100] if isinstance(value, str) and value else None


def _number(part: Mapping[str, Any], key: str) -> float | None:
    value = part.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18 else None
