"""The shift of a moment, by the factory's own clock. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones


@dataclass(frozen=True)
class Shift:
    """One shift: `begins`, `ends` in UTC, half-open. `name`: its beginning by local clock, as `2026-03-29 22:00`."""

    name: str
    begins: datetime
    ends: datetime


@dataclass(frozen=True)
class ShiftPlan:
    """The beginnings of shifts, by the clock of a place: `starts`, times of day, ascending."""

    starts: tuple[time, ...]
    zone: tzinfo

    def at(self, moment: datetime) -> Shift:
        """Return the shift that holds a moment."""
        return shift_at(moment, self.starts, self.zone)

    def key(self, shift: Shift) -> str:
        """Return what a shift is counted under: its beginning, local, with its offset, as `2026-11-30T06:00+01:00`."""
        return shift.begins.astimezone(self.zone).isoformat(timespec="minutes")


class ShiftClock:
    """Tells which shift a moment is counted under; it works that out once for each shift, not for each part."""

    def __init__(self, plan: ShiftPlan) -> None:
        self._plan = plan
        self._shift: Shift | None = None
        self._key = ""

    def key(self, moment: datetime) -> str:
        """Return what the shift of a moment is counted under, as `2026-11-30T06:00+01:00`."""
        if self._shift is None or not self._shift.begins <= moment < self._shift.ends:
            self._shift = self._plan.at(moment)
            self._key = self._plan.key(self._shift)
        return self._key


def time_of_day(text: str) -> time:
    """Read "HH:MM". Raises ValueError."""
    if not re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise ValueError(f"expected times of day as HH:MM, from 00:00 to 23:59, such as 06:00; {text!r:.40} is none")
    return time(int(text[:2]), int(text[3:]))


def zone_of(name: str) -> tzinfo:
    """Return the time zone of an IANA name; UTC is known on every system. Raises ValueError that says what to do."""
    if name == "UTC":
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        if not available_timezones():
            raise ValueError(
                "expected UTC, since this system knows no other time zone; install its package tzdata "
                "(apt install tzdata) or PyPI's (pip install tzdata)"
            ) from error
        raise ValueError("expected the IANA name of a time zone, such as Europe/Berlin or UTC") from error


def shift_at(moment: datetime, starts: Sequence[time], zone: tzinfo) -> Shift:
    """Return the shift that holds a moment. `starts`: local times of day; without any a day is one shift from 00:00.

    A start that a change to summer time leaves out begins when the clock has passed it. One that comes twice begins the
    first time. So a shift in that night has an hour less or more. No moment is in two shifts or in none.
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


def _instant(day: date, at: time, zone: tzinfo) -> datetime:
    """Return when a local time comes, in UTC.

    One that is left out comes when the clock has jumped over it.
    """
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
