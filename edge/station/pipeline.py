"""The order of the rooms as one readable loop: frame → prepared → tiles → map → measurement → decision → message.

The loop never waits for the network or the disk: what it decides goes into the outbox's queue. While the engine works
on one frame the loop prepares and cuts the next, but only if that one is there already, so that looking ahead never
delays a result. Frames are decided in the order in which they were captured.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from edge.bundle import Bundle
from edge.cameras.camera_watch import CameraWatch, WatchSettings
from edge.commands.requests import COMMANDS, Command, CommandOutcome
from edge.errors import EngineError, EngineHangsError, WrongAnswerError
from edge.inspection.grading import GradeCounts
from edge.inspection.inference import FrameJob, Inference
from edge.inspection.inspector import Inspected, Inspector, garbled_pixels
from edge.inspection.limits import no_read
from edge.inspection.settings import InspectSettings
from edge.messages.writer import MessageWriter
from edge.outbox import Outbox
from edge.protocols import Camera
from edge.records import (
    AlarmEvent,
    CameraCondition,
    CameraFault,
    CameraState,
    DefectMap,
    DeliveryState,
    EngineFault,
    Frame,
    FrameResult,
    Grade,
    Judgement,
    Message,
    Verdict,
)
from edge.records.decided import Decided as Decided  # noqa: PLC0414 - taken from here too
from edge.station.alarm_service import AlarmService

_LOG = logging.getLogger(__name__)
_WAIT_S = 0.25
# A camera that is silent is reported this often, so that consumers and alarm timers see it go on.
_SILENCE_EVERY_NS = 1_000_000_000
# How often a live line looks at the alarms that are not about frames, and at what time ends.
_AROUND_EVERY_NS = 200_000_000


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
    grades: GradeCounts = field(default_factory=GradeCounts)

    def count(self, verdict: Verdict, grade: Grade | None = None) -> None:
        """Count one verdict, and the frame's grade if it has one."""
        self.ok += verdict is Verdict.OK
        self.ng += verdict is Verdict.NG
        self.no_read += verdict is Verdict.NO_READ
        self.grades.add(grade)

    def count_alarms(self, events: Sequence[AlarmEvent]) -> None:
        """Count what was raised and cleared, shown or not."""
        self.alarms_raised += sum(event.transition == "raised" for event in events)
        self.alarms_cleared += sum(event.transition == "cleared" for event in events)


@dataclass(frozen=True)
class _Begun:
    """A frame that the engine was given, and when, on our clock."""

    job: FrameJob
    at_ns: int


def _engine_fault(error: EngineError) -> EngineFault:
    if isinstance(error, EngineHangsError):
        return EngineFault.HANGS
    return EngineFault.WRONG_ANSWER if isinstance(error, WrongAnswerError) else EngineFault.FAILS


def _unknown(command: Command) -> tuple[CommandOutcome, str] | None:
    return "unknown_command", f"this line does not know {command.name}"


class Line:
    """One camera, one model, one loop.

    `live`: time is the monotonic clock, frames grow old, and a silent camera is NO_READ; otherwise time is the
    recording's own. `watchers` are called with each decided frame, in order, in the loop's thread. `commands` gives
    what the line was told since it was last asked, and `answer` takes what is answered; what is not about alarms is
    obeyed by the callable of its name in `obey_also`, which is told the command and says what became of it, or answers
    later itself and returns None. `delivery` tells how messages fare. `watch`: when the camera is not to be believed.
    """

    def __init__(
        self,
        *,
        camera: Camera,
        inference: Inference,
        bundle: Bundle,
        inspect: InspectSettings,
        max_age_ms: int,
        alarms: AlarmService,
        messages: MessageWriter,
        outbox: Outbox,
        live: bool,
        watchers: Sequence[Callable[[Decided], None]] = (),
        each_turn: Callable[[], None] = lambda: None,
        commands: Callable[[], Sequence[Command]] = tuple,
        answer: Callable[[Message], None] = lambda _: None,
        obey_also: Mapping[str, Callable[[Command], tuple[CommandOutcome, str] | None]] | None = None,
        delivery: Callable[[], DeliveryState] = DeliveryState,
        watch: WatchSettings | None = None,
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
        self._obey_also = {**dict.fromkeys(COMMANDS, _unknown), **(obey_also or {})}
        self._delivery = delivery
        self._watch = CameraWatch(watch)
        self._around_at_ns = 0
        self._monotonic_ns = monotonic_ns
        self._seen_ns = monotonic_ns()
        self._silence_told_ns = 0
        # whether any frame has come; until then the line is starting
        self.sees = False
        self._failure = ""
        self.camera_state: CameraState | None = None
        self.last_age_ms: float | None = None

    def run(self, stop: threading.Event) -> LineCounts:
        """Inspect until the stream ends or `stop` is set; whatever was begun is decided before returning."""
        begun: _Begun | None = None
        while not stop.is_set():
            self._each_turn()
            self._obey_commands()
            self.tick()
            item = self._camera.read(0.0 if begun else _WAIT_S)
            self.camera_state = None if isinstance(item, Frame) or begun else item
            if isinstance(item, Frame):
                self.sees = True
                self._seen_ns = self._monotonic_ns()
                job, fault = self._begin(item)
                if begun is not None:
                    self._decide(begun)
                begun = _Begun(job, self._seen_ns) if isinstance(job, FrameJob) else None
                if isinstance(job, Judgement):
                    self._conclude(item, Inspected(job), fault)
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

    def _begin(self, frame: Frame) -> tuple[FrameJob | Judgement, CameraFault | None]:
        """Begin a frame, unless the camera that gave it is not to be believed."""
        distrust = None if garbled_pixels(frame.pixels) else self._watch.look(frame)
        if distrust is not None:
            self._inspector.forget()
            return no_read(distrust.reason), distrust.fault
        try:
            return self._inspector.begin(frame), None
        except Exception as error:  # noqa: BLE001 - one frame never ends the line, nor is it OK
            return self._not_inspected("prepared", error), None

    def _not_inspected(self, done: str, error: Exception) -> Judgement:
        """Return NO_READ for a frame on which our own code or a library failed, and log where."""
        if str(error) != self._failure:
            _LOG.error("A frame cannot be %s, and is NO_READ", done, exc_info=error)
        self._failure = str(error)
        return no_read(f"it cannot be {done}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")

    def _obey_commands(self) -> None:
        for command in self._commands():
            self._obey(command)

    def _obey(self, command: Command) -> None:
        """Do what a command says, note in the journal what became of it, and answer."""
        came_to: tuple[CommandOutcome, str] | None = command.outcome, command.problem
        with self._outbox.together():
            if command.body is not None:
                came_to = self.alarms.obey(command, self._monotonic_ns()) or self._obey_also[command.name](command)
            if came_to is None:
                return
            self.alarms.audit(command, *came_to)
        self.answer_command(command, *came_to)

    def answer_command(self, command: Command, outcome: CommandOutcome, detail: str) -> None:
        """Tell who gave a command what became of it, by the way by which it came."""
        if command.reply is not None:
            command.reply(outcome, detail)
        answer = command.answer(outcome, detail)
        if answer is not None:
            self._answer(self._messages.answer(answer))

    def tick(self) -> None:
        """Step the alarms that no frame steps; a recording has no such."""
        now_ns = self._monotonic_ns()
        if not self._live or now_ns < self._around_at_ns:
            return
        self._around_at_ns = now_ns + _AROUND_EVERY_NS
        self.counts.count_alarms(self.alarms.tick(self._delivery(), now_ns))

    def _decide(self, begun: _Begun) -> None:
        job = begun.job
        frame = job.prepared.frame
        try:
            outcome = self._inspector.finish(job)
        except EngineError as error:
            self.counts.engine_errors += 1
            self._conclude(frame, Inspected(no_read(f"inference failed: {error}")), engine_fault=_engine_fault(error))
            return
        except Exception as error:  # noqa: BLE001 - one frame never ends the line, nor is it OK
            self._conclude(frame, Inspected(self._not_inspected("measured", error)))
            return
        if outcome.measurement is None:
            self._conclude(frame, outcome)
            return
        self.counts.tiles += len(job.tiles.cells)
        self.last_age_ms = age_ms = self._age_ms(frame)
        if age_ms > self._max_age_ms:
            stale, fault = self._stale(age_ms, (self._monotonic_ns() - begun.at_ns) / 1e6)
            self._conclude(frame, Inspected(stale), engine_fault=fault)
            return
        self._conclude(frame, outcome)

    def _stale(self, age_ms: float, took_ms: float) -> tuple[Judgement, EngineFault | None]:
        """Say of a frame that is too old where its age comes from: `took_ms` of it was the inspection."""
        told = f"stale frame: {age_ms:.0f} ms old, at most {self._max_age_ms} ms allowed"
        if took_ms < age_ms / 2:
            return no_read(f"{told}; it was {age_ms - took_ms:.0f} ms old when the camera gave it"), None
        told = f"{told}; {took_ms:.0f} ms of that is the inspection, which is too slow here"
        return no_read(told), EngineFault.SLOW

    def _age_ms(self, frame: Frame) -> float:
        """Milliseconds since capture; a recording's frames do not grow old."""
        return (self._monotonic_ns() - frame.captured_ns) / 1e6 if self._live else 0.0

    def _without_frame(self, state: CameraState) -> None:
        self.last_age_ms = None
        if state.condition is CameraCondition.UNREADABLE:
            self.counts.unreadable += 1
            self._inspector.forget()
            self._watch.forget()
            self._conclude_unseen(state, no_read(state.detail), None)
            return
        if state.condition is CameraCondition.STARTING:
            return  # it is being opened, for a bounded time; a camera that cannot be is LOST
        now_ns = self._monotonic_ns()
        silent_ms = (now_ns - self._seen_ns) / 1e6
        if state.condition is CameraCondition.LOST or silent_ms > self._max_age_ms:
            # frames in a row are broken off; but the very same picture after a gap tells of a frozen camera as well
            self._inspector.forget()
        if not self._live or silent_ms <= self._max_age_ms or now_ns - self._silence_told_ns < _SILENCE_EVERY_NS:
            return
        self._silence_told_ns = now_ns
        told = f"no frame for {silent_ms:.0f} ms ({state.condition.value})"
        self._conclude_unseen(state, no_read(f"{told}: {state.detail}" if state.detail else told), CameraFault.LOST)

    def _conclude(
        self,
        frame: Frame,
        inspected: Inspected,
        fault: CameraFault | None = None,
        engine_fault: EngineFault | None = None,
    ) -> None:
        inspection = FrameResult(
            camera=frame.camera,
            frame=frame.index,
            name=frame.name,
            captured_at=frame.captured_at,
            captured_ns=frame.captured_ns,
            age_ms=self._age_ms(frame),
            judgement=inspected.judgement,
            measurement=inspected.measurement,
            zones=inspected.zones,
            grade=inspected.grade,
            camera_fault=fault,
            engine_fault=engine_fault,
        )
        now_ns = self._monotonic_ns() if self._live else frame.captured_ns
        self._publish(inspection, now_ns, None if garbled_pixels(frame.pixels) else frame, inspected.kept)

    def _conclude_unseen(self, state: CameraState, judgement: Judgement, fault: CameraFault | None) -> None:
        now_ns = self._monotonic_ns() if self._live or state.captured_ns is None else state.captured_ns
        inspection = FrameResult(
            camera=state.camera,
            frame=state.index,
            name=state.name,
            captured_at=state.captured_at or datetime.now(timezone.utc),
            captured_ns=now_ns,
            age_ms=None,
            judgement=judgement,
            measurement=None,
            camera_fault=fault,
        )
        self._publish(inspection, now_ns, None, None)

    def _publish(self, inspection: FrameResult, now_ns: int, frame: Frame | None, kept: DefectMap | None) -> None:
        if inspection.frame is not None:
            self.counts.frames += 1
        self.counts.count(inspection.judgement.verdict, inspection.grade)
        with self._outbox.together():  # a result and what it does to the alarms are committed together or not at all
            seq = self._outbox.reserve()
            result, body = self._messages.result(inspection, seq)
            self._outbox.put(seq, result)
            events = self.alarms.look_at(inspection, now_ns)
        self.counts.count_alarms(events)
        for watch in self._watchers:
            watch(Decided(inspection, body, frame, kept, events))
