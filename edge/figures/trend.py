"""The coverage over time, for a chart: each stretch of it with what was measured, or else a hole. Pure.

A stretch without a measurement is a hole and never 0. Events whose numbers never came are told beside: a stretch with
some missing is not known to be whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edge.figures.told import ToldPart
from edge.records import Verdict


@dataclass(frozen=True)
class Stretch:
    """What was told from `begins` on, for one step of the chart.

    `highest`, `mean`: of the coverage of parts that were measured, 0-1; None where none was: a hole. `missing`: events
    of this time that never came.
    """

    begins: datetime
    ok: int = 0
    ng: int = 0
    no_read: int = 0
    measured: int = 0
    highest: float | None = None
    mean: float | None = None
    missing: int = 0

    @property
    def is_hole(self) -> bool:
        """Whether nothing was measured."""
        return self.measured == 0


@dataclass(frozen=True)
class RecipeChange:
    """The first part of another recipe than the one before it. `before`: None at the beginning."""

    at: datetime
    before: str | None
    recipe: str


def trend(
    parts: Iterable[ToldPart],
    begins: datetime,
    ends: datetime,
    steps: int,
    missing: Iterable[tuple[datetime, int]] = (),
) -> list[Stretch]:
    """Return `steps` stretches of equal length, from `begins` to `ends`, excluded.

    `missing`: moments at which events were noticed to be missing, and how many. What is outside is left out.
    """
    if steps < 1 or ends <= begins:
        raise ValueError(f"expected a stretch of time in 1 step or more, received {begins} to {ends} in {steps}")
    each = (ends - begins) / steps
    told = [Stretch(begins + place * each) for place in range(steps)]
    for part in parts:
        place = _place(part.at, begins, ends, each, steps)
        if place is not None and not part.challenge:
            told[place] = _with(told[place], part)
    for at, count in missing:
        place = _place(at, begins, ends, each, steps)
        if place is not None:
            told[place] = replace(told[place], missing=told[place].missing + count)
    return told


def _place(at: datetime, begins: datetime, ends: datetime, each: timedelta, steps: int) -> int | None:
    if not begins <= at < ends:
        return None
    return min(steps - 1, int((at - begins) / each))


def _with(one: Stretch, part: ToldPart) -> Stretch:
    counted = replace(
        one,
        ok=one.ok + (part.verdict is Verdict.OK),
        ng=one.ng + (part.verdict is Verdict.NG),
        no_read=one.no_read + (part.verdict is Verdict.NO_READ),
    )
    if part.coverage is None or part.verdict is Verdict.NO_READ:
        return counted
    measured = one.measured + 1
    mean = part.coverage if one.mean is None else one.mean + (part.coverage - one.mean) / measured
    highest = part.coverage if one.highest is None else max(one.highest, part.coverage)
    return replace(counted, measured=measured, highest=highest, mean=min(mean, highest))


def recipe_changes(parts: Iterable[ToldPart]) -> list[RecipeChange]:
    """Return where the recipe changed, of parts in the order of their events."""
    changes: list[RecipeChange] = []
    before: str | None = None
    for part in parts:
        if part.recipe != before:
            changes.append(RecipeChange(part.at, before, part.recipe))
            before = part.recipe
    return changes
