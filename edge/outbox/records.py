"""The records that pass between the rooms of the outbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edge.records import AlarmRecord, JournalEntry, Message
from edge.records.ledger import CountDelta, WorstPart

# Puts wait by class: alarms, results, and records of commands. Each has its own room.
Lane = Literal["alarms", "results", "records"]


@dataclass(frozen=True)
class Row:
    """One committed message. `row` grows in the order of `put`; `seq` is its event's number, None if it is no event."""

    row: int
    seq: int | None
    message: Message


# The reason of a dead letter begins so where the connection broke twice while it alone was on its way.
BROKE = "broke: "


@dataclass(frozen=True)
class Put:
    """Messages and entries that are committed together or not at all.

    Puts of the same `group`, unless it is 0, are committed together too, if they can be.
    """

    seq: int | None
    messages: tuple[Message, ...]
    alarms: Sequence[AlarmRecord] = ()
    journal: Sequence[JournalEntry] = ()
    group: int = 0
    counts: Sequence[CountDelta] = ()
    worst: Sequence[WorstPart] = ()

    @property
    def lane(self) -> Lane:
        """The lane in which it waits. A row about alarms is committed at once, and nothing else displaces it."""
        if self.alarms or any(message.urgent for message in self.messages):
            return "alarms"
        if any(entry.part != "commands" for entry in self.journal):
            return "alarms"
        return "records" if self.journal and not self.messages else "results"


@dataclass(frozen=True)
class Settle:
    """The end of a row: refused for `reason`, or else acknowledged.

    It names the row and holds none of its payload, since many may wait for a disk that takes nothing. `id` is that of
    its message, `size` that of the payload in bytes. `at_s`: when it was heard of, by the store's `clock_s`.
    """

    row: int
    id: str
    size: int
    urgent: bool
    reason: str | None
    at_s: float


@dataclass(frozen=True)
class Resent:
    """The outcome of a wish to have events again, counted in events.

    `resent` are sent once more. `waiting` were not yet acknowledged and come anyway. `missing` are no longer there.
    """

    resent: int
    waiting: int
    missing: int


@dataclass
class ResendWish:
    """A wish to send acknowledged events again: numbers `first_seq` to `last_seq`, or all since `since_s`.

    Times are of the store's clock, s. Only events that were acknowledged before `asked_s` are meant. An event keeps the
    time of its first acknowledgement. So sending it again is no reason to send it once more. An event that the broker
    has `forgotten` counts as never acknowledged. It is done in steps, so that an alarm never waits for it. `done` is
    called with the `outcome`, which is None until all is done. `after`: the last row that was seen to.
    """

    asked_s: float
    first_seq: int = 0
    last_seq: int = 0
    since_s: float | None = None
    done: Callable[[Resent], None] = lambda _: None
    resent: int = 0
    outcome: Resent | None = None
    forgotten: bool = False
    after: int = 0


@dataclass(frozen=True)
class Unwritable:
    """A job that the store does not take, though it takes others: for which `reason`, and its `content` in ASCII."""

    reason: str
    content: str


@dataclass(frozen=True)
class RetryDeadLetters:
    """A wish to try dead letters again: all of `topic`, or with None the oldest of each topic.

    With None so are at most `broken` of those that the connection broke over.
    """

    topic: str | None = None
    broken: int = 0


Job = Put | Settle | ResendWish | RetryDeadLetters | Unwritable
