"""The outbox: what was committed leaves only when the broker took it, in order, through every kind of trouble."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.errors import StoreError
from edge.outbox import Outbox, OutboxCounts, Row, Sender
from edge.outbox.outbox import SETTLED_AT_MOST
from edge.outbox.records import Job, Resent
from edge.outbox.store import Store
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.memory import MemoryPublisher
from edge.publishers.mqtt import MqttPublisher
from edge.records import Message
from tests.brokers import Mosquitto, Subscriber, wait_for

WILL = Message("w", "status", "line/status", b"offline", retain=True)
_ids = count()


def result(number: int, **how: object) -> Message:
    """Return an event whose payload is its number."""
    identifier = f"{number}-{next(_ids)}"
    return Message(identifier, "result", "line/event", str(number).encode(), **how)  # type: ignore[arg-type] # per test


def state(topic: str, text: str) -> Message:
    """Return a retained message that need not survive."""
    return Message(str(uuid.uuid4()), "status", topic, text.encode(), retain=True, durable=False)


def put(outbox: Outbox, *numbers: int, urgent: bool = False) -> None:
    """Put events and wait until they are on disk."""
    for number in numbers:
        outbox.put(outbox.reserve(), result(number, urgent=urgent))
    assert outbox.flush(120)


def numbers(rows: list[Row]) -> list[int]:
    """Return the events in rows."""
    return [int(row.message.payload) for row in rows]


def spoil(path: Path) -> int:
    """Overwrite an open store's file behind its first two pages; return its size in bytes."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (size - 8192))
    return size


def settled(outbox: Outbox) -> None:
    """Wait until no event is pending or about to be written."""
    wait_for(lambda: (outbox.counts().pending, outbox.counts().waiting) == (0, 0))


def test_what_was_put_comes_back_as_it_was(tmp_path: Path) -> None:
    """Every field of a message survives the disk; events come in order behind a given row."""
    urgent = Message("a", "alarm", "x/y", b"\x00\xff", 1, True, 7, True, True)
    plain = Message("b", "result", "x/z", b"", 0, False, None, False, True)
    with Outbox(tmp_path / "deep" / "outbox.db") as outbox:
        outbox.put(outbox.reserve(), urgent)
        outbox.put(None, plain)
        assert outbox.flush(120)
        first, second = outbox.pending(0, 9)
        assert (first.message, first.seq, second.message, second.seq) == (urgent, 1, plain, None)
        assert outbox.pending(first.row, 9) == [second]
        assert outbox.pending(0, 1) == [first]


def test_event_numbers_go_on_where_they_ended(tmp_path: Path) -> None:
    """A store keeps its epoch and counts on, also when every row has left; another store has another epoch."""
    with Outbox(tmp_path / "a.db") as outbox:
        epoch = outbox.epoch
        put(outbox, 1, 2)
        for row in outbox.pending(0, 9):
            outbox.acknowledge(row)
        assert outbox.reserve() == 3
    with Outbox(tmp_path / "a.db") as outbox, Outbox(tmp_path / "b.db") as other:
        assert outbox.pending(0, 9) == []
        assert (outbox.epoch, outbox.committed, outbox.reserve()) == (epoch, 2, 3)
        assert (other.committed, other.reserve()) == (0, 1)
        assert other.epoch != epoch


class OutboxModel(RuleBasedStateMachine):
    """The outbox behaves as three lists: pending, dead letters, gone; a dead letter is pending after reopening."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.pending: list[int] = []
        self.dead_letters: list[int] = []
        self.last = 0
        self.stack = ExitStack()

    @initialize()
    def open(self) -> None:
        """Begin with an empty store, or with the one that was closed."""
        self.outbox = self.stack.enter_context(Outbox(Path(self.folder.name) / "outbox.db"))

    @rule(urgent=st.booleans(), together=st.integers(1, 3))
    def put(self, urgent: bool, together: int) -> None:
        """Put one event's messages."""
        self.last += 1
        assert self.outbox.reserve() == self.last
        self.outbox.put(self.last, *(result(self.last, urgent=urgent) for _ in range(together)))
        self.pending += [self.last] * together

    @precondition(lambda self: self.pending)
    @rule(which=st.integers(0), refused=st.booleans())
    def settle(self, which: int, refused: bool) -> None:
        """Let the broker take or refuse any pending row."""
        self.outbox.flush(120)
        rows = self.outbox.pending(0, 1000)
        row = rows[which % len(rows)]
        number = self.pending.pop(which % len(rows))
        if refused:
            self.outbox.refuse(row, "no")
            self.dead_letters.append(number)
        else:
            self.outbox.acknowledge(row)

    @rule()
    def reopen(self) -> None:
        """Restart the line."""
        self.stack.close()
        self.pending = sorted(self.pending + self.dead_letters)
        self.dead_letters = []
        self.open()

    @invariant()
    def same(self) -> None:
        """Compare with the lists."""
        assert self.outbox.flush(120)
        assert numbers(self.outbox.pending(0, 1000)) == self.pending
        counts = self.outbox.counts()
        assert (counts.pending, counts.dead_letters, counts.waiting) == (len(self.pending), len(self.dead_letters), 0)
        assert self.outbox.committed == self.last

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.stack.close()
        self.folder.cleanup()


TestOutboxAgainstItsModel = OutboxModel.TestCase
TestOutboxAgainstItsModel.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


def test_full_means_the_oldest_results_go_and_alarms_stay(tmp_path: Path) -> None:
    """Of 12 results 5 have room: the 7 oldest are dropped and counted; the alarms before them stay."""
    with Outbox(tmp_path / "outbox.db", max_results=5, max_alarms=3) as outbox:
        put(outbox, 100, 101, urgent=True)
        put(outbox, *range(12))
        assert numbers(outbox.pending(0, 99)) == [100, 101, 7, 8, 9, 10, 11]
        assert outbox.counts() == OutboxCounts(0, 7, 0, 0, 7, 0)
        put(outbox, 102, 103, urgent=True)
        assert numbers(outbox.pending(0, 99)) == [101, 7, 8, 9, 10, 11, 102, 103]
        assert outbox.counts() == OutboxCounts(0, 8, 0, 0, 7, 1)


def test_dead_letters_are_kept_out_of_the_way_and_count_as_room(tmp_path: Path) -> None:
    """A dead letter is not pending, is dropped in its turn when results need room, and the counts stay right."""
    with Outbox(tmp_path / "outbox.db", max_results=2) as outbox:
        put(outbox, 1, 2)
        outbox.refuse(outbox.pending(0, 1)[0], "not authorised")
        assert outbox.flush(120)
        assert numbers(outbox.pending(0, 9)) == [2]
        assert outbox.counts() == OutboxCounts(0, 1, 1, 0, 0, 0)
        put(outbox, 3)
        assert numbers(outbox.pending(0, 9)) == [2, 3]
        assert outbox.counts() == OutboxCounts(0, 2, 0, 0, 1, 0)


@contextmanager
def held_by_another(path: Path) -> Iterator[None]:
    """Hold the database as another program would that writes to it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_the_line_goes_on_while_the_disk_takes_nothing(tmp_path: Path) -> None:
    """Puts return, trouble is told and memory is bounded while nothing can be written. Afterwards all is committed."""
    path = tmp_path / "outbox.db"
    with Outbox(path, max_waiting=10) as outbox:
        with held_by_another(path):
            for number in range(30):
                outbox.put(outbox.reserve(), result(number, urgent=number % 3 == 0))
            wait_for(lambda: outbox.trouble)
            assert "locked" in str(outbox.trouble)
            outbox.put(outbox.reserve(), result(30))
            assert not outbox.flush(0.01)
            assert outbox.counts().waiting == 20
            assert outbox.pending(0, 99) == []
        assert outbox.flush(120)
        assert outbox.trouble is None
        # The 10 alarms 0, 3 … 27 had room; of the 21 results the 10 newest, from 17 on.
        assert numbers(outbox.pending(0, 99)) == [0, 3, 6, 9, 12, 15, *range(17, 31)]
        assert (outbox.counts().dropped, outbox.counts().alarms_dropped) == (11, 0)


def test_a_full_disk_loses_nothing_that_memory_can_hold(tmp_path: Path) -> None:
    """Commits that fail for want of space are retried, and succeed once there is space."""
    done = _run(tmp_path, _FULL_DISK)
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stderr
    with Outbox(tmp_path / "outbox.db") as outbox:
        assert numbers(outbox.pending(0, 99)) == list(range(40))


# RLIMIT_FSIZE makes the kernel refuse the write itself, as a full disk does.
_FULL_DISK = """
small = 120_000
resource.setrlimit(resource.RLIMIT_FSIZE, (small, resource.RLIM_INFINITY))
with Outbox(path) as outbox:
    for number in range(40):
        payload = str(number).rjust(20_000).encode()
        outbox.put(outbox.reserve(), Message(str(number), "result", "t", payload))
    wait_for(lambda: outbox.trouble)
    assert outbox.committed == 0, outbox.committed
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert outbox.flush(120)
    assert outbox.trouble is None
"""


def test_a_full_disk_at_the_start_is_an_error_with_advice(tmp_path: Path) -> None:
    """Opening raises StoreError that says what to do if the store cannot be written at all."""
    done = _run(tmp_path, "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\nwith Outbox(path): pass")
    assert done.stderr.strip().splitlines()[-1].startswith("edge.errors.StoreError: The outbox")
    assert "free the disk or name another file" in done.stderr


def test_committed_rows_survive_a_kill(tmp_path: Path) -> None:
    """After kill -9 amid writing, every committed event is there, in order, and numbers go on."""
    line = subprocess.Popen(
        [sys.executable, "-c", _PRELUDE + _ENDLESS, str(tmp_path / "outbox.db")], stdout=subprocess.PIPE, text=True
    )
    assert line.stdout is not None
    with line, line.stdout:
        told = [int(line.stdout.readline()) for _ in range(30)]
        os.kill(line.pid, signal.SIGKILL)
    with Outbox(tmp_path / "outbox.db") as outbox:
        assert outbox.set_aside is None
        found = numbers(outbox.pending(0, 10_000))
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= told[-1] > 0
        assert outbox.reserve() == len(found) + 1


_PRELUDE = """
import itertools, resource, sys
from pathlib import Path
from edge.outbox import Outbox
from edge.records import Message
from tests.brokers import wait_for
path = Path(sys.argv[1])
"""
_ENDLESS = """
with Outbox(path) as outbox:
    for number in itertools.count(1):
        seq = outbox.reserve()
        outbox.put(seq, Message(str(seq), "result", "t", str(seq).encode(), urgent=seq % 5 == 0))
        if number % 10 == 0:
            outbox.flush(120)
            print(outbox.committed, flush=True)
"""


def _run(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    path = str(folder / "outbox.db")
    return subprocess.run([sys.executable, "-c", _PRELUDE + program, path], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("damage", ["header", "page", "truncated"])
def test_a_corrupt_store_is_set_aside_and_the_line_starts(tmp_path: Path, damage: str) -> None:
    """A damaged file is moved to outbox.db.corrupt-<time>, a new epoch begins, and the old bytes are kept."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        epoch = outbox.epoch
        put(outbox, *range(200))
    whole = path.read_bytes()
    broken = {
        "header": b"no database at all" + whole[18:],
        "page": whole[:8192] + b"\xa5" * 4096 + whole[12288:],
        "truncated": whole[: len(whole) // 2],
    }[damage]
    path.write_bytes(broken)
    with Outbox(path) as outbox:
        assert outbox.epoch != epoch
        assert outbox.set_aside is not None
        assert outbox.set_aside.name.startswith("outbox.db.corrupt-")
        assert outbox.set_aside.read_bytes() == broken
        put(outbox, 1)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """A second outbox on the same file is refused while the first is open, and opens after it."""
    with Outbox(tmp_path / "outbox.db"), pytest.raises(StoreError, match="in use by another Linewatch process"):
        Outbox(tmp_path / "outbox.db").__enter__()
    with Outbox(tmp_path / "outbox.db"):
        pass


def test_what_is_no_outbox_is_left_alone(tmp_path: Path) -> None:
    """Another program's database, and a folder that cannot be made, are StoreErrors; nothing is moved or changed."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="no outbox of this version"):
        Outbox(path).__enter__()
    assert path.read_bytes() == before
    with pytest.raises(StoreError, match=r"name another with the key store\.path"):
        Outbox(path / "below-a-file" / "outbox.db").__enter__()


def test_a_closed_outbox_accepts_nothing(tmp_path: Path) -> None:
    """After closing, `put` raises instead of dropping the message."""
    with Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, 1)
    with pytest.raises(StoreError, match="closed"):
        outbox.put(2, result(2))


# The sender, first with the publisher in memory.


@contextmanager
def sending(
    outbox: Outbox, publisher: MemoryPublisher, announce: Callable[[], list[Message]] = list
) -> Iterator[Sender]:
    """Run a sender over an open publisher."""
    with publisher, Sender(outbox, publisher, announce) as sender:
        yield sender


def sent(publisher: MemoryPublisher, topic: str = "line/event") -> list[int]:
    """Return the events that the broker has taken."""
    return [int(message.payload) for message in publisher.messages if message.topic == topic]


def test_events_are_sent_in_order_and_leave_when_acknowledged(tmp_path: Path) -> None:
    """Events put before and after the start arrive once each, in order, and no row remains."""
    publisher = MemoryPublisher()
    with Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, *range(50))
        with sending(outbox, publisher) as sender:
            put(outbox, *range(50, 60))
            settled(outbox)
            assert sender.published == outbox.counts().acknowledged == 60
        assert sent(publisher) == list(range(60))


def states(path: Path) -> list[int]:
    """Return the state of each row on disk, in order."""
    with closing(sqlite3.connect(path)) as db:
        return [row[0] for row in db.execute("SELECT state FROM message ORDER BY row")]


def test_what_the_broker_took_is_noted_with_the_next_result(tmp_path: Path) -> None:
    """One commit serves both; many acknowledgements wait for nothing, and a closing outbox writes what waits."""
    path, publisher = tmp_path / "outbox.db", MemoryPublisher()
    with Outbox(path, settled_s=3_600.0) as outbox, publisher, Sender(outbox, publisher, list):
        for number, noted in ((1, [0]), (2, [2, 0])):
            outbox.put(outbox.reserve(), result(number))
            wait_for(lambda number=number: len(publisher.messages) == number)  # type: ignore[misc] # mypy#15459
            wait_for(lambda: outbox.counts().pending == 0)
            assert states(path) == noted
        outbox.put(outbox.reserve(), *(result(number) for number in range(3, 43)))
        wait_for(lambda: states(path).count(2) > 20)
    assert states(path) == [2] * 42


def test_what_was_taken_just_now_is_sent_again_to_a_broker_that_forgot(tmp_path: Path) -> None:
    """An event counts from when the broker took it, though the disk learns of it later."""
    publisher = MemoryPublisher()
    with Outbox(tmp_path / "outbox.db", settled_s=3_600.0) as outbox, publisher, Sender(outbox, publisher, list):
        outbox.put(outbox.reserve(), result(1))
        wait_for(lambda: outbox.counts().acknowledged == 1)
        publisher.go_away()
        publisher.come_back(session_present=False)
        wait_for(lambda: [message.resent for message in publisher.messages] == [False, True])


def test_alarms_go_before_the_results_that_wait(tmp_path: Path) -> None:
    """After an outage alarms are sent first, in their order, then the results in theirs."""
    publisher = MemoryPublisher(away=True)
    with Outbox(tmp_path / "outbox.db") as outbox, sending(outbox, publisher):
        put(outbox, *range(50))
        put(outbox, *range(50, 60), urgent=True)
        put(outbox, *range(60, 70))
        publisher.come_back()
        settled(outbox)
        assert sent(publisher) == [*range(50, 60), *range(50), *range(60, 70)]


def test_a_refused_event_is_a_dead_letter_told_and_blocks_nothing(tmp_path: Path) -> None:
    """Refused rows are dead letters, told with their topic; later ones arrive; reopening tries them again."""
    publisher = MemoryPublisher(refuses=lambda message: message.payload in {b"1", b"2"})
    with Outbox(tmp_path / "outbox.db") as outbox, sending(outbox, publisher) as sender:
        put(outbox, 0, 1, 2, 3)
        settled(outbox)
        assert outbox.counts().dead_letters == 2
        assert sender.trouble == "the broker refused line/event: Not authorized (0x87)"
    allowed = MemoryPublisher()
    with Outbox(tmp_path / "outbox.db") as outbox, sending(outbox, allowed):
        wait_for(lambda: len(allowed.messages) == 4)
    assert sent(publisher) == [0, 3]
    # this broker knows nothing of the other: what that one took comes once more, and says so
    assert sorted((int(again.payload), again.resent) for again in allowed.messages) == [
        (0, True),
        (1, False),
        (2, False),
        (3, True),
    ]


def test_state_is_announced_at_every_connection(tmp_path: Path) -> None:
    """At each Connected, with or without a session, `announce` is sent: a Will may have told the line offline."""
    publisher = MemoryPublisher()
    with Outbox(tmp_path / "outbox.db") as outbox:
        with sending(outbox, publisher, lambda: [state("line/status", "online"), state("line/birth", "{}")]):
            for times, session_present in enumerate([True, False, True], start=1):
                wait_for(lambda expected=2 * times: len(publisher.messages) == expected)
                publisher.go_away()
                publisher.come_back(session_present=session_present)
            wait_for(lambda: len(publisher.messages) == 8)
        assert [message.topic for message in publisher.messages] == ["line/status", "line/birth"] * 4


def test_a_broker_that_forgot_gets_standing_alarms_again(tmp_path: Path) -> None:
    """Durable retained state is repeated, as last sent, to a broker without the session, and only to such a one."""
    publisher = MemoryPublisher()
    with Outbox(tmp_path / "outbox.db") as outbox, sending(outbox, publisher):
        for topic, payload in (("alarm/a", b"old"), ("alarm/a", b"new"), ("alarm/b", b"up"), ("alarm/b", b"")):
            outbox.put(None, Message(str(uuid.uuid4()), "alarm-state", topic, payload, retain=True, urgent=True))
        settled(outbox)
        publisher.go_away()
        publisher.come_back(session_present=True)
        put(outbox, 1)
        settled(outbox)
        assert len(publisher.messages) == 5
        publisher.go_away()
        publisher.come_back(session_present=False)
        wait_for(lambda: len(publisher.messages) == 8)
        assert [(m.topic, m.resent) for m in list(publisher.messages)[5:] if m.topic == "line/event"] == [
            ("line/event", True)
        ]
        assert {topic: m.payload for topic, m in publisher.retained.items()} == {"alarm/a": b"new"}


def test_offers_wait_for_the_broker_and_only_the_latest_counts(tmp_path: Path) -> None:
    """A message that need not survive is sent while connected; of each topic only the latest waits."""
    publisher = MemoryPublisher(away=True)
    with Outbox(tmp_path / "outbox.db") as outbox, sending(outbox, publisher) as sender:
        for number in range(1000):
            sender.offer(state(f"line/{number % 3}", str(number)))
        wait_for(lambda: sender.trouble == "no broker: the broker is away")
        assert not sender.connected
        publisher.come_back()
        wait_for(lambda: len(publisher.messages) == 3)
        assert sorted(int(message.payload) for message in publisher.messages) == [997, 998, 999]
        assert sender.connected


def test_stopping_drains_then_says_farewell(tmp_path: Path) -> None:
    """With a broker, what is left is sent before the farewell; without one, stopping does not wait and rows stay."""
    publisher = MemoryPublisher()
    with Outbox(tmp_path / "outbox.db") as outbox:
        with sending(outbox, publisher) as sender:
            for number in range(500):
                outbox.put(outbox.reserve(), result(number))
            sender.stop(120.0, state("line/status", "offline"))
        assert sent(publisher) == list(range(500))
        assert publisher.messages[-1].payload == b"offline"
        away = MemoryPublisher(away=True)
        with sending(outbox, away) as sender:
            put(outbox, 1)
            sender.stop(60.0, state("line/status", "offline"))
        assert numbers(outbox.pending(0, 9)) == [1]
        assert not away.messages


# With a real broker.


@contextmanager
def line(path: Path, broker: Mosquitto) -> Iterator[tuple[Outbox, Sender]]:
    """Open what a line has between deciding and the broker."""
    publisher = MqttPublisher(BrokerSettings(port=broker.port), "line", WILL)
    with (
        Outbox(path) as outbox,
        publisher,
        Sender(outbox, publisher, lambda: [state("line/status", "online")]) as sender,
    ):
        yield outbox, sender


def test_messages_wait_in_the_outbox_across_a_restart(tmp_path: Path) -> None:
    """Events put without any broker arrive, once and in order, after a restart beside one; status becomes online."""
    broker = Mosquitto(tmp_path)
    with line(tmp_path / "outbox.db", broker) as (outbox, sender):
        put(outbox, *range(100))
        sender.stop(1.0)
    with broker, Subscriber(broker.port) as subscriber, line(tmp_path / "outbox.db", broker) as (outbox, sender):
        settled(outbox)
        sender.stop(120.0, state("line/status", "offline"))
        wait_for(lambda: subscriber.payloads("line/status") == [b"online", b"offline"])
        assert [int(payload) for payload in subscriber.payloads("line/event")] == list(range(100))


def test_what_a_killed_broker_had_not_acknowledged_arrives(tmp_path: Path) -> None:
    """A broker is killed twice under load: what it had not acknowledged reaches a persistent subscriber.

    Acknowledged messages are the broker's own to keep. mosquitto writes its file after it has sent the acknowledgement,
    and may be killed between the two.
    """
    with (
        Mosquitto(tmp_path, persistent=True) as broker,
        Subscriber(broker.port, "line/event", keeps_session=True) as subscriber,
        line(tmp_path / "outbox.db", broker) as (outbox, sender),
    ):
        owed: set[int] = set()
        for first in (0, 200):
            before = outbox.counts().acknowledged
            for number in range(first, first + 150):
                outbox.put(outbox.reserve(), result(number))
            wait_for(lambda before=before: outbox.counts().acknowledged > before + 20)  # type: ignore[misc] # mypy#15459
            broker.kill9()
            # events come in order: once the loss is known so is every acknowledgement before it
            wait_for(lambda: sender.trouble)
            put(outbox, *range(first + 150, first + 200))
            owed.update(numbers(outbox.pending(0, 1000)))
            broker.start()
            wait_for(lambda: sender.trouble is None)
            settled(outbox)
            # before it is killed again: what it has acknowledged meanwhile and not yet written would be its to lose
            wait_for(lambda: owed <= {int(payload) for payload in subscriber.payloads()})
        assert set(range(150, 200)) | set(range(350, 400)) <= owed
        assert outbox.counts().dropped == 0


def test_a_broker_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """Puts and commits go on while the broker hangs. Everything is delivered once when it answers again."""
    with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "line/event") as subscriber,
        line(tmp_path / "outbox.db", broker) as (outbox, _),
    ):
        put(outbox, 0)
        settled(outbox)
        broker.pause()
        put(outbox, *range(1, 200))
        assert outbox.counts().pending >= 199 - 16
        broker.resume()
        settled(outbox)
        wait_for(lambda: len(subscriber.payloads()) == 200)
        assert [int(payload) for payload in subscriber.payloads()] == list(range(200))


def test_a_killed_line_delivers_the_rest_after_its_restart(tmp_path: Path) -> None:
    """After kill -9 of a sending process all committed events arrive, duplicates apart, in order."""
    program = _PRELUDE + _KILLED_LINE
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "line/event") as subscriber:
        path = tmp_path / "outbox.db"
        command = [sys.executable, "-c", program, str(path), str(broker.port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process, process.stdout:
            committed = [int(process.stdout.readline()) for _ in range(20)][-1]
            wait_for(lambda: len(subscriber.payloads()) > 50)
            os.kill(process.pid, signal.SIGKILL)
        with line(path, broker) as (outbox, _):
            settled(outbox)
            last = outbox.committed
        wait_for(lambda: len({*subscriber.payloads()}) == last)
        arrived = list(dict.fromkeys(json.loads(payload) for payload in subscriber.payloads()))
        assert arrived == list(range(1, last + 1))
        assert last >= committed


_KILLED_LINE = """
from tests.edge.outbox.test_outbox import MqttPublisher, BrokerSettings, Sender, WILL
publisher = MqttPublisher(BrokerSettings(port=int(sys.argv[2])), "line", WILL)
with Outbox(path) as outbox, publisher, Sender(outbox, publisher, list):
    while True:
        seq = outbox.reserve()
        outbox.put(seq, Message(str(seq), "result", "line/event", str(seq).encode()))
        if seq % 10 == 0:
            outbox.flush(120)
            print(outbox.committed, flush=True)
"""


class OddStore(Store):
    """A store of which so many commits fail as nobody expects."""

    odd = 0

    def commit(self, jobs: Sequence[Job]) -> None:
        """Fail, or commit."""
        if OddStore.odd:
            OddStore.odd -= 1
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        super().commit(jobs)


def test_nothing_ends_the_writer(tmp_path: Path) -> None:
    """An error that no commit should raise is told as trouble, as a full disk is. Then all that waited is written."""
    with Outbox(tmp_path / "outbox.db", kind=OddStore) as outbox:
        OddStore.odd = 3  # together, alone, and of nothing at all: it is the store's own trouble
        outbox.put(outbox.reserve(), result(1))
        wait_for(lambda: outbox.trouble)
        assert "too large" in str(outbox.trouble)
        put(outbox, 2)
        assert (outbox.trouble, outbox.alive, numbers(outbox.pending(0, 9))) == (None, True, [1, 2])
        asked: list[int] = []
        outbox.resend(1, 1, lambda _: asked.append(1 // 0))
        put(outbox, 3)
        wait_for(lambda: outbox.flush(1))
        put(outbox, 4)
        assert numbers(outbox.pending(0, 9)) == [1, 2, 3, 4]


class FullStore(Store):
    """A store of which so many new files find no room for their first row."""

    full = 0

    def commit(self, jobs: Sequence[Job]) -> None:
        """Fail once the file is there, or commit."""
        if FullStore.full:
            FullStore.full -= 1
            raise sqlite3.OperationalError("database or disk is full")
        super().commit(jobs)


def test_a_store_that_went_bad_is_set_aside_once(tmp_path: Path) -> None:
    """The file of accepted messages is named, and no other is kept, however often no new one can be made."""
    path = tmp_path / "outbox.db"
    with Outbox(path, kind=FullStore) as outbox:
        put(outbox, *range(1, 2000))
        size = spoil(path)
        FullStore.full = 3
        with suppress(StoreError):
            outbox.pending(0, 2000)
        wait_for(lambda: outbox.set_aside)
        outbox.put(outbox.reserve(), result(2000))
        assert outbox.flush(120)
        assert numbers(outbox.pending(0, 9)) == [2000]
        aside = outbox.set_aside
        assert aside is not None
        assert aside.stat().st_size == size
        assert [kept for kept in tmp_path.glob("*.corrupt-*") if kept.name.endswith("Z")] == [aside]


def test_little_is_settled_in_memory(tmp_path: Path) -> None:
    """The broker gets no more than memory can note while the disk takes nothing. The rest comes when it does again."""
    publisher = MemoryPublisher(away=True, keep=10_000)
    many = range(SETTLED_AT_MOST + 500)
    with Outbox(tmp_path / "outbox.db", kind=FullStore) as outbox:
        for first in many[::1000]:
            put(outbox, *many[first : first + 1000])
        FullStore.full = 10**9
        outbox.put(outbox.reserve(), result(-1))
        wait_for(lambda: outbox.trouble)
        with publisher, Sender(outbox, publisher, list):
            publisher.come_back()
            wait_for(lambda: len(publisher.messages) >= SETTLED_AT_MOST)
            assert not outbox.flush(1.5)  # a retry and a half
            assert len(publisher.messages) < SETTLED_AT_MOST + 100
            FullStore.full = 0
            wait_for(lambda: len(publisher.messages) == len(many) + 1)
            settled(outbox)


def test_a_clock_that_was_ahead_hides_nothing(tmp_path: Path) -> None:
    """An event acknowledged by a clock set back since comes again, by its number and by its age."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        put(outbox, *range(1, 6))
        for row in outbox.pending(0, 9):
            outbox.acknowledge(row)
        settled(outbox)
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE message SET settled_s = settled_s + 3600")
        db.commit()
    with Outbox(path) as outbox:
        told: list[Resent] = []
        outbox.resend(2, 4, told.append)
        wait_for(lambda: told)
        assert told == [Resent(resent=3, waiting=0, missing=0)]
        assert numbers(outbox.pending(0, 9)) == [2, 3, 4]
        for row in outbox.pending(0, 9):
            outbox.acknowledge(row)
        settled(outbox)
        outbox.resend_since(60)
        wait_for(lambda: numbers(outbox.pending(0, 9)) == [1, 2, 3, 4, 5])
