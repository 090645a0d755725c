"""A link to a machine with what it told, for tests of links."""

from __future__ import annotations

from collections.abc import Callable

from edge.outputs.link import Heard, Link
from edge.records.outputs import OutputEvent, OutputLost, Reading
from tests.brokers import wait_for


class Linked:
    """A link, its readings and its events. `make` is given the hearer of the readings."""

    def __init__(self, make: Callable[[Heard], Link]) -> None:
        self.readings: list[Reading] = []
        self.told: list[OutputEvent] = []
        self.link = make(self.readings.append)

    def has(self, kind: type[OutputEvent]) -> Callable[[], bool]:
        """Return what tells whether something of a kind was told."""

        def told() -> bool:
            self.told += self.link.events()
            return any(isinstance(event, kind) for event in self.told)

        return told

    def why(self) -> str:
        """Return why the machine is lost."""
        wait_for(self.has(OutputLost))
        return next(event.detail for event in self.told if isinstance(event, OutputLost))
