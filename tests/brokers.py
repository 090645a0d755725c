"""Real brokers for tests, on free ports of loopback, and a subscriber that remembers. Absent ones fail, never skip."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from typing_extensions import Self

from edge.publishers.embedded_broker import EmbeddedBroker

__all__ = ["EmbeddedBroker", "Mosquitto", "Subscriber", "free_port", "listens", "retained", "wait_for"]

HOST = "127.0.0.1"


# Below the ports that Linux gives to connections: none of them can take a port before its server listens there.
_PORTS_FROM, _PORTS_TO, _BLOCK = 12_000, 32_000, 200
_MARKER = "tests/marker/"


def free_port() -> int:
    """Return a port of loopback that nobody listens on, and that no other process of the tests is given meanwhile."""
    for port in _ports():
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the ports go round")


@cache
def _ports() -> Iterator[int]:
    """Return this process's own ports, round and round; the open file keeps the others away until it ends."""
    for first in range(_PORTS_FROM, _PORTS_TO, _BLOCK):
        held = os.open(Path(tempfile.gettempdir()) / f"linewatch-tests-ports-{first}", os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(held)
        else:
            return itertools.cycle(range(first, first + _BLOCK))
    raise AssertionError(f"{(_PORTS_TO - _PORTS_FROM) // _BLOCK} processes run tests already")


def listens(port: int) -> bool:
    """Tell whether somebody takes connections to a port of loopback."""
    try:
        socket.create_connection((HOST, port), 10).close()
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], object], timeout_s: float = 120.0) -> None:
    """Return as soon as `condition` holds; AssertionError if it does not come to hold.

    A question to a list or a table that is still empty (LookupError) does not hold yet.
    """
    deadline_s = time.monotonic() + timeout_s
    lacking: LookupError | None = None
    pause_s = 0.005
    while True:
        try:
            if condition():
                return
            lacking = None
        except LookupError as error:
            lacking = error
        assert time.monotonic() < deadline_s, f"waited in vain for {timeout_s:g} s; {lacking!r}"
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, 0.05)  # asking all the time takes time from the awaited


class Mosquitto:
    """Debian's mosquitto. `config` is added to its settings; `persistent` keeps its memory on disk at every change.

    `whole_config` stands in for all of that; then it listens on `port`.
    """

    def __init__(
        self, folder: Path, *, config: str = "", persistent: bool = False, whole_config: str = "", port: int = 0
    ) -> None:
        program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
        assert program, "these tests need mosquitto: sudo apt-get install mosquitto"
        self._program = program
        self.host = HOST
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "mosquitto.conf"
        memory = f"persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
        self._config.write_text(
            whole_config
            or f"listener {self.port} {HOST}\nallow_anonymous true\nuser root\n{memory if persistent else ''}{config}\n"
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, also again on the same port, and wait until it answers."""
        self._process = subprocess.Popen([self._program, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        wait_for(self._answers)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto does not start with {self._config.read_text()}"
        return listens(self.port)

    def stop(self) -> None:
        """Stop in order, saving what is to be saved."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """Stop as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(120)
            self._process = None

    def pause(self) -> None:
        """Hang: connections stay open and nothing answers."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after a pause."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


class Subscriber:
    """A client of its own that remembers each message of `topics`. `keeps_session`: the broker queues for it.

    Two that keep their session have one id at a broker. The second takes up what the first one left.
    """

    def __init__(
        self, port: int, topics: str | Sequence[str] = "#", *, keeps_session: bool = False, user: str | None = None
    ) -> None:
        self.messages: list[MQTTMessage] = []
        self._topics = topics
        self._subscribed = threading.Event()
        self._taken: set[int] = set()
        self._markers: set[str] = set()
        name = f"subscriber-{port if keeps_session else uuid.uuid4()}"
        self._client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTProtocolVersion.MQTTv5)
        if user is not None:
            self._client.username_pw_set(user, "any")
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_publish = lambda _client, _data, mid, *_: self._taken.add(mid)
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 600 if keeps_session else 0
        self._client.connect(HOST, port, 30, clean_start=not keeps_session, properties=session)

    def _on_connect(self, client: Client, *_: Any) -> None:
        topics = [self._topics] if isinstance(self._topics, str) else self._topics
        client.subscribe([(topic, 1) for topic in topics])

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if message.topic.startswith(_MARKER):
            self._markers.add(message.topic)
        else:
            self.messages.append(message)

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._subscribed.wait(120)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, **properties: object) -> None:
        """Have the broker take a message of QoS 1, once it is there. `properties`: MQTT 5, as paho names them."""
        given = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(given, name, value)
        wait_for(self._client.is_connected)
        sent = self._client.publish(topic, payload, 1, retain, given)  # kept and sent again if the connection breaks
        wait_for(lambda: sent.mid in self._taken)
        self._taken.discard(sent.mid)

    def settle(self) -> None:
        """Wait until all is here that the broker had for this client, such as what is retained."""
        marker = f"{_MARKER}{uuid.uuid4()}"
        self._client.subscribe(marker, 1)
        self.publish(marker, b"")  # the broker keeps the order of what it has for one client
        wait_for(lambda: marker in self._markers)

    def payloads(self, topic: str | None = None) -> list[bytes]:
        """Return what came so far, in order of arrival."""
        return [m.payload for m in list(self.messages) if topic is None or m.topic == topic]

    def last(self, topic: str) -> MQTTMessage | None:
        """Return the latest message of a topic."""
        return next((m for m in reversed(list(self.messages)) if m.topic == topic), None)


def retained(port: int, topics: str | Sequence[str]) -> dict[str, bytes]:
    """Return what a broker has retained, by topic: what a client gets who comes now."""
    with Subscriber(port, topics) as late:
        late.settle()
        return {message.topic: message.payload for message in late.messages if message.retain and message.payload}
