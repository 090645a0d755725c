"""The figures of a shift, from the store: parts, yield, classes, grades, alarms, time, challenges. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise

from edge.errors import StoreError
from edge.outbox import OutboxReader
from edge.parts.ledger import (
    ALARM,
    CLASS,
    DOWN_MS,
    FRAMES,
    GRADE,
    NG,
    NG_CLASS,
    NO_READ,
    NO_READ_TRIGGER,
    OK,
    PARTS,
    REPEATED_IDS,
    UP_MS,
    VALUE,
)
from edge.parts.shifts import ShiftPlan
from edge.parts.yields import wilson_interval, yield_of
from edge.records import JournalEntry
from edge.records.ledger import CountDelta, WorstPart

# The journal's kinds that the report tells of, beside those of alarms.
BYPASS_BEGINS, BYPASS_ENDS, CHALLENGE = "bypass_begin", "bypass_end", "challenge"
_RAISED, _ACKNOWLEDGED = "raised", "acknowledged"
_ALARM_ENDS = frozenset({"cleared", "forgotten", "unreadable"})
_LISTED = 20  # shifts that an error names
_KNOWN = frozenset(
    {PARTS, FRAMES, OK, NG, NO_READ, NO_READ_TRIGGER, REPEATED_IDS, VALUE, UP_MS},
)
_FAMILIES = (CLASS, NG_CLASS, GRADE, ALARM, DOWN_MS)


@dataclass(frozen=True)
class Stretch:
    """The time of a shift: from `begins` to `ends`, excluded; of it the report knows what was before `known_to`."""

    shift: str
    begins: datetime
    ends: datetime
    known_to: datetime

    @property
    def running(self) -> bool:
        """True while the shift goes on."""
        return self.known_to < self.ends

    def held(self, moment: datetime) -> datetime:
        """Return a moment, or the end of what is known that is nearer."""
        return min(max(moment, self.begins), self.known_to)


@dataclass(frozen=True)
class ClassCount:
    """The numbers of parts that show a class: NG ones, and all."""

    name: str
    ng: int
    shown: int


@dataclass(frozen=True)
class Figures:
    """The figures of the parts of one recipe, or of all. `frames`: of the parts, how many are frames by themselves.

    `missed`: of `no_read`, those that no view had a frame of. `repeated`: parts whose id came before. `value`: the sum
    of the shares of the price of all graded parts. `others`: counters that the report has no place of its own for.
    """

    parts: int
    frames: int
    ok: int
    ng: int
    no_read: int
    missed: int
    repeated: int
    classes: tuple[ClassCount, ...]
    grades: Mapping[str, int]
    value: float
    others: Mapping[str, float]

    @property
    def yield_share(self) -> float | None:
        """OK ÷ (OK + NG), None where no part was judged."""
        return yield_of(self.ok, self.ng)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the yield."""
        return wilson_interval(self.ok, self.ok + self.ng)

    @property
    def value_mean(self) -> float | None:
        """The share of the price that a graded part has on average."""
        graded = sum(self.grades.values())
        return self.value / graded if graded else None


@dataclass(frozen=True)
class AlarmFigures:
    """One alarm in a shift. `active`: how long its cause stood; `stands`: it did so at the end of what is known."""

    alarm: str
    raised: int
    active: timedelta
    stands: bool
    acknowledged_by: tuple[str, ...]


@dataclass(frozen=True)
class TimeFigures:
    """The times of a shift, ms. `down_ms` by reason. `off_ms`: the station did not run, so far."""

    up_ms: int
    down_ms: Mapping[str, int]
    off_ms: int


@dataclass(frozen=True)
class ShiftReport:
    """Everything about one shift. `zone`: of the clock on the wall. `worst`: of all recipes, the worst first.

    `entries`: of challenges and bypasses. `bypassed`: the bypass that was in force when the shift began.
    """

    station: str
    zone: tzinfo
    stretch: Stretch
    total: Figures
    recipes: Mapping[str, Figures]
    worst: Sequence[WorstPart]
    alarms: Sequence[AlarmFigures]
    time: TimeFigures
    entries: Sequence[JournalEntry] = field(default_factory=tuple)
    bypassed: JournalEntry | None = None


def read_report(reader: OutboxReader, plan: ShiftPlan, station: str, asked: str, now: datetime) -> ShiftReport:
    """Read the shift that was `asked` for from a store.

    `asked`: last, current, or when it began: `2026-11-30T06:00` by the clock on the wall. Raises StoreError, which
    lists the shifts that there are, where there is no such shift.
    """
    stretch = chosen(reader.shifts(), plan, asked, now)
    counts = reader.counts(stretch.shift)
    journal = reader.journal_between(stretch.begins, stretch.ends)
    before = reader.last_before(stretch.begins, sorted({_RAISED, *_ALARM_ENDS}))
    bypass = reader.last_before(stretch.begins, [BYPASS_BEGINS, BYPASS_ENDS])
    told = {BYPASS_BEGINS, BYPASS_ENDS, CHALLENGE}
    recipes = sorted({count.recipe for count in counts if count.name == PARTS})
    return ShiftReport(
        station=station,
        zone=plan.zone,
        stretch=stretch,
        total=figures_of(counts),
        recipes={recipe: figures_of(count for count in counts if count.recipe == recipe) for recipe in recipes},
        worst=reader.worst(stretch.shift),
        alarms=alarm_figures(journal, before, stretch, counts),
        time=time_figures(counts, stretch),
        entries=tuple(entry for entry in journal if entry.kind in told),
        bypassed=bypass[-1] if bypass and bypass[-1].kind == BYPASS_BEGINS else None,
    )


def chosen(shifts: Sequence[str], plan: ShiftPlan, asked: str, now: datetime) -> Stretch:
    """Return the stretch of the shift that was asked for. `shifts`: those in the store, oldest first."""
    stretches = [_stretch(shift, following, plan, now) for shift, following in pairwise([*shifts, None]) if shift]
    if asked == "current":
        running = plan.at(now)
        return Stretch(plan.key(running), running.begins, running.ends, now)
    if asked == "last":
        over = [stretch for stretch in stretches if not stretch.running]
        if over:
            return over[-1]
        raise StoreError(f"No shift in the store has ended. {_there(shifts)}")
    wanted = asked.replace(" ", "T")
    found = [stretch for stretch in stretches if wanted in {stretch.shift, stretch.shift[:16]}]
    if len(found) > 1:
        both = " and ".join(stretch.shift for stretch in found)
        raise StoreError(f"Two shifts began at {asked} by the clock on the wall: {both}. Name one of them so")
    if not found:
        raise StoreError(f"The store has no shift that began at {asked}. {_there(shifts)}")
    return found[0]


def is_moment(asked: str) -> bool:
    """Tell whether a word can name the beginning of a shift: `2026-11-30T06:00`, a blank for the T, +01:00 behind."""
    return re.fullmatch(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?:[+-]\d\d:\d\d)?", asked, re.ASCII) is not None


def _there(shifts: Sequence[str]) -> str:
    if not shifts:
        return "It has none at all: nothing was counted yet. Start the line, or name another settings file"
    more = f", and {len(shifts) - _LISTED} older ones" if len(shifts) > _LISTED else ""
    return f"Expected current, or one of those that it has: {', '.join(reversed(shifts[-_LISTED:]))}{more}"


def _stretch(shift: str, following: str | None, plan: ShiftPlan, now: datetime) -> Stretch:
    """Return when a shift began and ended: with the plan of today, but not after the one that followed it began."""
    try:
        begins = datetime.fromisoformat(shift)
        ends = plan.at(begins).ends
        if following is not None:
            ends = min(ends, datetime.fromisoformat(following))
        return Stretch(shift, begins, ends, min(now, ends))
    except (ValueError, TypeError, OverflowError) as error:
        raise StoreError(
            f"The store was altered: expected the beginning of a shift, found {shift!r:.80}. Restore it from a backup"
        ) from error


def figures_of(counts: Iterable[CountDelta]) -> Figures:
    """Add counters up, of whatever recipes."""
    total = _added_up(counts)
    ng_of, shown_of = _family(total, NG_CLASS), _family(total, CLASS)
    classes = [ClassCount(name, ng_of.get(name, 0), shown_of.get(name, 0)) for name in {*ng_of, *shown_of}]
    return Figures(
        parts=int(total.get(PARTS, 0)),
        frames=int(total.get(FRAMES, 0)),
        ok=int(total.get(OK, 0)),
        ng=int(total.get(NG, 0)),
        no_read=int(total.get(NO_READ, 0)),
        missed=int(total.get(NO_READ_TRIGGER, 0)),
        repeated=int(total.get(REPEATED_IDS, 0)),
        classes=tuple(sorted(classes, key=lambda each: (-each.ng, -each.shown, each.name))),
        grades=dict(sorted(_family(total, GRADE).items())),
        value=round(total.get(VALUE, 0.0), 6),
        others={name: by for name, by in sorted(total.items()) if not _has_a_place(name)},
    )


def _has_a_place(name: str) -> bool:
    return name in _KNOWN or name.startswith(_FAMILIES)


def _family(total: Mapping[str, float], begins: str) -> dict[str, int]:
    return {name.removeprefix(begins): int(by) for name, by in total.items() if name.startswith(begins)}


def time_figures(counts: Iterable[CountDelta], stretch: Stretch) -> TimeFigures:
    """Return how the time of a shift was spent."""
    total = _added_up(counts)
    up_ms, down_ms = int(total.get(UP_MS, 0)), _family(total, DOWN_MS)
    passed_ms = (stretch.known_to - stretch.begins) // timedelta(milliseconds=1)
    longest_first = dict(sorted(down_ms.items(), key=lambda each: (-each[1], each[0])))
    return TimeFigures(up_ms, longest_first, max(0, passed_ms - up_ms - sum(down_ms.values())))


def alarm_figures(
    journal: Iterable[JournalEntry], before: Iterable[JournalEntry], stretch: Stretch, counts: Iterable[CountDelta] = ()
) -> tuple[AlarmFigures, ...]:
    """Follow the alarms of a shift through the journal; the most raised first.

    `before`: of each alarm what last began or ended it before the shift. The ledger's count of raisings is told where
    it exceeds the journal's, whose oldest entries go for room.
    """
    since = {entry.alarm: stretch.begins for entry in before if entry.kind == _RAISED}
    raised: dict[str, int] = {}
    active: dict[str, timedelta] = {}
    users: dict[str, dict[str, None]] = {}
    for entry in journal:
        alarm, at = entry.alarm, stretch.held(entry.at)
        if entry.kind == _RAISED:
            raised[alarm] = raised.get(alarm, 0) + 1
        if entry.kind == _ACKNOWLEDGED:
            users.setdefault(alarm, {})[entry.user or entry.account or "somebody"] = None
        if entry.kind == _RAISED or entry.kind in _ALARM_ENDS:
            begun = since.pop(alarm, at)
            active[alarm] = active.get(alarm, timedelta()) + max(timedelta(), at - begun)
        if entry.kind == _RAISED:
            since[alarm] = at
    for alarm, begun in since.items():
        active[alarm] = active.get(alarm, timedelta()) + max(timedelta(), stretch.known_to - begun)
    counted = _raised_by_the_ledger(counts)
    told = [
        AlarmFigures(
            alarm,
            max(raised.get(alarm, 0), counted.get(alarm, 0)),
            active.get(alarm, timedelta()),
            alarm in since,
            tuple(users.get(alarm, ())),
        )
        for alarm in {*raised, *active, *users, *counted}
        if alarm
    ]
    return tuple(sorted(told, key=lambda each: (-each.raised, -each.active, each.alarm)))


def _raised_by_the_ledger(counts: Iterable[CountDelta]) -> dict[str, int]:
    return _family(_added_up(counts), ALARM)


def _added_up(counts: Iterable[CountDelta]) -> dict[str, float]:
    """Add counters up by name, of whatever recipes."""
    total: dict[str, float] = {}
    for count in counts:
        total[count.name] = total.get(count.name, 0) + count.by
    return total
