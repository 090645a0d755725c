"""MQTT 5 by paho. Its callbacks only fill queues; everything is decided by the caller of `send` and `events`."""

from __future__ import annotations

import itertools
import math
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from typing_extensions import Self

from edge.errors import PublishError
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.lets_in import lacking, refusal, unanswered
from edge.publishers.network import NetworkThread, Reload
from edge.publishers.paho_client import PahoClient
from edge.rates import Rate
from edge.records import (
    Acknowledged,
    Connected,
    Crowded,
    Displaced,
    Message,
    PublisherEvent,
    Received,
    Refused,
    SessionLost,
    Token,
    Unheard,
)
from edge.wording import counted

MAX_INFLIGHT = 20  # mosquitto's limit; the sender keeps to less
SESSION_EXPIRY_S = 600  # a broker that restarts within this time and still knows us has kept its memory
STOP_S = 3.0
LARGEST_RECEIVED = 1_048_576  # bytes; the broker keeps larger packets to itself …
KEPT_RECEIVED = 65_536  # … and of a payload no more than this is looked at
MAX_WAITING = 200  # messages to the line that nobody has looked at yet; more are thrown away, and counted
_LOOKED_AT_ONCE = 100
_SLOW_S = 0.0005  # for each that is thrown away: who is flooded must not spend all its time on it
_UNWATCHED_S = 10.0, 30.0  # so long own topics are not watched after a flood there; doubled while it goes on
_OTHERS_PER_S, _OTHERS_AT_ONCE = 100, 1_000  # messages of others at own topics; more are a flood
_DOUBT_S = 1.0  # a link that breaks takes both connections within this time
_ANSWERS_S = 60.0  # a broker that answers none of what was sent for so long is asked over a new connection
_QUIET_S = 0.2  # a message of QoS 0 over which the broker ends a connection was sent within this time
_AS_SUBSCRIBED, _NEVER = 0, 2  # MQTT 5 retain handling: what is retained is sent at once, or not at all
_JSON = "application/json"
_FAILURE = 0x80
_KEEP_ALIVE = 0x8D  # the broker, or nothing that lies before it, has answered in time
_TAKEN_OVER = 0x8E
_TOPIC_INVALID = 0x90
_PACKET_TOO_LARGE = 0x95


@dataclass(frozen=True)
class _Accepted:
    client: PahoClient
    session_present: bool
    largest_packet: int | None
    window: int | None


@dataclass(frozen=True)
class _Granted:
    """The broker's answer to a subscription: of each of its topics why it may not be heard, None where it may."""

    client: Client
    packet: int
    refusals: tuple[str | None, ...]


@dataclass(frozen=True)
class _Answered:
    client: Client
    packet: int
    reason_code: int
    reason: str


class MqttPublisher:
    """Publishes to an MQTT 5 broker and reconnects for ever, also when the broker is absent at the start.

    The broker publishes `will` when the connection ends without a farewell. Every message belongs to one connection. A
    message that is not answered when that ends is forgotten here, and its sender's again. Leaving disconnects normally,
    so the Will is not published. One thread calls `send` and `events`.

    Messages on the topic filters `hears` are `Received` among the events. They come over a connection of its own, whose
    client id begins with `client_id`. So no acknowledgement waits behind them. That connection also shows whether the
    broker ended only the other one. Then another client has the same id, and `Displaced` says so.

    `Received` too is what others write, or have written, on the filters `watches`: the line's own retained topics.
    Acknowledgements come over that connection and wait behind it. So nothing is watched for a while where more comes
    than can be looked at. `Crowded` says so.

    `alive` is called from `events` as long as the thread that serves the network moves. One that has ended is replaced
    there. Certificates and passwords are read before each attempt to connect, and anew when `reload` is set. Entering
    raises SettingsError for a file of them that cannot be used.
    """

    _session_s = SESSION_EXPIRY_S
    _publishes = True
    _answers_s = _ANSWERS_S
    _listens: Sequence[str] = ()
    _kept_received = KEPT_RECEIVED
    _max_waiting = MAX_WAITING
    _looked_at_once = _LOOKED_AT_ONCE
    _slows = False  # its acknowledgements wait behind what it is told

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        will: Message | None,
        hears: Sequence[str] = (),
        alive: Callable[[], None] = lambda: None,
        *,
        watches: Sequence[str] = (),
        reload: Reload | None = None,
    ) -> None:
        self._settings = settings
        self._ears = _Ears(settings, f"{client_id}-{secrets.token_hex(3)}", hears, reload) if hears else None
        self._watches = watches
        self._alive = alive
        self._client_id = client_id
        self._will = will
        self._reload = reload or Reload()
        self._client: PahoClient | None = None
        self._open = False
        self._queue: SimpleQueue[_Accepted | _Granted | _Answered | PublisherEvent] = SimpleQueue()
        self._listener: Callable[[], None] = lambda: None
        self._received: deque[Received] = deque()
        self._thrown_away = self._told_away = 0
        self._watching = True
        self._unwatched_s = -math.inf  # the last moment at which watching was given up …
        self._unwatched_for_s = 0.0  # … and for how long
        self._others = Rate(_OTHERS_PER_S, _OTHERS_AT_ONCE)
        self._numbers = itertools.count(1)
        self._tokens: dict[int, Token] = {}
        self._asked: dict[int, list[str]] = {}  # topics of each subscription that was not answered yet
        self._largest_packet: int | None = None
        self._let_in = self._refused = False
        self._progress_s = 0.0  # the broker's last answer to a message, or the last moment without one to answer
        self.listening = False  # whether the broker has answered what this connection asked to hear …
        self.listening_since_s = 0.0  # … and since when
        self._unanswered_at_s = 0.0  # the last moment of a QoS 0 message
        self._doubt: tuple[float, str] | None = None  # the end of the connection for no reason, and what was told of it

    def __enter__(self) -> Self:
        self._make().close()
        self._network = NetworkThread(self._make, f"mqtt-{self._client_id}", self._on_trouble, self._reload)
        self._network.start()
        self._open = True
        if self._ears is not None:
            self._ears.__enter__()
        return self

    def _make(self) -> PahoClient:
        """Return the client of one connection. Raises SettingsError for files that cannot be used."""
        settings, will = self._settings, self._will
        client = PahoClient(self._client_id, self._kept_received, self._has_room)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.max_inflight_messages_set(MAX_INFLIGHT)
        if will is not None:
            client.will_set(will.topic, will.payload, will.qos, will.retain, _properties(will, PacketTypes.WILLMESSAGE))
        if settings.username is not None:
            client.username_pw_set(settings.username, settings.read_password())
        if settings.tls is not None:
            client.tls_set_context(settings.tls.context())
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho leaves it so
        session.SessionExpiryInterval = self._session_s
        session.MaximumPacketSize = LARGEST_RECEIVED
        host, port = settings.address
        client.connect_async(host, port, settings.keepalive_s, clean_start=not self._session_s, properties=session)
        return client

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._open, self._client = False, None
            if self._ears is not None:
                self._ears.__exit__(kind, error, trace)
            self._network.stop(STOP_S)

    @property
    def hears(self) -> bool:
        """True once the broker has answered the subscriptions."""
        return self._ears is None or self._ears.listening

    def send(self, message: Message) -> Token:
        """Hand a message to paho. Raises PublishError if it takes none, or without a broker.

        `Refused` answers what the broker would never take (a wrong topic, more bytes than it allows). QoS 0 is
        `Acknowledged` once it was handed to the network. Both are among the events at once, and wake nobody.
        """
        if not self._open:
            raise PublishError("The MQTT publisher is closed; open it with `with` before sending")
        if self._client is None:
            raise PublishError(f"{message.topic} was not sent: no broker. Send it again when it is connected")
        token = Token(next(self._numbers))
        properties = _properties(message, PacketTypes.PUBLISH)
        packed = properties.pack()  # type: ignore[no-untyped-call] # paho leaves it so
        size = 9 + len(message.topic.encode()) + len(packed) + len(message.payload)
        if self._largest_packet is not None and size > self._largest_packet:
            reason = f"the packet has {counted(size, 'byte')}, the broker takes at most {self._largest_packet}"
            self._queue.put(Refused(token, _PACKET_TOO_LARGE, reason))
            return token
        try:
            sent = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        except ValueError as error:
            self._queue.put(Refused(token, _TOPIC_INVALID, str(error)))
            return token
        except OSError as error:  # paho closes the pipe to its thread while another thread writes into it
            raise PublishError(f"{message.topic} was not sent: the connection to the broker has just ended") from error
        if sent.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise PublishError(
                f"{message.topic} was not sent: too many messages are unacknowledged; wait and try again"
            )
        if message.qos == 0:
            self._unanswered_at_s = time.monotonic()
            if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise PublishError(f"{message.topic} was not sent: the connection to the broker has just ended")
            self._queue.put(Acknowledged(token))
        else:  # on a connection that has just ended (MQTT_ERR_NO_CONN) too: SessionLost is on its way
            if not self._tokens:
                self._progress_s = time.monotonic()
            self._tokens[sent.mid] = token
        return token

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, from the network's threads, when something has happened; it must not wait."""
        self._listener = listener
        if self._ears is not None:
            self._ears.listen(listener)

    def _happened(self, what: _Accepted | _Granted | _Answered | PublisherEvent) -> None:
        self._queue.put(what)
        self._listener()

    def events(self) -> Iterator[PublisherEvent]:
        """Yield what has happened since the last call; of what others said to the line, a bounded part."""
        if self._open:
            if self._network.revive():
                self._forget()
                yield SessionLost(f"the thread that serves {self._where} ended; a new one connects again")
            if self._network.moves:
                self._alive()
            self._miss_answers()
        for _ in range(self._queue.qsize()):
            try:
                happened = self._queue.get_nowait()
            except Empty:
                break
            event = self._event(happened)
            if event is not None:
                yield event
        yield from self._said()
        if self._ears is not None:
            yield from self._heard(self._ears)

    def _said(self) -> Iterator[Received | Crowded]:
        """Yield a part of what was said over this connection, and how much more than can be looked at."""
        more = self._thrown_away - self._told_away
        self._told_away += more
        looked_at = min(len(self._received), self._looked_at_once)
        for _ in range(looked_at):
            yield self._received.popleft()
        too_much = bool(self._watches) and self._watch_less(looked_at, crowded=more > 0)
        if more or too_much:
            yield Crowded(more, own=bool(self._watches))

    def _watch_less(self, came: int, *, crowded: bool) -> bool:
        """Watch nothing for a while where too much comes, and again when that is over; whether it comes just now."""
        now_s = time.monotonic()
        self._others.owe(came)
        if self._watching and (crowded or self._others.left < 0):
            again = now_s - self._unwatched_s < 2 * _UNWATCHED_S[1]
            self._unwatched_for_s = min(2 * self._unwatched_for_s, _UNWATCHED_S[1]) if again else _UNWATCHED_S[0]
            self._unwatched_s, self._watching = now_s, False
            if self._client is not None:
                with suppress(OSError):  # the connection has just ended
                    self._client.unsubscribe(list(self._watches))
            return True
        if not self._watching and now_s - self._unwatched_s > self._unwatched_for_s:
            self._watching = True
            if self._client is not None:
                with suppress(OSError):
                    self._ask(self._client, self._watched())
        return False

    def _watched(self) -> list[tuple[str, SubscribeOptions]]:
        own = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True, retainHandling=_AS_SUBSCRIBED)
        return [(topic, own) for topic in self._watches] if self._watching else []

    def _miss_answers(self) -> None:
        """Ask for a new connection where the broker has long answered none of what it was sent."""
        if self._tokens and time.monotonic() - self._progress_s > self._answers_s:
            self._progress_s = time.monotonic()
            self._network.give_up(
                f"has answered none of {counted(len(self._tokens), 'message')} for {self._answers_s:g} s; "
                "it is asked again over a new connection"
            )

    def _heard(self, ears: _Ears) -> Iterator[PublisherEvent]:
        """Yield what came over the other connection, and what it shows about this one."""
        for event in ears.events():
            if isinstance(event, Received | Crowded | Unheard):
                yield event
            elif isinstance(event, SessionLost):
                self._doubt = None  # then it was the link, or the broker
                if self._client is not None and event.reason_code is not None:
                    yield Unheard(event.reason)
        if self._doubt is not None and time.monotonic() >= self._doubt[0] + _DOUBT_S:
            (ended_s, told), self._doubt = self._doubt, None
            if ears.listening and ears.listening_since_s < ended_s:  # else it came back over a link that had broken
                self._network.displaced()
                yield Displaced(
                    f"{self._where} ended the connection of the client id {self._client_id}, over no message, and kept "
                    f"another of this device: a second client seems to use that id ({told})"
                )

    def _event(self, happened: _Accepted | _Granted | _Answered | PublisherEvent) -> PublisherEvent | None:
        """Say what has happened in the words of the caller; None for what concerns nobody any more."""
        if isinstance(happened, _Accepted):
            self._forget()
            self._client = happened.client
            self._largest_packet = happened.largest_packet
            self._subscribe(happened.client)
            return Connected(happened.session_present, happened.window, happened.largest_packet)
        if isinstance(happened, _Granted):
            self._note_granted(happened)
            return None
        if isinstance(happened, _Answered):
            return self._answer(happened)
        if isinstance(happened, SessionLost):
            quiet_s = time.monotonic() - self._unanswered_at_s
            if self._client is not None and not happened.ours and happened.reason_code is None:
                blameless = not self._tokens and quiet_s > _QUIET_S
                self._doubt = (time.monotonic(), happened.reason) if blameless else None
            self._forget()
        return happened

    def _answer(self, answered: _Answered) -> Acknowledged | Refused | None:
        if answered.client is not self._client:
            return None
        token = self._tokens.pop(answered.packet, None)  # None: paho's echo of QoS 0, answered already
        if token is None:
            return None
        self._progress_s = time.monotonic()
        self._network.accepted()
        if answered.reason_code >= _FAILURE:
            return Refused(token, answered.reason_code, answered.reason)
        return Acknowledged(token, answered.reason_code)

    def _forget(self) -> None:
        """Forget the connection and what was on its way."""
        self._client = None
        self.listening = False
        self._tokens.clear()
        self._asked.clear()

    def _subscribe(self, client: PahoClient) -> None:
        """Ask for what is to be heard; again at every connection, since a broker may have forgotten."""
        told = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=_NEVER)
        wanted = [*((topic, told) for topic in self._listens), *self._watched()]
        if wanted:
            self._ask(client, wanted)

    def _ask(self, client: PahoClient, wanted: list[tuple[str, SubscribeOptions]]) -> None:
        _, packet = client.subscribe(wanted)
        if packet is not None:
            self._asked[packet] = [topic for topic, _ in wanted]

    def _note_granted(self, granted: _Granted) -> None:
        asked = self._asked.pop(granted.packet, []) if granted.client is self._client else []
        for topic, why in zip(asked, granted.refusals, strict=False):
            if why is not None:
                self._happened(Unheard(f"{self._where} lets this line not hear {topic}: {why}", topic))

    # The callbacks run in paho's thread, with its locks held: they only put into queues.

    def _on_connect(
        self, client: Client, _data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._let_in = True
        lacks = lacking(properties, retains=self._will is not None) if self._publishes else None
        self._refused = reason.is_failure or lacks is not None
        if reason.is_failure:
            self._happened(SessionLost(f"{self._where} refused the connection: {refusal(reason)}", reason.value))
        elif lacks is not None:
            self._happened(SessionLost(f"{self._where} {lacks[1]}", lacks[0]))
            client.disconnect()
        elif isinstance(client, PahoClient):
            self._network.let_in()
            largest = getattr(properties, "MaximumPacketSize", None)
            window = getattr(properties, "ReceiveMaximum", None)  # which paho does not read
            self._happened(_Accepted(client, flags.session_present, largest, window))

    def _on_trouble(self, what: str) -> None:
        self._happened(SessionLost(f"{self._where} {what}"))

    def _on_disconnect(
        self,
        _client: Client,
        _data: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        (let_in, self._let_in), (refused, self._refused) = (self._let_in, False), (self._refused, False)
        if refused:  # on_connect has said why, in better words
            return
        theirs = flags.is_disconnect_packet_from_server
        code = reason.value if theirs or reason.value == _KEEP_ALIVE else None
        told = f"the connection to {self._where} ended: {reason}"
        if not let_in:
            told = f"{self._where} did not let this line in: {unanswered(reason)}"
        if code == _TAKEN_OVER:
            self._network.displaced()
            told = (
                f"{self._where} gave the place of this line to another client with its id {self._client_id}: {reason} "
                f"(0x{_TAKEN_OVER:02X})"
            )
        ours = not theirs and not reason.is_failure
        self._happened(SessionLost(told, code, ours))

    def _on_publish(self, client: Client, _data: Any, packet: int, reason: ReasonCode, _properties: Properties) -> None:
        code, name = client.reason_of(packet, reason) if isinstance(client, PahoClient) else (reason.value, str(reason))
        self._happened(_Answered(client, packet, code, name))

    def _has_room(self) -> bool:
        if len(self._received) < self._max_waiting:
            return True
        self._thrown_away += 1
        if self._slows:
            time.sleep(_SLOW_S)
        return False

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        properties = message.properties
        told = dict(getattr(properties, "UserProperty", ()))
        self._received.append(
            Received(
                topic=message.topic,
                payload=bytes(message.payload[: self._kept_received + 1]),
                retained=message.retain,
                expiry_s=getattr(properties, "MessageExpiryInterval", None),
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
                id=told.get("id"),
                resent=told.get("resent") == "1",
            )
        )
        self._listener()

    def _on_subscribe(
        self, client: Client, _data: Any, packet: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if not self.listening:
            self.listening, self.listening_since_s = True, time.monotonic()
        if self._will is None:  # a line has its status to send besides
            self._network.accepted()
        refusals = tuple(str(reason) if reason.is_failure else None for reason in reasons)
        self._happened(_Granted(client, packet, refusals))

    @property
    def _where(self) -> str:
        host, port = self._settings.address
        return f"the broker at {host}:{port}"


class _Ears(MqttPublisher):
    """The connection over which a line hears: it publishes nothing, has no Will, and leaves no session behind."""

    _session_s = 0
    _publishes = False
    _slows = True

    def __init__(self, settings: BrokerSettings, client_id: str, listens: Sequence[str], reload: Reload | None) -> None:
        super().__init__(settings, client_id, None, reload=reload)
        self._listens = listens


_IDENTIFIERS = {name.replace(" ", ""): number for name, number in Properties(PacketTypes.PUBLISH).names.items()}  # type: ignore[no-untyped-call] # paho leaves it so


class _Properties(Properties):
    """paho's, which are packed once, and look for no name among all that there are: that was much of a message's cost.

    Nothing is to be set once they were packed.
    """

    _packed = b""

    def getIdentFromName(self, compressedName: str) -> int:  # noqa: N802, N803 - paho's names
        """Return the number of a property; -1 for none."""
        return _IDENTIFIERS.get(compressedName, -1)

    def pack(self) -> bytes:
        """Return them as they go over the wire."""
        if not self._packed:
            object.__setattr__(self, "_packed", super().pack())  # type: ignore[no-untyped-call] # paho leaves it so
        return self._packed


def _properties(message: Message, packet: int) -> Properties:
    properties = _Properties(packet)  # type: ignore[no-untyped-call] # paho leaves it so
    properties.UserProperty = [("id", message.id), ("kind", message.kind), *[("resent", "1")] * message.resent]
    if message.payload:
        properties.ContentType = message.content_type
        properties.PayloadFormatIndicator = int(message.content_type == _JSON)  # 1: it is UTF-8
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    if message.response_topic is not None:
        properties.ResponseTopic = message.response_topic
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = message.expiry_s
    return properties
