"""Triggers open and close parts: by frames, by parts that are seen, or by somebody's word."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.parts.presence import Presence, PresenceRules, step
from edge.records.parts import FrameLost, PartClosed, PartOpened, TriggerEvent, TriggerFault, TriggerTrouble
from edge.wording import counted

MOST_LATE = 64  # parts that have ended, of which some view's frames are not judged yet
MOST_WAITING = 10_000  # of told events; a trigger that is faster than this is told to be


@dataclass(frozen=True)
class TriggerFrame:
    """A frame as a trigger is told of it: its view, its time, and whether it shows a part.

    `captured_ns`: the station's clock. `present`: None where that is not looked at or cannot be known. `timeout_ns`:
    the longest that a part stays open. `lost`: it was dropped unjudged, and its moment is about `captured_ns`.
    """

    view: str
    captured_ns: int
    present: bool | None = None
    timeout_ns: int | None = None
    lost: bool = False


class Trigger(Protocol):
    """Opens and closes parts. Asked by the decider alone; others may tell it from any thread."""

    def frame(self, frame: TriggerFrame) -> Sequence[TriggerEvent]:
        """Return what begins or ends with a frame, in order."""
        ...

    def events(self, now_ns: int) -> Sequence[TriggerEvent]:
        """Return what began or ended up to now beside frames, in order."""
        ...

    def settled_ns(self) -> int | None:
        """Return up to which moment all that begins and ends is told; None where nothing is ever told of earlier."""
        ...


class PresenceTrigger:
    """A part is there while one view shows it."""

    def __init__(self, view: str, rules: PresenceRules = PresenceRules()) -> None:  # noqa: B008 - it is frozen
        self._view, self._rules, self._state = view, rules, Presence()
        self._looked_ns = 0

    @property
    def inside(self) -> bool:
        """Tell whether the view shows a part."""
        return self._state.inside

    def frame(self, frame: TriggerFrame) -> Sequence[TriggerEvent]:
        """Return what begins or ends with a frame."""
        if frame.view != self._view or frame.lost:
            return ()
        self._state, events = step(self._rules, self._state, present=frame.present, captured_ns=frame.captured_ns)
        self._looked_ns = max(self._looked_ns, frame.captured_ns)
        return events

    def events(self, now_ns: int) -> Sequence[TriggerEvent]:
        """Return nothing: parts come with frames."""
        del now_ns
        return ()

    def settled_ns(self) -> int | None:
        """Return the moment of the last frame looked at, or one before frames that may begin or end a part."""
        return self._state.since_ns - 1 if self._state.agreeing else self._looked_ns


@dataclass(eq=False)
class _Shot:
    """One triggering of all cameras, numbered from 1; `seen`: frames by view."""

    number: int
    at_ns: int
    seen: dict[str, int]


class CameraTrigger:
    """Cameras that are triggered themselves: so many frames of each view are one part.

    Frames of several views that were captured within `together_ns` of the first belong together. Silence between is no
    fault; a view that does not come in that time is missing. A frame that was dropped counts as one that came.
    `placed`: the number of the triggering that the last frame is of, None where it is of none.
    """

    def __init__(self, views: Sequence[str], frames: int = 1, together_ns: int = 50_000_000) -> None:
        self._views, self._frames = tuple(views), frames
        self._together_ns = together_ns if len(self._views) > 1 else 0
        self._open: deque[_Shot] = deque()
        self.placed: int | None = None
        self._number = 0
        self._dropped: dict[str, FrameLost] = {}  # of each view the last frames that nobody will judge
        self._late: deque[_Shot] = deque(maxlen=MOST_LATE)  # ended, and frames captured in time may still be judged

    def frame(self, frame: TriggerFrame) -> Sequence[TriggerEvent]:
        """Return the part that a frame begins or completes."""
        self.placed = None
        if frame.view not in self._views:
            return ()
        told = list(self.events(frame.captured_ns))
        self._forget_timed_out(frame)
        shot = self._nearest(frame)
        if shot is None:
            self._number += 1
            shot = _Shot(self._number, frame.captured_ns, {})
            self._open.append(shot)
            opened_ns = frame.captured_ns - self._together_ns
            told.append(PartOpened(opened_ns, exactly=self._frames, shot=shot.number))
        self.placed = shot.number
        shot.seen[frame.view] = shot.seen.get(frame.view, 0) + 1
        if all(shot.seen.get(view, 0) >= self._frames for view in self._views) and shot in self._open:
            told += self._close_until(shot, frame.captured_ns)
        return told

    def events(self, now_ns: int) -> Sequence[TriggerEvent]:
        """Return the parts whose other views did not come in time; frames of one view are waited for without end."""
        told: list[TriggerEvent] = []
        while len(self._views) > 1 and self._open and now_ns - self._open[0].at_ns > self._together_ns:
            shot = self._open.popleft()
            self._late.append(shot)
            told.append(PartClosed(shot.at_ns + self._together_ns, shot=shot.number))
        return told

    def settled_ns(self) -> None:
        """Return None: a frame comes after the part that it opened."""

    def lost(self, event: FrameLost) -> Sequence[TriggerEvent]:
        """Return what is told of frames that were dropped: where every view dropped its own, no part was opened."""
        if event.many:
            self._dropped[event.view] = event
        drops = [self._dropped.get(view) for view in self._views]
        each = [drop for drop in drops if drop is not None]
        if len(each) < len(drops) or max(drop.since_ns for drop in each) > min(drop.at_ns for drop in each):
            return ()
        self._dropped.clear()
        parts = counted(-(-min(drop.many for drop in each) // self._frames), "part")
        detail = f"no camera kept up: frames of up to {parts} were dropped unjudged by each of them"
        return (TriggerTrouble(TriggerFault.LOST, event.at_ns, detail),)

    def _forget_timed_out(self, frame: TriggerFrame) -> None:
        """Forget what was open for too long before a frame.

        So a part that lacks a frame takes none of the next.
        """
        while self._open and frame.timeout_ns is not None:
            if frame.captured_ns - (self._open[0].at_ns - self._together_ns) <= frame.timeout_ns:
                return
            self._open.popleft()

    def _nearest(self, frame: TriggerFrame) -> _Shot | None:
        """Return the part that a frame is of: it counts when it was captured, and not when it was judged."""
        takers = [each for each in (*self._late, *self._open) if self._takes(each, frame)]
        return min(takers, key=lambda shot: abs(frame.captured_ns - shot.at_ns), default=None)

    def _takes(self, shot: _Shot, frame: TriggerFrame) -> bool:
        near = len(self._views) == 1 or abs(frame.captured_ns - shot.at_ns) <= self._together_ns
        return near and shot.seen.get(frame.view, 0) < self._frames

    def _close_until(self, last: _Shot, at_ns: int) -> list[TriggerEvent]:
        """Close a part, and those before it, which no frame completes any more: parts are closed in their order."""
        told: list[TriggerEvent] = []
        while self._open:
            shot = self._open.popleft()
            told.append(PartClosed(max(at_ns, shot.at_ns), shot=shot.number))
            if shot is last:
                break
            self._late.append(shot)
        return told


class ToldTrigger:
    """Parts are opened and closed by whoever says so: a command, a simulated light barrier, a test. Any thread may."""

    def __init__(self) -> None:
        self._waiting: deque[TriggerEvent] = deque()
        self._lock = threading.Lock()
        self._unheard = ""
        self.refused = 0

    def tell(self, event: TriggerEvent) -> bool:
        """Accept an opening or closing; False where too many wait already, which is counted in `refused`."""
        with self._lock:
            if len(self._waiting) >= MOST_WAITING:
                self.refused += 1
                self._unheard = f"{MOST_WAITING} openings and closings of parts wait; {self.refused} were refused"
                return False
            self._waiting.append(event)
            return True

    def refuse(self, why: str) -> None:
        """Tell that an opening or closing could not be taken: a part may come that nobody opened."""
        with self._lock:
            self._unheard = why

    def frame(self, frame: TriggerFrame) -> Sequence[TriggerEvent]:
        """Return nothing: frames open no part."""
        del frame
        return ()

    def events(self, now_ns: int) -> Sequence[TriggerEvent]:
        """Return what was told up to now, in its order; later wishes wait."""
        told: list[TriggerEvent] = []
        with self._lock:
            if self._unheard:
                told.append(TriggerTrouble(TriggerFault.UNHEARD, now_ns, self._unheard))
                self._unheard = ""
            while self._waiting and self._waiting[0].at_ns <= now_ns:
                told.append(self._waiting.popleft())
        return told

    def settled_ns(self) -> None:
        """Return None: a part is opened at the moment at which it is told."""
