"""The search for the message that a broken connection is blamed on.

A broker may end a connection because of one message, and would do so again each time it came. Of many that were on
their way nobody knows the one. So they are sent again one by one. The one that was alone on its way at two breaks is to
blame. A bad link breaks too, so an alarm is convicted by the broker's own word only. A broker that takes nothing at all
convicts nobody: each is tried in turn until it has answered something since the last conviction.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

from edge.outbox.offers import ANSWER
from edge.outbox.records import Row
from edge.records import Message
from edge.wording import counted

STRIKES = 2
DEFERRED_S = (2.0, 60.0)  # the first and the last pause before an alarm over which connections break is tried again
CONDEMNED_AT_MOST = 1_000  # rows that are remembered to be tried alone
_LATE_S = 10.0  # the link held a message that was on its way for longer; the broker did not refuse it
# MQTT 5: the broker shuts down, timed out, gave the place away, was told to, is busy, or is elsewhere
_NOBODYS_FAULT = frozenset({0x89, 0x8B, 0x8D, 0x8E, 0x98, 0x9C, 0x9D, 0xA0})

Key = tuple[str, str]
Sentence = Literal["free", "deferred", "condemned"]


@dataclass
class Flight:
    """A message on its way. `fence`: it only shows that what was sent before it did no harm."""

    message: Message
    row: Row | None
    fence: bool = False
    sent_s: float = field(default_factory=time.monotonic)

    @property
    def key(self) -> Key:
        """The name by which it is known when it is sent again: announcements by their topic."""
        if self.row is not None:
            return "row", f"{self.row.row}-{self.message.id}"
        return (ANSWER, self.message.id) if self.message.kind == ANSWER else ("said", self.message.topic)

    @property
    def rank(self) -> int:
        """Its place in the order of what is sent: alarms, results, answers, announcements, what is sent again."""
        if self.row is None:
            return 2 if self.message.kind == ANSWER else 3
        return 4 if self.message.resent else int(not self.message.urgent)


@dataclass
class Suspect:
    """A message that was on its way when a connection broke.

    `strikes`: how often it was so alone. `spared`: how often nobody knew whether the broker takes anything.
    """

    flight: Flight
    strikes: int = 0
    last: bool = False
    spared: int = 0

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Its place among the suspects; one that is likely to break the connection comes last."""
        return self.last, self.spared, self.flight.rank


@dataclass
class _Deferral:
    flight: Flight
    wait_s: float
    until_s: float
    tried: bool = False


class Blame:
    """The suspects, the alarms that are deferred, and the rows that were condemned."""

    def __init__(self) -> None:
        self.suspects: dict[Key, Suspect] = {}
        self._deferred: dict[Key, _Deferral] = {}
        self._condemned: dict[Key, None] = {}
        self._answered = False  # since the last conviction

    def answered(self) -> None:
        """Note that the broker answered a message: it takes some, so the fault may be another message's."""
        self._answered = True

    def broke(self, flights: list[Flight], reason_code: int | None, now_s: float) -> tuple[Flight, Sentence] | None:
        """Note that a connection broke with these on their way; return who is sentenced for it, if anybody is."""
        if reason_code in _NOBODYS_FAULT:
            return None
        accused = [flight for flight in flights if not flight.fence]
        for flight in accused:
            self.suspects.setdefault(flight.key, Suspect(flight)).flight = flight
        if len(accused) != 1 or now_s - accused[0].sent_s > _LATE_S:
            return None
        return self._strike(accused[0], reason_code, now_s)

    def _strike(self, flight: Flight, reason_code: int | None, now_s: float) -> tuple[Flight, Sentence]:
        suspect = self.suspects[flight.key]
        suspect.strikes += 1
        if suspect.strikes < STRIKES:
            return flight, "free"
        del self.suspects[flight.key]
        if flight.row is not None and flight.message.urgent and reason_code is None:
            before = self._deferred.get(flight.key)
            wait_s = DEFERRED_S[0] if before is None else min(2 * before.wait_s, DEFERRED_S[1])
            self._deferred[flight.key] = _Deferral(flight, wait_s, now_s + wait_s)
            return flight, "deferred"
        if not self._answered:
            self.suspects[flight.key] = Suspect(flight, STRIKES - 1, last=True, spared=suspect.spared + 1)
            return flight, "free"
        self._answered = False
        self._deferred.pop(flight.key, None)
        if flight.row is not None:
            self._condemned[flight.key] = None
            while len(self._condemned) > CONDEMNED_AT_MOST:
                del self._condemned[next(iter(self._condemned))]
        return flight, "condemned"

    def cleared(self, flight: Flight) -> None:
        """Note that the broker answered a message, or that it is not to be sent any more."""
        self.suspects.pop(flight.key, None)
        self._deferred.pop(flight.key, None)
        self._condemned.pop(flight.key, None)

    def look_at(self, now_s: float) -> None:
        """Take deferred alarms up again whose time has come."""
        for key, deferral in self._deferred.items():
            if now_s >= deferral.until_s and key not in self.suspects:
                self.suspects[key] = Suspect(deferral.flight, STRIKES - 1, last=True)

    def caught(self, flight: Flight) -> bool:
        """Tell whether a row was condemned before; then it is to be sent alone."""
        if flight.key not in self._condemned:
            return False
        self.suspects[flight.key] = Suspect(flight, STRIKES - 1, last=True)
        return True

    def next(self) -> Suspect | None:
        """Return who is to be sent next, alone."""
        return min(self.suspects.values(), key=lambda suspect: suspect.rank, default=None)

    @property
    def rows(self) -> set[int]:
        """The rows that are not to be sent among others."""
        flights = [*(s.flight for s in self.suspects.values()), *(d.flight for d in self._deferred.values())]
        return {flight.row.row for flight in flights if flight.row is not None}

    @property
    def topics(self) -> set[str]:
        """The retained topics of which an older message is still to come. No newer one may overtake it."""
        flights = [*(s.flight for s in self.suspects.values()), *(d.flight for d in self._deferred.values())]
        return {flight.message.topic for flight in flights if flight.row is not None and flight.message.retain}

    @property
    def deferred(self) -> str | None:
        """The alarms that are deferred, in words."""
        if not self._deferred:
            return None
        topics = sorted({deferral.flight.message.topic for deferral in self._deferred.values()})
        count = counted(len(self._deferred), "message")
        return f"connections broke over {count} to {', '.join(topics)}, which are tried again"
