"""Writes what was decided into the outbox: a result, what it does to the alarms and what it adds to the counters.

All of it is committed in one transaction, or none of it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from edge.inspection.limits import no_read
from edge.messages.writer import InForce, MessageWriter
from edge.outbox import Outbox
from edge.recipes.loaded import LoadedRecipe
from edge.records import AlarmEvent, DeliveryState, FrameResult
from edge.records.parts import PartResult, TriggerTrouble
from edge.station.alarm_service import AlarmService
from edge.station.interventions import Interventions
from edge.station.shift_book import ShiftBook

Events = tuple[AlarmEvent, ...]


class Recorder:
    """Records results of frames and parts, and what time does to a station.

    `live`: times are of the monotonic clock; else of the recording. `interventions`: challenge and bypass; `book`: the
    counters of shifts. Both are None in a replay, which has neither. `first` is told of each verdict before anything is
    recorded of it, for a machine waits.
    """

    def __init__(
        self,
        messages: MessageWriter,
        outbox: Outbox,
        alarms: AlarmService,
        *,
        live: bool,
        interventions: Interventions | None = None,
        book: ShiftBook | None = None,
    ) -> None:
        self.alarms = alarms
        self.interventions = interventions
        self._messages = messages
        self._outbox = outbox
        self._live = live
        self._book = book
        self.first: Callable[[PartResult | FrameResult], None] = lambda _: None

    def begin(self, now_ns: int) -> Events:
        """Take up what a former run left of challenge and bypass."""
        return self.interventions.begin(now_ns) if self.interventions is not None else ()

    def use(self, recipe: LoadedRecipe) -> None:
        """Name this recipe, and its models, in what is said from now on."""
        self._messages.in_force = InForce(recipe.name, recipe.models, recipe.finds)
        if self._book is not None:
            self._book.recipe = recipe.name

    @property
    def recipe(self) -> str:
        """The recipe in force."""
        return self._messages.in_force.recipe

    def seen(self, result: FrameResult, now_ns: int) -> FrameResult:
        """Return a frame's result as it is told: NO_READ while inspection is bypassed."""
        if self._book is not None:
            self._book.look(result)
        return result if self.interventions is None else self.interventions.frame(result, now_ns)

    def frame(self, result: FrameResult, now_ns: int) -> tuple[dict[str, Any], Events]:
        """Record a frame that has a verdict of its own; return its body and what it did to the alarms."""
        self.first(result)
        counts, worst = self._book.result(result) if self._book is not None else ((), ())
        with self._outbox.together():
            seq = self._outbox.reserve()
            message, body = self._messages.result(result, seq)
            self._outbox.put(seq, message, counts=counts, worst=worst)
            return body, self._alarmed(self.alarms.look_at(result, now_ns))

    def frame_of_part(self, result: FrameResult, now_ns: int) -> Events:
        """Record what a frame of a part does to the alarms; its part has the verdict."""
        with self._outbox.together():
            return self._alarmed(self.alarms.look_at(result, now_ns))

    def part(self, part: PartResult, now_ns: int) -> tuple[PartResult, bool, dict[str, Any], Events]:
        """Record a part.

        Return it as told, whether it counts, its body and what it did to the alarms. A part of a challenge counts
        nowhere, and raises no alarm over parts.
        """
        with self._outbox.together():
            events: Events = ()
            challenged = False
            if self.interventions is not None:
                part, challenged, events = self.interventions.part(part, now_ns)
            self.first(part)
            counts, worst = self._book.result(part) if self._book is not None and not challenged else ((), ())
            seq = self._outbox.reserve()
            message, body = self._messages.part(part, seq, live=self._live, challenge=challenged)
            self._outbox.put(seq, message, counts=counts, worst=worst)
            if not challenged:
                events += self.alarms.look_at(part, now_ns)
            return part, not challenged, body, self._alarmed(events)

    def trouble(self, trouble: TriggerTrouble, now_ns: int) -> Events:
        """Record what a trigger did that no part can do; a lasting trouble only steps the alarms."""
        with self._outbox.together():
            if not trouble.still:
                entry = self._messages.journal_entry("trigger", detail=f"{trouble.fault.value}: {trouble.detail}")
                self._outbox.put(None, journal=[entry])
            return self._alarmed(self.alarms.look_at(trouble, now_ns))

    def note(self, kind: str, detail: str, *, user: str = "", comment: str = "") -> None:
        """Note in the journal what the station did itself, or who had it do so."""
        self._outbox.put(
            None, journal=[self._messages.journal_entry(kind, user=user, comment=comment, detail=detail[:500])]
        )

    def tick(self, delivery: DeliveryState, now_ns: int) -> Events:
        """Record what time alone does to the alarms, and to the counters."""
        with self._outbox.together():
            events = self.alarms.tick(delivery, now_ns)
            if self.interventions is not None:
                events += self.interventions.tick(now_ns)
            if self._book is not None:
                bypassed = "" if self.interventions is None else self.interventions.bypassed(now_ns)
                if counts := self._book.tick(bypassed, now_ns):
                    self._outbox.put(None, counts=counts)
            return self._alarmed(events)

    def stop(self, now_ns: int) -> None:
        """Note that the station ends."""
        if self.interventions is not None:
            self.interventions.stop(now_ns)
        if self._book is not None and (counts := self._book.finish(now_ns)):
            self._outbox.put(None, counts=counts)

    def _alarmed(self, events: Sequence[AlarmEvent]) -> Events:
        """Count what was raised."""
        if self._book is not None and (counts := self._book.alarms(events)):
            self._outbox.put(None, counts=counts)
        return tuple(events)


class Waiting:
    """Says, again and again, why nothing is inspected: a NO_READ of each camera without a frame, and its alarms.

    Without a `recorder` nothing is said: a replay speaks of its own frames alone. `raised`: how many alarms were.
    """

    def __init__(
        self,
        cameras: tuple[str, ...],
        recorder: Recorder | None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.raised = 0
        self._cameras = cameras
        self._recorder = recorder
        self._monotonic_ns = monotonic_ns

    def tell(self, reason: str) -> None:
        """Put one such result of each camera into the outbox."""
        if self._recorder is None:
            return
        now_ns = self._monotonic_ns()
        for camera in self._cameras:
            result = FrameResult(
                camera=camera,
                frame=None,
                name="",
                captured_at=datetime.now(timezone.utc),
                captured_ns=now_ns,
                age_ms=None,
                judgement=no_read(reason),
                measurement=None,
            )
            _, events = self._recorder.frame(result, now_ns)
            self.raised += sum(event.transition == "raised" for event in events)
