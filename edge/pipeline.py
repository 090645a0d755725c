"""The order of the rooms as one readable loop: frame → prepared → tiles → map → measurement → decision → message.

The loop never waits for the network or the disk: what it decides goes into the outbox's queue. While the engine works
on one frame the loop prepares and cuts the next, but only if that one is there already, so that looking ahead never
delays a result. Frames are decided in the order in which they were captured.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from edge.alarms import NO_READ_ALARM, AlarmRule, AlarmState, acknowledge, measure_of, step
from edge.bundle import Bundle
from edge.commands import Command
from edge.deciding import no_read
from edge.errors import EngineError
from edge.inference import FrameJob, Inference
from edge.inspecting import Inspector, garbled_pixels
from edge.messages import MessageWriter
from edge.outbox import Outbox
from edge.protocols import Camera
from edge.records import (
    AlarmEvent,
    CameraCondition,
    CameraState,
    DefectMap,
    Frame,
    Inspection,
    Judgement,
    Measurement,
    Message,
    Verdict,
)
from edge.settings import InspectSettings

_WAIT_S = 0.25
# A camera that is silent is reported this often, so that consumers and alarm timers see it go on.
_SILENCE_EVERY_NS = 1_000_000_000


@dataclass(frozen=True)
class Decided:
    """One decided frame for those who watch the line: replay files, the demo, the last picture.

    `body` is the result message's body. `frame` is None where there are no pixels that can be looked at.
    """

    inspection: Inspection
    body: dict[str, Any]
    frame: Frame | None
    defect_map: DefectMap | None
    alarms: tuple[AlarmEvent, ...]


@dataclass
class LineCounts:
    """What a run came to. `ended_early`: why a recording stopped before its end, or empty."""

    frames: int = 0
    ok: int = 0
    ng: int = 0
    no_read: int = 0
    tiles: int = 0
    unreadable: int = 0
    engine_errors: int = 0
    alarms_raised: int = 0
    alarms_cleared: int = 0
    ended_early: str = ""

    def count(self, verdict: Verdict) -> None:
        """Count one verdict."""
        self.ok += verdict is Verdict.OK
        self.ng += verdict is Verdict.NG
        self.no_read += verdict is Verdict.NO_READ


@dataclass
class AlarmDesk:
    """Every alarm of a line with its state."""

    rules: Sequence[AlarmRule]
    states: dict[str, AlarmState] = field(default_factory=dict)

    def look_at(self, inspection: Inspection, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Step each alarm by one inspection and return the transitions."""
        events: list[AlarmEvent] = []
        for rule in self.rules:
            state = self.states.get(rule.id, AlarmState())
            self.states[rule.id], happened = step(rule, state, measure_of(rule, inspection), now_ns)
            events.extend(happened)
        return tuple(events)

    def acknowledge(
        self, wanted: Callable[[AlarmEvent], bool], user: str, comment: str, now_ns: int
    ) -> tuple[Literal["ok", "already_acked", "unknown_occurrence"], AlarmEvent | None]:
        """Acknowledge the standing alarm whose raising is `wanted`; the event is None unless it was not yet."""
        for rule_id, state in self.states.items():
            if state.active and state.raised is not None and wanted(state.raised):
                self.states[rule_id], event = acknowledge(state, user, comment, now_ns)
                return ("already_acked" if event is None else "ok"), event
        return "unknown_occurrence", None

    @property
    def active(self) -> list[str]:
        """The ids of the alarms that stand."""
        return [rule.id for rule in self.rules if self.states.get(rule.id, AlarmState()).active]


def alarm_rules(own: Sequence[AlarmRule]) -> tuple[AlarmRule, ...]:
    """Add the built-in alarm for frames that cannot be read, unless the settings define it themselves."""
    return tuple(own) if any(rule.id == NO_READ_ALARM.id for rule in own) else (NO_READ_ALARM, *own)


class Line:
    """One camera, one model, one loop.

    `live`: time is the monotonic clock, frames grow old, and a silent camera is NO_READ; otherwise time is the
    recording's own. `watchers` are called with each decided frame, in order, in the loop's thread. `commands` gives
    what the line was told since it was last asked, and `answer` takes what is answered.
    """

    def __init__(
        self,
        *,
        camera: Camera,
        inference: Inference,
        bundle: Bundle,
        inspect: InspectSettings,
        max_age_ms: int,
        alarms: AlarmDesk,
        messages: MessageWriter,
        outbox: Outbox,
        live: bool,
        watchers: Sequence[Callable[[Decided], None]] = (),
        each_turn: Callable[[], None] = lambda: None,
        commands: Callable[[], Sequence[Command]] = tuple,
        answer: Callable[[Message], None] = lambda _: None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.counts = LineCounts()
        self.alarms = alarms
        self._camera = camera
        self._inspector = Inspector(inference, bundle, inspect)
        self._max_age_ms = max_age_ms
        self._messages = messages
        self._outbox = outbox
        self._live = live
        self._watchers = watchers
        self._each_turn = each_turn
        self._commands = commands
        self._answer = answer
        self._monotonic_ns = monotonic_ns
        self._seen_ns = monotonic_ns()
        self._silence_told_ns = 0
        self.camera_state: CameraState | None = None
        self.last_age_ms: float | None = None

    def run(self, stop: threading.Event) -> LineCounts:
        """Inspect until the stream ends or `stop` is set; whatever was begun is decided before returning."""
        begun: FrameJob | None = None
        while not stop.is_set():
            self._each_turn()
            self._obey_commands()
            item = self._camera.read(0.0 if begun else _WAIT_S)
            self.camera_state = None if isinstance(item, Frame) or begun else item
            if isinstance(item, Frame):
                self._seen_ns = self._monotonic_ns()
                job = self._inspector.begin(item)
                if begun is not None:
                    self._decide(begun)
                begun = job if isinstance(job, FrameJob) else None
                if isinstance(job, Judgement):
                    self._conclude(item, job, None, None)
                continue
            if begun is not None:
                self._decide(begun)
                begun = None
                if item.condition is CameraCondition.NO_FRAME_YET:
                    continue
            if item.condition is CameraCondition.END_OF_STREAM:
                self.counts.ended_early = item.detail
                break
            self._without_frame(item)
        if begun is not None:
            self._decide(begun)
        return self.counts

    def _obey_commands(self) -> None:
        for command in self._commands():
            self._obey(command)

    def _obey(self, command: Command) -> None:
        outcome, detail = command.outcome, command.problem
        if command.body is not None:
            body = command.body
            outcome, event = self.alarms.acknowledge(
                lambda raised: self._messages.occurrence_id(raised) == body.occurrence_id,
                body.user,
                body.comment,
                self._monotonic_ns(),
            )
            if event is not None:
                seq = self._outbox.reserve()
                self._outbox.put(seq, *self._messages.alarm(event, seq))
        answer = command.answer(outcome, detail)
        if answer is not None:
            self._answer(self._messages.answer(answer))

    def _decide(self, job: FrameJob) -> None:
        frame = job.prepared.frame
        try:
            outcome = self._inspector.finish(job)
        except EngineError as error:
            self.counts.engine_errors += 1
            self._conclude(frame, no_read(f"inference failed: {error}"), None, None)
            return
        if outcome.measurement is None:
            self._conclude(frame, outcome.judgement, None, None)
            return
        self.counts.tiles += len(job.tiles.cells)
        self.last_age_ms = age_ms = self._age_ms(frame)
        if age_ms > self._max_age_ms:
            stale = no_read(f"stale frame: {age_ms:.0f} ms old, at most {self._max_age_ms} ms allowed")
            self._conclude(frame, stale, None, None)
            return
        self._conclude(frame, outcome.judgement, outcome.measurement, outcome.kept)

    def _age_ms(self, frame: Frame) -> float:
        """Milliseconds since capture; a recording's frames do not grow old."""
        return (self._monotonic_ns() - frame.captured_ns) / 1e6 if self._live else 0.0

    def _without_frame(self, state: CameraState) -> None:
        self.last_age_ms = None
        if state.condition is CameraCondition.UNREADABLE:
            self.counts.unreadable += 1
            self._inspector.forget()
            self._conclude_unseen(state, no_read(state.detail))
            return
        now_ns = self._monotonic_ns()
        silent_ms = (now_ns - self._seen_ns) / 1e6
        if state.condition is CameraCondition.LOST or silent_ms > self._max_age_ms:
            self._inspector.forget()
        if not self._live or silent_ms <= self._max_age_ms or now_ns - self._silence_told_ns < _SILENCE_EVERY_NS:
            return
        self._silence_told_ns = now_ns
        told = f"no frame for {silent_ms:.0f} ms ({state.condition.value})"
        self._conclude_unseen(state, no_read(f"{told}: {state.detail}" if state.detail else told))

    def _conclude(
        self, frame: Frame, judgement: Judgement, measurement: Measurement | None, kept: DefectMap | None
    ) -> None:
        inspection = Inspection(
            camera=frame.camera,
            frame=frame.index,
            name=frame.name,
            captured_at=frame.captured_at,
            captured_ns=frame.captured_ns,
            age_ms=self._age_ms(frame),
            judgement=judgement,
            measurement=measurement,
        )
        now_ns = self._monotonic_ns() if self._live else frame.captured_ns
        self._publish(inspection, now_ns, None if garbled_pixels(frame.pixels) else frame, kept)

    def _conclude_unseen(self, state: CameraState, judgement: Judgement) -> None:
        now_ns = self._monotonic_ns() if self._live or state.captured_ns is None else state.captured_ns
        inspection = Inspection(
            camera=state.camera,
            frame=state.index,
            name=state.name,
            captured_at=state.captured_at or datetime.now(timezone.utc),
            captured_ns=now_ns,
            age_ms=None,
            judgement=judgement,
            measurement=None,
        )
        self._publish(inspection, now_ns, None, None)

    def _publish(self, inspection: Inspection, now_ns: int, frame: Frame | None, kept: DefectMap | None) -> None:
        if inspection.frame is not None:
            self.counts.frames += 1
        self.counts.count(inspection.judgement.verdict)
        seq = self._outbox.reserve()
        result, body = self._messages.result(inspection, seq)
        self._outbox.put(seq, result)
        events = self.alarms.look_at(inspection, now_ns)
        for event in events:
            self.counts.alarms_raised += event.transition == "raised"
            self.counts.alarms_cleared += event.transition == "cleared"
            seq = self._outbox.reserve()
            self._outbox.put(seq, *self._messages.alarm(event, seq))
        for watch in self._watchers:
            watch(Decided(inspection, body, frame, kept, events))
