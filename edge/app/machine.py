"""The parts between a station and the machine beside it: the link, the thread that sets signals, and what is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from edge.outputs.scheduler import OutputScheduler
from edge.outputs.simulated import SimulatedMachine
from edge.protocols import Observer, Output
from edge.recipes.loaded import LoadedRecipe
from edge.records.alarms import AlarmEvent
from edge.settings import Settings
from edge.station.alarm_service import AlarmService
from edge.station.decider import Decider
from edge.station.machine_desk import MachineDesk
from edge.station.recipe_desk import RecipeDesk
from edge.station.view import ViewNow
from edge.station.watchdog import Heartbeats


class Machine:
    """A station's machine; without a link in the settings it is nobody."""

    def __init__(self, desk: MachineDesk | None = None, scheduler: OutputScheduler | None = None) -> None:
        self._desk = desk
        self.scheduler = scheduler

    @property
    def observers(self) -> Sequence[Observer]:
        """Who watches the station for it."""
        return [] if self._desk is None else [self._desk]

    def opened(self, decider: Decider, recipes: RecipeDesk) -> None:
        """Know the station that it stands beside."""
        if self._desk is not None:
            self._desk.judging = lambda: _not_judging(decider, recipes)

    def in_force(self, recipe: LoadedRecipe) -> None:
        """Hear of the recipe in force."""
        if self._desk is not None:
            self._desk.in_force(recipe)

    def turn(self, decider: Decider, cameras: Sequence[ViewNow]) -> tuple[AlarmEvent, ...]:
        """Tell the machine how the station stands; return what signals do to the alarms."""
        if self._desk is None:
            return ()
        return self._desk.turn(cameras, decider.parts.open if decider.parts is not None else 0, decider.now_ns)


def _not_judging(decider: Decider, recipes: RecipeDesk) -> str | None:
    """Say why the station cannot judge the next part."""
    interventions = decider.recorder.interventions
    bypassed = interventions.bypassed(decider.now_ns) if interventions is not None else ""
    return bypassed or recipes.now.unread


def make_output(settings: Settings) -> Output:
    """Return the link of the settings, not yet opened."""
    assert settings.machine is not None  # noqa: S101 - asked where there is one
    return SimulatedMachine()


@contextmanager
def open_machine(
    settings: Settings, alarms: AlarmService, progress: Heartbeats, *, live: bool, output: Output | None = None
) -> Iterator[Machine]:
    """Open the link, and set the safe levels; set them again at the end. A replay switches nothing.

    `output` stands in for the settings' own link.
    """
    own = settings.machine
    if own is None or not live:
        yield Machine()
        return
    with ExitStack() as scope:
        link = scope.enter_context(output or make_output(settings))
        scheduler = OutputScheduler(
            link,
            settings.outputs,
            lambda: progress.last_ns("decider"),
            tolerance_ns=round(own.tolerance_ms * 1_000_000),
        )
        yield Machine(MachineDesk(scope.enter_context(scheduler), alarms), scheduler)
