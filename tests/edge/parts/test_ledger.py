"""Results add to the counters of a shift: each part once, and no NO_READ in the yield."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from edge.parts.ledger import EVERY_NS, DowntimeState, alarm_deltas, deltas_of, finish, step, why_down, worst_of
from edge.parts.shifts import ShiftPlan, time_of_day
from edge.records import (
    AlarmEvent,
    CameraFault,
    ClassMeasure,
    Defect,
    EngineFault,
    FrameResult,
    Grade,
    Judgement,
    Measurement,
    Verdict,
)
from edge.records.ledger import CountDelta
from edge.records.parts import Closing, PartResult, ViewResult

SHIFT, RECIPE = "2026-11-30T06:00+01:00", "phone"
S = 1_000_000_000
AT = datetime(2026, 11, 30, 6, tzinfo=timezone.utc)
BERLIN = ShiftPlan((time_of_day("06:00"), time_of_day("14:00"), time_of_day("22:00")), ZoneInfo("Europe/Berlin"))


def defect(name: str, area_px: float = 10.0, length_mm: float | None = 2.0) -> Defect:
    """Return a defect."""
    return Defect(0, name, 0.9, area_px, (1, 2, 3, 4), 8.0, 1.25, None, length_mm, None)


def frame(verdict: Verdict, *defects: Defect, index: int | None = 3, camera: str = "top", **how: object) -> FrameResult:
    """Return a judged frame that shows these defects."""
    names = {each.class_name for each in defects}
    classes = {name: ClassMeasure(0.01, sum(d.class_name == name for d in defects)) for name in {*names, "dust"}}
    seen = None if verdict is Verdict.NO_READ else Measurement(0.01 * len(defects), None, 1e4, classes, defects)
    judged = Judgement(verdict, None if verdict is Verdict.OK else "why")
    return FrameResult(camera, index, "", AT, 0, 1.0, judged, seen, **how)  # type: ignore[arg-type] # per test


def part(verdict: Verdict, views: dict[str, ViewResult], **how: object) -> PartResult:
    """Return a part of these views."""
    judged = Judgement(verdict, None if verdict is Verdict.OK else "why")
    plain = PartResult(7, "P-7", False, RECIPE, 0, 1, Closing.TRIGGER, judged, views)
    return replace(plain, **how)  # type: ignore[arg-type] # per test


def counts(deltas: Iterable[CountDelta]) -> dict[str, float]:
    """Return deltas by name."""
    return {delta.name: delta.by for delta in deltas}


def test_a_part_in_many_frames_and_views_is_counted_once() -> None:
    """A class that two views show is one part that shows it; the grade's share is the part's value."""
    top = ViewResult(30, 30, 2, worst=frame(Verdict.NG, defect("scratch"), defect("scratch"), defect("stain")))
    side = ViewResult(30, 30, 1, worst=frame(Verdict.NG, defect("scratch"), camera="side"))
    result = part(Verdict.NG, {"top": top, "side": side}, grade=Grade("B", 0.7))
    deltas = deltas_of(result, SHIFT, RECIPE)
    assert {(delta.shift, delta.recipe) for delta in deltas} == {(SHIFT, RECIPE)}
    assert counts(deltas) == {
        "parts": 1, "ng": 1, "class:scratch": 1, "ng_class:scratch": 1, "class:stain": 1, "ng_class:stain": 1,
        "grade:B": 1, "value": 0.7,
    }  # fmt: skip


def test_a_tolerated_defect_is_shown_and_is_no_cause() -> None:
    """An OK part with a stain counts among the parts that show one, not among the NG parts that do."""
    result = part(Verdict.OK, {"top": ViewResult(1, 1, 0, worst=frame(Verdict.OK, defect("stain")))})
    assert counts(deltas_of(result, SHIFT, RECIPE)) == {"parts": 1, "ok": 1, "class:stain": 1}


def test_a_missed_trigger_is_a_no_read_that_no_view_saw() -> None:
    """Without any frame it is counted beside NO_READ; with an unreadable or a dropped one it is NO_READ alone."""
    missed = part(Verdict.NO_READ, {"top": ViewResult(), "side": ViewResult()}, repeated=True)
    assert counts(deltas_of(missed, SHIFT, RECIPE)) == {
        "parts": 1, "no_read": 1, "no_read_trigger": 1, "repeated_ids": 1,
    }  # fmt: skip
    for seen in (ViewResult(frames=1, unread=frame(Verdict.NO_READ)), ViewResult(lost=1)):
        result = part(Verdict.NO_READ, {"top": seen, "side": ViewResult()})
        assert counts(deltas_of(result, SHIFT, RECIPE)) == {"parts": 1, "no_read": 1}


def test_frames_that_stand_for_themselves_say_so() -> None:
    """A frame counts as a part and as a frame; a silent camera, which gave none, counts as neither."""
    assert counts(deltas_of(frame(Verdict.OK), SHIFT, RECIPE)) == {"parts": 1, "frames": 1, "ok": 1}
    assert counts(deltas_of(frame(Verdict.NO_READ), SHIFT, RECIPE)) == {"parts": 1, "frames": 1, "no_read": 1}
    silent = frame(Verdict.NO_READ, index=None, camera_fault=CameraFault.LOST)
    assert deltas_of(silent, SHIFT, RECIPE) == ()
    assert [why_down(each) for each in (silent, frame(Verdict.NO_READ, engine_fault=EngineFault.SLOW))] == [
        "camera-lost",
        "engine-slow",
    ]
    assert why_down(frame(Verdict.NO_READ)) is None


results = st.builds(
    lambda verdict, names, grade, repeated: part(
        verdict,
        {
            "top": ViewResult(
                frames=1,
                readable=int(verdict is not Verdict.NO_READ),
                worst=None if verdict is Verdict.NO_READ else frame(verdict, *(defect(name) for name in names)),
            )
        },
        grade=None if verdict is Verdict.NO_READ else grade,
        repeated=repeated,
    ),
    st.sampled_from(Verdict),
    st.lists(st.sampled_from(["scratch", "stain", "chip"]), max_size=4),
    st.sampled_from([None, Grade("A", 1.0), Grade("C", 0.25)]),
    st.booleans(),
)


@given(st.lists(st.one_of(results, st.sampled_from(Verdict).map(frame)), max_size=40))
def test_any_results_sum_to_the_counters(sequence: list[PartResult | FrameResult]) -> None:
    """OK, NG and NO_READ make up all parts; grades have the value; no class outnumbers the parts."""
    total: Counter[str] = Counter()
    for result in sequence:
        for delta in deltas_of(result, SHIFT, RECIPE):
            total[delta.name] += delta.by  # type: ignore[assignment] # a share of a price is no int
    verdicts = Counter(result.judgement.verdict for result in sequence)
    assert total["parts"] == len(sequence)
    assert (total["ok"], total["ng"], total["no_read"]) == (
        verdicts[Verdict.OK],
        verdicts[Verdict.NG],
        verdicts[Verdict.NO_READ],
    )
    grades = [result.grade for result in sequence if result.grade is not None]
    assert total["value"] == sum(grade.value_factor for grade in grades)  # quarters: exact in any order
    assert total["grade:A"] + total["grade:C"] == len(grades)
    for name in ("scratch", "stain", "chip"):
        assert total[f"ng_class:{name}"] <= total[f"class:{name}"] <= total["ok"] + total["ng"]
    assert total["repeated_ids"] == sum(isinstance(each, PartResult) and each.repeated for each in sequence)


def test_the_worst_of_a_part_is_its_worst_view() -> None:
    """NG before OK, then coverage; of that frame the defect with the largest area is told."""
    mild = frame(Verdict.OK, defect("stain"), defect("stain"), defect("stain"))
    bad = frame(Verdict.NG, defect("chip", 5.0), defect("scratch", 50.0, None), camera="side", grade=Grade("C", 0.1))
    views = {"top": ViewResult(1, 1, 0, worst=mild), "side": ViewResult(1, 1, 1, worst=bad)}
    worst = worst_of(part(Verdict.NG, views, grade=Grade("C", 0.1)), SHIFT, RECIPE)
    assert worst is not None
    assert (worst.part_id, worst.number, worst.at, worst.verdict) == ("P-7", 7, AT, Verdict.NG)
    assert (worst.coverage, worst.class_name, worst.length_mm, worst.length_px) == (0.02, "scratch", None, 8.0)
    assert (worst.reason, worst.grade) == ("why", "C")
    alone = worst_of(frame(Verdict.OK, defect("stain"), index=12), SHIFT, RECIPE)
    assert alone is not None
    assert (alone.part_id, alone.number) == ("12", 12)


def test_what_shows_no_defect_is_among_no_worst_parts() -> None:
    """An OK part without a defect and a NO_READ part are not kept."""
    assert worst_of(frame(Verdict.OK), SHIFT, RECIPE) is None
    assert worst_of(part(Verdict.NO_READ, {"top": ViewResult(1, unread=frame(Verdict.NO_READ))}), SHIFT, RECIPE) is None


def test_names_that_utf_8_cannot_hold_are_escapes() -> None:
    """The id of a part comes from a trigger. Half a pair in it must not keep its result from the disk."""
    views = {"top": ViewResult(1, 1, 1, worst=frame(Verdict.NG, defect("a\udcff")))}
    odd = replace(part(Verdict.NG, views), part_id="\ud800" * 300)
    worst = worst_of(odd, SHIFT, "r\udc80")
    assert worst is not None
    for text in (worst.part_id, worst.recipe, worst.class_name, *counts(deltas_of(odd, SHIFT, "r\udc80"))):
        assert len(text.encode()) <= 200


def test_only_a_raising_is_counted_of_an_alarm() -> None:
    """Acknowledging and clearing add nothing; an alarm that is not shown was raised all the same."""

    def event(transition: str, alarm: str = "ng", *, shown: bool = True) -> AlarmEvent:
        return AlarmEvent(alarm, transition, "active", "o", "high", 0, None, None, "t", shown=shown)  # type: ignore[arg-type] # one of its words

    events = [event("raised"), event("acknowledged"), event("cleared"), event("raised", "no-read", shown=False)]
    assert counts(alarm_deltas(events, SHIFT)) == {"alarm:ng": 1, "alarm:no-read": 1}


def play(*looks: tuple[float, str | None], shift: str = SHIFT, recipe: str = RECIPE) -> Counter[str]:
    """Look at (s, why down or None) and return the time by name, in ms."""
    state, total = DowntimeState(), Counter[str]()
    for at_s, reason in looks:
        how = {"up": reason is None, "reason": reason or "", "shift": shift, "recipe": recipe}
        state, deltas = step(state, now_ns=round(at_s * S), **how)  # type: ignore[arg-type] # told above
        total.update(counts(deltas))  # type: ignore[arg-type] # whole ms
    total.update(counts(finish(state, round(looks[-1][0] * S))))  # type: ignore[arg-type]
    return total


def test_down_time_is_counted_by_its_reason() -> None:
    """Ten seconds up, four without a camera, one without an engine, then up again for two."""
    looks = [(0, None), (5, None), (10, "camera-lost"), (13, "camera-lost"), (14, "engine-hangs"), (15, None)]
    assert play(*looks, (17, None)) == {
        "up_ms": 12_000, "down_ms:camera-lost": 4_000, "down_ms:engine-hangs": 1_000,
    }  # fmt: skip


def test_a_station_that_stood_still_itself_was_down() -> None:
    """Nobody looked for a minute: that is down time, whatever the station did before and after."""
    assert play((0, None), (1, None), (61, None), (62, None)) == {"up_ms": 2_000, "down_ms:stalled": 60_000}
    assert play((9, None), (10, None), (0, None), (3, None)) == {"up_ms": 4_000}  # a clock that went back


@given(st.lists(st.tuples(st.integers(0, 4_999_999_999), st.sampled_from([None, "a", "b"])), min_size=1, max_size=60))
def test_no_time_is_lost_or_counted_twice(looks: list[tuple[int, str | None]]) -> None:
    """Up and down together are all the time that passed, to the millisecond, however often it is looked at."""
    state, total, now_ns, told_ns = DowntimeState(), 0.0, 5 * S, 0
    begins_ns = now_ns + looks[0][0]
    for wait_ns, reason in looks:
        now_ns += wait_ns
        state, deltas = step(state, up=reason is None, reason=reason or "", shift=SHIFT, recipe="", now_ns=now_ns)
        total += sum(delta.by for delta in deltas)
        told_ns = begins_ns + round(total * 1_000_000)
        assert now_ns - told_ns < EVERY_NS + 1_000_000
    total += sum(delta.by for delta in finish(state, now_ns))
    assert total == (now_ns - begins_ns) // 1_000_000


def test_the_nights_in_which_clocks_change_have_their_own_hours() -> None:
    """A station in Berlin runs from noon to noon. It is up for 7 hours in the night of March, for 9 in October's.

    The day around it has 23 and 25 hours: 2 from noon to 14:00, 8, then the night, and 6 to the next noon.
    """
    for day, night_h, day_h in ((datetime(2026, 3, 28), 7, 23), (datetime(2026, 10, 24), 9, 25)):  # noqa: DTZ001 - local
        begins = day.replace(hour=12, tzinfo=BERLIN.zone).astimezone(timezone.utc)
        ends = (day + timedelta(days=1)).replace(hour=12, tzinfo=BERLIN.zone).astimezone(timezone.utc)
        state, hours, moment, running = DowntimeState(), Counter[str](), begins, BERLIN.at(begins)
        while moment <= ends:
            running = running if moment < running.ends else BERLIN.at(moment)
            shift = BERLIN.key(running)
            now_ns = int((moment - begins).total_seconds()) * S
            state, deltas = step(state, up=True, reason="", shift=shift, recipe="", now_ns=now_ns)
            hours.update({delta.shift: delta.by for delta in deltas})  # type: ignore[arg-type] # whole ms
            moment += timedelta(seconds=4)
        hours.update({delta.shift: delta.by for delta in finish(state, now_ns)})  # type: ignore[arg-type]
        assert [ms / 3_600_000 for ms in hours.values()] == [2, 8, night_h, 6]
        assert sum(hours.values()) == day_h * 3_600_000
