"""A store that a station could have written: two shifts of two recipes, with alarms, a challenge and a bypass."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from edge.outbox import Outbox
from edge.parts.ledger import DowntimeState, alarm_deltas, deltas_of, finish, step, worst_of
from edge.parts.shifts import ShiftPlan, time_of_day, zone_of
from edge.records import (
    AlarmEvent,
    ClassMeasure,
    Defect,
    FrameResult,
    Grade,
    JournalEntry,
    Judgement,
    Measurement,
    Verdict,
)
from edge.records.parts import Closing, PartResult, ViewResult

PLAN = ShiftPlan(tuple(time_of_day(text) for text in ("06:00", "14:00", "22:00")), zone_of("Europe/Berlin"))
EARLY, LATE = "2026-01-30T06:00+01:00", "2026-01-30T14:00+01:00"
BEGINS = datetime(2026, 1, 30, 5, tzinfo=timezone.utc)
SETTINGS = "shifts: ['06:00', '14:00', '22:00']\ntime_zone: Europe/Berlin\nstore: {path: outbox.db}\n"
GRADES = (Grade("A", 1.0), Grade("B", 0.7), Grade("scrap", 0.0))
EVERY = timedelta(seconds=20)
PARTS = 1440  # eight hours, a part each 20 s


def part(number: int) -> PartResult:
    """Return the part of a number: each 60th is scratched, each 97th stained too, each 500th was never seen.

    A scratch is NG, a stain by itself is tolerated and costs a grade.
    """
    at = BEGINS + number * EVERY
    names = [*(["scratch"] if number % 60 == 7 else []), *(["stain"] if number % 97 == 5 else [])]
    verdict = Verdict.NO_READ if number % 500 == 499 else Verdict.NG if "scratch" in names else Verdict.OK
    reason = {Verdict.OK: None, Verdict.NG: "top: scratch: 1 defect, at most 0 allowed"}
    judgement = Judgement(verdict, reason.get(verdict, "top: 0 readable frames of 1"))
    if verdict is Verdict.NO_READ:
        views = {"top": ViewResult()}
        return PartResult(number, f"P-{number}", False, "phone-a", 0, 1, Closing.TIMEOUT, judgement, views, ("top",))
    defects = tuple(_defect(name, 1 + number % 13) for name in names)
    classes = {name: ClassMeasure(0.001, names.count(name)) for name in ("scratch", "stain")}
    coverage = sum(defect.area_px for defect in defects) / 300_000
    grade = GRADES[2] if verdict is Verdict.NG else GRADES[1] if names else GRADES[0]
    frame = FrameResult(
        "top", number, "", at, 0, 9.0, judgement, Measurement(coverage, None, 3e5, classes, defects), {}, grade
    )
    views = {"top": ViewResult(2, 2, 2 * (verdict is Verdict.NG), worst=frame)}
    recipe = "phone-a" if number < 1000 else "phone-b"
    return PartResult(number, f"P-{number}", False, recipe, 0, 1, Closing.TRIGGER, judgement, views, (), grade)


def _defect(name: str, size: int) -> Defect:
    length, width = 12.0 * size, 4.0
    return Defect(0, name, 0.9, length * width, (0, 0, 12 * size, 4), length, width, None, length / 4, 1.0)


def entry(minute: float, kind: str, alarm: str = "", **how: str) -> JournalEntry:
    """Return an entry of the journal, so many minutes after the shift began."""
    at = BEGINS + timedelta(minutes=minute)
    plain = {"user": "", "comment": "", "detail": ""} | how
    occurrence_id = "o" if alarm else None
    return JournalEntry(at, "boot", 1, kind, alarm, occurrence_id, plain["user"], plain["comment"], plain["detail"])


JOURNAL = [
    entry(-30, "raised", "broker-refuses"),
    entry(2, "challenge", user="anna", detail="5 known bad parts, all NG"),
    entry(10, "raised", "rejects"),
    entry(12, "acknowledged", "rejects", user="anna"),
    entry(14, "cleared", "rejects"),
    entry(60, "cleared", "broker-refuses"),
    entry(100, "raised", "rejects"),
    entry(103, "acknowledged", "rejects", user="bert"),
    entry(103.5, "cleared", "rejects"),
    entry(200, "raised", "camera-lost"),
    entry(204, "cleared", "camera-lost"),
    entry(300, "bypass_begin", user="carl", comment="cleaning the lens", detail="for 10 min"),
    entry(310, "bypass_end", user="carl"),
    entry(470, "raised", "rejects"),
    entry(490, "raised", "rejects"),
]


def write_store(path: Path) -> None:
    """Write what the early shift did, with a restart in its middle, and the first parts of the late one."""
    with Outbox(path) as outbox:
        _put_parts(outbox, range(PARTS // 2))
    with Outbox(path) as outbox:
        outbox.put(None, journal=JOURNAL)
        _put_parts(outbox, range(PARTS // 2, PARTS + 3))
        for each in JOURNAL:
            if each.kind == "raised" and BEGINS <= each.at < BEGINS + PARTS * EVERY:
                event = AlarmEvent(each.alarm, "raised", "active", "o", "high", 0, None, None, "text")
                outbox.put(None, counts=alarm_deltas([event], EARLY))
        _put_time(outbox)


def _put_parts(outbox: Outbox, numbers: range) -> None:
    for number in numbers:
        result = part(number)
        shift = EARLY if number < PARTS else LATE
        worst = worst_of(result, shift, str(result.recipe))
        counts = deltas_of(result, shift, str(result.recipe))
        outbox.put(None, counts=counts, worst=[] if worst is None else [worst])


def _put_time(outbox: Outbox) -> None:
    """Look at the station each 4 s for seven hours; it was off for the last one."""
    state = DowntimeState()
    for second in range(0, 7 * 3600 + 1, 4):
        down = "camera-lost" if 200 * 60 <= second < 204 * 60 else "bypass" if 300 * 60 <= second < 310 * 60 else ""
        now_ns = (10 + second) * 1_000_000_000
        state, counts = step(state, up=not down, reason=down, shift=EARLY, recipe="phone-a", now_ns=now_ns)
        if counts:
            outbox.put(None, counts=counts)
    outbox.put(None, counts=finish(state, state.seen_ns or 0))
