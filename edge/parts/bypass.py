"""Bypass: an engineer takes inspection out, for a reason and a time. (state, event, now) → (state, what to do). Pure.

Nothing is OK meanwhile: each result is NO_READ, with the reason. It ends by itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from edge.alarms import Moment
from edge.commands.requests import MAX_BYPASS_MINUTES
from edge.records import FrameResult, Judgement, Verdict
from edge.records.interventions import Noted
from edge.records.parts import PartResult
from edge.wording import counted

LONGEST_S = MAX_BYPASS_MINUTES * 60
_VERSION = 1
_PAST_AT_MOST = 16
_S = 1_000_000_000

BypassOutcome = Literal["ok", "not_bypassed", "out_of_range"]


@dataclass(frozen=True)
class On:
    """Take inspection out for `lasting_s`, or for another time or reason than it is out already."""

    lasting_s: int
    user: str
    reason: str


@dataclass(frozen=True)
class Off:
    """Put inspection back."""

    user: str
    comment: str = ""


@dataclass(frozen=True)
class Bypass:
    """A time without inspection, half-open, on the station's clock."""

    begun_ns: int
    until_ns: int
    user: str
    reason: str


@dataclass(frozen=True)
class Bypasses:
    """All that is remembered. `now`: the one in force. `past`: those before, each until it ended."""

    now: Bypass | None = None
    past: tuple[Bypass, ...] = ()

    @property
    def all(self) -> tuple[Bypass, ...]:
        """Those before and the one in force, the latest first."""
        return (*(() if self.now is None else (self.now,)), *reversed(self.past))


@dataclass(frozen=True)
class BypassStep:
    """The outcome of an event: the state, what is to be noted, and of a command what became of it."""

    state: Bypasses
    journal: tuple[Noted, ...] = ()
    outcome: BypassOutcome = "ok"
    detail: str = ""


@dataclass(frozen=True)
class _Why:
    user: str
    comment: str
    told: str


def step(state: Bypasses, event: On | Off | None, now_ns: int) -> BypassStep:
    """Take one event, or None for the passing of time. `now_ns`: the station's clock, which never goes back."""
    timed = BypassStep(state)
    if state.now is not None and now_ns >= state.now.until_ns:
        timed = _end(state, state.now, state.now.until_ns, _Why(state.now.user, "", "its time was over"))
    if isinstance(event, On):
        came = _on(timed.state, event, now_ns)
    elif isinstance(event, Off):
        came = _off(timed.state, event, now_ns)
    else:
        return timed
    return replace(came, journal=(*timed.journal, *came.journal))


def active(state: Bypasses, now_ns: int) -> Bypass | None:
    """Return the bypass in force at a moment, also before `step` was told of it; or None."""
    for one in state.all:
        if one.begun_ns <= now_ns < one.until_ns:
            return one
    return None


def reason_of(bypass: Bypass) -> str:
    """Return the reason of a result while inspection is out."""
    return f"bypassed by {bypass.user}: {bypass.reason}"


def mark_frame(state: Bypasses, result: FrameResult, now_ns: int) -> FrameResult:
    """Return a frame's result as it is told: NO_READ, with nothing measured, if it was seen or is judged in a bypass.

    Faults of camera and engine stay: they are there, whoever inspects.
    """
    bypass = active(state, now_ns) or active(state, result.captured_ns)
    if bypass is None:
        return result
    judgement = Judgement(Verdict.NO_READ, reason_of(bypass))
    return replace(result, judgement=judgement, measurement=None, zones={}, grade=None)


def mark_part(state: Bypasses, part: PartResult, now_ns: int) -> PartResult:
    """Return a part's result as it is told: NO_READ if it was in the station, or is judged, in a bypass.

    NG stays NG: its frames are marked by `mark_frame`, so that the defect was seen before or after the bypass.
    """
    bypass = active(state, now_ns) or _during(state, part)
    if bypass is None or part.judgement.verdict is Verdict.NG:
        return part
    return replace(part, judgement=Judgement(Verdict.NO_READ, reason_of(bypass)), grade=None)


def told(state: Bypasses, moment: Moment) -> str:
    """Say why the alarm `bypass` stands, and until when; or nothing."""
    bypass = active(state, moment.now_ns)
    if bypass is None:
        return ""
    until = moment.at_wall(bypass.until_ns).astimezone(timezone.utc)
    return f"{reason_of(bypass)}; until {until:%H:%M} UTC"


def remember(state: Bypasses, moment: Moment) -> str:
    """Return what must survive a restart, as JSON."""
    bypass = state.now
    if bypass is None:
        return json.dumps({"version": _VERSION, "now": None})
    times = {
        "boot_id": moment.boot_id,
        "begun_ns": bypass.begun_ns,
        "until_ns": bypass.until_ns,
        "begun": moment.at_wall(bypass.begun_ns).isoformat(),
        "until": moment.at_wall(bypass.until_ns).isoformat(),
    }
    return json.dumps({"version": _VERSION, "now": {"user": bypass.user, "reason": bypass.reason, **times}})


def recall(body: str, moment: Moment) -> Bypasses:
    """Return what `remember` gave, on the clock of now; `step` ends one whose time was over meanwhile.

    Within one boot the steady clock counts. Across boots the wall clock does; where that contradicts itself the bypass
    is over: inspection is what a station does when nothing is known. Raises ValueError for what is none of this
    version.
    """
    try:
        kept = json.loads(body)
        return Bypasses(_recalled(kept["now"], moment)) if _is_of_version(kept) and kept["now"] else Bypasses()
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"expected a bypass of version {_VERSION}, received {body[:200]!r}: {error}") from error


def _is_of_version(kept: dict[str, Any]) -> bool:
    if kept["version"] != _VERSION:
        raise ValueError(f"version {kept['version']}")
    return True


def _recalled(kept: dict[str, Any], moment: Moment) -> Bypass:
    user, reason = kept["user"], kept["reason"]
    if not isinstance(user, str) or not isinstance(reason, str):
        raise TypeError("a user and a reason are texts")
    if kept["boot_id"] == moment.boot_id:
        begun_ns, until_ns = int(kept["begun_ns"]), int(kept["until_ns"])
    else:
        begun, until = (datetime.fromisoformat(kept[key]).astimezone(timezone.utc) for key in ("begun", "until"))
        now = moment.wall.astimezone(timezone.utc)
        over = not begun <= now <= until
        begun_ns = moment.now_ns - max(0, (now - begun) // timedelta(microseconds=1)) * 1000
        until_ns = moment.now_ns if over else moment.now_ns + (until - now) // timedelta(microseconds=1) * 1000
    return Bypass(begun_ns, min(until_ns, begun_ns + LONGEST_S * _S), user, reason)


def _on(state: Bypasses, event: On, now_ns: int) -> BypassStep:
    if not 0 < event.lasting_s <= LONGEST_S:
        told_why = f"at most {LONGEST_S // 3600} h, received {event.lasting_s} s"
        return BypassStep(state, outcome="out_of_range", detail=told_why)
    ended = BypassStep(state)
    if state.now is not None:
        ended = _end(state, state.now, now_ns, _Why(event.user, event.reason, "another takes its place"))
    bypass = Bypass(now_ns, now_ns + event.lasting_s * _S, event.user, event.reason)
    begin = Noted("bypass_begin", event.user, event.reason, f"for {_lasting(event.lasting_s)}")
    detail = f"inspection is out for {_lasting(event.lasting_s)}; every result is NO_READ"
    return BypassStep(replace(ended.state, now=bypass), (*ended.journal, begin), detail=detail)


def _off(state: Bypasses, event: Off, now_ns: int) -> BypassStep:
    if state.now is None:
        return BypassStep(state, outcome="not_bypassed", detail="inspection is not bypassed")
    return _end(state, state.now, now_ns, _Why(event.user, event.comment, f"ended by {event.user}"))


def _end(state: Bypasses, bypass: Bypass, at_ns: int, why: _Why) -> BypassStep:
    lasted_s = max(0, at_ns - bypass.begun_ns) // _S
    noted = Noted("bypass_end", why.user, why.comment, f"{why.told}; it lasted {_lasting(lasted_s)}")
    past = (*state.past, replace(bypass, until_ns=at_ns))[-_PAST_AT_MOST:]
    return BypassStep(Bypasses(None, past), (noted,), detail=noted.detail)


def _during(state: Bypasses, part: PartResult) -> Bypass | None:
    for one in state.all:
        if part.opened_ns < one.until_ns and one.begun_ns <= part.closed_ns:
            return one
    return None


def _lasting(seconds: int) -> str:
    return counted(seconds, "s", "s") if seconds < 120 or seconds % 60 else counted(seconds // 60, "min", "min")
