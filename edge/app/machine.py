"""The parts between a station and the machine beside it: the link, the thread that sets signals, and what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from edge.app.promptness import Promptness
from edge.outputs.addresses import address_of
from edge.outputs.encoder import Encoder
from edge.outputs.gpio import GpioLines
from edge.outputs.inputs import Released, Triggered
from edge.outputs.link import Heard
from edge.outputs.modbus import Places
from edge.outputs.modbus_client import ModbusClient
from edge.outputs.modbus_server import ModbusServer
from edge.outputs.opcua_link import OpcUaClient, OpcUaServer
from edge.outputs.scheduler import OutputScheduler
from edge.outputs.settings import words_of
from edge.outputs.simulated import SimulatedMachine
from edge.parts.triggers import ToldTrigger, Trigger
from edge.protocols import Observer, Output
from edge.recipes.loaded import LoadedRecipe
from edge.records.alarms import AlarmEvent
from edge.settings import Settings
from edge.station.alarm_service import AlarmService
from edge.station.decider import Decider
from edge.station.machine_desk import MachineDesk
from edge.station.machine_inputs import MachineInputs
from edge.station.recipe_desk import RecipeDesk
from edge.station.view import ViewNow
from edge.station.watchdog import Heartbeats


class Machine:
    """A station's machine; without a link in the settings it is nobody."""

    def __init__(
        self,
        desk: MachineDesk | None = None,
        told: Callable[[], dict[str, Any]] | None = None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self._desk = desk
        self._told = told
        self._settle = settle

    @property
    def observers(self) -> Sequence[Observer]:
        """Who watches the station for it."""
        return [] if self._desk is None else [self._desk]

    def told(self, _asked: dict[str, Any] | None = None) -> dict[str, Any]:
        """Tell how the signals stand, in values that JSON holds; from any thread."""
        return {"link": None} if self._told is None else self._told()

    def opened(self, decider: Decider, recipes: RecipeDesk) -> None:
        """Know the station that it stands beside."""
        if self._desk is not None:
            self._desk.judging = lambda: _not_judging(decider, recipes)
            self._desk.obey = lambda command: decider.desk.give(command, decider.now_ns)
            decider.recorder.first = self._desk.first
        self._settle()

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


def places_of(settings: Settings) -> Places:
    """Return where each signal of the settings is."""
    assert settings.machine is not None  # noqa: S101 - asked where there is one
    link = settings.machine.link
    return Places(
        {name: address_of(link, rule.at) for name, rule in settings.outputs.items()},
        {name: address_of(link, rule.at) for name, rule in settings.inputs.items()},
        words_of(settings.inputs),
    )


def make_output(settings: Settings, heard: Heard = lambda _: None) -> Output:
    """Return the link of the settings, not yet opened. Raises DependencyError where its package is not installed."""
    own = settings.machine
    if own is not None and own.link == "gpio":
        return GpioLines(own.gpio, places_of(settings), heard)
    if own is not None and own.opcua is not None:
        link = OpcUaClient if own.opcua.role == "client" else OpcUaServer
        nodes_out = {name: (rule.at, rule.rule) for name, rule in settings.outputs.items()}
        nodes_in = {name: (rule.at, rule.rule) for name, rule in settings.inputs.items()}
        return link(own.opcua, nodes_out, nodes_in, heard)
    if own is None or own.modbus is None:
        return SimulatedMachine()
    make: Callable[..., Output] = ModbusClient if own.modbus.role == "client" else ModbusServer
    return make(own.modbus, places_of(settings), heard)


@contextmanager
def open_machine(
    settings: Settings,
    alarms: AlarmService,
    progress: Heartbeats,
    trigger: Trigger | None,
    *,
    live: bool,
    output: Output | None = None,
) -> Iterator[Machine]:
    """Open the link, and set the safe levels; set them again at the end. A replay switches nothing.

    `trigger`: the station's, which hears of parts where the settings say so. `output` stands in for the settings' link.
    """
    own = settings.machine
    if own is None or not live:
        yield Machine()
        return
    told = trigger if isinstance(trigger, ToldTrigger) and settings.parts.trigger == "machine" else None
    encoder = Encoder(16 * next((rule.words for rule in settings.inputs.values() if rule.rule == "encoder"), 1))

    def handshake(event: Triggered | Released | None) -> None:
        if event is None:
            scheduler.wake()
        else:
            scheduler.tell(event)

    inputs = MachineInputs(settings.inputs, told, encoder, handshake)
    link = output or make_output(settings, inputs.heard)
    scheduler = OutputScheduler(
        link,
        settings.outputs,
        lambda: progress.last_ns("decider"),
        tolerance_ns=round(own.tolerance_ms * 1_000_000),
        encoder=encoder,
        on_loss=inputs.lost,
    )
    with ExitStack() as scope:
        scope.enter_context(link)
        scope.enter_context(scheduler)
        prompt = scope.enter_context(Promptness())
        desk = MachineDesk(scheduler, alarms, inputs)
        yield Machine(desk, lambda: _told(settings, scheduler, inputs), prompt.settle)


def _told(settings: Settings, scheduler: OutputScheduler, inputs: MachineInputs) -> dict[str, Any]:
    levels, last, troubles = scheduler.levels, inputs.last, scheduler.troubles
    return {
        "link": link_name(settings),
        "lost": troubles.lost,
        "safe": scheduler.safe,
        "late": troubles.late,
        "counts": asdict(scheduler.counts),
        "outputs": [
            {"signal": name, "rule": rule.rule, "at": rule.at, "level": levels[name]}
            for name, rule in settings.outputs.items()
        ],
        "inputs": [
            {"signal": name, "rule": rule.rule, "at": rule.at, "level": None if last is None else last.values[name]}
            for name, rule in settings.inputs.items()
        ],
    }


def link_name(settings: Settings) -> str:
    """Name the link of the settings, for people."""
    own = settings.machine
    if own is not None and own.link == "gpio":
        return f"GPIO {own.gpio.chip}"
    if own is not None and own.opcua is not None:
        return f"OPC UA {own.opcua.role} {own.opcua.url}"
    if own is None or own.modbus is None:
        return "simulated"
    return f"Modbus {own.modbus.role} {own.modbus.host}:{own.modbus.port}, unit {own.modbus.unit}"
