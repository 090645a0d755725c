"""The sender keeps, sends again and puts first: with the publisher in memory, and with real brokers."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from edge.outbox import AckPolicy, Outbox, Resent, Row, Sender
from edge.outbox.sender import ROWS_AT_ONCE, ROWS_PER_S, Patience
from edge.outbox.store import Store
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.memory import MemoryPublisher
from edge.publishers.mqtt import MqttPublisher
from edge.records import Acknowledged, AlarmRecord, Message, PublisherEvent, Received, Token
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.outbox.test_outbox import WILL, put, result, sent, settled, spoil


class PickyPublisher(MemoryPublisher):
    """A broker where nobody subscribes to the topics in `unheard`: it takes what is sent there, and says so."""

    def __init__(self, *unheard: str) -> None:
        super().__init__(keep=100_000)
        self.unheard = set(unheard)
        self.lost: list[Message] = []
        self._nowhere: set[Token] = set()

    def events(self) -> Iterator[PublisherEvent]:
        """Yield what has happened, with reason 0x10 where nobody was there."""
        for event in super().events():
            gone = isinstance(event, Acknowledged) and event.token in self._nowhere
            yield Acknowledged(event.token, 0x10) if gone and isinstance(event, Acknowledged) else event

    def send(self, message: Message) -> Token:
        """Take a message; where nobody subscribes it goes nowhere."""
        token = super().send(message)
        if message.topic in self.unheard:
            self.lost.append(self.messages.pop())
            self._nowhere.add(token)
        return token


@contextmanager
def running(path: Path, publisher: MemoryPublisher | MqttPublisher, **how: object) -> Iterator[tuple[Outbox, Sender]]:
    """Open an outbox with a sender."""
    with Outbox(path) as outbox, publisher, Sender(outbox, publisher, list, **how) as sender:
        yield outbox, sender


def test_what_nobody_takes_stays_and_holds_up_nothing_else(tmp_path: Path) -> None:
    """Events of a topic without a consumer wait, with tries now and then, and others go on meanwhile."""
    publisher = PickyPublisher("line/event")
    with running(tmp_path / "outbox.db", publisher) as (outbox, sender):
        put(outbox, *range(200))
        outbox.put(outbox.reserve(), Message("a", "alarm", "line/alarm", b"9", urgent=True))
        wait_for(lambda: sent(publisher, "line/alarm") == [9])
        # the window that was under way, and then one at a time
        wait_for(lambda: len(publisher.lost) >= 18)
        assert {int(tried.payload) for tried in publisher.lost[16:]} == {0}
        assert outbox.counts().pending == 200
        assert sender.delivery.no_consumer is None  # not yet: a consumer may just be connecting again
        publisher.unheard.clear()
        settled(outbox)
        assert sent(publisher) == list(range(200))


def test_what_waited_comes_no_faster_than_consumers_take_it(tmp_path: Path) -> None:
    """After an outage all alarms leave first, and at most so many rows a second: a broker drops what it cannot hold."""
    publisher = MemoryPublisher(keep=100_000, away=True)
    with running(tmp_path / "outbox.db", publisher) as (outbox, _):
        for _ in range(6):  # no more at once than may wait for the disk
            put(outbox, *range(ROWS_PER_S // 2))
        put(outbox, *range(ROWS_PER_S // 2), urgent=True)
        began_s = time.monotonic()
        publisher.come_back()
        while outbox.counts().pending:
            left = len(publisher.messages)
            assert left <= ROWS_AT_ONCE + ROWS_PER_S * (time.monotonic() - began_s)
            assert time.monotonic() - began_s < 60
    assert len(publisher.messages) == 3.5 * ROWS_PER_S
    assert all(message.urgent for message in islice(publisher.messages, ROWS_PER_S // 2))


def test_a_topic_that_nobody_takes_is_told_after_a_while(tmp_path: Path) -> None:
    """The state of delivery names the topic, once it has lasted; and how old the oldest event is."""
    publisher = PickyPublisher("line/event")
    with running(tmp_path / "outbox.db", publisher, patience=Patience(no_consumer_s=2.0)) as (outbox, sender):
        put(outbox, 1)
        wait_for(lambda: sender.delivery.no_consumer)
        assert sender.delivery.no_consumer == "nobody at the broker takes line/event"
        assert sender.delivery.oldest_s > 0.5
        publisher.unheard.clear()
        wait_for(lambda: sender.delivery.no_consumer is None)
        wait_for(lambda: sender.delivery.oldest_s == 0)


@pytest.mark.parametrize(
    ("expected", "urgent", "retain", "done"),
    [
        (("alarms", "results"), True, False, False),
        (("alarms", "results"), False, False, False),
        (("alarms",), False, False, True),
        (("results",), True, False, True),
        (("alarms", "results"), True, True, True),  # the broker keeps it for those who come later
    ],
)
def test_which_classes_expect_a_consumer(*, expected: tuple[str, ...], urgent: bool, retain: bool, done: bool) -> None:
    """Reason 0x10 keeps events of the classes that the settings name, and nothing that is retained; 0x00 keeps none."""
    policy = AckPolicy(expected)
    assert policy.done(result(1, urgent=urgent, retain=retain), 0x10) is done
    assert policy.done(result(1, urgent=urgent, retain=retain), 0x00)


def test_nothing_is_lost_at_a_broker_that_has_no_subscriber_yet(tmp_path: Path) -> None:
    """Events sent to a real broker before anybody subscribed arrive, in order, when somebody does."""
    with (
        Mosquitto(tmp_path) as broker,
        running(tmp_path / "outbox.db", MqttPublisher(BrokerSettings(port=broker.port), "line", WILL)) as (
            outbox,
            sender,
        ),
    ):
        wait_for(lambda: sender.connected)
        put(outbox, *range(100))
        wait_for(lambda: sender.published >= 16)
        with Subscriber(broker.port, "line/event") as subscriber:
            settled(outbox)
            wait_for(lambda: len(subscriber.payloads()) >= 100)
            assert [int(payload) for payload in subscriber.payloads()] == list(range(100))


def test_a_killed_broker_with_its_default_configuration_loses_nothing(tmp_path: Path) -> None:
    """Events that a broker without a memory acknowledged, and did not deliver, come again to a lone subscriber."""
    line = MqttPublisher(BrokerSettings(port=(broker := Mosquitto(tmp_path)).port), "line", WILL)
    with broker, running(tmp_path / "outbox.db", line) as (outbox, sender):
        with Subscriber(broker.port, "line/event", keeps_session=True):
            wait_for(lambda: sender.connected)
        put(outbox, *range(50))
        settled(outbox)  # the broker queues them for the subscriber, which is away
        broker.kill9()
        wait_for(lambda: not sender.connected)
        broker.start()
        with Subscriber(broker.port, "line/event", keeps_session=True) as subscriber:
            wait_for(lambda: len(subscriber.payloads()) >= 50)
            assert [int(payload) for payload in subscriber.payloads()] == list(range(50))
            again = [dict(m.properties.UserProperty) for m in subscriber.messages if m.properties is not None]
            assert [each.get("resent") for each in again] == ["1"] * 50


def packets(connection: socket.socket) -> Iterator[int]:
    """Yield the kind of each MQTT packet that comes, until none has come within the connection's time limit."""
    stream = connection.makefile("rb")
    with suppress(TimeoutError):
        while head := stream.read(1):
            size, shift = 0, 0
            while True:  # the length: seven bits in a byte, the eighth says that more follow
                (byte,) = stream.read(1)
                size, shift = size | (byte & 0x7F) << shift, shift + 7
                if byte < 0x80:
                    break
            stream.read(size)
            yield head[0] >> 4


def test_a_broker_that_allows_fewer_unacknowledged_messages_is_obeyed(tmp_path: Path) -> None:
    """A broker with a receive maximum of 3 that acknowledges nothing gets three messages, though more wait."""
    connect, publish = 1, 3
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = MqttPublisher(BrokerSettings(port=server.getsockname()[1]), "line", WILL)
        with running(tmp_path / "outbox.db", line) as (outbox, _):
            put(outbox, *range(50))
            connection, _ = server.accept()
            with connection:
                connection.settimeout(120)
                coming = packets(connection)
                assert next(coming) == connect
                # CONNACK: no session, success, and one property, 0x21 receive maximum = 3
                connection.sendall(b"\x20\x06\x00\x00\x03\x21\x00\x03")
                wait_for(lambda: next(coming) == publish)
                wait_for(lambda: next(coming) == publish)
                wait_for(lambda: next(coming) == publish)
                connection.settimeout(1.0)
                assert publish not in coming


def test_a_gap_is_filled_on_request(tmp_path: Path) -> None:
    """Acknowledged events are sent again by number, with the ids that they had; the answer counts what is not there."""
    publisher, answers = MemoryPublisher(), []
    path = tmp_path / "outbox.db"
    with running(path, publisher) as (outbox, _):
        put(outbox, *range(1, 41))
        outbox.put(outbox.reserve(), Message("s", "alarm-state", "alarm/a", b"{}", retain=True, urgent=True))
        settled(outbox)
        ids = {int(m.payload): m.id for m in publisher.messages if m.topic == "line/event"}
        publisher.messages.clear()
        outbox.resend(11, 20, answers.append)
        wait_for(lambda: len(publisher.messages) == 10)
        assert [(int(m.payload), m.id, m.resent) for m in publisher.messages] == [
            (number, ids[number], True) for number in range(11, 21)
        ]
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("DELETE FROM message WHERE seq = 30")
        settled(outbox)
        outbox.resend(29, 99, answers.append)
        wait_for(lambda: len(answers) == 2)
        # 29 to 40 without 30. The 41st is a retained state alone, which is no event of its own here, so it is missing
        assert answers == [Resent(10, 0, 0), Resent(11, 0, 2)]


def test_what_waits_anyway_is_not_sent_twice_on_request(tmp_path: Path) -> None:
    """A wish for events that the broker has not acknowledged changes nothing: they come once."""
    publisher, answers = MemoryPublisher(away=True), []
    with running(tmp_path / "outbox.db", publisher) as (outbox, _):
        put(outbox, *range(1, 31))
        outbox.resend(1, 30, answers.append)
        wait_for(lambda: answers)
        assert answers == [Resent(0, 30, 0)]
        publisher.come_back()
        settled(outbox)
        assert sent(publisher) == list(range(1, 31))


class CountedStore(Store):
    """Counts how often rows are looked for."""

    looks = 0

    def read(self, *which: Any, **how: Any) -> list[Row]:
        """Return rows."""
        type(self).looks += 1
        return super().read(*which, **how)


def test_a_sender_that_is_woken_looks_for_no_rows_where_nothing_new_was_put(tmp_path: Path) -> None:
    """A word is sent at once, without a look into the file. A row that is put is found at once."""
    publisher = MemoryPublisher()
    with (
        Outbox(tmp_path / "outbox.db", kind=CountedStore) as outbox,
        publisher,
        Sender(outbox, publisher, list) as sender,
    ):
        outbox.put(outbox.reserve(), Message("first", "result", "line/event", b"1"))
        wait_for(lambda: outbox.counts().acknowledged == 1)
        before = CountedStore.looks
        for number in range(200):
            sender.offer(Message(f"s{number}", "seq", "line/seq", b"%d" % number, qos=0, durable=False))
            wait_for(lambda number=number: publisher.messages[-1].id == f"s{number}")  # type: ignore[misc] # mypy#15459
        assert CountedStore.looks - before < 100  # a turn had at least two
        outbox.put(outbox.reserve(), Message("second", "result", "line/event", b"2"))
        wait_for(lambda: publisher.messages[-1].id == "second")


def test_a_publisher_tells_when_something_has_happened(tmp_path: Path) -> None:
    """An acknowledgement, and a command, wake who listens: nobody has to look again and again."""
    woken = threading.Event()
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "line/event") as other:
        settings = BrokerSettings(port=broker.port)
        publisher = MqttPublisher(settings, "a-line", None, ["line/cmd/+"])
        publisher.listen(woken.set)
        heard: list[type] = []

        def look() -> bool:
            heard.extend(type(event) for event in publisher.events())
            return publisher.hears

        with publisher:
            wait_for(look)
            woken.clear()
            publisher.send(Message("m", "result", "line/event", b"1"))
            assert woken.wait(120)
            wait_for(lambda: look() and Acknowledged in heard)
            woken.clear()
            other.publish("line/cmd/ack", b"{}")
            assert woken.wait(120)
            wait_for(lambda: look() and Received in heard)


def test_acknowledged_rows_are_kept_for_their_time_only(tmp_path: Path) -> None:
    """With no time to keep them they go, alarms beside such results too.

    A wish for them finds them missing.
    """
    publisher, answers = MemoryPublisher(), []
    with (
        Outbox(tmp_path / "outbox.db", kept_s=0) as outbox,
        publisher,
        Sender(outbox, publisher, list),
    ):
        put(outbox, *range(1, 16))
        put(outbox, *range(16, 31), urgent=True)
        settled(outbox)

        def missing() -> bool:
            """Ask again: what is too old goes with one of the next commits."""
            put(outbox, 99)
            outbox.resend(1, 30, answers.append)
            return bool(answers) and answers[-1] == Resent(0, 0, 30)

        wait_for(missing)


def test_a_store_that_goes_bad_while_the_line_runs_is_replaced(tmp_path: Path) -> None:
    """It is set aside and told; numbers and epoch go on, alarm records stay, and later events are sent."""
    path, publisher = tmp_path / "outbox.db", MemoryPublisher(away=True)
    with running(path, publisher) as (outbox, sender):
        outbox.put(None, alarms=[AlarmRecord("a", "1")])
        put(outbox, *range(1, 2000))
        epoch = outbox.epoch
        spoil(path)
        publisher.come_back()
        wait_for(lambda: outbox.set_aside)
        put(outbox, 2000)
        assert (outbox.epoch, outbox.trouble, outbox.reserve()) == (epoch, None, 2001)
        assert outbox.alarm_records() == [AlarmRecord("a", "1")]
        assert "corrupt" in str(sender.delivery.set_aside)
        wait_for(lambda: sent(publisher)[-1:] == [2000])
    with Outbox(path) as outbox:
        assert (outbox.epoch, outbox.set_aside, outbox.committed) == (epoch, None, 2000)
        assert outbox.alarm_records() == [AlarmRecord("a", "1")]


class TalkativePublisher(MemoryPublisher):
    """A publisher: another thread says `newer` on the topic `busy` while its first message is taken."""

    def __init__(self, busy: str, newer: Message) -> None:
        super().__init__()
        self.busy, self.newer = busy, newer
        self.say = lambda _: None

    def send(self, message: Message) -> Token:
        """Take a message, and have the other thread say its own before this call ends."""
        token = super().send(message)
        if message.topic == self.busy and message is not self.newer:
            other = threading.Thread(target=self.say, args=[self.newer])
            other.start()
            other.join()
        return token


def test_what_is_said_while_an_older_word_is_sent_is_sent_too(tmp_path: Path) -> None:
    """An announcement that another thread makes in the moment in which the former one goes out still goes out."""
    starting, online = (Message(name, "status", "line/status", name.encode(), retain=True) for name in ("s", "o"))
    publisher = TalkativePublisher("line/status", online)
    with Outbox(tmp_path / "outbox.db") as outbox, publisher:
        sender = Sender(outbox, publisher, lambda: [starting])
        publisher.say = sender.offer
        with sender:
            wait_for(lambda: [message.payload for message in list(publisher.messages)] == [b"s", b"o"])
