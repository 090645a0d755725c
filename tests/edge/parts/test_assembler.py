"""Parts are put together from frames and triggers: every frame in one part at most, and no NG is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.parts.assembler import Concluded, PartEvent, Parts, step, stop
from edge.parts.rules import PartRules, ViewRule
from edge.records import FrameResult, Judgement, Measurement, Verdict
from edge.records.parts import (
    Closing,
    FrameLost,
    PartClosed,
    PartOpened,
    PartResult,
    StrayFrame,
    TriggerFault,
    TriggerTrouble,
)

MS = 1_000_000
OK, NG, NO_READ = Verdict.OK, Verdict.NG, Verdict.NO_READ
ONE_VIEW = PartRules({"top": ViewRule()}, timeout_ns=1000 * MS, wait_ns=100 * MS)


def seen(at_ms: float, verdict: Verdict = OK, view: str = "top", coverage: float = 0.0, index: int = 0) -> FrameResult:
    """Return one judged frame."""
    measured = None if verdict is NO_READ else Measurement(coverage, None, 100.0, {}, ())
    reason = None if verdict is OK else f"{verdict.value} at {at_ms:g} ms"
    return FrameResult(
        view, index, "", datetime.now(timezone.utc), round(at_ms * MS), 1.0, Judgement(verdict, reason), measured
    )


def play(rules: PartRules, *events: tuple[float, PartEvent | None], end_ms: float = 10_000) -> list[Concluded]:
    """Step through (now in ms, event) and then to the end, and return all that was concluded."""
    parts, told = Parts(), []
    for now_ms, event in (*events, (end_ms, None)):
        parts, concluded = step(rules, parts, event, round(now_ms * MS))
        told += concluded
    return told


def results(told: Sequence[Concluded]) -> list[PartResult]:
    """Return the part results among what was told."""
    return [each for each in told if isinstance(each, PartResult)]


def test_one_bad_frame_among_good_ones_makes_the_part_ng() -> None:
    """A part that stands in thirty frames is one part, and one NG frame of it is enough."""
    frames = [(k * 10.0, seen(k * 10.0, NG if k == 17 else OK, coverage=0.01 * (k == 17))) for k in range(1, 31)]
    told = play(ONE_VIEW, (0, PartOpened(0)), *frames, (305, PartClosed(305 * MS)), (320, seen(320)))
    (part,) = results(told)
    assert part.judgement == Judgement(NG, "top: NG at 170 ms")
    assert part.decided_ns == 320 * MS
    assert part.views["top"].frames == 30
    assert part.views["top"].worst is not None
    assert part.views["top"].worst.captured_ns == 170 * MS
    assert [type(each) for each in told if not isinstance(each, PartResult)] == [StrayFrame]  # the one at 320 ms


def test_a_part_without_enough_readable_frames_is_no_read() -> None:
    """OK needs as many readable frames as the recipe asks of each view. A defect that was seen is NG all the same."""
    rules = PartRules({"top": ViewRule(frames=2), "side": ViewRule()}, 1000 * MS, 100 * MS)
    few = play(
        rules,
        (0, PartOpened(0)),
        (10, seen(10)),
        (12, seen(12, NO_READ)),
        (14, seen(14, view="side")),
        (20, PartClosed(20 * MS)),
    )
    assert results(few)[0].judgement == Judgement(NO_READ, "top: 1 readable frames of 2; NO_READ at 12 ms")
    assert results(few)[0].missing_views == ("top",)
    blind = play(rules, (0, PartOpened(0)), (10, seen(10)), (12, seen(12)), (20, PartClosed(20 * MS)))
    assert results(blind)[0].judgement == Judgement(NO_READ, "side: 0 readable frames of 1")
    bad = play(rules, (0, PartOpened(0)), (10, seen(10, NG)), (20, PartClosed(20 * MS)))
    assert results(bad)[0].judgement.verdict is NG
    assert results(bad)[0].missing_views == ("top", "side")


def test_a_frame_that_was_dropped_unjudged_is_no_ok() -> None:
    """Nobody knows what a dropped frame of a part would have shown."""
    told = play(
        ONE_VIEW, (0, PartOpened(0)), (10, seen(10)), (15, FrameLost("top", 15 * MS)), (20, PartClosed(20 * MS))
    )
    assert results(told)[0].judgement == Judgement(NO_READ, "top: 1 frame was dropped unjudged")


def test_n_of_m_frames() -> None:
    """One NG frame is not enough and two are, where a recipe asks for two."""
    rules = PartRules({"top": ViewRule(ng_frames=2)}, 1000 * MS, 100 * MS)
    one = play(rules, (0, PartOpened(0)), (10, seen(10, NG)), (12, seen(12)), (20, PartClosed(20 * MS)))
    two = play(rules, (0, PartOpened(0)), (10, seen(10, NG)), (12, seen(12, NG)), (20, PartClosed(20 * MS)))
    assert [part.judgement.verdict for part in results(one) + results(two)] == [OK, NG]


def test_frames_that_are_judged_late_still_count() -> None:
    """A frame captured before the end and judged after it belongs to the part, within the settings' wait."""
    told = play(ONE_VIEW, (0, PartOpened(0)), (20, PartClosed(20 * MS)), (90, seen(10, NG)))
    assert results(told)[0].judgement.verdict is NG
    late = play(ONE_VIEW, (0, PartOpened(0)), (20, PartClosed(20 * MS)), (125, None), (130, seen(10, NG)))
    assert results(late)[0].judgement.verdict is NO_READ
    assert [each.result.judgement.verdict for each in late if isinstance(each, StrayFrame)] == [NG]


def test_two_parts_open_at_once_and_a_view_that_sees_them_later() -> None:
    """A view 50 ms down the belt shows the first part while the trigger has opened the second."""
    rules = PartRules({"top": ViewRule(), "side": ViewRule(offset_ns=50 * MS)}, 1000 * MS, 100 * MS)
    told = play(
        rules,
        (0, PartOpened(0, "a")),
        (10, seen(10)),
        (30, PartClosed(30 * MS)),
        (40, PartOpened(40 * MS, "b")),
        (50, seen(50)),
        (60, seen(60, NG, "side")),  # of a: its window for this view is 50 to 80 ms
        (70, PartClosed(70 * MS)),
        (100, seen(100, view="side")),  # of b: 90 to 120 ms
    )
    assert [(part.part_id, part.judgement.verdict) for part in results(told)] == [("a", NG), ("b", OK)]


def test_a_triggered_camera_concludes_at_once() -> None:
    """Nothing is waited for once all views have come, where each shows a part in exactly one frame."""
    parts, _ = step(ONE_VIEW, Parts(), PartOpened(0, exactly=1), 0)
    parts, _ = step(ONE_VIEW, parts, PartClosed(0), 0)
    parts, told = step(ONE_VIEW, parts, seen(0, NG), 30 * MS)
    assert [part.judgement.verdict for part in results(told)] == [NG]
    assert parts.open == ()


def test_what_a_trigger_cannot_mean_is_told() -> None:
    """Closing nothing, an old id, a part that never ends and too many at once are told by name."""
    nothing = play(ONE_VIEW, (5, PartClosed(5 * MS)), (6, PartClosed(6 * MS, "x")))
    assert [each.fault for each in nothing if isinstance(each, TriggerTrouble)] == [TriggerFault.CLOSES_NOTHING] * 2
    twice = play(
        ONE_VIEW, (0, PartOpened(0, "a")), (1, PartClosed(MS)), (2, PartOpened(2 * MS, "a")), (3, PartClosed(3 * MS))
    )
    assert [each.fault for each in twice if isinstance(each, TriggerTrouble)] == [TriggerFault.REPEATS_ID]
    assert [(part.part_id, part.number, part.repeated) for part in results(twice)] == [("a", 1, False), ("a", 2, True)]
    never = play(ONE_VIEW, (0, PartOpened(0)), (10, seen(10)), end_ms=1101)
    assert [each.fault for each in never if isinstance(each, TriggerTrouble)] == [TriggerFault.NEVER_CLOSES]
    assert [part.closing for part in results(never)] == [Closing.TIMEOUT]
    many = play(ONE_VIEW, *((float(k), PartOpened(k * MS)) for k in range(66)))
    faults = Counter(each.fault for each in many if isinstance(each, TriggerTrouble))
    assert faults == {TriggerFault.TOO_MANY_OPEN: 2, TriggerFault.NEVER_CLOSES: 64}
    assert Counter(part.closing for part in results(many)) == {Closing.CROWDED: 2, Closing.TIMEOUT: 64}


VIEWS = ("top", "side")
RULES = PartRules(
    {"top": ViewRule(), "side": ViewRule(frames=2, offset_ns=7 * MS)}, timeout_ns=60 * MS, wait_ns=30 * MS, most_open=4
)
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 12),  # ms since the event before
        st.one_of(
            st.just("open"),
            st.just("close"),
            st.tuples(st.sampled_from(VIEWS), st.sampled_from([OK, NG, NO_READ]), st.integers(0, 40)),
            st.tuples(st.just("lost"), st.sampled_from(VIEWS), st.integers(0, 40)),
            st.none(),
        ),
    ),
    max_size=60,
)


def _event(kind: object, now_ms: int, index: int) -> PartEvent | None:
    if kind == "open":
        return PartOpened(now_ms * MS)
    if kind == "close":
        return PartClosed(now_ms * MS)
    if isinstance(kind, tuple) and kind[0] == "lost":
        return FrameLost(kind[1], (now_ms - kind[2]) * MS)
    if isinstance(kind, tuple):
        return seen(now_ms - kind[2], kind[1], kind[0], index=index)
    return None


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_whatever_comes_in_whatever_order(events: list[tuple[int, object]]) -> None:
    """Every frame is in one part at most, and each part ends once.

    Every NG is in an NG part or told as a stray.
    """
    parts, told, now_ms = Parts(), [], 0
    frames: list[FrameResult] = []
    opened = 0
    for index, (later, kind) in enumerate(events):
        now_ms += later
        event = _event(kind, now_ms, index)
        frames += [event] if isinstance(event, FrameResult) else []
        opened += isinstance(event, PartOpened)
        parts, concluded = step(RULES, parts, event, now_ms * MS)
        told += concluded
        assert len(parts.open) <= RULES.most_open
    parts, ended = stop(parts, now_ms * MS)
    told += ended
    done = results(told)
    assert sorted(part.number for part in done) == list(range(1, opened + 1))
    strays = [each.result for each in told if isinstance(each, StrayFrame)]
    counted = sum(view.frames for part in done for view in part.views.values())
    assert counted + len(strays) == len(frames)
    ng_in_parts = sum(view.ng for part in done for view in part.views.values())
    assert ng_in_parts + sum(frame.judgement.verdict is NG for frame in strays) == sum(
        frame.judgement.verdict is NG for frame in frames
    )
    for part in done:
        if any(view.ng for view in part.views.values()):
            assert part.judgement.verdict is NG
        elif any(view.lost for view in part.views.values()) or part.missing_views:
            assert part.judgement.verdict is NO_READ
        else:
            assert part.judgement.verdict is OK
            assert all(part.views[name].readable >= RULES.views[name].frames for name in VIEWS)


def test_a_thousand_parts_each_shown_once_lose_no_bad_one() -> None:
    """One bad part among a thousand, shown in one frame, is one NG part; the others are OK."""
    parts, told = Parts(), []
    for k in range(1000):
        at = k * 20.0
        for now, event in (
            (at, PartOpened(round(at * MS))),
            (at + 9, seen(at + 5, NG if k == 613 else OK)),
            (at + 10, PartClosed(round((at + 10) * MS))),
        ):
            parts, concluded = step(ONE_VIEW, parts, event, round(now * MS))
            told += concluded
    parts, ended = stop(parts, 10**12)
    told += ended
    assert Counter(part.judgement.verdict for part in results(told)) == {OK: 999, NG: 1}
    assert [part.number for part in results(told) if part.judgement.verdict is NG] == [614]
