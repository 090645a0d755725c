"""The parts between a station and the machine beside it: the link, the thread that sets signals, and what is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from edge.app.promptness import Promptness
from edge.commands.requests import Command, CommandOutcome
from edge.outputs.addresses import address_of
from edge.outputs.by_hand import barred
from edge.outputs.encoder import Encoder
from edge.outputs.gpio import GpioLines
from edge.outputs.input_settings import BITS, InputRule
from edge.outputs.inputs import Released, Triggered
from edge.outputs.link import Heard
from edge.outputs.modbus import Places
from edge.outputs.modbus_client import ModbusClient
from edge.outputs.modbus_server import ModbusServer
from edge.outputs.opcua_link import OpcUaClient, OpcUaServer
from edge.outputs.scheduler import OutputScheduler
from edge.outputs.settings import OutputRule, words_of
from edge.outputs.simulated import SimulatedMachine
from edge.parts.triggers import ToldTrigger, Trigger
from edge.protocols import Observer, Output
from edge.recipes.loaded import LoadedRecipe
from edge.records.alarms import AlarmEvent
from edge.settings import Settings
from edge.station.alarm_service import AlarmService
from edge.station.decider import Decider
from edge.station.hand_tests import HandTests
from edge.station.machine_desk import MachineDesk
from edge.station.machine_inputs import MachineInputs
from edge.station.recipe_desk import RecipeDesk
from edge.station.signal_reports import SignalReports
from edge.station.view import ViewNow
from edge.station.watchdog import Heartbeats


class Machine:
    """A station's machine; without a link in the settings it is nobody."""

    def __init__(
        self,
        desk: MachineDesk | None = None,
        by_hand: HandTests | None = None,
        told: Callable[[int], dict[str, Any]] | None = None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self._desk = desk
        self._by_hand = by_hand
        self._tell = told
        self._settle = settle
        self._decider: Decider | None = None
        self._reports: SignalReports | None = None

    @property
    def observers(self) -> Sequence[Observer]:
        """Tell who watches the station for it."""
        return [] if self._desk is None else [self._desk]

    def told(self, _asked: dict[str, Any] | None = None) -> dict[str, Any]:
        """Tell how the signals stand, in values that JSON holds; from any thread."""
        faults = 0 if self._decider is None else self._decider.counts.trigger_faults
        return {"link": None} if self._tell is None else self._tell(faults)

    def opened(self, decider: Decider, recipes: RecipeDesk, say: Callable[[dict[str, Any]], None]) -> None:
        """Know the station that it stands beside; `say` takes for the broker how the signals stand."""
        self._decider = decider
        decider.desk.add({"hand-test": self.hand_test})
        if self._desk is None or self._by_hand is None:
            return
        self._desk.judging = lambda: _bypassed(decider) or recipes.now.unread
        self._desk.obey = lambda command: decider.desk.give(command, decider.now_ns)
        self._by_hand.bypassed = lambda: _bypassed(decider)
        self._reports = SignalReports(self.told, say)
        decider.recorder.first = self._desk.first
        self._settle()

    def hand_test(self, command: Command, now_ns: int) -> tuple[CommandOutcome, str]:
        """Obey `cmd/hand-test`."""
        if self._by_hand is None:
            return "unknown_signal", "this station has no machine"
        return self._by_hand.obey(command, now_ns)

    def in_force(self, recipe: LoadedRecipe) -> None:
        """Hear of the recipe in force."""
        if self._desk is not None:
            self._desk.in_force(recipe)

    def turn(self, decider: Decider, cameras: Sequence[ViewNow]) -> tuple[AlarmEvent, ...]:
        """Tell the machine how the station stands; return what signals do to the alarms."""
        if self._desk is None or self._by_hand is None or self._reports is None:
            return ()
        open_parts = decider.parts.open if decider.parts is not None else 0
        self._by_hand.turn(open_parts)
        self._reports.turn()
        return self._desk.turn(cameras, open_parts, decider.now_ns)


def _bypassed(decider: Decider) -> str:
    """Say by whom and why inspection is out; or nothing."""
    interventions = decider.recorder.interventions
    return interventions.bypassed(decider.now_ns) if interventions is not None else ""


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
        by_hand = HandTests(scheduler, inputs, settings.outputs, settings.operators)
        desk = MachineDesk(scheduler, alarms, inputs)
        yield Machine(desk, by_hand, lambda faults: _told(settings, scheduler, inputs, by_hand, faults), prompt.settle)


def _told(
    settings: Settings, scheduler: OutputScheduler, inputs: MachineInputs, by_hand: HandTests, trigger_faults: int
) -> dict[str, Any]:
    levels, last, troubles = scheduler.levels, inputs.last, scheduler.troubles
    shown_ns, read_ns, now_ns = scheduler.since_ns, inputs.since_ns, time.monotonic_ns()
    test = scheduler.hand_test

    def age_s(at_ns: int | None) -> float | None:
        return None if at_ns is None else round(max(0, now_ns - at_ns) / 1e9, 1)

    return {
        "link": link_name(settings),
        "lost": troubles.lost,
        "safe": scheduler.safe,
        "late": troubles.late,
        "read_s_ago": age_s(None if last is None else last.at_ns),
        "counts": {**asdict(scheduler.counts), "trigger_faults": trigger_faults},
        "hand_test": {
            "refused": by_hand.refused,
            "signal": None if test is None else test.signal,
            "user": None if test is None else test.user,
            "left_s": None if test is None else round(max(0, test.until_ns - now_ns) / 1e9, 1),
        },
        "outputs": [
            {**_signal(name, rule), "level": levels[name], "since_s": age_s(shown_ns[name]), "barred": barred(rule)}
            for name, rule in settings.outputs.items()
        ],
        "inputs": [
            {
                **_signal(name, rule),
                "level": None if last is None else _read(rule, last.values[name]),
                "since_s": None if last is None else age_s(read_ns.get(name)),
            }
            for name, rule in settings.inputs.items()
        ],
    }


def _signal(name: str, rule: OutputRule | InputRule) -> dict[str, Any]:
    return {"signal": name, "rule": rule.rule, "at": rule.at}


def _read(rule: InputRule, value: int) -> bool | int:
    """Return what an input says: of a bit whether it is up at the link, whatever it means."""
    return bool(value) if rule.rule in BITS else value


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
