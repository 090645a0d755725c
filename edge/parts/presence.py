"""The presence of a part: from the first frame that shows it until the first that does not. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge.records.parts import PartClosed, PartOpened, TriggerEvent


@dataclass(frozen=True)
class PresenceRules:
    """`on_frames` in a row begin a part, `off_frames` in a row without it end it."""

    on_frames: int = 1
    off_frames: int = 2


@dataclass(frozen=True)
class Presence:
    """The state between two frames.

    `inside`: whether a part is open. `agreeing`: frames in a row that say otherwise, the first of them captured at
    `since_ns`.
    """

    inside: bool = False
    agreeing: int = 0
    since_ns: int = 0


def step(
    rules: PresenceRules, state: Presence, *, present: bool | None, captured_ns: int
) -> tuple[Presence, tuple[TriggerEvent, ...]]:
    """Take what one frame shows, None where it cannot be known, and return what begins or ends.

    A part is opened at the first frame that showed it and closed just before the first that did not. The frames in
    which it was decided belong to it, and so does what another view saw between these two. A frame that could not be
    read neither opens nor closes.
    """
    if present is None:
        return state, ()
    if present == state.inside:
        return replace(state, agreeing=0), ()
    since_ns = captured_ns if not state.agreeing else state.since_ns
    agreeing = state.agreeing + 1
    if agreeing < (rules.on_frames if present else rules.off_frames):
        return replace(state, agreeing=agreeing, since_ns=since_ns), ()
    if present:
        return Presence(inside=True), (PartOpened(since_ns),)
    return Presence(inside=False), (PartClosed(since_ns - 1),)
