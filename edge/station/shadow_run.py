"""A second model judges the frames of a running station, in a thread of its own. Its verdicts stand nowhere.

It shares the processor with the running model and costs the station's loop nothing: a bounded number of frames waits. A
frame without room is told as not judged, and so are those after it until none waits. So what is judged hangs together,
and holds whole parts.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge.errors import EngineError, LinewatchError
from edge.inspection.inspector import Inspected, Inspector
from edge.inspection.limits import no_read
from edge.recipes.loaded import LoadedView
from edge.recipes.pairing import Key
from edge.records import Frame, FrameResult, Judgement

_LOG = logging.getLogger(__name__)
MOST_FRAMES = 64
MOST_BYTES = 128 * 1024 * 1024
_JOIN_S = 2.0

Views = Mapping[tuple[str, str], LoadedView]  # by recipe and camera


@dataclass(frozen=True)
class ShadowFrame:
    """One frame of the shadow run. `result`: None where the model did not judge it, or not as it would alone.

    `took_ms`: for judging; None where it did not. `failed`: what its engine did wrong, or empty.
    """

    key: Key
    result: FrameResult | None = None
    took_ms: float | None = None
    failed: str = ""


@dataclass
class _Sight:
    """The judging of one view. `lacking`: frames that its model still lacks of a sequence without a gap."""

    loaded: LoadedView
    inspector: Inspector
    lacking: int

    def begin_anew(self) -> None:
        """Forget the frames before a gap."""
        self.inspector.forget()
        self.lacking = self.loaded.bundle.manifest.frames - 1


class ShadowRun:
    """Judges what it is offered by `views`. Any thread may ask; none waits for an engine."""

    def __init__(self, views: Views, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._views = views
        self._monotonic_ns = monotonic_ns
        self._some = threading.Condition()
        self._waiting: deque[tuple[Frame, FrameResult]] = deque()
        self._bytes = 0
        self._full = False
        self._done: deque[ShadowFrame] = deque()
        self._sights: dict[tuple[str, str], _Sight] = {}
        self._gaps: set[str] = set()  # cameras of which a frame was left out
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="shadow run", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def judges(self, recipe: str, camera: str) -> bool:
        """Tell whether it has a model for a camera under a recipe."""
        return (recipe, camera) in self._views

    def offer(self, frame: Frame, running: FrameResult) -> None:
        """Have a frame judged that the running model judged as `running`."""
        with self._some:
            if self._full or len(self._waiting) >= MOST_FRAMES or self._bytes + frame.pixels.nbytes > MOST_BYTES:
                self._full = bool(self._waiting)
                self._gaps.add(running.view)
                self._done.append(ShadowFrame(_key(running)))
                return
            self._waiting.append((frame, running))
            self._bytes += frame.pixels.nbytes
            self._some.notify()

    @property
    def waits(self) -> bool:
        """Tell whether a frame waits, or none is taken until none waits."""
        return bool(self._waiting) or self._full

    def take(self) -> list[ShadowFrame]:
        """Return what was judged since last asked."""
        with self._some:
            done, self._done = list(self._done), deque()
        return done

    def stop(self) -> None:
        """Judge no more; nobody waits for the frame that is under way."""
        with self._some:
            self._stopped = True
            self._waiting.clear()
            self._some.notify()

    def join(self) -> None:
        """Wait for the thread's end, for a bounded time."""
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while (item := self._next()) is not None:
            frame, running, gap = item
            try:
                done = self._judge(frame, running, gap=gap)
            except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever went wrong
                _LOG.exception("A frame cannot be judged in the shadow run")
                done = ShadowFrame(_key(running), failed=f"it cannot be judged: {error!r}"[:300])
            with self._some:
                self._done.append(done)

    def _next(self) -> tuple[Frame, FrameResult, bool] | None:
        with self._some:
            while not self._waiting and not self._stopped:
                self._full = False
                self._some.wait()
            if self._stopped:
                return None
            frame, running = self._waiting.popleft()
            self._bytes -= frame.pixels.nbytes
            gap = running.view in self._gaps
            self._gaps.discard(running.view)
            return frame, running, gap

    def _judge(self, frame: Frame, running: FrameResult, *, gap: bool) -> ShadowFrame:
        key = _key(running)
        where = (running.recipe or "", running.view)
        sight = self._sights.get(where)
        if sight is None:
            loaded = self._views[where]
            sight = self._sights[where] = _Sight(loaded, loaded.inspector(), loaded.bundle.manifest.frames - 1)
        if gap:
            sight.begin_anew()
        began_ns = self._monotonic_ns()
        try:
            inspected = _inspected(sight.inspector, frame)
        except EngineError as error:
            return ShadowFrame(key, failed=f"inference failed: {error}"[:300])
        took_ms = (self._monotonic_ns() - began_ns) / 1e6
        if sight.lacking:
            sight.lacking -= 1
            return ShadowFrame(key, took_ms=took_ms)
        return ShadowFrame(key, _result(running, sight.loaded, inspected), took_ms)


def _inspected(inspector: Inspector, frame: Frame) -> Inspected:
    """Judge one frame, as a view does. Raises EngineError."""
    try:
        begun = inspector.begin(frame)
        return Inspected(begun) if isinstance(begun, Judgement) else inspector.finish(begun)
    except LinewatchError:
        raise
    except Exception as error:  # noqa: BLE001 - on a line the frame would be NO_READ
        return Inspected(no_read(f"it cannot be inspected: {type(error).__name__}"))


def _result(running: FrameResult, loaded: LoadedView, inspected: Inspected) -> FrameResult:
    return FrameResult(
        camera=running.camera,
        frame=running.frame,
        name=running.name,
        captured_at=running.captured_at,
        captured_ns=running.captured_ns,
        age_ms=None,
        judgement=inspected.judgement,
        measurement=inspected.measurement,
        zones=inspected.zones,
        grade=inspected.grade,
        recipe=loaded.recipe,
        model=loaded.model,
        edition=loaded.edition,
    )


def _key(result: FrameResult) -> Key:
    return result.view, result.captured_ns
