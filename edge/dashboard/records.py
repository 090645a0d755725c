"""The records of the history: one for each kind of row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A class that one view of a result saw: `coverage` 0 to 1, `count` of defects; None = not told."""

    view: str
    class_name: str
    coverage: float | None
    count: int | None


@dataclass(frozen=True)
class ResultRow:
    """One result. `place`: the five levels of its station. `kind`: part or frame. Times in ms since 1970, UTC.

    `at_ms`: by the device's clock where that can be, else when it was heard, and then `clock_odd`. `coverage`: of the
    view with the most, None on NO_READ. `body`: as it came, JSON.
    """

    place: str
    epoch: str
    seq: int
    at_ms: int
    heard_ms: int
    clock_odd: bool
    kind: str
    part_id: str | None
    verdict: str
    reason: str | None
    recipe: str | None
    grade: str | None
    value_factor: float | None
    coverage: float | None
    challenge: bool
    evidence_id: str | None
    body: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class AlarmRow:
    """One transition of an alarm, as `event/alarm` told it."""

    place: str
    epoch: str
    seq: int
    at_ms: int
    heard_ms: int
    clock_odd: bool
    alarm: str
    transition: str
    state: str
    occurrence_id: str | None
    priority: str
    shown: bool
    user: str | None
    comment: str | None
    body: str


@dataclass(frozen=True)
class JournalRow:
    """One happening: a station's change of state, a command with its answer, a log-in.

    `place`: None for the web process itself. `subject`: an alarm, a recipe, a part; `outcome`: the line's word.
    """

    place: str | None
    at_ms: int
    kind: str
    user: str = ""
    subject: str = ""
    outcome: str = ""
    detail: str = ""


@dataclass(frozen=True)
class CountersRow:
    """The counters of a station at a moment, JSON."""

    place: str
    at_ms: int
    body: str


@dataclass(frozen=True)
class EpochRow:
    """The reach of an epoch: the `first` number that is wanted and the highest that was committed."""

    place: str
    epoch: str
    first: int
    committed: int


Row = ResultRow | AlarmRow | JournalRow | CountersRow | EpochRow
