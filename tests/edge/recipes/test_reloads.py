"""Pure decisions of a station to take what is new or to go back, whatever happens in whatever order."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.recipes.comparing import Compared
from edge.recipes.reloads import (
    Action,
    Asked,
    BeginShadow,
    Broken,
    Cancelled,
    Event,
    Finish,
    Gap,
    GoBack,
    Judged,
    NotRead,
    Prepare,
    Read,
    Reload,
    ReloadRules,
    Skipped,
    Switch,
    Took,
    step,
)
from edge.records import Verdict

S = 1_000_000_000
RULES = ReloadRules(shadow_parts=4, watch_parts=3, within_ns=60 * S, disagreement_at_most=0.25, gap_ns=S, unit="part")
SAME = Judged(Compared(Verdict.OK, Verdict.OK))
OTHER = Judged(Compared(Verdict.OK, Verdict.NG))


@dataclass
class Line:
    """Steps a reload by what happens, and keeps what was to be done."""

    state: Reload = field(default_factory=Reload)
    done: list[Action] = field(default_factory=list)

    def do(self, *events: Event, at_s: float = 0) -> list[Action]:
        """Take events at one moment, and return what is to be done for them."""
        todo: list[Action] = []
        for event in events:
            self.state, actions = step(self.state, event, round(at_s * S))
            todo += actions
        self.done += todo
        return todo


def shadowed(rules: ReloadRules = RULES) -> Line:
    """Return a line in its shadow run."""
    line = Line()
    assert line.do(Asked()) == [Prepare()]
    assert line.do(Read(rules)) == [BeginShadow()]
    return line


def watched() -> Line:
    """Return a line that has changed and is watched."""
    line = shadowed()
    assert line.do(*[SAME] * 4) == []
    assert line.do(Gap(free=True), at_s=1) == [Switch(S, watched=True)]
    return line


def test_it_is_read_compared_changed_and_watched() -> None:
    """The change waits for as many parts as are wanted and for a gap; the end tells what was compared."""
    line = watched()
    assert line.do(SAME, Skipped(), at_s=2) == []
    (end,) = line.do(SAME, at_s=3)
    assert end == Finish(
        "ok",
        "shadow run: 4 parts compared, 0 verdicts would differ; no defect gained or lost; "
        "watched: 2 parts compared, 0 verdicts would differ; no defect gained or lost; 1 part not compared",
    )
    assert line.state.phase == "idle"


def test_a_change_waits_no_longer_than_the_longest_part() -> None:
    """A change comes a part's time limit after it could first be made, if parts overlap without end."""
    line = shadowed()
    line.do(*[SAME] * 4)
    told = {at_s: line.do(Gap(free=False), at_s=at_s) for at_s in (5, 5.9, 6)}
    assert [at_s for at_s, todo in told.items() if todo] == [6]


def test_what_cannot_be_read_changes_nothing() -> None:
    """The end has the reason."""
    line = Line()
    line.do(Asked())
    assert line.do(NotRead("no bundle")) == [Finish("failed", "no bundle")]


@pytest.mark.parametrize(("shadow", "watch"), [(0, 0), (0, 3), (4, 0)])
def test_either_comparison_may_be_left_out(shadow: int, watch: int) -> None:
    """0 parts = none."""
    line = Line()
    line.do(Asked(), Read(ReloadRules(shadow, watch, 60 * S, 1.0, S)))
    line.do(*[OTHER] * shadow)
    (switch, *end) = line.do(Gap(free=True))
    assert switch == Switch(0, watched=bool(watch))
    assert [type(one) for one in end] == ([] if watch else [Finish])


def test_what_judges_alike_is_not_compared() -> None:
    """There is nothing to see."""
    line = Line()
    line.do(Asked(), Read(RULES, alike=True))
    assert line.do(Gap(free=True)) == [Switch(0, watched=False), Finish("ok", "nothing was compared")]


def test_disagreement_keeps_the_former_model() -> None:
    """One of four may differ; the second that does ends it, in the shadow run or after the change."""
    line = shadowed()
    assert line.do(OTHER) == []
    (end,) = line.do(OTHER)
    assert isinstance(end, Finish)
    assert end.outcome == "rolled_back"
    assert "2 verdicts of 2 parts would differ, at most 1 may" in end.detail
    line = watched()
    assert line.do(OTHER, at_s=2) == []
    assert line.do(Gap(free=False), at_s=2) == []
    back, end = line.do(Gap(free=True), at_s=2.5)
    assert isinstance(back, GoBack)
    assert isinstance(end, Finish)
    assert (back.from_ns, end.outcome) == (round(2.5 * S), "rolled_back")


def test_what_the_former_model_could_not_read_is_no_disagreement() -> None:
    """NO_READ is no verdict to disagree with; a new NO_READ in the place of a verdict is one."""
    line = shadowed()
    line.do(*[Judged(Compared(Verdict.NO_READ, Verdict.OK))] * 4)
    assert line.state.phase == "switching"
    line = shadowed()
    (end,) = line.do(*[Judged(Compared(Verdict.NG, Verdict.NO_READ))] * 2)
    assert isinstance(end, Finish)
    assert end.outcome == "rolled_back"


@pytest.mark.parametrize(("fast", "slow", "too_slow"), [(0, 9, False), (0, 10, True), (27, 3, False), (26, 3, True)])
def test_latency_keeps_the_former_model(fast: int, slow: int, too_slow: bool) -> None:
    """More than a tenth of the frames, at least three, of at least ten."""
    line = shadowed()
    line.do(*[Took(slow=False)] * fast, *[Took(slow=True)] * slow)
    assert bool(line.done[2:]) == too_slow


def test_an_error_keeps_the_former_model_or_brings_it_back() -> None:
    """At once in the shadow run; after the change between two parts."""
    assert shadowed().do(Broken("NaN")) == [Finish("rolled_back", "NaN")]
    line = watched()
    assert line.do(Broken("NaN"), at_s=2) == []
    assert line.do(OTHER, Took(slow=True), Broken("again"), at_s=2) == []
    assert line.do(Gap(free=True), at_s=2) == [GoBack(2 * S, "NaN"), Finish("rolled_back", "NaN")]


def test_a_shadow_run_without_parts_ends() -> None:
    """It fails where too few parts come in its time. A watch that is over in its time has seen enough."""
    line = shadowed()
    line.do(SAME, Skipped())
    assert line.do(Gap(free=True), at_s=59) == []
    (end,) = line.do(Gap(free=True), at_s=60)
    assert isinstance(end, Finish)
    assert end.outcome == "failed"
    assert "1 of 4 parts compared within 60 s, 1 came faster" in end.detail
    line = watched()
    (end,) = line.do(Gap(free=True), at_s=61)
    assert isinstance(end, Finish)
    assert end.outcome == "ok"


def test_a_person_ends_it() -> None:
    """Before the change nothing changes; after it the former model comes back."""
    assert shadowed().do(Cancelled("anna")) == [Finish("cancelled", "cancelled by anna")]
    line = watched()
    line.do(Cancelled("anna"))
    assert line.do(Gap(free=True))[-1] == Finish("cancelled", "cancelled by anna")


def test_what_cannot_be_taken_just_before_the_change_changes_nothing() -> None:
    """The files were read well before. A fault known only at the change is refused as it would have been then."""
    line = shadowed()
    assert line.do(*[SAME] * 4, NotRead("gone")) == [Finish("failed", "gone")]
    assert line.state.phase == "idle"
    line = watched()
    assert line.do(NotRead("gone")) == []


EVENTS = st.one_of(
    st.sampled_from([Asked(), NotRead("gone"), SAME, OTHER, Skipped(), Broken("NaN"), Cancelled("anna")]),
    st.builds(Read, st.just(RULES), st.booleans()),
    st.builds(Took, st.booleans()),
    st.builds(Gap, st.booleans()),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 30)), max_size=80))
def test_whatever_happens_one_model_is_in_force_and_each_wish_has_one_end(told: list[tuple[Event, float]]) -> None:
    """A station goes back only from its own change, ends as it says, and ends each reload once."""
    line, at_s, new, asked, ended = Line(), 0.0, False, 0, 0
    for event, later_s in told:
        at_s += later_s
        was_idle = line.state.phase == "idle"
        todo = line.do(event, at_s=at_s)
        if was_idle and isinstance(event, Asked):
            asked, new = asked + 1, False
        assert todo == [] or not was_idle or isinstance(event, Asked)
        for action in todo:
            if isinstance(action, Switch):
                assert not new
                new = True
            elif isinstance(action, GoBack):
                assert new
                new = False
            elif isinstance(action, Finish):
                ended += 1
                assert new == (action.outcome == "ok")
        assert asked - ended == (line.state.phase != "idle")
        if line.state.phase in {"watching", "returning"}:
            assert new
        elif line.state.phase != "idle":
            assert not new
    line.do(*[Gap(free=True)] * 3, at_s=at_s + 10_000)
    assert line.state.phase in {"idle", "reading"}
