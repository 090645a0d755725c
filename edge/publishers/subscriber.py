"""Hears a station from elsewhere: a connection that publishes nothing, has no Will and leaves no session behind."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from types import TracebackType

from paho.mqtt.subscribeoptions import SubscribeOptions
from typing_extensions import Self

from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.mqtt import MqttPublisher
from edge.publishers.paho_client import PahoClient
from edge.records import (
    Acknowledged,
    Connected,
    Crowded,
    Message,
    Received,
    Refused,
    SessionLost,
    Token,
    Unheard,
)

HeardEvent = Connected | SessionLost | Received | Crowded | Unheard
DeskEvent = HeardEvent | Acknowledged | Refused
DESK_KEEPS = 262_144  # bytes of a payload: a picture fits
DESK_WAITING = 5_000  # messages that nobody has looked at yet
_AS_SUBSCRIBED = 0  # MQTT 5 retain handling: what is retained is sent at every subscription


class Subscriber:
    """Hears `topics`, MQTT filters, at the settings' broker; connects again for ever.

    `Received.retained` tells what the broker had kept from what is said now. Without a `client_id` it has one of its
    own, so that it never takes a line's place. Entering raises SettingsError for certificates or a password that cannot
    be read.
    """

    def __init__(self, settings: BrokerSettings, topics: Sequence[str], client_id: str | None = None) -> None:
        self._ears = _Ears(settings, client_id or f"linewatch-watch-{secrets.token_hex(4)}", topics)

    def __enter__(self) -> Self:
        self._ears.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ears.__exit__(kind, error, trace)

    @property
    def listening(self) -> bool:
        """True once the broker has answered the subscriptions."""
        return self._ears.listening

    def events(self) -> Iterator[HeardEvent]:
        """Yield what has happened since the last call, without waiting; of what was said a bounded part."""
        for event in self._ears.events():
            if isinstance(event, HeardEvent):
                yield event


class Desk:
    """Hears `topics` as Subscriber does, pictures too, and gives commands. Who hears many stations has more room.

    One thread calls `events` and `send`. Entering raises SettingsError for certificates or a password that cannot be
    read.
    """

    def __init__(self, settings: BrokerSettings, topics: Sequence[str], client_id: str) -> None:
        self._ears = _DeskEars(settings, client_id, topics)

    def __enter__(self) -> Self:
        self._ears.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ears.__exit__(kind, error, trace)

    @property
    def listening(self) -> bool:
        """True once the broker has answered the subscriptions."""
        return self._ears.listening

    def send(self, message: Message) -> Token:
        """Hand a message to the broker. Raises PublishError without one; what became of it is among the events."""
        return self._ears.send(message)

    def events(self) -> Iterator[DeskEvent]:
        """Yield what has happened since the last call, without waiting; of what was said a bounded part."""
        for event in self._ears.events():
            if isinstance(event, DeskEvent):
                yield event


class _Ears(MqttPublisher):
    _session_s = 0

    def __init__(self, settings: BrokerSettings, client_id: str, topics: Sequence[str]) -> None:
        super().__init__(settings, client_id, None)
        self._listens = topics

    def _subscribe(self, client: PahoClient) -> None:
        """Ask for all topics; what is published now is then told from what was retained."""
        how = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=False, retainHandling=_AS_SUBSCRIBED)
        client.subscribe([(topic, how) for topic in self._listens])


class _DeskEars(_Ears):
    _kept_received = DESK_KEEPS
    _max_waiting = DESK_WAITING
    _looked_at_once = 500
