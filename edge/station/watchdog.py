"""Progress marks of the line's threads, and systemd's watchdog, which is fed only while every one of them moves."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from typing_extensions import Self


class Heartbeats:
    """The moments at which each room last moved, on the monotonic clock. A room is watched from its first mark on."""

    def __init__(self, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._monotonic_ns = monotonic_ns
        self._moved_ns: dict[str, int] = {}

    def mark(self, room: str) -> Callable[[], None]:
        """Start watching a room; it calls what is returned whenever it moves."""

        def moved() -> None:
            self._moved_ns[room] = self._monotonic_ns()

        moved()
        return moved

    def last_ns(self, room: str) -> int | None:
        """Return when a room last moved; None before its first mark."""
        return self._moved_ns.get(room)

    def stalled(self, deadline_s: float) -> list[str]:
        """Name the rooms that have not moved for longer than `deadline_s`."""
        now_ns = self._monotonic_ns()
        return sorted(room for room, at in self._moved_ns.items() if now_ns - at > deadline_s * 1e9)


def notify(text: str) -> bool:
    """Tell systemd, if it listens (sd_notify(3): one datagram to $NOTIFY_SOCKET, '@' for an abstract one)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        try:
            connection.connect("\0" + address[1:] if address.startswith("@") else address)
            connection.sendall(text.encode())
        except OSError:
            return False  # systemd is gone; the line goes on
    return True


class Watchdog:
    """Feeds systemd's watchdog at half its period while no room is stalled; silence makes systemd restart the line.

    The period comes from $WATCHDOG_USEC, as systemd sets it; without it, or where it is no number, nothing is sent.
    """

    def __init__(self, progress: Heartbeats) -> None:
        self._progress = progress
        told = os.environ.get("WATCHDOG_USEC", "")
        self._period_s = int(told) / 1e6 if told.isascii() and told.isdigit() else 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        if self._period_s:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._period_s:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s / 2):
            stalled = self._progress.stalled(self._period_s)
            if stalled:
                notify(f"STATUS=stalled: {', '.join(stalled)}")
            else:
                notify("WATCHDOG=1")
