"""Rules, inspections, and a desk with a clock of its own, for tests of alarms."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from itertools import count
from typing import Any

from edge.alarms import AlarmManager, AlarmRule, By
from edge.records import (
    AlarmEvent,
    CameraFault,
    ClassMeasure,
    Defect,
    FrameResult,
    Grade,
    Judgement,
    Measurement,
    Verdict,
)

MS = 1_000_000
S = 1_000_000_000
NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=timezone.utc)


def rule(**how: Any) -> AlarmRule:
    """Return a rule that raises from 0.5 and clears below 0.3, without delays."""
    given = {"id": "dirt", "measure": "coverage", "text": "Clean it", **how}
    if given["measure"] == "coverage":
        given = {"raise_at": 0.5, "clear_below": 0.3, **given}
    return AlarmRule.model_validate(given)


def by(user: str = "anna", comment: str = "", at_ns: int = 0) -> By:
    """Return who says something."""
    return By(user, comment, at_ns)


def occurrences() -> Callable[[], str]:
    """Return a namer of occurrences: `1`, `2`, …."""
    numbers = count(1)
    return lambda: str(next(numbers))


def measured(coverage: float, *defects: Defect) -> Measurement:
    """Return what a frame with this coverage shows."""
    return Measurement(coverage, None, 1e6, {"scratch": ClassMeasure(coverage, len(defects))}, defects)


def seen(coverage: float | None, fault: CameraFault | None = None, grade: Grade | None = None) -> FrameResult:
    """Return the inspection of a frame with this coverage; None: it could not be read, for a fault of the camera."""
    measurement = None if coverage is None or fault is not None else measured(coverage)
    verdict = Verdict.NO_READ if measurement is None else Verdict.OK
    judgement = Judgement(verdict, None if measurement else "dark")
    return FrameResult("top", 1, "", NOON, 0, 1.0, judgement, measurement, grade=grade, camera_fault=fault)


def told(events: tuple[AlarmEvent, ...] | list[AlarmEvent]) -> list[tuple[str, str]]:
    """Return (alarm, transition) of each event."""
    return [(event.alarm, event.transition) for event in events]


def desk(*rules: AlarmRule, operators: tuple[str, ...] = ()) -> AlarmManager:
    """Return a desk whose occurrences are numbered."""
    return AlarmManager(rules, operators, occurrences())
