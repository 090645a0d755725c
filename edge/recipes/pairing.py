"""Brings together what two models made of the same frames and parts, though the second one answers later.

The frames of a part come first, then the part, then the second model's answers. The news that there is none may stand
for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge.parts.assembler import judged_again
from edge.parts.rules import PartRules
from edge.recipes.comparing import ClassChange, changed, summed
from edge.records import FrameResult, Verdict
from edge.records.parts import PartResult

_KEPT = 4_096  # frames of which the part has not come; without pixels
_PARTS_KEPT = 512  # that wait for the second model

Key = tuple[str, int]  # a frame: its view, and when it was captured


@dataclass(frozen=True)
class Pair:
    """One part, or frame, judged twice: what the running and the second model say, and how what they see changes.

    `classes`: with the running model as the former one.
    """

    running: Verdict
    second: Verdict
    classes: dict[str, ClassChange]


@dataclass
class _Frame:
    """A frame that the running model judged. `second`: None while it waits; `unjudged`: no second answer comes."""

    running: FrameResult
    second: FrameResult | None = None
    unjudged: bool = False


class Pairing:
    """Pairs the frames and parts of one station. `rules`: by which the second model's parts are put together.

    `parts`: whether frames belong to parts; else each is a pair. Called by one thread.
    """

    def __init__(self, rules: Callable[[str], PartRules | None], *, parts: bool) -> None:
        self._rules = rules
        self._of_parts = parts
        self._frames: dict[Key, _Frame] = {}
        self._parts: deque[PartResult] = deque()
        self._told: list[Pair | None] = []

    def begun(self, frame: FrameResult) -> None:
        """Note a frame that the running model judged, and that the second one is given as well."""
        while len(self._frames) >= _KEPT:
            del self._frames[next(iter(self._frames))]  # the oldest
        self._frames[frame.view, frame.captured_ns] = _Frame(frame)

    def judged(self, key: Key, second: FrameResult | None) -> None:
        """Note what the second model says of a frame; None: it says nothing that can be compared."""
        frame = self._frames.get(key)
        if frame is None:
            return
        frame.second, frame.unjudged = second, second is None
        if not self._of_parts:
            del self._frames[key]
            self._told.append(None if second is None else _pair(frame.running, second))

    def part(self, part: PartResult) -> None:
        """Note a part that the running model judged. One with a frame from before the pairing is no pair."""
        keys = _keys(part)
        if not keys or not all(key in self._frames for key in keys):
            self._forget(keys)
            return
        if len(self._parts) >= _PARTS_KEPT:
            self._forget(_keys(self._parts.popleft()))
            self._told.append(None)
        self._parts.append(part)

    def take(self) -> list[Pair | None]:
        """Return what is complete, in order; None for what could not be compared."""
        while self._parts and self._complete(self._parts[0]):
            self._told.append(self._pair_of(self._parts.popleft()))
        told, self._told = self._told, []
        return told

    def _complete(self, part: PartResult) -> bool:
        frames = [self._frames.get(key) for key in _keys(part)]
        return all(one is None or one.unjudged or one.second is not None for one in frames)

    def _pair_of(self, part: PartResult) -> Pair | None:
        keys = _keys(part)
        frames = [self._frames.get(key) for key in keys]
        self._forget(keys)
        rules = self._rules(part.recipe or "")
        seconds: dict[str, list[FrameResult]] = {}
        classes: dict[str, ClassChange] = {}
        for one in frames:
            if one is None or one.second is None:
                return None
            seconds.setdefault(one.running.view, []).append(one.second)
            classes = summed(classes, changed(one.running, one.second))
        if rules is None:
            return None
        return Pair(part.judgement.verdict, judged_again(rules, part, seconds).verdict, classes)

    def _forget(self, keys: list[Key]) -> None:
        for key in keys:
            self._frames.pop(key, None)


def _keys(part: PartResult) -> list[Key]:
    return [(name, captured_ns) for name, seen in part.views.items() for captured_ns in seen.judged_ns]


def _pair(running: FrameResult, second: FrameResult) -> Pair:
    return Pair(running.judgement.verdict, second.judgement.verdict, changed(running, second))
