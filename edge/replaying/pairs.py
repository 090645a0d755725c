"""Brings together what two stations decided on one recording, part by part or, without parts, frame by frame.

Each station decides in a thread of its own. Pairing depends on what they decided alone, not on which was faster. Two
parts are one where they share a judged frame, or were opened at the same moment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge.recipes.comparing import ClassChange, Compared, changed_defects, differing_defects, summed
from edge.records import Defect, FrameResult, Judgement
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartResult

_FRAMES_KEPT = 4_096  # of parts that are not decided yet; without pixels
_LONE_KEPT = 64  # frames that one station has judged, with pixels
# A part has no other where so many that were opened after it ended are decided by the other station.
_LATER_PARTS = 64
FORMER, NEW = 0, 1
FrameKey = tuple[str, int | None, int]  # its view, its number, and when it was captured


@dataclass(frozen=True)
class Unit:
    """One part or frame as one station decided it. `body`: of its message; `frames`: that it was judged by."""

    number: int
    name: str
    judgement: Judgement
    body: Mapping[str, Any]
    frames: Mapping[FrameKey, FrameResult]
    opened_ns: int
    closed_ns: int


@dataclass(frozen=True)
class Change:
    """One defect that only one station sees, and where."""

    view: str
    frame: int | None
    defect: Defect


@dataclass(frozen=True)
class Twice:
    """One part, or frame, judged twice. `new` None: the second station has none that corresponds."""

    former: Unit
    new: Unit | None
    gained: tuple[Change, ...] = ()
    lost: tuple[Change, ...] = ()
    classes: Mapping[str, ClassChange] = field(default_factory=dict)

    @property
    def compared(self) -> Compared | None:
        """Tell what a diff counts of it; None where it could not be compared."""
        if self.new is None:
            return None
        return Compared(self.former.judgement.verdict, self.new.judgement.verdict, self.classes)

    @property
    def differs(self) -> bool:
        """Tell whether the verdict or a defect is another one."""
        return self.new is not None and (self.verdict_differs or bool(self.gained or self.lost))

    @property
    def verdict_differs(self) -> bool:
        """Tell whether the verdict is another one."""
        return self.new is not None and self.new.judgement.verdict is not self.former.judgement.verdict


class Pairs:
    """Takes what both stations decide. `watch(FORMER)` and `watch(NEW)` are called by each with everything decided.

    `parts`: whether frames belong to parts; else each frame is a unit. `seen` is called by `take` with each frame that
    both have judged; without it no pixels are held.
    """

    def __init__(self, *, parts: bool, seen: Callable[[Decided, Decided], None] | None = None) -> None:
        self._of_parts = parts
        self._seen = seen
        self._lock = threading.Lock()
        self._frames: tuple[dict[FrameKey, FrameResult], ...] = ({}, {})
        self._units: tuple[list[Unit], list[Unit]] = ([], [])
        self._counts = [0, 0]
        self._lone: dict[FrameKey, tuple[int, Decided]] = {}
        self._both: list[tuple[Decided, Decided]] = []
        self._closed = False
        self.only_new = 0

    def watch(self, side: int) -> Callable[[Decided | DecidedPart], None]:
        """Return what one station calls with everything that it decides."""
        return lambda decided: self._take_in(side, decided)

    def take(self, *, all_of_it: bool = False) -> list[Twice]:
        """Return what is paired by now, in the first station's order. `all_of_it`: nothing more comes."""
        with self._lock:
            self._closed = self._closed or all_of_it
            both, self._both = self._both, []
            done = self._paired()
        if self._seen is not None:
            for one, other in both:
                self._seen(one, other)
        return done

    def _take_in(self, side: int, decided: Decided | DecidedPart) -> None:
        with self._lock:
            if isinstance(decided, DecidedPart):
                self._part(side, decided.part, decided.body)
                return
            key = _key(decided.inspection)
            if self._seen is not None:
                self._match(side, key, decided)
            if self._of_parts:
                frames = self._frames[side]
                while len(frames) >= _FRAMES_KEPT:
                    del frames[next(iter(frames))]
                frames[key] = decided.inspection
            else:
                self._frame(side, key, decided)

    def _match(self, side: int, key: FrameKey, decided: Decided) -> None:
        """Keep a frame, with its pixels, until the other station has judged it too: they are never far apart."""
        waiting = self._lone.pop(key, None)
        if waiting is None or waiting[0] == side:
            while len(self._lone) >= _LONE_KEPT:
                del self._lone[next(iter(self._lone))]
            self._lone[key] = (side, decided)
            return
        self._both.append((waiting[1], decided) if side == NEW else (decided, waiting[1]))

    def _part(self, side: int, part: PartResult, body: Mapping[str, Any]) -> None:
        own = {(name, at_ns) for name, seen in part.views.items() for at_ns in seen.judged_ns}
        frames = {key: frame for key, frame in self._frames[side].items() if (key[0], key[2]) in own}
        for key in frames:
            del self._frames[side][key]
        number = self._next_number(side)
        unit = Unit(number, part.part_id, part.judgement, body, frames, part.opened_ns, part.closed_ns)
        self._units[side].append(unit)

    def _frame(self, side: int, key: FrameKey, decided: Decided) -> None:
        seen = decided.inspection
        name = f"{seen.camera} {seen.frame}" + (f" {seen.name}" if seen.name else "")
        at_ns, number = seen.captured_ns, self._next_number(side)
        self._units[side].append(Unit(number, name, seen.judgement, decided.body or {}, {key: seen}, at_ns, at_ns))

    def _next_number(self, side: int) -> int:
        self._counts[side] += 1
        return self._counts[side]

    def _paired(self) -> list[Twice]:
        done = []
        formers, news = self._units
        while formers:
            former = formers[0]
            place = next((n for n, new in enumerate(news) if self._same(former, new)), None)
            if place is None and not self._closed and not self._later(former, news):
                break
            formers.pop(0)
            done.append(Twice(former, None) if place is None else _twice(former, news.pop(place)))
        self._forget_lone_news(formers, news)
        return done

    def _same(self, former: Unit, new: Unit) -> bool:
        if not self._of_parts:
            return former.frames.keys() == new.frames.keys()
        return former.opened_ns == new.opened_ns or bool(former.frames.keys() & new.frames.keys())

    def _later(self, former: Unit, news: list[Unit]) -> bool:
        """Tell whether the other station is so far on that it has no such part."""
        return sum(new.opened_ns > former.closed_ns for new in news) >= _LATER_PARTS

    def _forget_lone_news(self, formers: list[Unit], news: list[Unit]) -> None:
        """Count what only the second station has, once the first one is past it."""
        while news and (self._closed or sum(one.opened_ns > news[0].closed_ns for one in formers) >= _LATER_PARTS):
            news.pop(0)
            self.only_new += 1


def _key(seen: FrameResult) -> FrameKey:
    return seen.view, seen.frame, seen.captured_ns


def _twice(former: Unit, new: Unit) -> Twice:
    """Compare two units frame by frame. A frame that one of them could not read tells nothing of defects."""
    gained: list[Change] = []
    lost: list[Change] = []
    classes: dict[str, ClassChange] = {}
    for key, one in former.frames.items():
        other = new.frames.get(key)
        if other is None or one.measurement is None or other.measurement is None:
            continue
        more, fewer = differing_defects(one.measurement.defects, other.measurement.defects)
        gained += [Change(key[0], key[1], defect) for defect in more]
        lost += [Change(key[0], key[1], defect) for defect in fewer]
        classes = summed(classes, changed_defects(one.measurement.defects, other.measurement.defects))
    return Twice(former, new, tuple(gained), tuple(lost), classes)
