"""Frames and triggers in, concluded parts out: the trigger and the assembler of one station.

A trigger that looks at frames tells of a part when a frame shows it. By then another view may have judged later frames.
Of the same view a frame may still be in question. So frames wait until the trigger has told of their moment.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from edge.parts.assembler import Concluded, PartEvent, Parts, step, stop
from edge.parts.rules import PartRules
from edge.parts.triggers import CameraTrigger, PresenceTrigger, Trigger, TriggerFrame
from edge.recipes.timeline import Timeline
from edge.records import FrameResult
from edge.records.parts import FrameLost, PartClosed, PartOpened, TriggerEvent, TriggerFault, TriggerTrouble
from edge.station.view import Seen


@dataclass(frozen=True, order=True)
class _Held:
    """A frame that waits for news of a part at `at_ns`, its capture less its view's offset.

    `shot`: the triggering that it is of, None where its moment tells.
    """

    at_ns: int
    event: FrameResult | FrameLost = field(compare=False)
    shot: int | None = field(default=None, compare=False)


class PartStream:
    """The parts of one station. Called by the decider alone.

    `name`: what numbered ids begin with; `number`: of the last part before. `recipe`: the one in force, by which a part
    is judged that names no other.
    """

    def __init__(self, trigger: Trigger, rules: PartRules, recipe: str, name: str, number: int = 0) -> None:
        self._trigger = trigger
        self._recipes = Timeline((rules, recipe))
        self._name = name
        # called before a part is opened; a hearer may change the recipe as of its moment
        self.opening: Callable[[PartOpened], None] = lambda _: None
        self._parts = Parts(number=number)
        self._held: list[_Held] = []

    @property
    def open(self) -> int:
        """The number of parts that are not concluded."""
        return len(self._parts.open)

    @property
    def last_number(self) -> int:
        """The number of the part that was opened last."""
        return self._parts.number

    @property
    def open_to_frames(self) -> int:
        """The number of parts that have not ended."""
        return sum(part.closes_ns is None for part in self._parts.open)

    def use(self, rules: PartRules, recipe: str, from_ns: int = 0) -> None:
        """Judge by these rules the parts that are opened from a moment on; earlier ones keep their recipe."""
        self._recipes.change((rules, recipe), from_ns)

    def frame(self, seen: Seen, now_ns: int) -> list[Concluded]:
        """Take a judged frame, and return what is concluded."""
        result = seen.result
        told = self._events(self._trigger.events(now_ns), now_ns)
        if result.frame is None:  # nothing came: it is no frame of any part
            return told + self._release(now_ns)
        frame = TriggerFrame(result.view, result.captured_ns, seen.present, self._timeout_ns(result.captured_ns))
        told += self._from_frame(frame, now_ns)
        return told + self._take(result.view, _Held(result.captured_ns, result, self._shot()), now_ns)

    def lost(self, event: FrameLost, now_ns: int) -> list[Concluded]:
        """Take a frame that nobody will judge; where its camera opens parts it opens one all the same."""
        told: list[Concluded] = []
        shot = None
        if event.opens_parts:
            frame = TriggerFrame(event.view, event.at_ns, None, self._timeout_ns(event.at_ns), lost=True)
            told = self._events(self._trigger.frame(frame), now_ns)
            shot = self._shot()
        elif isinstance(self._trigger, CameraTrigger):
            told = self._events(self._trigger.lost(event), now_ns)
        return told + self._take(event.view, _Held(event.at_ns, event, shot), now_ns)

    def tick(self, now_ns: int) -> list[Concluded]:
        """Let time pass."""
        return self._events(self._trigger.events(now_ns), now_ns) + self._release(now_ns) + self._step(None, now_ns)

    def stop(self, now_ns: int) -> list[Concluded]:
        """Conclude every part that is still open."""
        told = self._release(now_ns, all_of_it=True)
        self._parts, results = stop(self._parts, now_ns)
        return told + list(results)

    def _timeout_ns(self, at_ns: int) -> int:
        return self._recipes.at(at_ns)[0].timeout_ns

    def _from_frame(self, frame: TriggerFrame, now_ns: int) -> list[Concluded]:
        """Take what a frame opens or closes. A part that a view shows for too long has ended already, by its time."""
        events, trigger = self._trigger.frame(frame), self._trigger
        if isinstance(trigger, CameraTrigger):  # also a frame that waited for long, at its own moment
            return self._events(events, min(frame.captured_ns, now_ns))
        if not isinstance(trigger, PresenceTrigger):
            return self._events(events, now_ns)
        told = self._step(None, now_ns)
        if not self.open_to_frames:
            events = [event for event in events if not isinstance(event, PartClosed)]
        told += self._events(events, now_ns)
        if frame.present and trigger.inside and not self.open_to_frames:
            detail = f"{frame.view} shows a part that does not end, so no other can begin; is that the empty belt?"
            told.append(TriggerTrouble(TriggerFault.NEVER_CLOSES, now_ns, detail, still=True))
        return told

    def _shot(self) -> int | None:
        """Return the triggering of the frame that the trigger was told of last; None where moments tell."""
        return self._trigger.placed if isinstance(self._trigger, CameraTrigger) else None

    def _take(self, view: str, held: _Held, now_ns: int) -> list[Concluded]:
        """Hold a frame, `at_ns` of which is its capture, until it may be stepped."""
        rule = self._recipes.at(held.at_ns)[0].views.get(view)
        insort(self._held, replace(held, at_ns=held.at_ns - (rule.offset_ns if rule else 0)))
        return self._release(now_ns)

    def _release(self, now_ns: int, *, all_of_it: bool = False) -> list[Concluded]:
        """Step the frames of whose moment all is told, and those that have waited for `wait_ns`, in their order."""
        settled_ns = self._trigger.settled_ns()
        until_ns = max(settled_ns or 0, now_ns - self._recipes.at(now_ns)[0].wait_ns)
        told: list[Concluded] = []
        if settled_ns is None:  # a view that sees a part before the trigger tells of it waits for the trigger
            until_ns = now_ns
        while self._held and (all_of_it or self._held[0].at_ns <= until_ns):
            held = self._held.pop(0)
            told += self._step(held.event, now_ns, held.shot)
        return told

    def _events(self, events: Sequence[TriggerEvent], now_ns: int) -> list[Concluded]:
        told: list[Concluded] = []
        for event in events:
            if isinstance(event, PartOpened):
                self.opening(event)
            told += self._step(event, now_ns)
        return told

    def _step(self, event: PartEvent | None, now_ns: int, shot: int | None = None) -> list[Concluded]:
        rules, recipe = self._recipes.at(event.at_ns if isinstance(event, PartOpened) else now_ns)
        self._parts, concluded = step(rules, self._parts, event, now_ns, name=self._name, recipe=recipe, shot=shot)
        return list(concluded)
