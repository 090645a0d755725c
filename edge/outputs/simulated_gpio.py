"""A chip that is not there, at the border of the package gpiod: as strict as the kernel is. For tests and trials."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace, TracebackType
from typing import Any

from typing_extensions import Self


class Direction(Enum):
    """The direction of a line: it is read or switched."""

    AS_IS = 1
    INPUT = 2
    OUTPUT = 3


class Value(Enum):
    """The level of a line."""

    INACTIVE = 0
    ACTIVE = 1


@dataclass(frozen=True)
class AskedLine:
    """A line as it is asked for."""

    direction: Direction = Direction.AS_IS
    output_value: Value = Value.INACTIVE


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@dataclass
class SimulatedChip:
    """A chip of so many lines at `path`. It stands in for the package: `line`, `LineSettings`, `request_lines`.

    `plugged`: whether it is there. `taken`: lines that another program has. `seen`: each switching of a line.
    """

    path: str = "/dev/gpiochip0"
    lines: int = 32
    plugged: bool = True
    taken: set[int] = field(default_factory=set)
    levels: dict[int, Value] = field(default_factory=dict)
    seen: list[tuple[int, Value]] = field(default_factory=list)

    line = SimpleNamespace(Direction=Direction, Value=Value)
    LineSettings = AskedLine

    def __post_init__(self) -> None:
        self.lock = threading.Lock()

    def request_lines(
        self, path: str, config: Mapping[tuple[int, ...], AskedLine], consumer: str | None = None
    ) -> SimulatedLines:
        """Give the lines out, or raise what the kernel would."""
        del consumer
        if path != self.path or not self.plugged:
            raise _error(errno.ENOENT)
        asked = {number: settings for numbers, settings in config.items() for number in numbers}
        if any(not 0 <= number < self.lines for number in asked):
            raise _error(errno.EINVAL)
        with self.lock:
            if self.taken & set(asked):
                raise _error(errno.EBUSY)
            self.taken |= set(asked)
            for number, settings in asked.items():
                if settings.direction is Direction.OUTPUT:
                    self._switch(number, settings.output_value)
        return SimulatedLines(self, asked)

    def switch(self, number: int, value: Value) -> None:
        """Switch a line from outside, as a light barrier does, or from within."""
        with self.lock:
            self._switch(number, value)

    def _switch(self, number: int, value: Value) -> None:
        if self.levels.get(number) is not value:
            self.levels[number] = value
            self.seen.append((number, value))


class SimulatedLines:
    """Lines that were given out, until they are given back."""

    def __init__(self, chip: SimulatedChip, asked: Mapping[int, AskedLine]) -> None:
        self._chip = chip
        self._asked = dict(asked)
        self._released = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released = True
        self._chip.taken -= set(self._asked)

    def set_values(self, values: Mapping[int, Value]) -> None:
        """Switch lines that are outputs."""
        self._check(values)
        for number, value in values.items():
            if self._asked[number].direction is not Direction.OUTPUT:
                raise _error(errno.EPERM)
            self._chip.switch(number, Value(value))

    def get_values(self, lines: Iterable[int]) -> list[Value]:
        """Return the levels of lines."""
        numbers = list(lines)
        self._check(numbers)
        return [self._chip.levels.get(number, Value.INACTIVE) for number in numbers]

    def _check(self, numbers: Any) -> None:
        if self._released:
            raise ValueError("the lines were given back")
        if not set(numbers) <= set(self._asked):
            raise ValueError("a line that was not asked for")
        if not self._chip.plugged:
            raise _error(errno.ENODEV)
