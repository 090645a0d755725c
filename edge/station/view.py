"""One camera's frames on their way to a result: camera → prepared → tiles → map → measurement → judgement.

A view judges its frames in the order in which they were captured. The next frame is prepared while the engine works on
one, if it is there already. So looking ahead never delays a result. A view decides nothing about parts and alarms: it
hands its results to the decider.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from edge.cameras.camera_watch import CameraWatch, WatchSettings
from edge.errors import EngineError, EngineHangsError, WrongAnswerError
from edge.inspection.batcher import Batcher
from edge.inspection.inference import FrameJob
from edge.inspection.inspector import Inspected, Inspector, garbled_pixels
from edge.inspection.limits import no_read
from edge.parts.belt import Belt, BeltWatch
from edge.protocols import Camera, TellsFacts
from edge.quality.gate import QualityGate
from edge.recipes.loaded import LoadedView, Unready
from edge.recipes.timeline import Timeline
from edge.records import (
    CameraCondition,
    CameraFacts,
    CameraFault,
    CameraState,
    DefectMap,
    Drifted,
    EngineFault,
    Frame,
    FrameResult,
    Judgement,
    NotFound,
    Transform,
    Verdict,
)
from edge.records.parts import FrameLost
from edge.station.score_sampling import SampledScore, ScoreSampler

_LOG = logging.getLogger(__name__)
_WAIT_S = 0.25
_NO_FACTS = CameraFacts()
# A camera that is silent is reported this often, so that consumers and alarm timers see it go on.
_SILENCE_EVERY_NS = 1_000_000_000


@dataclass(frozen=True)
class Seen:
    """The outcome of one frame, or of the lack of one.

    `at_ns`: the station's clock when it was judged; the recording's own time in a replay. `frame` and `kept`, the map
    without specks, are None where there are no pixels that can be looked at. `tiles`: how many an engine answered.
    `present`: whether it shows a part, None where that is not looked at or cannot be known. `to_frame`: leads from the
    map's prepared pixels to the frame; None without a map.
    """

    result: FrameResult
    at_ns: int
    frame: Frame | None = None
    kept: DefectMap | None = None
    tiles: int = 0
    unreadable: bool = False
    present: bool | None = None
    to_frame: Transform | None = None


ViewTold = Seen | FrameLost | SampledScore


@dataclass(frozen=True)
class ViewRules:
    """The rules by which a view's camera is believed.

    `max_age_ms`: an older frame, or none for so long, is NO_READ. `live`: time is the monotonic clock and frames grow
    old; else time is the recording's own. `triggered`: the camera gives a frame only when it is triggered, so that only
    a lost one is a fault. `watch`: when the picture itself is not to be believed. `belt`: the empty belt, by which a
    frame shows a part. Without it a frame shows one in which the product is located. `quality`: tells when a frame is
    not good enough to be judged; None = that is not looked at. `opens_parts`: it alone opens them, by its frames, so
    that one which is dropped is a part that nobody judged.
    """

    max_age_ms: int
    live: bool
    triggered: bool = False
    opens_parts: bool = False
    watch: WatchSettings | None = None
    belt: Belt | None = None
    quality: QualityGate | None = None


@dataclass(frozen=True)
class ViewNow:
    """The present state of a view. `state`: why no frame comes, None while frames come. `frames`: how many came.

    `ready`: whether a frame has come, or the camera waits for its trigger. `age_ms`: of the last frame, from capture to
    judgement; None without one. `max_age_ms`: from which on it is NO_READ. `fault`: why the camera is not believed.
    `seen_ns`: when the last frame came, on the monotonic clock; None before the first. `facts`: what
    the camera tells of itself beside its frames.
    """

    name: str
    state: CameraState | None
    ready: bool
    frames: int
    dropped: int
    age_ms: float | None
    max_age_ms: int
    fault: CameraFault | None = None
    seen_ns: int | None = None
    facts: CameraFacts = _NO_FACTS


@dataclass(frozen=True)
class _Begun:
    """A frame that the engine was given, when, on our clock, and by what it is judged."""

    job: FrameJob
    at_ns: int
    loaded: LoadedView
    inspector: Inspector


def _engine_fault(error: EngineError) -> EngineFault:
    if isinstance(error, EngineHangsError):
        return EngineFault.HANGS
    return EngineFault.WRONG_ANSWER if isinstance(error, WrongAnswerError) else EngineFault.FAILS


def _started(job: FrameJob | Judgement) -> tuple[FrameJob | Judgement, CameraFault | None]:
    """Return what was begun of a frame, and the camera's fault where its calibration drifted."""
    return job, CameraFault.DRIFTED if isinstance(job, Drifted) else None


class View:
    """One camera under the recipe in force.

    `alive` is called on each turn. `use` changes the recipe from any thread. `turn` is called again and again by one
    thread, and returns what came of it.
    """

    def __init__(
        self,
        name: str,
        camera: Camera,
        rules: ViewRules,
        *,
        alive: Callable[[], None] = lambda: None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.name = name
        self.camera = camera
        self.triggered = rules.triggered
        self._rules = rules
        self._alive = alive
        self._monotonic_ns = monotonic_ns
        self._recipes: Timeline[LoadedView | Unready | None] = Timeline(None)
        self._loaded: LoadedView | Unready | None = None
        self._at_work: LoadedView | None = None  # of the frame that waits for its answer
        self._inspector: Inspector | None = None
        self._watch = CameraWatch(rules.watch)
        self._belt = None if rules.belt is None else BeltWatch(rules.belt)
        self._begun: _Begun | None = None
        self._sampler = ScoreSampler(name, monotonic_ns, live=rules.live)
        self._seen_ns = monotonic_ns()
        self._silence_told_ns = 0
        self._last_captured_ns: int | None = None
        self._dropped = 0
        self._failure = ""
        self._fault: CameraFault | None = None
        self._frames = 0
        # True once any frame has come; until then the view is starting
        self.sees = False
        self.ended = False
        # the reason of a recording's early end, or empty
        self.ended_early = ""
        self.state: CameraState | None = None
        self.last_age_ms: float | None = None

    @property
    def now(self) -> ViewNow:
        """Its present state; from any thread."""
        state = self.state
        waits = self.triggered and state is not None and state.condition is CameraCondition.NO_FRAME_YET
        return ViewNow(
            name=self.name,
            state=state,
            ready=self.sees or waits,
            frames=self._frames,
            dropped=self.camera.dropped,
            age_ms=self.last_age_ms,
            max_age_ms=self._rules.max_age_ms,
            fault=self._fault,
            seen_ns=self._seen_ns if self.sees else None,
            facts=self.camera.facts if isinstance(self.camera, TellsFacts) else _NO_FACTS,
        )

    def use(self, loaded: LoadedView | Unready | None, from_ns: int = 0) -> None:
        """Judge by this what is captured from a moment on; None: the recipe in force does not look at this camera."""
        self._recipes.change(loaded, from_ns)

    def holds(self, batcher: Batcher) -> bool:
        """Tell whether a frame may still go to a batcher, or wait for its answer; from any thread."""
        begun = self._begun
        if self._sampler.holds(batcher):
            return True
        used = [self._loaded, self._at_work, *self._recipes.values, None if begun is None else begun.loaded]
        return any(isinstance(one, LoadedView) and one.batcher is batcher for one in used)

    def turn(self) -> list[ViewTold]:
        """Read the camera once, and judge what is ready."""
        self._alive()
        return [*self._turn(), *self._sampler.take()]

    def _turn(self) -> list[Seen | FrameLost]:
        begun, self._begun = self._begun, None
        self._at_work = None if begun is None else begun.loaded
        item = self.camera.read(0.0 if begun else _WAIT_S)
        self.state = None if isinstance(item, Frame) or begun else item
        if isinstance(item, Frame):
            return self._with_frame(item, begun)
        told: list[Seen | FrameLost] = [] if begun is None else [self._decide(begun)]
        if begun is not None and item.condition is CameraCondition.NO_FRAME_YET:
            return told
        if item.condition is CameraCondition.END_OF_STREAM:
            self.ended, self.ended_early = True, item.detail
            return told
        return [*told, *self._without_frame(item)]

    def after_end(self) -> list[Seen | FrameLost]:
        """Return, now and then, that the camera gives no more frames."""
        self._alive()
        return self._without_frame(CameraState(self.name, CameraCondition.LOST, "its recording is over"))

    def finish(self) -> list[ViewTold]:
        """Judge the frame that was begun, since no further one is wanted."""
        begun, self._begun = self._begun, None
        return [] if begun is None else [self._decide(begun), *self._sampler.take()]

    def _with_frame(self, frame: Frame, begun: _Begun | None) -> list[Seen | FrameLost]:
        self.sees = True
        self._frames += 1
        self._seen_ns = self._monotonic_ns()
        lost = self._lost_before(frame)
        self._adopt(frame.captured_ns)
        loaded, inspector = self._loaded, self._inspector
        told: list[Seen | FrameLost]
        if not isinstance(loaded, LoadedView) or inspector is None:
            told = [] if begun is None else [self._decide(begun)]
            if isinstance(loaded, Unready):
                told.append(self._conclude(frame, loaded, Inspected(no_read(loaded.reason))))
            return [*lost, *told]
        job, fault = self._begin(frame, inspector)
        told = [] if begun is None else [self._decide(begun)]
        if isinstance(job, FrameJob):
            self._begun = _Begun(job, self._seen_ns, loaded, inspector)
        else:
            told.append(self._conclude(frame, loaded, Inspected(job), fault))
        return [*lost, *told]

    def _adopt(self, at_ns: int) -> None:
        """Take what is in force at a moment; moments never go back."""
        loaded = self._recipes.at(at_ns)
        self._recipes.forget_before(at_ns)
        if loaded is not self._loaded:
            self._loaded = loaded
            self._inspector = loaded.inspector() if isinstance(loaded, LoadedView) else None

    def _lost_before(self, frame: Frame) -> list[Seen | FrameLost]:
        """Tell where frames were dropped before this one: right after the last one, and right before this one.

        Of a camera whose frames open parts each is told of: spread over the time between the two.
        """
        dropped, before_ns = self.camera.dropped, self._last_captured_ns
        self._last_captured_ns = frame.captured_ns
        if dropped == self._dropped:
            return []
        many, self._dropped = dropped - self._dropped, dropped
        if self._rules.opens_parts:
            first_ns = frame.captured_ns - many - 1 if before_ns is None else before_ns
            step_ns = (frame.captured_ns - first_ns) / (many + 1)
            return [FrameLost(self.name, first_ns + round((k + 1) * step_ns), opens_parts=True) for k in range(many)]
        last_ns = frame.captured_ns - 1
        since_ns = last_ns if before_ns is None else before_ns + 1
        ends = [] if since_ns == last_ns else [FrameLost(self.name, since_ns)]
        return [*ends, FrameLost(self.name, last_ns, many=many, since_ns=since_ns)]

    def _begin(self, frame: Frame, inspector: Inspector) -> tuple[FrameJob | Judgement, CameraFault | None]:
        """Begin a frame, unless the camera that gave it is not to be believed."""
        distrust = None if garbled_pixels(frame.pixels) else self._watch.look(frame)
        if distrust is not None:
            inspector.forget()
            return no_read(distrust.reason), distrust.fault
        if self._belt is not None and (misfit := self._belt.misfit(frame.pixels)):
            return no_read(misfit), None
        try:
            flawed = self._flawed(frame, inspector)
            return flawed or _started(inspector.begin(frame))
        except Exception as error:  # noqa: BLE001 - one frame never ends the line, nor is it OK
            return self._not_inspected("prepared", error), None

    def _flawed(self, frame: Frame, inspector: Inspector) -> tuple[Judgement, CameraFault | None] | None:
        """Return NO_READ for a frame that is too bad to be judged, and the camera's fault.

        None where it is good enough.
        """
        gate = self._rules.quality
        if gate is None or garbled_pixels(frame.pixels):
            return None
        if misfit := gate.misfit(frame.pixels):
            inspector.forget()
            return no_read(misfit), None
        flaw = gate.look(frame.pixels, inspector.part_outline)
        if flaw is None:
            return None
        inspector.forget()
        return no_read(flaw.reason), flaw.fault

    def _not_inspected(self, done: str, error: Exception) -> Judgement:
        """Return NO_READ for a frame on which our own code or a library failed, and log where."""
        if str(error) != self._failure:
            _LOG.error("A frame cannot be %s, and is NO_READ", done, exc_info=error)
        self._failure = str(error)
        return no_read(f"it cannot be {done}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")

    def _decide(self, begun: _Begun) -> Seen:
        frame, loaded = begun.job.prepared.frame, begun.loaded
        try:
            outcome = begun.inspector.finish(begun.job)
        except EngineError as error:
            unanswered = Inspected(no_read(f"inference failed: {error}"))
            return self._conclude(frame, loaded, unanswered, engine_fault=_engine_fault(error), begun=True)
        except Exception as error:  # noqa: BLE001 - one frame never ends the line, nor is it OK
            return self._conclude(frame, loaded, Inspected(self._not_inspected("measured", error)), begun=True)
        if outcome.measurement is None:
            return self._conclude(frame, loaded, outcome, begun=True)
        tiles = len(begun.job.tiles.cells)
        self.last_age_ms = age_ms = self._age_ms(frame)
        if age_ms > self._rules.max_age_ms:
            stale, fault = self._stale(age_ms, (self._monotonic_ns() - begun.at_ns) / 1e6)
            return self._conclude(frame, loaded, Inspected(stale), engine_fault=fault, tiles=tiles, begun=True)
        seen = replace(
            self._conclude(frame, loaded, outcome, tiles=tiles, begun=True), to_frame=begun.job.prepared.to_frame
        )
        if outcome.judgement.verdict is Verdict.OK and seen.present is not False:
            self._sampler.offer(begun.job, loaded, begun.inspector)
        return seen

    def _stale(self, age_ms: float, took_ms: float) -> tuple[Judgement, EngineFault | None]:
        """Say of a frame that is too old where its age comes from: `took_ms` of it was the inspection."""
        told = f"stale frame: {age_ms:.0f} ms old, at most {self._rules.max_age_ms} ms allowed"
        if took_ms < age_ms / 2:
            return no_read(f"{told}; it was {age_ms - took_ms:.0f} ms old when the camera gave it"), None
        told = f"{told}; {took_ms:.0f} ms of that is the inspection, which is too slow here"
        return no_read(told), EngineFault.SLOW

    def _age_ms(self, frame: Frame) -> float:
        """Milliseconds since capture; a recording's frames do not grow old."""
        return (self._monotonic_ns() - frame.captured_ns) / 1e6 if self._rules.live else 0.0

    def _without_frame(self, state: CameraState) -> list[Seen | FrameLost]:
        self.last_age_ms = None
        if state.condition is CameraCondition.UNREADABLE:
            self._forget()  # but the very same picture after a damaged one tells of a frozen camera as well
            return self._unseen(state, no_read(state.detail), None, unreadable=True)
        if state.condition is CameraCondition.STARTING:
            return []  # it is being opened, for a bounded time; a camera that cannot be is LOST
        now_ns, lost = self._monotonic_ns(), state.condition is CameraCondition.LOST
        silent_ms = (now_ns - self._seen_ns) / 1e6
        if lost or silent_ms > self._rules.max_age_ms:
            # frames in a row are broken off, but the same picture after a gap tells of a frozen camera too
            self._forget()
        if not self._rules.live or (self._rules.triggered and not lost) or silent_ms <= self._rules.max_age_ms:
            return []
        if now_ns - self._silence_told_ns < _SILENCE_EVERY_NS:
            return []
        self._silence_told_ns = now_ns
        told = f"no frame for {silent_ms:.0f} ms ({state.condition.value})"
        return self._unseen(state, no_read(f"{told}: {state.detail}" if state.detail else told), CameraFault.LOST)

    def _forget(self) -> None:
        if self._inspector is not None:
            self._inspector.forget()

    def _conclude(
        self,
        frame: Frame,
        loaded: LoadedView | Unready,
        inspected: Inspected,
        fault: CameraFault | None = None,
        *,
        engine_fault: EngineFault | None = None,
        tiles: int = 0,
        begun: bool = False,
    ) -> Seen:
        self._fault = fault
        result = FrameResult(
            camera=self.name,
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
            recipe=loaded.recipe,
            model=loaded.model,
            edition=loaded.edition,
            engine_fault=engine_fault,
        )
        now_ns = self._monotonic_ns() if self._rules.live else frame.captured_ns
        pixels = None if garbled_pixels(frame.pixels) else frame
        present = self._present(frame, inspected, fault, begun=begun)
        return Seen(result, now_ns, pixels, inspected.kept, tiles, present=present)

    def _present(self, frame: Frame, inspected: Inspected, fault: CameraFault | None, *, begun: bool) -> bool | None:
        """Tell whether a frame shows a part. In one that was begun the product was located, whatever came of it."""
        if fault is not None:
            return None
        if self._belt is not None:
            return None if garbled_pixels(frame.pixels) else self._belt.shows_part(frame.pixels)
        if isinstance(inspected.judgement, NotFound):
            return False
        return True if begun else None

    def _unseen(
        self, state: CameraState, judgement: Judgement, fault: CameraFault | None, *, unreadable: bool = False
    ) -> list[Seen | FrameLost]:
        """Return the result of a frame that could not be read, or did not come.

        None where no recipe looks for it.
        """
        now_ns = self._monotonic_ns() if self._rules.live or state.captured_ns is None else state.captured_ns
        self._adopt(now_ns if state.captured_ns is None else state.captured_ns)
        self._fault = fault
        if self._loaded is None:
            return []
        result = FrameResult(
            camera=self.name,
            frame=state.index,
            name=state.name,
            captured_at=state.captured_at or datetime.now(timezone.utc),
            captured_ns=now_ns if state.captured_ns is None else state.captured_ns,
            age_ms=None,
            judgement=judgement,
            measurement=None,
            camera_fault=fault,
            recipe=self._loaded.recipe,
            model=self._loaded.model,
            edition=self._loaded.edition,
        )
        return [Seen(result, now_ns, unreadable=unreadable)]
