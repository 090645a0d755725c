"""Linewatch uses the features of MQTT 5 that docs/scale.md lists, and no others: seen in packets of a real line."""

from __future__ import annotations

import re
import signal
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import SecretStr
from typing_extensions import Self

from edge.dashboard.collector import Collector
from edge.dashboard.history import History
from edge.dashboard.settings import DashboardSettings, HistorySettings
from edge.dashboard.site import PICTURES_FOR_S, Site
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.trial import try_broker
from tests.brokers import HOST, Mosquitto, wait_for
from tests.conftest import ROOT
from tests.edge.station.test_run import ROOT_TOPIC, running, write_line

Used = dict[str, set[str]]
PACKETS = {value: name for name, value in vars(PacketTypes).items() if isinstance(value, int) and name.isupper()}
OCCURRENCE = "57093987-2e9c-5b16-8841-be8d02c70574"


class Listener:
    """Carries connections to a broker, and keeps what clients send."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._sent: list[bytearray] = []
        self._server = socket.create_server((HOST, 0))
        self.port = int(self._server.getsockname()[1])
        self._open = ExitStack()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._open.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the server is closed
            while True:
                client, broker = self._server.accept()[0], socket.create_connection((HOST, self._to_port))
                sent = bytearray()
                self._sent.append(sent)
                for each in (client, broker):
                    self._open.callback(each.close)
                threading.Thread(target=_carry, args=(client, broker, sent), daemon=True).start()
                threading.Thread(target=_carry, args=(broker, client, None), daemon=True).start()

    def used(self) -> Used:
        """Return the packets that came whole so far, and what they used of MQTT 5."""
        found: Used = defaultdict(set)
        for sent in list(self._sent):
            for kind, flags, body in packets(bytes(sent)):
                found[PACKETS[kind]] |= features(kind, flags, body)
        return found


def _carry(one: socket.socket, other: socket.socket, kept: bytearray | None) -> None:
    with suppress(OSError):
        while data := one.recv(65_536):
            if kept is not None:
                kept += data
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


def packets(sent: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield kind, flags and the rest of each whole packet (MQTT 5, 2.1)."""
    at = 0
    while at + 1 < len(sent):
        length, digits = number(sent, at + 1)
        if digits == 0 or at + 1 + digits + length > len(sent):
            return
        begin = at + 1 + digits
        yield sent[at] >> 4, sent[at] & 0x0F, sent[begin : begin + length]
        at = begin + length


def number(data: bytes, at: int) -> tuple[int, int]:
    """Return a variable byte integer (1.5.5) and how many bytes it has; 0 bytes where it is not whole."""
    value = 0
    for digit in range(4):
        if at + digit >= len(data):
            return 0, 0
        value |= (data[at + digit] & 0x7F) << 7 * digit
        if data[at + digit] < 0x80:
            return value, digit + 1
    raise AssertionError("no length has five bytes")


def named(kind: int, data: bytes, prefix: str = "") -> tuple[set[str], int]:
    """Return the names of the properties that begin here, and how many bytes they take."""
    properties = Properties(kind)
    taken = properties.unpack(data)[1]
    names = {name for name in properties.names if hasattr(properties, name.replace(" ", ""))}
    return {f"{prefix}{name}" for name in names}, taken


def features(kind: int, flags: int, body: bytes) -> set[str]:
    """Return what a packet uses beside its being there."""
    if kind == PacketTypes.CONNECT:
        return of_connect(body)
    if kind == PacketTypes.PUBLISH:
        return of_publish(flags, body)
    if kind == PacketTypes.SUBSCRIBE:
        return of_subscribe(body)
    if kind in {PacketTypes.PINGREQ, PacketTypes.PUBACK, PacketTypes.UNSUBSCRIBE, PacketTypes.DISCONNECT}:
        return set()
    return {"not expected"}


def of_connect(body: bytes) -> set[str]:
    """Return what a CONNECT uses (3.1)."""
    assert body[:7] == b"\x00\x04MQTT\x05"
    bits, keep_alive = body[7], int.from_bytes(body[8:10], "big")
    found, taken = named(PacketTypes.CONNECT, body[10:])
    at = 10 + taken
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    if bits & 0x04:
        of_will, _ = named(PacketTypes.WILLMESSAGE, body[at:], "Will ")
        found |= of_will | {"Will", f"Will QoS {bits >> 3 & 3}", *(["Will Retain"] if bits & 0x20 else [])}
    of_bits = {0x02: "Clean Start", 0x40: "Password", 0x80: "User Name"}
    found |= {name for bit, name in of_bits.items() if bits & bit}
    return found | ({"Keep Alive"} if keep_alive else set())


def of_publish(flags: int, body: bytes) -> set[str]:
    """Return what a PUBLISH uses (3.3)."""
    qos = flags >> 1 & 3
    at = 2 + int.from_bytes(body[:2], "big") + (2 if qos else 0)
    found, _ = named(PacketTypes.PUBLISH, body[at:])
    found |= {f"QoS {qos}", *(["Retain"] if flags & 1 else []), *(["DUP"] if flags & 8 else [])}
    return found


def of_subscribe(body: bytes) -> set[str]:
    """Return what a SUBSCRIBE uses (3.8)."""
    found, taken = named(PacketTypes.SUBSCRIBE, body[2:])
    at = 2 + taken
    while at < len(body):
        length = int.from_bytes(body[at : at + 2], "big")
        topic, options = body[at + 2 : at + 2 + length].decode(), body[at + 2 + length]
        at += 3 + length
        found |= {f"QoS {options & 3}", f"Retain Handling {options >> 4 & 3}"}
        found |= {"No Local"} if options & 4 else set()
        found |= {"Retain As Published"} if options & 8 else set()
        found |= {mark for mark in "+#" if mark in topic}
        found |= {"shared"} if topic.startswith("$share/") else set()
    return found


def listed() -> Used:
    """Return the table of docs/scale.md: by packet, what is used of it."""
    page = (ROOT / "docs" / "scale.md").read_text()
    table = page.split("<!-- mqtt -->")[1].split("<!-- /mqtt -->")[0]
    rows = re.findall(r"^\| `([A-Z]+)` \|(.*?)\|$", table, re.MULTILINE)
    return {packet: set(re.findall(r"`([^`]+)`", told)) for packet, told in rows}


def test_a_line_and_a_dashboard_use_of_mqtt_what_the_page_lists_and_no_more(tmp_path: Path) -> None:
    """Packets, flags, properties and options of a run, of the dashboard with a command, and of a check: all are listed.

    And all that is listed is used: the page asks nothing of a broker that nobody needs.
    """
    place = ROOT_TOPIC.removesuffix("/inspect/v1")
    with Mosquitto(tmp_path) as broker, Listener(broker.port) as listener:
        settings = DashboardSettings(
            broker=BrokerSettings(port=listener.port, username="desk", password=SecretStr("any"), keepalive_s=2),
            sites=(place,),
            history=HistorySettings(path=tmp_path / "history.db"),
        )
        try_broker(settings.broker)
        with running(write_line(tmp_path, listener.port, keepalive_s=2)) as line, ExitStack() as scope:
            history = scope.enter_context(History(settings.history.path, 90, 1_000))
            ahead_ns = [0]
            site = Site(settings, history, lambda: time.monotonic_ns() + ahead_ns[0])
            collector = scope.enter_context(Collector(settings, site))
            wait_for(lambda: collector.listening and site.state_of(place) == "online")
            site.look_at(place)
            wait_for(lambda: site.picture_bytes(place) is not None)
            ahead_ns[0] += round(2e9 * PICTURES_FOR_S)  # the one that looked at it has gone
            body = {"occurrence_id": OCCURRENCE, "user": "anna", "comment": ""}
            wait_for(lambda: collector.tell(place, "ack", body).result(60).outcome == "unknown_occurrence")
            wait_for(lambda: listener.used().keys() >= listed().keys() - {"DISCONNECT"})
            wait_for(lambda: all(listener.used()[packet] >= listed()[packet] for packet in listed()))
            line.send_signal(signal.SIGTERM)
            line.wait(120)
            wait_for(lambda: "DISCONNECT" in listener.used())
        assert listener.used() == listed()


def test_what_is_not_listed_would_be_seen() -> None:
    """The reader of packets tells what we do not use: QoS 2, shared subscriptions, topic aliases, repeated packets."""
    alias = Properties(PacketTypes.PUBLISH)
    alias.TopicAlias = 3
    publish = b"\x00\x01a\x00\x07" + alias.pack() + b"x"
    assert features(PacketTypes.PUBLISH, 0b1101, publish) == {"QoS 2", "Retain", "DUP", "Topic Alias"}
    subscribe = b"\x00\x01\x00\x00\x0a$share/g/#\x2e"
    told = {"QoS 2", "No Local", "Retain As Published", "Retain Handling 2", "#", "shared"}
    assert features(PacketTypes.SUBSCRIBE, 2, subscribe) == told
    assert features(PacketTypes.PUBREL, 2, b"\x00\x01") == {"not expected"}
    assert list(packets(b"\xc0\x00\xe0\x00\x30\x05ab")) == [(12, 0, b""), (14, 0, b"")]
