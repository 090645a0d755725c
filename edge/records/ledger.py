"""The ledger of shifts: what each result adds to the counters of its shift, and which parts were the worst."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edge.records.inspection import Verdict

WORST_KEPT = 50  # parts of each shift and recipe


@dataclass(frozen=True)
class CountDelta:
    """One addition to a counter. `by` may be a count, ms, or a share of the price.

    `shift`: its beginning, local, ISO 8601 with the offset, to the minute. `recipe`: "" for what is of no recipe.
    `name`: see `edge/parts/ledger.py`. Texts are such that UTF-8 can hold them.
    """

    shift: str
    recipe: str
    name: str
    by: float


@dataclass(frozen=True)
class WorstPart:
    """A part, or a frame that stands for itself, among the worst of its shift.

    `at`: when its worst frame was captured. `coverage`: 0-1, of that frame. `class_name`, `length_mm`, `length_px`: of
    the defect with the largest area; mm None if uncalibrated. `grade`: "" without one.
    """

    shift: str
    recipe: str
    part_id: str
    number: int
    at: datetime
    verdict: Verdict
    reason: str
    coverage: float
    class_name: str
    length_mm: float | None
    length_px: float
    grade: str
