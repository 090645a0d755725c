"""Connections that break: over one message, again and again, or because the link is bad. None may wedge a line."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.proof.proxy import FaultProxy
from edge.opencv import cv2
from edge.outbox import Outbox, Sender
from edge.outbox.sender import Patience
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.mqtt import MqttPublisher
from edge.records import Message
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.outbox.test_outbox import WILL, put, result, settled, state
from tests.edge.outbox.test_sender import running
from tests.edge.station.test_run import ROOT_TOPIC, bodies, write_line
from tests.edge.station.test_run import running as station
from tests.scripted_broker import CUT, ScriptedBroker

Judge = Callable[[str, bytes], int | tuple[int, int]]


def line(port: int) -> MqttPublisher:
    """Return a publisher to a broker."""
    return MqttPublisher(BrokerSettings(port=port, keepalive_s=60), "line", WILL)


def alarm(number: int, topic: str = "line/alarm", *, retain: bool = False) -> Message:
    """Return an alarm's message."""
    return Message(str(uuid.uuid4()), "alarm", topic, str(number).encode(), retain=retain, urgent=True)


def over(*payloads: bytes, code: int | None = None) -> Judge:
    """Break the connection over these payloads, and take all others."""
    cut: int | tuple[int, int] = CUT if code is None else (CUT, code)
    return lambda _, payload: cut if payload in payloads else 0


@pytest.mark.parametrize("code", [None, 0x81, 0x95])
def test_a_result_over_which_the_broker_breaks_the_connection_is_set_aside(tmp_path: Path, code: int | None) -> None:
    """Of 40 results, one of which breaks every connection, 39 arrive after a few connections, one is a dead letter."""
    with ScriptedBroker(over(b"7", code=code)) as broker, Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, *range(40))
        with line(broker.port) as publisher, Sender(outbox, publisher, lambda: [state("line/status", "on")]) as sender:
            settled(outbox)
            assert {int(p) for p in broker.payloads("line/event")} == set(range(40)) - {7}
            assert outbox.counts().dead_letters == 1
            assert broker.connections <= 5
            told = str(sender.delivery.refused)
            assert "1 message is a dead letter" in told
            assert "broke twice while a message of 1 byte to line/event alone was on its way" in told


def test_what_was_set_aside_is_tried_again_alone(tmp_path: Path) -> None:
    """After its time it is tried again. A broker that still does not take it loses one connection, and no message."""
    with ScriptedBroker(over(b"7")) as broker, Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, *range(10))
        patience = Patience(retry_dead_letters_s=4.0)
        with line(broker.port) as publisher, Sender(outbox, publisher, list, patience=patience):
            wait_for(lambda: outbox.counts().dead_letters == 1)
            before = broker.connections
            wait_for(lambda: broker.connections > before)
            wait_for(lambda: outbox.counts().dead_letters == 1)
            broker.judge = lambda *_: 0
            wait_for(lambda: b"7" in broker.payloads("line/event"))
            settled(outbox)


def test_an_alarm_is_deferred_and_never_set_aside_because_the_link_breaks(tmp_path: Path) -> None:
    """Over an alarm connections break without a word: others pass it, it is tried again, and arrives in the end."""
    with ScriptedBroker(over(b"77")) as broker, Outbox(tmp_path / "outbox.db") as outbox:
        for number in range(70, 80):
            outbox.put(outbox.reserve(), alarm(number))
        outbox.flush(120)
        with line(broker.port) as publisher, Sender(outbox, publisher, list) as sender:
            wait_for(lambda: {int(p) for p in broker.payloads("line/alarm")} == set(range(70, 80)) - {77})
            put(outbox, *range(20))
            wait_for(lambda: {int(p) for p in broker.payloads("line/event")} == set(range(20)))
            wait_for(lambda: "which are tried again" in str(sender.delivery.refused))
            wait_for(lambda: (outbox.counts().dead_letters, outbox.counts().pending) == (0, 1))
            broker.judge = lambda *_: 0
            wait_for(lambda: b"77" in broker.payloads("line/alarm"))
            settled(outbox)
            assert sender.delivery.refused is None


def test_a_retained_state_is_never_overtaken_by_an_older_one(tmp_path: Path) -> None:
    """A state over which connections broke waits; the newer one of its topic waits with it, and comes last."""
    with ScriptedBroker(over(b"1")) as broker, Outbox(tmp_path / "outbox.db") as outbox:
        with line(broker.port) as publisher, Sender(outbox, publisher, list) as sender:
            outbox.put(outbox.reserve(), alarm(1, "line/alarm/a", retain=True))
            wait_for(lambda: "which are tried again" in str(sender.delivery.refused))
            outbox.put(outbox.reserve(), alarm(2, "line/alarm/a", retain=True))
            outbox.put(outbox.reserve(), alarm(3, "line/alarm/b", retain=True))
            wait_for(lambda: broker.payloads("line/alarm/b"))
            assert broker.payloads("line/alarm/a") == []
            broker.judge = lambda *_: 0
            settled(outbox)
        assert broker.payloads("line/alarm/a") == [b"1", b"2"]


def test_an_announcement_that_breaks_the_connection_is_dropped(tmp_path: Path) -> None:
    """A birth, and a picture of QoS 0, over which connections break are not said; status and results go on."""
    picture = Message("p", "picture", "line/image", b"jpeg", qos=0, durable=False)
    with ScriptedBroker(over(b"birth", b"jpeg")) as broker, Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, *range(30))
        said = [state("line/status", "on"), state("line/birth", "birth"), state("line/recipe", "recipe")]
        with line(broker.port) as publisher, Sender(outbox, publisher, lambda: said) as sender:
            wait_for(lambda: sender.connected)
            sender.offer(picture)
            settled(outbox)
            wait_for(lambda: broker.payloads("line/recipe"))
            wait_for(lambda: sender.counts.announcements_dropped >= 2)
            put(outbox, 30)
            settled(outbox)
            assert {int(p) for p in broker.payloads("line/event")} == set(range(31))
            assert broker.connections <= 12  # two for each of both, and some while others are told apart
            assert "alone was on its way" in str(sender.delivery.refused)


def test_a_refusal_for_want_of_room_is_tried_again_soon(tmp_path: Path) -> None:
    """Results refused for quota (0x97) wait, are told, hold up no alarm, and follow in order once there is room."""
    with (
        ScriptedBroker(lambda topic, _: 0x97 if topic == "line/event" else 0) as broker,
        Outbox(tmp_path / "outbox.db") as outbox,
        line(broker.port) as publisher,
        Sender(outbox, publisher, list) as sender,
    ):
        put(outbox, *range(20))
        wait_for(lambda: "0x97" in str(sender.delivery.refused))
        outbox.put(outbox.reserve(), alarm(1))
        wait_for(lambda: broker.payloads("line/alarm"))
        wait_for(lambda: (outbox.counts().dead_letters, outbox.counts().pending) == (0, 20))
        broker.judge = lambda *_: 0
        settled(outbox)
        assert [int(p) for p in broker.payloads("line/event")] == list(range(20))
        assert sender.delivery.refused is None


def test_an_access_list_that_is_mended_is_noticed(tmp_path: Path) -> None:
    """A message refused as not authorised follows as soon as the broker takes another of its topic."""
    with (
        ScriptedBroker(lambda topic, _: 0x87 if topic == "line/event" else 0) as broker,
        Outbox(tmp_path / "outbox.db") as outbox,
        line(broker.port) as publisher,
        Sender(outbox, publisher, list),
    ):
        put(outbox, *range(5))
        wait_for(lambda: outbox.counts().dead_letters == 5)
        broker.judge = lambda *_: 0
        put(outbox, 5)
        wait_for(lambda: outbox.counts().dead_letters == 0)
        settled(outbox)
        assert {int(p) for p in broker.payloads("line/event")} == set(range(6))


def test_a_birth_that_mosquitto_refuses_as_too_large_wedges_nothing(tmp_path: Path) -> None:
    """With message_size_limit 6000 birth and large results are refused by 0x95; all else goes over one connection."""
    with (
        Mosquitto(tmp_path, config="message_size_limit 6000") as broker,
        Subscriber(broker.port) as subscriber,
        Outbox(tmp_path / "outbox.db") as outbox,
        line(broker.port) as publisher,
        Sender(outbox, publisher, lambda: [state("line/status", "on"), state("line/birth", "x" * 7000)]) as sender,
    ):
        outbox.put(outbox.reserve(), result(0))
        outbox.put(outbox.reserve(), Message("large", "result", "line/event", b"9" * 8000))
        put(outbox, *range(1, 20))
        wait_for(lambda: len(subscriber.payloads("line/event")) == 20)
        assert [int(p) for p in subscriber.payloads("line/event")] == list(range(20))
        wait_for(lambda: outbox.counts().dead_letters == 1)
        assert sender.counts.connections_lost == 0
        # pictures are made to fit: acknowledged until one was taken
        while sender._limits.picture_unsure:
            size = sender.picture_bytes
            assert size > 2000
            sender.offer(Message(str(uuid.uuid4()), "picture", "line/image", b"j" * (size - 20), qos=0, durable=False))
            wait_for(lambda size=size: sender.picture_bytes != size or not sender._limits.picture_unsure)
        assert 3000 < sender.picture_bytes <= 6000
        wait_for(lambda: subscriber.payloads("line/image"))


def test_a_flaky_link_resends_a_bounded_part_and_new_events_come_first(tmp_path: Path) -> None:
    """Cut again and again, a link carries each event a few times. New ones are there before those that come again."""
    with (
        Mosquitto(tmp_path) as broker,
        FaultProxy(broker.port) as proxy,
        Subscriber(broker.port, "line/event") as subscriber,
        running(tmp_path / "outbox.db", line(proxy.port)) as (outbox, sender),
    ):
        wait_for(lambda: sender.connected)
        for number in range(150):
            outbox.put(outbox.reserve(), result(number))
            time.sleep(0.05)
            if number % 30 == 29:
                proxy.fail("cut", 0)
        settled(outbox)
        came = [int(p) for p in subscriber.payloads()]
        assert set(came) == set(range(150))
        # an event is sent again for each cut within 10 s of its first acknowledgement: here at most four
        assert len(came) <= 5 * 150


def test_what_was_sent_again_is_not_for_that_reason_sent_again(tmp_path: Path) -> None:
    """The time of an event is that of its first acknowledgement: after it, doubt does not renew itself."""
    with Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, 1, 2)

        def acknowledge_all() -> int:
            rows = outbox.pending(0, 9)
            for row in rows:
                outbox.acknowledge(row)
            settled(outbox)
            return len(rows)

        assert acknowledge_all() == 2
        time.sleep(1.5)
        outbox.resend_since(60)
        assert outbox.flush(120)
        assert acknowledge_all() == 2
        outbox.resend_since(1.0)
        assert outbox.flush(120)
        assert outbox.counts().pending == 0
        # a broker that has forgotten begins anew, five times at most
        for _ in range(9):
            outbox.resend_since(60, forgotten=True)
            assert outbox.flush(120)
            acknowledge_all()
        assert outbox.counts().acknowledged == 2 + 2 + 2 * 4


def test_what_is_new_goes_before_what_is_sent_again(tmp_path: Path) -> None:
    """A new alarm and a new result come among the next few while 3,000 events are sent again."""
    with ScriptedBroker() as broker, running(tmp_path / "outbox.db", line(broker.port)) as (outbox, _):
        for first in range(0, 3000, 500):
            put(outbox, *range(first, first + 500))
        settled(outbox)
        broker.messages.clear()
        outbox.resend(1, 3000, lambda _: None)
        wait_for(lambda: len(broker.messages) > 100)
        outbox.put(outbox.reserve(), result(9999))
        outbox.put(outbox.reserve(), alarm(8888))
        outbox.flush(120)
        behind = len(broker.messages)
        wait_for(lambda: (b"8888" in broker.payloads("line/alarm")) and (b"9999" in broker.payloads("line/event")))
        places = [place for place, (_, payload) in enumerate(broker.messages) if payload in {b"8888", b"9999"}]
        assert max(places) <= behind + 50
        settled(outbox)
        assert len(broker.messages) == 3002


def test_a_line_at_a_broker_with_a_limit_shows_pictures_that_fit(tmp_path: Path) -> None:
    """With message_size_limit 6000 the birth is refused and told; results, state and smaller pictures come."""
    noise = np.random.default_rng(3).integers(0, 60, (480, 640, 3), np.uint8)
    with Mosquitto(tmp_path, config="message_size_limit 6000") as broker, Subscriber(broker.port) as desk:
        config = write_line(tmp_path, broker.port)
        for name in ("000.png", "001.png"):  # the others are links to these
            cv2.imwrite(str(tmp_path / "parts" / name), noise)
        with station(config):
            wait_for(lambda: desk.payloads(f"{ROOT_TOPIC}/image/last"))
            wait_for(lambda: len(bodies(desk, "event/result")) >= 3)
            wait_for(lambda: bodies(desk, "state/counters")[-1]["announcements_dropped"] >= 1)
            assert bodies(desk, "birth") == []
            assert bodies(desk, "state/counters")[-1]["connections_lost"] == 0
            assert max(map(len, desk.payloads(f"{ROOT_TOPIC}/image/last"))) <= 6000
            wait_for(lambda: any(event["alarm"] == "broker-refuses" for event in bodies(desk, "event/alarm")))
