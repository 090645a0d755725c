"""Reading an outbox from beside a running line: what shell commands show."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edge.errors import StoreError
from edge.outbox.journal import COLUMNS, JournalRow, Link, as_row, verified
from edge.outbox.ledger import COUNTS, SHIFTS, WORST, as_worst
from edge.outbox.store import BUSY_S, SCHEMA_VERSION
from edge.records import AlarmRecord, JournalEntry
from edge.records.ledger import CountDelta, WorstPart


class OutboxReader:
    """Reads the file of an outbox, changes nothing and holds up nobody, whether a line runs on it or not.

    Entering raises StoreError where there is no outbox, or one of another version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        path = self._path
        try:
            there = path.is_file()
            # a closed store has no files beside it; SQLite could make none in a folder that we may not write
            beside = Path(f"{path}-wal").exists()
        except OSError as error:
            raise self._unreadable(str(error.strerror)) from error
        if not there:
            raise StoreError(
                f"No outbox at {path}: expected the file that a line writes. Start the line once, or name its file "
                "with the key store.path"
            )
        try:
            self._db = self._opened("mode=ro")
        except sqlite3.Error:
            if beside:
                raise self._unreadable("a line has it open and this user may not read all of it") from None
            try:
                self._db = self._opened("mode=ro&immutable=1")
            except sqlite3.Error as error:
                raise self._unreadable(str(error)) from error
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version != SCHEMA_VERSION:
            self._db.close()
            old = 0 < version < SCHEMA_VERSION
            do = "A line of this version makes it one when it starts" if old else "Name another file with store.path"
            raise StoreError(
                f"{path} is no outbox of this version: expected schema {SCHEMA_VERSION}, received {version}. {do}"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def _opened(self, how: str) -> sqlite3.Connection:
        db = sqlite3.connect(f"{self._path.resolve().as_uri()}?{how}", uri=True, timeout=BUSY_S, isolation_level=None)
        try:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _unreadable(self, why: str) -> StoreError:
        return StoreError(
            f"The outbox {self._path} cannot be read: {why}. Ask as the user that runs the line, e.g. with "
            "sudo -u linewatch"
        )

    def _rows(self, statement: str, *given: object) -> list[tuple[object, ...]]:
        try:
            return self._db.execute(statement, given).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(str(error)) from error

    @property
    def epoch(self) -> str:
        """The id of the store."""
        ((epoch,),) = self._rows("SELECT value FROM meta WHERE key = 'epoch'")
        return str(epoch)

    @property
    def committed(self) -> int:
        """The highest event number that is on disk."""
        ((committed,),) = self._rows("SELECT value FROM meta WHERE key = 'committed'")
        return int(str(committed))

    def alarm_records(self) -> list[AlarmRecord]:
        """Return what is remembered of each alarm, in the order of their names."""
        return [AlarmRecord(str(alarm), str(body)) for alarm, body in self._rows("SELECT * FROM alarm ORDER BY alarm")]

    def journal(self, limit: int, alarm: str | None = None) -> list[JournalEntry]:
        """Return the last `limit` entries, of one alarm if it is named, oldest first."""
        return [row.entry for row in self.journal_rows(limit, alarm)]

    def journal_rows(
        self, limit: int, alarm: str | None = None, part: str | None = None, before: int | None = None
    ) -> list[JournalRow]:
        """Return the last `limit` rows, oldest first: of one alarm, of one part, before a place, if named."""
        found = self._rows(
            f"SELECT {COLUMNS} FROM journal WHERE (?1 IS NULL OR alarm = ?1) AND (?2 IS NULL OR part = ?2)"  # noqa: S608 - ours
            " AND (?3 IS NULL OR entry < ?3) ORDER BY entry DESC LIMIT ?4",
            alarm,
            part,
            before,
            limit,
        )
        return [as_row(row) for row in reversed(found)]

    def every_journal_row(self, alarm: str | None = None, part: str | None = None) -> Iterator[JournalRow]:
        """Yield all rows, oldest first: of one alarm, of one part, if named. Raises StoreError."""
        try:
            for row in self._db.execute(
                f"SELECT {COLUMNS} FROM journal WHERE (?1 IS NULL OR alarm = ?1) AND (?2 IS NULL OR part = ?2)"  # noqa: S608 - ours
                " ORDER BY entry",
                (alarm, part),
            ):
                yield as_row(row)
        except sqlite3.Error as error:
            raise self._unreadable(str(error)) from error

    def journal_between(self, begins: datetime, ends: datetime) -> list[JournalEntry]:
        """Return the entries of a stretch of time, its end excluded, oldest first."""
        found = self._rows(
            f"SELECT {COLUMNS} FROM journal WHERE at >= ? AND at < ? ORDER BY entry",  # noqa: S608 - ours
            _utc(begins),
            _utc(ends),
        )
        return [as_row(row).entry for row in found]

    def last_before(self, moment: datetime, kinds: Collection[str]) -> list[JournalEntry]:
        """Return the last entry of these kinds before a moment, of each alarm and of none, in order."""
        marks = ", ".join("?" * len(kinds))
        found = self._rows(
            f"SELECT {COLUMNS} FROM journal WHERE entry IN (SELECT max(entry) FROM journal WHERE at < ?"  # noqa: S608 - ours
            f" AND kind IN ({marks}) GROUP BY alarm) ORDER BY entry",
            _utc(moment),
            *kinds,
        )
        return [as_row(row).entry for row in found]

    def shifts(self) -> list[str]:
        """Return the shifts of which anything was counted, by their beginnings, oldest first."""
        return [str(shift) for (shift,) in self._rows(SHIFTS)]

    def counts(self, shift: str) -> list[CountDelta]:
        """Return what the counters of a shift came to, by recipe and name. Raises StoreError for one that is none."""
        try:
            return [
                CountDelta(str(key), str(recipe), str(name), _number(value))
                for key, recipe, name, value in self._rows(COUNTS, shift)
            ]
        except ValueError as error:
            raise self._altered("a counter", error) from error

    def worst(self, shift: str) -> list[WorstPart]:
        """Return the worst parts of a shift, the worst first. Raises StoreError for a row that no line writes."""
        try:
            return [as_worst(row) for row in self._rows(WORST, shift)]
        except (ValueError, TypeError, OverflowError) as error:
            raise self._altered("a part", error) from error

    def _altered(self, what: str, error: Exception) -> StoreError:
        return StoreError(
            f"{self._path} was altered: {what} of a shift is none that a line writes ({error}). What was counted is "
            "not known; restore the file from a backup, or ask for another shift"
        )

    def verify_journal(self) -> tuple[dict[str, Link], list[str]]:
        """Follow the chains of the journal, all as of one moment; return where each part ends, and what is wrong."""
        try:
            self._db.execute("BEGIN")
            try:
                return verified(self._db)
            finally:
                self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._unreadable(str(error)) from error

    def waiting(self) -> tuple[int, int, float | None]:
        """Return how many messages wait for the broker, how many it refused, and since when the oldest waits, s."""
        rows = self._rows(
            "SELECT state, count(*), min(CAST(created_s AS REAL)) FROM message WHERE state != 2 GROUP BY state"
        )
        by = {int(str(state)): (int(str(count)), oldest) for state, count, oldest in rows}
        pending, oldest = by.get(0, (0, None))
        return pending, by.get(1, (0, None))[0], None if oldest is None else float(str(oldest))


def _utc(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return value
    raise ValueError(f"expected a number, found {value!r:.80}")
