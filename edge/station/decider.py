"""The one loop that steps parts, alarms, counters, commands and recipe changes.

It never waits for the network, the disk, an engine or a camera: views judge in threads of their own, and decisions go
into the outbox's queue. A replay runs the same objects on one thread, its recordings merged by their own time. So two
replays decide the same.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from edge.recipes.loaded import LoadedRecipe, UnreadyRecipe
from edge.records import DeliveryState, Verdict
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import FrameLost, PartResult, StrayFrame, TriggerTrouble
from edge.station.command_desk import CommandDesk
from edge.station.counts import LineCounts
from edge.station.drift_desk import DriftDesk
from edge.station.part_stream import PartStream
from edge.station.recorder import Recorder
from edge.station.score_sampling import SampledScore
from edge.station.view import Seen, View, ViewNow, ViewTold
from edge.stopping import leave_behind

_WAIT_S = 0.05
_JOIN_S = 15.0
# Judged frames of one view that wait for the decider: each holds its pixels.
_WAITING_AT_MOST = 4
# Frames that are decided before the rest of the station has its turn.
_AT_ONCE = 16
# A live station looks so often at the alarms that are not about frames, and at what time ends.
_TICK_EVERY_NS = 200_000_000
# The pause between looks at open parts while no frame comes.
_PARTS_EVERY_NS = 20_000_000
# The number of parts concluded at once after which the rest of the station has its turn.
_CONCLUDED_AT_ONCE = 50


class Decider:
    """Decides on what views judge, in the order in which it comes.

    `parts`: None where each frame has a verdict of its own. `watch` is called with everything decided, in this thread.
    `each_turn`: what else the station does again and again. `delivery` tells how messages fare. `live`: see `View`.
    """

    def __init__(
        self,
        views: Sequence[View],
        recorder: Recorder,
        desk: CommandDesk,
        *,
        live: bool,
        parts: PartStream | None = None,
        watch: Callable[[Decided | DecidedPart], None] = lambda _: None,
        each_turn: Callable[[], None] = lambda: None,
        delivery: Callable[[], DeliveryState] = DeliveryState,
    ) -> None:
        self.counts = LineCounts()
        self.views = tuple(views)
        self.recorder = recorder
        self.desk = desk
        self.live = live
        self.parts = parts
        self.in_force = ""  # the recipe that judges
        self.drift = DriftDesk()
        self._offsets_ns: dict[str, int] = {}  # of each view, by the last recipe that has it
        self._watch = watch
        self._each_turn = each_turn
        self._delivery = delivery
        self._tick_at_ns = 0
        self._parts_at_ns = 0
        self._now_ns = 0  # of a recording

    @property
    def cameras(self) -> list[ViewNow]:
        """The present state of each view."""
        return [view.now for view in self.views]

    def use(self, recipe: LoadedRecipe | UnreadyRecipe, from_ns: int = 0) -> None:
        """Judge by this recipe the frames that are captured, and the parts that are opened, from a moment on.

        A view sees that moment's parts later by its offset. A recipe may lack the view while parts of the one before it
        are still on their way there: its own offset counts.
        """
        self._offsets_ns |= {name: rule.offset_ns for name, rule in recipe.rules.views.items()}
        for view in self.views:
            later_ns = self._offsets_ns.get(view.name, 0) if from_ns else 0
            view.use(recipe.views.get(view.name), from_ns + later_ns)
        if self.parts is not None:
            self.parts.use(recipe.rules, recipe.name, from_ns)
        if isinstance(recipe, LoadedRecipe):
            self.in_force = recipe.name
            self.drift.use(recipe)
            self.recorder.use(recipe)

    def between_parts(self, now_ns: int) -> bool:
        """Hear the trigger up to now, and tell whether no part is open to frames."""
        if self.parts is None:
            return True
        self._concluded(self.parts.tick(now_ns))
        return not self.parts.open_to_frames

    def run(self, stop: threading.Event) -> LineCounts:
        """Decide until the streams end or `stop` is set; all begun parts are decided before returning."""
        self.counts.count_alarms(self.recorder.begin(self._clock()))
        if self.live:
            self._run_live(stop)
        else:
            self._run_recorded(stop)
        if self.parts is not None:
            self._concluded(self.parts.stop(self._clock()))
        self.recorder.stop(self._clock())
        self.counts.ended_early = "; ".join(view.ended_early for view in self.views if view.ended_early)
        return self.counts

    def trouble(self, trouble: TriggerTrouble) -> None:
        """Tell what a trigger did that no part can do."""
        self._concluded([trouble])

    @property
    def now_ns(self) -> int:
        """The station's clock."""
        return self._clock()

    def _clock(self) -> int:
        return time.monotonic_ns() if self.live else self._now_ns

    def _turn(self) -> None:
        self._each_turn()
        self.desk.turn(self._clock())
        self.tick()

    def tick(self) -> None:
        """Step the alarms that no frame steps, and open parts; a recording has no such."""
        if not self.live:
            return
        now_ns = time.monotonic_ns()
        if self.parts is not None and now_ns >= self._parts_at_ns:
            self._parts_at_ns = now_ns + _PARTS_EVERY_NS
            self._concluded(self.parts.tick(now_ns))
        if now_ns >= self._tick_at_ns:
            self._tick_at_ns = now_ns + _TICK_EVERY_NS
            self.counts.count_alarms(self.recorder.tick(self._delivery(), now_ns))

    def _run_recorded(self, stop: threading.Event) -> None:
        for told in heapq.merge(*(self._recorded(view, stop) for view in self.views), key=_at_ns):
            self._now_ns = max(self._now_ns, _at_ns(told))
            self._decide(told)

    def _recorded(self, view: View, stop: threading.Event) -> Iterator[ViewTold]:
        """Yield what one recording comes to, in its own time."""
        while not (view.ended or stop.is_set()):
            self._turn()
            yield from view.turn()
        yield from view.finish()

    def _run_live(self, stop: threading.Event) -> None:
        runs = [_ViewRun(view) for view in self.views]
        told: queue.SimpleQueue[tuple[_ViewRun, ViewTold]] = queue.SimpleQueue()
        for run in runs:
            run.start(told)
        try:
            while not stop.is_set() and not _over(runs):
                self._turn()
                self._tell_ended(runs)
                self._take(told, _WAIT_S)
            for run in runs:
                run.stop.set()
            self._wait_for(runs, told)
        finally:
            for run in runs:
                if run.thread.is_alive():
                    leave_behind(run.thread)
        while self._take(told, 0.0):
            pass
        for run in runs:
            if run.error is not None:
                raise run.error

    def _tell_ended(self, runs: Sequence[_ViewRun]) -> None:
        """Tell of a camera whose frames are over while others go on: it is lost, and never reads as OK."""
        ended = [run for run in runs if run.ended]
        if len(ended) == len(runs):  # meanwhile all are over, and nobody goes on
            return
        for run in ended:
            for one in run.view.after_end():
                self._decide(one)

    def _wait_for(self, runs: Sequence[_ViewRun], told: queue.SimpleQueue[tuple[_ViewRun, ViewTold]]) -> None:
        """Decide on what views still judge, until each has come to its end, for a bounded time."""
        until_s = time.monotonic() + _JOIN_S
        while any(run.thread.is_alive() for run in runs) and time.monotonic() < until_s:
            self._take(told, _WAIT_S)

    def _take(self, told: queue.SimpleQueue[tuple[_ViewRun, ViewTold]], wait_s: float) -> bool:
        """Decide on what comes first within `wait_s`, and on what waits behind it; False where nothing came."""
        try:
            run, first = told.get(timeout=wait_s) if wait_s else told.get_nowait()
        except queue.Empty:
            return False
        for _ in range(_AT_ONCE):  # then the rest of the station has its turn
            self._decide(first)
            run.room.release()
            try:
                run, first = told.get_nowait()
            except queue.Empty:
                return True
        self._decide(first)
        run.room.release()
        return True

    def _decide(self, told: ViewTold) -> None:
        if self.parts is not None:
            self.desk.turn(self._clock())  # a part may have been opened before this frame was captured
        if isinstance(told, SampledScore):
            self.drift.sampled(told)
            return
        if isinstance(told, FrameLost):
            if self.parts is not None:
                self._concluded(self.parts.lost(told, self._clock()))
            return
        told = replace(told, result=self.recorder.seen(told.result, told.at_ns))
        self.counts.look(told)
        if self.parts is None:
            self._frame(told)
            return
        events = self.recorder.frame_of_part(told.result, told.at_ns)
        self.counts.count_alarms(events)
        self._watch(Decided(told.result, None, told.frame, told.kept, events, told.to_frame))
        self._concluded(self.parts.frame(told, max(told.at_ns, self._clock())))

    def _frame(self, seen: Seen) -> None:
        """Decide on a frame that has a verdict of its own."""
        self.counts.count(seen.result.judgement, seen.result.grade)
        if seen.result.judgement.verdict is Verdict.OK:
            self.drift.frame(seen.result.view, seen.result.captured_ns)
        body, events = self.recorder.frame(seen.result, seen.at_ns)
        self.counts.count_alarms(events)
        self._watch(Decided(seen.result, body, seen.frame, seen.kept, events, seen.to_frame))

    def _concluded(self, concluded: Sequence[PartResult | StrayFrame | TriggerTrouble]) -> None:
        for number, one in enumerate(concluded, start=1):
            if number % _CONCLUDED_AT_ONCE == 0:
                self._each_turn()
            if isinstance(one, PartResult):
                self._part(one)
            elif isinstance(one, TriggerTrouble):
                self.counts.trigger_faults += not one.still
                self.counts.count_alarms(self.recorder.trouble(one, self._clock()))
            else:
                self._stray(one)

    def _part(self, part: PartResult) -> None:
        part, counts, body, events = self.recorder.part(part, self._clock())
        if counts:
            self.counts.parts += 1
            self.counts.count(part.judgement, part.grade)
            if part.judgement.verdict is Verdict.OK:
                self.drift.part(part)
        else:
            self.counts.challenged += 1
        self.counts.count_alarms(events)
        self._watch(DecidedPart(part, body, events))

    def _stray(self, stray: StrayFrame) -> None:
        """Count a frame that no part was open for: a part is in the picture before and after its window."""
        self.counts.stray_frames += 1
        self.counts.stray_ng += stray.result.judgement.verdict is Verdict.NG


def _over(runs: Sequence[_ViewRun]) -> bool:
    """Tell whether nothing more comes, or one of them failed: a station without one of its cameras is restarted."""
    failed = any(run.ended and (run.error is not None or run.view.ended_early) for run in runs)
    return failed or all(run.ended for run in runs)


class _ViewRun:
    """A view in a thread of its own. `room`: how many more of its results the decider has room for."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.ended = False
        self.error: Exception | None = None
        self.room = threading.Semaphore(_WAITING_AT_MOST)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"view {view.name}", daemon=True)

    def start(self, told: queue.SimpleQueue[tuple[_ViewRun, ViewTold]]) -> None:
        """Begin; results go to `told`."""
        self._told = told
        self.thread.start()

    def _run(self) -> None:
        try:
            while not (self.view.ended or self.stop.is_set()):
                self._hand_over(self.view.turn())
            self._hand_over(self.view.finish())
        except Exception as error:  # noqa: BLE001 - raised again in the decider's thread
            self.error = error
        finally:
            self.ended = True

    def _hand_over(self, results: Sequence[ViewTold]) -> None:
        for one in results:
            while not self.room.acquire(timeout=_WAIT_S):
                if self.stop.is_set():
                    break  # the decider takes what is left, however much it is
            self._told.put((self, one))


def _at_ns(told: ViewTold) -> int:
    return told.at_ns
