"""A station's alarms in their service to operators, by ISA-18.2 (2016, table 7) and EEMUA 191. Pure.

An annunciation is an alarm that is raised, or alarms again, and is shown. A shelved or suppressed alarm, one out of
service and a member of a flood are counted apart: nobody was called by it. Times are those of the events, in their
order; a clock that goes back stands still.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

PERIOD = timedelta(minutes=10)
FLOOD_ABOVE = 10  # annunciations in a period
FLOOD_ENDS_BELOW = 5
STALE_AFTER = timedelta(hours=24)
CHATTER_AT_LEAST, CHATTER_WITHIN = 3, timedelta(minutes=1)
WORST = 10
PRIORITIES = ("high", "medium", "low")
# ISA-18.2's recommended rate for one operator, and the most that can be borne.
TARGET_PER_PERIOD, MOST_PER_PERIOD = 1.0, 2.0
TARGET_PER_DAY, MOST_PER_DAY = 150.0, 300.0
TARGET_FLOOD_SHARE = 0.01
TARGET_WORST_SHARE = 0.05
TARGET_STALE = 5
TARGET_PRIORITIES: Mapping[str, float] = {"high": 0.05, "medium": 0.15, "low": 0.80}

_CALLS = frozenset({"raised", "re_alarmed"})
_STANDS = frozenset({"active", "acknowledged"})


@dataclass(frozen=True)
class AlarmTold:
    """One transition of one alarm, as `event/alarm` told it, in the order of the events. `at`: UTC."""

    at: datetime
    alarm: str
    transition: str
    state: str
    priority: str
    occurrence_id: str | None
    shown: bool = True
    user: str = ""
    comment: str = ""


@dataclass(frozen=True)
class Flood:
    """A time in which more alarms came than can be read: more than ten in ten minutes, until fewer than five did.

    `ends`: None while it lasts. `alarms`: annunciations from the first of those ten minutes on.
    """

    begins: datetime
    ends: datetime | None
    alarms: int


@dataclass(frozen=True)
class Stale:
    """An occurrence whose cause stood for more than 24 hours. `ends`: None while it stands."""

    alarm: str
    begins: datetime
    ends: datetime | None
    lasted: timedelta


@dataclass(frozen=True)
class Chattering:
    """An alarm that was raised three times or more within a minute. `most`: in any minute; `times`: stretches of it."""

    alarm: str
    most: int
    times: int


@dataclass(frozen=True)
class Loud:
    """One alarm among those that called most often. `share`: of all annunciations, 0-1."""

    alarm: str
    count: int
    share: float


@dataclass(frozen=True)
class Acknowledging:
    """The times that people took to acknowledge what asked for it.

    `waiting`: occurrences that nobody acknowledged while they asked for it, or has yet.
    """

    count: int
    median: timedelta | None
    nine_of_ten: timedelta | None
    longest: timedelta | None
    waiting: int


@dataclass(frozen=True)
class Shelved:
    """An alarm that is put aside at the end: since when, and by whom last."""

    alarm: str
    since: datetime
    user: str
    comment: str


@dataclass(frozen=True)
class Performance:
    """The figures of a stretch of time. `periods`: annunciations of each ten minutes, the last one perhaps not whole.

    `hidden`: raised and shown to nobody. `worst_share`: what the ten loudest have of all.
    """

    begins: datetime
    ends: datetime
    annunciated: int
    hidden: int
    periods: tuple[int, ...]
    floods: tuple[Flood, ...]
    flooded: timedelta
    stale: tuple[Stale, ...]
    chattering: tuple[Chattering, ...]
    worst: tuple[Loud, ...]
    priorities: Mapping[str, int]
    acknowledging: Acknowledging
    shelved: tuple[Shelved, ...]

    @property
    def per_period(self) -> float:
        """Annunciations in ten minutes, on average."""
        return self.annunciated / ((self.ends - self.begins) / PERIOD)

    @property
    def per_day(self) -> float:
        """Annunciations in a day, at this pace."""
        return self.per_period * (timedelta(days=1) / PERIOD)

    @property
    def most(self) -> int:
        """Annunciations in the worst of the periods."""
        return max(self.periods, default=0)

    @property
    def loud_share(self) -> float:
        """The share of the periods, 0-1, with more annunciations than FLOOD_ABOVE."""
        return sum(count > FLOOD_ABOVE for count in self.periods) / len(self.periods) if self.periods else 0.0

    @property
    def flooded_share(self) -> float:
        """The share of the time, 0-1, that was a flood."""
        return self.flooded / (self.ends - self.begins)

    @property
    def worst_share(self) -> float:
        """The share of all annunciations, 0-1, that the loudest alarms have."""
        return sum(each.count for each in self.worst) / self.annunciated if self.annunciated else 0.0


def performance(told: Iterable[AlarmTold], begins: datetime, ends: datetime) -> Performance:
    """Return the figures of the time from `begins` to `ends`, excluded.

    `told`: transitions in the order of their events. Those before `begins` tell what stood and was shelved then. Those
    from `ends` on are left out. Raises ValueError for a time without length.
    """
    if ends <= begins:
        raise ValueError(f"expected an end after the beginning, received {begins} to {ends}")
    events = _forward([event for event in told if event.at < ends])
    within = [event for event in events if event.at >= begins]
    calls = [event for event in within if event.transition in _CALLS and event.shown]
    moments = [event.at for event in calls]
    loud = Counter(event.alarm for event in calls)
    floods = _floods(moments, ends)
    return Performance(
        begins=begins,
        ends=ends,
        annunciated=len(calls),
        hidden=sum(event.transition in _CALLS and not event.shown for event in within),
        periods=_periods(moments, begins, ends),
        floods=floods,
        flooded=sum(((flood.ends or ends) - flood.begins for flood in floods), timedelta()),
        stale=_stale(events, begins, ends),
        chattering=_chattering(within),
        worst=_worst(loud, len(calls)),
        priorities={name: sum(event.priority == name for event in calls) for name in PRIORITIES},
        acknowledging=_acknowledging(events, begins),
        shelved=_shelved(events),
    )


def _forward(events: Sequence[AlarmTold]) -> list[AlarmTold]:
    """Let a clock that goes back stand still, so that no time is less than nothing."""
    told: list[AlarmTold] = []
    for event in events:
        late = told and event.at < told[-1].at
        told.append(_at(event, told[-1].at) if late else event)
    return told


def _at(event: AlarmTold, at: datetime) -> AlarmTold:
    return AlarmTold(**{**vars(event), "at": at})


def _periods(moments: Iterable[datetime], begins: datetime, ends: datetime) -> tuple[int, ...]:
    counts = [0] * math.ceil((ends - begins) / PERIOD)
    for at in moments:
        counts[(at - begins) // PERIOD] += 1
    return tuple(counts)


def _floods(moments: Sequence[datetime], ends: datetime) -> tuple[Flood, ...]:
    """Slide a window of ten minutes over the annunciations; it holds those less than ten minutes old."""
    floods: list[Flood] = []
    window: deque[datetime] = deque()
    begins: datetime | None = None
    count = 0
    for at in moments:
        if begins is not None and (over := _fewer_at(window)) <= at:
            floods.append(Flood(begins, over, count))
            begins = None
        while window and at - window[0] >= PERIOD:
            window.popleft()
        window.append(at)
        count += 1
        if begins is None and len(window) > FLOOD_ABOVE:
            begins, count = window[0], len(window)
    if begins is not None:
        over = _fewer_at(window)
        floods.append(Flood(begins, over if over <= ends else None, count))
    return tuple(floods)


def _fewer_at(window: Sequence[datetime]) -> datetime:
    """Return when fewer than FLOOD_ENDS_BELOW of these are less than ten minutes old, if no more come."""
    return window[-FLOOD_ENDS_BELOW] + PERIOD


def _stale(events: Iterable[AlarmTold], begins: datetime, ends: datetime) -> tuple[Stale, ...]:
    since: dict[str, datetime] = {}
    found: list[Stale] = []
    for event in events:
        if event.state in _STANDS:
            since.setdefault(event.alarm, event.at)
        elif (begun := since.pop(event.alarm, None)) is not None and event.at >= begins:
            found.append(Stale(event.alarm, begun, event.at, event.at - begun))
    found += [Stale(alarm, begun, None, ends - begun) for alarm, begun in since.items()]
    return tuple(sorted((each for each in found if each.lasted > STALE_AFTER), key=lambda each: -each.lasted))


def _chattering(events: Iterable[AlarmTold]) -> tuple[Chattering, ...]:
    """Count raisings whether they were shown or not: what chatters is soon suppressed, and chatters on."""
    moments: dict[str, list[datetime]] = {}
    for event in events:
        if event.transition == "raised":
            moments.setdefault(event.alarm, []).append(event.at)
    found = [_chatter(alarm, raised) for alarm, raised in moments.items()]
    return tuple(sorted((each for each in found if each.times), key=lambda each: (-each.most, each.alarm)))


def _chatter(alarm: str, raised: Sequence[datetime]) -> Chattering:
    window: deque[datetime] = deque()
    most = times = 0
    chatters = False
    for at in raised:
        while window and at - window[0] >= CHATTER_WITHIN:
            window.popleft()
        window.append(at)
        most = max(most, len(window))
        times += len(window) >= CHATTER_AT_LEAST and not chatters
        chatters = len(window) >= CHATTER_AT_LEAST
    return Chattering(alarm, most, times)


def _worst(loud: Counter[str], total: int) -> tuple[Loud, ...]:
    ranked = sorted(loud.items(), key=lambda each: (-each[1], each[0]))
    return tuple(Loud(alarm, count, count / total) for alarm, count in ranked[:WORST])


def _acknowledging(events: Iterable[AlarmTold], begins: datetime) -> Acknowledging:
    """Follow occurrences that were raised in the time looked at, and shown, until somebody acknowledged them."""
    asked: dict[str, datetime] = {}
    took: list[timedelta] = []
    for event in events:
        if event.occurrence_id is None:
            continue
        if event.transition == "raised" and event.state == "active" and event.shown and event.at >= begins:
            asked.setdefault(event.occurrence_id, event.at)
        elif event.transition == "acknowledged" and (since := asked.pop(event.occurrence_id, None)) is not None:
            took.append(event.at - since)
    took.sort()
    return Acknowledging(len(took), _quantile(took, 0.5), _quantile(took, 0.9), _quantile(took, 1.0), len(asked))


def _quantile(ordered: Sequence[timedelta], share: float) -> timedelta | None:
    """Return the smallest that at least this share is not above; None of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _shelved(events: Iterable[AlarmTold]) -> tuple[Shelved, ...]:
    aside: dict[str, Shelved] = {}
    for event in events:
        if event.transition == "shelved":
            since = aside[event.alarm].since if event.alarm in aside else event.at
            aside[event.alarm] = Shelved(event.alarm, since, event.user, event.comment)
        elif event.transition == "unshelved":
            aside.pop(event.alarm, None)
    return tuple(aside.values())
