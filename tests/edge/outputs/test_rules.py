"""Signals of parts, alarms and the station itself."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.outputs import rules as levels_of
from edge.outputs.by_hand import HandTest, barred, level_of
from edge.outputs.rules import STALL_NS, Signals
from edge.outputs.settings import OutputRule
from edge.records import Verdict
from edge.records.outputs import PartSignal, StationSignal

MS = 1_000_000
RULES = {
    "count": OutputRule(rule="result_counter", at="count"),
    "good": OutputRule(rule="ok", at="good"),
    "bad": OutputRule(rule="ng", at="bad"),
    "unread": OutputRule(rule="no_read", at="unread"),
    "cover": OutputRule(rule="coverage", at="cover"),
    "lamp": OutputRule(rule="alarm", at="lamp", priorities=("high",)),
    "stop": OutputRule(rule="alarm", at="stop", alarms=("three-of-five",), safe=True),
    "gate": OutputRule(rule="pulse", at="gate", verdicts=("ng",), after_ms=100, width_ms=50),
    "alive": OutputRule(rule="heartbeat", at="alive"),
    "ready": OutputRule(rule="ready", at="ready"),
    "busy": OutputRule(rule="busy", at="busy"),
}
READY = StationSignal(ready=True)
VERDICTS = st.sampled_from(list(Verdict))


def running() -> Signals:
    """Return the signals of a station that runs."""
    return levels_of.wake(RULES, levels_of.begin(RULES)[0], READY)[0]


def part_of(verdict: Verdict, coverage: float | None = None) -> PartSignal:
    """Return a part."""
    return PartSignal("p", verdict, 0, 0, coverage)


@given(st.lists(VERDICTS, min_size=1, max_size=30))
def test_each_part_sets_one_of_three_bits_before_the_counter_rises(verdicts: list[Verdict]) -> None:
    """A machine that takes the changes one by one finds, at each rise of the counter, that part's bit alone."""
    signals, seen, read = running(), dict(running().levels), []
    for verdict in verdicts:
        signals, changes = levels_of.part(RULES, signals, part_of(verdict))
        for name, level in changes:
            seen[name] = level
            if name == "count":
                read.append((level, seen["good"], seen["bad"], seen["unread"]))
    assert read == [
        (number, verdict is Verdict.OK, verdict is Verdict.NG, verdict is Verdict.NO_READ)
        for number, verdict in enumerate(verdicts, start=1)
    ]


@given(VERDICTS, st.lists(st.booleans(), max_size=10))
def test_a_verdict_is_held_until_the_next_part(verdict: Verdict, busy: list[bool]) -> None:
    """Neither the station's state nor the heartbeat touches it."""
    signals, _ = levels_of.part(RULES, running(), part_of(verdict))
    held = {name: signals.levels[name] for name in ("good", "bad", "unread", "count")}
    for number, each in enumerate(busy):
        signals, _ = levels_of.station(RULES, signals, StationSignal(ready=True, busy=each))
        signals, _ = levels_of.beat(RULES, signals, number * 700 * MS, number * 700 * MS)
    assert {name: signals.levels[name] for name in held} == held


@given(st.lists(st.sampled_from(["part", "alarm", "beat", "recipe"]), max_size=20))
def test_safe_levels_are_safe_whatever_was_before(happened: list[str]) -> None:
    """No bit stays up that the safe levels say is down. The counter holds, for it says what was, not what is."""
    signals = running()
    for each in happened:
        if each == "part":
            signals, _ = levels_of.part(RULES, signals, part_of(Verdict.NG, 0.5))
        elif each == "alarm":
            signals, _ = levels_of.station(
                RULES, signals, StationSignal(ready=True, alarms=frozenset({("camera-lost", "high")}))
            )
        elif each == "beat":
            signals, _ = levels_of.beat(RULES, signals, (signals.beat_ns or 0) + 500 * MS, (signals.beat_ns or 0))
        else:
            signals, _ = levels_of.recipe_changed(RULES, signals)
    before = signals.levels["count"]
    signals, _ = levels_of.make_safe(RULES, signals, "a test")
    bits = ("good", "bad", "unread", "lamp", "gate", "ready", "busy")
    assert not any(signals.levels[name] for name in bits)
    assert signals.levels["stop"] is True
    assert signals.levels["cover"] == 65_535
    assert signals.levels["count"] == before
    again, changes = levels_of.part(RULES, signals, part_of(Verdict.OK))
    assert changes == ()
    assert again.parts == signals.parts + 1


def test_alarms_are_shown_by_priority_and_by_id() -> None:
    """A lamp shows one priority, a stop one alarm."""
    signals = running()
    assert signals.levels["stop"] is False
    low = StationSignal(ready=True, alarms=frozenset({("three-of-five", "low")}))
    signals, changes = levels_of.station(RULES, signals, low)
    assert changes == (("stop", True),)
    high = StationSignal(ready=True, alarms=frozenset({("camera-lost", "high")}))
    assert dict(levels_of.station(RULES, signals, high)[1]) == {"lamp": True, "stop": False}


@given(st.integers(0, 10**15), st.lists(st.integers(1, 40), min_size=60, max_size=200))
def test_the_heart_beats_twice_a_second_and_stops_after_the_loop(start_ns: int, gaps_ms: list[int]) -> None:
    """In time that passes by steps it beats as often as half seconds are over. Later than 2 s after the loop, never."""
    signals, now_ns, beats = running(), start_ns, 0
    for gap in gaps_ms:
        now_ns += gap * MS
        signals, changes = levels_of.beat(RULES, signals, now_ns, now_ns)
        beats += bool(changes)
    passed = (now_ns - start_ns - gaps_ms[0] * MS) / (500 * MS)
    assert abs(beats - 1 - passed) <= 1
    last = now_ns
    for step in range(100):
        now_ns += 100 * MS
        signals, changes = levels_of.beat(RULES, signals, now_ns, last)
        assert not changes or now_ns - last <= STALL_NS, step


def test_a_recipe_change_takes_back_what_was_said_of_the_last_part() -> None:
    """Bits, values and ready go back to their safe levels; the counter stays."""
    signals, _ = levels_of.part(RULES, running(), part_of(Verdict.OK, 0.25))
    assert signals.levels["cover"] == 2500
    signals, changes = levels_of.recipe_changed(RULES, signals)
    assert dict(changes) == {"good": False, "cover": 65_535, "ready": False}
    assert signals.levels["count"] == 1


def test_the_counter_leaves_zero_out() -> None:
    """0 means that there was no part yet, also after 65,535 parts."""
    signals = running()
    for _ in range(65_535):
        signals, _ = levels_of.part({"count": RULES["count"]}, signals, part_of(Verdict.OK))
    assert signals.levels["count"] == 65_535
    assert levels_of.part({"count": RULES["count"]}, signals, part_of(Verdict.OK))[0].levels["count"] == 1


def test_what_is_not_known_is_no_number() -> None:
    """A coverage that nobody measured is the register's largest number, and a large one never reads as unknown."""
    signals, _ = levels_of.part(RULES, running(), part_of(Verdict.NO_READ))
    assert signals.levels["cover"] == 65_535
    rules = {"cover": OutputRule(rule="coverage", at="cover", scale=1_000_000)}
    woken = levels_of.wake(rules, levels_of.begin(rules)[0], READY)[0]
    assert levels_of.part(rules, woken, part_of(Verdict.NG, 1.0))[0].levels["cover"] == 65_534


@given(st.lists(VERDICTS, max_size=3), st.sampled_from([name for name, rule in RULES.items() if not barred(rule)]))
def test_a_signal_that_is_switched_by_hand_makes_nothing_look_ok(verdicts: list[Verdict], name: str) -> None:
    """All other signals are at their safe levels, whatever was decided before and meanwhile, also when it is over."""
    signals = running()
    for verdict in verdicts:
        signals, _ = levels_of.part(RULES, signals, part_of(verdict, 0.01))
    count = signals.levels["count"]
    test = HandTest(name, level_of(RULES[name]), "erik", 0)
    signals, changes = levels_of.by_hand(RULES, signals, test)
    safe = {**levels_of.begin(RULES)[0].levels, "count": count}
    assert signals.levels == {**safe, name: test.level}
    assert not any(signal == "good" and level for signal, level in changes)
    signals, changes = levels_of.part(RULES, signals, part_of(Verdict.OK))
    assert changes == ()
    signals, _ = levels_of.wake(RULES, signals, READY)
    assert signals.levels == {**safe, "count": signals.parts, "ready": True, "stop": False}


def test_what_tells_ok_or_lives_is_never_switched_by_hand() -> None:
    """The bit of the rule ok and the heartbeat are barred, and nothing else is."""
    assert {name for name, rule in RULES.items() if barred(rule)} == {"good", "alive"}
