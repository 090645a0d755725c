"""The one thread that sets signals: levels as they change, pulses at their time, the heartbeat while the loop moves."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType

from typing_extensions import Self

from edge.outputs import rules as levels_of
from edge.outputs import schedule as timing
from edge.outputs.by_hand import HandTest, HandTestEnds
from edge.outputs.encoder import Encoder
from edge.outputs.inputs import Released, Triggered
from edge.outputs.priority import go_first
from edge.outputs.rules import Changes
from edge.outputs.schedule import Begin, Dropped, End, Schedule
from edge.outputs.settings import OutputRule
from edge.protocols import Output
from edge.records.outputs import (
    Level,
    MachineCounts,
    MachineTroubles,
    OutputEvent,
    OutputLate,
    OutputLost,
    OutputRestored,
    PartSignal,
    StationSignal,
)
from edge.wording import counted

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.02
_MOST_WAITING = 1_000
_ENDS_WITHIN_S = 2.0
# The time for which a late pulse is told, so that the loop surely sees it.
_LATE_TOLD_NS = 2_000_000_000
LOOP_STANDS = "the loop stands still"


@dataclass(frozen=True)
class RecipeChanged:
    """Another recipe is in force."""


Told = PartSignal | StationSignal | RecipeChanged | Triggered | Released | HandTest | HandTestEnds


class OutputScheduler:
    """Sets a station's signals. Making it sets the safe levels, and leaving it sets them again.

    `loop_ns` tells when the station's loop last marked its progress, None before it began. `tell` returns at once and
    may be called from any thread. `output` is opened after this is made, and open while it is
    entered. `encoder`: how far the belt went, if known. `on_loss` is called, in this thread, when the machine is lost.
    """

    def __init__(
        self,
        output: Output,
        rules: Mapping[str, OutputRule],
        loop_ns: Callable[[], int | None],
        *,
        tolerance_ns: int = 5_000_000,
        encoder: Encoder | None = None,
        on_loss: Callable[[], None] = lambda: None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._on_loss = on_loss
        self._output = output
        self._rules = dict(rules)
        self._loop_ns = loop_ns
        self._encoder = encoder or Encoder()
        self._monotonic_ns = monotonic_ns
        self._signals, begun = levels_of.begin(self._rules)
        self._since = dict.fromkeys(self._rules, monotonic_ns())
        self._hand: HandTest | None = None
        output.set(dict(begun))
        self._schedule = Schedule(tolerance_ns)
        self._station = StationSignal()
        self._lost = ""
        self._late: tuple[int, str] = (0, "")
        self._told: deque[Told] = deque()
        self._some = threading.Condition()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="outputs", daemon=True)
        self.counts = MachineCounts()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._some:
            self._stop = True
            self._some.notify()
        self._thread.join(_ENDS_WITHIN_S)

    def tell(self, told: Told) -> None:
        """Say what was decided, or how the station stands."""
        with self._some:
            if len(self._told) >= _MOST_WAITING:
                self.counts = replace(self.counts, unheard=self.counts.unheard + 1)
                return
            self._told.append(told)
            self._some.notify()

    def wake(self) -> None:
        """Look at once: the belt went on."""
        with self._some:
            self._some.notify()

    @property
    def troubles(self) -> MachineTroubles:
        """Tell what is wrong between station and machine; from any thread."""
        late_ns, late = self._late
        fresh = late and self._monotonic_ns() - late_ns < _LATE_TOLD_NS
        return MachineTroubles(lost=self._lost or None, late=late if fresh else None)

    @property
    def levels(self) -> dict[str, Level]:
        """The level of each signal; from any thread."""
        return dict(self._signals.levels)

    @property
    def since_ns(self) -> dict[str, int]:
        """The time since which each signal has its level, of the station's clock; from any thread."""
        return dict(self._since)

    @property
    def hand_test(self) -> HandTest | None:
        """The signal that is switched by hand just now; from any thread."""
        return self._hand

    @property
    def safe(self) -> str:
        """Return why the levels are the safe ones; empty while they are the station's own."""
        return self._signals.safe

    def _run(self) -> None:
        go_first()
        while (told := self._next()) is not None:
            try:
                self._turn(told)
            except Exception as error:  # noqa: BLE001, PERF203 - the heartbeat stops, and the alarm says why
                if not self._lost:
                    _log.error("Signals to the machine failed", exc_info=error)
                self._lost = f"a fault of this program: {type(error).__name__}: {error}"
        self._end()

    def _next(self) -> list[Told] | None:
        """Wait until something is told or due; None when it is time to end."""
        with self._some:
            if not self._told and not self._stop:
                due_ns, wait_s = timing.next_ns(self._schedule), _LOOK_EVERY_S
                if due_ns is not None:
                    wait_s = min(wait_s, max(0.0, (due_ns - self._monotonic_ns()) / 1e9))
                self._some.wait(wait_s)
            if self._stop:
                return None
            told, self._told = list(self._told), deque()
        return told

    def _turn(self, told: list[Told]) -> None:
        for event in self._output.events():
            self._happened(event)
        now_ns, loop_ns = self._monotonic_ns(), self._loop_ns()
        self._watch_loop(now_ns, loop_ns)
        for one in told:
            self._take(one)
        self._step_pulses(self._monotonic_ns())
        self._do(levels_of.beat(self._rules, self._signals, now_ns, loop_ns))

    def _watch_loop(self, now_ns: int, loop_ns: int | None) -> None:
        """Set the safe levels while the loop stands still; pulses of parts on their way go out all the same."""
        if levels_of.stalled(now_ns, loop_ns):
            if not self._signals.safe or self._hand is not None:
                self._hand = None
                told = levels_of.make_safe(self._rules, self._signals, LOOP_STANDS, self._schedule.ends_ns)
                self._do(told)
        elif self._hand is not None and now_ns < self._hand.until_ns:
            return
        elif self._signals.safe and not self._lost:
            self._hand = None
            self._do(levels_of.wake(self._rules, self._signals, self._station, self._schedule.ends_ns))

    def _switch(self, test: HandTest) -> None:
        """Switch a signal by hand; not while the machine is away, or the levels are safe for another reason."""
        if self._lost or (self._signals.safe and self._hand is None):
            return
        self._hand = test
        self._do(levels_of.by_hand(self._rules, self._signals, test, self._schedule.ends_ns))

    def _take(self, told: Told) -> None:
        if isinstance(told, PartSignal):
            self._part(told)
        elif isinstance(told, HandTest):
            self._switch(told)
        elif isinstance(told, HandTestEnds):
            self._hand = None
        elif isinstance(told, RecipeChanged):
            self._hand = None
            self._do(levels_of.recipe_changed(self._rules, self._signals))
        elif isinstance(told, Triggered):
            self._do(levels_of.triggered(self._rules, self._signals))
        elif isinstance(told, Released):
            self._do(levels_of.released(self._rules, self._signals))
        else:
            self._station = told
            self._do(levels_of.station(self._rules, self._signals, told))

    def _part(self, decided: PartSignal) -> None:
        self.counts = replace(self.counts, parts=self.counts.parts + 1)
        self._do(levels_of.part(self._rules, self._signals, decided))
        for pulse in timing.pulses_of(self._rules, decided, self._encoder.at):
            if self._lost:
                self._dropped(Dropped(pulse.signal, None))
                continue
            self._schedule, dropped = timing.plan(self._schedule, pulse, self._encoder.count)
            for one in dropped:
                self._dropped(one)

    def _step_pulses(self, now_ns: int) -> None:
        self._schedule, steps = timing.step(self._schedule, now_ns, self._encoder.count)
        for one in steps:
            if isinstance(one, Begin):
                self.counts = replace(self.counts, pulses=self.counts.pulses + 1)
                self._do(levels_of.pulse(self._rules, self._signals, one.signal, up=True), one.by_ns)
            elif isinstance(one, End):
                self._do(levels_of.pulse(self._rules, self._signals, one.signal, up=False))
            else:
                self._dropped(one)

    def _happened(self, event: OutputEvent) -> None:
        if isinstance(event, OutputLost):
            if not self._lost:
                self.counts = replace(self.counts, losses=self.counts.losses + 1)
                _log.warning("The machine is not reached: %s", event.detail)
            self._lost = event.detail or "no reason is known"
            self._schedule, dropped = timing.drop_all(self._schedule)
            for one in dropped:
                self._dropped(one)
            self._encoder.lose()
            self._on_loss()
            self._hand = None
            self._do(levels_of.make_safe(self._rules, self._signals, "the machine is not reached"))
        elif isinstance(event, OutputRestored):
            if self._lost:
                _log.info("The machine is reached again")
            self._lost = ""
        else:
            self._was_late(event)

    def _was_late(self, event: OutputLate) -> None:
        how = "went out late" if event.switched else "was dropped, for it was late"
        self._note_late(f"a pulse of {event.signal} {how}, by {event.late_ns / 1e6:.1f} ms")
        self.counts = replace(self.counts, pulses=self.counts.pulses - 1)
        if not event.switched:  # it never began
            self._do(levels_of.pulse(self._rules, self._signals, event.signal, up=False))

    def _dropped(self, dropped: Dropped) -> None:
        if dropped.late_ns is None:
            self.counts = replace(self.counts, crowded_out=self.counts.crowded_out + 1)
            self._tell_late(f"a pulse of {dropped.signal} could not wait and was dropped")
        else:
            self._note_late(f"a pulse of {dropped.signal} was dropped, {dropped.late_ns / 1e6:.1f} ms after its time")

    def _note_late(self, what: str) -> None:
        self.counts = replace(self.counts, late=self.counts.late + 1)
        self._tell_late(what)

    def _tell_late(self, what: str) -> None:
        missed = self.counts.late + self.counts.crowded_out
        self._late = (self._monotonic_ns(), f"{what}; {counted(missed, 'pulse')} missed since the start")

    def _do(self, told: tuple[levels_of.Signals, Changes], by_ns: int | None = None) -> None:
        self._signals, changes = told
        if changes:
            self._since |= dict.fromkeys(dict(changes), self._monotonic_ns())
            self._output.set(dict(changes), by_ns)

    def _end(self) -> None:
        """Set the safe levels at the end; a pulse that still waits is dropped, and told."""
        self._schedule, dropped = timing.drop_all(self._schedule)
        if dropped:
            _log.warning("The station ends, and %s of parts on their way were not made", counted(len(dropped), "pulse"))
        self._do(levels_of.make_safe(self._rules, self._signals, "the station ended"))
