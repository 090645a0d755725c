"""A moment is in one shift, also in the nights when the clocks change."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.parts.shifts import ShiftClock, ShiftPlan, shift_at

BERLIN = ZoneInfo("Europe/Berlin")
THREE = (time(6), time(14), time(22))


def utc(*when: int) -> datetime:
    """Return a moment in UTC."""
    return datetime(*when, tzinfo=timezone.utc)  # type: ignore[misc] # mypy does not count the numbers


def test_three_shifts_of_a_plain_day() -> None:
    """In November Berlin is an hour ahead of UTC: 05:00 UTC is the early shift's first moment."""
    early = shift_at(utc(2026, 11, 30, 5), THREE, BERLIN)
    assert (early.name, early.begins, early.ends) == ("2026-11-30 06:00", utc(2026, 11, 30, 5), utc(2026, 11, 30, 13))
    night = shift_at(utc(2026, 11, 30, 4, 59), THREE, BERLIN)
    assert (night.name, night.ends) == ("2026-11-29 22:00", utc(2026, 11, 30, 5))


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 7), ((2026, 10, 25), 9)])
def test_the_night_in_which_clocks_change(day: tuple[int, int, int], hours: int) -> None:
    """The night shift has seven hours in March and nine in October, and both ends are where local clocks say."""
    night = shift_at(utc(*day, 1), THREE, BERLIN)
    assert night.ends - night.begins == timedelta(hours=hours)
    assert night.begins.astimezone(BERLIN).time() == time(22)
    assert night.ends.astimezone(BERLIN).time() == time(6)


def test_a_start_that_the_clock_leaves_out_or_has_twice() -> None:
    """A shift of 02:30 begins at 03:00 in March, when the clock jumps, and the first time in October."""
    starts = (time(2, 30), time(14))
    assert shift_at(utc(2026, 3, 29, 2), starts, BERLIN).begins == utc(2026, 3, 29, 1)
    assert shift_at(utc(2026, 10, 25, 2), starts, BERLIN).begins == utc(2026, 10, 25, 0, 30)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001 - hypothesis draws naive ones
    st.lists(st.times().map(lambda at: at.replace(second=0, microsecond=0)), max_size=5, unique=True),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "UTC"]),
)
def test_every_moment_is_in_one_shift(naive: datetime, starts: list[time], zone: str) -> None:
    """A shift holds its moment, and the shift of its end is the next one."""
    moment = naive.replace(tzinfo=timezone.utc)
    shift = shift_at(moment, starts, ZoneInfo(zone))
    assert shift.begins <= moment < shift.ends
    assert shift_at(shift.begins, starts, ZoneInfo(zone)) == shift
    following = shift_at(shift.ends, starts, ZoneInfo(zone))
    assert following.begins == shift.ends


@given(st.lists(st.integers(-200_000, 200_000), max_size=30))
def test_a_clock_that_remembers_its_shift_says_what_the_plan_says(seconds: list[int]) -> None:
    """Forward and backward over the night of a change, each moment is counted under its own shift."""
    plan = ShiftPlan(THREE, BERLIN)
    clock = ShiftClock(plan)
    for moment in [utc(2026, 10, 25, 1) + timedelta(seconds=each) for each in seconds]:
        assert clock.key(moment) == plan.key(plan.at(moment))
