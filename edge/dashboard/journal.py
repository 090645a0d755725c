"""The journal of the screens: every transition of an alarm, command, log-in and change of a station, newest first.

Two tables are read as one, by time. A transition has the number of its event, so that what is missing can be told.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo
from typing import Any, Literal

from edge.dashboard.history import History
from edge.printable import csv_cell

What = Literal["", "alarms", "commands", "stations", "logins"]
WHAT: tuple[What, ...] = ("", "alarms", "commands", "stations", "logins")
PAGE = 100
_CHUNK = 1_000
_RANGES_AT_MOST = 20
_KINDS = {"commands": "kind LIKE 'command-%'", "stations": "kind = 'station'", "logins": "kind IN ('login', 'logout')"}
COLUMNS = (
    *("at", "station", "number", "epoch", "event", "subject", "state", "user", "outcome", "remark", "occurrence_id"),
    "clock_odd",
)

Place = tuple[int, int, int]  # of a row: its time in ms, its table, and its row there


@dataclass(frozen=True)
class Wanted:
    """The rows to be shown: of one station, of one kind, of one user, about something, in a time (ms, half-open)."""

    place: str = ""
    what: What = ""
    user: str = ""
    subject: str = ""
    from_ms: int | None = None
    to_ms: int | None = None


@dataclass(frozen=True)
class Entry:
    """One row. `table`: 0 a transition, with `number` in its epoch; 1 what happened here, numbered by this process."""

    at_ms: int
    table: int
    row: int
    place: str
    number: int
    epoch: str
    kind: str
    subject: str
    state: str
    user: str
    outcome: str
    remark: str
    occurrence_id: str
    clock_odd: bool

    @property
    def key(self) -> Place:
        """Its place in the order."""
        return self.at_ms, self.table, self.row


def entries(history: History, wanted: Wanted, before: Place | None = None, limit: int = PAGE) -> list[Entry]:
    """Return the newest rows before a place in the order, the newest first."""
    tables = [table for table, of in ((0, {"", "alarms"}), (1, {"", *_KINDS})) if wanted.what in of]
    found = [Entry(**dict(row)) for table in tables for row in _rows(history, table, wanted, before, limit)]
    return sorted(found, key=lambda entry: entry.key, reverse=True)[:limit]


def _rows(history: History, table: int, wanted: Wanted, before: Place | None, limit: int) -> Sequence[Any]:
    where, values = _where(table, wanted, before)
    columns, source = _SOURCES[table]
    return history.rows(
        f"SELECT {columns} FROM {source} WHERE {' AND '.join(where)} ORDER BY at_ms DESC, t.id DESC LIMIT ?",  # noqa: S608 - our own words
        *values,
        limit,
    )


_OF_ALARMS = (
    "at_ms, 0 AS 'table', t.id AS row, station.place AS place, seq AS number, epoch.name AS epoch, "
    "transition AS kind, alarm AS subject, state, ifnull(user, '') AS user, '' AS outcome, "
    "ifnull(comment, '') AS remark, ifnull(occurrence_id, '') AS occurrence_id, clock_odd"
)
_OF_JOURNAL = (
    "at_ms, 1 AS 'table', t.id AS row, ifnull(station.place, '') AS place, t.id AS number, '' AS epoch, kind, "
    "subject, '' AS state, user, outcome, detail AS remark, '' AS occurrence_id, 0 AS clock_odd"
)
_SOURCES = (
    (_OF_ALARMS, "alarm_event AS t JOIN station ON station.id = t.station JOIN epoch ON epoch.id = t.epoch"),
    (_OF_JOURNAL, "journal AS t LEFT JOIN station ON station.id = t.station"),
)


def _where(table: int, wanted: Wanted, before: Place | None) -> tuple[list[str], list[Any]]:
    where, values = ["1"], list[Any]()
    if wanted.place:
        where.append("t.station = (SELECT id FROM station WHERE place = ?)")
        values.append(wanted.place)
    if table == 1 and wanted.what:
        where.append(_KINDS[wanted.what])
    for column, value in (("user", wanted.user), ("alarm" if table == 0 else "subject", wanted.subject)):
        if value:
            where.append(f"{column} = ?")
            values.append(value)
    for sign, moment in ((">=", wanted.from_ms), ("<", wanted.to_ms)):
        if moment is not None:
            where.append(f"at_ms {sign} ?")
            values.append(moment)
    if before is not None:
        where.append("(at_ms, ?, t.id) < (?, ?, ?)")
        values += [table, *before]
    return where, values


def missing(history: History, place: str) -> list[tuple[int, int]]:
    """Return the stretches of event numbers that have not come of a station, of all its epochs; at most 20."""
    found = [
        stretch
        for (of, _), complete in sorted(history.completeness().items())
        if of == place
        for stretch in complete.came.missing(complete.first, complete.committed)
    ]
    return found[:_RANGES_AT_MOST]


def as_csv(history: History, wanted: Wanted) -> Iterator[str]:
    """Yield all rows that are wanted as CSV, the newest first, some at a time."""
    yield _line(COLUMNS)
    before: Place | None = None
    while page := entries(history, wanted, before, _CHUNK):
        yield "".join(_line(_cells(entry)) for entry in page)
        before = page[-1].key


def _cells(entry: Entry) -> Sequence[Any]:
    at = datetime.fromtimestamp(entry.at_ms / 1000, timezone.utc).isoformat(timespec="milliseconds")
    return (
        *(at, entry.place, entry.number, entry.epoch, entry.kind, entry.subject, entry.state, entry.user),
        *(entry.outcome, entry.remark, entry.occurrence_id, "yes" if entry.clock_odd else ""),
    )


def _line(cells: Sequence[Any]) -> str:
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerow([csv_cell(cell) for cell in cells])
    return written.getvalue()


def moment_ms(text: str, zone: tzinfo) -> int | None:
    """Read what somebody typed as a time by the site's clock: 2026-01-31, or with 12:00 behind it.

    None for nothing. Raises ValueError for what is no time.
    """
    if not text.strip():
        return None
    moment = datetime.fromisoformat(text.strip())
    return round((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() * 1000)


def is_moment(text: str, zone: tzinfo) -> bool:
    """Tell whether a text is a time, or nothing."""
    try:
        moment_ms(text, zone)
    except (ValueError, OverflowError):
        return False
    return True
