"""The trend of the coverage: holes are holes, nothing is counted twice, and recipes change where they changed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.figures.told import ToldPart, ToldView
from edge.figures.trend import recipe_changes, trend
from edge.records import Measurement, Verdict

BEGINS = datetime(2026, 1, 30, 6, tzinfo=timezone.utc)
ENDS = BEGINS + timedelta(minutes=30)


def told(seconds: float, coverage: float | None, recipe: str = "a", *, challenge: bool = False) -> ToldPart:
    """Return a part told so long after the beginning; without a coverage it is NO_READ."""
    measured = None if coverage is None else Measurement(coverage, None, 0.0, {}, ())
    verdict = Verdict.NO_READ if coverage is None else Verdict.NG if coverage > 0.1 else Verdict.OK
    view = ToldView(1, int(measured is not None), 0, 0, measured, 0)
    at = BEGINS + timedelta(seconds=seconds)
    return ToldPart("p", 1, at, verdict, "", recipe, None, False, challenge, False, {"top": view}, ())


def test_each_minute_has_its_own_parts() -> None:
    """Mean and highest by hand; a minute without a part, and one with unread parts alone, are holes."""
    parts = [
        told(0, 0.2),
        told(59.9, 0.0),
        told(60, None),
        told(120, 0.05),
        told(121, 0.01),
        told(-1, 1),
        told(1800, 1),
    ]
    first, second, third, *rest = trend(parts, BEGINS, ENDS, 30)
    assert (first.ok, first.ng, first.highest, first.mean) == (1, 1, 0.2, pytest.approx(0.1))
    assert (second.no_read, second.highest, second.mean, second.is_hole) == (1, None, None, True)
    assert (third.highest, third.mean) == (0.05, pytest.approx(0.03))
    assert all(each.is_hole and each.highest is None for each in rest)
    assert [each.begins for each in (first, second)] == [BEGINS, BEGINS + timedelta(minutes=1)]


def test_events_that_never_came_are_told_where_they_are_missing() -> None:
    """They are in the step of the moment at which they were noticed."""
    steps = trend([], BEGINS, ENDS, 3, [(BEGINS, 2), (BEGINS + timedelta(minutes=9), 1), (ENDS, 5)])
    assert [each.missing for each in steps] == [3, 0, 0]


def test_a_challenge_is_not_in_the_trend() -> None:
    """Its parts are known to be bad."""
    assert all(each.is_hole for each in trend([told(5, 0.9, challenge=True)], BEGINS, ENDS, 30))


@given(st.lists(st.tuples(st.floats(-100, 2000), st.none() | st.floats(0, 1))), st.integers(1, 100))
def test_every_part_within_is_in_one_step(moments: list[tuple[float, float | None]], steps: int) -> None:
    """And the highest of all steps is the highest of all parts."""
    parts = [told(seconds, coverage) for seconds, coverage in moments]
    within = [part for part in parts if BEGINS <= part.at < ENDS]
    shown = trend(parts, BEGINS, ENDS, steps)
    assert sum(each.ok + each.ng + each.no_read for each in shown) == len(within)
    highest = [part.coverage for part in within if part.coverage is not None]
    assert max((each.highest for each in shown if each.highest is not None), default=None) == max(highest, default=None)
    assert all(each.mean is None or each.highest is None or each.mean <= each.highest for each in shown)


def test_a_change_of_recipe_is_where_the_first_part_of_it_is() -> None:
    """The beginning is a change from none."""
    parts = [told(1, 0, "a"), told(2, 0, "a"), told(3, 0, "b"), told(4, 0, "a")]
    changes = [(each.before, each.recipe, (each.at - BEGINS).seconds) for each in recipe_changes(parts)]
    assert changes == [(None, "a", 1), ("a", "b", 3), ("b", "a", 4)]
