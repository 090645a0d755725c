"""Messages on their way to the broker, and what the broker answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One MQTT publication. `expiry_s` None = never expires. `urgent`: committed at once, not in a group.

    `kind` names the schema of the body. `id` is unique for ever; consumers drop what they have seen. `durable`: by way
    of the outbox, which keeps JSON only. `response_topic`: where the answer to a command is wanted. `correlation`: what
    an answer gives back to who asked. `resent`: a broker has acknowledged it before, so a consumer may have it.
    """

    id: str
    kind: str
    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_s: int | None = None
    urgent: bool = False
    durable: bool = True
    content_type: str = "application/json"
    correlation: bytes | None = None
    resent: bool = False
    response_topic: str | None = None


@dataclass(frozen=True)
class DeliveryState:
    """The state between deciding and the broker: what alarms about delivery are decided from.

    `oldest_s`: how long the oldest message has waited for the broker, in seconds; 0 = none waits. The others say in
    words what is wrong, None = nothing:

    - `disk`, nothing can be written;
    - `broker`, it is not there;
    - `refused`, it refused messages, which are dead letters;
    - `no_consumer`, nobody there takes what expects a consumer;
    - `set_aside`, a corrupt store was moved away and a new one begun, or a removed or replaced one written anew;
    - `overflow`, alarms had to be dropped for want of room;
    - `unwritable`, the store does not take a message;
    - `taken_over`, another client uses this line's id at the broker;
    - `foreign`, somebody else wrote at the line's own topics.
    """

    oldest_s: float = 0.0
    disk: str | None = None
    broker: str | None = None
    refused: str | None = None
    no_consumer: str | None = None
    set_aside: str | None = None
    overflow: str | None = None
    unwritable: str | None = None
    taken_over: str | None = None
    foreign: str | None = None


@dataclass(frozen=True)
class Token:
    """A publisher's token for an accepted message; its `Acknowledged` or `Refused` carries the same number."""

    number: int


@dataclass(frozen=True)
class Acknowledged:
    """The broker took the message. `reason_code` < 0x80 (MQTT 5); 0x10 = no subscriber matched."""

    token: Token
    reason_code: int = 0


@dataclass(frozen=True)
class Refused:
    """The broker refused the message for good: `reason_code` >= 0x80 (MQTT 5), `reason` in words."""

    token: Token
    reason_code: int
    reason: str


@dataclass(frozen=True)
class Connected:
    """The broker accepted the connection. Without `session_present` it has forgotten earlier unfinished messages.

    `window`: how many messages it takes before it has acknowledged any, `largest_packet`: how many bytes in one; None =
    it does not say.
    """

    session_present: bool
    window: int | None = None
    largest_packet: int | None = None


@dataclass(frozen=True)
class SessionLost:
    """The connection ended or could not be made; the publisher keeps trying. `reason` in words.

    The publisher forgets a message that was sent and not answered: it is its sender's again. `reason_code`: the
    broker's own word where it gave one (MQTT 5 DISCONNECT). `ours`: this side ended it, on purpose.
    """

    reason: str
    reason_code: int | None = None
    ours: bool = False


@dataclass(frozen=True)
class Received:
    """A message from the broker to this line. `expiry_s`: what is left of its time, None = it never expires.

    `id`, `resent`: the user properties of these names, which messages of a line have.
    """

    topic: str
    payload: bytes
    retained: bool = False
    expiry_s: int | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    id: str | None = None
    resent: bool = False


@dataclass(frozen=True)
class Crowded:
    """So many messages to this line were thrown away, since more came than it can look at.

    `own`: they came at the line's own topics, which nobody watches for a while. Otherwise they were commands.
    """

    count: int
    own: bool = False


@dataclass(frozen=True)
class Unheard:
    """The broker does not let this line hear the topics of `topic`, a filter. `reason` in words."""

    reason: str
    topic: str = ""


@dataclass(frozen=True)
class Displaced:
    """Another client seems to use this line's id at the broker: it ended this connection alone, over no message."""

    reason: str


PublisherEvent = Acknowledged | Refused | Connected | SessionLost | Received | Crowded | Displaced | Unheard
