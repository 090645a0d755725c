"""Other limits never give another verdict than the frames themselves would have had."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.figures.told import ToldPart, told_part
from edge.figures.what_if import Scenario, at_most_as_strict, judged_again, ladder, what_if
from edge.inspection.limits import Limit, judge
from edge.messages.writer import LISTED_DEFECTS, part_body
from edge.parts.assembler import Parts, step
from edge.parts.rules import PartRules, ViewRule
from edge.records import ClassMeasure, Defect, FrameResult, Judgement, Measurement, Verdict
from edge.records.parts import PartClosed, PartOpened, PartResult

AT = datetime(2026, 1, 30, 6, tzinfo=timezone.utc)
MS = 1_000_000
REGION_PX = 1000
CLASSES = ("scratch", "stain")
Sizes = Mapping[str, Sequence[int]]  # of each class the lengths of its defects, px; each is one pixel wide


def measurement(sizes: Sizes, mm_per_px: float | None) -> Measurement:
    """Return what a frame with these defects measures."""
    defects = tuple(
        Defect(0, name, 0.9, float(px), (0, 0, px, 1), float(px), 1.0, *_mm(px, mm_per_px))
        for name, lengths in sizes.items()
        for px in lengths
    )
    classes = {name: ClassMeasure(sum(sizes.get(name, ())) / REGION_PX, len(sizes.get(name, ()))) for name in CLASSES}
    return Measurement(sum(seen.coverage for seen in classes.values()), None, REGION_PX, classes, defects)


def _mm(px: int, mm_per_px: float | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if mm_per_px is None else (px * mm_per_px**2, px * mm_per_px, mm_per_px)


def assembled(
    frames: Sequence[Sizes | None],
    limits: Mapping[str, Limit],
    *,
    wanted: int = 1,
    ng_frames: int = 1,
    mm: float | None = 0.5,
) -> PartResult:
    """Judge frames by limits and put them together, as a station does; None is a frame that cannot be read."""
    rules = PartRules({"top": ViewRule(wanted, ng_frames)}, 1000 * MS, 100 * MS)
    parts, _ = step(rules, Parts(), PartOpened(0), 0)
    for index, sizes in enumerate(frames):
        seen = None if sizes is None else measurement(sizes, mm)
        judgement = Judgement(Verdict.NO_READ, "dark") if seen is None else judge(seen, limits)
        frame = FrameResult("top", index, "", AT, (index + 1) * MS, 1.0, judgement, seen)
        parts, _ = step(rules, parts, frame, (index + 1) * MS)
    parts, _ = step(rules, parts, PartClosed(100 * MS), 100 * MS)
    _, (part,) = step(rules, parts, None, 900 * MS)
    assert isinstance(part, PartResult)
    return part


def told(part: PartResult, *, challenge: bool = False) -> ToldPart:
    """Return a part as a consumer got it."""
    read = told_part(json.loads(json.dumps(part_body(part, opened_at=AT, challenge=challenge))), AT, "")
    assert read is not None
    return read


LIMIT = st.builds(
    Limit,
    max_count=st.none() | st.integers(0, 3),
    max_coverage=st.none() | st.sampled_from([0.0, 0.01, 0.02, 0.05]),
    max_area_mm2=st.none() | st.sampled_from([0.5, 2.5, 5.0]),
    max_length_mm=st.none() | st.sampled_from([0.5, 5.0, 10.0]),
)
LIMITS = st.dictionaries(st.sampled_from(CLASSES), LIMIT, max_size=2)
SIZES = st.dictionaries(st.sampled_from(CLASSES), st.lists(st.integers(1, 25), max_size=3), max_size=2)


@given(
    frames=st.lists(st.none() | SIZES, max_size=4),
    now=LIMITS,
    then=LIMITS,
    wanted=st.integers(1, 2),
    ng_frames=st.integers(1, 2),
    knows=st.booleans(),
    mm=st.sampled_from([None, 0.5]),
)
def test_what_is_told_is_what_the_frames_would_have_come_to(
    frames: list[Sizes | None],
    now: dict[str, Limit],
    then: dict[str, Limit],
    *,
    wanted: int,
    ng_frames: int,
    knows: bool,
    mm: float | None,
) -> None:
    """A part judged again from the message alone is as from all its frames, or untold, whatever frames and limits."""
    if mm is None:  # the settings refuse limits in millimetres then
        now, then = ({name: _without_mm(limit) for name, limit in each.items()} for each in (now, then))
    message = told(assembled(frames, now, wanted=wanted, ng_frames=ng_frames, mm=mm))
    again, _ = judged_again(message, Scenario({"top": then}, {"": now} if knows else None, ng_frames))
    truth = assembled(frames, then, wanted=wanted, ng_frames=ng_frames, mm=mm).judgement.verdict.value
    assert again in {truth, "untold"}


FEW = st.fixed_dictionaries({name: st.lists(st.sampled_from([5, 12]), max_size=1) for name in CLASSES})
LOW = st.fixed_dictionaries(
    {name: st.builds(Limit, max_coverage=st.sampled_from([0.0, 0.01, 0.02])) for name in CLASSES}
)


@settings(max_examples=300)
@given(frames=st.lists(FEW, min_size=2, max_size=3), now=LOW, then=LOW, knows=st.booleans())
def test_frames_that_a_message_does_not_show_are_not_forgotten(
    frames: list[Sizes], now: dict[str, Limit], then: dict[str, Limit], *, knows: bool
) -> None:
    """The same, where frames differ by little: often another than the worst one would decide."""
    again, _ = judged_again(told(assembled(frames, now)), Scenario({"": then}, {"top": now} if knows else None))
    assert again in {assembled(frames, then).judgement.verdict.value, "untold"}


@given(sizes=st.none() | SIZES, now=LIMITS, then=LIMITS)
def test_of_a_part_of_one_frame_everything_is_told(
    sizes: Sizes | None, now: dict[str, Limit], then: dict[str, Limit]
) -> None:
    """One frame of each view, all defects listed, in millimetres: nothing is untold."""
    again, _ = judged_again(told(assembled([sizes], now)), Scenario({"": then}))
    assert again == assembled([sizes], then).judgement.verdict.value


def _without_mm(limit: Limit) -> Limit:
    return Limit(max_count=limit.max_count, max_coverage=limit.max_coverage)


TOLERANT, STRICT = {"scratch": Limit(max_coverage=0.02)}, {"scratch": Limit(max_coverage=0.005)}


def test_the_shift_is_counted_as_it_was_and_as_it_would_have_been() -> None:
    """Three clean parts, one with a small scratch, one with a large one, one unread, one of a challenge."""
    kinds: list[list[Sizes | None]] = [[{}], [{}], [{}], [{"scratch": [10]}], [{"scratch": [30]}], [None]]
    parts = [told(assembled(frames, TOLERANT)) for frames in kinds]
    seen = what_if([*parts, told(assembled([{}], {}), challenge=True)], Scenario({"": STRICT}, {"": TOLERANT}))
    assert (seen.parts, seen.challenged) == (6, 1)
    assert seen.was == {Verdict.OK: 4, Verdict.NG: 1, Verdict.NO_READ: 1}
    assert seen.would_be == {"OK": 3, "NG": 2, "NO_READ": 1, "untold": 0}
    assert (seen.to_ng, seen.to_ok) == (1, 0)
    assert (seen.yield_was, seen.yield_between) == (0.8, (0.6, 0.6))
    assert [(each.was, each.would_be, each.why) for each in seen.changed] == [
        (Verdict.OK, "NG", "top: scratch: coverage 0.01000, at most 0.005 allowed")
    ]
    assert (seen.agreeing, seen.compared) == (6, 6)


def test_limits_that_are_not_those_of_the_line_are_noticed() -> None:
    """Judged by what is thought to be in force, the parts do not come out as they did."""
    parts = [told(assembled([{"scratch": [10]}], TOLERANT)) for _ in range(4)]
    seen = what_if(parts, Scenario({"": TOLERANT}, {"": STRICT}))
    assert (seen.agreeing, seen.compared) == (0, 4)
    assert what_if(parts, Scenario({"": TOLERANT})).agreeing is None


def test_what_cannot_be_told_widens_the_yield() -> None:
    """Three bad frames of which the worst would be good: of the other two nobody knows."""
    part = told(assembled([{"scratch": [9]}, {"scratch": [9]}, {"scratch": [9], "stain": [1]}], {}))
    seen = what_if([part], Scenario({"": {"scratch": Limit(max_coverage=0.01), "stain": Limit(max_count=1)}}))
    assert (seen.would_be["untold"], seen.untold) == (1, {"other_frames": 1})
    assert seen.yield_between == (0.0, 1.0)
    low, high = seen.interval or (1.0, 0.0)
    assert low == 0.0
    assert high == 1.0


def test_a_long_defect_that_is_not_listed_is_not_taken_for_none() -> None:
    """A message lists the largest fifty; of more, none can be called short."""
    many = {"scratch": [3] * (LISTED_DEFECTS + 1)}
    part = told(assembled([many], {}))
    assert judged_again(part, Scenario({"": {"scratch": Limit(max_length_mm=5.0)}})) == ("untold", "not_listed")
    assert judged_again(part, Scenario({"": {"scratch": Limit(max_area_mm2=5.0)}}))[0] == "OK"


def test_what_was_not_measured_in_millimetres_is_not_judged_in_them() -> None:
    """A limit of 5 mm says nothing of a defect of 30 px."""
    part = told(assembled([{"scratch": [30]}], {}, mm=None))
    assert judged_again(part, Scenario({"": {"scratch": Limit(max_length_mm=5.0)}})) == ("untold", "no_mm")


def test_which_limits_are_stricter_is_told_class_by_class() -> None:
    """A class without a limit tolerates nothing; no limit at all tolerates everything."""
    assert at_most_as_strict(TOLERANT, STRICT)
    assert not at_most_as_strict(STRICT, TOLERANT)
    assert at_most_as_strict(TOLERANT, {})
    assert not at_most_as_strict({}, TOLERANT)
    assert not at_most_as_strict(TOLERANT, {"scratch": Limit(max_length_mm=1.0)})


def test_the_ladder_tells_how_many_parts_exceed_each_limit() -> None:
    """At the lowest all that show the class, at the highest none."""
    parts = [told(assembled([{"scratch": [px]}], {})) for px in (10, 20, 20, 40)]
    assert list(ladder(parts, "scratch", "max_coverage")) == [(0.0, 4), (0.01, 3), (0.02, 1), (0.04, 0)]
    assert list(ladder(parts, "scratch", "max_length_mm", steps=2)) == [(0.0, 4), (20.0, 0)]
    assert list(ladder(parts, "stain", "max_coverage")) == [(0.0, 0)]


@pytest.mark.parametrize("measure", ["max_area_mm2", "max_length_mm"])
def test_the_ladder_leaves_out_what_was_not_measured(measure: str) -> None:
    """Without a calibration there is nothing in millimetres."""
    part = told(assembled([{"scratch": [30]}], {}, mm=None))
    assert list(ladder([part], "scratch", measure)) == [(0.0, 0)]  # type: ignore[arg-type]


def test_a_good_frame_may_show_more_than_the_bad_one_beside_it() -> None:
    """The message shows the NG frame. The OK one had more coverage, of a class that was tolerated and would not be."""
    now = {"scratch": Limit(max_coverage=0.0), "stain": Limit(max_coverage=0.02)}
    then = {"scratch": Limit(max_coverage=0.01), "stain": Limit(max_coverage=0.01)}
    frames: list[Sizes] = [{"scratch": [5]}, {"stain": [12]}]
    assert judged_again(told(assembled(frames, now)), Scenario({"": then}, {"": now})) == ("untold", "other_frames")
    assert assembled(frames, then).judgement.verdict is Verdict.NG


def test_a_view_has_limits_of_its_own() -> None:
    """Those of another view say nothing of it, and without any it tolerates nothing."""
    part = told(assembled([{"scratch": [10]}], TOLERANT))
    assert judged_again(part, Scenario({"top": TOLERANT, "": STRICT}))[0] == "OK"
    assert judged_again(part, Scenario({"side": TOLERANT}))[0] == "NG"


def test_parts_that_showed_nothing_stay_ok() -> None:
    """They are counted, and need not be read one by one."""
    seen = what_if([told(assembled([{"scratch": [10]}], TOLERANT))], Scenario({"": STRICT}, {"": TOLERANT}), clean=9)
    assert (seen.parts, seen.was[Verdict.OK], seen.would_be["OK"], seen.to_ng) == (10, 10, 9, 1)
    assert (seen.agreeing, seen.compared) == (10, 10)
