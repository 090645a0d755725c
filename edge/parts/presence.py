"""When a part is in the picture: a part begins with the first frame that shows it and ends with the last. Pure."""

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
    `since_ns`. `last_ns`: when a frame showed the part last.
    """

    inside: bool = False
    agreeing: int = 0
    since_ns: int = 0
    last_ns: int = 0


def step(
    rules: PresenceRules, state: Presence, *, present: bool | None, captured_ns: int
) -> tuple[Presence, tuple[TriggerEvent, ...]]:
    """Take what one frame shows, None where it cannot be known, and return what begins or ends.

    A part is opened at the first frame that showed it and closed at the last one, so that the frames in which it was
    decided belong to it. A frame that could not be read neither opens nor closes.
    """
    if present is None:
        return state, ()
    if present == state.inside:
        return replace(state, agreeing=0, last_ns=captured_ns if present else state.last_ns), ()
    since_ns = captured_ns if not state.agreeing else state.since_ns
    agreeing = state.agreeing + 1
    if agreeing < (rules.on_frames if present else rules.off_frames):
        return replace(state, agreeing=agreeing, since_ns=since_ns), ()
    if present:
        return Presence(inside=True, last_ns=captured_ns), (PartOpened(since_ns),)
    return Presence(inside=False, last_ns=state.last_ns), (PartClosed(state.last_ns),)
