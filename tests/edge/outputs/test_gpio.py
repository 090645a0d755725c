"""Lines of the device: against a chip that stands in for the kernel's, and against the real package."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import gpiod
import pytest

from edge.outputs.addresses import address_of
from edge.outputs.gpio import GpioLines
from edge.outputs.link_settings import GpioSettings
from edge.outputs.modbus import Places
from edge.outputs.simulated_gpio import AskedLine, Direction, SimulatedChip, Value
from edge.records import Verdict
from edge.records.outputs import OutputLate, OutputRestored
from tests.brokers import wait_for
from tests.edge.outputs.linked import Linked
from tests.edge.outputs.machine_line import running, settings_of

PLACES = Places(
    {"bad": address_of("gpio", "line 17"), "stop": address_of("gpio", "line 18")},
    {"barrier": address_of("gpio", "line 22")},
    {},
)
UP, DOWN = Value.ACTIVE, Value.INACTIVE


def linked(vendor: Any) -> Linked:
    """Return lines with what they told."""
    return Linked(lambda heard: GpioLines(GpioSettings(retry_ms=100), PLACES, heard, vendor=vendor))


def test_outputs_begin_at_their_safe_levels_and_follow() -> None:
    """A line whose safe level is up never goes down at the start. The last levels are set before the lines go back."""
    chip = SimulatedChip()
    own = linked(chip)
    own.link.set({"bad": False, "stop": True})
    with own.link as link:
        wait_for(own.has(OutputRestored))
        link.set({"bad": True})
        wait_for(lambda: chip.levels[17] is UP)
        assert chip.taken == {17, 18, 22}
        link.set({"bad": False})
    assert chip.levels == {17: DOWN, 18: UP}
    assert [value for number, value in chip.seen if number == 18] == [UP]
    assert chip.taken == set()


def test_inputs_are_read() -> None:
    """A light barrier that is interrupted is seen."""
    chip = SimulatedChip()
    own = linked(chip)
    with own.link:
        wait_for(lambda: own.readings and own.readings[-1].values == {"barrier": 0})
        chip.switch(22, UP)
        wait_for(lambda: own.readings[-1].values == {"barrier": 1})


def test_a_line_that_another_has_is_told_and_had_later() -> None:
    """The message says what to look at; when it is free the levels are set."""
    chip = SimulatedChip(taken={18})
    own = linked(chip)
    with own.link as link:
        link.set({"bad": True})
        assert "busy" in own.why()
        chip.taken.clear()
        wait_for(own.has(OutputRestored))
        wait_for(lambda: chip.levels[17] is UP)


def test_a_chip_that_goes_and_comes_back() -> None:
    """Its loss and its return are told."""
    chip = SimulatedChip()
    own = linked(chip)
    with own.link:
        wait_for(own.has(OutputRestored))
        chip.plugged = False
        assert "No such device" in own.why()
        own.told.clear()
        chip.plugged = True
        wait_for(own.has(OutputRestored))


def test_a_late_pulse_is_not_switched() -> None:
    """It is told in its place."""
    chip = SimulatedChip()
    own = linked(chip)
    with own.link as link:
        wait_for(own.has(OutputRestored))
        link.set({"bad": True}, time.monotonic_ns() - 1)
        wait_for(own.has(OutputLate))
    assert (17, UP) not in chip.seen


def test_the_real_package_takes_what_is_asked() -> None:
    """It knows each name and value, and on a device without that chip it says so, which is told."""
    assert gpiod.LineSettings(direction=gpiod.line.Direction.OUTPUT, output_value=gpiod.line.Value.ACTIVE)
    for direction in Direction:
        assert gpiod.line.Direction[direction.name]
    assert {value.name: value.value for value in gpiod.line.Value} == {value.name: value.value for value in Value}
    assert set(AskedLine.__dataclass_fields__) <= set(gpiod.LineSettings.__dataclass_fields__)
    own = linked(gpiod)
    own.link._settings = GpioSettings(chip="/dev/gpiochip-none", retry_ms=100)
    with own.link:
        assert "No such file or directory" in own.why()


def test_the_stand_in_is_strict() -> None:
    """It refuses what the kernel refuses: a line too many, an input that is switched, lines that were given back."""
    chip = SimulatedChip(lines=4)
    with pytest.raises(OSError, match="Invalid argument"):
        chip.request_lines(chip.path, {(4,): AskedLine(Direction.INPUT)})
    with chip.request_lines(chip.path, {(1,): AskedLine(Direction.INPUT)}) as lines:
        with pytest.raises(OSError, match="not permitted"):
            lines.set_values({1: UP})
        with pytest.raises(ValueError, match="not asked for"):
            lines.get_values([2])
    with pytest.raises(ValueError, match="given back"):
        lines.get_values([1])


def test_a_station_takes_its_parts_from_one_line_and_tells_verdicts_on_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A light barrier opens a part and closes it. Its verdict is on a line of its own until the safe levels."""
    chip = SimulatedChip()
    monkeypatch.setitem(sys.modules, "gpiod", chip)
    monkeypatch.setitem(sys.modules, "gpiod.line", chip.line)
    lines = {Verdict.OK: 17, Verdict.NG: 18, Verdict.NO_READ: 19}
    settings = settings_of(
        tmp_path / "a.db",
        machine={"link": "gpio"},
        outputs={one.value: {"rule": one.value.lower(), "at": f"line {number}"} for one, number in lines.items()},
        inputs={"barrier": {"rule": "part", "at": "line 22", "debounce_ms": 5}},
        parts={"trigger": "machine", "timeout_ms": 60_000},
    )
    with running(settings, tmp_path / "a.db") as (opened, verdicts):
        wait_for(lambda: opened.machine.told()["safe"] == "")
        chip.switch(22, UP)
        wait_for(lambda: opened.decider.parts is not None and opened.decider.parts.open == 1)
        time.sleep(0.2)  # longer than the debouncing
        chip.switch(22, DOWN)
        wait_for(lambda: verdicts and chip.levels[lines[verdicts[0]]] is UP)
        assert [chip.levels[number] for number in lines.values()].count(UP) == 1
    assert {chip.levels[number] for number in lines.values()} == {DOWN}
