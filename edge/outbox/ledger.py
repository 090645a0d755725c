"""The ledger's tables: the counters of each shift, and its worst parts.

A count is committed with its result, so that neither is there without the other. The shifts of the last DAYS_KEPT days
with counts are kept. Days of the calendar would be worse: a clock that was ahead once would take all of them away.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from edge.records import Verdict
from edge.records.ledger import WORST_KEPT, CountDelta, WorstPart

DAYS_KEPT = 400
COUNTERS_AT_MOST = 10_000  # of a shift; counts beyond go to NOT_COUNTED
NOT_COUNTED = "not_counted"
LEDGER_TABLES = (
    """CREATE TABLE shift_count (
      shift TEXT NOT NULL, recipe TEXT NOT NULL, name TEXT NOT NULL, value NUMERIC NOT NULL,
      PRIMARY KEY (shift, recipe, name)
    ) WITHOUT ROWID""",
    """CREATE TABLE shift_worst (
      place INTEGER PRIMARY KEY AUTOINCREMENT, shift TEXT NOT NULL, recipe TEXT NOT NULL, part_id TEXT NOT NULL,
      number INTEGER NOT NULL, at TEXT NOT NULL, ng INTEGER NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL,
      coverage REAL NOT NULL, class TEXT NOT NULL, length_mm REAL, length_px REAL NOT NULL, grade TEXT NOT NULL
    )""",
    "CREATE INDEX shift_worst_by_shift ON shift_worst (shift, recipe)",
)
_WORST_COLUMNS = "shift, recipe, part_id, number, at, verdict, reason, coverage, class, length_mm, length_px, grade"
_WORST_FIRST = "ng DESC, coverage DESC, length_px DESC, place"
SHIFTS = "SELECT shift FROM shift_count GROUP BY shift ORDER BY CAST(strftime('%s', shift) AS INTEGER), shift"
COUNTS = "SELECT shift, recipe, name, value FROM shift_count WHERE shift = ? ORDER BY recipe, name"
WORST = f"SELECT {_WORST_COLUMNS} FROM shift_worst WHERE shift = ? ORDER BY {_WORST_FIRST}"  # noqa: S608 - ours

Counters = dict[tuple[str, str], float]


class LedgerTables:
    """Writes counters and worst parts within the store's transactions.

    The counters of the latest shift are in memory too, for a file that goes bad while it is open.
    """

    def __init__(self) -> None:
        self._shift = ""
        self._counters: Counters = {}

    def load(self, db: sqlite3.Connection) -> None:
        """Take up the latest shift."""
        found = db.execute(SHIFTS).fetchall()
        self._take_up(db, str(found[-1][0]) if found else "")

    def _take_up(self, db: sqlite3.Connection, shift: str) -> None:
        self._shift = shift
        self._counters = {(recipe, name): value for _, recipe, name, value in db.execute(COUNTS, (shift,))}

    def state(self) -> tuple[str, Counters]:
        """Return what `back_to` takes when a transaction is undone."""
        return self._shift, dict(self._counters)

    def back_to(self, state: tuple[str, Counters]) -> None:
        """Forget what was added since."""
        self._shift, self._counters = state

    def running(self) -> tuple[CountDelta, ...]:
        """Return the counters of the shift that was counted last."""
        return tuple(CountDelta(self._shift, recipe, name, by) for (recipe, name), by in self._counters.items())

    def add(self, db: sqlite3.Connection, counts: Iterable[CountDelta], worst: Sequence[WorstPart]) -> None:
        """Add to counters, and keep parts that are among the worst of their shift."""
        for delta in counts:
            if math.isfinite(delta.by):
                self._count(db, delta)
        for part in worst:
            self._keep(db, part)

    def _count(self, db: sqlite3.Connection, delta: CountDelta) -> None:
        if delta.shift != self._shift:
            self._take_up(db, delta.shift)
            if not self._counters:
                _forget(db, delta.shift)
        key, by = (delta.recipe, delta.name), delta.by
        if key not in self._counters and len(self._counters) >= COUNTERS_AT_MOST:
            key, by = ("", NOT_COUNTED), 1
        db.execute(
            "INSERT INTO shift_count VALUES (?, ?, ?, ?)"
            " ON CONFLICT (shift, recipe, name) DO UPDATE SET value = value + excluded.value",
            (delta.shift, *key, by),
        )
        self._counters[key] = self._counters.get(key, 0) + by

    def _keep(self, db: sqlite3.Connection, part: WorstPart) -> None:
        db.execute(
            "INSERT INTO shift_worst (shift, recipe, part_id, number, at, ng, verdict, reason, coverage, class,"
            " length_mm, length_px, grade) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                part.shift,
                part.recipe,
                part.part_id,
                part.number,
                part.at.astimezone(timezone.utc).isoformat(timespec="microseconds"),
                part.verdict is Verdict.NG,
                part.verdict.value,
                part.reason,
                part.coverage,
                part.class_name,
                part.length_mm,
                part.length_px,
                part.grade,
            ),
        )
        db.execute(
            "DELETE FROM shift_worst WHERE place IN (SELECT place FROM shift_worst WHERE shift = ? AND recipe = ?"  # noqa: S608 - ours
            f" ORDER BY {_WORST_FIRST} LIMIT -1 OFFSET ?)",
            (part.shift, part.recipe, WORST_KEPT),
        )


def _forget(db: sqlite3.Connection, new: str) -> None:
    """Let the shifts of the oldest days go, for a new shift begins."""
    days = [day for (day,) in db.execute("SELECT DISTINCT substr(shift, 1, 10) AS day FROM shift_count ORDER BY day")]
    known = [day for day in days if day != new[:10]]
    for day in known[: max(0, len(known) - DAYS_KEPT + 1)]:
        db.execute("DELETE FROM shift_count WHERE substr(shift, 1, 10) = ?", (day,))
    db.execute("DELETE FROM shift_worst WHERE shift NOT IN (SELECT shift FROM shift_count)")


def as_worst(values: Sequence[Any]) -> WorstPart:
    """Return the part that `WORST` gave. Raises ValueError or TypeError for one that no line writes."""
    shift, recipe, part_id, number, at, verdict, reason, coverage, class_name, length_mm, length_px, grade = values
    return WorstPart(
        shift=str(shift),
        recipe=str(recipe),
        part_id=str(part_id),
        number=int(number),
        at=datetime.fromisoformat(str(at)).astimezone(timezone.utc),
        verdict=Verdict(verdict),
        reason=str(reason),
        coverage=float(coverage),
        class_name=str(class_name),
        length_mm=None if length_mm is None else float(length_mm),
        length_px=float(length_px),
        grade=str(grade),
    )
