"""The counters of the shift: what each result, alarm and stretch of time adds to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from edge.parts.ledger import DowntimeState, alarm_deltas, deltas_of, finish, step, why_down, worst_of
from edge.parts.shifts import ShiftClock, ShiftPlan
from edge.records import AlarmEvent, FrameResult
from edge.records.ledger import CountDelta, WorstPart
from edge.records.parts import PartResult


class ShiftBook:
    """Tells what to count, under the shift and the recipe in force. The decider alone calls it."""

    def __init__(self, plan: ShiftPlan, wall: Callable[[], datetime] = lambda: datetime.now(timezone.utc)) -> None:
        self._clock = ShiftClock(plan)
        self._wall = wall
        self._time = DowntimeState()
        self._down: dict[str, str | None] = {}
        self.recipe = ""

    @property
    def shift(self) -> str:
        """The shift in force, as `2026-11-30T06:00+01:00`."""
        return self._clock.key(self._wall())

    def result(self, result: PartResult | FrameResult) -> tuple[tuple[CountDelta, ...], tuple[WorstPart, ...]]:
        """Return what a part adds, or a frame with its own verdict.

        Return, too, whether it may be among the worst.
        """
        shift, recipe = self.shift, result.recipe or self.recipe
        worst = worst_of(result, shift, recipe)
        return deltas_of(result, shift, recipe), () if worst is None else (worst,)

    def alarms(self, events: Sequence[AlarmEvent]) -> tuple[CountDelta, ...]:
        """Return what transitions of alarms add."""
        return alarm_deltas(events, self.shift, self.recipe) if events else ()

    def look(self, result: FrameResult) -> None:
        """Note whether a view inspects, by its last result."""
        self._down[result.view] = why_down(result)

    def tick(self, bypassed: str, now_ns: int) -> tuple[CountDelta, ...]:
        """Return what passed time adds. `bypassed`: why inspection is taken out, or empty."""
        reason = "bypass" if bypassed else next(filter(None, self._down.values()), "")
        up = not reason and bool(self._down)
        self._time, deltas = step(
            self._time, up=up, reason=reason or "starting", shift=self.shift, recipe=self.recipe, now_ns=now_ns
        )
        return deltas

    def finish(self, now_ns: int) -> tuple[CountDelta, ...]:
        """Return what is left to count when the station ends."""
        return finish(self._time, now_ns)
