"""Alarms: hysteresis, delays, N of M frames, and what an unknown value must not do."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.alarms import NO_READ_ALARM, AlarmPhase, AlarmRule, AlarmState
from edge.alarms.model import step
from edge.records import AlarmEvent
from tests.edge.alarms.making import MS, occurrences, rule


def play(of: AlarmRule, values: list[tuple[int, float | None]]) -> tuple[AlarmState, list[AlarmEvent]]:
    """Step an alarm through (ms, value)."""
    state, events, named = AlarmState(), [], occurrences()
    for at_ms, value in values:
        state, happened = step(of, state, value, at_ms * MS, named)
        events.extend(happened)
    return state, events


def told(events: list[AlarmEvent]) -> list[tuple[str, int]]:
    """Return (transition, ms) of each event."""
    return [(event.transition, event.at_ns // MS) for event in events]


def test_hysteresis_raises_from_one_limit_and_clears_below_the_other() -> None:
    """0.5 raises (≥), 0.3 does not clear (not <), 0.29 does; the event says what was measured against which limit."""
    _, events = play(rule(), [(0, 0.49), (1, 0.5), (2, 0.3), (3, 0.49), (4, 0.29), (5, 0.1)])
    assert events == [
        AlarmEvent("dirt", "raised", "active", "1", "medium", 1 * MS, 0.5, 0.5, "Clean it"),
        AlarmEvent("dirt", "cleared", "returned", "1", "medium", 4 * MS, 0.29, 0.3, "Clean it"),
    ]


def test_delays_count_from_the_first_value_and_must_not_be_interrupted() -> None:
    """100 ms above raise, 99 ms do not; a dip below raise_at starts again; clearing likewise within 200 ms."""
    of = rule(on_delay_ms=100, off_delay_ms=200)
    values: list[tuple[int, float | None]] = [(0, 0.9), (99, 0.9), (100, 0.4), (110, 0.9), (209, 0.9), (210, 0.9)]
    values += [(300, 0.1), (400, 0.35), (450, 0.1), (649, 0.1), (650, 0.1)]
    state, events = play(of, values)
    # Interrupted at 100 (0.4 < 0.5), begun again at 110: raised at 210. Clearing interrupted at 400: cleared at 650.
    assert told(events) == [("raised", 210), ("cleared", 650)]
    assert state.delays.phase is AlarmPhase.NORMAL


def test_unknown_values_stop_both_delays() -> None:
    """Only time between two known values counts: 60 + 40 ms known of 300 make an on-delay of 100 ms."""
    of = rule(on_delay_ms=100, off_delay_ms=100)
    _, events = play(of, [(0, 0.9), (60, 0.9), (100, None), (250, 0.9), (289, 0.9), (290, 0.9)])
    assert told(events) == [("raised", 290)]
    _, events = play(of, [(0, 0.9), (100, 0.9), (200, 0.1), (250, None), (900, None), (1000, 0.1), (1099, 0.1)])
    assert told(events) == [("raised", 100)]


def test_each_occurrence_has_its_number() -> None:
    """A raising and its clearing share an id, and the next raising has another."""
    _, events = play(rule(), [(0, 0.9), (1, 0.1), (2, 0.9), (3, 0.1)])
    assert [(event.transition, event.occurrence_id) for event in events] == [
        ("raised", "1"),
        ("cleared", "1"),
        ("raised", "2"),
        ("cleared", "2"),
    ]


def test_n_of_m_frames_must_agree() -> None:
    """3 of the last 5 known frames raise it. It clears when fewer than 3 of the last 5 are anything but low."""
    of = rule(frames={"at_least": 3, "of": 5})
    values = [0.9, 0.1, 0.9, None, 0.1, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1]
    # high among the last five known: 1 1 2 - 2 3 (raised at 5 ms). 3 3 2 (at 8 ms fewer than three are not low)
    _, events = play(of, [(at, value) for at, value in enumerate(values)])
    assert told(events) == [("raised", 5), ("cleared", 8)]


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
    """Raised comes first and the two alternate, whatever is measured; the state agrees with the last one."""
    state, events = play(of, _timed(steps))
    assert [event.transition for event in events] == (["raised", "cleared"] * len(events))[: len(events)]
    assert state.active == bool(events and events[-1].transition == "raised")


@given(Rules, Values, st.lists(st.integers(0, 100_000), max_size=30))
def test_unknown_values_change_nothing(
    of: AlarmRule, steps: list[tuple[int, float | None]], blind_ms: list[int]
) -> None:
    """An alarm neither raises nor clears, and is as active as before, however long nothing can be read."""
    before, _ = play(of, _timed(steps))
    state, now_ms = before, 12_000
    for wait_ms in blind_ms:
        now_ms += wait_ms
        state, events = step(of, state, None, now_ms * MS, occurrences())
        assert events == ()
        assert (state.delays.phase, state.delays.held_ns) == (before.delays.phase, before.delays.held_ns)


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
        state, events = step(of, state, value, at_ms * MS, occurrences())
        for event in events:
            raised = event.transition == "raised"
            since_ms = at_ms
            for earlier_ms, earlier in reversed(timed[: index + 1]):
                if earlier is not None and (earlier < of.raise_limit if raised else earlier >= of.clear_limit):
                    break
                since_ms = earlier_ms
            assert at_ms - since_ms >= (of.on_delay_ms if raised else of.off_delay_ms)


def test_the_built_in_alarm_raises_on_the_first_frame_that_cannot_be_read() -> None:
    """NO_READ raises the alarm `no-read` at once, a read frame clears it."""
    _, events = play(NO_READ_ALARM, [(0, 0.0), (1, 1.0), (2, 1.0), (3, 0.0)])
    assert told(events) == [("raised", 1), ("cleared", 3)]
    assert {event.priority for event in events} == {"high"}


@given(
    st.lists(st.tuples(st.integers(1, 200), st.floats(0, 1)), max_size=80),
    st.integers(1, 6).flatmap(lambda of: st.tuples(st.integers(1, of), st.just(of))),
)
def test_a_raising_has_n_of_the_last_m_frames_behind_it(
    steps: list[tuple[int, float]], frames: tuple[int, int]
) -> None:
    """Counted anew from the values: at each raising N of the last M are high, at each clearing fewer are not low."""
    at_least, of_frames = frames
    of = rule(frames={"at_least": at_least, "of": of_frames})
    timed = _timed([*steps])
    _, events = play(of, timed)
    values = dict(timed)
    for event in events:
        last = [value for at_ms, value in values.items() if at_ms * MS <= event.at_ns][-of_frames:]
        if event.transition == "raised":
            assert sum(value is not None and value >= 0.5 for value in last) >= at_least
        else:
            assert sum(value is not None and value >= 0.3 for value in last) < at_least
    assert all(one.transition != other.transition for one, other in pairwise(events))
