"""Readings become parts, wishes and faults of the trigger."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edge.outputs.input_settings import InputRule
from edge.outputs.inputs import InputEvent, Inputs, Released, StationNow, Triggered, Wish, lost, step
from edge.parts.assembler import Concluded, Parts, stop
from edge.parts.assembler import step as put_together
from edge.parts.rules import PartRules, ViewRule
from edge.records.outputs import Reading
from edge.records.parts import PartClosed, PartOpened, PartResult, TriggerFault, TriggerTrouble

MS = 1_000_000


def rules(**part: Any) -> dict[str, InputRule]:
    """Return a trigger, and all that may stand beside it."""
    return {
        "part": InputRule(rule="part", at="p", **part),
        "id": InputRule(rule="part_id", at="i", words=2),
        "product": InputRule(rule="product", at="r", names=("glass", "phone")),
        "recipe": InputRule(rule="recipe", at="w", names=("glass", "phone")),
        "ack": InputRule(rule="acknowledge", at="a"),
        "zero": InputRule(rule="reset_counters", at="z"),
    }


REST = {"part": 0, "id": 0, "product": 0, "recipe": 0, "ack": 0, "zero": 0}
READY = StationNow(ready=True)


def told(
    given_rules: dict[str, InputRule],
    readings: Sequence[tuple[int, dict[str, int]]],
    station: StationNow = READY,
    state: Inputs = Inputs(),  # noqa: B008 - it is frozen
) -> list[InputEvent]:
    """Return what readings, each with its millisecond, come to; unnamed inputs are 0."""
    events: list[InputEvent] = []
    for at_ms, values in readings:
        full = {name: values.get(name, REST.get(name, 0)) for name in given_rules}
        state, more = step(given_rules, state, Reading(at_ms * MS, full), station)
        events += more
    return events


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_each_rise_opens_a_part_and_each_fall_closes_it(bits: list[bool]) -> None:
    """Each rise and fall counts, however the bit moves after the first reading. A bit up at the start is no part."""
    events = told(rules(), [(10 * k, {"part": int(up)}) for k, up in enumerate(bits)])
    changes = [(k, now) for k, (before, now) in enumerate(pairwise(bits), 1) if before != now]
    wanted: list[InputEvent] = [
        PartOpened(10 * k * MS, alone=True) if up else PartClosed(10 * k * MS) for k, up in changes
    ]
    if wanted and isinstance(wanted[0], PartClosed):
        del wanted[0]
    assert events == wanted


@given(st.lists(st.integers(0, 1), min_size=5, max_size=80), st.integers(1, 40))
def test_a_bounce_shorter_than_the_debounce_is_nothing(bits: list[int], debounce_ms: int) -> None:
    """Compared with bits that were smoothed beforehand: a part opens as often as the bit stays up long enough."""
    events = told(rules(debounce_ms=debounce_ms), [(k, {"part": up}) for k, up in enumerate([0, *bits])])
    level, opened, run, last = 0, 0, 0, 0
    for k, up in enumerate([0, *bits]):
        run = run if up == last else k
        last = up
        if up != level and k - run >= debounce_ms:
            level = up
            opened += up
    assert sum(isinstance(event, PartOpened) for event in events) == opened


def test_a_part_has_the_id_and_product_that_stand_beside_it() -> None:
    """0 names neither; a number without a name is a recipe that nobody has, and never another one."""
    events = told(rules(), [(0, {}), (10, {"part": 1, "id": 70_001, "product": 2}), (20, {}), (30, {"part": 1})])
    named = PartOpened(10 * MS, "70001", "phone", alone=True)
    assert events == [named, PartClosed(20 * MS), PartOpened(30 * MS, alone=True)]
    (opened,) = told(rules(), [(0, {}), (10, {"part": 1, "product": 9})])
    assert isinstance(opened, PartOpened)
    assert opened.recipe == "number 9"


def test_an_edge_opens_a_part_of_fixed_length() -> None:
    """The fall says nothing."""
    events = told(rules(mode="edge", part_ms=50), [(0, {}), (10, {"part": 1}), (15, {})])
    assert events == [PartOpened(10 * MS), PartClosed(60 * MS)]


def test_a_trigger_that_is_too_fast_is_refused_and_told() -> None:
    """The second of two that are too near opens no part, and neither does its end close one."""
    events = told(rules(min_gap_ms=100), [(0, {}), (10, {"part": 1}), (20, {}), (30, {"part": 1}), (40, {})])
    assert [type(event) for event in events] == [PartOpened, PartClosed, TriggerTrouble]
    assert isinstance(events[2], TriggerTrouble)
    assert events[2].fault is TriggerFault.TOO_FAST


def test_a_thousand_triggers_a_second_are_counted_and_told_once_a_second() -> None:
    """A flood of faults is told with its count, not one by one."""
    events = told(rules(min_gap_ms=100), [(k, {"part": k % 2}) for k in range(3001)])
    troubles = [event for event in events if isinstance(event, TriggerTrouble)]
    assert len(troubles) <= 4
    assert "more since the last was told" in troubles[1].detail
    assert sum(isinstance(event, PartOpened) for event in events) == 30


def test_the_machine_s_own_count_tells_of_lost_and_doubled_triggers() -> None:
    """A count that jumps says how many were not seen; one that stands says that the trigger came twice."""
    counting = {**rules(), "count": InputRule(rule="part_count", at="c")}

    def at(k: int, up: int, count: int) -> tuple[int, dict[str, int]]:
        return 2000 * k, {"part": up, "count": count}

    events = told(
        counting, [at(0, 0, 65_534), at(1, 1, 65_535), at(2, 0, 65_535), at(3, 1, 3), at(4, 0, 3), at(5, 1, 3)]
    )
    faults = [(event.fault, event.detail) for event in events if isinstance(event, TriggerTrouble)]
    assert [fault for fault, _ in faults] == [TriggerFault.LOST, TriggerFault.DOUBLED]
    assert "3 parts not seen" in faults[0][1]


def test_a_handshake_goes_through_its_steps() -> None:
    """Trigger, busy, done, released: the part closes by its length, and done ends when the trigger does."""
    shaking = rules(mode="handshake", part_ms=50)
    state, events = step(shaking, Inputs(), Reading(0, REST), READY)
    state, events = step(shaking, state, Reading(10 * MS, REST | {"part": 1}), READY)
    assert events == (Triggered(), PartOpened(10 * MS), PartClosed(60 * MS))
    state, events = step(shaking, state, Reading(100 * MS, REST | {"part": 1}), StationNow(ready=True, decided=1))
    assert events == ()
    state, events = step(shaking, state, Reading(120 * MS, REST), StationNow(ready=True, decided=1))
    assert events == (Released(),)
    state, events = step(shaking, state, Reading(130 * MS, REST | {"part": 1}), StationNow(ready=True, decided=1))
    assert events[0] == Triggered()


def test_a_handshake_that_is_broken_is_told() -> None:
    """A trigger without ready, one before done, and one that is never taken back: each a fault, and no part."""
    shaking = rules(mode="handshake", part_ms=50, release_ms=100)
    unready = told(shaking, [(0, {}), (10, {"part": 1})], StationNow(ready=False))
    early = told(shaking, [(0, {}), (10, {"part": 1}), (20, {}), (30, {"part": 1})])
    assert [event.fault for event in unready if isinstance(event, TriggerTrouble)] == [TriggerFault.NOT_READY]
    assert not any(isinstance(event, PartOpened) for event in unready)
    assert [event.fault for event in early if isinstance(event, TriggerTrouble)] == [TriggerFault.NOT_READY]
    assert sum(isinstance(event, PartOpened) for event in early) == 1
    state, _ = step(shaking, Inputs(), Reading(0, REST), READY)
    state, _ = step(shaking, state, Reading(10 * MS, REST | {"part": 1}), READY)
    done = StationNow(ready=True, decided=1)
    held = told(shaking, [(k, {"part": 1}) for k in (20, 100, 130, 200)], done, state)
    assert [event.fault for event in held if isinstance(event, TriggerTrouble)] == [TriggerFault.NOT_RELEASED]


def test_wishes_come_once_for_each_rise_or_change() -> None:
    """A wish that stays is no new one; 0 is none."""
    readings = [(0, {"recipe": 1}), (10, {"recipe": 1, "ack": 1}), (20, {"recipe": 2, "ack": 1}), (30, {"recipe": 0})]
    events = told(rules(), [*readings, (40, {"zero": 1}), (50, {"zero": 1, "recipe": 7})])
    assert events == [
        Wish("acknowledge"),
        Wish("recipe", "phone"),
        Wish("reset_counters"),
        Wish("recipe", "number 7"),
    ]


def test_a_running_line_without_parts_is_told_and_a_standing_one_not() -> None:
    """Standing still is no fault."""
    running = {**rules(), "runs": InputRule(rule="running", at="x", parts_within_ms=500)}
    standing = told(running, [(k * 100, {"runs": 0}) for k in range(30)])
    assert standing == []
    going = told(running, [(k * 100, {"runs": int(k > 0)}) for k in range(9)])
    assert [event.fault for event in going if isinstance(event, TriggerTrouble)] == [TriggerFault.LOST]


def test_after_a_loss_everything_begins_anew() -> None:
    """A signal that is up when the link comes back opens no part."""
    state, _ = step(rules(), Inputs(), Reading(0, REST), READY)
    state = lost(state)
    state, events = step(rules(), state, Reading(10 * MS, REST | {"part": 1}), READY)
    assert events == ()
    _, events = step(rules(), state, Reading(20 * MS, REST), READY)
    assert events == ()


def test_a_fall_that_a_loss_hid_ends_its_own_part_and_no_other() -> None:
    """The link is away while a part leaves: it ends with the next one's beginning, and each later one with its fall."""
    state, events = Inputs(), list[InputEvent]()
    for at_ms, level in ((0, 0), (10, 1), (None, 0), (30, 0), (40, 1), (50, 0), (60, 1), (70, 0)):
        if at_ms is None:
            state = lost(state)
            continue
        state, more = step(rules(), state, Reading(at_ms * MS, REST | {"part": level}), READY)
        events += more
    parts, told = Parts(), list[Concluded]()
    for event in [each for each in events if isinstance(each, PartOpened | PartClosed)]:
        parts, concluded = put_together(PartRules({"top": ViewRule()}, 10_000 * MS, 0), parts, event, event.at_ns)
        told += concluded
    _, ended = stop(parts, 100 * MS)
    windows = [
        (one.opened_ns // MS, one.closed_ns // MS, one.closing.value)
        for one in (*told, *ended)
        if isinstance(one, PartResult)
    ]
    assert windows == [(10, 40, "timeout"), (40, 50, "trigger"), (60, 70, "trigger")]
    assert [one.fault for one in told if isinstance(one, TriggerTrouble)] == [TriggerFault.NEVER_CLOSES]
