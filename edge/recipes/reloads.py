"""Changes of a station's models or settings, and the way back. Pure: time and facts are arguments.

A new model is read and judges beside the running one (shadow run). Then it takes its place between two parts, and is
watched. It goes back on an error, on broken answers, where it is too slow, or where it disagrees too much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from edge.recipes.comparing import Compared, Diff
from edge.wording import counted

# The frames that may take too long before the new model is too slow: some do on any machine.
SLOW_SHARE = 0.1
SLOW_FRAMES_AT_LEAST = 3
SLOW_OF_AT_LEAST = 10  # frames, before a share says anything

Phase = Literal["idle", "reading", "shadow", "switching", "watching", "returning"]
Outcome = Literal["ok", "failed", "rolled_back", "cancelled"]


@dataclass(frozen=True)
class ReloadRules:
    """The rules of one change; see ReloadSettings. `gap_ns`: the longest that a change waits for a gap.

    `unit`: part, or frame where there are no parts.
    """

    shadow_parts: int
    watch_parts: int
    within_ns: int
    disagreement_at_most: float
    gap_ns: int
    unit: str = "part"


@dataclass(frozen=True)
class Reload:
    """All that is remembered between two events. `since_ns`: when the phase began.

    `due_ns`: since when a change waits for a gap. `outcome`, `reason`: of what goes back.
    """

    phase: Phase = "idle"
    rules: ReloadRules = field(default_factory=lambda: ReloadRules(0, 0, 0, 0.0, 0))
    since_ns: int = 0
    due_ns: int | None = None
    shadow: Diff = field(default_factory=Diff)
    watch: Diff = field(default_factory=Diff)
    reason: str = ""
    outcome: Outcome = "rolled_back"


@dataclass(frozen=True)
class Asked:
    """Somebody wants the files read again."""


@dataclass(frozen=True)
class Read:
    """The new edition is read and its engines are open. `alike`: it judges as the running one; nothing is compared."""

    rules: ReloadRules
    alike: bool = False


@dataclass(frozen=True)
class NotRead:
    """It cannot be taken, and `why`; also where that is known only just before the change."""

    why: str


@dataclass(frozen=True)
class Judged:
    """Both models judged a part."""

    one: Compared


@dataclass(frozen=True)
class Skipped:
    """A part passed that could not be compared."""


@dataclass(frozen=True)
class Took:
    """The new model judged a frame; `slow`: it took too long."""

    slow: bool


@dataclass(frozen=True)
class Broken:
    """The new model failed, or gave an answer that cannot be believed."""

    why: str


@dataclass(frozen=True)
class Cancelled:
    """Somebody no longer wants it."""

    by: str


@dataclass(frozen=True)
class Gap:
    """Time passes. `free`: no part is open to frames."""

    free: bool


@dataclass(frozen=True)
class Prepare:
    """Read the files, and open what they need."""


@dataclass(frozen=True)
class BeginShadow:
    """Let the new model judge beside the running one."""


@dataclass(frozen=True)
class Switch:
    """Judge by what is new from a moment on. `watched`: the former model goes on beside it."""

    from_ns: int
    watched: bool


@dataclass(frozen=True)
class GoBack:
    """Judge by the former one again from a moment on."""

    from_ns: int
    reason: str


@dataclass(frozen=True)
class Finish:
    """It has come to its end: let go of what is not in force."""

    outcome: Outcome
    detail: str


Event = Asked | Read | NotRead | Judged | Skipped | Took | Broken | Cancelled | Gap
Action = Prepare | BeginShadow | Switch | GoBack | Finish


def step(state: Reload, event: Event, now_ns: int) -> tuple[Reload, tuple[Action, ...]]:
    """Take one event and return what is to be done, in order. An event that no longer matters changes nothing."""
    if isinstance(event, Asked):
        return (Reload("reading", since_ns=now_ns), (Prepare(),)) if state.phase == "idle" else (state, ())
    if state.phase == "idle":
        return state, ()
    if isinstance(event, Cancelled):
        return _cancelled(state, event)
    if state.phase == "reading":
        return _read(state, event, now_ns)
    if state.phase in {"switching", "returning"}:
        return _change(state, event, now_ns)
    return _compare(state, event, now_ns)


def _read(state: Reload, event: Event, now_ns: int) -> tuple[Reload, tuple[Action, ...]]:
    if isinstance(event, NotRead):
        return _finished(state, "failed", event.why)
    if not isinstance(event, Read):
        return state, ()
    rules = replace(event.rules, shadow_parts=0, watch_parts=0) if event.alike else event.rules
    state = replace(state, rules=rules, since_ns=now_ns)
    if not rules.shadow_parts:
        return replace(state, phase="switching"), ()
    return replace(state, phase="shadow"), (BeginShadow(),)


def _change(state: Reload, event: Event, now_ns: int) -> tuple[Reload, tuple[Action, ...]]:
    """Change between two parts, as soon as there is a gap, or the longest part is over."""
    if isinstance(event, NotRead) and state.phase == "switching":
        return _finished(state, "failed", event.why)
    if not isinstance(event, Gap):
        return state, ()
    due_ns = now_ns if state.due_ns is None else state.due_ns
    if not event.free and now_ns - due_ns < state.rules.gap_ns:
        return replace(state, due_ns=due_ns), ()
    if state.phase == "returning":
        back = GoBack(now_ns, state.reason)
        return _ended(state), (back, Finish(state.outcome, state.reason))
    watched = state.rules.watch_parts > 0
    switch = Switch(now_ns, watched)
    if not watched:
        return _ended(state), (switch, Finish("ok", _told_ok(state)))
    return replace(state, phase="watching", since_ns=now_ns, due_ns=None), (switch,)


def _compare(state: Reload, event: Event, now_ns: int) -> tuple[Reload, tuple[Action, ...]]:
    """Take note of what both models say, in the shadow run or after the change."""
    if isinstance(event, Broken):
        return _refused(state, event.why, now_ns)
    diff = _diff(state)
    if isinstance(event, Judged):
        diff = diff.plus(event.one)
    elif isinstance(event, Skipped):
        diff = replace(diff, skipped=diff.skipped + 1)
    elif isinstance(event, Took):
        diff = replace(diff, frames=diff.frames + 1, slow=diff.slow + event.slow)
    state = replace(state, shadow=diff) if state.phase == "shadow" else replace(state, watch=diff)
    if why := too_much(state):
        return _refused(state, why, now_ns)
    late = now_ns - state.since_ns >= state.rules.within_ns
    if state.phase == "watching":
        passed = diff.compared + diff.skipped >= state.rules.watch_parts
        return _finished(state, "ok", _told_ok(state)) if passed or late else (state, ())
    if diff.compared >= state.rules.shadow_parts:
        return replace(state, phase="switching", since_ns=now_ns), ()
    return _finished(state, "failed", _too_few(state)) if late else (state, ())


def _diff(state: Reload) -> Diff:
    return state.shadow if state.phase == "shadow" else state.watch


def too_much(state: Reload) -> str:
    """Say why the new model is not to judge, by what was compared so far; or nothing."""
    diff, rules = _diff(state), state.rules
    wanted = rules.shadow_parts if state.phase == "shadow" else rules.watch_parts
    if diff.disagreeing > rules.disagreement_at_most * wanted:
        return (
            f"the new model disagrees: {counted(diff.disagreeing, 'verdict')} of {counted(diff.compared, rules.unit)} "
            f"would differ, at most {math.floor(rules.disagreement_at_most * wanted)} may ({diff.told(rules.unit)})"
        )
    if diff.frames >= SLOW_OF_AT_LEAST and diff.slow >= SLOW_FRAMES_AT_LEAST and diff.slow > SLOW_SHARE * diff.frames:
        return (
            f"the new model is too slow: {diff.slow} of {counted(diff.frames, 'frame')} took longer than "
            "reload.latency_ms allows"
        )
    return ""


def _refused(state: Reload, why: str, now_ns: int) -> tuple[Reload, tuple[Action, ...]]:
    """Keep the running model, or go back to it."""
    if state.phase == "watching":
        return replace(state, phase="returning", reason=why, since_ns=now_ns, due_ns=None), ()
    return _finished(state, "rolled_back", why)


def _cancelled(state: Reload, event: Cancelled) -> tuple[Reload, tuple[Action, ...]]:
    why = f"cancelled by {event.by}"
    if state.phase == "watching":
        return replace(state, phase="returning", reason=why, outcome="cancelled", due_ns=None), ()
    if state.phase == "returning":
        return state, ()
    return _finished(state, "cancelled", why)


def _finished(state: Reload, outcome: Outcome, detail: str) -> tuple[Reload, tuple[Action, ...]]:
    return _ended(state), (Finish(outcome, detail),)


def _ended(state: Reload) -> Reload:
    """Keep what was compared, for whoever asks."""
    return Reload(shadow=state.shadow, watch=state.watch)


def _told_ok(state: Reload) -> str:
    unit = state.rules.unit
    said = [
        f"{when}: {diff.told(unit)}"
        for when, diff in (("shadow run", state.shadow), ("watched", state.watch))
        if diff.compared or diff.skipped
    ]
    return "; ".join(said) or "nothing was compared"


def _too_few(state: Reload) -> str:
    diff, rules = state.shadow, state.rules
    came = f"{diff.compared} of {counted(rules.shadow_parts, rules.unit)} compared within {rules.within_ns / 1e9:g} s"
    if diff.skipped:
        came += f", {diff.skipped} came faster than this device judges them twice"
    return f"the shadow run came to no end: {came}. Let parts pass, or reload with --shadow-parts 0"
