"""Packets that anybody may publish: what is left of them before paho reads them, whose cost grows with the square."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import psutil
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge.publishers.received_packet import PROPERTIES_AT_MOST, USER_PROPERTIES_AT_MOST, cut, packet_number
from tests.brokers import HOST, Mosquitto, Subscriber, wait_for
from tests.edge.station.test_run import ROOT_TOPIC, bodies, running, write_line

KEEPS = 65_536


def text(value: str) -> bytes:
    """Return a text as MQTT writes it."""
    return len(value.encode()).to_bytes(2, "big") + value.encode()


def variable(value: int) -> bytes:
    """Return a variable byte integer."""
    told = []
    while True:
        value, low = divmod(value, 128)
        told.append(low | 128 * bool(value))
        if not value:
            return bytes(told)


def published(properties: bytes, payload: bytes = b"{}", *, qos: int = 1) -> bytes:
    """Return a PUBLISH without its fixed header."""
    number = (513).to_bytes(2, "big") if qos else b""
    return text("line/cmd/ack") + number + variable(len(properties)) + properties + payload


EXPIRY, RESPONSE = b"\x02" + (30).to_bytes(4, "big"), b"\x08" + text("line/answer/eve")
CORRELATION = b"\x09\xea\x60" + b"c" * 60_000
SHORT = EXPIRY + RESPONSE + b"\x01\x01\x0b\x81\x01\x23\x00\x05\x03" + text("application/json")
USER = b"\x26" + text("id") + text("7")


def read(packet: bytes | bytearray, qos: int = 1) -> tuple[Properties, bytes]:
    """Read a packet as paho does: properties and payload."""
    rest = bytes(packet[2 + len("line/cmd/ack") + 2 * qos :])
    properties = Properties(PacketTypes.PUBLISH)
    _, length = properties.unpack(rest)
    return properties, rest[length:]


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("properties", [b"", SHORT, SHORT + USER, USER * 20 + SHORT], ids=len)
def test_an_honest_packet_stays_as_it_is(properties: bytes, qos: int) -> None:
    """Nothing is taken from a message as others send it."""
    packet = published(properties, b"x" * KEEPS, qos=qos)
    assert cut(packet, qos, KEEPS) == packet


@pytest.mark.parametrize("before", [0, 5, 500])
def test_of_many_user_properties_the_first_are_left(before: int) -> None:
    """The line's property is there, anywhere among the first 1,000."""
    packet = published(USER * before + SHORT + CORRELATION + USER * 100_000, b"{}")
    properties, payload = read(cut(packet, 1, KEEPS))
    assert len(properties.UserProperty) == USER_PROPERTIES_AT_MOST
    assert (properties.MessageExpiryInterval, properties.ResponseTopic) == (30, "line/answer/eve")
    assert properties.CorrelationData == b"c" * 60_000
    assert payload == b"{}"
    assert packet_number(packet) == 513


def test_what_stands_behind_a_thousand_properties_is_not_looked_at() -> None:
    """Such a command lacks its expiry, and is refused for that."""
    properties, payload = read(cut(published(USER * PROPERTIES_AT_MOST + SHORT), 1, KEEPS))
    assert not hasattr(properties, "MessageExpiryInterval")
    assert payload == b"{}"


def test_a_payload_keeps_one_byte_more_than_is_looked_at() -> None:
    """It is known to be too large, and its megabyte is not copied for each property."""
    _, payload = read(cut(published(SHORT, b"x" * 1_000_000), 1, KEEPS))
    assert len(payload) == KEEPS + 1


@pytest.mark.parametrize(
    "packet",
    [
        *(b"", b"\x00", b"\xff\xffx", text("a"), text("a") + b"\x00", published(b"")[:-3], published(USER * 400)[:900]),
        *(published(b"\x7f" * 2_000), published(b"\x26\xff\xff" + b"x" * 2_000), text("a") + b"\x00\x01" + b"\xff" * 9),
    ],
)
def test_what_cannot_be_read_is_left_to_who_reads_it(packet: bytes) -> None:
    """Nothing is raised here; paho says what is wrong with it."""
    assert cut(packet, 1, KEEPS) == packet


def test_a_megabyte_of_properties_costs_little() -> None:
    """Cutting one takes less than a hundredth of what paho takes to read it."""
    packet = published(USER * 100_000)
    began_s = time.process_time()
    for _ in range(20):
        read(cut(packet, 1, KEEPS))
    assert time.process_time() - began_s < 1


def send(port: int, topic: str, properties: bytes, *, retain: bool) -> None:
    """Publish as a client that knows no bounds does; paho would take a minute to write it."""
    body = text(topic) + variable(len(properties)) + properties + b"{}"
    hello = text("MQTT") + bytes([5, 2, 0, 0, 0]) + text("eve")
    with socket.create_connection((HOST, port)) as broker:
        broker.sendall(b"\x10" + variable(len(hello)) + hello)
        assert broker.recv(100)[0] == 0x20
        broker.sendall(bytes([0x30 | retain]) + variable(len(body)) + body)
        broker.sendall(b"\xc0\x00")
        assert broker.recv(2) == b"\xd0\x00"  # it has read all of it


def test_messages_with_100_000_properties_stop_no_line(tmp_path: Path) -> None:
    """A command and a retained state of that kind are refused and corrected, and cost seconds less than paho alone."""
    topics = [f"{ROOT_TOPIC}/event/+", f"{ROOT_TOPIC}/state/counters", f"{ROOT_TOPIC}/answer/eve"]
    with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, topics) as desk,
        running(write_line(tmp_path, broker.port)) as line,
    ):
        wait_for(lambda: len(bodies(desk, "event/result")) >= 2)
        process = psutil.Process(line.pid)
        before_s = sum(process.cpu_times()[:2])
        asks = EXPIRY + b"\x08" + text(f"{ROOT_TOPIC}/answer/eve")
        send(broker.port, f"{ROOT_TOPIC}/cmd/ack", asks + USER * 100_000, retain=False)
        send(broker.port, f"{ROOT_TOPIC}/state/made-up", USER * 100_000, retain=True)
        wait_for(lambda: bodies(desk, "state/counters")[-1]["foreign"] == 1)
        wait_for(lambda: [each["outcome"] for each in bodies(desk, "answer/eve")] == ["invalid"])
        results = len(bodies(desk, "event/result"))
        wait_for(lambda: len(bodies(desk, "event/result")) >= results + 2)
        assert sum(process.cpu_times()[:2]) - before_s < 8
        assert bodies(desk, "state/counters")[-1]["connections_lost"] == 0
