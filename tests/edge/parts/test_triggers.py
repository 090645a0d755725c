"""Every kind of trigger opens and closes parts in order, and never misses a bad one in a thousand."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.parts.assembler import Parts, step, stop
from edge.parts.rules import PartRules, ViewRule
from edge.parts.triggers import CameraTrigger, PresenceTrigger, ToldTrigger, TriggerFrame
from edge.records import Verdict
from edge.records.parts import FrameLost, PartClosed, PartOpened, PartResult, TriggerEvent
from edge.station.part_stream import PartStream
from edge.station.view import Seen
from tests.edge.parts.test_assembler import ONE_VIEW, seen

MS = 1_000_000
OK, NG, NO_READ = Verdict.OK, Verdict.NG, Verdict.NO_READ
Trigger = CameraTrigger | PresenceTrigger | ToldTrigger


def run(
    trigger: Trigger, views: list[str], glances: list[tuple[float, str, bool | None, Verdict | None]]
) -> list[PartResult]:
    """Let frames come, each (ms, view, shows a part, verdict or None = not judged), and return the parts."""
    rules = PartRules({view: ViewRule() for view in views}, timeout_ns=5000 * MS, wait_ns=200 * MS)
    parts, told = Parts(), []
    for at_ms, view, present, verdict in glances:
        now_ns = round(at_ms * MS)
        events: list[TriggerEvent] = [*trigger.events(now_ns), *trigger.frame(TriggerFrame(view, now_ns, present))]
        for event in events:
            parts, concluded = step(rules, parts, event, now_ns)
            told += concluded
        if verdict is not None:
            parts, concluded = step(rules, parts, seen(at_ms, verdict, view), now_ns)
            told += concluded
    end_ns = 10**15
    for event in trigger.events(end_ns):
        parts, concluded = step(rules, parts, event, end_ns)
        told += concluded
    _, ended = stop(parts, end_ns)
    return [each for each in [*told, *ended] if isinstance(each, PartResult)]


def test_each_frame_of_a_triggered_camera_is_a_part() -> None:
    """Sixty pictures, one bad: sixty parts, one NG, each concluded with its own frame."""
    frames = [(k * 1000.0, "top", None, NG if k == 40 else OK) for k in range(60)]
    parts = run(CameraTrigger(["top"]), ["top"], frames)
    assert Counter(part.judgement.verdict for part in parts) == {OK: 59, NG: 1}
    assert [part.number for part in parts if part.judgement.verdict is NG] == [41]


def test_three_frames_a_part() -> None:
    """Of a camera that takes three pictures a part every third frame ends one."""
    parts = run(CameraTrigger(["top"], frames=3), ["top"], [(k * 10.0, "top", None, OK) for k in range(9)])
    assert [part.views["top"].frames for part in parts] == [3, 3, 3]


def test_a_frame_that_never_came_takes_none_of_the_next_part() -> None:
    """Of the second part of three only one frame of two comes: it is NO_READ, and the third has both of its own."""
    frames = [(0.0, OK), (10.0, OK), (6000.0, OK), (12_000.0, OK), (12_010.0, NG)]
    trigger, rules = CameraTrigger(["top"], frames=2), PartRules({"top": ViewRule()}, 5000 * MS, 200 * MS)
    stream, told = PartStream(trigger, rules, "r", "cell"), []
    for at_ms, verdict in frames:
        told += stream.frame(Seen(seen(at_ms, verdict), round(at_ms * MS)), round(at_ms * MS))
    parts = [each for each in [*told, *stream.stop(13_000 * MS)] if isinstance(each, PartResult)]
    assert [(part.judgement.verdict, part.views["top"].frames) for part in parts] == [(OK, 2), (NO_READ, 1), (NG, 2)]
    assert parts[1].judgement.reason == "top: 1 frame came of 2 that its trigger gives"


def test_a_frame_that_waited_longer_than_a_part_may_is_still_its_part_s() -> None:
    """The station lags by 20 s, more than a part may stay open. The frame is NG, and so is its part; no fault."""
    stream = PartStream(CameraTrigger(["top"]), ONE_VIEW, "r", "cell")
    told = [*stream.tick(19_999 * MS), *stream.frame(Seen(seen(0, NG), 0), 20_000 * MS)]
    (part,) = told
    assert isinstance(part, PartResult)
    assert part.judgement.verdict is NG


def test_a_frame_that_was_dropped_is_a_part_that_nobody_judged() -> None:
    """Of three triggered frames the second is dropped: its part is NO_READ, and the third is a part of its own."""
    stream = PartStream(CameraTrigger(["top"]), ONE_VIEW, "r", "cell")
    told = stream.frame(Seen(seen(0), 0), 0)
    told += stream.lost(FrameLost("top", 100 * MS, opens_parts=True), 200 * MS)
    told += stream.frame(Seen(seen(200, NG), 200 * MS), 200 * MS)
    parts = [each for each in told if isinstance(each, PartResult)]
    assert [part.judgement.verdict for part in parts] == [OK, NO_READ, NG]
    assert parts[1].judgement.reason == "top: 1 frame was dropped unjudged"


def test_two_cameras_triggered_together_of_which_one_misses_a_part() -> None:
    """Frames within 50 ms are one part. A part that the side camera missed is NO_READ, and the next one is whole."""
    frames = []
    for k in range(4):
        frames.append((k * 1000.0, "top", None, OK))
        frames += [] if k == 1 else [(k * 1000.0 + 3, "side", None, OK)]
    parts = run(CameraTrigger(["top", "side"]), ["top", "side"], frames)
    assert [part.judgement.verdict for part in parts] == [OK, NO_READ, OK, OK]
    assert parts[1].missing_views == ("side",)


@pytest.mark.parametrize("late_ms", [(5, 5), (120, 125), (10, 120), (700, 20)])
def test_views_that_are_judged_late_are_of_one_part_all_the_same(late_ms: tuple[int, int]) -> None:
    """Two cameras triggered at once whose inspection takes longer than together_ms: six parts, one NG, none twice."""
    rules = PartRules({"top": ViewRule(), "side": ViewRule()}, timeout_ns=5000 * MS, wait_ns=1000 * MS)
    stream, told = PartStream(CameraTrigger(["top", "side"]), rules, "r", "cell"), []
    frames = [(k * 300, "top", k * 300 + late_ms[0]) for k in range(6)]
    frames += [(k * 300 + 3, "side", k * 300 + 3 + late_ms[1]) for k in range(6)]
    for now_ms in range(0, 4000, 5):
        told += stream.tick(now_ms * MS)
        for at_ms, view, _ in [each for each in frames if now_ms - 5 < each[2] <= now_ms]:
            told += stream.frame(Seen(seen(at_ms, NG if at_ms == 603 else OK, view), now_ms * MS), now_ms * MS)
    parts = [each for each in told if isinstance(each, PartResult)]
    assert len(told) == len(parts)  # neither a stray nor a fault
    assert Counter(part.judgement.verdict for part in parts) == {OK: 5, NG: 1}


def test_told_parts_come_in_their_order_and_not_before_their_time() -> None:
    """A part told for later waits; more than can wait is refused and counted."""
    trigger = ToldTrigger()
    trigger.tell(PartOpened(10, "a"))
    trigger.tell(PartClosed(20, "a"))
    assert trigger.events(15) == [PartOpened(10, "a")]
    assert trigger.events(25) == [PartClosed(20, "a")]
    for k in range(10_001):
        trigger.tell(PartOpened(k))
    assert trigger.refused == 1


@pytest.mark.parametrize("kind", ["camera", "presence", "told"])
@pytest.mark.parametrize("seed", range(3))
def test_one_bad_part_among_a_thousand(kind: str, seed: int) -> None:
    """A single bad part, shown in one frame, is one NG part of a thousand, whatever opens the parts."""
    bad = (seed * 137 + 41) % 1000
    frames: list[tuple[float, str, bool | None, Verdict | None]] = []
    told = ToldTrigger()
    for k in range(1000):
        at = k * 100.0
        told.tell(PartOpened(round((at + 20) * MS)))
        told.tell(PartClosed(round((at + 60) * MS)))
        if kind == "camera":
            frames.append((at + 30, "top", None, NG if k == bad else OK))
        else:
            frames += [(at + 10 * j, "top", 3 <= j <= 5, NG if (k == bad and j == 4) else OK) for j in range(8)]
    triggers: dict[str, Trigger] = {
        "camera": CameraTrigger(["top"]),
        "presence": PresenceTrigger("top"),
        "told": told,
    }
    parts = run(triggers[kind], ["top"], frames)
    assert Counter(part.judgement.verdict for part in parts) == {OK: 999, NG: 1}
    assert [part.number for part in parts if part.judgement.verdict is NG] == [bad + 1]


@given(st.lists(st.tuples(st.sampled_from(["top", "side"]), st.integers(0, 80)), max_size=60), st.integers(1, 3))
def test_cameras_open_and_close_the_same_number(frames: list[tuple[str, int]], count: int) -> None:
    """Every part that was opened is closed once, after it was opened, however the frames of two cameras come."""
    trigger, now_ns, told = CameraTrigger(["top", "side"], count), 0, []
    for view, later_ms in frames:
        now_ns += later_ms * MS
        told += [*trigger.events(now_ns), *trigger.frame(TriggerFrame(view, now_ns))]
    told += trigger.events(10**15)
    opened = closed = 0
    for event in told:
        opened += isinstance(event, PartOpened)
        closed += isinstance(event, PartClosed)
        assert closed <= opened
    assert opened == closed
