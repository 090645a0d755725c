"""The shift that is reported, and what its alarms and its time came to."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from edge.errors import StoreError
from edge.figures.shift_blocks import duration, percent
from edge.figures.shift_report import Stretch, alarm_figures, chosen, figures_of, is_moment, time_figures
from edge.parts.shifts import ShiftPlan, time_of_day, zone_of
from edge.records import JournalEntry
from edge.records.ledger import CountDelta
from tests.edge.station.shift_store import BEGINS, EARLY, LATE, PLAN

DAY = ShiftPlan((time_of_day("00:00"),), ZoneInfo("Europe/Berlin"))
HOUR = timedelta(hours=1)
STRETCH = Stretch(EARLY, BEGINS, BEGINS + 8 * HOUR, BEGINS + 8 * HOUR)
SHIFTS = ["2026-01-29T22:00+01:00", EARLY, LATE]


def entry(hours: float, kind: str, alarm: str = "a", user: str = "") -> JournalEntry:
    """Return an entry so long after the shift began."""
    return JournalEntry(BEGINS + hours * HOUR, "boot", 1, kind, alarm, "o", user, "", "")


def at(hours: float) -> datetime:
    """Return a moment so long after the early shift began."""
    return BEGINS + hours * HOUR


def test_last_is_the_last_shift_that_ended() -> None:
    """A shift that runs is not the last one; it is after its end, and one without parts is none."""
    assert chosen(SHIFTS, PLAN, "last", at(9)).shift == EARLY
    assert chosen(SHIFTS, PLAN, "last", at(16)).shift == LATE
    assert chosen(SHIFTS, PLAN, "last", at(16 + 240)).shift == LATE
    with pytest.raises(StoreError, match="No shift in the store has ended"):
        chosen([EARLY], PLAN, "last", at(7.9))


def test_current_is_the_shift_that_runs_though_nothing_was_counted_in_it() -> None:
    """It is known up to now, and its end is where the settings put it."""
    stretch = chosen(SHIFTS, PLAN, "current", at(20))
    assert stretch == Stretch("2026-01-30T22:00+01:00", at(16), at(24), at(20))
    assert stretch.running


def test_a_shift_is_named_by_when_it_began() -> None:
    """By the clock on the wall, with a blank or a T, with or without the offset. Nothing else will do."""
    for asked in ("2026-01-30T06:00", "2026-01-30 06:00", EARLY):
        assert is_moment(asked)
        assert chosen(SHIFTS, PLAN, asked, at(9)) == STRETCH
    for asked in ("2026-01-30", "06:00", "yesterday", "2026-01-30T06:00:00", "2026-01-30T06:00Z", ""):
        assert not is_moment(asked)
    with pytest.raises(StoreError, match=r"no shift that began at 2026-01-30T07:00\. .*" + LATE.replace("+", r"\+")):
        chosen(SHIFTS, PLAN, "2026-01-30T07:00", at(9))
    with pytest.raises(StoreError, match="nothing was counted yet"):
        chosen([], PLAN, "2026-01-30T07:00", at(9))


def test_an_error_lists_the_latest_shifts_first_and_not_all() -> None:
    """Of 25 shifts the 20 latest are named."""
    shifts = [f"2026-01-{day:02}T00:00+01:00" for day in range(1, 26)]
    with pytest.raises(StoreError, match=r"2026-01-25T.*, 2026-01-06T00:00\+01:00, and 5 older ones"):
        chosen(shifts, DAY, "2025-01-01T00:00", at(0))


def test_what_began_twice_by_the_clock_on_the_wall_is_not_guessed() -> None:
    """After a change of the time zone two shifts may have one beginning; the offset tells them apart."""
    two = ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    with pytest.raises(StoreError, match=r"Two shifts began .*\+02:00 and .*\+01:00"):
        chosen(two, DAY, "2026-10-25T02:00", at(9999))
    assert chosen(two, DAY, two[1], at(9999)).shift == two[1]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_the_days_of_the_change_have_23_and_25_hours(day: str, hours: int) -> None:
    """A station that ran all day was off for no time. One that never ran was off for as long as the day had."""
    begins = datetime.fromisoformat(day).replace(tzinfo=DAY.zone).astimezone(timezone.utc)
    shift = DAY.key(DAY.at(begins))
    stretch = chosen([shift], DAY, f"{day}T00:00", begins + timedelta(days=3))
    assert stretch.ends - stretch.begins == hours * HOUR
    assert time_figures([CountDelta(shift, "", "up_ms", hours * 3_600_000)], stretch).off_ms == 0
    assert time_figures([], stretch).off_ms == hours * 3_600_000


def test_a_shift_ends_where_the_next_began_though_the_settings_are_others_now() -> None:
    """The plan of today has one shift a day; those of then ended when the next began."""
    utc = ShiftPlan((time_of_day("00:00"),), zone_of("UTC"))
    early = chosen(SHIFTS, utc, EARLY, at(99))
    late = chosen(SHIFTS, utc, LATE, at(99))
    assert (early.ends, late.ends) == (late.begins, datetime(2026, 1, 31, tzinfo=timezone.utc))


def test_a_shift_that_no_line_writes_is_an_error() -> None:
    """Somebody wrote into the store; no beginning is invented."""
    with pytest.raises(StoreError, match="altered: expected the beginning of a shift, found 'soon'"):
        chosen(["soon"], PLAN, "last", at(9))
    with pytest.raises(StoreError, match="altered"):
        chosen(["2026-01-30T06:00"], PLAN, "last", at(9))  # without an offset it is no moment


def test_an_alarm_is_active_from_raising_to_its_end() -> None:
    """One that stood before counts from the beginning; one that stands counts to the end; who acknowledged is told."""
    before = [entry(-3, "raised", "old"), entry(-2, "cleared", "over")]
    journal = [
        entry(0.5, "cleared", "old"), entry(1, "raised"), entry(1.25, "acknowledged", user="anna"),
        entry(1.5, "cleared"), entry(6, "raised"), entry(6.5, "re_alarmed"), entry(7, "acknowledged", user="anna"),
        entry(7.5, "acknowledged", "over", "bert"),
    ]  # fmt: skip
    a, old, over = alarm_figures(journal, before, STRETCH)
    assert (a.alarm, a.raised, a.active, a.stands, a.acknowledged_by) == ("a", 2, 2.5 * HOUR, True, ("anna",))
    assert (old.alarm, old.raised, old.active, old.stands) == ("old", 0, 0.5 * HOUR, False)
    assert (over.alarm, over.raised, over.active, over.acknowledged_by) == ("over", 0, timedelta(), ("bert",))


def test_an_alarm_that_was_raised_anew_is_not_counted_twice_in_time() -> None:
    """Raised while it stood, as after a restart: the time is that of the clock."""
    (a,) = alarm_figures([entry(1, "raised"), entry(2, "raised"), entry(3, "forgotten")], [], STRETCH)
    assert (a.raised, a.active) == (2, 2 * HOUR)


def test_in_a_running_shift_an_alarm_is_active_until_now() -> None:
    """The time to come is not counted."""
    running = Stretch(EARLY, BEGINS, BEGINS + 8 * HOUR, at(2))
    (a,) = alarm_figures([entry(1, "raised")], [], running)
    assert (a.active, a.stands) == (HOUR, True)


def test_raisings_that_the_journal_has_no_room_for_are_in_the_ledger() -> None:
    """Of two counts the higher is told: the journal forgets, the ledger of a shift does not."""
    (a,) = alarm_figures([entry(1, "raised")], [], STRETCH, [CountDelta(EARLY, "", "alarm:a", 5)])
    assert a.raised == 5


def test_figures_add_recipes_up_and_hide_no_counter() -> None:
    """98 OK and 2 NG of two recipes are 98.00 %, from 93.00 to 99.45 %. A counter of no known name is shown by it."""
    counts = [
        CountDelta(EARLY, recipe, name, by)
        for recipe, name, by in (
            ("x", "parts", 60), ("y", "parts", 45), ("x", "ok", 58), ("y", "ok", 40), ("x", "ng", 2),
            ("y", "no_read", 5), ("y", "challenge_missed", 1), ("x", "grade:A", 58), ("x", "value", 29.0),
        )
    ]  # fmt: skip
    figures = figures_of(counts)
    assert (figures.parts, figures.ok, figures.ng, figures.no_read) == (105, 98, 2, 5)
    assert percent(figures.yield_share) == "98.00 %"
    assert figures.interval is not None
    assert [percent(side) for side in figures.interval] == ["93.00 %", "99.45 %"]
    assert figures.others == {"challenge_missed": 1}
    assert figures.value_mean == 0.5


def test_nothing_is_rounded_to_all_or_to_nothing() -> None:
    """One NG part in a million is not 100 %, and one OK part in a million is not 0 %."""
    assert [percent(share) for share in (1.0, 0.999999, 0.0, 0.000001, None)] == [
        "100.00 %",
        "99.99 %",
        "0.00 %",
        "0.01 %",
        "-",
    ]
    assert [duration(ms) for ms in (0, 250, 61_000, 36_000_000)] == ["0:00:00", "250 ms", "0:01:01", "10:00:00"]
