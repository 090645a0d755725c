"""Bypass: while inspection is out nothing is OK; it ends by itself, and goes on over a restart."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.alarms import Moment
from edge.parts.bypass import Bypasses, Off, On, active, mark_frame, mark_part, recall, remember, step, told
from edge.records import CameraFault, ClassMeasure, FrameResult, Grade, Judgement, Measurement, Verdict
from edge.records.parts import Closing, PartResult

S = 1_000_000_000
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
SEEN = Measurement(0.0, None, 9.0, {"scratch": ClassMeasure(0.0, 0)}, ())
OUT = On(600, "carl", "cleaning the lens")
WORDS = "bypassed by carl: cleaning the lens"


def frame(verdict: Verdict = Verdict.OK, captured_ns: int = 0) -> FrameResult:
    """Return a judged frame."""
    return FrameResult(
        "top", 1, "", NOON, captured_ns, 1.0, Judgement(verdict, None), SEEN, {"edge": SEEN}, Grade("A", 1.0)
    )


def part(verdict: Verdict = Verdict.OK, opened_ns: int = 0, closed_ns: int = 0) -> PartResult:
    """Return a concluded part."""
    judgement = Judgement(verdict, None if verdict is Verdict.OK else "scratch")
    return PartResult(1, "P-1", False, None, opened_ns, closed_ns, Closing.TRIGGER, judgement, {}, (), Grade("A", 1.0))


def moment(now_s: float, boot: str = "boot", wall: datetime | None = None) -> Moment:
    """Return a moment: noon is 0 on the station's clock."""
    return Moment(round(now_s * S), wall or NOON + timedelta(seconds=now_s), boot)


def test_while_it_lasts_every_result_is_no_read_with_the_reason() -> None:
    """A good frame and a good part are NO_READ with user and reason, and no measurement is told."""
    out = step(Bypasses(), OUT, 0)
    assert [(one.kind, one.user, one.comment, one.detail) for one in out.journal] == [
        ("bypass_begin", "carl", "cleaning the lens", "for 10 min")
    ]
    seen = mark_frame(out.state, replace(frame(), camera_fault=CameraFault.BLIND), 5 * S)
    assert (seen.judgement, seen.measurement, seen.grade) == (Judgement(Verdict.NO_READ, WORDS), None, None)
    assert seen.zones == {}
    assert seen.camera_fault is CameraFault.BLIND  # there, whoever inspects
    judged = mark_part(out.state, part(), 5 * S)
    assert (judged.judgement, judged.grade) == (Judgement(Verdict.NO_READ, WORDS), None)
    assert told(out.state, moment(5)) == f"{WORDS}; until 12:10 UTC"


def test_a_defect_that_was_seen_before_stays_seen() -> None:
    """A part that was NG by frames before the bypass is NG when it ends in the bypass."""
    state = step(Bypasses(), OUT, 10 * S).state
    assert mark_part(state, part(Verdict.NG, 5 * S, 11 * S), 12 * S).judgement.verdict is Verdict.NG


def test_it_ends_by_itself_and_by_hand() -> None:
    """At 600 s results count again without anybody's doing; an end by hand is that person's in the journal."""
    state = step(Bypasses(), OUT, 0).state
    at_end = frame(captured_ns=600 * S)
    assert mark_frame(state, at_end, 600 * S) == at_end  # before anybody called step
    over = step(state, None, 600 * S)
    assert [(one.kind, one.user, one.detail) for one in over.journal] == [
        ("bypass_end", "carl", "its time was over; it lasted 10 min")
    ]
    assert told(over.state, moment(601)) == ""
    ended = step(state, Off("anna", "lens is clean"), 90 * S)
    assert [(one.user, one.comment, one.detail) for one in ended.journal] == [
        ("anna", "lens is clean", "ended by anna; it lasted 90 s")
    ]
    assert step(ended.state, Off("anna"), 91 * S).outcome == "not_bypassed"


def test_another_takes_its_place_and_none_is_longer_than_eight_hours() -> None:
    """A second one ends the first, both are noted; eight hours and a second are refused."""
    state = step(Bypasses(), OUT, 0).state
    again = step(state, On(60, "dora", "belt"), 5 * S)
    assert [(one.kind, one.user) for one in again.journal] == [("bypass_end", "dora"), ("bypass_begin", "dora")]
    assert active(again.state, 6 * S) == again.state.now
    assert active(again.state, 65 * S) is None
    assert step(Bypasses(), On(8 * 3600, "dora", "belt"), 0).outcome == "ok"
    assert step(Bypasses(), On(8 * 3600 + 1, "dora", "belt"), 0).outcome == "out_of_range"


def test_it_goes_on_after_a_restart_until_its_time() -> None:
    """Begun at noon for 600 s, restarted at 12:05 in another boot whose clock begins at 7: it ends at 12:10."""
    body = remember(step(Bypasses(), OUT, 0).state, moment(0))
    after = Moment(7 * S, NOON + timedelta(minutes=5), "another boot")
    kept = recall(body, after)
    assert kept.now is not None
    assert (kept.now.until_ns - 7 * S, kept.now.user, kept.now.reason) == (300 * S, "carl", "cleaning the lens")
    same = recall(body, moment(300, wall=NOON - timedelta(days=1)))  # within a boot the steady clock counts
    assert same.now == step(Bypasses(), OUT, 0).state.now
    assert recall(remember(Bypasses(), moment(0)), after) == Bypasses()


@pytest.mark.parametrize("minutes", [-1, 11, 60 * 24 * 365])
def test_a_clock_that_contradicts_itself_ends_it(minutes: int) -> None:
    """In another boot, before it began or after its time, it is over: step notes that, and inspection counts."""
    body = remember(step(Bypasses(), OUT, 0).state, moment(0))
    now_ns = 7 * S
    kept = recall(body, Moment(now_ns, NOON + timedelta(minutes=minutes), "another boot"))
    seen = frame(captured_ns=now_ns)
    assert mark_frame(kept, seen, now_ns) == seen
    assert [one.kind for one in step(kept, None, now_ns).journal] == ["bypass_end"]


@pytest.mark.parametrize(
    "body", ["", "{}", "[]", '{"version": 2, "now": null}', '{"version": 1, "now": {"user": "x"}}']
)
def test_a_record_that_is_none_is_refused(body: str) -> None:
    """A record that no station wrote is told, and not guessed at."""
    with pytest.raises(ValueError, match="expected a bypass of version 1"):
        recall(body, moment(0))


def test_an_altered_record_lasts_no_longer_than_eight_hours() -> None:
    """A year written into the record becomes eight hours from its beginning."""
    body = remember(step(Bypasses(), OUT, 0).state, moment(0)).replace(str(600 * S), str(31_536_000 * S))
    kept = recall(body, moment(1))
    assert kept.now is not None
    assert kept.now.until_ns == 8 * 3600 * S


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["on", "off", "wait", "restart"]), st.integers(1, 20), st.sampled_from(list(Verdict))),
    max_size=15,
)


@given(ACTIONS, st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=5))
def test_bypass_never_yields_ok(actions: list[tuple[str, int, Verdict]], parts: list[tuple[int, int]]) -> None:
    """In any order of on, off, restarts and time: what was captured, opened or judged in a bypass is never OK."""
    state, now_s, windows = Bypasses(), 0, []
    for action, seconds, verdict in actions:
        now_s += seconds
        now_ns = now_s * S
        if action in {"on", "off"} and windows:
            windows[-1] = (windows[-1][0], min(windows[-1][1], now_s))
        if action == "on":
            windows.append((now_s, now_s + seconds))
            state = step(state, On(seconds, "carl", "x"), now_ns).state
        elif action == "off":
            state = step(state, Off("carl"), now_ns).state
        elif action == "restart":  # a part of before the last bypass is decided before it
            windows = windows[-1:] if state.now is not None else []
            state = step(recall(remember(state, moment(now_s)), moment(now_s)), None, now_ns).state
        in_force = any(begin <= now_s < end for begin, end in windows)
        for back in (0, 1, 5):
            captured_s = now_s - back
            bypassed = in_force or any(begin <= captured_s < end for begin, end in windows)
            seen = mark_frame(state, frame(verdict, captured_s * S), now_ns)
            assert seen.judgement.verdict is (Verdict.NO_READ if bypassed else verdict)
        for opened, length in parts:
            opened_s = now_s - opened - length
            overlaps = any(begin <= opened_s + length and opened_s < end for begin, end in windows)
            judged = mark_part(state, part(verdict, opened_s * S, (opened_s + length) * S), now_ns).judgement.verdict
            if in_force or overlaps:
                assert judged is (Verdict.NG if verdict is Verdict.NG else Verdict.NO_READ)
            else:
                assert judged is verdict
