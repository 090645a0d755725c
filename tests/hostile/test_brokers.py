"""Brokers that are none, half ones, or badly set up: what is told of each, and what it costs a line."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.errors import PublishError
from edge.outbox import Outbox, Sender
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.mqtt import MqttPublisher
from edge.publishers.network import NetworkThread, Reload
from edge.publishers.paho_client import PahoClient
from edge.publishers.trial import try_broker
from tests.brokers import Mosquitto, wait_for
from tests.edge.outbox.test_bad_connections import alarm, line
from tests.edge.outbox.test_outbox import WILL, put, settled, state
from tests.scripted_broker import CUT, SILENT, ScriptedBroker


def connack(reason: int = 0, properties: bytes = b"") -> bytes:
    """Return the answer to a CONNECT."""
    return bytes([0x20, 3 + len(properties), 0, reason, len(properties)]) + properties


class OddBroker(ScriptedBroker):
    """Answers who connects, publishes or subscribes with the bytes that a test wants; None: not at all."""

    def __init__(self, connected: bytes | None, puback: Callable[[bytes], bytes | None] | None = None) -> None:
        super().__init__(lambda *_: SILENT if puback else 0)
        self._connected, self._puback = connected, puback

    def _answer(self, connection: socket.socket, head: int, body: bytes) -> bool:
        kind = head >> 4
        if kind == 1:
            self.connections += 1
            if self._connected is not None:
                connection.sendall(self._connected)
            return bool(self._connected)
        if kind == 3 and self._puback is not None and head & 6:
            length = int.from_bytes(body[:2], "big")
            connection.sendall(self._puback(body[2 + length : 4 + length]) or b"")
        return super()._answer(connection, head, body)


# A broker's answers to a CONNECT, and their words, by `check` and by the line alike.
NONE_FOR_A_LINE = {
    "QoS 0 only": (connack(0, b"\x24\x00"), "max_qos 1"),
    "nothing retained": (connack(0, b"\x25\x00"), "retain_available true"),
    "no QoS 1": (connack(0x9B), "max_qos 1"),
    "no retain": (connack(0x9A), "retain_available true"),
    "an account that it does not know": (connack(0x86), "broker.username"),
    "not authorised": (connack(0x87), "broker.username"),
    "another version": (connack(0x84), "does not speak MQTT 5"),
    "an answer of MQTT 3.1.1": (b"\x20\x02\x00\x01", "does not speak MQTT 5"),
    "an answer of MQTT 3.1.1 that lets in": (b"\x20\x02\x00\x00", "no answer of MQTT 5"),
    "quota": (connack(0x97), "limit"),
    "busy": (connack(0x89), "Wait"),
    "banned": (connack(0x8A), "banned"),
    "moved": (connack(0x9D), "broker.host"),
    "too fast": (connack(0x9F), "more connections a second"),
    "a reason that is none": (connack(0xFF), "no answer of MQTT 5"),
    "nothing in it": (b"\x20\x00", "no answer of MQTT 5"),
    "properties that are none": (b"\x20\x05\x00\x00\x02\xee\xee", "no answer of MQTT 5"),
    "properties beyond its end": (b"\x20\x03\x00\x00\x7f", "no answer of MQTT 5"),
    "a window of nothing": (connack(0, b"\x21\x00\x00"), "no answer of MQTT 5"),
    "an end": (b"", "ended the connection without an answer"),
}


@pytest.mark.parametrize(("answer", "says"), NONE_FOR_A_LINE.values(), ids=NONE_FOR_A_LINE)
def test_a_broker_that_is_none_for_a_line_is_told_with_what_to_do(tmp_path: Path, answer: bytes, says: str) -> None:
    """`check` fails, the line is not connected and says why, and no message is given up for it."""
    with OddBroker(answer) as broker, Outbox(tmp_path / "outbox.db") as outbox:
        with pytest.raises(PublishError, match=says):
            try_broker(BrokerSettings(port=broker.port))
        put(outbox, *range(5))
        outbox.put(outbox.reserve(), alarm(1))
        assert outbox.flush(120)
        with line(broker.port) as publisher, Sender(outbox, publisher, lambda: [state("line/status", "on")]) as sender:
            wait_for(lambda: says in str(sender.trouble))
            assert not sender.connected
            assert says in str(sender.delivery.broker)
            assert (outbox.counts().pending, outbox.counts().dead_letters) == (6, 0)


@pytest.mark.parametrize(("config", "says"), [("max_qos 0", "max_qos 1"), ("retain_available false", "retain_avail")])
def test_a_mosquitto_that_takes_too_little_is_no_broker_for_a_line(tmp_path: Path, config: str, says: str) -> None:
    """By its real words too, at the connection or before it."""
    with Mosquitto(tmp_path, config=config) as broker, Outbox(tmp_path / "outbox.db") as outbox:
        with pytest.raises(PublishError, match=says):
            try_broker(BrokerSettings(port=broker.port))
        put(outbox, 1)
        with line(broker.port) as publisher, Sender(outbox, publisher, list) as sender:
            wait_for(lambda: says in str(sender.trouble))
            assert (outbox.counts().pending, outbox.counts().dead_letters) == (1, 0)


class Impatient(MqttPublisher):
    """A publisher that waits for answers for a second."""

    _answers_s = 1.0


# Packets that come in the place of a PUBACK.
NO_ANSWERS: dict[str, Callable[[bytes], bytes | None]] = {
    "silence": lambda _: None,
    "a PUBREC": lambda packet: b"\x50\x04" + packet + b"\x00\x00",
    "an answer to another": lambda _: b"\x40\x04\xff\xff\x00\x00",
    "an answer to none": lambda _: b"\x40\x04\x00\x00\x00\x00",
}


@pytest.mark.parametrize("puback", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_a_broker_that_answers_no_message_is_left_and_asked_again(
    tmp_path: Path, puback: Callable[[bytes], bytes | None]
) -> None:
    """It is told, a new connection is made, and once the broker answers all is delivered."""
    with OddBroker(connack(), puback) as broker, Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, *range(5))
        settings = BrokerSettings(port=broker.port, keepalive_s=60)
        with Impatient(settings, "line", WILL) as publisher, Sender(outbox, publisher, list) as sender:
            wait_for(lambda: "has answered none of 5 messages" in str(sender.trouble))
            wait_for(lambda: broker.connections >= 3)
            assert (outbox.counts().pending, outbox.counts().dead_letters) == (5, 0)
            broker._puback, broker.judge = None, lambda *_: 0
            settled(outbox)
            assert {int(payload) for payload in broker.payloads("line/event")} == set(range(5))


class Throwing(OddBroker):
    """Lets in, and throws out at once."""

    def _answer(self, connection: socket.socket, head: int, body: bytes) -> bool:
        super()._answer(connection, head, body)
        return False


class Hurried(NetworkThread):
    """Waits for nothing between attempts, and remembers how long it was to wait."""

    def __init__(self, make: Callable[[], PahoClient]) -> None:
        super().__init__(make, "hurried", lambda _: None, Reload())
        self.waits: list[float] = []

    def _pause(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_a_broker_that_lets_in_and_throws_out_is_asked_ever_more_seldom() -> None:
    """To be let in is no success: the waits grow as they do where nobody answers."""
    with Throwing(connack()) as broker:

        def make() -> PahoClient:
            client = PahoClient("line")
            client.on_connect = lambda *_: network.let_in()
            client.connect_async("127.0.0.1", broker.port)
            return client

        network = Hurried(make)
        network.start()
        wait_for(lambda: len(network.waits) >= 6)
        network.stop(60)
    assert all(
        longest / 2 <= wait <= longest for wait, longest in zip(network.waits, (2, 4, 8, 16, 30, 30), strict=False)
    )


@pytest.mark.parametrize("code", [None, 0x87, 0x99])
def test_a_broker_that_ends_the_connection_over_everything_convicts_no_message(
    tmp_path: Path, code: int | None
) -> None:
    """None is set aside, the alarm neither; each arrives once the broker takes messages."""
    cut: int | tuple[int, int] = CUT if code is None else (CUT, code)
    with ScriptedBroker(lambda *_: cut) as broker, Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, *range(5))
        if code is not None:
            outbox.put(outbox.reserve(), alarm(77))
        with line(broker.port) as publisher, Sender(outbox, publisher, list):
            wait_for(lambda: broker.connections >= 4)
            assert outbox.counts().dead_letters == 0
            broker.judge = lambda *_: 0
            settled(outbox)
            assert {int(payload) for payload in broker.payloads("line/event")} == set(range(5))
            assert len(broker.payloads("line/alarm")) == (code is not None)
