"""Messages of stations → rows of the history. A malformed or absurd body gives none: it is counted, never guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from edge.dashboard.records import AlarmRow, Finding, ResultRow
from edge.printable import as_json
from edge.watching.watched import VERDICTS

EVENT_BYTES_AT_MOST = 65_536
_TEXT_AT_MOST = 500
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ROOT = re.compile(r"((?:[A-Za-z0-9][A-Za-z0-9_-]{0,63}/){4}[A-Za-z0-9][A-Za-z0-9_-]{0,63})/inspect/v1/(.+)")
_AHEAD = timedelta(minutes=5)
_BEHIND = timedelta(days=400)
_VIEWS_AT_MOST, _CLASSES_AT_MOST = 32, 64
_PRIORITIES = frozenset({"low", "medium", "high"})


def place_and_topic(topic: str) -> tuple[str, str] | None:
    """Split a topic into the five levels of its station and what is below its root; None for no station's."""
    found = _ROOT.fullmatch(topic)
    return None if found is None else (found[1], found[2])


def result_row(place: str, envelope: Mapping[str, Any], heard: datetime) -> ResultRow | None:
    """Return the row of an `event/result`; None where it is none. `heard`: now, UTC."""
    body, numbered = envelope["body"], _numbered(envelope)
    verdict = body.get("verdict")
    if numbered is None or verdict not in VERDICTS:
        return None
    part = _text(body.get("part_id"))
    at_ms, odd = _moment_ms((body.get("closed_at"), body.get("captured_at"), envelope.get("ts")), heard)
    views = _views(body)
    measured = [seen for _, view in views if (seen := _share(view.get("coverage"))) is not None]
    grade = _mapping(body.get("grade"))
    return ResultRow(
        place,
        *numbered,
        at_ms,
        _ms(heard),
        odd,
        "frame" if part is None else "part",
        part,
        verdict,
        _text(body.get("reason")),
        _text(body.get("recipe")) or _text(envelope.get("recipe")),
        _text(grade.get("name")),
        _number(grade.get("value_factor")),
        max(measured, default=None) if verdict != "NO_READ" else None,
        body.get("challenge") is True,
        _text(body.get("evidence_id")),
        as_json(body),
        tuple(found for name, view in views for found in _findings(name, view)),
    )


def alarm_row(place: str, envelope: Mapping[str, Any], heard: datetime) -> AlarmRow | None:
    """Return the row of an `event/alarm`; None where it is none."""
    body, numbered = envelope["body"], _numbered(envelope)
    alarm, transition, state = (_text(body.get(name)) for name in ("alarm", "transition", "state"))
    if numbered is None or alarm is None or _NAME.fullmatch(alarm) is None or transition is None or state is None:
        return None
    at_ms, odd = _moment_ms((envelope.get("ts"),), heard)
    priority = _text(body.get("priority"))
    return AlarmRow(
        place,
        *numbered,
        at_ms,
        _ms(heard),
        odd,
        alarm,
        transition,
        state,
        _text(body.get("occurrence_id")),
        priority if priority in _PRIORITIES else "high",  # of a priority that nobody knows it is as urgent as can be
        body.get("shown") is not False,
        _text(body.get("user")),
        _text(body.get("comment")),
        as_json(body),
    )


def committed_of(envelope: Mapping[str, Any]) -> tuple[str, int] | None:
    """Return the epoch of a `seq` message and the highest committed number; None where it is none."""
    epoch, committed = envelope.get("epoch"), _whole(envelope["body"].get("committed"))
    return None if not _is_uuid(epoch) or committed is None else (str(epoch), committed)


def views_of(body: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    """Return the views of a result, each with its reason."""
    return [(name, _text(view.get("reason"))) for name, view in _views(body)]


def _numbered(envelope: Mapping[str, Any]) -> tuple[str, int] | None:
    epoch, seq = envelope.get("epoch"), _whole(envelope.get("seq"))
    return None if not _is_uuid(epoch) or not seq else (str(epoch), seq)


def _is_uuid(value: object) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _views(body: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the views of a part, or the one of a frame."""
    views = _mapping(body.get("views"))
    if views:
        return [(name[:64], _mapping(view)) for name, view in list(views.items())[:_VIEWS_AT_MOST]]
    return [((_text(body.get("camera")) or "")[:64], body)]


def _findings(name: str, view: Mapping[str, Any]) -> list[Finding]:
    classes = list(_mapping(view.get("classes")).items())[:_CLASSES_AT_MOST]
    told = [
        (key[:64], _share(_mapping(seen).get("coverage")), _whole(_mapping(seen).get("count"))) for key, seen in classes
    ]
    return [Finding(name, key, coverage, count) for key, coverage, count in told if coverage or count]


def _moment_ms(told: tuple[object, ...], heard: datetime) -> tuple[int, bool]:
    """Return a time by the device's clock, or when it was heard where that clock cannot be right; and which."""
    for text in told:
        moment = moment_of(text)
        if moment is not None:
            if heard - _BEHIND <= moment <= heard + _AHEAD:
                return _ms(moment), False
            break
    return _ms(heard), True


def moment_of(value: object) -> datetime | None:
    """Read a time of a message; None for what is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
        return moment.astimezone(timezone.utc) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value[:_TEXT_AT_MOST] if isinstance(value, str) and value else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _number(value: object) -> float | None:
    return (
        float(value) if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18 else None
    )


def _share(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0 <= number <= 1 else None
