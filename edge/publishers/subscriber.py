"""Hears a station from elsewhere: a connection that publishes nothing, has no Will and leaves no session behind."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
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
    PublisherEvent,
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
    """Hears `topics` as Subscriber does, pictures too, and gives commands. A subscriber to many stations has more room.

    `many`: topics of which so much may come that nothing else is to wait behind it. They come over a connection of
    their own, whose client id is `client_id` and `-many`. Their words come last among the events. So do topics that
    somebody wants for a while (`want`). At most `waiting` messages of each connection wait. The broker is asked again
    for what it has retained where more came and was thrown away. One thread calls `events` and `send`. Entering raises
    SettingsError for certificates or a password that cannot be read.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        topics: Sequence[str],
        client_id: str,
        many: Sequence[str] = (),
        *,
        waiting: int = DESK_WAITING,
    ) -> None:
        self._ears = _DeskEars(settings, client_id, topics, waiting)
        self._many = _ManyEars(settings, f"{client_id}-many", many, waiting) if many else None

    def __enter__(self) -> Self:
        self._ears.__enter__()
        if self._many is not None:
            self._many.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._many is not None:
            self._many.__exit__(kind, error, trace)
        self._ears.__exit__(kind, error, trace)

    def want(self, topics: Collection[str]) -> None:
        """Hear these of `many` too from now on, and no longer earlier ones that are not among them."""
        (self._many or self._ears).want(topics)

    @property
    def listening(self) -> bool:
        """True once the broker has answered the subscriptions."""
        return self._ears.listening and (self._many is None or self._many.listening)

    @property
    def waits(self) -> bool:
        """True while more has come of `many` than `events` gave at once."""
        return self._many is not None and self._many.waits

    def send(self, message: Message) -> Token:
        """Hand a message to the broker. Raises PublishError without one; its fate is among the events."""
        return self._ears.send(message)

    def events(self) -> Iterator[DeskEvent]:
        """Yield what has happened since the last call, without waiting; of what was said a bounded part."""
        for event in self._ears.events():
            if isinstance(event, DeskEvent):
                yield event
        if self._many is not None:
            for event in self._many.events():  # whether the broker is there tells the other connection
                if isinstance(event, Received | Crowded | Unheard):
                    yield event


class _Ears(MqttPublisher):
    _session_s = 0
    _publishes = False
    _slows = True

    def __init__(self, settings: BrokerSettings, client_id: str, topics: Sequence[str]) -> None:
        super().__init__(settings, client_id, None)
        self._listens = topics

    def _subscribe(self, client: PahoClient) -> None:
        """Ask for all topics; present messages are then told from retained ones."""
        self._ask_for(client, self._listens)

    def _ask_for(self, client: PahoClient, topics: Collection[str]) -> None:
        how = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=False, retainHandling=_AS_SUBSCRIBED)
        self._ask(client, [(topic, how) for topic in topics])


class _DeskEars(_Ears):
    _publishes = True
    _kept_received = DESK_KEEPS
    _looked_at_once = 500

    def __init__(self, settings: BrokerSettings, client_id: str, topics: Sequence[str], waiting: int) -> None:
        super().__init__(settings, client_id, topics)
        self._max_waiting = waiting
        self._ask_again = False
        self._wanted: frozenset[str] = frozenset()

    @property
    def waits(self) -> bool:
        """True while something was heard that nobody has looked at."""
        return bool(self._received)

    def want(self, topics: Collection[str]) -> None:
        """Hear these too, and no others that were wanted before; at a new connection again."""
        before, self._wanted = self._wanted, frozenset(topics)
        if self._client is None or before == self._wanted:
            return
        with suppress(OSError):  # the connection has just ended, and the next one is asked for what is wanted then
            if new := sorted(self._wanted - before):
                self._ask_for(self._client, new)
            if gone := sorted(before - self._wanted):
                self._client.unsubscribe(gone)

    def _subscribe(self, client: PahoClient) -> None:
        self._ask_for(client, [*self._listens, *sorted(self._wanted)])

    def events(self) -> Iterator[PublisherEvent]:
        """Yield what has happened; a retained message that was thrown away is asked for again once there is room."""
        for event in super().events():
            self._ask_again = self._ask_again or isinstance(event, Crowded)
            yield event
        if self._ask_again and not self._received and self._client is not None:
            self._ask_again = False
            self._subscribe(self._client)


class _ManyEars(_DeskEars):
    _looked_at_once = 100  # an urgent one waits for no more
