"""The decider's words to the machine: each part as it is decided, and how the station stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from edge.commands.requests import COMMANDS, Command
from edge.outputs.inputs import StationNow, Wish
from edge.outputs.scheduler import OutputScheduler, RecipeChanged
from edge.recipes.loaded import LoadedRecipe
from edge.records import FrameResult, Verdict
from edge.records.alarms import AlarmEvent
from edge.records.decided import Decided, DecidedPart
from edge.records.outputs import PartSignal, Priority, StationSignal
from edge.records.parts import PartResult
from edge.station.alarm_service import AlarmService
from edge.station.machine_inputs import MachineInputs
from edge.station.view import ViewNow

# The pause between looks through the alarms while none changes.
_ALARMS_EVERY_NS = 100_000_000
PLC = "plc"  # the user of commands that the machine gives


class MachineDesk:
    """Stands between the decider, whose thread alone calls it, and the thread that sets the signals.

    `judging`: why the station cannot judge the next part, empty where it can. `obey` takes the machine's commands.
    """

    def __init__(self, scheduler: OutputScheduler, alarms: AlarmService, inputs: MachineInputs) -> None:
        self.judging: Callable[[], str | None] = lambda: None
        self.obey: Callable[[Command], None] = lambda _: None
        self._inputs = inputs
        self._decided = 0
        self._scheduler = scheduler
        self._alarms = alarms
        self._grades: dict[str, tuple[str, ...]] = {}  # by recipe: a part may be decided after the next one's change
        self._said: StationSignal | None = None
        self._shown: frozenset[tuple[str, Priority]] = frozenset()
        self._look_at_ns = 0

    def first(self, decided: PartResult | FrameResult) -> None:
        """Tell the machine of a part, or of a frame with its own verdict, before it is recorded."""
        grades = self._grades.get(decided.recipe or "", ())
        if isinstance(decided, PartResult):
            self._decided += 1
            self._inputs.station = replace(self._inputs.station, decided=self._decided)
            self._scheduler.tell(part_signal(decided, grades))
        else:
            self._scheduler.tell(frame_signal(decided, grades))

    def offer(self, decided: Decided | DecidedPart) -> None:
        """Look through the alarms where something changed them."""
        if decided.alarms:
            self._look_at_ns = 0

    def in_force(self, recipe: LoadedRecipe) -> None:
        """Take back what was said of parts of another recipe."""
        names = (grade.name for view in recipe.views.values() for grade in view.inspect.grades)
        self._grades[recipe.name] = tuple(dict.fromkeys(names))
        self._scheduler.tell(RecipeChanged())
        self._said = None

    def turn(self, cameras: Sequence[ViewNow], open_parts: int, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Tell how the station stands, where that changed; return what signals do to the alarms."""
        events = self._alarms.look_at_machine(self._scheduler.troubles, now_ns)
        if events or time.monotonic_ns() >= self._look_at_ns:
            self._look_at_ns = time.monotonic_ns() + _ALARMS_EVERY_NS
            manager = self._alarms.manager
            self._shown = frozenset((rule.id, rule.priority) for rule in manager.rules if manager.shown(rule.id))
        sees = all(view.ready and view.fault is None for view in cameras)
        said = StationSignal(sees and not self.judging(), open_parts > 0, self._shown)
        if said != self._said:
            self._said = said
            self._scheduler.tell(said)
            self._inputs.station = StationNow(said.ready, self._decided)
        while self._inputs.wishes:
            for command in self._commands(self._inputs.wishes.popleft(), now_ns):
                self.obey(command)
        return events

    def _commands(self, wish: Wish, now_ns: int) -> list[Command]:
        """Return the commands that a wish of the machine comes to; it acknowledges all that is shown."""
        if wish.what == "recipe":
            return [_command("recipe", {"recipe": wish.recipe}, now_ns)]
        if wish.what == "reset_counters":
            return [_command("reset-counters", {}, now_ns)]
        manager = self._alarms.manager
        standings = [manager.standing(rule.id, now_ns) for rule in manager.rules if manager.shown(rule.id)]
        return [
            _command("ack", {"occurrence_id": one.occurrence_id}, now_ns)
            for one in standings
            if one is not None and one.user is None and one.occurrence_id is not None
        ]


def _command(name: str, body: dict[str, Any], now_ns: int) -> Command:
    """Return a command of the machine, whose user is `plc`."""
    given = {"schema": f"linewatch/command-{name}/1", "user": PLC, "comment": "", **body}
    try:
        read = COMMANDS[name].model_validate(given)
    except ValidationError:
        told = f"expected the number of a recipe, received {body.get('recipe')}"
        return Command(name, None, "unknown_recipe", told, None, None, source="plc", at_ns=now_ns)
    return Command(name, read, "ok", "", None, None, source="plc", at_ns=now_ns)


def part_signal(part: PartResult, grades: Sequence[str]) -> PartSignal:
    """Return what the machine is told of a part: the largest values of its views, each shown by its worst frame."""
    worst = [view.worst for view in part.views.values() if view.worst is not None]
    coverages, lengths = _values([] if part.judgement.verdict is Verdict.NO_READ else worst)
    return PartSignal(
        part.part_id,
        part.judgement.verdict,
        part.opened_ns,
        part.closed_ns,
        coverage=max(coverages, default=None),
        length_mm=max(lengths, default=None),
        recipe=part.recipe or "",
        grade=_place(part.grade.name if part.grade else None, grades),
    )


def frame_signal(result: FrameResult, grades: Sequence[str]) -> PartSignal:
    """Return what the machine is told of a frame that has a verdict of its own."""
    coverages, lengths = _values([result])
    at_ns = result.captured_ns
    grade = _place(result.grade.name if result.grade else None, grades)
    return PartSignal(
        result.name,
        result.judgement.verdict,
        at_ns,
        at_ns,
        coverage=max(coverages, default=None),
        length_mm=max(lengths, default=None),
        recipe=result.recipe or "",
        grade=grade,
    )


def _values(frames: Sequence[FrameResult]) -> tuple[list[float], list[float]]:
    """Return the coverage of each frame that was measured, and the longest defect's length where all are known."""
    measured = [frame.measurement for frame in frames if frame.measurement is not None]
    lengths = [[defect.length_mm for defect in one.defects] for one in measured]
    known = [[length for length in row if length is not None] for row in lengths]
    whole = [row for row, all_of in zip(known, lengths, strict=True) if len(row) == len(all_of)]
    if len(whole) < len(measured):  # the longest may be one whose length is not known
        whole = []
    return [one.coverage for one in measured], [max(row, default=0.0) for row in whole]


def _place(name: str | None, grades: Sequence[str]) -> int:
    return grades.index(name) + 1 if name in grades else 0
