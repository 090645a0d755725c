"""Alarms: transitions, standings, what is remembered, and the journal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

AlarmTransition = Literal[
    "raised",
    "re_alarmed",
    "acknowledged",
    "cleared",
    "reset",
    "shelved",
    "unshelved",
    "suppressed",
    "unsuppressed",
    "removed_from_service",
    "returned_to_service",
]

JournalPart = Literal["alarms", "commands", "station"]
# The journal's entries about the station itself.
STATION_KINDS = frozenset(
    {
        "started",
        "ended",
        "settings",
        "bundle",
        "challenge",
        "bypass_begin",
        "bypass_end",
        "recipe",
        "reload",
        "restored",
    }
)

# The outcomes of a command about an alarm.
AlarmOutcome = Literal[
    "ok",
    "already_acked",
    "unknown_occurrence",
    "unknown_alarm",
    "not_authorised",
    "not_latched",
    "not_shelved",
    "out_of_range",
]


@dataclass(frozen=True)
class AlarmEvent:
    """One transition of one alarm. `state`: its condition afterwards. `at_ns`: the line's clock.

    `occurrence_id` names the activation that the alarm is in, or was in last; None before the first. `value`: what was
    measured, of an acknowledgement or a reset what had raised the alarm; `limit`: what it was measured against; None
    where nothing was measured. `shown`: whether an operator is to see the alarm. A shelved or suppressed one, one out
    of service and one of a flood is not shown. `user` and `comment`: of a command. `detail`: why, for people.
    """

    alarm: str
    transition: AlarmTransition
    state: str
    occurrence_id: str | None
    priority: Literal["low", "medium", "high"]
    at_ns: int
    value: float | None
    limit: float | None
    text: str
    shown: bool = True
    user: str | None = None
    comment: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class StandingShelf:
    """A shelving that stands: how long yet, by whom. `kind`: until the alarm returns (`one_shot`), or for a time."""

    kind: Literal["one_shot", "timed"]
    left_ns: int
    user: str
    comment: str


@dataclass(frozen=True)
class AlarmStanding:
    """One alarm's state, for those who show it. `state`: its condition, since `at_ns` of the line's clock.

    `user`, `comment`: who acknowledged the occurrence. `raises_last_minute`: how often it was raised; three times or
    more is `chattering`. `members`: of the flood alarm, how many raisings it stands for; else None.
    """

    alarm: str
    state: str
    occurrence_id: str | None
    priority: Literal["low", "medium", "high"]
    at_ns: int
    value: float | None
    limit: float | None
    text: str
    user: str | None
    comment: str | None
    shown: bool
    shelf: StandingShelf | None
    suppressed_by: tuple[str, ...]
    out_of_service: bool
    chattering: bool
    raises_last_minute: int
    members: int | None


@dataclass(frozen=True)
class AlarmRecord:
    """One alarm's memory across restarts. `body`: JSON that only the alarm room reads.

    A name with a slash, which no alarm has, is of the station itself: `station/bypass`, `station/challenge`.
    """

    alarm: str
    body: str

    @property
    def of_station(self) -> bool:
        """Tell whether it is of the station itself and of no alarm."""
        return "/" in self.alarm


@dataclass(frozen=True)
class JournalEntry:
    """One line of the journal on the device: what happened to `alarm`, or else to the station, and by whom.

    `at`: UTC wall time. `monotonic_ns` means something within `boot_id` only. `kind`: a transition, a command, or one
    of STATION_KINDS. `user`, `comment`, `detail` are for people and may be empty. `account`: of what came through the
    device's socket, who the system says it was; `user` is who it says it is.
    """

    at: datetime
    boot_id: str
    monotonic_ns: int
    kind: str
    alarm: str
    occurrence_id: str | None
    user: str
    comment: str
    detail: str
    account: str = ""

    @property
    def part(self) -> JournalPart:
        """The part of the journal that keeps it, for none is to push out the entries of another."""
        if self.kind in STATION_KINDS:
            return "station"
        return "commands" if self.kind == "command" else "alarms"
