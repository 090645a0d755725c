"""Lines of this device's own GPIO, switched and read through the kernel by libgpiod, in a thread of its own."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from edge.errors import DependencyError
from edge.installing import how_to_install
from edge.outputs.link import Heard, Link
from edge.outputs.link_settings import GpioSettings
from edge.outputs.modbus import Places
from edge.records.outputs import Level, OutputRestored, Reading


def gpiod() -> Any:
    """Return the package gpiod, of version 2. Raises DependencyError where it is not installed, or is older."""
    try:
        found = importlib.import_module("gpiod")
        importlib.import_module("gpiod.line")
    except ImportError as error:
        raise DependencyError(
            f"GPIO needs the package gpiod, version 2 or later, which is not installed. "
            f"{how_to_install('gpiod', extra='gpio')}"
        ) from error
    return found


class GpioLines(Link):
    """Outputs and inputs on lines of one chip. `heard` is told of each reading of the inputs, in this link's thread.

    A chip that is absent, a line that another program has, and a missing right are told as events. It is tried again
    without end. `vendor` stands in for the package gpiod.
    """

    def __init__(
        self,
        settings: GpioSettings,
        places: Places,
        heard: Heard = lambda _: None,
        *,
        vendor: Any = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__("gpio", heard, monotonic_ns)
        self._settings = settings
        self._outputs = {name: place.number for name, place in places.outputs.items()}
        self._inputs = {name: place.number for name, place in places.inputs.items()}
        self._vendor = vendor or gpiod()
        self._shown |= dict.fromkeys(self._outputs, False)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._serve()
            except OSError as error:
                told = (
                    f"GPIO {self._settings.chip}: {error.strerror or error}. Expected lines that are free and allowed "
                    "to this user: check machine.gpio.chip, the rights of its file, and who else has them (gpioinfo)"
                )
                self._lost(told)
            if not self._stop.is_set():
                self._stop.wait(self._settings.retry_ms / 1000)

    def _serve(self) -> None:
        self._fold()
        with self._request() as lines:
            self._read(lines)
            self._happened.append(OutputRestored(self._monotonic_ns()))
            while True:
                stops = self._stop.is_set()
                for levels, by_ns in self._pending.take():
                    self._batch(lines, levels, by_ns)
                if stops:
                    return
                self._read(lines)
                self._pending.some.wait(self._settings.poll_ms / 1000)

    def _request(self) -> Any:
        """Ask the kernel for the lines; the outputs begin at their present levels, without a glitch."""
        line, config = self._vendor.line, {}
        for name, number in self._outputs.items():
            config[number,] = self._vendor.LineSettings(
                direction=line.Direction.OUTPUT, output_value=self._value(self._shown[name])
            )
        for number in self._inputs.values():
            config[number,] = self._vendor.LineSettings(direction=line.Direction.INPUT)
        return self._vendor.request_lines(self._settings.chip, consumer="linewatch", config=config)

    def _batch(self, lines: Any, levels: Mapping[str, Level], by_ns: int | None) -> None:
        if self._late(levels, by_ns, switched=False):
            return
        self._show(levels)
        for name, level in levels.items():  # one by one: the machine sees them in this order
            lines.set_values({self._outputs[name]: self._value(level)})
        self._late(levels, by_ns, switched=True)

    def _read(self, lines: Any) -> None:
        if not self._inputs:
            return
        at_ns, active = self._monotonic_ns(), self._vendor.line.Value.ACTIVE
        values = lines.get_values(list(self._inputs.values()))
        read = {name: int(value == active) for name, value in zip(self._inputs, values, strict=True)}
        self._heard(Reading(at_ns, read))

    def _value(self, level: Level) -> Any:
        values = self._vendor.line.Value
        return values.ACTIVE if int(level) % 2 else values.INACTIVE
