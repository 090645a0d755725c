"""Counts of one run of a station."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge.inspection.grading import GradeCounts
from edge.records import AlarmEvent, EngineFault, Grade, Judgement, Verdict
from edge.station.view import Seen

_NO_ANSWER = {EngineFault.HANGS, EngineFault.FAILS, EngineFault.WRONG_ANSWER}


@dataclass
class LineCounts:
    """The counts of a run. `ended_early`: why a recording stopped before its end, or empty.

    `ok`, `ng`, `no_read`, `grades`: of parts where the station tells parts apart, else of frames. `stray_frames`:
    judged frames that belong to no part; `trigger_faults`: what a trigger did that no part can do.
    `challenged`: known bad parts of challenges, which are in no other count. `raised_by`: raisings of each alarm.
    """

    frames: int = 0
    parts: int = 0
    ok: int = 0
    ng: int = 0
    no_read: int = 0
    tiles: int = 0
    unreadable: int = 0
    engine_errors: int = 0
    alarms_raised: int = 0
    alarms_cleared: int = 0
    stray_frames: int = 0
    stray_ng: int = 0
    trigger_faults: int = 0
    challenged: int = 0
    recipe_changes: int = 0
    ended_early: str = ""
    grades: GradeCounts = field(default_factory=GradeCounts)
    raised_by: Counter[str] = field(default_factory=Counter)

    def reset(self) -> None:
        """Begin at 0."""
        fresh = LineCounts(ended_early=self.ended_early)
        self.__dict__.update(vars(fresh))

    def look(self, seen: Seen) -> None:
        """Count a frame, whoever has its verdict."""
        self.frames += seen.result.frame is not None
        self.tiles += seen.tiles
        self.unreadable += seen.unreadable
        self.engine_errors += seen.result.engine_fault in _NO_ANSWER

    def count(self, judgement: Judgement, grade: Grade | None = None) -> None:
        """Count one verdict, and its grade if it has one."""
        self.ok += judgement.verdict is Verdict.OK
        self.ng += judgement.verdict is Verdict.NG
        self.no_read += judgement.verdict is Verdict.NO_READ
        self.grades.add(grade)

    def count_alarms(self, events: Sequence[AlarmEvent]) -> None:
        """Count what was raised and cleared, shown or not."""
        raised = [event.alarm for event in events if event.transition == "raised"]
        self.alarms_raised += len(raised)
        self.raised_by.update(raised)
        self.alarms_cleared += sum(event.transition == "cleared" for event in events)
