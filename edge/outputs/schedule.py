"""The pulses that wait for their time, or for their place on the belt: several parts lie between camera and gate. Pure.

A late pulse is dropped and told: it would throw out the part behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from edge.outputs.settings import OutputRule
from edge.records.outputs import PartSignal

MOST_WAITING = 256
_MS = 1_000_000


@dataclass(frozen=True)
class Pulse:
    """One pulse of a signal, due at a moment of the station's clock or at a count of the encoder."""

    signal: str
    width_ns: int
    due_ns: int | None = None
    due_count: int | None = None


@dataclass(frozen=True)
class Schedule:
    """Pulses that wait, and when those that go on will end. `tolerance_ns`: how late a pulse may begin."""

    tolerance_ns: int = 5 * _MS
    waiting: tuple[Pulse, ...] = ()
    ends_ns: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Begin:
    """A signal is to go up now, and no later than `by_ns`."""

    signal: str
    by_ns: int


@dataclass(frozen=True)
class End:
    """A signal's pulse is over."""

    signal: str


@dataclass(frozen=True)
class Dropped:
    """A pulse that was not made. `late_ns`: how late it was; None where it could not wait at all."""

    signal: str
    late_ns: int | None


Step = Begin | End | Dropped


def pulses_of(
    rules: Mapping[str, OutputRule], decided: PartSignal, count_at: Callable[[int], int | None]
) -> list[Pulse]:
    """Return the pulses that a part asks for. `count_at`: what the encoder counted at a moment, None = not known."""
    pulses = []
    for name, rule in rules.items():
        if rule.rule != "pulse" or decided.verdict.value.lower() not in rule.verdicts:
            continue
        since_ns = decided.opened_ns if rule.since == "opened" else decided.closed_ns
        width_ns = round((rule.width_ms or 0) * _MS)
        if rule.after_counts is None:
            pulses.append(Pulse(name, width_ns, due_ns=since_ns + round((rule.after_ms or 0) * _MS)))
        else:
            count = count_at(since_ns)
            pulses.append(Pulse(name, width_ns, due_count=None if count is None else count + rule.after_counts))
    return pulses


def plan(schedule: Schedule, pulse: Pulse, count: int | None = None) -> tuple[Schedule, tuple[Dropped, ...]]:
    """Let a pulse wait. It is dropped where too many wait, nobody knows when it is due, or its place has gone by."""
    if len(schedule.waiting) >= MOST_WAITING or (pulse.due_ns is None and pulse.due_count is None):
        return schedule, (Dropped(pulse.signal, None),)
    if pulse.due_count is not None and count is not None and count > pulse.due_count:
        return schedule, (Dropped(pulse.signal, 0),)
    return replace(schedule, waiting=(*schedule.waiting, pulse)), ()


def step(schedule: Schedule, now_ns: int, count: int | None = None) -> tuple[Schedule, tuple[Step, ...]]:
    """Begin and end what is due, and drop what is late. `count`: of the encoder, None = not known just now.

    A pulse by count has no lateness of its own: a standing belt makes it wait. A pulse that comes while its signal is
    up makes that last longer.
    """
    steps: list[Step] = []
    ends = dict(schedule.ends_ns)
    for name, ends_ns in list(ends.items()):
        if now_ns >= ends_ns:
            del ends[name]
            steps.append(End(name))
    waiting = []
    for pulse in sorted(schedule.waiting, key=lambda one: one.due_ns or 0):
        if not _due(pulse, now_ns, count):
            waiting.append(pulse)
            continue
        due_ns = now_ns if pulse.due_ns is None else pulse.due_ns
        if now_ns - due_ns > schedule.tolerance_ns:
            steps.append(Dropped(pulse.signal, now_ns - due_ns))
            continue
        ends[pulse.signal] = max(ends.get(pulse.signal, 0), due_ns + pulse.width_ns)
        steps.append(Begin(pulse.signal, due_ns + schedule.tolerance_ns))
    return replace(schedule, waiting=tuple(waiting), ends_ns=ends), _without_dips(steps)


def drop_all(schedule: Schedule) -> tuple[Schedule, tuple[Dropped, ...]]:
    """Drop every pulse that waits, for it could not be made in time."""
    return replace(schedule, waiting=(), ends_ns={}), tuple(Dropped(one.signal, None) for one in schedule.waiting)


def next_ns(schedule: Schedule) -> int | None:
    """Return when something is due next by the clock; None = nothing."""
    moments = [*schedule.ends_ns.values(), *(one.due_ns for one in schedule.waiting if one.due_ns is not None)]
    return min(moments, default=None)


def _due(pulse: Pulse, now_ns: int, count: int | None) -> bool:
    if pulse.due_ns is not None:
        return now_ns >= pulse.due_ns
    return count is not None and pulse.due_count is not None and count >= pulse.due_count


def _without_dips(steps: list[Step]) -> tuple[Step, ...]:
    """Leave out the end of a pulse where the next one of its signal begins in the same step."""
    begun = {one.signal for one in steps if isinstance(one, Begin)}
    return tuple(one for one in steps if not (isinstance(one, End) and one.signal in begun))
