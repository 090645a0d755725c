"""The states of an alarm as one table, after ISA-18.2 and OPC UA Part 9. Everything that affects a transition is here.

An alarm is in one state of each of four regions, which move on their own: its condition, its shelf, its suppression and
its service. A shelved, suppressed or removed alarm goes on working; it is only not shown. A pair that the table does
not list changes nothing. `drawing.py` draws it for docs/alarms.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Condition(str, Enum):
    """The region of an alarm about its cause, and whether somebody has seen it."""

    NORMAL = "normal"
    ACTIVE = "active"
    ACKNOWLEDGED = "acknowledged"
    RETURNED = "returned"
    LATCHED = "latched"
    LATCHED_ACKNOWLEDGED = "latched_acknowledged"


class Shelving(str, Enum):
    """The region about the shelf: put aside until a time, or until the alarm next returns to normal."""

    UNSHELVED = "unshelved"
    ONE_SHOT = "one_shot"
    TIMED = "timed"


class Suppression(str, Enum):
    """The region about suppression by another alarm."""

    UNSUPPRESSED = "unsuppressed"
    SUPPRESSED = "suppressed"


class Service(str, Enum):
    """The region about service: the settings can take an alarm out of it."""

    IN_SERVICE = "in_service"
    OUT_OF_SERVICE = "out_of_service"


class Stimulus(str, Enum):
    """The events that may happen to an alarm."""

    RAISE = "raise"
    RE_ALARM = "re-alarm"
    RETURN = "return"
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"
    SHELVE_ONCE = "shelve once"
    SHELVE_FOR = "shelve for a time"
    UNSHELVE = "unshelve"
    SHELF_ENDS = "its time ends"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"
    REMOVE = "remove"
    PUT_BACK = "put back"


class Guard(str, Enum):
    """A trait of an alarm's rule on which a transition depends."""

    NEEDS_ACK = "needs ack"
    NO_ACK = "needs no ack"
    LATCHES = "latches"
    NO_LATCH = "does not latch"


State = Condition | Shelving | Suppression | Service


@dataclass(frozen=True)
class Transition:
    """One row of the table: in `state`, on `stimulus`, if every one of `guards` holds, comes `to`."""

    state: State
    stimulus: Stimulus
    to: State
    guards: tuple[Guard, ...] = ()


def _raising(*states: Condition) -> Iterable[Transition]:
    """From each of these a raising is a new occurrence; one that needs no acknowledgement begins acknowledged."""
    for state in states:
        yield Transition(state, Stimulus.RAISE, Condition.ACTIVE, (Guard.NEEDS_ACK,))
        yield Transition(state, Stimulus.RAISE, Condition.ACKNOWLEDGED, (Guard.NO_ACK,))


TABLE: tuple[Transition, ...] = (
    *_raising(Condition.NORMAL, Condition.RETURNED, Condition.LATCHED, Condition.LATCHED_ACKNOWLEDGED),
    Transition(Condition.ACTIVE, Stimulus.ACKNOWLEDGE, Condition.ACKNOWLEDGED),
    Transition(Condition.ACTIVE, Stimulus.RE_ALARM, Condition.ACTIVE),
    Transition(Condition.ACTIVE, Stimulus.RETURN, Condition.RETURNED, (Guard.NO_LATCH,)),
    Transition(Condition.ACTIVE, Stimulus.RETURN, Condition.LATCHED, (Guard.LATCHES,)),
    Transition(Condition.ACKNOWLEDGED, Stimulus.RE_ALARM, Condition.ACTIVE, (Guard.NEEDS_ACK,)),
    Transition(Condition.ACKNOWLEDGED, Stimulus.RE_ALARM, Condition.ACKNOWLEDGED, (Guard.NO_ACK,)),
    Transition(Condition.ACKNOWLEDGED, Stimulus.RETURN, Condition.NORMAL, (Guard.NO_LATCH,)),
    Transition(Condition.ACKNOWLEDGED, Stimulus.RETURN, Condition.LATCHED_ACKNOWLEDGED, (Guard.LATCHES,)),
    Transition(Condition.RETURNED, Stimulus.ACKNOWLEDGE, Condition.NORMAL),
    Transition(Condition.LATCHED, Stimulus.ACKNOWLEDGE, Condition.LATCHED_ACKNOWLEDGED),
    Transition(Condition.LATCHED, Stimulus.RESET, Condition.RETURNED),
    Transition(Condition.LATCHED_ACKNOWLEDGED, Stimulus.RESET, Condition.NORMAL),
    *(
        Transition(shelf, stimulus, to)
        for shelf in Shelving
        for stimulus, to in ((Stimulus.SHELVE_ONCE, Shelving.ONE_SHOT), (Stimulus.SHELVE_FOR, Shelving.TIMED))
    ),
    Transition(Shelving.ONE_SHOT, Stimulus.RETURN, Shelving.UNSHELVED),
    *(
        Transition(shelf, stimulus, Shelving.UNSHELVED)
        for shelf in (Shelving.ONE_SHOT, Shelving.TIMED)
        for stimulus in (Stimulus.SHELF_ENDS, Stimulus.UNSHELVE)
    ),
    Transition(Suppression.UNSUPPRESSED, Stimulus.SUPPRESS, Suppression.SUPPRESSED),
    Transition(Suppression.SUPPRESSED, Stimulus.UNSUPPRESS, Suppression.UNSUPPRESSED),
    Transition(Service.IN_SERVICE, Stimulus.REMOVE, Service.OUT_OF_SERVICE),
    Transition(Service.OUT_OF_SERVICE, Stimulus.PUT_BACK, Service.IN_SERVICE),
)

_ROWS: dict[tuple[State, Stimulus], tuple[Transition, ...]] = {}
for _row in TABLE:
    _ROWS[_row.state, _row.stimulus] = (*_ROWS.get((_row.state, _row.stimulus), ()), _row)


def next_state(state: State, stimulus: Stimulus, traits: frozenset[Guard]) -> State | None:
    """Return where `stimulus` leads an alarm of these traits, or None where the table has no such transition."""
    for row in _ROWS.get((state, stimulus), ()):
        if traits.issuperset(row.guards):
            return row.to
    return None


def traits_of(*, latch: bool, needs_ack: bool) -> frozenset[Guard]:
    """Name a rule's traits as the table's guards."""
    return frozenset(
        {
            Guard.LATCHES if latch else Guard.NO_LATCH,
            Guard.NEEDS_ACK if needs_ack else Guard.NO_ACK,
        }
    )
