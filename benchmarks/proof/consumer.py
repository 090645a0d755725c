"""Those who listen: a consumer as docs/mqtt.md asks for, one that never asks, and one that only looks."""

from __future__ import annotations

import json
import threading
import time
import uuid
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from typing_extensions import Self

from .setting import HOST, TOPICS

_ASK_AFTER_S = 2.0
_ASK_AT_MOST = 10_000
_TURN_S = 0.1


@dataclass(frozen=True)
class Event:
    """One event as it came: its number within its store's epoch, its id, its kind, and when, monotonic s."""

    epoch: str
    seq: int
    id: str
    kind: str
    at_s: float


class Consumer:
    """Drops ids that it has seen and hands events on in the order of their numbers.

    `asks`: where a number does not come for two seconds it asks the line for it. `keeps_session`: the broker is to
    queue for it while it is away.
    """

    def __init__(self, port: int, *, asks: bool = False, keeps_session: bool = True, topics: str = "event/+") -> None:
        self.arrived: dict[str, Event] = {}
        self.handed_on: list[Event] = []
        self.repeats = 0
        self.asked = 0
        self.answers: dict[str, int] = {}
        self.committed = 0
        self.last: dict[str, tuple[float, dict[str, Any]]] = {}
        self._port = port
        self._asks = asks
        self._session_s = 3600 if keeps_session else 0
        self._name = f"consumer-{uuid.uuid4().hex[:8]}"
        self._topics = [f"{TOPICS}/{topics}", f"{TOPICS}/seq", f"{TOPICS}/status", f"{TOPICS}/state/+"]
        self._epoch = ""
        self._ahead: dict[int, Event] = {}
        self._next = 1
        self._stuck_s = time.monotonic()
        self._client: Client | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_for_gaps, name="consumer", daemon=True)

    def __enter__(self) -> Self:
        self.come()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.leave()

    def come(self) -> None:
        """Connect, and again whenever the connection is lost."""
        client = Client(CallbackAPIVersion.VERSION2, self._name, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in self._all_topics])
        client.on_message = self._on_message
        client.reconnect_delay_set(1, 1)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho leaves it so
        session.SessionExpiryInterval = self._session_s
        client.connect_async(HOST, self._port, 10, clean_start=not self._session_s, properties=session)
        client.loop_start()
        self._client = client

    def leave(self) -> None:
        """Disconnect; a broker that lives queues what comes meanwhile."""
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def away(self, seconds: float) -> None:
        """Be elsewhere for a while."""
        self.leave()
        time.sleep(seconds)
        self.come()

    @property
    def _all_topics(self) -> list[str]:
        return [*self._topics, f"{TOPICS}/answer/{self._name}"]

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        if not message.payload:
            return
        envelope = json.loads(message.payload)
        level = message.topic.removeprefix(f"{TOPICS}/")
        with self._lock:
            self.last[level] = (time.monotonic(), envelope["body"])
            if level == "seq":
                self.committed = max(self.committed, envelope["body"]["committed"])
            elif level.startswith("answer/"):
                outcome = envelope["body"]["outcome"]
                self.answers[outcome] = self.answers.get(outcome, 0) + 1
            elif level.startswith("event/"):
                kind = level.removeprefix("event/")
                self._take(Event(envelope["epoch"], envelope["seq"], envelope["id"], kind, time.monotonic()))

    def _take(self, event: Event) -> None:
        if event.id in self.arrived:
            self.repeats += 1
            return
        self.arrived[event.id] = event
        if event.epoch != self._epoch:
            self._epoch, self._next, self._ahead = event.epoch, 1, {}
        if event.seq < self._next or event.seq in self._ahead:  # a number that was used twice: it is for the judge
            self.handed_on.append(event)
            return
        self._ahead[event.seq] = event
        while self._next in self._ahead:
            self.handed_on.append(self._ahead.pop(self._next))
            self._next += 1
            self._stuck_s = time.monotonic()

    def _look_for_gaps(self) -> None:
        while not self._stop.wait(_TURN_S):
            if not self._asks or self._client is None:
                continue
            with self._lock:
                last = max([*self._ahead, self.committed])
                behind = last >= self._next and time.monotonic() - self._stuck_s > _ASK_AFTER_S
                first, until = self._next, min(self._ahead, default=last + 1) - 1
                self._stuck_s = time.monotonic() if behind else self._stuck_s
            if behind:
                self._ask(first, min(until, first + _ASK_AT_MOST - 1))

    def _ask(self, first: int, last: int) -> None:
        self.asked += 1
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho leaves it so
        properties.MessageExpiryInterval = 30
        properties.ResponseTopic = f"{TOPICS}/answer/{self._name}"
        properties.CorrelationData = str(self.asked).encode()
        wish = {
            "schema": "linewatch/command-resend/1",
            "epoch": self._epoch,
            "from_seq": first,
            "to_seq": last,
            "user": self._name,
            "comment": "gap",
        }
        client = self._client
        if client is not None and self._epoch:
            client.publish(f"{TOPICS}/cmd/resend", json.dumps(wish).encode(), 1, properties=properties)

    def ids(self) -> set[str]:
        """Return the ids of all events that came."""
        with self._lock:
            return set(self.arrived)

    def events(self) -> list[Event]:
        """Return all events in the order in which they first came."""
        with self._lock:
            return list(self.arrived.values())

    def said(self, level: str) -> tuple[float, dict[str, Any]]:
        """Return when the last message of a topic came, monotonic s, and its body; never and nothing if none did."""
        return self.last.get(level, (0.0, {}))


def retained_alarms(port: int) -> dict[str, str]:
    """Return the ids of the retained alarm states that the broker holds, by topic, as a newcomer gets them."""
    found: dict[str, str] = {}
    done = threading.Event()
    end = f"proof/end/{uuid.uuid4()}"

    def on_message(_client: Client, _data: Any, message: MQTTMessage) -> None:
        if message.topic == end:
            done.set()
        elif message.retain:
            found[message.topic] = json.loads(message.payload)["id"]

    def on_subscribe(client: Client, *_: Any) -> None:
        client.publish(end, b"{}", 1)  # comes behind everything that the broker had retained

    client = Client(CallbackAPIVersion.VERSION2, "", protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = on_message
    client.on_connect = lambda client, *_: client.subscribe([(f"{TOPICS}/alarm/+", 1), (end, 1)])
    client.on_subscribe = on_subscribe
    client.connect(HOST, port)
    client.loop_start()
    done.wait(20)
    client.disconnect()
    client.loop_stop()
    return found
