"""The figures of alarms: by hand, and floods against a count of every second."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.figures.alarm_performance import AlarmTold, Performance, performance

BEGINS = datetime(2026, 1, 30, 6, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def at(seconds: float) -> datetime:
    """Return a moment so long after the beginning."""
    return BEGINS + timedelta(seconds=seconds)


def told(
    seconds: float, transition: str = "raised", alarm: str = "a", state: str = "active", **also: object
) -> AlarmTold:
    """Return one transition."""
    given_ = {"priority": "low", "occurrence_id": f"{alarm}-1", **also}
    return AlarmTold(at(seconds), alarm, transition, state, **given_)  # type: ignore[arg-type]


def of(events: Sequence[AlarmTold], hours: float = 1) -> Performance:
    """Return the figures of so many hours."""
    return performance(events, BEGINS, BEGINS + hours * HOUR)


def test_alarms_are_counted_for_each_ten_minutes() -> None:
    """Six periods in an hour; the average by hand; alarms that nobody was shown are apart."""
    seen = of(
        [told(-1), told(0), told(599.9), told(600), told(1200, shown=False), told(3599, "re_alarmed"), told(3600)]
    )
    assert seen.periods == (2, 1, 0, 0, 0, 1)
    assert (seen.annunciated, seen.hidden, seen.most) == (4, 1, 2)
    assert seen.per_period == pytest.approx(4 / 6)
    assert seen.per_day == pytest.approx(96)


def test_eleven_alarms_in_ten_minutes_are_a_flood() -> None:
    """Ten are none. It ends when fewer than five are less than ten minutes old."""
    ten = [told(10 * k) for k in range(10)]
    assert of(ten).floods == ()
    (flood,) = of([*ten, told(100), told(500)]).floods
    # of the twelve the fifth from behind came at 70 s
    assert (flood.begins, flood.ends, flood.alarms) == (at(0), at(70 + 600), 12)
    lasting = of([told(3500 + k) for k in range(11)])
    assert lasting.floods[0].ends is None
    assert lasting.flooded == timedelta(seconds=100)
    assert lasting.loud_share == pytest.approx(1 / 6)


@given(st.lists(st.integers(0, 3599), max_size=80))
def test_floods_are_those_of_a_count_of_every_second(seconds: list[int]) -> None:
    """Second by second, from nothing but how many alarms are younger than ten minutes."""
    moments = sorted(seconds)
    floods = of([told(second) for second in moments]).floods
    inside, begins, ends = False, [], []
    for now in range(3601):
        young = [each for each in moments if each <= now < each + 600]
        if not inside and len(young) > 10 and now in moments:
            inside = True
            begins.append(young[0])
        elif inside and len(young) < 5:
            inside = False
            ends.append(now)
        # within one second several alarms may both end and begin one
    shown = [int((flood.begins - BEGINS).total_seconds()) for flood in floods]
    over = [int((flood.ends - BEGINS).total_seconds()) for flood in floods if flood.ends is not None]
    assert (shown, over) == (begins, ends)


def test_an_alarm_that_stands_for_more_than_a_day_is_stale() -> None:
    """Counted from when it was raised, also before the time looked at, until its cause is gone."""
    events = [
        told(-30 * 3600, alarm="old"), told(0, alarm="new"), told(7, "acknowledged", "old", "acknowledged"),
        told(-40 * 3600, alarm="gone"), told(-39 * 3600, "cleared", "gone", "normal"),
        told(3600, "cleared", "old", "normal"), told(4000, alarm="young"),
    ]  # fmt: skip
    seen = of(sorted(events, key=lambda each: each.at), hours=25)
    assert [(each.alarm, each.lasted, each.ends is None) for each in seen.stale] == [
        ("old", 31 * HOUR, False),
        ("new", 25 * HOUR, True),
    ]


def test_three_raisings_within_a_minute_chatter() -> None:
    """Hidden ones count; two do not; a minute apart they do not."""
    quick = [told(0, alarm="a"), told(30, alarm="a", shown=False), told(59, alarm="a"), told(500, alarm="a")]
    slow = [told(0, alarm="b"), told(30, alarm="b"), told(60, alarm="b")]
    again = [told(1000 + k, alarm="a") for k in range(4)]
    (chatters,) = of(sorted([*quick, *slow, *again], key=lambda each: each.at)).chattering
    assert (chatters.alarm, chatters.most, chatters.times) == ("a", 4, 2)


def test_the_ten_worst_are_those_that_called_most() -> None:
    """With their share of all calls; an eleventh is not listed."""
    events = [told(k * 60 + n, alarm=f"a{k:02}") for k in range(11) for n in range(12 - k)]
    seen = of(events)
    assert [each.alarm for each in seen.worst] == [f"a{k:02}" for k in range(10)]
    assert seen.worst[0].share == pytest.approx(12 / 77)
    assert seen.worst_share == pytest.approx(75 / 77)


def test_the_priorities_are_counted() -> None:
    """Each has its number, none is left out."""
    seen = of([told(0, priority="high"), told(1, priority="low"), told(2, priority="low")])
    assert seen.priorities == {"high": 1, "medium": 0, "low": 2}


def test_the_time_to_acknowledge_is_that_of_occurrences() -> None:
    """From raising to acknowledging; an alarm that asks for nothing, or was never shown, is not waited for."""
    events = [
        *(told(k, occurrence_id=f"o{k}") for k in range(1, 11)),
        told(20, occurrence_id="waits"),
        told(21, occurrence_id="asks nothing", state="acknowledged"),
        told(22, occurrence_id="hidden", shown=False),
        *(told(100 + 11 * k, "acknowledged", state="acknowledged", occurrence_id=f"o{k}") for k in range(1, 11)),
        told(300, "acknowledged", state="acknowledged", occurrence_id="of another time"),
    ]
    seen = of(events).acknowledging
    assert (seen.count, seen.waiting) == (10, 1)
    # they took 110, 120, ... 200 s
    assert [each and each.total_seconds() for each in (seen.median, seen.nine_of_ten, seen.longest)] == [150, 190, 200]


def test_what_is_put_aside_is_listed_with_who_did_it() -> None:
    """The time since it was first shelved, by the last who did so. One that was taken back is not there."""
    events = [
        told(-500, "shelved", "old", user="anna", comment="spare part"),
        told(10, "shelved", "b", user="bert"), told(20, "unshelved", "b"),
        told(30, "shelved", "old", user="carl", comment="still none"),
    ]  # fmt: skip
    (shelved,) = of(events).shelved
    assert (shelved.alarm, shelved.since, shelved.user, shelved.comment) == ("old", at(-500), "carl", "still none")


def test_a_clock_that_goes_back_stands_still() -> None:
    """Events are in the order of their numbers: no time is less than nothing."""
    events = [told(1000, occurrence_id="o"), told(10, "acknowledged", state="acknowledged", occurrence_id="o")]
    assert of(events).acknowledging.longest == timedelta()


def test_nothing_is_nothing_and_no_time_is_an_error() -> None:
    """An hour without alarms has periods of none; a time without length has no figures."""
    seen = of([])
    assert (seen.annunciated, seen.periods, seen.worst_share, seen.acknowledging.median) == (0, (0,) * 6, 0.0, None)
    with pytest.raises(ValueError, match="expected an end after the beginning"):
        performance([], BEGINS, BEGINS)
