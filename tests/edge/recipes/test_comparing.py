"""Two models judge the same frames and parts: gained and lost mirror each other, nothing is counted twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from hypothesis import given
from hypothesis import strategies as st

from edge.parts.assembler import judged_again
from edge.parts.rules import PartRules, ViewRule
from edge.recipes.comparing import ClassChange, Compared, Diff, changed_defects
from edge.recipes.pairing import Pair, Pairing
from edge.records import Defect, FrameResult, Judgement, Measurement, Verdict
from edge.records.parts import Closing, PartResult, ViewResult

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)
RULES = PartRules({"top": ViewRule(), "side": ViewRule()}, 1, 1)
VERDICTS = st.sampled_from(Verdict)


def defect(x: int, y: int = 0, side: int = 10, name: str = "scratch") -> Defect:
    """Return a square defect."""
    return Defect(1, name, 0.9, float(side * side), (x, y, side, side), float(side), 1.0, None, None, None)


DEFECTS = st.lists(
    st.builds(
        defect, st.integers(0, 60), st.integers(0, 60), st.integers(1, 20), st.sampled_from(["scratch", "stain"])
    ),
    max_size=8,
)


def frame(view: str, at: int, verdict: Verdict, defects: tuple[Defect, ...] = ()) -> FrameResult:
    """Return a judged frame."""
    measurement = None if verdict is Verdict.NO_READ else Measurement(0.0, None, 100.0, {}, defects)
    return FrameResult(view, at, "", NOW, at, 1.0, Judgement(verdict, "why"), measurement)


@given(DEFECTS, DEFECTS)
def test_gained_and_lost_are_each_other_s_mirror(former: list[Defect], new: list[Defect]) -> None:
    """A defect gained one way is lost the other way; neither exceeds what there is. The same frame has no change."""
    there, back = changed_defects(former, new), changed_defects(new, former)
    assert {name: ClassChange(one.lost, one.gained) for name, one in there.items()} == back
    for name, one in there.items():
        assert one.gained <= sum(each.class_name == name for each in new)
        assert one.lost <= sum(each.class_name == name for each in former)
    assert changed_defects(former, former) == {}


def test_a_defect_that_is_split_is_neither_gained_nor_lost() -> None:
    """Two pieces lie in the box of the one; a defect of another class elsewhere is."""
    assert changed_defects([defect(0, side=30)], [defect(0), defect(20)]) == {}
    assert changed_defects([defect(0)], [defect(0, name="stain")]) == {
        "scratch": ClassChange(0, 1),
        "stain": ClassChange(1, 0),
    }
    assert changed_defects([defect(0)], [defect(10)]) == {"scratch": ClassChange(1, 1)}  # they touch, and share nothing


@given(st.lists(st.tuples(VERDICTS, VERDICTS), max_size=30))
def test_a_diff_counts_each_part_once(parts: list[tuple[Verdict, Verdict]]) -> None:
    """Differing are the pairs that are unequal; disagreeing those of them where the former model could judge."""
    diff = Diff()
    for former, new in parts:
        diff = diff.plus(Compared(former, new, {"scratch": ClassChange(1, 2)}))
    assert diff.compared == len(parts)
    assert diff.differing == sum(former is not new for former, new in parts)
    assert diff.disagreeing == sum(former is not new and former is not Verdict.NO_READ for former, new in parts)
    assert diff.classes == ({"scratch": ClassChange(len(parts), 2 * len(parts))} if parts else {})


def test_a_diff_is_told_in_one_line() -> None:
    """The most frequent change first; classes with their defects; what was skipped."""
    diff = Diff(skipped=1)
    for former, new, classes in (
        (Verdict.OK, Verdict.NG, {"scratch": ClassChange(2, 0)}),
        (Verdict.OK, Verdict.NG, {"scratch": ClassChange(1, 0), "stain": ClassChange(0, 1)}),
        (Verdict.NG, Verdict.OK, {}),
        (Verdict.OK, Verdict.OK, {}),
    ):
        diff = diff.plus(Compared(former, new, classes))
    assert diff.told("part") == (
        "4 parts compared, 3 verdicts would differ (OK → NG: 2, NG → OK: 1); scratch: 3 gained, 0 lost; "
        "stain: 0 gained, 1 lost; 1 part not compared"
    )


FRAMES = st.lists(st.tuples(st.sampled_from(["top", "side"]), VERDICTS, VERDICTS), max_size=12)


def part_of(frames: list[FrameResult]) -> PartResult:
    """Return the part of these frames, by the sum of its frames."""
    views = {}
    for name in RULES.views:
        own = [one for one in frames if one.view == name]
        readable = [one for one in own if one.judgement.verdict is not Verdict.NO_READ]
        bad = [one for one in own if one.judgement.verdict is Verdict.NG]
        worst = (bad or readable or [None])[0]
        views[name] = ViewResult(
            len(own), len(readable), len(bad), worst=worst, judged_ns=tuple(one.captured_ns for one in own)
        )
    return PartResult(1, "p", False, "a", 0, 100, Closing.TRIGGER, verdict_of(views), views)


def verdict_of(views: dict[str, ViewResult]) -> Judgement:
    """Return NG where a frame is, else NO_READ where a view has nothing readable, else OK."""
    if any(seen.ng for seen in views.values()):
        return Judgement(Verdict.NG, "")
    return Judgement(Verdict.NO_READ if any(not seen.readable for seen in views.values()) else Verdict.OK, "")


@given(FRAMES, st.randoms())
def test_parts_are_paired_whatever_comes_first(frames: list[tuple[str, Verdict, Verdict]], dice: object) -> None:
    """The second model's part is judged from its own frames, in whatever order its answers and the part come."""
    running = [frame(view, at, verdict) for at, (view, verdict, _) in enumerate(frames)]
    second = [frame(view, at, verdict) for at, (view, _, verdict) in enumerate(frames)]
    pairing = Pairing(lambda _: RULES, parts=True)
    for one in running:
        pairing.begun(one)
    part = part_of(running)
    told: list[object] = [*second, part]
    dice.shuffle(told)  # type: ignore[attr-defined]
    pairs = []
    for one in told:
        if isinstance(one, FrameResult):
            pairing.judged((one.view, one.captured_ns), one)
        else:
            pairing.part(part)
        pairs += pairing.take()
    expected = [Pair(part.judgement.verdict, part_of(second).judgement.verdict, {})] if frames else []
    assert pairs == expected
    assert pairing.take() == []


def test_a_part_with_a_frame_that_nobody_judged_twice_is_not_compared() -> None:
    """It is told as such, and the parts after it are compared. One from before the pairing is not counted at all."""
    pairing = Pairing(lambda _: RULES, parts=True)
    first, later = [[frame(view, at, Verdict.OK) for view in ("top", "side")] for at in (1, 2)]
    pairing.part(part_of([frame("top", 0, Verdict.OK)]))
    for one in [*first, *later]:
        pairing.begun(one)
    pairing.part(part_of(first))
    pairing.part(part_of(later))
    for one in later:
        pairing.judged((one.view, 2), one)
    assert pairing.take() == []
    pairing.judged(("top", 1), None)
    pairing.judged(("side", 1), first[1])
    assert pairing.take() == [None, Pair(Verdict.OK, Verdict.OK, {})]


def test_what_was_lost_to_a_part_is_lost_to_both_models() -> None:
    """A dropped frame makes a part NO_READ by any model: it is no disagreement."""
    frames = [frame(view, 1, Verdict.OK) for view in ("top", "side")]
    part = part_of(frames)
    lost = replace(part, views={**part.views, "top": replace(part.views["top"], lost=1)})
    assert judged_again(RULES, lost, {"top": frames[:1], "side": frames[1:]}).verdict is Verdict.NO_READ
    assert judged_again(RULES, part, {"top": frames[:1], "side": frames[1:]}).verdict is Verdict.OK
    other = PartRules({"top": ViewRule(), "rear": ViewRule()}, 1, 1)  # of another recipe: a view that nobody saw
    assert judged_again(other, part, {"top": frames[:1]}).verdict is Verdict.OK


def test_frames_without_parts_are_pairs_of_their_own() -> None:
    """Each is told once, when the second model has judged it."""
    pairing = Pairing(lambda _: None, parts=False)
    one = frame("top", 1, Verdict.OK, (defect(0),))
    pairing.begun(one)
    assert pairing.take() == []
    pairing.judged(("top", 1), frame("top", 1, Verdict.NG))
    pairing.judged(("top", 1), frame("top", 1, Verdict.NG))
    assert pairing.take() == [Pair(Verdict.OK, Verdict.NG, {"scratch": ClassChange(0, 1)})]
