"""A line whose outbox is broken on purpose, or timed: what `linewatch run` does, with one part of it swapped."""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.app import run_line
from edge.bundle import load_bundle
from edge.outbox import AckPolicy, Outbox, Store
from edge.outbox.store import Caps
from edge.publishers.memory import MemoryPublisher
from edge.records import Message
from edge.settings import load_settings, require_bundle

HASTY, CARELESS, WAITING = "acknowledge-before-commit", "drop-no-consumer-rule", "wait-for-the-disk"
BREAKS = (HASTY, CARELESS, WAITING)
_LATE_S = 0.5


class _LateConnection:
    """A connection that says it has committed, and does so twice a second."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._committed_s = time.monotonic()

    def execute(self, statement: str, *given: Any) -> Any:
        """Do what is asked, but begin and commit only when it is time."""
        if statement == "BEGIN IMMEDIATE" and self._connection.in_transaction:
            return None
        if statement == "COMMIT":
            if time.monotonic() - self._committed_s < _LATE_S:
                return None
            self._committed_s = time.monotonic()
        return self._connection.execute(statement, *given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class HastyStore(Store):
    """Acknowledges a commit before it is made; an event not yet on disk is sent all the same."""

    def __init__(self, path: Path, caps: Caps, *, epoch: str | None = None, committed: int = 0) -> None:
        super().__init__(path, caps, epoch=epoch, committed=committed)
        late: Any = _LateConnection(self._writing)
        self._reading.close()
        self._writing = self._reading = late


class CarelessAckPolicy(AckPolicy):
    """Lets every message go that the broker acknowledged, also where nobody was there to get it."""

    def done(self, message: Message, reason_code: int) -> bool:  # noqa: ARG002 - that is the point
        """Tell that all is well."""
        return True


class TimedOutbox(Outbox):
    """Notes the time that publishing takes from each frame: (moment, monotonic s; duration, s).

    Publishing is all between the taking of an event's number and the acceptance of its messages. Their making is
    included, and so is waiting for the outbox. Deciding about alarms lies between two events and is not.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.took: list[tuple[float, float]] = []
        self._sum_s = 0.0
        self._began_s: float | None = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Add up what one frame costs."""
        began_s = time.perf_counter()
        with super().together():
            self._sum_s, self._began_s = time.perf_counter() - began_s, None
            yield
            took_s, ends_s = self._sum_s, time.perf_counter()
        self.took.append((time.monotonic(), took_s + time.perf_counter() - ends_s))

    def reserve(self) -> int:
        """Begin to time an event."""
        self._began_s = time.perf_counter()
        return super().reserve()

    def put(self, seq: int | None, *messages: Message, **also: Any) -> None:
        """End timing an event; what has no number is timed from here."""
        began_s = self._began_s or time.perf_counter()
        super().put(seq, *messages, **also)
        self._sum_s, self._began_s = self._sum_s + time.perf_counter() - began_s, None


class WaitingOutbox(TimedOutbox):
    """Waits until each frame's events are on the disk, as a queue without a writer of its own does."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Add up what one frame costs, the disk included."""
        with super().together():
            yield
        began_s = time.perf_counter()
        self.flush(10.0)
        at_s, took_s = self.took[-1]
        self.took[-1] = at_s, took_s + time.perf_counter() - began_s


def main() -> None:
    """Run a line until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--break", dest="broken", choices=BREAKS)
    parser.add_argument("--timed", type=Path, help="write there what publishing takes from each frame")
    parser.add_argument("--no-broker", action="store_true", help="publish to memory")
    given = parser.parse_args()
    settings = load_settings(given.config)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    path = settings.store.path
    timed = (WaitingOutbox if given.broken == WAITING else TimedOutbox)(path) if given.timed else None
    outbox = timed or (Outbox(path, kind=HastyStore) if given.broken == HASTY else None)
    ack_policy = CarelessAckPolicy() if given.broken == CARELESS else None
    publisher = MemoryPublisher() if given.no_broker else None
    bundle = load_bundle(require_bundle(settings, None))
    run_line(settings, bundle, stop, store=path, live=True, outbox=outbox, publisher=publisher, ack_policy=ack_policy)
    if timed:
        given.timed.write_text(json.dumps(timed.took), encoding="utf-8")


if __name__ == "__main__":
    main()
