"""A challenge: known bad parts go through, and every one must be NG. (state, event, now) → (state, what to do). Pure.

The parts of a challenge are the next so many that are opened after it began. They are known by their numbers. All of
them must be NG. A miss is told at once, so that nothing that comes later can lose it. A part that was opened while a
challenge ran belongs to it, even where the challenge ends first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from edge.commands.requests import MAX_CHALLENGE_PARTS, MAX_CHALLENGE_S, MIN_CHALLENGE_S
from edge.records import Verdict
from edge.records.interventions import Noted
from edge.records.parts import PartResult
from edge.wording import counted
from edge.yaml_settings import StrictModel

_VERSION = 1
_PAST_AT_MOST = 100  # more parts than that are never open at once
_NAMED_AT_MOST = 10
_REASON_CHARACTERS = 400
_S = 1_000_000_000

ChallengeOutcome = Literal["ok", "already_running", "not_running", "no_parts"]


class ChallengeSettings(StrictModel):
    """Settings of challenges. `each_shift`: one is due in each shift; without it one is an alarm, `challenge-due`.

    `parts`: known bad parts of one. `within_s`: how long one may last, and how long after the beginning of a shift it
    may be missing. The shift of a line that stands still has none to come.
    """

    each_shift: bool = False
    parts: Annotated[int, Field(ge=1, le=MAX_CHALLENGE_PARTS)] = 5
    within_s: Annotated[int, Field(ge=MIN_CHALLENGE_S, le=MAX_CHALLENGE_S)] = 900


@dataclass(frozen=True)
class Begin:
    """Begin a challenge of `parts`, which ends after `within_s`.

    `after`: the number of the last part that was opened, 0 before the first; None where the station has no parts.
    """

    parts: int
    within_s: int
    user: str
    comment: str
    after: int | None


@dataclass(frozen=True)
class Cancel:
    """End the challenge that runs. `bypassed`: since inspection is taken out."""

    user: str
    bypassed: bool = False


@dataclass(frozen=True)
class Stop:
    """The station ends."""


@dataclass(frozen=True)
class ShiftBegan:
    """A shift is in force. `key` names it. `due_ns`: from when on a challenge of it is late."""

    key: str
    due_ns: int


ChallengeEvent = Begin | Cancel | Stop | ShiftBegan | PartResult


@dataclass(frozen=True)
class Running:
    """A challenge. `first`: the number of its first part. `seen`: numbers of judged parts. `missed`: those not NG.

    `bypassed`: a bypass ended it, so that a part of it that is NO_READ says nothing.
    """

    parts: int
    first: int
    begun_ns: int
    until_ns: int
    user: str
    comment: str
    seen: frozenset[int] = frozenset()
    missed: tuple[str, ...] = ()
    bypassed: bool = False


@dataclass(frozen=True)
class Challenges:
    """All that is remembered. `past`: of those that ended early, whose parts may still come.

    `missed`: why the alarm `challenge-missed` stands, until a challenge is passed. `done_shift`: the shift of the last
    one that came to its end. `shift`, `due_ns`: the shift in force. `worked`: whether a part came in it.
    """

    running: Running | None = None
    past: tuple[Running, ...] = ()
    missed: str = ""
    done_shift: str = ""
    shift: str = ""
    due_ns: int = 0
    worked: bool = False


@dataclass(frozen=True)
class ChallengeStep:
    """The outcome of an event. `marked`: the part is a challenge's; it counts nowhere, and its message says so.

    `journal`: what is to be noted. `outcome`, `detail`: of a command.
    """

    state: Challenges
    marked: bool = False
    journal: tuple[Noted, ...] = ()
    outcome: ChallengeOutcome = "ok"
    detail: str = ""


def step(state: Challenges, event: ChallengeEvent | None, now_ns: int) -> ChallengeStep:
    """Take one event, or None for the passing of time. `now_ns`: the station's clock, which never goes back."""
    timed = _time_out(state, now_ns)
    state = timed.state
    if isinstance(event, Begin):
        came = _begin(state, event, now_ns)
    elif isinstance(event, Cancel):
        came = _cancel(state, event, now_ns)
    elif isinstance(event, Stop):
        came = _end(state, now_ns, "the station was stopped")
    elif isinstance(event, PartResult):
        came = _part(state, event)
    elif isinstance(event, ShiftBegan) and event.key != state.shift:
        came = ChallengeStep(replace(state, shift=event.key, due_ns=event.due_ns, worked=False))
    else:
        came = ChallengeStep(state)
    return replace(came, journal=(*timed.journal, *came.journal))


def late(settings: ChallengeSettings, state: Challenges, now_ns: int) -> str:
    """Say why the alarm `challenge-due` stands; or nothing. A line that stands still needs no challenge."""
    due = settings.each_shift and state.worked and state.done_shift != state.shift and now_ns >= state.due_ns
    if not due or state.running is not None:
        return ""
    return f"the shift {state.shift} has parts and no challenge, which was due within {settings.within_s} s"


def remember(state: Challenges) -> str:
    """Return what must survive a restart, as JSON. Of a running challenge it has the words for its sudden end."""
    running = state.running
    kept = None if running is None else {"user": running.user, "comment": running.comment, "came": _progress(running)}
    whole = {"version": _VERSION, "missed": state.missed, "done_shift": state.done_shift, "running": kept}
    return json.dumps(whole)


def recall(body: str) -> tuple[Challenges, tuple[Noted, ...]]:
    """Return what `remember` gave, and what is to be noted of a challenge that ran: it ended with its station.

    Raises ValueError for what is none of this version.
    """
    try:
        kept = json.loads(body)
        state = Challenges(missed=_text(kept, "missed"), done_shift=_text(kept, "done_shift"))
        return state, _cut_off(kept.get("running"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"expected challenges of version {_VERSION}, received {body[:200]!r}: {error}") from error


def _cut_off(running: dict[str, Any] | None) -> tuple[Noted, ...]:
    if running is None:
        return ()
    user, comment, came = (str(running[key]) for key in ("user", "comment", "came"))
    return (Noted("challenge", user, comment, f"not done: the station ended without a word; {came}"),)


def _text(kept: dict[str, Any], key: str) -> str:
    if kept["version"] != _VERSION or not isinstance(kept[key], str):
        raise ValueError(f"version {kept['version']}, {key} {kept[key]!r:.40}")
    return str(kept[key])


def _begin(state: Challenges, event: Begin, now_ns: int) -> ChallengeStep:
    if event.after is None:
        told = "this station has no parts to challenge: each frame has a verdict of its own; see parts.trigger"
        return ChallengeStep(state, outcome="no_parts", detail=told)
    if state.running is not None:
        return ChallengeStep(state, outcome="already_running", detail=_progress(state.running))
    until_ns = now_ns + event.within_s * _S
    running = Running(event.parts, event.after + 1, now_ns, until_ns, event.user, event.comment)
    detail = f"the next {counted(event.parts, 'part')} within {event.within_s} s must be NG"
    return ChallengeStep(replace(state, running=running, past=_still_open(state.past, event.after)), detail=detail)


def _still_open(past: tuple[Running, ...], after: int) -> tuple[Running, ...]:
    """Keep of former challenges those of whose parts some are opened, and not judged."""
    cut = (replace(one, parts=min(one.parts, after - one.first + 1)) for one in past)
    return tuple(one for one in cut if len(one.seen) < one.parts)


def _cancel(state: Challenges, event: Cancel, now_ns: int) -> ChallengeStep:
    if event.bypassed:  # parts of former challenges that are in the station are bypassed as well
        state = replace(state, past=tuple(replace(one, bypassed=True) for one in state.past))
    if state.running is None:
        return ChallengeStep(state, outcome="not_running", detail="no challenge runs")
    told = f"inspection was bypassed by {event.user}" if event.bypassed else f"cancelled by {event.user}"
    running = replace(state.running, bypassed=event.bypassed)
    came = _end(replace(state, running=running), now_ns, told)
    return replace(came, detail=_progress(state.running))


def _time_out(state: Challenges, now_ns: int) -> ChallengeStep:
    running = state.running
    if running is None or now_ns < running.until_ns:
        return ChallengeStep(state)
    seconds = (running.until_ns - running.begun_ns) // _S
    return _end(state, running.until_ns, f"its time of {seconds} s was over")


def _end(state: Challenges, at_ns: int, why: str) -> ChallengeStep:
    """End a challenge before all of its parts were judged; those that were opened by then still belong to it."""
    running = state.running
    if running is None:
        return ChallengeStep(state)
    past = (*state.past, replace(running, until_ns=min(at_ns, running.until_ns)))[-_PAST_AT_MOST:]
    told = f"not done: {why}; {_progress(running)}"
    return ChallengeStep(replace(state, running=None, past=past), journal=(_noted(running, told),))


def _part(state: Challenges, part: PartResult) -> ChallengeStep:
    if state.running is not None and _holds(state.running, part):
        return _judged(state, state.running, part)
    for place, past in enumerate(state.past):
        if part.opened_ns <= past.until_ns and _holds(past, part):
            seen = replace(past, seen=past.seen | {part.number})
            state = replace(state, past=(*state.past[:place], seen, *state.past[place + 1 :]))
            excused = past.bypassed and part.judgement.verdict is Verdict.NO_READ
            return _missed(state, past, part) if _is_missed(part) and not excused else ChallengeStep(state, marked=True)
    return ChallengeStep(replace(state, worked=True))


def _holds(challenge: Running, part: PartResult) -> bool:
    return challenge.first <= part.number < challenge.first + challenge.parts


def _is_missed(part: PartResult) -> bool:
    return part.judgement.verdict is not Verdict.NG


def _missed(state: Challenges, challenge: Running, part: PartResult) -> ChallengeStep:
    told = f"missed: {_named(part)}"
    why = f"{told}, in the challenge of {challenge.user}"
    return ChallengeStep(replace(state, missed=why), marked=True, journal=(_noted(challenge, told),))


def _judged(state: Challenges, running: Running, part: PartResult) -> ChallengeStep:
    """Take a part of the challenge that runs, and end it with the last of them."""
    journal: tuple[Noted, ...] = ()
    if _is_missed(part):
        came = _missed(state, running, part)
        state, journal = came.state, came.journal
        running = replace(running, missed=(*running.missed, _named(part)))
    running = replace(running, seen=running.seen | {part.number})
    if len(running.seen) < running.parts:
        return ChallengeStep(replace(state, running=running), marked=True, journal=journal)
    state = replace(state, running=None, done_shift=state.shift, missed=state.missed if running.missed else "")
    return ChallengeStep(state, marked=True, journal=(*journal, _noted(running, _result(running))))


def _result(running: Running) -> str:
    bad = counted(running.parts, "known bad part")
    if not running.missed:
        return f"passed: {bad}, all NG"
    more = len(running.missed) - _NAMED_AT_MOST
    named = ", ".join(running.missed[:_NAMED_AT_MOST]) + (f", and {more} more" if more > 0 else "")
    return f"failed: {len(running.missed)} of {bad} not NG: {named}"[:_REASON_CHARACTERS]


def _named(part: PartResult) -> str:
    return f"the part {part.part_id[:80]} was {part.judgement.verdict.value}"


def _progress(running: Running) -> str:
    return f"{len(running.seen)} of {counted(running.parts, 'part')} judged, {len(running.missed)} not NG"


def _noted(challenge: Running, detail: str) -> Noted:
    return Noted("challenge", challenge.user, challenge.comment, detail)
