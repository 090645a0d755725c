"""The durable queue between deciding and the broker: what was committed here leaves only when the broker took it.

`Outbox` is a SQLite file owned by one writer thread behind a bounded queue, so the loop that decides never waits for
the disk. `Sender` is one thread that carries committed rows, in order, to a publisher. A message may arrive twice (its
`id` tells), and none is lost to a restart, a killed process or an absent broker.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edge.errors import PublishError, StoreError
from edge.protocols import Publisher
from edge.records import Acknowledged, Connected, Message, PublisherEvent, Received, Refused, SessionLost, Unheard

_log = logging.getLogger(__name__)

GROUP_S = 0.05  # results share one commit (one fsync) for at most this long
RETRY_S = 1.0
BUSY_S = 1.0
WINDOW = 16  # below the 20 unacknowledged messages that mosquitto allows
_SCHEMA_VERSION = 1
_PENDING, _PARKED = 0, 1
_SCHEMA = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL)",
    """CREATE TABLE message (
      row INTEGER PRIMARY KEY AUTOINCREMENT, seq INTEGER, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
      topic TEXT NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL, expiry_s INTEGER,
      urgent INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, reason TEXT
    )""",
    "CREATE INDEX message_by_class ON message (urgent, row)",
    "INSERT INTO meta VALUES ('committed', 0)",
    "PRAGMA user_version = 1",
)


@dataclass(frozen=True)
class Row:
    """One committed message. `row` grows in the order of `put`; `seq` is its event's number, None if it is no event."""

    row: int
    seq: int | None
    message: Message


@dataclass(frozen=True)
class OutboxCounts:
    """How many messages are where.

    `waiting`: accepted, not yet on disk. `pending`: on disk, not yet acknowledged. `parked`: refused by the broker,
    kept, and tried again when the outbox is next opened. Since opening: `acknowledged`, and for want of room `dropped`
    results and `alarms_dropped`.
    """

    waiting: int
    pending: int
    parked: int
    acknowledged: int
    dropped: int
    alarms_dropped: int


@dataclass(frozen=True)
class _Put:
    seq: int | None
    messages: tuple[Message, ...]

    @property
    def urgent(self) -> bool:
        return any(message.urgent for message in self.messages)


@dataclass(frozen=True)
class _Settle:
    """What became of a row: refused for `reason`, or else acknowledged."""

    row: Row
    reason: str | None


@dataclass
class _Totals:
    results: int = 0
    alarms: int = 0
    parked: int = 0
    acknowledged: int = 0
    dropped: int = 0
    alarms_dropped: int = 0
    committed: int = 0


class _Store:
    """The SQLite file. `commit` belongs to the writer thread, `read` to the sender's."""

    def __init__(self, path: Path, max_results: int, max_alarms: int) -> None:
        self._caps = {False: max_results, True: max_alarms}
        self._writing = _connect(path)
        try:
            self._prepare(path)
            self._reading = _connect(path)
        except BaseException:
            self._writing.close()
            raise

    def _prepare(self, path: Path) -> None:
        db = self._writing
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if version != _SCHEMA_VERSION and (version or tables):
            raise StoreError(
                f"{path} is no outbox of this version: expected schema {_SCHEMA_VERSION}, received {version}. "
                "Name another file with the key store.path, or move this one away"
            )
        problems = [text for (text,) in db.execute("PRAGMA quick_check(1)") if text != "ok"]
        if problems:
            raise sqlite3.DatabaseError(problems[0])
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")  # NORMAL may lose the last commits when the power fails
        if not version:
            with db:
                db.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    db.execute(statement)
                db.execute("INSERT INTO meta VALUES ('epoch', ?)", (str(uuid.uuid4()),))
        db.execute("UPDATE message SET state = ?, reason = NULL WHERE state = ?", (_PENDING, _PARKED))
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
        self.epoch = str(meta["epoch"])
        rows = dict(db.execute("SELECT urgent, count(*) FROM message GROUP BY urgent").fetchall())
        self.totals = _Totals(results=rows.get(0, 0), alarms=rows.get(1, 0), committed=int(meta["committed"]))

    def commit(self, jobs: Sequence[_Put | _Settle]) -> None:
        """Do all jobs in one transaction, or none of them; raises sqlite3.Error."""
        totals = _Totals(**vars(self.totals))
        db = self._writing
        db.execute("BEGIN IMMEDIATE")
        try:
            for job in jobs:
                if isinstance(job, _Put):
                    self._insert(job, totals)
                else:
                    self._settle(job, totals)
            self._drop_oldest(totals)
            db.execute("UPDATE meta SET value = ? WHERE key = 'committed'", (totals.committed,))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self.totals = totals

    def _insert(self, put: _Put, totals: _Totals) -> None:
        for m in put.messages:
            added = self._writing.execute(
                "INSERT OR IGNORE INTO message (seq, id, kind, topic, payload, qos, retain, expiry_s, urgent)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (put.seq, m.id, m.kind, m.topic, m.payload, m.qos, m.retain, m.expiry_s, m.urgent),
            ).rowcount
            totals.alarms += added * m.urgent
            totals.results += added * (not m.urgent)
        totals.committed = max(totals.committed, put.seq or 0)

    def _settle(self, settle: _Settle, totals: _Totals) -> None:
        row, urgent = settle.row.row, settle.row.message.urgent
        if settle.reason is not None:
            totals.parked += self._writing.execute(
                "UPDATE message SET state = ?, reason = ? WHERE row = ? AND state = ?",
                (_PARKED, settle.reason, row, _PENDING),
            ).rowcount
            return
        totals.acknowledged += 1
        removed = self._writing.execute("DELETE FROM message WHERE row = ? AND state = ?", (row, _PENDING)).rowcount
        totals.alarms -= removed * urgent
        totals.results -= removed * (not urgent)

    def _drop_oldest(self, totals: _Totals) -> None:
        for urgent, have in ((False, totals.results), (True, totals.alarms)):
            excess = have - self._caps[urgent]
            if excess <= 0:
                continue
            oldest = self._writing.execute(
                "SELECT row, state FROM message WHERE urgent = ? ORDER BY row LIMIT ?", (urgent, excess)
            ).fetchall()
            self._writing.execute("DELETE FROM message WHERE urgent = ? AND row <= ?", (urgent, oldest[-1][0]))
            totals.parked -= sum(state == _PARKED for _, state in oldest)
            totals.alarms -= excess * urgent
            totals.alarms_dropped += excess * urgent
            totals.results -= excess * (not urgent)
            totals.dropped += excess * (not urgent)

    def read(self, after: int, limit: int) -> list[Row]:
        """Return at most `limit` pending rows behind row `after`, in order; raises sqlite3.Error."""
        found = self._reading.execute(
            "SELECT row, seq, id, kind, topic, payload, qos, retain, expiry_s, urgent FROM message"
            " WHERE row > ? AND state = ? ORDER BY row LIMIT ?",
            (after, _PENDING, limit),
        ).fetchall()
        return [
            Row(row, seq, Message(identifier, kind, topic, payload, qos, bool(retain), expiry_s, bool(urgent)))
            for row, seq, identifier, kind, topic, payload, qos, retain, expiry_s, urgent in found
        ]

    def close(self) -> None:
        self._reading.close()
        self._writing.close()


class Outbox:
    """A durable queue of messages in the SQLite file `path`; its folder is made if absent.

    Results are committed in groups of at most 50 ms, urgent messages at once. Keeps at most `max_results` results and,
    apart from them, `max_alarms` urgent messages; beyond that the oldest go first, and are counted. `max_waiting`
    bounds both in memory, for as long as the disk takes none. A corrupt file is moved to the path `set_aside` and a
    new one begun. Entering raises StoreError where the file cannot be written, is in use, or is something else.
    """

    def __init__(
        self, path: Path, *, max_results: int = 200_000, max_alarms: int = 100_000, max_waiting: int = 2_000
    ) -> None:
        self._path = path
        self._caps = (max_results, max_alarms)
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._waiting: deque[_Put | _Settle] = deque()
        self._committing: list[_Put | _Settle] = []
        self._hurry = False
        self._first_at_s = 0.0
        self._retry_at_s = 0.0
        self._closing = True
        self._dropped = {False: 0, True: 0}
        self._trouble: str | None = None
        self._listener: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._lock_file = _lock(self._path)
        try:
            self._store, self.set_aside = _open(self._path, *self._caps)
        except BaseException:
            os.close(self._lock_file)
            raise
        self._seq = self._store.totals.committed
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._writer.join()
        self._store.close()
        os.close(self._lock_file)

    @property
    def epoch(self) -> str:
        """The id of this store: event numbers of another epoch count from another beginning."""
        return self._store.epoch

    @property
    def committed(self) -> int:
        """The highest event number that is on disk."""
        return self._store.totals.committed

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written just now, in words; None while all is well."""
        return self._trouble

    def counts(self) -> OutboxCounts:
        """Tell how many messages are where."""
        with self._changed:
            totals = self._store.totals
            return OutboxCounts(
                waiting=_messages_in(self._committing) + _messages_in(self._waiting),
                pending=totals.results + totals.alarms - totals.parked,
                parked=totals.parked,
                acknowledged=totals.acknowledged,
                dropped=totals.dropped + self._dropped[False],
                alarms_dropped=totals.alarms_dropped + self._dropped[True],
            )

    def reserve(self) -> int:
        """Return the next event number; it counts on from the highest that was ever committed."""
        with self._changed:
            self._seq += 1
            return self._seq

    def put(self, seq: int | None, *messages: Message) -> None:
        """Accept messages, together or not at all, without waiting for the disk. Put in the order of `seq`.

        `seq` is the reserved number of the event they tell of, None if they tell of none. Raises StoreError if closed.
        """
        with self._changed:
            if self._closing:
                raise StoreError(f"The outbox {self._path} is closed; put messages while it is open")
            job = _Put(seq, messages)
            self._add(job)
            self._hurry |= job.urgent or len(self._waiting) > self._max_waiting // 2
            self._make_room(job.urgent)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was accepted is on disk; False if it is not within `timeout_s`."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._waiting and not self._committing, timeout_s)

    def pending(self, after: int, limit: int) -> list[Row]:
        """Return at most `limit` committed rows behind row `after`, in order. For one thread only."""
        try:
            return self._store.read(after, limit)
        except sqlite3.Error as error:
            raise StoreError(f"The outbox {self._path} cannot be read: {error}. Check the disk") from error

    def acknowledge(self, row: Row) -> None:
        """Let a row go that the broker took."""
        self._settle(_Settle(row, None))

    def park(self, row: Row, reason: str) -> None:
        """Keep a row that the broker refused out of the way, with its reason, until the outbox is opened again."""
        self._settle(_Settle(row, reason))

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, from the writer thread, after each commit."""
        self._listener = listener

    def _settle(self, settle: _Settle) -> None:
        with self._changed:
            self._add(settle)
            self._changed.notify_all()

    def _add(self, job: _Put | _Settle) -> None:
        if not self._waiting:
            self._first_at_s = time.monotonic()
        self._waiting.append(job)

    def _make_room(self, urgent: bool) -> None:
        """Drop the oldest waiting messages of a class beyond `max_waiting`: the disk takes nothing, and memory ends."""
        if len(self._waiting) <= self._max_waiting:
            return
        own = [job for job in self._waiting if isinstance(job, _Put) and job.urgent == urgent]
        for job in own[: max(0, len(own) - self._max_waiting)]:
            self._waiting.remove(job)
            self._dropped[urgent] += len(job.messages)

    def _write(self) -> None:
        while True:
            jobs = self._next_jobs()
            if not jobs:
                return
            try:
                self._store.commit(jobs)
            except sqlite3.Error as error:
                if not self._keep(error):
                    return
                continue
            with self._changed:
                self._committing = []
                self._trouble = None
                self._changed.notify_all()
            self._listener()

    def _next_jobs(self) -> list[_Put | _Settle]:
        """Wait until a commit is due and return what it holds; nothing when the outbox closes empty."""
        with self._changed:
            while not self._closing:
                now_s = time.monotonic()
                due_s = max(self._retry_at_s, now_s if self._hurry else self._first_at_s + GROUP_S)
                if self._waiting and now_s >= due_s:
                    break
                self._changed.wait(due_s - now_s if self._waiting else None)
            self._committing = list(self._waiting)
            self._waiting.clear()
            self._hurry = False
            return self._committing

    def _keep(self, error: sqlite3.Error) -> bool:
        """Take back what could not be written, to try again; False if there is no again."""
        with self._changed:
            self._waiting.extendleft(reversed(self._committing))
            self._committing = []
            self._retry_at_s = time.monotonic() + RETRY_S
            self._hurry = True
            if self._trouble is None:
                _log.error("The outbox %s cannot be written: %s. Messages wait in memory", self._path, error)
            self._trouble = f"the outbox cannot be written: {error}"
            self._make_room(urgent=False)
            self._make_room(urgent=True)
            if self._closing:
                lost = _messages_in(self._waiting)
                _log.error("%d messages are lost: the outbox %s closed unwritten: %s", lost, self._path, error)
            return not self._closing


class Sender:
    """One thread that carries committed rows to the publisher, in order, at most WINDOW of them unacknowledged.

    A row is let go when acknowledged and parked when refused. What the publisher has accepted is its to deliver across
    reconnections, so nothing is handed over twice but after a restart. At every connection the sender sends what
    `announce` returns (status, birth, state): a Will may have replaced it. A broker that forgot the session also gets
    each durable retained message again, such as standing alarms. What the publisher hears is given to `heard`, in the
    sender's thread.
    """

    def __init__(
        self,
        outbox: Outbox,
        publisher: Publisher,
        announce: Callable[[], Sequence[Message]],
        heard: Callable[[Received], None] = lambda _: None,
    ) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._announce = announce
        self._heard = heard
        self._offers: dict[tuple[str, bytes | None], Message] = {}
        self._offers_lock = threading.Lock()
        self._in_flight: dict[int, tuple[Message, Row | None]] = {}
        self._retained: dict[str, Message] = {}
        self._cursor = 0
        self._connected: bool | None = None  # None: not known yet
        self._hold_until_s = 0.0
        self._wake = threading.Event()
        self._stop_at_s: float | None = None
        self._farewell: Message | None = None
        self._thread: threading.Thread | None = None
        self.published = 0
        self.trouble: str | None = None

    def __enter__(self) -> Self:
        self._outbox.listen(self._wake.set)
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(0.0)

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return bool(self._connected)

    def offer(self, message: Message) -> None:
        """Accept a message that need not survive: sent while connected, and only the latest of its topic.

        Answers are each sent, though several may go to one topic: they differ in their correlation.
        """
        with self._offers_lock:
            self._hold(message)
        self._wake.set()

    def _hold(self, message: Message) -> None:
        key = (message.topic, message.correlation)
        self._offers.pop(key, None)
        self._offers[key] = message

    def stop(self, drain_s: float, farewell: Message | None = None) -> None:
        """Send for at most `drain_s` what is left, then `farewell`, and end; rows that remain stay in the outbox."""
        if self._thread is None:
            return
        self._outbox.flush(drain_s)
        self._farewell = farewell
        self._stop_at_s = time.monotonic() + drain_s
        self._wake.set()
        self._thread.join(drain_s + 3 * RETRY_S)
        self._thread = None
        self._outbox.listen(lambda: None)

    def _run(self) -> None:
        while True:
            try:
                self._turn()
                if self._finished():
                    return
            except Exception as error:  # noqa: BLE001 - a sender that died would silence the line unseen
                _log.exception("The sender failed and goes on in %g s", RETRY_S)
                self.trouble = f"the sender failed: {error}"
                time.sleep(RETRY_S)
            # Acknowledgements come without a wake-up: look often while some are awaited.
            self._wake.wait(0.005 if self._in_flight else 0.1)
            self._wake.clear()

    def _turn(self) -> None:
        for event in self._publisher.events():
            self._handle(event)
        if not self._connected or time.monotonic() < self._hold_until_s:
            return
        try:
            self._send_offers()
            self._send_rows()
        except (PublishError, StoreError) as error:
            self.trouble = str(error)
            self._hold_until_s = time.monotonic() + RETRY_S
        else:
            if self._hold_until_s:
                self.trouble, self._hold_until_s = None, 0.0

    def _handle(self, event: PublisherEvent) -> None:
        if isinstance(event, Connected):
            self._connected, self.trouble = True, None
            # at once with asking for it: what is offered meanwhile is newer, and must not be replaced by this
            with self._offers_lock:
                for message in [*self._announce(), *([] if event.session_present else self._retained.values())]:
                    self._hold(message)
        elif isinstance(event, SessionLost):
            if self._connected is not False:
                _log.warning("No broker: %s. Messages wait in the outbox", event.reason)
            self._connected, self.trouble = False, f"no broker: {event.reason}"
        elif isinstance(event, Received):
            self._heard(event)
        elif isinstance(event, Unheard):
            self.trouble = event.reason
            _log.warning("No commands: %s", event.reason)
        else:
            self._settle(event)

    def _settle(self, event: Acknowledged | Refused) -> None:
        message, row = self._in_flight.pop(event.token.number, (None, None))
        if message is None:
            return
        if isinstance(event, Refused):
            self.trouble = f"the broker refused {message.topic}: {event.reason} (0x{event.reason_code:02X})"
            _log.error("%s", self.trouble)
            if row is not None:
                self._outbox.park(row, event.reason)
        elif row is not None:
            self._outbox.acknowledge(row)

    def _send_offers(self) -> None:
        while len(self._in_flight) < WINDOW:
            with self._offers_lock:
                key, message = next(iter(self._offers.items()), (None, None))
            if key is None or message is None:
                return
            self._send(message, None)
            with self._offers_lock:
                if self._offers.get(key) is message:
                    del self._offers[key]

    def _send_rows(self) -> None:
        room = WINDOW - len(self._in_flight)
        if room <= 0:
            return
        for row in self._outbox.pending(self._cursor, room):
            self._send(row.message, row)
            self._cursor = row.row
            self.published += 1
            if row.message.retain:
                # Now, not when acknowledged: the publisher may deliver it later than what a reconnection repeats.
                self._retained[row.message.topic] = row.message

    def _send(self, message: Message, row: Row | None) -> None:
        token = self._publisher.send(message)
        self._in_flight[token.number] = (message, row)

    def _finished(self) -> bool:
        """Whether to end now; sends the farewell once nothing is left or the time to drain is over."""
        if self._stop_at_s is None:
            return False
        over = time.monotonic() >= self._stop_at_s
        if self._connected is False or (over and not self._connected):
            return True
        # a farewell sent before the connection stands would be overtaken by what is announced at it
        unheard = self._connected is None
        if not over and (unheard or self._in_flight or self._offers or self._outbox.pending(self._cursor, 1)):
            return False
        if self._farewell is None:
            return True
        farewell, self._farewell = self._farewell, None
        self._send(farewell, None)
        self._stop_at_s = time.monotonic() + RETRY_S
        return False


def _messages_in(jobs: Iterable[_Put | _Settle]) -> int:
    return sum(len(job.messages) for job in jobs if isinstance(job, _Put))


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _lock(path: Path) -> int:
    """Take the outbox for this process, for as long as the returned file descriptor is open."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StoreError(
            f"The outbox {path} cannot be made: {error.strerror}. Expected a folder that this user may write; "
            "name another with the key store.path"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(
            f"The outbox {path} is in use by another Linewatch process. Stop that one, or name another file with the "
            "key store.path"
        ) from error
    return descriptor


def _open(path: Path, max_results: int, max_alarms: int) -> tuple[_Store, Path | None]:
    """Open the store; a corrupt one is set aside under the returned path and replaced."""
    try:
        try:
            return _Store(path, max_results, max_alarms), None
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # its children mean: locked, full, not ours, not writable
                raise
            aside = _set_aside(path)
            _log.warning("The outbox %s is corrupt (%s): set aside as %s, a new one is begun", path, error, aside)
            return _Store(path, max_results, max_alarms), aside
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"The outbox {path} cannot be opened: {error}. Expected a file that this user may write, on a disk with "
            "room, that no other program holds; free the disk or name another file with the key store.path"
        ) from error


def _set_aside(path: Path) -> Path:
    moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{path}.corrupt-{moment}{suffix}")  # noqa: PTH105 - suffixed strings
    return path.with_name(f"{path.name}.corrupt-{moment}")
