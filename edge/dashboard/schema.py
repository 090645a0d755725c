"""The tables of the history, and how an older file becomes one of this version.

A table of a new screen goes to the end of TABLES. The tables of a released version stay as they are. A change raises
the number, and `_FROM` says what an older file lacks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

SCHEMA_VERSION = 1

TABLES = (
    "CREATE TABLE station (id INTEGER PRIMARY KEY, place TEXT NOT NULL UNIQUE)",
    """CREATE TABLE epoch (
      id INTEGER PRIMARY KEY, station INTEGER NOT NULL, name TEXT NOT NULL, first INTEGER NOT NULL,
      committed INTEGER NOT NULL, UNIQUE (station, name)
    )""",
    # stretches of numbers that have come; they stay when the rows are too old
    """CREATE TABLE came (
      epoch INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (epoch, first)
    ) WITHOUT ROWID""",
    """CREATE TABLE result (
      id INTEGER PRIMARY KEY, station INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
      at_ms INTEGER NOT NULL, heard_ms INTEGER NOT NULL, clock_odd INTEGER NOT NULL, kind TEXT NOT NULL, part_id TEXT,
      verdict TEXT NOT NULL, reason TEXT, recipe TEXT, grade TEXT, value_factor REAL, coverage REAL,
      challenge INTEGER NOT NULL, evidence_id TEXT, body TEXT NOT NULL, found INTEGER NOT NULL DEFAULT 0,
      UNIQUE (epoch, seq)
    )""",
    """CREATE INDEX result_by_time ON result (
      station, at_ms, verdict, coverage, recipe, grade, value_factor, challenge, found
    )""",
    "CREATE INDEX result_by_verdict ON result (station, verdict, at_ms)",
    "CREATE INDEX result_by_part ON result (station, part_id) WHERE part_id IS NOT NULL",
    "CREATE INDEX result_by_age ON result (at_ms)",
    # of each view, the classes of which something was seen
    """CREATE TABLE finding (
      result INTEGER NOT NULL, view TEXT NOT NULL, class TEXT NOT NULL, coverage REAL, count INTEGER,
      PRIMARY KEY (result, view, class)
    ) WITHOUT ROWID""",
    """CREATE TABLE alarm_event (
      id INTEGER PRIMARY KEY, station INTEGER NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL,
      at_ms INTEGER NOT NULL, heard_ms INTEGER NOT NULL, clock_odd INTEGER NOT NULL, alarm TEXT NOT NULL,
      transition TEXT NOT NULL, state TEXT NOT NULL, occurrence_id TEXT, priority TEXT NOT NULL, shown INTEGER NOT NULL,
      user TEXT, comment TEXT, body TEXT NOT NULL, UNIQUE (epoch, seq)
    )""",
    "CREATE INDEX alarm_event_by_time ON alarm_event (station, at_ms)",
    "CREATE INDEX alarm_event_by_age ON alarm_event (at_ms)",
    """CREATE TABLE journal (
      id INTEGER PRIMARY KEY, station INTEGER, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, user TEXT NOT NULL,
      subject TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL
    )""",
    "CREATE INDEX journal_by_time ON journal (at_ms)",
    """CREATE TABLE counters (
      id INTEGER PRIMARY KEY, station INTEGER NOT NULL, at_ms INTEGER NOT NULL, body TEXT NOT NULL
    )""",
    "CREATE INDEX counters_by_time ON counters (station, at_ms)",
    "CREATE INDEX counters_by_age ON counters (at_ms)",
    # people's judgements of a result's pictures; the last word of each
    """CREATE TABLE opinion (
      station INTEGER NOT NULL, evidence_id TEXT NOT NULL, opinion TEXT NOT NULL, class TEXT, comment TEXT NOT NULL,
      user TEXT NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY (station, evidence_id)
    ) WITHOUT ROWID""",
)
# The steps of a file from each version to the next; the last one leads to SCHEMA_VERSION.
STEPS: tuple[tuple[str, ...], ...] = (TABLES,)


def migrate(db: sqlite3.Connection, version: int, steps: Sequence[Sequence[str]] = STEPS) -> None:
    """Bring a file of an older version to that of the last step, whole or not at all. Raises sqlite3.Error."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in steps[version:]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(steps)}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
