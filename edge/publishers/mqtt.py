"""MQTT 5 by paho. Its callbacks only fill a queue; everything is decided by the caller of `send` and `events`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions
from typing_extensions import Self

from edge.errors import PublishError
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.network import NetworkThread
from edge.records import (
    Acknowledged,
    Connected,
    Message,
    PublisherEvent,
    Received,
    Refused,
    SessionLost,
    Token,
    Unheard,
)

MAX_INFLIGHT = 20  # what mosquitto allows; the sender keeps to less
SESSION_EXPIRY_S = 600  # a broker that restarts within this time and still knows us has kept its memory
STOP_S = 3.0
LARGEST_RECEIVED = 65_536  # bytes; the broker keeps larger packets to itself
_NOT_WHEN_SUBSCRIBING = 2  # MQTT 5 retain handling: what is retained is not sent
_JSON = "application/json"
_FAILURE = 0x80
_TOPIC_INVALID = 0x90
_PACKET_TOO_LARGE = 0x95


@dataclass(frozen=True)
class _Accepted:
    session_present: bool
    largest_packet: int | None
    window: int | None


@dataclass(frozen=True)
class _Answered:
    packet: int
    reason_code: int
    reason: str


class MqttPublisher:
    """Publishes to an MQTT 5 broker and reconnects for ever, also when the broker is absent at the start.

    `will` is published by the broker when the connection ends without a farewell. An accepted message of QoS 1 is
    delivered across reconnections until it is acknowledged, refused, or the publisher is closed: never send it again
    before that. Leaving disconnects normally, so the Will is not published. One thread calls `send` and `events`.
    Messages on the topic filters `hears` are `Received` among the events. `alive` is called from `events` as long as
    the thread that serves the network moves; one that has ended is replaced there.
    Entering raises SettingsError for a certificate or password file that cannot be used.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        will: Message,
        hears: Sequence[str] = (),
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._hears = hears
        self._alive = alive
        self._client_id = client_id
        self._will = will
        self._client: Client | None = None
        self._happened: SimpleQueue[_Accepted | _Answered | PublisherEvent] = SimpleQueue()
        self._numbers = itertools.count(1)
        self._tokens: dict[int, Token] = {}
        self._largest_packet: int | None = None
        self._refused = False

    def __enter__(self) -> Self:
        settings, will = self._settings, self._will
        client = Client(CallbackAPIVersion.VERSION2, self._client_id, protocol=MQTTProtocolVersion.MQTTv5)
        # An exception in a callback would leave paho's own book-keeping half done.
        client.suppress_exceptions = True
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.max_inflight_messages_set(MAX_INFLIGHT)
        client.will_set(will.topic, will.payload, will.qos, will.retain, _properties(will, PacketTypes.WILLMESSAGE))
        if settings.username is not None:
            client.username_pw_set(settings.username, settings.read_password())
        if settings.tls is not None:
            client.tls_set_context(settings.tls.context())
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho leaves it so
        session.SessionExpiryInterval = SESSION_EXPIRY_S
        session.MaximumPacketSize = LARGEST_RECEIVED
        host, port = settings.address
        client.connect_async(host, port, settings.keepalive_s, clean_start=False, properties=session)
        self._network = NetworkThread(client, f"mqtt-{self._client_id}", self._on_trouble)
        self._network.start()
        self._client = client
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        client.disconnect()
        self._network.stop(STOP_S)

    def send(self, message: Message) -> Token:
        """Hand a message to paho. Raises PublishError if it takes none, or without a broker for QoS 0.

        What the broker would never take (a wrong topic, more bytes than it allows) is answered by `Refused`. QoS 0 is
        `Acknowledged` once it was handed to the network.
        """
        if self._client is None:
            raise PublishError("The MQTT publisher is closed; open it with `with` before sending")
        token = Token(next(self._numbers))
        properties = _properties(message, PacketTypes.PUBLISH)
        packed = properties.pack()  # type: ignore[no-untyped-call] # paho leaves it so
        size = 9 + len(message.topic.encode()) + len(packed) + len(message.payload)
        if self._largest_packet is not None and size > self._largest_packet:
            reason = f"the packet has {size} bytes, the broker takes at most {self._largest_packet}"
            self._happened.put(Refused(token, _PACKET_TOO_LARGE, reason))
            return token
        try:
            sent = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        except ValueError as error:
            self._happened.put(Refused(token, _TOPIC_INVALID, str(error)))
            return token
        if message.qos == 0:
            if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise PublishError(f"{message.topic} was not sent: no broker, and QoS 0 does not wait for one")
            self._happened.put(Acknowledged(token))
        elif sent.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            raise PublishError(
                f"{message.topic} was not sent: too many messages are unacknowledged; wait and try again"
            )
        else:  # without a broker too (MQTT_ERR_NO_CONN) the message is paho's now, and will be sent
            self._tokens[sent.mid] = token
        return token

    def events(self) -> Iterator[PublisherEvent]:
        """Yield what has happened since the last call."""
        if self._client is not None:
            if self._network.revive():
                yield SessionLost(f"the thread that serves {self._where} ended; a new one connects again")
            if self._network.moves:
                self._alive()
        while True:
            try:
                happened = self._happened.get_nowait()
            except Empty:
                return
            if isinstance(happened, _Accepted):
                self._largest_packet = happened.largest_packet
                self._subscribe()
                yield Connected(happened.session_present, happened.window)
            elif isinstance(happened, _Answered):
                token = self._tokens.pop(happened.packet, None)  # None: paho's echo of QoS 0, answered already
                if token is None:
                    continue
                if happened.reason_code >= _FAILURE:
                    yield Refused(token, happened.reason_code, happened.reason)
                else:
                    yield Acknowledged(token, happened.reason_code)
            else:
                yield happened

    def _subscribe(self) -> None:
        """Ask for what is to be heard; again at every connection, since a broker may have forgotten."""
        if self._client is not None and self._hears:
            how = SubscribeOptions(qos=1, retainAsPublished=True, retainHandling=_NOT_WHEN_SUBSCRIBING)
            self._client.subscribe([(topic, how) for topic in self._hears])

    # The callbacks run in paho's thread, with its locks held: they only put into the queue.

    def _on_connect(
        self, _client: Client, _data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._refused = reason.is_failure
        if reason.is_failure:
            self._happened.put(SessionLost(f"{self._where} refused the connection: {reason}"))
        else:
            self._network.accepted()
            largest = getattr(properties, "MaximumPacketSize", None)
            window = getattr(properties, "ReceiveMaximum", None)  # which paho does not read
            self._happened.put(_Accepted(flags.session_present, largest, window))

    def _on_trouble(self, what: str) -> None:
        self._happened.put(SessionLost(f"{self._where} {what}"))

    def _on_disconnect(
        self,
        _client: Client,
        _data: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if not self._refused:  # else on_connect has said why, in better words
            self._happened.put(SessionLost(f"the connection to {self._where} ended: {reason}"))

    def _on_publish(
        self, _client: Client, _data: Any, packet: int, reason: ReasonCode, _properties: Properties
    ) -> None:
        self._happened.put(_Answered(packet, reason.value, str(reason)))

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        properties = message.properties
        self._happened.put(
            Received(
                topic=message.topic,
                payload=bytes(message.payload),
                retained=message.retain,
                expiry_s=getattr(properties, "MessageExpiryInterval", None),
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
            )
        )

    def _on_subscribe(
        self, _client: Client, _data: Any, _packet: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        for topic, reason in zip(self._hears, reasons, strict=False):
            if reason.is_failure:
                self._happened.put(Unheard(f"{self._where} lets this line not hear {topic}: {reason}"))

    @property
    def _where(self) -> str:
        host, port = self._settings.address
        return f"the broker at {host}:{port}"


def _properties(message: Message, packet: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call] # paho leaves it so
    properties.UserProperty = [("id", message.id), ("kind", message.kind), *[("resent", "1")] * message.resent]
    if message.payload:
        properties.ContentType = message.content_type
        properties.PayloadFormatIndicator = int(message.content_type == _JSON)  # 1: it is UTF-8
    if message.correlation is not None:
        properties.CorrelationData = message.correlation
    if message.expiry_s is not None:
        properties.MessageExpiryInterval = message.expiry_s
    return properties
