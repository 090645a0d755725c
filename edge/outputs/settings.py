"""The sections `machine`, `outputs` and `inputs` of the settings: the link to a machine, and what its signals mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.bundle import Name
from edge.outputs.addresses import Address, address_of
from edge.outputs.input_settings import BITS, InputRule
from edge.outputs.link_settings import GpioSettings, ModbusSettings, OpcUaSettings
from edge.records.outputs import Priority
from edge.yaml_settings import StrictModel

OutputKind = Literal[
    "ok",
    "ng",
    "no_read",
    "coverage",
    "length_mm",
    "grade",
    "result_counter",
    "pulse",
    "alarm",
    "heartbeat",
    "ready",
    "busy",
    "done",
    "part_id",
    "recipe",
    "state",
]
VERDICTS = ("ok", "ng", "no_read")
VALUES = ("coverage", "length_mm", "grade")
TEXTS = frozenset({"part_id", "recipe", "state"})
NUMBERS = frozenset({*VALUES, "result_counter"})
LinkKind = Literal["simulated", "modbus", "gpio", "opcua"]

MOST_SIGNALS = 200
UNKNOWN_VALUE = 65_535  # a register's content for an unknown value
_SCALES = {"coverage": 10_000.0, "length_mm": 10.0, "grade": 1.0}


class OutputRule(StrictModel):
    """One signal to the machine.

    `rule` is one of these:

    - ok, ng, no_read = the verdict of the last part, held until the next one;
    - coverage, length_mm, grade = its values;
    - result_counter = 1 more with each part, after its verdict and values;
    - pulse = a pulse for each part of one of `verdicts`;
    - alarm = one is shown, of `alarms` by id or of `priorities`;
    - heartbeat = 1 more every `every_ms`, while the loop moves;
    - ready = the next part can be judged; busy = a part is being judged;
    - done = the part of a handshake is decided, and the machine has not taken its trigger back.

    Texts, where the link takes them: part_id, recipe = of the last part; state = Preoperational, Halted, Ready or
    SingleExecution.

    `at`: where the signal is, as the link names places. `after_ms`, or `after_counts` of the encoder: from the opening
    or closing of the part (`since`) to the pulse, which lasts `width_ms`. `scale`: that a value is multiplied by.
    `safe`: the level at the start, at the end and after a change of recipe. A loop or link that stands still has it
    too.
    """

    rule: OutputKind
    at: Annotated[str, Field(min_length=1, max_length=200)]
    verdicts: Annotated[tuple[Literal["ok", "ng", "no_read"], ...], Field(max_length=3)] = ()
    since: Literal["opened", "closed"] = "opened"
    after_ms: Annotated[float, Field(ge=0, le=600_000)] | None = None
    after_counts: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    width_ms: Annotated[float, Field(ge=5, le=60_000)] | None = None
    alarms: Annotated[tuple[Name, ...], Field(max_length=100)] = ()
    priorities: Annotated[tuple[Priority, ...], Field(max_length=3)] = ()
    every_ms: Annotated[int, Field(ge=100, le=10_000)] = 500
    scale: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    safe: bool = False

    @model_validator(mode="after")
    def _keys_fit_the_rule(self) -> OutputRule:
        for key, fits in (
            ("verdicts", {"pulse"}),
            ("since", {"pulse"}),
            ("after_ms", {"pulse"}),
            ("after_counts", {"pulse"}),
            ("width_ms", {"pulse"}),
            ("alarms", {"alarm"}),
            ("priorities", {"alarm"}),
            ("every_ms", {"heartbeat"}),
            ("scale", set(VALUES)),
        ):
            if key in self.model_fields_set and self.rule not in fits:
                raise ValueError(f"expected no {key} for the rule {self.rule}")
        if self.safe and self.rule in {*NUMBERS, *TEXTS, "heartbeat"}:
            raise ValueError(f"expected no safe level for the rule {self.rule}, whose safe level is fixed")
        return self

    @model_validator(mode="after")
    def _a_pulse_is_whole(self) -> OutputRule:
        if self.rule == "alarm" and not (self.alarms or self.priorities):
            raise ValueError("expected alarms or priorities for the rule alarm, received neither")
        if self.rule != "pulse":
            return self
        if not self.verdicts:
            raise ValueError("expected verdicts for the rule pulse, received none")
        if self.width_ms is None:
            raise ValueError("expected width_ms for the rule pulse, received none")
        if (self.after_ms is None) == (self.after_counts is None):
            told = "neither" if self.after_ms is None else "both"
            raise ValueError(f"expected after_ms or after_counts for the rule pulse, received {told}")
        return self

    @property
    def scaled_by(self) -> float:
        """Tell what its value is multiplied by, for a register."""
        return _SCALES.get(self.rule, 1.0) if self.scale is None else self.scale


class MachineSettings(StrictModel):
    """The link to the machine. `tolerance_ms`: a pulse that is later than this is dropped, and told."""

    link: LinkKind
    modbus: ModbusSettings | None = None
    gpio: GpioSettings = GpioSettings()
    opcua: OpcUaSettings | None = None
    tolerance_ms: Annotated[float, Field(ge=1, le=1000)] = 5.0

    @model_validator(mode="after")
    def _the_link_has_its_settings(self) -> MachineSettings:
        if (self.link == "modbus") != (self.modbus is not None):
            raise ValueError("expected the key modbus for the link modbus, and for no other")
        if (self.link == "opcua") != (self.opcua is not None):
            raise ValueError("expected the key opcua for the link opcua, and for no other")
        if self.link != "gpio" and "gpio" in self.model_fields_set:
            raise ValueError("expected the key gpio for the link gpio, and for no other")
        return self

    @property
    def asks(self) -> bool:
        """Tell whether the station asks the machine, and not the machine the station."""
        return self.modbus is None or self.modbus.role == "client"


def check_signals(
    machine: MachineSettings | None, outputs: Mapping[str, OutputRule], inputs: Mapping[str, InputRule]
) -> None:
    """Refuse signals that cannot be. Raises ValueError with the key, what was expected and what was received."""
    if machine is None:
        if outputs or inputs:
            key = f"outputs.{next(iter(outputs))}" if outputs else f"inputs.{next(iter(inputs))}"
            raise ValueError(f"key machine: expected a link for {key}, received none")
        return
    taken: dict[tuple[str, int, str], str] = {}
    for name, out in outputs.items():
        place = _place(machine, f"outputs.{name}", out.at)
        if wrong := place.wrong_for_output(number=out.rule in NUMBERS, client=machine.asks):
            raise ValueError(f"key outputs.{name}.at: expected {wrong}, received {out.at!r} for {out.rule}")
        if out.rule in TEXTS and not place.takes_text:
            raise ValueError(f"key outputs.{name}.rule: expected a bit or a number for {out.at}, received {out.rule}")
        _take(taken, f"outputs.{name}", place, 1)
    for name, rule in inputs.items():
        place = _place(machine, f"inputs.{name}", rule.at)
        if wrong := place.wrong_for_input(number=rule.rule not in BITS, client=machine.asks):
            raise ValueError(f"key inputs.{name}.at: expected {wrong}, received {rule.at!r} for {rule.rule}")
        _take(taken, f"inputs.{name}", place, rule.words)
    _check_together(outputs, inputs)


def _place(machine: MachineSettings, key: str, at: str) -> Address:
    try:
        return address_of(machine.link, at)
    except ValueError as error:
        raise ValueError(f"key {key}.at: {error}") from error


def _take(taken: dict[tuple[str, int, str], str], key: str, place: Address, words: int) -> None:
    for k in range(words):
        here = (place.table, place.number + k, place.name)
        if here in taken:
            raise ValueError(
                f"key {key}.at: expected a place of its own, received {str(place)!r}, which is that of {taken[here]}"
            )
        taken[here] = key


def _check_together(outputs: Mapping[str, OutputRule], inputs: Mapping[str, InputRule]) -> None:
    kinds = [rule.rule for rule in inputs.values()]
    if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise ValueError(f"key inputs: expected one input of each rule, received two of {twice[0]}")
    for name, out in outputs.items():
        if out.after_counts is not None and "encoder" not in kinds:
            raise ValueError(
                f"key outputs.{name}.after_counts: expected an input of the rule encoder, received none. Add one, "
                "or set after_ms in its place"
            )
    if any(rule.mode == "handshake" for rule in inputs.values()):
        missing = {"ready", "busy", "done"} - {out.rule for out in outputs.values()}
        if missing:
            raise ValueError(
                f"key outputs: expected ready, busy and done for the mode handshake, received no {min(missing)}"
            )


def words_of(inputs: Mapping[str, InputRule]) -> dict[str, int]:
    """Return how many registers each input has."""
    return {name: rule.words for name, rule in inputs.items()}


def check_alarms(outputs: Mapping[str, OutputRule], known: frozenset[str]) -> None:
    """Refuse a signal for an alarm that the station has not. Raises ValueError."""
    for name, rule in outputs.items():
        if unknown := sorted(set(rule.alarms) - known):
            raise ValueError(f"key outputs.{name}.alarms: expected ids of alarms, received {unknown}")
