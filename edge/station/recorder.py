"""Writes what was decided into the outbox: a result, and what it does to the alarms, in one transaction."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from edge.inspection.limits import no_read
from edge.messages.writer import InForce, MessageWriter
from edge.outbox import Outbox
from edge.recipes.loaded import LoadedRecipe
from edge.records import AlarmEvent, DeliveryState, FrameResult
from edge.records.parts import PartResult, TriggerTrouble
from edge.station.alarm_service import AlarmService


class Recorder:
    """Records results of frames and parts. A result and its alarms are committed together or not at all.

    `live`: times are of the monotonic clock; else of the recording.
    """

    def __init__(self, messages: MessageWriter, outbox: Outbox, alarms: AlarmService, *, live: bool) -> None:
        self.alarms = alarms
        self._messages = messages
        self._outbox = outbox
        self._live = live

    def use(self, recipe: LoadedRecipe) -> None:
        """Name this recipe, and its models, in what is said from now on."""
        self._messages.in_force = InForce(recipe.name, recipe.models)

    def frame(self, result: FrameResult, now_ns: int) -> tuple[dict[str, Any], tuple[AlarmEvent, ...]]:
        """Record a frame that has a verdict of its own; return its body and what it did to the alarms."""
        with self._outbox.together():
            seq = self._outbox.reserve()
            message, body = self._messages.result(result, seq)
            self._outbox.put(seq, message)
            return body, self.alarms.look_at(result, now_ns)

    def frame_of_part(self, result: FrameResult, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Record what a frame of a part does to the alarms; its part has the verdict."""
        with self._outbox.together():
            return self.alarms.look_at(result, now_ns)

    def part(self, part: PartResult, now_ns: int) -> tuple[dict[str, Any], tuple[AlarmEvent, ...]]:
        """Record a part; return its body and what it did to the alarms."""
        with self._outbox.together():
            seq = self._outbox.reserve()
            message, body = self._messages.part(part, seq, live=self._live)
            self._outbox.put(seq, message)
            return body, self.alarms.look_at(part, now_ns)

    def trouble(self, trouble: TriggerTrouble, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Record what a trigger did that no part can do."""
        with self._outbox.together():
            entry = self._messages.journal_entry("trigger", detail=f"{trouble.fault.value}: {trouble.detail}")
            self._outbox.put(None, journal=[entry])
            return self.alarms.look_at(trouble, now_ns)

    def tick(self, delivery: DeliveryState, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Record what time alone does to the alarms."""
        return self.alarms.tick(delivery, now_ns)


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
