"""Values → raise or return: limits with hysteresis, N of M frames, and delays. Pure; time is an argument.

A value that is unknown, as after a frame that could not be read, moves nothing: delays stop, and only time between two
known values counts. So a blind camera neither raises nor clears an alarm about what it sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from edge.alarms.rules import AlarmRule
from edge.alarms.states import Stimulus


class AlarmPhase(str, Enum):
    """The phase of an alarm in its delays. RAISING counts as normal and CLEARING as active until the delay is over."""

    NORMAL = "normal"
    RAISING = "raising"
    ACTIVE = "active"
    CLEARING = "clearing"


class Band(Enum):
    """The place of a value between the two limits."""

    LOW = "below clear_limit"
    BETWEEN = "within the hysteresis"
    HIGH = "at or above raise_limit"


@dataclass(frozen=True)
class Delays:
    """The memory of the values.

    `held_ns`: how long the phase has held, as far as known. `known_ns`: the time of the last value, None after an
    unknown one. `recent`: the bands of the last known values, oldest first, where more than one frame must agree.
    """

    phase: AlarmPhase = AlarmPhase.NORMAL
    held_ns: int = 0
    known_ns: int | None = None
    recent: tuple[Band, ...] = ()

    @property
    def active(self) -> bool:
        """True where the value has raised the alarm and not yet cleared it."""
        return self.phase in {AlarmPhase.ACTIVE, AlarmPhase.CLEARING}


# The next phase after a known value. A delay must run without a break: a value that leaves its band abandons it.
_NEXT = {
    (AlarmPhase.NORMAL, Band.LOW): AlarmPhase.NORMAL,
    (AlarmPhase.NORMAL, Band.BETWEEN): AlarmPhase.NORMAL,
    (AlarmPhase.NORMAL, Band.HIGH): AlarmPhase.RAISING,
    (AlarmPhase.RAISING, Band.LOW): AlarmPhase.NORMAL,
    (AlarmPhase.RAISING, Band.BETWEEN): AlarmPhase.NORMAL,
    (AlarmPhase.RAISING, Band.HIGH): AlarmPhase.RAISING,
    (AlarmPhase.ACTIVE, Band.LOW): AlarmPhase.CLEARING,
    (AlarmPhase.ACTIVE, Band.BETWEEN): AlarmPhase.ACTIVE,
    (AlarmPhase.ACTIVE, Band.HIGH): AlarmPhase.ACTIVE,
    (AlarmPhase.CLEARING, Band.LOW): AlarmPhase.CLEARING,
    (AlarmPhase.CLEARING, Band.BETWEEN): AlarmPhase.ACTIVE,
    (AlarmPhase.CLEARING, Band.HIGH): AlarmPhase.ACTIVE,
}


def delay(
    rule: AlarmRule, delays: Delays, value: float | None, now_ns: int
) -> tuple[Delays, Literal[Stimulus.RAISE, Stimulus.RETURN] | None]:
    """Take one value (None: unknown) at `now_ns` of the line's clock, which never goes back.

    Returns what is remembered from now on, and whether the alarm raises or returns just now.
    """
    if value is None:
        return delays if delays.known_ns is None else replace(delays, known_ns=None), None
    recent = (*delays.recent, _band(rule, value))[-rule.frames.of :]
    phase = _NEXT[delays.phase, _agreed(rule, recent)]
    known_for_ns = 0 if delays.known_ns is None else now_ns - delays.known_ns
    held_ns = delays.held_ns + known_for_ns if phase is delays.phase else 0
    moved = Delays(phase, held_ns, now_ns, recent)
    if phase is AlarmPhase.RAISING and held_ns >= rule.on_delay_ms * 1_000_000:
        return replace(moved, phase=AlarmPhase.ACTIVE, held_ns=0), Stimulus.RAISE
    if phase is AlarmPhase.CLEARING and held_ns >= rule.off_delay_ms * 1_000_000:
        return replace(moved, phase=AlarmPhase.NORMAL, held_ns=0), Stimulus.RETURN
    return moved, None


def _band(rule: AlarmRule, value: float) -> Band:
    if value >= rule.raise_limit:
        return Band.HIGH
    return Band.LOW if value < rule.clear_limit else Band.BETWEEN


def _agreed(rule: AlarmRule, recent: tuple[Band, ...]) -> Band:
    """Return HIGH where N of the last M values are, LOW where fewer than N are anything else."""
    if recent.count(Band.HIGH) >= rule.frames.at_least:
        return Band.HIGH
    return Band.LOW if len(recent) - recent.count(Band.LOW) < rule.frames.at_least else Band.BETWEEN
