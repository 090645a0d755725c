"""The counters of a shift, and what each result, alarm and stretch of time adds. Pure; time comes in.

These are the counters:

- `parts`, of them `frames` that stand for themselves, `ok`, `ng`, `no_read`;
- `no_read_trigger`, those of `no_read` of which no view had a frame;
- `repeated_ids`;
- `class:NAME` that show a class, of them `ng_class:NAME` that are NG;
- `grade:NAME` and `value`, the sum of their shares of the price;
- `alarm:ID` raised; `up_ms` and `down_ms:REASON`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from edge.parts.assembler import worse
from edge.printable import encodable
from edge.records import AlarmEvent, FrameResult, Grade, Verdict
from edge.records.ledger import CountDelta, WorstPart
from edge.records.parts import PartResult

PARTS, FRAMES, OK, NG, NO_READ = "parts", "frames", "ok", "ng", "no_read"
NO_READ_TRIGGER, REPEATED_IDS, VALUE = "no_read_trigger", "repeated_ids", "value"
CLASS, NG_CLASS, GRADE, ALARM = "class:", "ng_class:", "grade:", "alarm:"
UP_MS, DOWN_MS = "up_ms", "down_ms:"
STALLED, UNKNOWN = "stalled", "unknown"
EVERY_NS = 10_000_000_000  # time is counted at least so often: a kill loses no more
STALLED_NS = 5_000_000_000  # a station that has not looked for so long stood still itself
_NAME_CHARACTERS, _REASON_CHARACTERS = 200, 500
_VERDICTS = {Verdict.OK: OK, Verdict.NG: NG, Verdict.NO_READ: NO_READ}


def deltas_of(result: PartResult | FrameResult, shift: str, recipe: str) -> tuple[CountDelta, ...]:
    """Return what one part adds; or one frame, where frames stand for themselves.

    Nothing where no frame came at all and no part was expected: a silent camera is down time, and no part.
    """
    if isinstance(result, FrameResult) and result.frame is None:
        return ()
    names: dict[str, float] = {PARTS: 1, _VERDICTS[result.judgement.verdict]: 1}
    if isinstance(result, FrameResult):
        names[FRAMES] = 1
    else:
        if result.judgement.verdict is Verdict.NO_READ and not any(
            seen.frames or seen.lost for seen in result.views.values()
        ):
            names[NO_READ_TRIGGER] = 1
        if result.repeated:
            names[REPEATED_IDS] = 1
    for class_name in _shown(result):
        names[f"{CLASS}{class_name}"] = 1
        if result.judgement.verdict is Verdict.NG:
            names[f"{NG_CLASS}{class_name}"] = 1
    if result.grade is not None:
        names |= _graded(result.grade)
    return tuple(CountDelta(shift, _name(recipe), _name(name), by) for name, by in names.items())


def _graded(grade: Grade) -> dict[str, float]:
    return {f"{GRADE}{grade.name}": 1, VALUE: grade.value_factor}


def _frames(result: PartResult | FrameResult) -> Iterator[FrameResult]:
    """Yield the frames that speak for a result: of a part the worst of each view."""
    if isinstance(result, FrameResult):
        yield result
    else:
        yield from (seen.worst for seen in result.views.values() if seen.worst is not None)


def _shown(result: PartResult | FrameResult) -> list[str]:
    found = (frame.measurement.classes for frame in _frames(result) if frame.measurement is not None)
    return sorted({name for classes in found for name, seen in classes.items() if seen.count})


def worst_of(result: PartResult | FrameResult, shift: str, recipe: str) -> WorstPart | None:
    """Return a part, or a frame, as one of the possible worst of its shift.

    None where it shows no defect.
    """
    worst: FrameResult | None = None
    for frame in _frames(result):
        worst = worse(worst, frame)
    if worst is None or worst.measurement is None or not worst.measurement.defects:
        return None
    largest = max(worst.measurement.defects, key=lambda defect: defect.area_px)
    if isinstance(result, FrameResult):
        part_id, number = result.name or str(result.frame), result.frame or 0
    else:
        part_id, number = result.part_id, result.number
    return WorstPart(
        shift=shift,
        recipe=_name(recipe),
        part_id=_name(part_id),
        number=number,
        at=worst.captured_at,
        verdict=result.judgement.verdict,
        reason=encodable(result.judgement.reason or "")[:_REASON_CHARACTERS],
        coverage=worst.measurement.coverage,
        class_name=_name(largest.class_name),
        length_mm=largest.length_mm,
        length_px=largest.length_px,
        grade=_name(result.grade.name) if result.grade is not None else "",
    )


def alarm_deltas(events: Iterable[AlarmEvent], shift: str, recipe: str = "") -> tuple[CountDelta, ...]:
    """Return what these transitions add: one for each alarm that was raised, shown or not."""
    raised = (event.alarm for event in events if event.transition == "raised")
    return tuple(CountDelta(shift, _name(recipe), _name(f"{ALARM}{alarm}"), 1) for alarm in raised)


@dataclass(frozen=True)
class DowntimeState:
    """A station's state since `since_ns`, of which nothing is counted yet. `reason`: why it is down, None = it is up.

    `seen_ns`: when it was last looked at; None before the first time.
    """

    shift: str = ""
    recipe: str = ""
    reason: str | None = None
    since_ns: int = 0
    seen_ns: int | None = None


def step(
    state: DowntimeState, *, up: bool, reason: str, shift: str, recipe: str, now_ns: int
) -> tuple[DowntimeState, tuple[CountDelta, ...]]:
    """Look at the station at `now_ns`, of its clock.

    Return what its time adds, in ms, once there is reason to tell. The time that passed counts for the state before: it
    held until now. Time over which nobody looked for STALLED_NS is down, since a loop that stands still inspects
    nothing. A clock that went back counts nothing.
    """
    now = DowntimeState(shift, recipe, None if up else _name(reason) or UNKNOWN, now_ns, now_ns)
    if state.seen_ns is None:
        return now, ()
    gap = now_ns < state.seen_ns or now_ns - state.seen_ns > STALLED_NS
    same = (state.shift, state.recipe, state.reason) == (now.shift, now.recipe, now.reason)
    if same and not gap and now_ns - state.since_ns < EVERY_NS:
        return replace(state, seen_ns=now_ns), ()
    counted_ms = ((state.seen_ns if gap else now_ns) - state.since_ns) // 1_000_000
    deltas = _time(state, state.reason, counted_ms)
    if gap:
        stalled_ms = max(0, now_ns - state.seen_ns) // 1_000_000
        return now, (*deltas, *_time(state, STALLED, stalled_ms))
    # a rest below a millisecond is counted with the next time
    return replace(now, since_ns=state.since_ns + counted_ms * 1_000_000), deltas


def finish(state: DowntimeState, now_ns: int) -> tuple[CountDelta, ...]:
    """Return what is left to count when a station ends."""
    if state.seen_ns is None:
        return ()
    return _time(state, state.reason, max(0, now_ns - state.since_ns) // 1_000_000)


def why_down(result: FrameResult) -> str | None:
    """Return the reason for which a camera inspects nothing, from its last result; None while it does."""
    if result.camera_fault is not None:
        return f"camera-{result.camera_fault.value}"
    return None if result.engine_fault is None else f"engine-{result.engine_fault.value}"


def _time(state: DowntimeState, reason: str | None, milliseconds: int) -> tuple[CountDelta, ...]:
    if milliseconds <= 0:
        return ()
    name = UP_MS if reason is None else f"{DOWN_MS}{reason}"
    return (CountDelta(state.shift, _name(state.recipe), _name(name), milliseconds),)


def _name(text: str) -> str:
    return encodable(text)[:_NAME_CHARACTERS]
