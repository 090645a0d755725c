"""Frames wait until the trigger has told of their moment, so that it does not matter which view judges first."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge.parts.assembler import Concluded
from edge.parts.presence import PresenceRules
from edge.parts.rules import PartRules, ViewRule
from edge.parts.triggers import CameraTrigger, PresenceTrigger, ToldTrigger
from edge.records import Verdict
from edge.records.parts import FrameLost, PartClosed, PartOpened, PartResult, StrayFrame, TriggerFault, TriggerTrouble
from edge.station.part_stream import PartStream
from edge.station.view import Seen
from tests.edge.parts.test_assembler import seen

MS = 1_000_000
OK, NG = Verdict.OK, Verdict.NG


def stream(wait_ms: int = 10_000, offset_ms: int = 0, timeout_ms: int = 60_000, **rules: int) -> PartStream:
    """Return a station's parts, told by what `top` shows, with a view `side` that sees them later."""
    views = {"top": ViewRule(), "side": ViewRule(offset_ns=offset_ms * MS)}
    parts = PartRules(views, timeout_ns=timeout_ms * MS, wait_ns=wait_ms * MS)
    return PartStream(PresenceTrigger("top", PresenceRules(**rules)), parts, "r", "cell")


def frame(at_ms: int, view: str, verdict: Verdict = OK, *, present: bool | None = None) -> Seen:
    """Return a judged frame."""
    result = replace(seen(at_ms, verdict, view), recipe=None)
    return Seen(result, at_ms * MS, present=present)


def played(parts: PartStream, frames: list[Seen | FrameLost], now_ms: int = 1000) -> list[Concluded]:
    """Take frames in this order, all within one wait, and end."""
    told: list[Concluded] = []
    for each in frames:
        told += parts.lost(each, now_ms * MS) if isinstance(each, FrameLost) else parts.frame(each, now_ms * MS)
    return told + parts.stop(now_ms * MS)


def summary(told: list[Concluded]) -> list[object]:
    """Return what came of parts and frames, without the order of their conclusion."""
    parts = [
        (each.opened_ns, each.closed_ns, each.judgement, {v: (s.frames, s.ng, s.lost) for v, s in each.views.items()})
        for each in told
        if isinstance(each, PartResult)
    ]
    strays = sorted((each.result.view, each.result.captured_ns) for each in told if isinstance(each, StrayFrame))
    return [sorted(parts, key=lambda each: each[0]), strays]


def test_a_view_that_judges_sooner_loses_no_frame() -> None:
    """The side view's NG frame is there before the part is seen from above; it waits, and belongs to it."""
    told = played(
        stream(),
        [
            frame(0, "top", present=False),
            frame(85, "side", NG),
            FrameLost("side", 90 * MS),
            frame(80, "top", present=True),
            frame(120, "top", present=True),
            *(frame(at, "top", present=False) for at in (160, 200, 240)),
            frame(300, "side"),
        ],
    )
    (part,) = [each for each in told if isinstance(each, PartResult)]
    assert (part.judgement.verdict, part.views["side"].frames, part.views["side"].lost) == (NG, 1, 1)


def test_a_view_that_sees_a_part_before_its_trigger_waits_for_it() -> None:
    """A view half a second before the light barrier has judged the part's NG frame before the part is opened."""
    trigger = ToldTrigger()
    rules = PartRules({"top": ViewRule(offset_ns=-500 * MS)}, timeout_ns=60_000 * MS, wait_ns=100 * MS)
    parts = PartStream(trigger, rules, "r", "cell")
    told = parts.frame(frame(1010, "top", NG), 1020 * MS)
    trigger.tell(PartOpened(1500 * MS))
    trigger.tell(PartClosed(1530 * MS))
    for now_ms in range(1100, 1800, 10):
        told += parts.tick(now_ms * MS)
    (part,) = told
    assert isinstance(part, PartResult)
    assert part.judgement.verdict is NG


def test_a_view_that_shows_a_part_for_ever_is_told_of_all_the_while() -> None:
    """The belt was learned from wrong frames: after the time of one part each frame says so, and no end is missed."""
    parts = stream(wait_ms=0, timeout_ms=200)
    told = [(at, one) for at in range(0, 400, 40) for one in parts.frame(frame(at, "top", present=True), at * MS)]
    faults = [(at, one.fault, one.still) for at, one in told if isinstance(one, TriggerTrouble)]
    never = TriggerFault.NEVER_CLOSES
    assert faults == [(240, never, False), *((at, never, True) for at in (240, 280, 320, 360))]
    for at in (400, 440, 480, 520):
        assert not any(isinstance(one, TriggerTrouble) for one in parts.frame(frame(at, "top", present=False), at * MS))


def test_a_frame_waits_no_longer_than_it_may() -> None:
    """The camera that tells of parts is silent: after wait_ms the other's frame is told, with its defect."""
    parts = stream(wait_ms=100)
    assert parts.frame(frame(10, "side", NG), 11 * MS) == []
    assert parts.tick(100 * MS) == []
    (stray,) = parts.tick(111 * MS)
    assert isinstance(stray, StrayFrame)


def test_a_view_that_sees_parts_later_is_matched_by_its_offset() -> None:
    """Side sees a part 500 ms after top: its frame at 580 is of the part at 80, at once."""
    parts = stream(offset_ms=500)
    told = [parts.frame(frame(80, "top", present=True), 80 * MS)]
    told += [parts.frame(frame(at, "top", present=False), at * MS) for at in (120, 160, 200)]
    told += [parts.frame(frame(at, "side", NG), at * MS) for at in (580, 700)]
    (part,) = [each for each in told[-1] if isinstance(each, PartResult)]
    assert (part.opened_ns, part.closed_ns, part.views["side"].frames) == (80 * MS, 120 * MS - 1, 1)
    assert part.judgement.verdict is NG


shown = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=25)


@given(shown, shown, st.integers(1, 3), st.integers(1, 3), st.randoms(use_true_random=False))
def test_the_order_in_which_views_judge_changes_nothing(
    above: list[tuple[bool, bool]], beside: list[tuple[bool, bool]], on: int, off: int, dice: object
) -> None:
    """The parts are those of the order of capture, however the frames of two views mix. Each view keeps its order."""
    top = [frame(10 * at, "top", NG if bad else OK, present=there) for at, (there, bad) in enumerate(above)]
    side: list[Seen | FrameLost] = [
        FrameLost("side", (10 * at + 5) * MS) if lost else frame(10 * at + 5, "side", NG if bad else OK)
        for at, (lost, bad) in enumerate(beside)
    ]

    def at_ns(each: Seen | FrameLost) -> int:
        return each.at_ns

    in_order = sorted([*top, *side], key=at_ns)
    mixed: list[Seen | FrameLost] = []
    queues: list[list[Seen | FrameLost]] = [list(top), list(side)]
    while any(queues):
        queue = dice.choice([each for each in queues if each])  # type: ignore[attr-defined] # a Random
        mixed.append(queue.pop(0))
    rules = {"on_frames": on, "off_frames": off}
    assert summary(played(stream(**rules), mixed)) == summary(played(stream(**rules), in_order))


def test_parts_of_which_every_camera_dropped_its_frame_are_told() -> None:
    """A part that some camera saw is NO_READ for the other. One that none kept has no result, and is a fault."""
    rules = PartRules({"top": ViewRule(), "side": ViewRule()}, timeout_ns=60_000 * MS, wait_ns=10_000 * MS)
    parts = PartStream(CameraTrigger(["top", "side"], together_ns=50 * MS), rules, "r", "cell")
    told = played(
        parts,
        [
            *(frame(0, view) for view in ("top", "side")),
            *(FrameLost("top", at * MS, many=many, since_ns=MS) for at, many in ((1, 0), (799, 7))),
            frame(800, "top"),
            *(FrameLost("side", at * MS, many=many, since_ns=MS) for at, many in ((1, 0), (699, 6))),
            *(frame(at, "side") for at in (700, 800)),
        ],
    )
    assert [(each.fault, each.detail) for each in told if isinstance(each, TriggerTrouble)] == [
        (TriggerFault.LOST, "no camera kept up: frames of up to 6 parts were dropped unjudged by each of them")
    ]
    ended = sorted((each for each in told if isinstance(each, PartResult)), key=lambda each: each.opened_ns)
    assert [each.judgement.verdict for each in ended] == [OK, Verdict.NO_READ, OK]


pairs = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-29, 29)), min_size=1, max_size=12)


@given(pairs, st.integers(0, 1000), st.randoms(use_true_random=False))
def test_triggered_cameras_are_paired_by_capture_whatever_is_judged_first(
    shots: list[tuple[bool, bool, int]], late_ms: int, dice: object
) -> None:
    """Parts every 60 ms, seen by two cameras up to 29 ms apart: each has its own two frames, and no NG is lost."""
    top = [frame(100 + 60 * at, "top", NG if bad else OK) for at, (bad, _, _) in enumerate(shots)]
    side = [frame(100 + 60 * at + apart, "side", NG if bad else OK) for at, (_, bad, apart) in enumerate(shots)]
    mixed: list[Seen | FrameLost] = []
    queues = [list(top), list(side)]
    while any(queues):
        queue = dice.choice([each for each in queues if each])  # type: ignore[attr-defined] # a Random
        mixed.append(queue.pop(0))
    rules = PartRules({"top": ViewRule(), "side": ViewRule()}, timeout_ns=60_000 * MS, wait_ns=10_000 * MS)
    parts = PartStream(CameraTrigger(["top", "side"], together_ns=50 * MS), rules, "r", "cell")
    told = played(parts, mixed, now_ms=100 + 60 * len(shots) + late_ms)
    ended = [each for each in told if isinstance(each, PartResult)]
    assert not [each for each in told if isinstance(each, StrayFrame)]
    assert Counter(each.judgement.verdict for each in ended) == Counter(NG if a or b else OK for a, b, _ in shots)
    assert len(ended) == len(shots)
    seen_at = {tuple(sorted(ns for view in each.views.values() for ns in view.judged_ns)) for each in ended}
    assert seen_at == {tuple(sorted((a.at_ns, b.at_ns))) for a, b in zip(top, side, strict=True)}
