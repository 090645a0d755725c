"""Alarms: hysteresis, delays, and what an unknown value must not do."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.alarms import NO_READ_ALARM, AlarmPhase, AlarmRule, AlarmState, acknowledge, measure_of, step
from edge.records import AlarmEvent, ClassMeasure, Defect, Inspection, Judgement, Measurement, Verdict

MS = 1_000_000


def rule(**how: Any) -> AlarmRule:
    """Return a rule that raises from 0.5 and clears below 0.3, without delays."""
    return AlarmRule.model_validate(
        {"id": "dirt", "measure": "coverage", "raise_at": 0.5, "clear_below": 0.3, "text": "Clean it", **how}
    )


def play(of: AlarmRule, values: list[tuple[int, float | None]]) -> tuple[AlarmState, list[AlarmEvent]]:
    """Step an alarm through (ms, value)."""
    state, events = AlarmState(), []
    for at_ms, value in values:
        state, happened = step(of, state, value, at_ms * MS)
        events.extend(happened)
    return state, events


def told(events: list[AlarmEvent]) -> list[tuple[str, int]]:
    """Return (transition, ms) of each event."""
    return [(event.transition, event.at_ns // MS) for event in events]


def inspection(verdict: Verdict, measurement: Measurement | None) -> Inspection:
    """Return an inspection of no particular frame."""
    now = datetime.now(timezone.utc)
    return Inspection("top", 1, "", now, 0, 1.0, Judgement(verdict, None), measurement)


def test_hysteresis_raises_from_one_limit_and_clears_below_the_other() -> None:
    """0.5 raises (≥), 0.3 does not clear (not <), 0.29 does; the event says what was measured against which limit."""
    _, events = play(rule(), [(0, 0.49), (1, 0.5), (2, 0.3), (3, 0.49), (4, 0.29), (5, 0.1)])
    assert events == [
        AlarmEvent("dirt", "raised", 1, "medium", 1 * MS, 0.5, 0.5, "Clean it"),
        AlarmEvent("dirt", "cleared", 1, "medium", 4 * MS, 0.29, 0.3, "Clean it"),
    ]


def test_delays_count_from_the_first_value_and_must_not_be_interrupted() -> None:
    """100 ms above raise, 99 ms do not; a dip below raise_at starts again; clearing likewise within 200 ms."""
    of = rule(on_delay_ms=100, off_delay_ms=200)
    values: list[tuple[int, float | None]] = [(0, 0.9), (99, 0.9), (100, 0.4), (110, 0.9), (209, 0.9), (210, 0.9)]
    values += [(300, 0.1), (400, 0.35), (450, 0.1), (649, 0.1), (650, 0.1)]
    state, events = play(of, values)
    # Interrupted at 100 (0.4 < 0.5), begun again at 110: raised at 210. Clearing interrupted at 400: cleared at 650.
    assert told(events) == [("raised", 210), ("cleared", 650)]
    assert state.phase is AlarmPhase.NORMAL


def test_unknown_values_stop_both_delays() -> None:
    """Only time between two known values counts: 60 + 40 ms known of 300 make an on-delay of 100 ms."""
    of = rule(on_delay_ms=100, off_delay_ms=100)
    _, events = play(of, [(0, 0.9), (60, 0.9), (100, None), (250, 0.9), (289, 0.9), (290, 0.9)])
    assert told(events) == [("raised", 290)]
    _, events = play(of, [(0, 0.9), (100, 0.9), (200, 0.1), (250, None), (900, None), (1000, 0.1), (1099, 0.1)])
    assert told(events) == [("raised", 100)]


def test_an_acknowledgement_is_of_one_occurrence_and_counts_once() -> None:
    """It has the raising's value and number; said again it does nothing; the alarm clears as ever, the next is new."""
    state, (raised,) = step(rule(), AlarmState(), 0.9, 1 * MS)
    state, event = acknowledge(state, "anna", "wiped", 2 * MS)
    assert event == AlarmEvent("dirt", "acknowledged", 1, "medium", 2 * MS, 0.9, 0.5, "Clean it", "anna", "wiped")
    state, _ = step(rule(), state, 0.95, 3 * MS)
    assert acknowledge(state, "bert", "", 4 * MS) == (state, None)
    state, (cleared,) = step(rule(), state, 0.1, 5 * MS)
    assert (cleared.transition, cleared.occurrence, cleared.user) == ("cleared", raised.occurrence, None)
    assert acknowledge(state, "anna", "", 6 * MS) == (state, None)
    state, (again,) = step(rule(), state, 0.9, 7 * MS)
    assert (again.occurrence, state.acknowledged) == (2, False)


def test_each_occurrence_has_its_number() -> None:
    """A raising and its clearing share a number, and the next raising has the next one."""
    _, events = play(rule(), [(0, 0.9), (1, 0.1), (2, 0.9), (3, 0.1)])
    assert [(event.transition, event.occurrence) for event in events] == [
        ("raised", 1),
        ("cleared", 1),
        ("raised", 2),
        ("cleared", 2),
    ]


Values = st.lists(st.tuples(st.integers(0, 200), st.one_of(st.none(), st.floats(0, 1))), max_size=60)
Rules = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 300), st.integers(0, 300)).map(
    lambda p: rule(raise_at=max(p[:2]), clear_below=min(p[:2]), on_delay_ms=p[2], off_delay_ms=p[3])
)


def _timed(steps: list[tuple[int, float | None]]) -> list[tuple[int, float | None]]:
    at_ms, out = 0, []
    for wait_ms, value in steps:
        at_ms += wait_ms
        out.append((at_ms, value))
    return out


@given(Rules, Values)
def test_raised_and_cleared_alternate(of: AlarmRule, steps: list[tuple[int, float | None]]) -> None:
    """Whatever is measured, raised comes first and the two alternate; the state agrees with the last one."""
    state, events = play(of, _timed(steps))
    assert [event.transition for event in events] == (["raised", "cleared"] * len(events))[: len(events)]
    assert state.active == bool(events and events[-1].transition == "raised")


@given(Rules, Values, st.lists(st.integers(0, 100_000), max_size=30))
def test_unknown_values_change_nothing(
    of: AlarmRule, steps: list[tuple[int, float | None]], blind_ms: list[int]
) -> None:
    """However long nothing can be read, an alarm neither raises nor clears, and is as active as before."""
    before, _ = play(of, _timed(steps))
    state, now_ms = before, 12_000
    for wait_ms in blind_ms:
        now_ms += wait_ms
        state, events = step(of, state, None, now_ms * MS)
        assert events == ()
        assert (state.phase, state.held_ns) == (before.phase, before.held_ns)


@given(Rules, st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1)), max_size=60))
def test_chatter_within_the_hysteresis_raises_at_most_once(of: AlarmRule, noise: list[tuple[int, float]]) -> None:
    """Values that never fall below clear_below raise at most once, and never clear."""
    chatter = [(wait, of.clear_limit + share * (1 - of.clear_limit)) for wait, share in noise]
    _, events = play(of, _timed([*chatter]))
    assert [event.transition for event in events] in ([], ["raised"])


@given(Rules, Values)
def test_an_event_needs_its_condition_for_the_whole_delay(of: AlarmRule, steps: list[tuple[int, float | None]]) -> None:
    """At each event, the unbroken run of values (or unknowns) that meet its condition lasts at least the delay."""
    timed = _timed(steps)
    state = AlarmState()
    for index, (at_ms, value) in enumerate(timed):
        state, events = step(of, state, value, at_ms * MS)
        for event in events:
            raised = event.transition == "raised"
            since_ms = at_ms
            for earlier_ms, earlier in reversed(timed[: index + 1]):
                if earlier is not None and (earlier < of.raise_limit if raised else earlier >= of.clear_limit):
                    break
                since_ms = earlier_ms
            assert at_ms - since_ms >= (of.on_delay_ms if raised else of.off_delay_ms)


DEFECTS = tuple(Defect(1, "scratch", 0.9, 4.0, (0, 0, 2, 2), 2.0, 2.0, None, None, None) for _ in range(3))
SEEN = Measurement(0.03, None, 1e6, {"scratch": ClassMeasure(0.02, 3), "stain": ClassMeasure(0.01, 0)}, DEFECTS)


@pytest.mark.parametrize(
    ("of", "ok", "ng", "no_read"),
    [
        (rule(), 0.03, 0.03, None),
        (rule(**{"class": "scratch"}), 0.02, 0.02, None),
        (rule(measure="count", raise_at=2, clear_below=1), 3.0, 3.0, None),
        (rule(**{"measure": "count", "class": "stain"}), 0.0, 0.0, None),
        (rule(**{"class": "not-of-this-model"}), None, None, None),
        (AlarmRule(id="ng", measure="ng", text="Look"), 0.0, 1.0, None),
        (NO_READ_ALARM, 0.0, 0.0, 1.0),
    ],
)
def test_what_a_rule_watches(of: AlarmRule, ok: float | None, ng: float | None, no_read: float | None) -> None:
    """Each measure is taken from the inspection; of a frame that was not read only that is known."""
    assert measure_of(of, inspection(Verdict.OK, SEEN)) == ok
    assert measure_of(of, inspection(Verdict.NG, SEEN)) == ng
    assert measure_of(of, inspection(Verdict.NO_READ, None)) == no_read


def test_the_built_in_alarm_raises_on_the_first_frame_that_cannot_be_read() -> None:
    """NO_READ raises the alarm `no-read` at once, a read frame clears it."""
    _, events = play(NO_READ_ALARM, [(0, 0.0), (1, 1.0), (2, 1.0), (3, 0.0)])
    assert told(events) == [("raised", 1), ("cleared", 3)]
    assert {event.severity for event in events} == {"high"}


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"raise_at": None, "clear_below": None}, "expected raise_at for the measure coverage"),
        ({"clear_below": 0.6}, "expected clear_below ≤ raise_at = 0.5, received 0.6"),
        ({"raise_at": 5}, "expected raise_at as a fraction"),
        ({"measure": "ng"}, "expected neither raise_at"),
        ({"on_delay_ms": -1}, "greater than or equal to 0"),
        ({"id": "a/b"}, "pattern"),
        ({"raise_above": 1}, "Extra inputs"),
        ({"text": ""}, "at least 1 character"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(how: dict[str, Any], expected: str) -> None:
    """Each mistake in a rule is named when the settings are read."""
    with pytest.raises(ValidationError, match=expected):
        rule(**how)
