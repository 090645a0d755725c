"""A machine that is not there: it takes and remembers every signal. It ships with the product, for trials."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

from typing_extensions import Self

from edge.records.outputs import Level, OutputEvent, OutputLate, OutputLost, OutputRestored

_REMEMBERED = 100_000


@dataclass(frozen=True)
class Switched:
    """A signal as the machine saw it change."""

    at_ns: int
    signal: str
    level: Level


class SimulatedMachine:
    """Takes signals at once. `cut` and `join` break its connection and mend it; `slow_ns`: how long a signal takes."""

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns
        self._lock = threading.Lock()
        self._wanted: dict[str, Level] = {}
        self._events: list[OutputEvent] = []
        self._cut = False
        self.levels: dict[str, Level] = {}
        self.seen: deque[Switched] = deque(maxlen=_REMEMBERED)
        self.slow_ns = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the levels as they are: a machine keeps them too."""

    def set(self, levels: Mapping[str, Level], by_ns: int | None = None) -> None:
        """Take levels, in their order. Levels after `by_ns` are left out and told."""
        with self._lock:
            at_ns = self._monotonic_ns() + self.slow_ns
            if by_ns is not None and at_ns > by_ns:
                self._events += [OutputLate(at_ns, name, at_ns - by_ns, switched=False) for name in levels]
                return
            self._wanted |= levels
            if not self._cut:
                self._show(levels, at_ns)

    def events(self) -> tuple[OutputEvent, ...]:
        """Return what happened since last asked."""
        with self._lock:
            told, self._events = tuple(self._events), []
        return told

    def cut(self) -> None:
        """Break the connection: the machine keeps the levels that it has."""
        with self._lock:
            self._cut = True
            self._events.append(OutputLost(self._monotonic_ns(), "the simulated machine was cut off"))

    def join(self) -> None:
        """Mend the connection: the machine is told every level."""
        with self._lock:
            self._cut = False
            self._events.append(OutputRestored(self._monotonic_ns()))
            self._show(self._wanted, self._monotonic_ns())

    def _show(self, levels: Mapping[str, Level], at_ns: int) -> None:
        for name, level in levels.items():
            if self.levels.get(name) != level:
                self.levels[name] = level
                self.seen.append(Switched(at_ns, name, level))
