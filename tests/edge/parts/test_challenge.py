"""Challenges: every part that was opened in one is its own, counts nowhere, and is told if it is not NG."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.parts.challenge import (
    Begin,
    Cancel,
    Challenges,
    ChallengeSettings,
    ChallengeStep,
    ShiftBegan,
    Stop,
    late,
    recall,
    remember,
    step,
)
from edge.records import Judgement, Verdict
from edge.records.parts import Closing, PartResult

S = 1_000_000_000


def part(number: int, verdict: Verdict = Verdict.NG, opened_ns: int = 0) -> PartResult:
    """Return a concluded part."""
    return PartResult(
        number, f"P-{number}", False, "phone", opened_ns, opened_ns + 1, Closing.TRIGGER, Judgement(verdict, "why")
    )


def begun(parts: int = 3, within_s: int = 100, after: int = 10) -> Challenges:
    """Return a challenge of anna that began at 0, after part 10."""
    return step(Challenges(), Begin(parts, within_s, "anna", "morning", after), 0).state


def told(came: ChallengeStep) -> list[str]:
    """Return what is to be noted."""
    return [one.detail for one in came.journal]


def through(state: Challenges, *verdicts: Verdict, first: int = 11) -> tuple[Challenges, list[ChallengeStep]]:
    """Conclude parts from `first` on, one a second, and return what came of each."""
    all_: list[ChallengeStep] = []
    for number, verdict in enumerate(verdicts, first):
        all_.append(step(state, part(number, verdict, (number - 10) * S), (number - 10) * S))
        state = all_[-1].state
    return state, all_


def test_all_ng_is_passed() -> None:
    """Three bad parts that are NG: each is marked, the third ends it, and the fourth is an ordinary part."""
    state, came = through(begun(), Verdict.NG, Verdict.NG, Verdict.NG, Verdict.NG)
    assert [one.marked for one in came] == [True, True, True, False]
    assert [told(one) for one in came] == [[], [], ["passed: 3 known bad parts, all NG"], []]
    assert (came[2].journal[0].kind, came[2].journal[0].user, came[2].journal[0].comment) == (
        "challenge",
        "anna",
        "morning",
    )
    assert (state.running, state.missed) == (None, "")


@pytest.mark.parametrize("verdict", [Verdict.OK, Verdict.NO_READ])
def test_one_that_is_not_ng_is_missed_at_once(verdict: Verdict) -> None:
    """A miss is told with its part, stands until a challenge is passed, and makes this one fail."""
    state, came = through(begun(), Verdict.NG, verdict)
    missed = f"missed: the part P-12 was {verdict.value}"
    assert (told(came[1]), state.missed) == ([missed], f"{missed}, in the challenge of anna")
    state, came = through(state, Verdict.NG, first=13)
    assert told(came[0]) == [f"failed: 1 of 3 known bad parts not NG: the part P-12 was {verdict.value}"]
    assert state.missed
    state = step(state, Begin(1, 100, "bert", "", 13), 20 * S).state
    assert state.missed  # the next has to be passed first
    assert step(state, part(14, opened_ns=21 * S), 22 * S).state.missed == ""


def test_parts_that_were_in_the_station_before_are_ordinary() -> None:
    """Part 10 was opened before the challenge began: it is no part of it, and the next three are."""
    assert not step(begun(), part(10, Verdict.OK), S).marked
    state, came = through(begun(), *[Verdict.NG] * 3)
    assert sum(one.marked for one in came) == 3
    assert not step(state, part(10, Verdict.OK), 9 * S).marked


def test_its_time_ends_it_but_not_for_a_part_that_is_in_the_station() -> None:
    """After 100 s it is not done. Part 12, opened at 99 s and concluded at 101 s, is still its own, and is missed."""
    state, _ = through(begun(), Verdict.NG)
    came = step(state, None, 100 * S)
    assert told(came) == ["not done: its time of 100 s was over; 1 of 3 parts judged, 0 not NG"]
    late_one = step(came.state, part(12, Verdict.OK, 99 * S), 101 * S)
    assert (late_one.marked, told(late_one)) == (True, ["missed: the part P-12 was OK"])
    assert not step(late_one.state, part(13, Verdict.OK, 102 * S), 103 * S).marked


def test_it_can_be_cancelled_and_ends_with_the_station() -> None:
    """Cancelling and stopping note how far it came; without one there is nothing to cancel."""
    state, _ = through(begun(), Verdict.NG)
    came = step(state, Cancel("bert"), 5 * S)
    assert told(came) == ["not done: cancelled by bert; 1 of 3 parts judged, 0 not NG"]
    assert (came.outcome, came.detail) == ("ok", "1 of 3 parts judged, 0 not NG")
    assert step(came.state, Cancel("bert"), 6 * S).outcome == "not_running"
    assert told(step(state, Stop(), 5 * S)) == ["not done: the station was stopped; 1 of 3 parts judged, 0 not NG"]
    assert step(came.state, Stop(), 6 * S).journal == ()


def test_one_at_a_time_and_only_where_there_are_parts() -> None:
    """A second one is refused, and so is one on a station whose frames stand for themselves."""
    assert step(begun(), Begin(1, 100, "bert", "", 10), S).outcome == "already_running"
    assert step(Challenges(), Begin(1, 100, "bert", "", None), S).outcome == "no_parts"


def test_a_bypass_excuses_what_could_not_be_read() -> None:
    """A part of a challenge that a bypass ended: NO_READ says nothing, OK is missed all the same; neither counts."""
    state = step(begun(), Cancel("carl", bypassed=True), 5 * S).state
    unread = step(state, part(11, Verdict.NO_READ, S), 6 * S)
    assert (unread.marked, unread.journal) == (True, ())
    good = step(unread.state, part(12, Verdict.OK, S), 6 * S)
    assert (good.marked, told(good)) == (True, ["missed: the part P-12 was OK"])


DUE = ChallengeSettings(each_shift=True, parts=1, within_s=900)


def test_a_shift_with_parts_and_no_challenge_is_late() -> None:
    """It is due 900 s after the shift began, if any part came. One that came to its end, passed or not, is enough."""
    state = step(Challenges(), ShiftBegan("06:00", 900 * S), 0).state
    assert late(DUE, state, 5_000 * S) == ""  # the line stands still
    state = step(state, part(1, Verdict.OK), S).state
    assert late(DUE, state, 899 * S) == ""
    assert late(DUE, state, 900 * S) == "the shift 06:00 has parts and no challenge, which was due within 900 s"
    assert late(ChallengeSettings(), state, 900 * S) == ""
    running = step(state, Begin(1, 100, "anna", "", 1), 950 * S).state
    assert late(DUE, running, 951 * S) == ""
    assert late(DUE, step(running, Cancel("anna"), 952 * S).state, 953 * S)
    done = step(running, part(2, Verdict.OK, 951 * S), 952 * S).state
    assert late(DUE, done, 5_000 * S) == ""
    following = step(done, ShiftBegan("14:00", 9_900 * S), 9_000 * S).state
    following = step(following, part(3, Verdict.OK), 9_001 * S).state
    assert late(DUE, following, 9_900 * S)


CUT_BADLY = '{"version": 1, "missed": "", "done_shift": "", "running": 5}'


def test_what_was_missed_and_done_survives_a_restart() -> None:
    """A record gives back why the alarm stands and which shift had its challenge; another record is refused."""
    state = Challenges(missed="missed: the part P-1 was OK", done_shift="06:00", worked=True)
    kept, noted = recall(remember(state))
    assert noted == ()
    assert (kept.missed, kept.done_shift, kept.running) == (state.missed, "06:00", None)
    for body in ("", "{}", "[]", "null", '{"version": 2}', '{"version": 1, "missed": 1, "done_shift": ""}', CUT_BADLY):
        with pytest.raises(ValueError, match="expected challenges of version 1"):
            recall(body)


@pytest.mark.parametrize(
    "wrong", [{"parts": 0}, {"within_s": 9}, {"parts": "5"}, {"each_shift": "maybe"}, {"often": 1}]
)
def test_settings_without_sense_are_refused(wrong: dict[str, object]) -> None:
    """No parts, no time, another type, an unknown key."""
    with pytest.raises(ValidationError):
        ChallengeSettings.model_validate(wrong)


def test_a_part_of_a_challenge_that_was_cancelled_is_excused_by_a_bypass() -> None:
    """It was opened in the challenge and is judged in the bypass: NO_READ says nothing of what would have been seen."""
    state = step(Challenges(), Begin(1, 10, "anna", "", 0), 0).state
    state = step(state, Cancel("anna"), 2 * S).state
    state = step(state, Cancel("carl", bypassed=True), 3 * S).state
    came = step(state, part(1, Verdict.NO_READ, 1 * S), 4 * S)
    assert (came.marked, came.state.missed, told(came)) == (True, "", [])


@dataclass
class Truth:
    """The truth that a person with a list would know: which part was opened in which challenge."""

    number: int = 0
    until_ns: int | None = None
    left: int = 0
    open: dict[int, tuple[bool, int]] = field(default_factory=dict)

    def opened(self, now_ns: int) -> None:
        """Open the next part."""
        self.number += 1
        mine = self.until_ns is not None and now_ns < self.until_ns and self.left > 0
        self.left -= mine
        self.open[self.number] = (mine, now_ns)


ACTIONS = st.one_of(
    st.tuples(st.just("begin"), st.integers(1, 3), st.integers(10, 30)),
    st.tuples(st.just("open"), st.just(0), st.just(0)),
    st.tuples(st.just("conclude"), st.integers(0, 9), st.sampled_from([0, 1, 2])),
    st.tuples(st.sampled_from(["cancel", "bypass", "wait", "nothing"]), st.just(0), st.just(0)),
)


@given(st.lists(ACTIONS, max_size=60))
def test_no_order_of_events_loses_a_missed_part_or_counts_one(actions: list[tuple[str, int, int]]) -> None:
    """Exactly the parts opened in a challenge are marked, and each miss is told, whatever opens, ends and overlaps."""
    state, truth, now_ns = Challenges(), Truth(), 0
    excusable: set[int] = set()
    for action, first, second in actions:
        now_ns += (7_300 if action == "wait" else 370) * 1_000_000
        if action == "begin":
            came = step(state, Begin(first, second, "anna", "", truth.number), now_ns)
            if came.outcome == "ok":
                truth.until_ns, truth.left = now_ns + second * S, first
        elif action == "open":
            truth.opened(now_ns)
            came = step(state, None, now_ns)
        elif action == "conclude" and truth.open:
            number = sorted(truth.open)[first % len(truth.open)]
            mine, opened_ns = truth.open.pop(number)
            verdict = list(Verdict)[second]
            came = step(state, part(number, verdict, opened_ns), now_ns)
            assert came.marked == mine
            missed = mine and verdict is not Verdict.NG and not (number in excusable and verdict is Verdict.NO_READ)
            assert missed == (f"missed: the part P-{number} was {verdict.value}" in told(came))
            assert not missed or came.state.missed
        elif action in {"cancel", "bypass"}:
            if action == "bypass":
                excusable |= {number for number, (mine, _) in truth.open.items() if mine}
            came = step(state, Cancel("bert", bypassed=action == "bypass"), now_ns)
            truth.until_ns = None
        else:
            came = step(state, None, now_ns)
        state = came.state
    assert len(state.past) <= 100
