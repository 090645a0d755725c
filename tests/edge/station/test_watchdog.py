from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge.station.watchdog import Heartbeats, Watchdog, notify


class Clock:
    """A clock that stands still until told."""

    now_ns = 0

    def __call__(self) -> int:
        """Tell the time in nanoseconds."""
        return self.now_ns


def listen(path: Path) -> socket.socket:
    """Stand in for systemd's end of the notify socket."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(path))
    listener.settimeout(5)
    return listener


def test_a_room_that_stands_still_is_named() -> None:
    """Only rooms that have not moved within the deadline are stalled."""
    clock = Clock()
    progress = Heartbeats(clock)
    camera_moved, _ = progress.mark("camera"), progress.mark("outbox")
    clock.now_ns = 9_000_000_000
    camera_moved()
    clock.now_ns = 11_000_000_000
    assert progress.stalled(10) == ["outbox"]


def test_the_watchdog_is_fed_only_while_every_room_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service manager hears WATCHDOG=1 until one room stalls, and then who it is instead."""
    with listen(tmp_path / "notify") as systemd:
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        clock = Clock()
        progress = Heartbeats(clock)
        progress.mark("inference")
        with Watchdog(progress):
            assert systemd.recv(99) == b"WATCHDOG=1"
            clock.now_ns = 1_000_000_000
            heard = {systemd.recv(99) for _ in range(3)}
    assert b"STATUS=stalled: inference" in heard


def test_without_systemd_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line started by hand has nobody to notify, and neither has one whose systemd is gone."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify("READY=1") is False
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert notify("READY=1") is False
