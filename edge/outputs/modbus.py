"""Places, numbers and pymodbus for both ends of Modbus TCP; pymodbus may not be installed."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge.errors import DependencyError
from edge.installing import how_to_install
from edge.outputs.addresses import Address
from edge.records.outputs import Level, Reading

# Requests of one table hold at most so many places; far below what the protocol allows.
MOST_AT_ONCE = 100
NUMBERS_TO = 65_535


@dataclass(frozen=True)
class Places:
    """The place of each signal. `words`: of inputs that are longer than one register, how long."""

    outputs: Mapping[str, Address]
    inputs: Mapping[str, Address]
    words: Mapping[str, int]

    def read(self) -> list[tuple[str, int, int]]:
        """Return the runs of neighbouring places that hold the inputs: table, first, count; bits before numbers."""
        wanted = sorted(
            {
                (not place.bit, place.table, place.number + k)
                for name, place in self.inputs.items()
                for k in range(self.words.get(name, 1))
            }
        )
        runs: list[tuple[str, int, int]] = []
        for _, table, number in wanted:
            if runs and runs[-1][0] == table and sum(runs[-1][1:]) == number and runs[-1][2] < MOST_AT_ONCE:
                runs[-1] = (table, runs[-1][1], runs[-1][2] + 1)
            else:
                runs.append((table, number, 1))
        return runs

    def reading(self, at_ns: int, held: Mapping[tuple[str, int], int]) -> Reading:
        """Return the inputs, from what each place holds. Of two words the first is the upper one."""
        values = {}
        for name, place in self.inputs.items():
            value = 0
            for k in range(self.words.get(name, 1)):
                value = value << 16 | held[place.table, place.number + k]
            values[name] = value
        return Reading(at_ns, values)


def runs_of(levels: Sequence[tuple[str, Level]], places: Mapping[str, Address]) -> Iterator[tuple[Address, list[int]]]:
    """Yield what is written at once: neighbouring places, in the order in which the machine is to see them."""
    first: Address | None = None
    values: list[int] = []
    for name, level in levels:
        place = places[name]
        joins = first is not None and (place.table, place.number) == (first.table, first.number + len(values))
        if not joins or len(values) >= MOST_AT_ONCE:
            if first is not None:
                yield first, values
            first, values = place, []
        values.append(number_of(place, level))
    if first is not None:
        yield first, values


def number_of(place: Address, level: Level) -> int:
    """Return what a place holds of a level: a coil holds whether a counter is odd."""
    return int(level) % 2 if place.bit else min(max(int(level), 0), NUMBERS_TO)


def vendor(module: str) -> Any:
    """Return a module of pymodbus, whose own log is silenced: what it tells is told here. Raises DependencyError."""
    try:
        found = importlib.import_module(f"pymodbus.{module}")
    except ImportError as error:
        raise DependencyError(
            f"Modbus needs the package pymodbus, which is not installed. {how_to_install('pymodbus', extra='modbus')}"
        ) from error
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    return found
