"""The transitions of a station's alarms, from the history, in the order of their events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from edge.dashboard.history import History
from edge.figures.alarm_performance import AlarmTold

EVENTS_AT_MOST = 50_000
_BEFORE_AT_MOST = 5_000  # of what was before: what stood and was shelved then
_ROWS = (
    "SELECT * FROM (SELECT epoch, seq, at_ms, alarm, transition, state, occurrence_id, priority, shown, user, comment "
    "FROM alarm_event WHERE station = (SELECT id FROM station WHERE place = ?) AND at_ms >= ? AND at_ms < ? "
    "ORDER BY at_ms DESC LIMIT ?) ORDER BY epoch, seq"
)


@dataclass(frozen=True)
class AlarmHistory:
    """Transitions of a stretch of time, and those before it. `whole`: no event of it was left out for room."""

    told: list[AlarmTold]
    whole: bool


def alarm_history(history: History, place: str, begins_ms: int, ends_ms: int) -> AlarmHistory:
    """Return what a station's alarms did up to `ends_ms`: of the time from `begins_ms` on at most EVENTS_AT_MOST."""
    before = history.rows(_ROWS, place, 0, begins_ms, _BEFORE_AT_MOST)
    within = history.rows(_ROWS, place, begins_ms, ends_ms, EVENTS_AT_MOST)
    return AlarmHistory([_told(row) for row in (*before, *within)], len(within) < EVENTS_AT_MOST)


def _told(row: Any) -> AlarmTold:
    return AlarmTold(
        datetime.fromtimestamp(row["at_ms"] / 1000, timezone.utc),
        row["alarm"],
        row["transition"],
        row["state"],
        row["priority"],
        row["occurrence_id"],
        bool(row["shown"]),
        row["user"] or "",
        row["comment"] or "",
    )
