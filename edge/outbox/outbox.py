"""The queue before the file, and the one thread that writes it."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from heapq import merge
from itertools import count, islice
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self

from edge.errors import StoreError
from edge.outbox.reader import OutboxReader
from edge.outbox.records import Job, Put, Repeat, Repeated, Row, Settle
from edge.outbox.store import Caps, Store, is_corrupt, open_store, remove, set_aside
from edge.records import AlarmRecord, JournalEntry, Message

_log = logging.getLogger(__name__)

GROUP_S = 0.05  # results share one commit (one fsync) for at most this long
RETRY_S = 1.0
SETTLED_AT_MOST = 5000  # rows that the broker took, of which a disk that takes nothing does not know
_PAGE = 64
_AT_ONCE = 1000  # jobs in one commit: what waited while the disk took nothing must find room in steps
_T = TypeVar("_T")


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


class Outbox:
    """A durable queue of messages in the SQLite file `path`; its folder is made if absent.

    Results are committed in groups of at most 50 ms, urgent messages at once. Keeps at most `max_results` results and,
    apart from them, `max_alarms` urgent messages that the broker has not acknowledged; beyond that the oldest go first,
    and are counted. Acknowledged ones are kept for `kept_s` seconds, as far as there is room, to be sent again.
    `max_waiting` bounds the results in memory for as long as the disk takes none, `max_alarms` the urgent messages. A
    corrupt file is moved to the path `set_aside` and a new one begun, also while it is open. `generation` counts how
    often rows have become pending that are not behind those that were. Entering raises StoreError
    where the file cannot be written, is in use, or is something else. `kind` makes the store.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_results: int = 200_000,
        max_alarms: int = 100_000,
        max_waiting: int = 2_000,
        kept_s: float = 86_400.0,
        kind: type[Store] = Store,
    ) -> None:
        self._path = path
        self._caps = Caps(results=max_results, alarms=max_alarms, kept_s=kept_s)
        self._kind = kind
        self._max_waiting = max_waiting
        self._changed = threading.Condition()
        self._order = count()
        # by class, so that the oldest of one is found at once; the number beside each job is its turn
        self._waiting: dict[bool, deque[tuple[int, Job]]] = {False: deque(), True: deque()}
        self._settles: deque[tuple[int, Job]] = deque()
        self._settling: set[int] = set()
        self._committing: list[tuple[int, Job]] = []
        self._messages_waiting = 0
        self._hurry = False
        self._first_at_s: float | None = None
        self._retry_at_s = 0.0
        self._closing = True
        self._dropped = {False: 0, True: 0}
        self._trouble: str | None = None
        self._listener: Callable[[], None] = lambda: None
        self._corrupt: str | None = None
        self._moved_away = (
            False  # the corrupt file; what lies in its place meanwhile is a new one that was not finished
        )
        self.set_aside: Path | None = None
        self.generation = 0

    def __enter__(self) -> Self:
        self._lock_file = _lock(self._path)
        try:
            self._store, self.set_aside = open_store(self._path, self._caps, self._kind)
        except BaseException:
            os.close(self._lock_file)
            raise
        self._seq = self._store.totals.committed
        self._alarms = dict(self._store.alarm_records)
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

    @property
    def alive(self) -> bool:
        """Whether the writer's thread runs."""
        return self._writer.is_alive()

    def counts(self) -> OutboxCounts:
        """Tell how many messages are where."""
        with self._changed:
            totals = self._store.totals
            return OutboxCounts(
                waiting=self._messages_waiting,
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

    def put(
        self,
        seq: int | None,
        *messages: Message,
        alarms: Sequence[AlarmRecord] = (),
        journal: Sequence[JournalEntry] = (),
    ) -> None:
        """Accept messages, alarm records and journal entries, together or not at all, without waiting for the disk.

        All of it is committed in one transaction; at once, if any of it is urgent or about an alarm. Put in the order
        of `seq`, the reserved number of the event that they tell of; None if they tell of none. Raises StoreError if
        closed.
        """
        job = Put(seq, messages, tuple(alarms), tuple(journal))
        with self._changed:
            if self._closing:
                raise StoreError(f"The outbox {self._path} is closed; put messages while it is open")
            waiting = self._waiting[job.urgent]
            waiting.append((next(self._order), job))
            self._messages_waiting += len(messages)
            self._make_room()
            self._wake(hurry=job.urgent or len(waiting) > self._max_waiting // 2)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Commit whatever the caller's thread puts within in one transaction: all of it, or after a kill nothing.

        The writer waits meanwhile, so be quick.
        """
        with self._changed:
            yield

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was accepted is on disk; False if it is not within `timeout_s`."""
        with self._changed:
            self._wake(hurry=True)
            return self._changed.wait_for(lambda: not self._some_wait() and not self._committing, timeout_s)

    def alarm_records(self) -> list[AlarmRecord]:
        """Return what was last put of each alarm, also before this start, in the order of their names."""
        with self._changed:
            records = dict(self._alarms)
            for _, job in (*self._committing, *self._waiting[True]):
                if isinstance(job, Put):
                    records |= {record.alarm: record.body for record in job.alarms}
        return [AlarmRecord(alarm, body) for alarm, body in sorted(records.items())]

    def journal(self, limit: int, alarm: str | None = None) -> list[JournalEntry]:
        """Return the last `limit` entries on disk, of one alarm if it is named, oldest first. Reads the disk."""
        with OutboxReader(self._path) as reader:
            return reader.journal(limit, alarm)

    def pending(
        self,
        after: int,
        limit: int,
        *,
        urgent: bool | None = None,
        topic: str | None = None,
        without: Collection[str] = (),
    ) -> list[Row]:
        """Return at most `limit` committed rows behind row `after` that wait for the broker, in order.

        `urgent`: only those of one class. `topic`: only its own. `without`: none of these topics. What was settled is
        not among them, though the disk may not know yet. No results come while the disk takes nothing and much is
        settled already, which memory must hold until it does. For one thread only.
        """
        if urgent is None:
            both = (self.pending(after, limit, urgent=which, topic=topic, without=without) for which in (False, True))
            return list(merge(*both, key=lambda row: row.row))[:limit]
        with self._changed:
            if not urgent and self._trouble is not None and len(self._settling) >= SETTLED_AT_MOST:
                return []
            settling = set(self._settling)
        found: list[Row] = []
        while len(found) < limit:
            size = max(limit - len(found), _PAGE if settling else 0)
            page = self._read(
                lambda store, after=after, size=size: store.read(  # type: ignore[misc] # mypy#15459
                    after, size, urgent=urgent, topic=topic, without=without
                )
            )
            found += [row for row in page if row.row not in settling]
            if len(page) < size:
                break
            after = page[-1].row
        return found[:limit]

    def retained(self) -> list[Message]:
        """Return the last message of each durable retained topic that has none pending. For `pending`'s thread."""
        return self._read(lambda store: store.retained())

    def oldest_s(self) -> float:
        """Return for how long the oldest pending message has waited, s; 0 if none does. For `pending`'s thread."""
        put_at_s = self._read(lambda store: store.oldest_s())
        return 0.0 if put_at_s is None else max(0.0, self._store.clock_s() - put_at_s)

    def acknowledge(self, row: Row) -> None:
        """Let a row go that the broker took."""
        self._settle(row, None)

    def park(self, row: Row, reason: str) -> None:
        """Keep a row that the broker refused out of the way, with its reason, until the outbox is opened again."""
        self._settle(row, reason)

    def repeat(self, first_seq: int, last_seq: int, done: Callable[[Repeated], None]) -> None:
        """Send acknowledged events of these numbers again; `done` is called from the writer's thread."""
        self._add(Repeat(self._store.clock_s(), first_seq, last_seq, done=done))

    def repeat_since(self, seconds: float) -> None:
        """Send again what was acknowledged in the last `seconds`: the broker has forgotten it."""
        now_s = self._store.clock_s()
        self._add(Repeat(now_s, since_s=now_s - seconds))

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, from the writer thread, after each commit."""
        self._listener = listener

    def _settle(self, row: Row, reason: str | None) -> None:
        m = row.message
        settle = Settle(row.row, m.id, len(m.payload), m.urgent, reason)
        with self._changed:
            self._settling.add(row.row)
            self._settles.append((next(self._order), settle))
            self._wake(hurry=False)

    def _add(self, wish: Repeat) -> None:
        with self._changed:
            self._settles.append((next(self._order), wish))
            self._wake(hurry=True)

    def _wake(self, *, hurry: bool) -> None:
        """Tell the writer that there is something, or with `hurry` that it is not to wait for more."""
        first = self._first_at_s is None
        if first and self._some_wait():
            self._first_at_s = time.monotonic()
        hurried, self._hurry = self._hurry, self._hurry or hurry
        if first or self._hurry != hurried:
            self._changed.notify_all()

    def _some_wait(self) -> bool:
        return bool(self._settles or self._waiting[False] or self._waiting[True])

    def _make_room(self) -> None:
        """Drop the oldest waiting jobs of a class beyond its bound: the disk takes nothing, and memory ends.

        For urgent ones the bound is as high as that of the disk; no result displaces one.
        """
        for urgent, bound in ((False, self._max_waiting), (True, self._caps.alarms)):
            while len(self._waiting[urgent]) > bound:
                _, job = self._waiting[urgent].popleft()
                if isinstance(job, Put):
                    self._dropped[urgent] += len(job.messages)
                    self._messages_waiting -= len(job.messages)

    def _read(self, what: Callable[[Store], _T]) -> _T:
        try:
            return what(self._store)
        except sqlite3.Error as error:
            if is_corrupt(error):
                with self._changed:
                    self._corrupt = str(error)
                    self._wake(hurry=True)
                    self._changed.notify_all()
            raise StoreError(f"The outbox {self._path} cannot be read: {error}. Check the disk") from error

    def _write(self) -> None:
        while self._next_jobs():
            jobs = [job for _, job in self._committing]
            try:
                if self._corrupt is not None:
                    self._begin_anew(self._corrupt)
                elif self._trouble is not None:
                    self._store.make_room()
                self._store.commit(jobs)
            except Exception as error:  # noqa: BLE001 - a writer that ended would take everything and say nothing
                if isinstance(error, sqlite3.Error) and is_corrupt(error):
                    self._corrupt = str(error)
                if not isinstance(error, (sqlite3.Error, StoreError)):
                    _log.error("The outbox %s met what it does not know", self._path, exc_info=error)
                if not self._keep(error):
                    return
                continue
            self._note_done(jobs)
            self._listener()

    def _note_done(self, jobs: Sequence[Job]) -> None:
        wishes = [job for job in jobs if isinstance(job, Repeat)]
        with self._changed:
            for job in jobs:
                if isinstance(job, Put):
                    self._messages_waiting -= len(job.messages)
                    self._alarms |= {record.alarm: record.body for record in job.alarms}
                elif isinstance(job, Settle):
                    self._settling.discard(job.row)
            self._committing = []
            self._trouble = None
            for wish in wishes:
                self.generation += 1
                if wish.outcome is None:  # there is more of it to do
                    self._settles.append((next(self._order), wish))
                    self._wake(hurry=True)
            self._changed.notify_all()
        for wish in wishes:
            if wish.outcome is not None:
                try:
                    wish.done(wish.outcome)
                except Exception:  # noqa: BLE001 - who asked may be gone, and all others still count on this thread
                    _log.exception("The answer to a wish to send again could not be given")

    def _next_jobs(self) -> bool:
        """Wait until a commit is due and take what it holds; False when the outbox closes empty."""
        with self._changed:
            while not self._closing:
                now_s = time.monotonic()
                due_s = max(self._retry_at_s, now_s if self._hurry else (self._first_at_s or 0.0) + GROUP_S)
                waits = self._some_wait() or self._corrupt is not None
                if waits and now_s >= due_s:
                    break
                self._changed.wait(due_s - now_s if waits else None)
            queues = (self._settles, *self._waiting.values())
            self._committing = list(islice(merge(*queues, key=lambda turn: turn[0]), _AT_ONCE))
            for queue in queues:
                while queue and queue[0][0] <= self._committing[-1][0]:
                    queue.popleft()
            self._hurry = self._some_wait()
            self._first_at_s = time.monotonic() if self._hurry else None
            return bool(self._committing) or not self._closing

    def _keep(self, error: Exception) -> bool:
        """Take back what could not be written, to try again; False if there is no again."""
        with self._changed:
            for turn in reversed(self._committing):
                job = turn[1]
                (self._waiting[job.urgent] if isinstance(job, Put) else self._settles).appendleft(turn)
            self._committing = []
            self._retry_at_s = time.monotonic() + RETRY_S
            if self._trouble is None:
                _log.error("The outbox %s cannot be written: %s. Messages wait in memory", self._path, error)
            self._trouble = f"the outbox cannot be written: {error}"
            self._make_room()
            self._wake(hurry=True)
            if self._closing:
                lost = self._messages_waiting
                _log.error("%d messages are lost: the outbox %s closed unwritten: %s", lost, self._path, error)
            return not self._closing

    def _begin_anew(self, why: str) -> None:
        """Set a file aside that went bad while it was open. The numbers are known here, so they and the epoch go on.

        Raises sqlite3.Error or StoreError where no new file can be made; it is tried again.
        """
        old = self._store
        old.close()
        try:
            if self._moved_away:
                remove(self._path)
            elif self._path.exists():
                self.set_aside = set_aside(self._path)
                _log.error(
                    "The outbox %s went bad (%s): set aside as %s, a new one is begun", self._path, why, self.set_aside
                )
        except OSError as error:
            raise StoreError(f"{self._path} went bad ({why}) and cannot be moved away: {error.strerror}") from error
        self._moved_away = True
        with self._changed:
            seq, alarms = self._seq, dict(self._alarms)
        store = self._kind(self._path, self._caps, epoch=old.epoch, committed=seq)
        store.totals = replace(
            store.totals,
            acknowledged=old.totals.acknowledged,
            dropped=old.totals.dropped,
            alarms_dropped=old.totals.alarms_dropped,
        )
        store.commit([Put(None, (), [AlarmRecord(alarm, body) for alarm, body in alarms.items()])])
        with self._changed:
            self._store = store
            self._settling.clear()
            self._corrupt = None
            self._moved_away = False
            self.generation += 1


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
