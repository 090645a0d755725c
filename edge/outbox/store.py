"""The SQLite file: its tables, its migration, and what one commit does."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge.errors import StoreError
from edge.files import replacing
from edge.outbox.journal import TABLES, JournalTables, take_over_version_2
from edge.outbox.ledger import LEDGER_TABLES, LedgerTables
from edge.outbox.records import BROKE, Job, Put, ResendWish, Resent, RetryDeadLetters, Row, Settle, Unwritable
from edge.printable import encodable
from edge.records import JournalPart, Message
from edge.records.ledger import CountDelta

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 4
PENDING, DEAD_LETTER, ACKNOWLEDGED = 0, 1, 2
BUSY_S = 1.0
RESENT_AT_MOST = 5  # times that one event is sent again to a broker that forgot it, without being asked for
# Of 256 kB: up to SQLite's own 2 MB, which are the system's as well, a station's memory grows for days.
KEEP_FEW_PAGES = "PRAGMA cache_size = -256"
_STEP = 1000  # rows that one commit sends again or forgets at most: an alarm that comes meanwhile waits for no more
_MESSAGE = """CREATE TABLE message (
  row INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
  topic TEXT NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL, expiry_s INTEGER,
  urgent INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, reason TEXT,
  created_s REAL, settled_s REAL, resent INTEGER NOT NULL DEFAULT 0
)"""
# The additions of version 2. `retained` holds the last message of each retained topic, for a broker that forgot it.
_ADDED = (
    "CREATE INDEX message_by_state ON message (state, urgent, row)",
    "CREATE INDEX message_by_seq ON message (seq)",
    """CREATE TABLE retained (
      topic TEXT PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL,
      expiry_s INTEGER, urgent INTEGER NOT NULL
    )""",
    "CREATE TABLE alarm (alarm TEXT PRIMARY KEY, body TEXT NOT NULL)",
)
# The additions of version 3: the journal in three parts, and the jobs that could not be written. Version 2 had a
# journal of one part.
_UNWRITABLE = """CREATE TABLE unwritable (
  entry INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, reason TEXT NOT NULL, content TEXT NOT NULL
)"""
# The addition of version 4: the ledger of shifts.
_NEW = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL)",
    _MESSAGE,
    *_ADDED,
    *TABLES,
    _UNWRITABLE,
    *LEDGER_TABLES,
)
_FROM_VERSION_1 = (
    "ALTER TABLE message ADD COLUMN created_s REAL",
    "ALTER TABLE message ADD COLUMN settled_s REAL",
    "ALTER TABLE message ADD COLUMN resent INTEGER NOT NULL DEFAULT 0",
    "DROP INDEX message_by_class",
    *_ADDED,
    *TABLES,
    _UNWRITABLE,
    *LEDGER_TABLES,
    """INSERT OR REPLACE INTO retained SELECT topic, id, kind, payload, qos, expiry_s, urgent
      FROM message WHERE retain ORDER BY row""",
)
_FROM = {0: _NEW, 1: _FROM_VERSION_1, 2: (_UNWRITABLE, *LEDGER_TABLES), 3: LEDGER_TABLES}
COLUMNS = "row, seq, id, kind, topic, payload, qos, retain, expiry_s, urgent, resent"
_UNWRITABLE_AT_MOST = 1000
_SHOWN_OF_ODD = 20_000  # characters
_GONE = ("no such table", "no such column")
# The form of every row that waits for the broker; else the sender could not go on behind it.
SOUND = (
    "typeof(id) = 'text' AND typeof(kind) = 'text' AND typeof(topic) = 'text' AND typeof(payload) = 'blob'"
    " AND ifnull(typeof(seq) IN ('integer', 'null'), 0) AND qos IN (0, 1, 2) AND retain IN (0, 1) AND urgent IN (0, 1)"
    " AND typeof(expiry_s) IN ('integer', 'null') AND state IN (0, 1, 2)"
    " AND typeof(created_s) IN ('real', 'integer', 'null') AND typeof(settled_s) IN ('real', 'integer', 'null')"
)


@dataclass(frozen=True)
class Caps:
    """The bounds of a store.

    `results`, `alarms`: messages that the broker has not acknowledged. Acknowledged ones are kept for `kept_s` seconds,
    as long as each class has at most `kept_results_bytes` or `kept_alarms_bytes` of payload. `journal`: entries about
    alarms. `journal_commands`, `journal_station`: those of its other parts.
    """

    results: int = 200_000
    alarms: int = 100_000
    kept_s: float = 86_400.0
    kept_results_bytes: int = 256_000_000
    kept_alarms_bytes: int = 64_000_000
    journal: int = 500_000
    journal_commands: int = 100_000
    journal_station: int = 50_000

    def unsettled(self, urgent: int) -> int:
        """Messages of a class that wait or are dead letters."""
        return self.alarms if urgent else self.results

    def kept_bytes(self, urgent: int) -> int:
        """Payload of acknowledged messages of a class."""
        return self.kept_alarms_bytes if urgent else self.kept_results_bytes

    @property
    def of_journal(self) -> dict[JournalPart, int]:
        """Entries of each part of the journal."""
        return {"alarms": self.journal, "commands": self.journal_commands, "station": self.journal_station}


@dataclass(frozen=True)
class StoreTotals:
    """The numbers of rows in the store.

    Counted since opening: `acknowledged`; for want of room `dropped` and `alarms_dropped`.
    """

    results: int = 0
    alarms: int = 0
    dead_letters: int = 0
    kept: int = 0
    kept_results_bytes: int = 0
    kept_alarms_bytes: int = 0
    acknowledged: int = 0
    dropped: int = 0
    alarms_dropped: int = 0
    committed: int = 0

    def more(self, **by: int) -> StoreTotals:
        """Return these with some changed by so much."""
        return replace(self, **{name: getattr(self, name) + change for name, change in by.items()})


class Store:
    """The SQLite file. `commit` belongs to the writer thread, `read` and `retained` to the sender's.

    `epoch`, `committed`: what a new file is to go on with; without them it is another store, which counts from 1.
    """

    def __init__(self, path: Path, caps: Caps, *, epoch: str | None = None, committed: int = 0) -> None:
        self._path = path
        self._caps = caps
        self._journal = JournalTables(caps.of_journal)
        self._ledger = LedgerTables()
        self._forget_at_s = [0.0, 0.0]  # results, alarms
        self._opened_s = time.time() - time.monotonic()
        self._writing = connect(path)
        try:
            self._prepare(path, epoch or str(uuid.uuid4()), committed)
            self._reading = connect(path)
            for db in (self._writing, self._reading):
                db.execute(KEEP_FEW_PAGES)
            self._files = {file: _place_of(file) for file in (path, _beside(path, "-wal"))}
            self._size = path.stat().st_size
        except BaseException:
            self._writing.close()
            raise

    def displaced(self) -> str | None:
        """Say what somebody did to the file while it was open; None while it is where it was."""
        for file, known in self._files.items():
            try:
                found = file.stat()
            except FileNotFoundError:
                found = None
            except OSError:  # a file that cannot be looked at is not known to be gone
                continue
            if known is None:  # the log comes with the first row
                self._files[file] = _place_of(file)
            elif found is None:
                return f"{file.name} was removed"
            elif (found.st_dev, found.st_ino) != known:
                return f"{file.name} was replaced by another file"
        return None

    def cut_short(self) -> bool:
        """Tell whether the file lost its end, or all of it, while it was open. It never does by itself."""
        try:
            size = self._path.stat().st_size
        except OSError:
            return False
        before, self._size = self._size, max(self._size, size)
        return size < before

    def copy_to(self, path: Path) -> None:
        """Write all that this store holds to another file, also where its own has no name any more.

        Raises sqlite3.Error or OSError, and then leaves nothing.
        """
        with replacing(path) as unfinished:
            try:
                with contextlib.closing(sqlite3.connect(unfinished, isolation_level=None)) as copy:
                    self._writing.backup(copy)
                    copy.execute("PRAGMA journal_mode=DELETE")  # all of it is in the one file
            except BaseException:
                remove(unfinished)
                raise

    def clock_s(self) -> float:
        """Return the wall time at the opening plus the time that has run since, s. It is never set.

        Stamps of one opening can be compared.
        """
        return self._opened_s + time.monotonic()

    def _prepare(self, path: Path, epoch: str, committed: int) -> None:
        db = self._writing
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version not in {*_FROM, SCHEMA_VERSION} or (tables and not version):
            raise StoreError(
                f"{path} is no outbox of this version: expected schema {SCHEMA_VERSION}, received {version}. "
                "Name another file with the key store.path, or move this one away"
            )
        problems = [text for (text,) in db.execute("PRAGMA quick_check(1)") if text != "ok"]
        if problems:
            raise sqlite3.DatabaseError(problems[0])
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last commits when the power fails
        if version != SCHEMA_VERSION:
            self._take_over(version, epoch, committed)
        _check_tables(db)
        self._set_odd_rows_aside()
        now_s = self.clock_s()
        # a stamp of a clock that was ahead would be kept, and seem new, until that time comes
        db.execute(
            "UPDATE message SET created_s = min(created_s, ?), settled_s = min(settled_s, ?)"
            " WHERE created_s > ? OR settled_s > ?",
            (now_s,) * 4,
        )
        db.execute("UPDATE message SET state = ?, reason = NULL WHERE state = ?", (PENDING, DEAD_LETTER))
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        self.epoch = str(meta["epoch"])
        self._journal.load(db)
        self._ledger.load(db)
        self.alarm_records = dict(db.execute("SELECT alarm, body FROM alarm ORDER BY alarm").fetchall())
        self.totals = self._counted(int(meta["committed"]))

    def _take_over(self, version: int, epoch: str, committed: int) -> None:
        """Bring a file of an earlier version, or of none, to this one, in one transaction."""
        db = self._writing
        with db:
            db.execute("BEGIN IMMEDIATE")
            for statement in _FROM[version]:
                db.execute(statement)
            if version == 2:
                take_over_version_2(db, self._caps.of_journal)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            if not version:
                db.execute("INSERT INTO meta VALUES ('epoch', ?), ('committed', ?)", (epoch, committed))

    def _counted(self, committed: int) -> StoreTotals:
        """Return the totals of what lies in the file. `committed`: the highest number of an event."""
        count = {
            (state, urgent): (rows, size)
            for state, urgent, rows, size in self._writing.execute(
                "SELECT state, urgent, count(*), sum(length(payload)) FROM message GROUP BY state, urgent"
            )
        }
        (results, _), (alarms, _) = count.get((PENDING, 0), (0, 0)), count.get((PENDING, 1), (0, 0))
        kept, kept_alarms = count.get((ACKNOWLEDGED, 0), (0, 0)), count.get((ACKNOWLEDGED, 1), (0, 0))
        return StoreTotals(
            results=results,
            alarms=alarms,
            kept=kept[0] + kept_alarms[0],
            kept_results_bytes=kept[1],
            kept_alarms_bytes=kept_alarms[1],
            committed=committed,
        )

    def _set_odd_rows_aside(self) -> None:
        """Put rows aside that no outbox writes: somebody wrote into the file, and the sender would stop at them."""
        db = self._writing
        odd = db.execute(f"SELECT * FROM message WHERE NOT ({SOUND})").fetchall()  # noqa: S608 - ours
        if not odd:
            return
        with db:
            db.execute("BEGIN IMMEDIATE")
            for row in odd:
                self._keep_aside(Unwritable("a row that no outbox writes", ascii(row)[:_SHOWN_OF_ODD]))
            db.executemany("DELETE FROM message WHERE row = ?", [(row[0],) for row in odd])
        _log.error("The outbox %s: %d rows that no outbox writes were set aside in it", self._path, len(odd))

    def commit(self, jobs: Sequence[Job]) -> None:
        """Do all jobs in one transaction, or none of them; raises sqlite3.Error. A `ResendWish` may want several."""
        before, journal, ledger = self.totals, self._journal.state(), self._ledger.state()
        db = self._writing
        db.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                if isinstance(job, Put):
                    self._insert(job)
                elif isinstance(job, Settle):
                    self._settle(job)
                elif isinstance(job, Unwritable):
                    self._keep_aside(job)
                elif isinstance(job, RetryDeadLetters):
                    self._retry_dead_letters(job)
                else:
                    self._resend(job)
            self._drop_oldest()
            self._forget()
            db.execute("UPDATE meta SET value = ? WHERE key = 'committed'", (self.totals.committed,))
            db.execute("COMMIT")
        except BaseException:
            self.totals = before
            self._journal.back_to(journal)
            self._ledger.back_to(ledger)
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _insert(self, put: Put) -> None:
        db, now_s = self._writing, self.clock_s()
        new = not put.messages
        for m in put.messages:
            added = db.execute(
                "INSERT INTO message"
                " (seq, id, kind, topic, payload, qos, retain, expiry_s, urgent, created_s)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (put.seq, m.id, m.kind, m.topic, m.payload, m.qos, m.retain, m.expiry_s, m.urgent, now_s),
            ).rowcount
            new = new or bool(added)
            self._count(alarms=added * m.urgent, results=added * (not m.urgent))
            if m.retain:
                db.execute(
                    "INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (m.topic, m.id, m.kind, m.payload, m.qos, m.expiry_s, m.urgent),
                )
        for record in put.alarms:
            db.execute("INSERT OR REPLACE INTO alarm VALUES (?, ?)", (record.alarm, record.body))
        if put.journal:
            self._journal.add(db, put.journal)
        if new and (put.counts or put.worst):  # a message that is there already was counted when it came
            self._ledger.add(db, put.counts, put.worst)
        if put.seq is not None and put.seq > self.totals.committed:
            self.totals = replace(self.totals, committed=put.seq)

    def _keep_aside(self, job: Unwritable) -> None:
        db, at = self._writing, datetime.now(timezone.utc).isoformat(timespec="microseconds")
        db.execute("INSERT INTO unwritable (at, reason, content) VALUES (?, ?, ?)", (at, job.reason, job.content))
        db.execute(
            "DELETE FROM unwritable WHERE entry <= (SELECT max(entry) FROM unwritable) - ?", (_UNWRITABLE_AT_MOST,)
        )

    def _settle(self, settle: Settle) -> None:
        if settle.reason is not None:
            refused = self._writing.execute(
                "UPDATE message SET state = ?, reason = ? WHERE row = ? AND id = ? AND state = ?",
                (DEAD_LETTER, encodable(settle.reason), settle.row, settle.id, PENDING),
            ).rowcount
            self._count(dead_letters=refused)
            return
        taken = self._writing.execute(
            "UPDATE message SET state = ?, settled_s = coalesce(settled_s, ?) WHERE row = ? AND id = ? AND state = ?",
            (ACKNOWLEDGED, settle.at_s, settle.row, settle.id, PENDING),
        ).rowcount
        self._count(acknowledged=1)
        self._move(taken, taken * settle.size, settle.urgent)

    def _move(self, rows: int, size: int, urgent: int) -> None:
        """Count rows of a class from waiting to acknowledged; below 0, back."""
        if urgent:
            self._count(alarms=-rows, kept=rows, kept_alarms_bytes=size)
        else:
            self._count(results=-rows, kept=rows, kept_results_bytes=size)

    def _resend(self, wish: ResendWish) -> None:
        """Have some of what is wished sent again. A retained message is not sent again: a newer state may stand."""
        db = self._writing
        if wish.since_s is None:
            meant, given = "seq BETWEEN ? AND ?", [float(wish.first_seq), float(wish.last_seq)]
        else:
            meant, given = "settled_s >= ? AND resent < ?", [wish.since_s, RESENT_AT_MOST]
        room = min(self._caps.results - self.totals.results, self._caps.alarms - self.totals.alarms, _STEP)
        found = db.execute(
            # a row settled later than now was settled before, by a clock that was ahead
            "SELECT row, urgent, length(payload) FROM message WHERE state = ? AND NOT retain"  # noqa: S608 - ours
            f" AND (settled_s < ? OR settled_s > ?) AND {meant} AND row > ? ORDER BY row LIMIT ?",
            (ACKNOWLEDGED, wish.asked_s, self.clock_s(), *given, wish.after, max(0, room)),
        ).fetchall()
        for row, urgent, size in found:
            db.execute(
                "UPDATE message SET state = ?, resent = max(1, resent + ?), settled_s = iif(?, NULL, settled_s)"
                " WHERE row = ?",
                (PENDING, wish.forgotten, wish.forgotten, row),
            )
            self._move(-1, -size, urgent)
            wish.after = row
        wish.resent += len(found)
        if len(found) < _STEP:
            wish.outcome = self._outcome(wish)

    def _retry_dead_letters(self, wish: RetryDeadLetters) -> None:
        """Have dead letters tried again. A retained one with a newer behind it is done with: it would undo that."""
        db = self._writing
        done = db.execute(
            "SELECT row, urgent, length(payload) FROM message AS old WHERE state = ? AND retain AND EXISTS"
            " (SELECT 1 FROM message AS new WHERE new.topic = old.topic AND new.retain AND new.row > old.row)",
            (DEAD_LETTER,),
        ).fetchall()
        for row, urgent, size in done:
            db.execute("UPDATE message SET state = ?, settled_s = ? WHERE row = ?", (ACKNOWLEDGED, self.clock_s(), row))
            self._move(1, size, urgent)
        which = "topic = ?"
        given: tuple[str | int | None, ...] = (wish.topic,)
        if wish.topic is None:
            which = (
                "(row IN (SELECT min(row) FROM message WHERE state = ? AND reason NOT LIKE ? GROUP BY topic)"
                " OR row IN (SELECT row FROM message WHERE state = ? AND reason LIKE ? ORDER BY row LIMIT ?))"
            )
            given = (DEAD_LETTER, f"{BROKE}%", DEAD_LETTER, f"{BROKE}%", wish.broken)
        tried = db.execute(
            f"UPDATE message SET state = ?, reason = NULL WHERE state = ? AND {which}",  # noqa: S608 - ours
            (PENDING, DEAD_LETTER, *given),
        ).rowcount
        self._count(dead_letters=-tried - len(done))

    def _outcome(self, wish: ResendWish) -> Resent:
        last = min(wish.last_seq, self.totals.committed)
        (there,) = self._writing.execute(
            "SELECT count(DISTINCT seq) FROM message WHERE seq BETWEEN ? AND ? AND NOT retain", (wish.first_seq, last)
        ).fetchone()
        missing = max(0, last - wish.first_seq + 1 - there)
        return Resent(wish.resent, max(0, there - wish.resent), missing)

    def _drop_oldest(self) -> None:
        for urgent, have in ((0, self.totals.results), (1, self.totals.alarms)):
            excess = have - self._caps.unsettled(urgent)
            if excess <= 0:
                continue
            oldest = sorted(
                row
                for state in (PENDING, DEAD_LETTER)  # apart, so that each is read from the index, in order
                for row in self._writing.execute(
                    "SELECT row, state FROM message WHERE state = ? AND urgent = ? ORDER BY row LIMIT ?",
                    (state, urgent, excess),
                )
            )[:excess]
            self._writing.executemany("DELETE FROM message WHERE row = ?", [(row,) for row, _ in oldest])
            self._count(dead_letters=-sum(state == DEAD_LETTER for _, state in oldest))
            if urgent:
                self._count(alarms=-excess, alarms_dropped=excess)
            else:
                self._count(results=-excess, dropped=excess)

    def _forget(self) -> None:
        """Delete the oldest acknowledged rows that are too old or too many, some in each commit."""
        now_s = self.clock_s()
        for urgent in (0, 1):
            size = self.totals.kept_alarms_bytes if urgent else self.totals.kept_results_bytes
            over = size - self._caps.kept_bytes(urgent)
            if over <= 0 and now_s < self._forget_at_s[urgent]:
                continue
            rows = self._writing.execute(
                "SELECT row, length(payload), settled_s FROM message WHERE state = ? AND urgent = ?"
                " ORDER BY row LIMIT ?",
                (ACKNOWLEDGED, urgent, _STEP),
            ).fetchall()
            going = 0
            for row, length, settled_s in rows:
                if over <= 0 and settled_s >= now_s - self._caps.kept_s:
                    break
                self._writing.execute("DELETE FROM message WHERE row = ?", (row,))
                over -= length
                going += 1
                if urgent:
                    self._count(kept=-1, kept_alarms_bytes=-length)
                else:
                    self._count(kept=-1, kept_results_bytes=-length)
            if going < _STEP:
                self._forget_at_s[urgent] = now_s + 1.0

    def _count(self, **by: int) -> None:
        self.totals = self.totals.more(**by)

    def read(
        self,
        after: int,
        limit: int,
        *,
        urgent: bool,
        resent: bool | None = None,
        topic: str | None = None,
        without: Collection[str] = (),
    ) -> list[Row]:
        """Return at most `limit` pending rows of a class behind row `after`, in order; raises sqlite3.Error.

        `resent`: only rows that are sent again, or only the others. `topic`: only its rows. `without`: no row of these
        topics.
        """
        marks = ",".join("?" * len(without))
        found = self._reading.execute(
            f"SELECT {COLUMNS} FROM message WHERE state = ? AND urgent = ? AND row > ?"  # noqa: S608 - ours
            f" AND (? IS NULL OR topic = ?) AND (? IS NULL OR (resent > 0) = ?) AND topic NOT IN ({marks})"
            " ORDER BY row LIMIT ?",
            (PENDING, urgent, after, topic, topic, resent, resent, *without, limit),
        ).fetchall()
        return [as_row(columns) for columns in found]

    def retained(self) -> list[Message]:
        """Return the last message of each retained topic of which none is pending; raises sqlite3.Error."""
        found = self._reading.execute(
            "SELECT id, kind, topic, payload, qos, expiry_s, urgent FROM retained WHERE topic NOT IN"
            " (SELECT topic FROM message WHERE state = ? AND retain) ORDER BY topic",
            (PENDING,),
        ).fetchall()
        return [
            Message(identifier, kind, topic, payload, qos, True, expiry_s, bool(urgent))
            for identifier, kind, topic, payload, qos, expiry_s, urgent in found
        ]

    def oldest_s(self) -> float | None:
        """Return when the oldest message was put that the broker never took, by `clock_s`; None if there is none.

        Raises sqlite3.Error.
        """
        (found,) = self._reading.execute(
            """SELECT min(created_s) FROM (
              SELECT * FROM (
                SELECT created_s FROM message WHERE state = 0 AND urgent = 0 AND resent = 0 ORDER BY row LIMIT 1)
              UNION ALL
              SELECT * FROM (
                SELECT created_s FROM message WHERE state = 0 AND urgent = 1 AND resent = 0 ORDER BY row LIMIT 1))"""
        ).fetchone()
        return None if found is None else float(found)

    def running_counts(self) -> tuple[CountDelta, ...]:
        """Return the counters of the shift that was counted last, as this store has them in memory."""
        return self._ledger.running()

    def make_room(self) -> None:
        """Give the disk back what the write-ahead log takes, as far as it can be; raises sqlite3.Error."""
        self._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the file."""
        self._reading.close()
        self._writing.close()


def _check_tables(db: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError, as for any damage, where a table or what every store holds was taken out."""
    for table in ("message", "retained", "alarm", "journal", "chain", "unwritable", "shift_count", "shift_worst"):
        db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()  # noqa: S608 - ours
    triggers = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
    if triggers:  # no outbox has one; it could take out what was just written
        raise sqlite3.DatabaseError(f"expected no triggers, found {triggers!r:.200}")
    meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
    committed = meta.get("committed")
    if not isinstance(meta.get("epoch"), str) or not isinstance(committed, int) or committed < 0:
        raise sqlite3.DatabaseError(f"expected an epoch and the last number in it, found {meta!r:.200}")


def connect(path: Path) -> sqlite3.Connection:
    """Open a SQLite file to write to."""
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def open_store(path: Path, caps: Caps, kind: type[Store] = Store) -> tuple[Store, Path | None]:
    """Open the store; a corrupt one is set aside under the returned path and replaced. Raises StoreError.

    A copy that was whole when the line was killed, and had not got its place yet, gets it.
    """
    try:
        if path.exists() and not path.is_file():
            raise StoreError(
                f"The outbox {path} is no file; expected one, or nothing, which a line makes one. Move away what lies "
                "there, or name another file with the key store.path"
            )
        if not path.exists() and copy_of(path).exists():
            copy_of(path).replace(path)
        try:
            return kind(path, caps), None
        except sqlite3.DatabaseError as error:
            if not is_corrupt(error):
                raise
            aside = set_aside(path)
            _log.warning("The outbox %s is corrupt (%s): set aside as %s, a new one is begun", path, error, aside)
            return kind(path, caps), aside
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"The outbox {path} cannot be opened: {error}. Expected a file that this user may write, on a disk with "
            "room, that no other program holds; free the disk or name another file with the key store.path"
        ) from error


def is_corrupt(error: sqlite3.Error) -> bool:
    """Tell a damaged file from one that is locked, full or not ours, which are children of the same error."""
    # our statements never change, so a table or column that they miss was taken out of the file
    gone = isinstance(error, sqlite3.OperationalError) and str(error).startswith(_GONE)
    return type(error) is sqlite3.DatabaseError or gone


def copy_of(path: Path) -> Path:
    """Return where a whole copy of an open store waits for its place."""
    return _beside(path, ".copy")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}{suffix}")


def _place_of(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: Path, because: str = "corrupt") -> Path:
    """Move a store out of the way and return where it is now."""
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{path}.{because}-{moment}{suffix}")  # noqa: PTH105 - suffixed strings
    return path.with_name(f"{path.name}.{because}-{moment}")


def remove(path: Path) -> None:
    """Remove a store that nothing was accepted into. Raises OSError."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def as_row(columns: tuple[Any, ...]) -> Row:
    """Return a row of what was selected by COLUMNS."""
    row, seq, identifier, kind, topic, payload, qos, retain, expiry_s, urgent, resent = columns
    message = Message(identifier, kind, topic, payload, qos, bool(retain), expiry_s, bool(urgent), resent=bool(resent))
    return Row(row, seq, message)
