"""The last shift with other limits: stored results judged again. Pure.

A result tells of each view its worst readable frame alone, and of that the largest defects. So some parts cannot be
judged again, and are counted as untold, with the reason; they are never guessed. Thresholds, smallest areas, regions
and zones need the pixels: no result tells what they would change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from edge.figures.told import ToldPart, ToldView
from edge.inspection.limits import NOTHING_TOLERATED, Limit, judge
from edge.parts.yields import wilson_interval, yield_of
from edge.records import Measurement, Verdict

Again = Literal["OK", "NG", "NO_READ", "untold"]
Why = Literal["other_frames", "more_ng_frames", "no_mm", "not_listed"]
Measure = Literal["max_count", "max_coverage", "max_area_mm2", "max_length_mm"]
UNTOLD: Again = "untold"
MEASURES: tuple[Measure, ...] = ("max_count", "max_coverage", "max_area_mm2", "max_length_mm")
ALL_VIEWS = ""
LISTED = 200  # changed parts that are named
Limits = Mapping[str, Limit]


@dataclass(frozen=True)
class Scenario:
    """Other limits of each view, by class; a class without one tolerates no defect, as at the line.

    `limits`: by view; those under ALL_VIEWS hold for views that have none of their own. `now`: the limits in force,
    likewise, None where they are not known. `ng_frames`: NG frames of a view from which its part is NG.
    """

    limits: Mapping[str, Limits]
    now: Mapping[str, Limits] | None = None
    ng_frames: int = 1

    def of(self, view: str) -> _Rules:
        """Return what holds for one view."""
        now = None if self.now is None else self.now.get(view, self.now.get(ALL_VIEWS, {}))
        return _Rules(self.limits.get(view, self.limits.get(ALL_VIEWS, {})), now, self.ng_frames)


@dataclass(frozen=True)
class _Rules:
    """The rules of one view."""

    limits: Limits
    now: Limits | None
    ng_frames: int


@dataclass(frozen=True)
class Changed:
    """One part whose verdict would be another, or cannot be told. `why`: the exceeded limits, or what is not told."""

    part_id: str
    at: datetime
    was: Verdict
    would_be: Again
    why: str


@dataclass(frozen=True)
class WhatIf:
    """The verdicts that the parts have, and would have had.

    `changed`: the first LISTED whose verdict would be another. `untold`: parts by the reason for which they cannot be
    judged again. `challenged`: known bad parts, which are left out. `agreeing`: of the parts that the limits in force
    judge, those with the station's own verdict. None where these limits are not known.
    """

    parts: int
    was: Mapping[Verdict, int]
    would_be: Mapping[Again, int]
    to_ng: int
    to_ok: int
    changed: tuple[Changed, ...]
    untold: Mapping[Why, int] = field(default_factory=dict)
    challenged: int = 0
    agreeing: int | None = None
    compared: int | None = None

    @property
    def yield_was(self) -> float | None:
        """OK ÷ (OK + NG) as it was."""
        return yield_of(self.was[Verdict.OK], self.was[Verdict.NG])

    @property
    def yield_between(self) -> tuple[float, float] | None:
        """The yield that it would have: if all that is untold were NG, and if all of it were OK; None without parts."""
        ok, ng, untold = self.would_be["OK"], self.would_be["NG"], self.would_be["untold"]
        low, high = yield_of(ok, ng + untold), yield_of(ok + untold, ng)
        return None if low is None or high is None else (low, high)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the yield that it would have, the untold counted either way."""
        ok, ng, untold = self.would_be["OK"], self.would_be["NG"], self.would_be["untold"]
        low, high = wilson_interval(ok, ok + ng + untold), wilson_interval(ok + untold, ok + ng + untold)
        return None if low is None or high is None else (low[0], high[1])


def what_if(parts: Iterable[ToldPart], scenario: Scenario, clean: int = 0) -> WhatIf:
    """Judge parts again, in their order. `clean`: how many more were OK and showed nothing: no limit makes them NG."""
    was: Counter[Verdict] = Counter({Verdict.OK: clean})
    would_be: Counter[Again] = Counter({"OK": clean})
    untold: Counter[Why] = Counter()
    changed: list[Changed] = []
    to_ng = to_ok = challenged = 0
    agreeing = compared = clean
    by_now = None if scenario.now is None else Scenario(scenario.now, scenario.now, scenario.ng_frames)
    for part in parts:
        if part.challenge:
            challenged += 1
            continue
        again, why = judged_again(part, scenario)
        was[part.verdict] += 1
        would_be[again] += 1
        to_ng += again == "NG" and part.verdict is not Verdict.NG
        to_ok += again == "OK" and part.verdict is not Verdict.OK
        if again == UNTOLD:
            untold[_reason(why)] += 1
        if again != part.verdict.value and len(changed) < LISTED:
            changed.append(Changed(part.part_id, part.at, part.verdict, again, why))
        if by_now is not None:
            now, _ = judged_again(part, by_now)
            compared += now != UNTOLD
            agreeing += now == part.verdict.value
    return WhatIf(
        parts=sum(was.values()),
        was={verdict: was[verdict] for verdict in Verdict},
        would_be={again: would_be[again] for again in ("OK", "NG", "NO_READ", UNTOLD)},
        to_ng=to_ng,
        to_ok=to_ok,
        changed=tuple(changed),
        untold=dict(untold),
        challenged=challenged,
        agreeing=None if by_now is None else agreeing,
        compared=None if by_now is None else compared,
    )


def judged_again(part: ToldPart, scenario: Scenario) -> tuple[Again, str]:
    """Return what a part would come to, and why: NG before what cannot be told, that before NO_READ, and OK last."""
    if part.verdict is Verdict.NO_READ and not part.missing_views:
        return "NO_READ", ""  # as in a bypass: nothing was measured
    told = [_view_again(name, view, scenario.of(name)) for name, view in part.views.items()]
    for wanted in ("NG", UNTOLD):
        for again, why in told:
            if again == wanted:
                return again, why
    return ("NO_READ", "") if part.missing_views else ("OK", "")


def _view_again(name: str, view: ToldView, rules: _Rules) -> tuple[Again, str]:
    if view.measurement is None:
        return "NO_READ", ""
    judgement = judge(view.measurement, rules.limits)
    if judgement.verdict is Verdict.NG:
        if rules.ng_frames <= 1 or (view.ng >= rules.ng_frames and _tighter(rules)):
            return "NG", f"{name}: {judgement.reason}"
        return UNTOLD, "more_ng_frames"
    if why := _not_measured(view, rules.limits):
        return UNTOLD, why
    return ("OK", "") if _others_are_ok(view, rules) else (UNTOLD, "other_frames")


def _others_are_ok(view: ToldView, rules: _Rules) -> bool:
    """Tell whether the frames that the message does not show are surely OK.

    The worst frame is an NG one, or else the one with the largest coverage. So no OK frame has more coverage than the
    worst OK one, of no class. All stay OK where no limit is lower than it was.
    """
    if view.readable <= 1:
        return True
    if view.ng > 1 or view.measurement is None:
        return False
    at_most = view.measurement.coverage if view.ng == 0 else None
    now = rules.now
    names = {*view.measurement.classes, *rules.limits, *(now or {})}
    return at_most == 0 or all(_stay_ok(name, rules.limits, now, at_most) for name in names)


def _stay_ok(name: str, limits: Limits, now: Limits | None, at_most: float | None) -> bool:
    """Tell whether frames that were OK, with this coverage at most, stay so as far as one class goes."""
    limit = limits.get(name, NOTHING_TOLERATED)
    if now is not None and _lenient(limit, now.get(name, NOTHING_TOLERATED)):
        return True
    only_coverage = (limit.max_count, limit.max_area_mm2, limit.max_length_mm) == (None, None, None)
    return only_coverage and (limit.max_coverage is None or (at_most is not None and at_most <= limit.max_coverage))


def _tighter(rules: _Rules) -> bool:
    return rules.now is not None and at_most_as_strict(rules.now, rules.limits)


def _not_measured(view: ToldView, limits: Limits) -> Why | None:
    """Say why a frame that exceeds no limit may do so by a defect unlisted or not in millimetres."""
    assert view.measurement is not None  # noqa: S101 - the caller looked
    for class_name, seen in view.measurement.classes.items():
        limit = limits.get(class_name, NOTHING_TOLERATED)
        if not limit.needs_calibration or not seen.count:
            continue
        listed = [defect for defect in view.measurement.defects if defect.class_name == class_name]
        if any(defect.length_mm is None or defect.area_mm2 is None for defect in listed):
            return "no_mm"
        # the largest are listed, of whatever class; a long one may be small
        if len(listed) < seen.count and (limit.max_length_mm is not None or not listed):
            return "not_listed"
    return None


def at_most_as_strict(limits: Limits, others: Limits) -> bool:
    """Tell whether nothing that `others` tolerate exceeds `limits`, class by class and measure by measure."""
    return all(
        _lenient(limits.get(name, NOTHING_TOLERATED), others.get(name, NOTHING_TOLERATED))
        for name in {*limits, *others}
    )


def _lenient(limit: Limit, other: Limit) -> bool:
    for measure in MEASURES:
        most, others = getattr(limit, measure), getattr(other, measure)
        if most is not None and (others is None or others > most) and other.max_count != 0:
            return False
    return True


def _reason(why: str) -> Why:
    known: tuple[Why, ...] = get_args(Why)
    return next((each for each in known if each == why), "other_frames")


def highest(part: ToldPart, class_name: str, measure: Measure) -> float | None:
    """Return the highest value that a part shows of a class; None where it was not measured."""
    values = [
        _value(view.measurement, class_name, measure) for view in part.views.values() if view.measurement is not None
    ]
    return max((value for value in values if value is not None), default=None)


def _value(measurement: Measurement, class_name: str, measure: Measure) -> float | None:
    seen = measurement.classes.get(class_name)
    if measure in {"max_count", "max_coverage"}:
        return 0.0 if seen is None else float(seen.count) if measure == "max_count" else seen.coverage
    own = [defect for defect in measurement.defects if defect.class_name == class_name]
    sizes = [defect.area_mm2 if measure == "max_area_mm2" else defect.length_mm for defect in own]
    if any(size is None for size in sizes):
        return None
    return max((size for size in sizes if size is not None), default=0.0)


def ladder(
    parts: Iterable[ToldPart], class_name: str, measure: Measure, steps: int = 20
) -> Iterator[tuple[float, int]]:
    """Yield limits, rising, and how many parts exceed each by this class and measure alone.

    The limits are values that parts had, the lowest and the highest among them, at most `steps`.
    """
    values = sorted(
        value
        for part in parts
        if not part.challenge and (value := highest(part, class_name, measure)) is not None and value > 0
    )
    rungs = sorted({0.0, *values})
    if len(rungs) > steps:
        rungs = [rungs[round(place * (len(rungs) - 1) / (steps - 1))] for place in range(steps)]
    for rung in rungs:
        yield rung, sum(value > rung for value in values)
