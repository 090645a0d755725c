"""(rule, state, value, now) → (state, events): alarms with hysteresis and delays. Pure; time is an argument.

An alarm is NORMAL, RAISING (its on-delay runs), ACTIVE, or CLEARING (its off-delay runs). A value that is unknown, as
after a frame that could not be read, moves nothing: delays stop, and only time between two known values counts. So a
blind camera neither raises nor clears an alarm about what it sees; it has an alarm of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from edge.bundle import Name
from edge.records import AlarmEvent, Inspection, Verdict
from edge.yaml_settings import StrictModel

_DelayMs = Annotated[int, Field(ge=0, le=86_400_000)]


class AlarmRule(StrictModel):
    """When an alarm raises and clears, and what the operator should do then.

    `measure`: `coverage` (fraction of the region, 0-1), `count` (defects in the frame), either optionally of one
    `class`; or `ng`, `no_read` (1 when that is the frame's verdict, else 0), which need no limits. Raises when the
    value has been ≥ `raise_at` for `on_delay_ms`, clears when it has been < `clear_below` (≤ `raise_at`, which is its
    default) for `off_delay_ms`.
    """

    model_config = ConfigDict(populate_by_name=True)
    id: Name
    measure: Literal["coverage", "count", "ng", "no_read"]
    class_name: Annotated[Name | None, Field(alias="class")] = None
    raise_at: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    clear_below: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    on_delay_ms: _DelayMs = 0
    off_delay_ms: _DelayMs = 0
    severity: Literal["low", "medium", "high"] = "medium"
    text: Annotated[str, Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _limits_fit_the_measure(self) -> AlarmRule:
        if self.measure in {"ng", "no_read"}:
            if (self.raise_at, self.clear_below, self.class_name) != (None, None, None):
                raise ValueError(f"expected neither raise_at, clear_below nor class for the measure {self.measure}")
            return self
        if self.raise_at is None:
            raise ValueError(f"expected raise_at for the measure {self.measure}, received none")
        if self.measure == "coverage" and self.raise_at > 1:
            raise ValueError(f"expected raise_at as a fraction, at most 1, received {self.raise_at}")
        if self.clear_below is not None and self.clear_below > self.raise_at:
            raise ValueError(f"expected clear_below ≤ raise_at = {self.raise_at}, received {self.clear_below}")
        return self

    @property
    def raise_limit(self) -> float:
        """The value from which the alarm raises."""
        return 1.0 if self.raise_at is None else self.raise_at

    @property
    def clear_limit(self) -> float:
        """The value below which the alarm clears."""
        return self.raise_limit if self.clear_below is None else self.clear_below


NO_READ_ALARM = AlarmRule(
    id="no-read",
    measure="no_read",
    severity="high",
    text="Frames cannot be inspected: check the camera, its light and its cable; stop shipping until frames are read",
)


class AlarmPhase(str, Enum):
    """Where an alarm stands. RAISING counts as normal and CLEARING as active until the delay is over."""

    NORMAL = "normal"
    RAISING = "raising"
    ACTIVE = "active"
    CLEARING = "clearing"


@dataclass(frozen=True)
class AlarmState:
    """One alarm's memory.

    `held_ns`: how long the phase has held, as far as known. `known_ns`: the time of the last value, None after an
    unknown one. `occurrence`: how often the alarm was raised. `raised`: the raising that stands. `acknowledged`:
    somebody has said that it was seen; the next raising has not been.
    """

    phase: AlarmPhase = AlarmPhase.NORMAL
    held_ns: int = 0
    known_ns: int | None = None
    occurrence: int = 0
    raised: AlarmEvent | None = None
    acknowledged: bool = False

    @property
    def active(self) -> bool:
        """Whether the alarm has been raised and not yet cleared."""
        return self.phase in {AlarmPhase.ACTIVE, AlarmPhase.CLEARING}


class _Band(Enum):
    LOW = "below clear_limit"
    BETWEEN = "within the hysteresis"
    HIGH = "at or above raise_limit"


# Where a known value leads. A delay must run without a break: a value that leaves its band abandons it.
_NEXT = {
    (AlarmPhase.NORMAL, _Band.LOW): AlarmPhase.NORMAL,
    (AlarmPhase.NORMAL, _Band.BETWEEN): AlarmPhase.NORMAL,
    (AlarmPhase.NORMAL, _Band.HIGH): AlarmPhase.RAISING,
    (AlarmPhase.RAISING, _Band.LOW): AlarmPhase.NORMAL,
    (AlarmPhase.RAISING, _Band.BETWEEN): AlarmPhase.NORMAL,
    (AlarmPhase.RAISING, _Band.HIGH): AlarmPhase.RAISING,
    (AlarmPhase.ACTIVE, _Band.LOW): AlarmPhase.CLEARING,
    (AlarmPhase.ACTIVE, _Band.BETWEEN): AlarmPhase.ACTIVE,
    (AlarmPhase.ACTIVE, _Band.HIGH): AlarmPhase.ACTIVE,
    (AlarmPhase.CLEARING, _Band.LOW): AlarmPhase.CLEARING,
    (AlarmPhase.CLEARING, _Band.BETWEEN): AlarmPhase.ACTIVE,
    (AlarmPhase.CLEARING, _Band.HIGH): AlarmPhase.ACTIVE,
}


def measure_of(rule: AlarmRule, inspection: Inspection) -> float | None:
    """Return the value that `rule` watches, or None where the inspection cannot know it.

    A frame that could not be read is known to be NO_READ, and nothing else of it is known. A class that the model lacks
    is never known.
    """
    verdict = inspection.judgement.verdict
    if rule.measure == "no_read":
        return float(verdict is Verdict.NO_READ)
    measurement = inspection.measurement
    if measurement is None:
        return None
    if rule.measure == "ng":
        return float(verdict is Verdict.NG)
    if rule.class_name is not None:
        seen = measurement.classes.get(rule.class_name)
        if seen is None:
            return None
        return seen.coverage if rule.measure == "coverage" else float(seen.count)
    return measurement.coverage if rule.measure == "coverage" else float(len(measurement.defects))


def step(
    rule: AlarmRule, state: AlarmState, value: float | None, now_ns: int
) -> tuple[AlarmState, tuple[AlarmEvent, ...]]:
    """Move one alarm by one value (None: unknown) at `now_ns` of the line's clock, which never goes back."""
    if value is None:
        return replace(state, known_ns=None), ()
    phase = _NEXT[state.phase, _band(rule, value)]
    known_for_ns = 0 if state.known_ns is None else now_ns - state.known_ns
    held_ns = state.held_ns + known_for_ns if phase is state.phase else 0
    moved = replace(state, phase=phase, held_ns=held_ns, known_ns=now_ns)
    if phase is AlarmPhase.RAISING and held_ns >= rule.on_delay_ms * 1_000_000:
        active = AlarmState(AlarmPhase.ACTIVE, 0, now_ns, state.occurrence + 1)
        raised = _event(rule, "raised", active, value)
        return replace(active, raised=raised), (raised,)
    if phase is AlarmPhase.CLEARING and held_ns >= rule.off_delay_ms * 1_000_000:
        cleared = AlarmState(AlarmPhase.NORMAL, 0, now_ns, state.occurrence)
        return cleared, (_event(rule, "cleared", cleared, value),)
    return moved, ()


def acknowledge(state: AlarmState, user: str, comment: str, now_ns: int) -> tuple[AlarmState, AlarmEvent | None]:
    """Note that `user` has seen the alarm that stands; no event where none stands or it was acknowledged before."""
    if not state.active or state.raised is None or state.acknowledged:
        return state, None
    event = replace(state.raised, transition="acknowledged", at_ns=now_ns, user=user, comment=comment)
    return replace(state, acknowledged=True), event


def _band(rule: AlarmRule, value: float) -> _Band:
    if value >= rule.raise_limit:
        return _Band.HIGH
    return _Band.LOW if value < rule.clear_limit else _Band.BETWEEN


def _event(rule: AlarmRule, transition: Literal["raised", "cleared"], state: AlarmState, value: float) -> AlarmEvent:
    assert state.known_ns is not None  # noqa: S101 - only a known value makes an event
    return AlarmEvent(
        alarm=rule.id,
        transition=transition,
        occurrence=state.occurrence,
        severity=rule.severity,
        at_ns=state.known_ns,
        value=value,
        limit=rule.raise_limit if transition == "raised" else rule.clear_limit,
        text=rule.text,
    )
