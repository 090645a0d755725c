"""Pulses wait for their time or place; a late one is dropped and told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.outputs import schedule as timing
from edge.outputs.encoder import Encoder
from edge.outputs.schedule import MOST_WAITING, Begin, Dropped, End, Pulse, Schedule
from edge.outputs.settings import OutputRule
from edge.records import Verdict
from edge.records.outputs import PartSignal

MS = 1_000_000
GATE = {"gate": OutputRule(rule="pulse", at="gate", verdicts=("ng", "no_read"), after_ms=300, width_ms=40)}


@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=40),
    st.lists(st.integers(1, 12), min_size=50, max_size=400),
)
def test_each_pulse_begins_in_time_or_is_told(due_ms: list[int], steps_ms: list[int]) -> None:
    """Each pulse whose time came is begun within the tolerance, or dropped: once, and told, however time passes."""
    schedule = Schedule(5 * MS)
    for due in due_ms:
        schedule, dropped = timing.plan(schedule, Pulse("gate", 40 * MS, due_ns=due * MS))
        assert not dropped
    now_ns, begun, late = 0, 0, 0
    for gap in steps_ms:
        now_ns += gap * MS
        schedule, steps = timing.step(schedule, now_ns)
        for one in steps:
            if isinstance(one, Begin):
                begun += 1
                assert one.by_ns - 5 * MS <= now_ns <= one.by_ns
            elif isinstance(one, Dropped):
                late += 1
                assert (one.late_ns or 0) > 5 * MS
    assert begun + late == sum(due * MS <= now_ns for due in due_ms)
    assert len(schedule.waiting) == len(due_ms) - begun - late


@given(st.lists(st.integers(0, 400), min_size=1, max_size=20))
def test_a_signal_is_up_exactly_while_some_pulse_lasts(due_ms: list[int]) -> None:
    """Pulses that overlap are one longer one, compared millisecond by millisecond with the pulses themselves."""
    schedule = Schedule(5 * MS)
    for due in due_ms:
        schedule, _ = timing.plan(schedule, Pulse("gate", 40 * MS, due_ns=due * MS))
    up = False
    for now in range(500):
        schedule, steps = timing.step(schedule, now * MS)
        for one in steps:
            up = isinstance(one, Begin) or (up and not isinstance(one, End))
        assert up == any(due <= now < due + 40 for due in due_ms), now


def test_several_parts_lie_between_camera_and_gate() -> None:
    """Each bad part's pulse has its own time, counted from the part; good parts have none."""
    schedule = Schedule()
    for number, verdict in enumerate([Verdict.NG, Verdict.OK, Verdict.NG, Verdict.NO_READ]):
        decided = PartSignal(str(number), verdict, number * 100 * MS, number * 100 * MS + 30 * MS)
        for pulse in timing.pulses_of(GATE, decided, lambda _: None):
            schedule, _ = timing.plan(schedule, pulse)
    assert [pulse.due_ns for pulse in schedule.waiting] == [300 * MS, 500 * MS, 600 * MS]


def test_the_schedule_is_bounded() -> None:
    """A pulse that finds no room is dropped and told."""
    schedule = Schedule()
    for number in range(MOST_WAITING):
        schedule, dropped = timing.plan(schedule, Pulse("gate", MS, due_ns=number))
        assert not dropped
    schedule, dropped = timing.plan(schedule, Pulse("gate", MS, due_ns=0))
    assert dropped == (Dropped("gate", None),)
    assert len(schedule.waiting) == MOST_WAITING


@given(st.integers(1, 2000), st.lists(st.integers(0, 60), min_size=1, max_size=100), st.integers(0, 65_535))
def test_a_pulse_by_counts_waits_for_the_belt(after: int, moves: list[int], start: int) -> None:
    """It begins at the first reading at or behind its place, also where the counter begins anew, and never before."""
    encoder = Encoder(bits=16)
    opened = encoder.read(0, start)
    rules = {"gate": OutputRule(rule="pulse", at="g", verdicts=("ng",), after_counts=after, width_ms=40)}
    (pulse,) = timing.pulses_of(rules, PartSignal("p", Verdict.NG, 0, 0), encoder.at)
    schedule, _ = timing.plan(Schedule(), pulse, encoder.count)
    moved = 0
    for number, each in enumerate(moves, start=1):
        moved += each
        count = encoder.read(number * 10 * MS, (start + moved) % 65_536)
        assert count == opened + moved
        before = len(schedule.waiting)
        schedule, _ = timing.step(schedule, number * 10 * MS, count)
        assert (len(schedule.waiting) < before) == (before == 1 and moved >= after)


def test_nobody_guesses_where_a_part_is() -> None:
    """Without a reading at the part's moment its pulse is dropped; so is one whose place has gone by."""
    rules = {"gate": OutputRule(rule="pulse", at="g", verdicts=("ng",), after_counts=10, width_ms=40)}
    encoder = Encoder()
    encoder.read(100, 7)
    (pulse,) = timing.pulses_of(rules, PartSignal("p", Verdict.NG, 50, 60), encoder.at)
    assert timing.plan(Schedule(), pulse)[1] == (Dropped("gate", None),)
    assert timing.plan(Schedule(), Pulse("gate", MS, due_count=10), 11)[1] == (Dropped("gate", 0),)


def test_the_count_at_a_moment_lies_between_the_readings_around_it() -> None:
    """A belt of even speed is where arithmetic says."""
    encoder = Encoder()
    for at in range(0, 100, 10):
        encoder.read(at * MS, at * 3)
    assert [encoder.at(at * MS) for at in (0, 5, 47, 90, 95)] == [0, 15, 141, 270, 270]
    encoder.lose()
    assert encoder.at(50 * MS) is None
