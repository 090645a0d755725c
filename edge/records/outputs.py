"""The signals of a station for the machine beside it, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edge.records.inspection import Verdict

# A bit, a number, or where the link can take it a text.
Level = bool | int | float | str
Priority = Literal["low", "medium", "high"]


@dataclass(frozen=True)
class PartSignal:
    """A decided part, or a frame with a verdict of its own, as a machine is told of it.

    `opened_ns`, `closed_ns`: of the station's clock, from which pulses are delayed; of a frame both are its capture.
    `coverage` (fraction) and `length_mm` (of the longest defect) are None where they are not known. `grade`: the place
    of its grade in the recipe's table, from 1 on; 0 without one.
    """

    part_id: str
    verdict: Verdict
    opened_ns: int
    closed_ns: int
    coverage: float | None = None
    length_mm: float | None = None
    grade: int = 0
    recipe: str = ""


@dataclass(frozen=True)
class StationSignal:
    """The station's state, as a machine is told of it. `alarms`: those shown, each with its priority.

    `ready`: the next part can be judged. `busy`: a part is open, or not decided.
    """

    ready: bool = False
    busy: bool = False
    alarms: frozenset[tuple[str, Priority]] = field(default_factory=frozenset)


@dataclass(frozen=True)
class OutputLost:
    """Signals no longer reach the machine, for this reason."""

    at_ns: int
    detail: str


@dataclass(frozen=True)
class OutputRestored:
    """Signals reach the machine again."""

    at_ns: int


@dataclass(frozen=True)
class OutputLate:
    """A signal with a due time missed it. `switched`: it went out all the same, for its lateness was known after."""

    at_ns: int
    signal: str
    late_ns: int
    switched: bool


OutputEvent = OutputLost | OutputRestored | OutputLate


@dataclass(frozen=True)
class Reading:
    """The levels of all inputs at a moment: of a bit 0 or 1, of registers their number."""

    at_ns: int
    values: Mapping[str, int]


@dataclass(frozen=True)
class MachineTroubles:
    """The troubles between station and machine; each says it in words, None = nothing."""

    lost: str | None = None
    late: str | None = None


@dataclass(frozen=True)
class MachineCounts:
    """The counts of what went to the machine since the start, and what did not.

    `pulses`: that began in time. `late`: that were dropped, or went out late. `crowded_out`: that found no room to
    wait. `unheard`: results that the signals had no time for. `losses`: how often the connection was lost.
    """

    parts: int = 0
    pulses: int = 0
    late: int = 0
    crowded_out: int = 0
    unheard: int = 0
    losses: int = 0
