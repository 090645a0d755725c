"""Which shift a moment belongs to, by the factory's own clock. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class Shift:
    """One shift: `begins`, `ends` in UTC, half-open. `name`: its beginning by local clock, as `2026-03-29 22:00`."""

    name: str
    begins: datetime
    ends: datetime


def shift_at(moment: datetime, starts: Sequence[time], zone: ZoneInfo) -> Shift:
    """Return the shift that holds a moment. `starts`: local times of day; without any a day is one shift from 00:00.

    A start that a change to summer time leaves out begins when the clock has passed it; one that comes twice begins
    the first time. So a shift in that night has an hour less or more, and no moment is in two shifts or in none.
    """
    local_day = moment.astimezone(zone).date()
    begun = [
        (begin, at, day)
        for day in (local_day - timedelta(days=1), local_day, local_day + timedelta(days=1))
        for at in sorted(starts) or [time()]
        for begin in [_instant(day, at, zone)]
    ]
    begun.sort(key=lambda each: each[0])
    place = max(k for k, (begin, _, _) in enumerate(begun) if begin <= moment)
    begins, at, day = begun[place]
    return Shift(f"{day.isoformat()} {at:%H:%M}", begins, begun[place + 1][0])


def _instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """Return when a local time comes, in UTC; of one that is left out, when the clock has jumped over it."""
    naive = datetime.combine(day, at)
    first = naive.replace(tzinfo=zone, fold=0).astimezone(timezone.utc)
    if first.astimezone(zone).replace(tzinfo=None) == naive:
        return first
    # in the gap fold 0 counts with the offset before the jump: the moment of the jump is as far before as it is late
    after = naive.replace(tzinfo=zone, fold=1).utcoffset()
    before = naive.replace(tzinfo=zone, fold=0).utcoffset()
    assert after is not None and before is not None  # noqa: S101, PT018 - a ZoneInfo always has an offset
    low, high = first - abs(before - after), first
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == low.astimezone(zone).utcoffset():
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)
