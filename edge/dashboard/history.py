"""The history of the web process: SQLite, read by many threads and written by one, in batches.

Nothing is lost with it that a station still has: what it lacks is asked for again (`completeness.py`). So a commit
waits for no disk (`synchronous=NORMAL`). A file of a newer version is refused, never guessed at.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.dashboard.completeness import Completeness
from edge.dashboard.records import AlarmRow, CountersRow, EpochRow, JournalRow, ResultRow, Row
from edge.dashboard.schema import SCHEMA_VERSION, migrate
from edge.errors import StoreError
from edge.files import hold

_log = logging.getLogger(__name__)

WAITING_AT_MOST = 50_000
_BATCH_AT_MOST = 2_000
_BATCH_S = 0.25
_AGAIN_S = 1.0
_SWEEP_EVERY_S = 600.0
_SWEPT_AT_ONCE = 5_000
_BUSY_S = 10.0
_MS_A_DAY = 86_400_000
_LARGE = ("result", "counters")  # alarms and the journal are small, and leave by their age alone
_AGEING = (*_LARGE, "alarm_event", "journal")


@dataclass(frozen=True)
class _Statement:
    sql: str
    values: Sequence[Any]
    done: Future[int]


@dataclass(frozen=True)
class _Keeps:
    """The bounds of what is kept; `wall_s`: the clock that tells how old it is."""

    days: float
    megabytes: int
    wall_s: Callable[[], float]


class History:
    """Opens the file for this process alone; `put` and `write` may be called by any thread, `rows` too.

    `trouble`: why nothing is written just now, in words; None = all is well. Entering raises StoreError for a file that
    is another dashboard's, of a newer version, or that cannot be made.
    """

    def __init__(self, path: Path, days: float, megabytes: int, wall_s: Callable[[], float] = time.time) -> None:
        self.path = path
        self._keeps = _Keeps(days, megabytes, wall_s)
        self._queue: SimpleQueue[Row | _Statement | None] = SimpleQueue()
        self._threads = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._writer: _Writer | None = None
        self.dropped = 0

    def __enter__(self) -> Self:
        self._held = hold(self.path, "history", "another dashboard", "history.path")
        try:
            self._writer = _Writer(self.path, self._queue, self._keeps)
        except BaseException:
            os.close(self._held)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        if self._writer is not None:
            self._writer.join(30)
        with self._lock:
            for reader in self._readers:
                reader.close()
            self._readers.clear()
        os.close(self._held)

    @property
    def trouble(self) -> str | None:
        """Return why nothing is written just now; None = all is well."""
        return None if self._writer is None else self._writer.trouble

    @property
    def commits(self) -> int:
        """Tell how often something was written since this runs: while it stays, so does what queries give."""
        return 0 if self._writer is None else self._writer.commits

    def put(self, row: Row) -> bool:
        """Have a row written soon; False where so many wait that it found no room."""
        if self._queue.qsize() >= WAITING_AT_MOST:
            self.dropped += 1
            return False
        self._queue.put(row)
        return True

    def write(self, sql: str, *values: Any) -> Future[int]:
        """Have one statement run by the writer; the future gives the row's number once it is committed."""
        done: Future[int] = Future()
        self._queue.put(_Statement(sql, values, done))
        return done

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until all that was put before is committed."""
        self.write("SELECT 0").result(timeout_s)

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Return the rows of a query. Raises StoreError for a file that cannot be read."""
        try:
            return self._reader().execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"The history {self.path} cannot be read: {error}. Look at its disk") from error

    def value(self, sql: str, *values: Any) -> Any:
        """Return the first column of the first row; None without one."""
        found = self.rows(sql, *values)
        return found[0][0] if found else None

    def completeness(self) -> dict[tuple[str, str], Completeness]:
        """Return how complete each epoch of each station is, by place and epoch."""
        came: dict[int, list[tuple[int, int]]] = {}
        for row in self.rows("SELECT epoch, first, last FROM came"):
            came.setdefault(row["epoch"], []).append((row["first"], row["last"]))
        return {
            (row["place"], row["name"]): Completeness(row["first"], row["committed"], came.get(row["id"], ()))
            for row in self.rows(
                "SELECT epoch.id, place, epoch.name, first, committed FROM epoch JOIN station ON station.id = station"
            )
        }

    def _reader(self) -> sqlite3.Connection:
        reader: sqlite3.Connection | None = getattr(self._threads, "reader", None)
        if reader is None:
            reader = sqlite3.connect(
                f"{self.path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_S, check_same_thread=False
            )
            reader.row_factory = sqlite3.Row
            self._threads.reader = reader
            with self._lock:
                self._readers.append(reader)
        return reader


class _Writer:
    """The one thread that writes."""

    def __init__(self, path: Path, queue: SimpleQueue[Row | _Statement | None], keeps: _Keeps) -> None:
        self._path, self._queue, self._keeps = path, queue, keeps
        self.trouble: str | None = None
        self.commits = 0
        self._db = _opened(path)
        self._stations = {row[0]: row[1] for row in self._db.execute("SELECT place, id FROM station")}
        self._epochs = {(row[0], row[1]): row[2] for row in self._db.execute("SELECT station, name, id FROM epoch")}
        self._swept_s = 0.0
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until what was put before the end is written."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        """Write batches until the end is asked for; a batch that the disk does not take is tried again."""
        more = True
        while more:
            batch, more = self._batch()
            while batch and not self._commit(batch):
                time.sleep(_AGAIN_S)
                if not more or self._ends():
                    break
            if time.monotonic() - self._swept_s >= _SWEEP_EVERY_S:
                self._sweep()
        self._db.close()

    def _ends(self) -> bool:
        return not threading.main_thread().is_alive()

    def _batch(self) -> tuple[list[Row | _Statement], bool]:
        batch: list[Row | _Statement] = []
        until_s = time.monotonic() + _BATCH_S
        while len(batch) < _BATCH_AT_MOST and (left_s := until_s - time.monotonic()) > 0:
            try:
                item = self._queue.get(timeout=left_s)
            except Empty:
                break
            if item is None:
                return batch, False
            batch.append(item)
            if isinstance(item, _Statement):  # somebody waits for it
                until_s = min(until_s, time.monotonic() + 0.005)
        return batch, True

    def _commit(self, batch: Sequence[Row | _Statement]) -> bool:
        """Write a batch as one; whether the disk took it."""
        answers: list[tuple[Future[int], int | sqlite3.Error]] = []
        came: dict[int, list[int]] = {}
        stations, epochs = dict(self._stations), dict(self._epochs)
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for item in batch:
                if isinstance(item, _Statement):
                    answers.append((item.done, self._statement(item)))
                else:
                    self._row(item, came)
            self._note_came(came)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            self._stations, self._epochs = stations, epochs
            if self.trouble is None:
                _log.error("The history %s is not written: %s", self._path, error)
            self.trouble = f"The history {self._path} is not written: {error}. Look at its disk"
            return False
        self.trouble = None
        self.commits += 1
        for done, answer in answers:
            if isinstance(answer, sqlite3.Error):
                done.set_exception(StoreError(f"The history {self._path} did not take it: {answer}"))
            else:
                done.set_result(answer)
        return True

    def _statement(self, item: _Statement) -> int | sqlite3.Error:
        """Run a statement; one that is wrong for itself is its sender's, and takes nothing else with it."""
        try:
            return self._db.execute(item.sql, item.values).lastrowid or 0
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError) as error:
            return error

    def _row(self, row: Row, came: dict[int, list[int]]) -> None:
        if isinstance(row, ResultRow):
            self._result(row, came)
        elif isinstance(row, AlarmRow):
            self._alarm(row, came)
        elif isinstance(row, JournalRow):
            self._db.execute(
                "INSERT INTO journal (station, at_ms, kind, user, subject, outcome, detail) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    None if row.place is None else self._station(row.place),
                    *(row.at_ms, row.kind, row.user, row.subject, row.outcome, row.detail),
                ),
            )
        elif isinstance(row, CountersRow):
            values = (self._station(row.place), row.at_ms, row.body)
            self._db.execute("INSERT INTO counters (station, at_ms, body) VALUES (?, ?, ?)", values)
        elif isinstance(row, EpochRow):
            self._db.execute(
                "UPDATE epoch SET first = ?, committed = ? WHERE id = ?",
                (row.first, row.committed, self._epoch(self._station(row.place), row.epoch)),
            )

    def _result(self, row: ResultRow, came: dict[int, list[int]]) -> None:
        station = self._station(row.place)
        epoch = self._epoch(station, row.epoch)
        done = self._db.execute(
            "INSERT OR IGNORE INTO result (station, epoch, seq, at_ms, heard_ms, clock_odd, kind, part_id, verdict, "
            "reason, recipe, grade, value_factor, coverage, challenge, evidence_id, body, found) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(station, epoch, row.seq, row.at_ms, row.heard_ms, row.clock_odd, row.kind, row.part_id, row.verdict),
                *(row.reason, row.recipe, row.grade, row.value_factor, row.coverage, row.challenge, row.evidence_id),
                *(row.body, sum(bool(seen.count) for seen in row.findings)),
            ),
        )
        if done.rowcount:
            self._db.executemany(
                "INSERT OR IGNORE INTO finding (result, view, class, coverage, count) VALUES (?, ?, ?, ?, ?)",
                [(done.lastrowid, seen.view, seen.class_name, seen.coverage, seen.count) for seen in row.findings],
            )
        came.setdefault(epoch, []).append(row.seq)

    def _alarm(self, row: AlarmRow, came: dict[int, list[int]]) -> None:
        station = self._station(row.place)
        epoch = self._epoch(station, row.epoch)
        self._db.execute(
            "INSERT OR IGNORE INTO alarm_event (station, epoch, seq, at_ms, heard_ms, clock_odd, alarm, transition, "
            "state, occurrence_id, priority, shown, user, comment, body) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(station, epoch, row.seq, row.at_ms, row.heard_ms, row.clock_odd, row.alarm, row.transition),
                *(row.state, row.occurrence_id, row.priority, row.shown, row.user, row.comment, row.body),
            ),
        )
        came.setdefault(epoch, []).append(row.seq)

    def _note_came(self, came: dict[int, list[int]]) -> None:
        """Keep which numbers have come, beside the rows and longer than they are kept."""
        for epoch, numbers in came.items():
            known = self._db.execute("SELECT first, last FROM came WHERE epoch = ?", (epoch,)).fetchall()
            state = Completeness(1, 0, known)
            for number in numbers:
                state.came.add(number, number)
            now = list(state.came)
            gone, new = set(known) - set(now), set(now) - set(known)
            self._db.executemany("DELETE FROM came WHERE epoch = ? AND first = ?", [(epoch, each[0]) for each in gone])
            self._db.executemany("INSERT INTO came (epoch, first, last) VALUES (?, ?, ?)", [(epoch, *e) for e in new])
            self._db.execute("UPDATE epoch SET committed = max(committed, ?) WHERE id = ?", (max(numbers), epoch))

    def _station(self, place: str) -> int:
        if place not in self._stations:
            done = self._db.execute("INSERT INTO station (place) VALUES (?)", (place,))
            self._stations[place] = int(done.lastrowid or 0)
        return int(self._stations[place])

    def _epoch(self, station: int, name: str) -> int:
        if (station, name) not in self._epochs:
            done = self._db.execute(
                "INSERT INTO epoch (station, name, first, committed) VALUES (?, ?, 1, 0)", (station, name)
            )
            self._epochs[station, name] = int(done.lastrowid or 0)
        return int(self._epochs[station, name])

    def _sweep(self) -> None:
        """Delete what is too old, and the oldest of what is too much; a step at a time."""
        self._swept_s = time.monotonic()
        before_ms = round(self._keeps.wall_s() * 1000 - self._keeps.days * _MS_A_DAY)
        try:
            while self._delete(_AGEING, "at_ms < ?", before_ms):
                pass
            while self._size_mb() > self._keeps.megabytes and self._delete(_LARGE, "at_ms < ?", 2**62):
                pass
            # as a script: execute() would give one page back, and no more
            self._db.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
        except sqlite3.Error as error:
            _log.error("The history %s could not be made smaller: %s", self._path, error)

    def _delete(self, tables: Sequence[str], where: str, value: int) -> int:
        """Delete some of the oldest rows of each table that match; how many."""
        values = (value, _SWEPT_AT_ONCE)
        gone = 0
        self._db.execute("BEGIN IMMEDIATE")
        for table in tables:
            chosen = f"SELECT rowid FROM {table} WHERE {where} ORDER BY at_ms LIMIT ?"  # noqa: S608 - names of our own
            if table == "result":
                self._db.execute(f"DELETE FROM finding WHERE result IN ({chosen})", values)  # noqa: S608 - our own
            gone += self._db.execute(f"DELETE FROM {table} WHERE rowid IN ({chosen})", values).rowcount  # noqa: S608 - our own
        self._db.execute("COMMIT")
        return gone

    def _size_mb(self) -> float:
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return float((pages - free) * size / 1e6)


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file for writing, and bring an older one to this version. Raises StoreError."""
    try:
        db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            db.close()
            raise StoreError(
                f"The history {path} is of version {version}; this Linewatch reads up to {SCHEMA_VERSION}. Install the "
                "newer Linewatch again, or name another file with the key history.path"
            )
        if version == 0:
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        migrate(db, version)
    except sqlite3.Error as error:
        raise StoreError(
            f"The history {path} cannot be opened: {error}. Expected a file of `linewatch dashboard` that this "
            "user may write; move it away, and a new one is filled from the stations"
        ) from error
    return db
