"""The queue before the file, and the one thread that writes it."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from heapq import merge
from itertools import count, groupby
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self

from edge.errors import StoreError
from edge.files import hold
from edge.outbox.reader import OutboxReader
from edge.outbox.records import BROKE, Job, Lane, Put, ResendWish, Resent, RetryDeadLetters, Row, Settle, Unwritable
from edge.outbox.rescue import take_over
from edge.outbox.store import Caps, Store, copy_of, is_corrupt, open_store, remove, set_aside
from edge.printable import encodable
from edge.records import AlarmRecord, JournalEntry, Message
from edge.records.ledger import CountDelta, WorstPart

_log = logging.getLogger(__name__)

GROUP_S = 0.05  # results share one commit (one fsync) for at most this long
SETTLED_S = 1.0  # rows that the broker took wait so long for a result, to be noted in the same commit
_SETTLED_TOGETHER = 20  # acknowledgements that wait for none: a kill has no more than these sent twice
RETRY_S = 1.0
LOOK_S = 1.0  # the pause of an idle writer between looks for its file
CLOSING_S = 5.0  # the time for which a closing outbox goes on trying to write waiting rows
SETTLED_AT_MOST = 5000  # rows that the broker took, of which a disk that takes nothing does not know
_PAGE = 64
_AT_ONCE = 1000  # jobs in one commit: what waited while the disk took nothing must find room in steps
_SHOWN_OF_UNWRITABLE = 20_000  # characters
_T = TypeVar("_T")


@dataclass(frozen=True)
class OutboxCounts:
    """The numbers of messages in each state.

    `waiting`: accepted, not yet on disk. `pending`: on disk, not yet acknowledged. `dead_letters`: refused by the
    broker and kept; tried again when the outbox is next opened. Counted since opening: `acknowledged` by the broker.
    `dropped`, `alarms_dropped` and `records_dropped`: results, alarms and records of commands for which there was no
    room. `unwritable`: not taken by the store at all. `lost`: messages and entries of the journal that had not come to
    the disk when it was closed.
    """

    waiting: int
    pending: int
    dead_letters: int
    acknowledged: int
    dropped: int
    alarms_dropped: int
    records_dropped: int = 0
    unwritable: int = 0
    lost: int = 0


class Outbox:
    """A durable queue of messages in the SQLite file `path`; its folder is made if absent.

    Results are committed in groups of at most 50 ms, urgent messages at once. That the broker took a result is noted
    with the next one, at the latest after `settled_s`: a kill has a few sent twice, and none is missing.

    It keeps at most `max_results` results that the broker has not acknowledged, and apart from them `max_alarms` urgent
    messages. Beyond that the oldest go first, and are counted. Acknowledged ones are kept for `kept_s` seconds, as far
    as there is room, to be sent again. `max_waiting` bounds the results in memory while the disk takes none,
    `max_alarms` the urgent messages.

    A corrupt file is moved to the path `set_aside` and a new one begun, also while it is open. A file that is removed
    or replaced while it is open is written again with all that it held. `replaced` says so. `generation` counts how
    often rows became pending that are not behind the others. `news` counts how often `pending` may give what it did not
    give before. A job that the store alone does not take is set aside, and `unwritable` says so; all others go on.

    `kind` makes the store. Entering raises StoreError where the file cannot be written, is in use, or is something
    else.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_results: int = 200_000,
        max_alarms: int = 100_000,
        max_waiting: int = 2_000,
        kept_s: float = 86_400.0,
        settled_s: float = SETTLED_S,
        kind: type[Store] = Store,
    ) -> None:
        self._path = path
        self._caps = Caps(results=max_results, alarms=max_alarms, kept_s=kept_s)
        self._kind = kind
        self._max_waiting = max_waiting
        self._settled_s = settled_s
        self._changed = threading.Condition()
        self._order = count()
        # by class, so that the oldest of one is found at once; the number beside each job is its turn
        self._waiting: dict[Lane, deque[tuple[int, Job]]] = {"results": deque(), "alarms": deque(), "records": deque()}
        self._settles: deque[tuple[int, Job]] = deque()
        self._settling: dict[int, bool] = {}  # rows that the disk does not know to be settled; whether they were taken
        self._committing: list[tuple[int, Job]] = []
        self._messages_waiting = 0
        self._hurry = False
        self._flushing = 0
        self._due_s: float | None = None
        self._retry_at_s = 0.0
        self._closing = True
        self._dropped: dict[Lane, int] = {"results": 0, "alarms": 0, "records": 0}
        self._group = 0
        # the counts of dropped results: no part goes uncounted because its message had no room
        self._still_to_count: dict[tuple[str, str, str], float] = {}
        self._unwritable = 0
        self._lost = 0
        self._give_up_at_s = 0.0
        self._trouble: str | None = None
        self._listener: Callable[[], None] = lambda: None
        # is told of each entry that the journal takes; it must not raise
        self.on_entry: Callable[[JournalEntry], None] = lambda _: None
        self._corrupt: str | None = None
        # the corrupt file; the one in its place meanwhile is new and was not finished
        self._moved_away = False
        self._to_rescue: Path | None = None
        self.set_aside: Path | None = None
        self.replaced: str | None = None
        self.unwritable: str | None = None
        self.generation = self.news = 0

    def __enter__(self) -> Self:
        self._lock_file = hold(self._path, "outbox", "another Linewatch process", "store.path")
        try:
            self._store, self.set_aside = open_store(self._path, self._caps, self._kind)
        except BaseException:
            os.close(self._lock_file)
            raise
        if self.set_aside is not None:
            self.replaced = f"the corrupt outbox was set aside as {self.set_aside}"
        self._seq = self._store.totals.committed
        self._alarms = dict(self._store.alarm_records)
        self._totals = self._store.totals  # those of what `_settling` is not yet in
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closing = True
            self._give_up_at_s = time.monotonic() + CLOSING_S
            self._changed.notify_all()
        self._writer.join()
        self._store.close()
        os.close(self._lock_file)

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._path

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
        """The reason for which nothing can be written just now, in words; None while all is well."""
        return self._trouble

    @property
    def alive(self) -> bool:
        """True while the writer's thread runs."""
        return self._writer.is_alive()

    def counts(self) -> OutboxCounts:
        """Tell how many messages are where."""
        with self._changed:
            totals, taken = self._totals, sum(self._settling.values())
            return OutboxCounts(
                waiting=self._messages_waiting,
                pending=max(0, totals.results + totals.alarms - totals.dead_letters - taken),
                dead_letters=totals.dead_letters,
                acknowledged=totals.acknowledged + taken,
                dropped=totals.dropped + self._dropped["results"],
                alarms_dropped=totals.alarms_dropped + self._dropped["alarms"],
                records_dropped=self._dropped["records"],
                unwritable=self._unwritable,
                lost=self._lost,
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
        counts: Sequence[CountDelta] = (),
        worst: Sequence[WorstPart] = (),
    ) -> None:
        """Accept messages, alarm records, journal entries and what to count, together or not at all.

        It does not wait for the disk.

        All of it is committed in one transaction; at once, if any of it is urgent or about an alarm. Put in the order
        of `seq`, the reserved number of their event. None if they tell of no event. Raises StoreError if closed.
        """
        with self._changed:
            if self._closing:
                raise StoreError(f"The outbox {self._path} is closed; put messages while it is open")
            job = Put(seq, messages, tuple(alarms), tuple(journal), self._group, tuple(counts), tuple(worst))
            waiting = self._waiting[job.lane]
            waiting.append((next(self._order), job))
            self._messages_waiting += len(messages)
            self._make_room()
            self._wake(hurry=job.lane == "alarms" or len(waiting) > self._max_waiting // 2)
        for entry in journal:
            self.on_entry(entry)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Commit whatever the caller's thread puts within in one transaction: all of it, or after a kill nothing.

        The writer waits meanwhile, so be quick.
        """
        with self._changed:
            outer = self._group
            self._group = outer or next(self._order)
            try:
                yield
            finally:
                self._group = outer

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was accepted is on disk; False if it is not within `timeout_s`."""
        with self._changed:
            self._flushing += 1
            self._wake(hurry=True)
            try:
                return self._changed.wait_for(lambda: not self._some_wait() and not self._committing, timeout_s)
            finally:
                self._flushing -= 1

    def alarm_records(self) -> list[AlarmRecord]:
        """Return what was last put of each alarm, also before this start, in the order of their names."""
        with self._changed:
            records = dict(self._alarms)
            for _, job in (*self._committing, *self._waiting["alarms"]):
                if isinstance(job, Put):
                    records |= {record.alarm: record.body for record in job.alarms}
        return [AlarmRecord(alarm, body) for alarm, body in sorted(records.items())]

    def journal(self, limit: int, alarm: str | None = None) -> list[JournalEntry]:
        """Return the last `limit` entries on disk, of one alarm if it is named, oldest first. Reads the disk."""
        with OutboxReader(self._path) as reader:
            return reader.journal(limit, alarm)

    def shift_counts(self, shift: str) -> dict[tuple[str, str], float]:
        """Return what is on disk of a shift's counters, by recipe and name. Reads the disk: ask at the start."""
        with OutboxReader(self._path) as reader:
            return {(count.recipe, count.name): count.by for count in reader.counts(shift)}

    def unwritten_journal(self) -> list[JournalEntry]:
        """Return the entries that are not on disk yet, oldest first."""
        with self._changed:
            turns = merge(self._committing, *self._waiting.values(), key=lambda turn: turn[0])
            return [entry for _, job in turns if isinstance(job, Put) for entry in job.journal]

    def pending(
        self,
        after: int,
        limit: int,
        *,
        urgent: bool | None = None,
        resent: bool | None = None,
        topic: str | None = None,
        without: Collection[str] = (),
    ) -> list[Row]:
        """Return at most `limit` committed rows behind row `after` that wait for the broker, in order.

        `urgent`: only those of one class. `resent`: only those that the broker took before, or only the others.
        `topic`: only its own. `without`: none of these topics. Settled rows are not among them, though the disk may not
        know yet. No results come while the disk takes nothing and much is settled already, which memory must hold until
        it does. For one thread only.
        """
        if urgent is None:
            both = (
                self.pending(after, limit, urgent=which, resent=resent, topic=topic, without=without)
                for which in (False, True)
            )
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
                    after, size, urgent=urgent, resent=resent, topic=topic, without=without
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
        """Return for how long the oldest message has waited that the broker never took, s; 0 if none does.

        For `pending`'s thread.
        """
        put_at_s = self._read(lambda store: store.oldest_s())
        return 0.0 if put_at_s is None else max(0.0, self._store.clock_s() - put_at_s)

    def acknowledge(self, row: Row) -> None:
        """Let a row go that the broker took."""
        self._settle(row, None)

    def refuse(self, row: Row, reason: str, *, broke: bool = False) -> None:
        """Keep a row that the broker refused as a dead letter.

        It is tried again after `retry_dead_letters`, or when the outbox is opened again.
        `broke`: it refused by breaking the connection.
        """
        self._settle(row, f"{BROKE}{reason}" if broke else reason)

    def retry_dead_letters(self, topic: str | None = None, *, broken: int = 0) -> None:
        """Have dead letters tried again: all of `topic`, or the oldest of each, and `broken` of those that broke it."""
        self._add(RetryDeadLetters(topic, broken))

    def resend(self, first_seq: int, last_seq: int, done: Callable[[Resent], None]) -> None:
        """Send acknowledged events of these numbers again; `done` is called from the writer's thread."""
        self._add(ResendWish(self._store.clock_s(), first_seq, last_seq, done=done))

    def resend_since(self, seconds: float, *, forgotten: bool = False) -> None:
        """Send again what was first acknowledged in the last `seconds`: the broker may have forgotten it, or has."""
        now_s = self._store.clock_s()
        self._add(ResendWish(now_s, since_s=now_s - seconds, forgotten=forgotten))

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, from the writer thread, after each commit."""
        self._listener = listener

    def _settle(self, row: Row, reason: str | None) -> None:
        m = row.message
        # a request for it may come again before the disk knows that it was taken
        settle = Settle(row.row, m.id, len(m.payload), m.urgent, reason, self._store.clock_s())
        with self._changed:
            self._settling[row.row] = reason is None
            self._settles.append((next(self._order), settle))
            # an older state of an alarm that is sent again would be seen, though but for a moment
            soon = m.urgent or reason is not None or self._flushing or len(self._settles) >= _SETTLED_TOGETHER
            self._wake(hurry=False, within_s=GROUP_S if soon else self._settled_s)

    def _add(self, wish: ResendWish | RetryDeadLetters) -> None:
        with self._changed:
            self._settles.append((next(self._order), wish))
            self._wake(hurry=True)

    def _wake(self, *, hurry: bool, within_s: float = GROUP_S) -> None:
        """Tell the writer that there is something, or with `hurry` that it is not to wait for more."""
        due_s = time.monotonic() + within_s
        sooner = self._some_wait() and (self._due_s is None or due_s < self._due_s)
        if sooner:
            self._due_s = due_s
        hurried, self._hurry = self._hurry, self._hurry or hurry
        if sooner or self._hurry != hurried:
            self._changed.notify_all()

    def _some_wait(self) -> bool:
        return bool(self._settles) or any(self._waiting.values())

    def _make_room(self) -> None:
        """Drop the oldest waiting jobs of a class beyond its bound: the disk takes nothing, and memory ends.

        For those about alarms the bound is as high as that of the disk; nothing else displaces one.
        """
        for lane, waiting in self._waiting.items():
            bound = self._caps.alarms if lane == "alarms" else self._max_waiting
            while len(waiting) > bound:
                _, job = waiting.popleft()
                if isinstance(job, Put):
                    for delta in job.counts:
                        key = (delta.shift, delta.recipe, delta.name)
                        self._still_to_count[key] = self._still_to_count.get(key, 0) + delta.by
                    self._dropped[lane] += len(job.journal) if lane == "records" else len(job.messages)
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
                self._mend()
                self._commit(jobs)
            except Exception as error:  # noqa: BLE001 - a writer that ended would take everything and say nothing
                if isinstance(error, sqlite3.Error) and is_corrupt(error):
                    self._corrupt = str(error)
                if not isinstance(error, (sqlite3.Error, StoreError, OSError)):
                    _log.error("The outbox %s met what it does not know", self._path, exc_info=error)
                if not self._keep(error):
                    return
                continue
            done = [job for _, job in self._committing]
            self._note_done(done)
            if done:  # else it was a look at the file
                self._listener()
        try:
            self._mend()  # the fate of the file since the last look
        except Exception as error:  # noqa: BLE001 - it is counted
            self._give_up(error)

    def _mend(self) -> None:
        """Begin anew, or write again, what was done to the file; give the disk room if it lacked some.

        Raises sqlite3.Error, OSError or StoreError where it cannot be done now.
        """
        self._lock_again()
        why = self._store.displaced()
        if self._corrupt is None and why is None and self._store.cut_short():
            self._corrupt = f"{self._path.name} was cut short"
        if self._corrupt is not None:
            self._begin_anew(self._corrupt)
        elif why is not None:
            self._write_again(why)
        elif self._trouble is not None:
            self._store.make_room()

    def _lock_again(self) -> None:
        """Hold the file beside the store that keeps other processes out, also when somebody removed it."""
        held = os.fstat(self._lock_file)
        with suppress(FileNotFoundError):
            there = self._path.with_name(f"{self._path.name}.lock").stat()
            if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                return
        again = hold(self._path, "outbox", "another Linewatch process", "store.path")
        os.close(self._lock_file)
        self._lock_file = again

    def _commit(self, jobs: Sequence[Job]) -> None:
        """Commit all jobs; take them apart where one of them is to blame. Raises what is the store's own trouble."""
        if not jobs:
            return
        try:
            self._store.commit(jobs)
        except Exception as error:
            if _of_store(error):
                raise
            # rows put together stay together, if they can
            for _, turns in groupby(self._committing.copy(), lambda turn: _group_of(*turn)):
                self._commit_group(list(turns))

    def _commit_group(self, turns: list[tuple[int, Job]]) -> None:
        """Commit some of the jobs, or set aside those that are to blame, and note that they are done."""
        to_blame = self._blame([job for _, job in turns])
        if to_blame is not None and len(turns) > 1:
            for turn in turns:
                self._commit_group([turn])
            return
        if to_blame is not None:
            self._set_aside(turns[0][1], to_blame)
        # so that it is not written twice if the rest cannot be
        self._note_done([job for _, job in turns])

    def _blame(self, jobs: Sequence[Job]) -> Exception | None:
        """Commit jobs; return the error if it is their own: the store takes others, and does not take these twice."""
        try:
            self._store.commit(jobs)
        except Exception as error:
            if _of_store(error):
                raise
        else:
            return None
        self._store.commit([])
        try:
            self._store.commit(jobs)
        except Exception as error:
            if _of_store(error):
                raise
            return error
        return None

    def _set_aside(self, job: Job, error: Exception) -> None:
        content = encodable(ascii(job))[:_SHOWN_OF_UNWRITABLE]
        self._store.commit([Unwritable(encodable(str(error)), content)])
        what = [str(message.kind) for message in job.messages] if isinstance(job, Put) else [type(job).__name__.lower()]
        told = f"{', '.join(what) or 'an entry of the journal'} cannot be written and was set aside: {error}"
        _log.error("The outbox %s: %s", self._path, told)
        if isinstance(job, ResendWish):
            job.outcome = Resent(0, 0, max(0, job.last_seq - job.first_seq + 1))
        with self._changed:
            self._unwritable += (len(job.messages) or 1) if isinstance(job, Put) else 1
            self.unwritable = told

    def _note_done(self, jobs: Sequence[Job]) -> None:
        wishes = [job for job in jobs if isinstance(job, ResendWish)]
        with self._changed:
            self.generation += sum(isinstance(job, RetryDeadLetters) for job in jobs)
            self.news += self._trouble is not None or any(isinstance(job, Put) and job.messages for job in jobs)
            for job in jobs:
                if isinstance(job, Put):
                    self._messages_waiting -= len(job.messages)
                    self._alarms |= {record.alarm: record.body for record in job.alarms}
                elif isinstance(job, Settle):
                    self._settling.pop(job.row, None)
            self._totals = self._store.totals
            done = set(map(id, jobs))
            self._committing = [turn for turn in self._committing if id(turn[1]) not in done]
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
        """Wait until a commit is due, or a look at the file, and take its contents.

        False when closing and empty.
        """
        with self._changed:
            look_at_s = time.monotonic() + LOOK_S
            while not (self._closing and time.monotonic() >= self._retry_at_s):
                now_s = time.monotonic()
                due_s = max(self._retry_at_s, now_s if self._hurry else self._due_s or 0.0)
                waits = self._some_wait() or self._corrupt is not None
                if now_s >= due_s if waits else now_s >= look_at_s:
                    break
                self._changed.wait((due_s if waits else look_at_s) - now_s)
            self._committing = self._taken()
            self._hurry = self._some_wait()
            self._due_s = time.monotonic() if self._hurry else None
            return bool(self._committing) or not self._closing

    def _taken(self) -> list[tuple[int, Job]]:
        """Take the next jobs out of their queues, in their order, and never a part of a group."""
        queues = (self._settles, *self._waiting.values())
        taken: list[tuple[int, Job]] = []
        for turn in merge(*queues, key=lambda turn: turn[0]):
            if len(taken) >= _AT_ONCE and _group_of(*turn) != _group_of(*taken[-1]):
                break
            taken.append(turn)
        for queue in queues:
            while queue and queue[0][0] <= taken[-1][0]:
                queue.popleft()
        if self._still_to_count:
            counts = tuple(CountDelta(*key, by) for key, by in self._still_to_count.items())
            self._still_to_count.clear()
            taken.append((next(self._order), Put(None, (), counts=counts)))
        return taken

    def _keep(self, error: Exception) -> bool:
        """Take back what could not be written, to try again; False if there is no again."""
        with self._changed:
            for turn in reversed(self._committing):
                job = turn[1]
                (self._waiting[job.lane] if isinstance(job, Put) else self._settles).appendleft(turn)
            self._committing = []
            self._retry_at_s = time.monotonic() + RETRY_S
            if self._trouble is None:
                _log.error("The outbox %s cannot be written: %s. Messages wait in memory", self._path, error)
            self._trouble = f"the outbox cannot be written: {error}"
            self._make_room()
            self._wake(hurry=True)
            if self._closing and time.monotonic() >= self._give_up_at_s:
                self._give_up(error)
                return False
            return True

    def _give_up(self, error: Exception) -> None:
        """Count what an outbox loses that closes while it cannot write."""
        puts = [job for lane in self._waiting.values() for _, job in lane if isinstance(job, Put)]
        self._lost = sum(len(put.messages) + len(put.journal) for put in puts)
        if self._store.displaced() is not None:  # rows on the disk go with the last file that had no name
            self._lost += self._store.totals.results + self._store.totals.alarms
        _log.error(
            "%d messages and entries are lost: the outbox %s closed unwritten: %s", self._lost, self._path, error
        )

    def _begin_anew(self, why: str) -> None:
        """Set a file aside that went bad while it was open. The numbers are known here, so they and the epoch go on.

        Raises sqlite3.Error or StoreError where no new file can be made; it is tried again.
        """
        old = self._store
        old.close()
        self._move_away(why)
        with self._changed:
            seq, alarms = self._seq, dict(self._alarms)
            settled = [job for _, job in (*self._committing, *self._settles) if isinstance(job, Settle)]
        store = self._kind(self._path, self._caps, epoch=old.epoch, committed=seq)
        store.totals = replace(
            store.totals,
            acknowledged=old.totals.acknowledged,
            dropped=old.totals.dropped,
            alarms_dropped=old.totals.alarms_dropped,
        )
        records = [AlarmRecord(alarm, body) for alarm, body in alarms.items()]
        store.commit([Put(None, (), records, counts=old.running_counts())])
        if self._to_rescue is not None:
            acknowledged = {settle.id for settle in settled if settle.reason is None}
            rescued = take_over(store, self._to_rescue, acknowledged)
            self.replaced = f"the corrupt outbox was set aside as {self._to_rescue}; {rescued}"
        with self._changed:
            self._store, self._totals = store, store.totals
            self._settling.clear()
            self._corrupt = None
            self._moved_away, self._to_rescue = False, None
            self.generation += 1

    def _move_away(self, why: str) -> None:
        try:
            if self._moved_away:
                remove(self._path)
            elif self._path.exists():
                self.set_aside = self._to_rescue = set_aside(self._path)
                self.replaced = f"the corrupt outbox was set aside as {self.set_aside}"
                _log.error(
                    "The outbox %s went bad (%s): set aside as %s, a new one is begun", self._path, why, self.set_aside
                )
        except OSError as error:
            raise StoreError(f"{self._path} went bad ({why}) and cannot be moved away: {error.strerror}") from error
        self._moved_away = True

    def _write_again(self, why: str) -> None:
        """Write all that the store held to a file of its own again: it is still open, and has only lost its name.

        Another file in its place is moved aside. Raises sqlite3.Error or OSError where it cannot be done now.
        """
        old, path = self._store, self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            old.copy_to(copy_of(path))
        except sqlite3.Error as error:
            if not is_corrupt(error):
                raise
            self._corrupt = f"{why}, and what it held cannot be read: {error}"
            self._begin_anew(self._corrupt)
            return
        moved = set_aside(path, "replaced") if path.exists() else None
        old.close()  # before there is another: SQLite removes the log beside it by its name
        copy_of(path).replace(path)
        store = self._kind(path, self._caps)
        store.totals = replace(
            store.totals,
            acknowledged=old.totals.acknowledged,
            dropped=old.totals.dropped,
            alarms_dropped=old.totals.alarms_dropped,
        )
        told = f"{why} while the line ran; {path} was written again with all that it held"
        told += f", and what lay there was moved to {moved}" if moved else ""
        _log.error("The outbox: %s", told)
        with self._changed:
            self._store, self._totals = store, store.totals
            self.replaced = told
            self.generation += 1


def _of_store(error: Exception) -> bool:
    """Tell the store's own trouble (full, locked, damaged) from that of a job which it cannot take."""
    return isinstance(error, (sqlite3.OperationalError, OSError, StoreError)) or (
        isinstance(error, sqlite3.Error) and is_corrupt(error)
    )


def _group_of(turn: int, job: Job) -> int:
    """Return what a job is committed together with; its own turn, which no group has, if with nothing."""
    return (job.group if isinstance(job, Put) else 0) or turn
