from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from edge.app import turns_of
from edge.engines.time_limit import TimeLimitedEngine
from edge.records import GraphContract
from edge.simulation.camera import SimulatedCamera
from edge.simulation.engine import SimulatedEngine
from edge.simulation.rendering import SimulatedLineSettings
from edge.station.view import View, ViewRules
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
    listener.settimeout(120)
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
            while systemd.recv(99) != b"STATUS=stalled: inference":
                pass


def test_without_systemd_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line started by hand has nobody to notify, and neither has one whose systemd is gone."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify("READY=1") is False
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert notify("READY=1") is False


@pytest.mark.parametrize("period", ["", "0", "abc", "-5", "1e3", "\u0661"])
def test_a_period_that_is_none_feeds_nobody(period: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thing that is handed on by mistake ends no line."""
    monkeypatch.setenv("WATCHDOG_USEC", period)
    with Watchdog(Heartbeats(Clock())):
        pass


def test_each_view_has_a_mark_of_its_own() -> None:
    """Of two views only the one that stands still is named: a good camera does not speak for a dead one."""
    clock = Clock()
    progress = Heartbeats(clock)
    views = [
        View(
            name,
            SimulatedCamera(name, SimulatedLineSettings(width=64, height=64, fps=0)),
            ViewRules(1000, live=True),
            alive=progress.mark(f"view {name}"),
        )
        for name in ("top", "side")
    ]
    clock.now_ns = 100_000_000_000
    views[0].turn()
    assert progress.stalled(60) == ["view side"]


def test_a_hung_engine_is_named_and_the_watchdog_starves() -> None:
    """The loop goes round while the engine hangs; systemd is to restart the line all the same."""
    clock = Clock()
    progress = Heartbeats(clock)
    engine = TimeLimitedEngine(
        SimulatedEngine(GraphContract(8, 8, 1, 1, 1, ("a",), 1), lambda *_: np.zeros((8, 8), np.uint8)), 1
    )
    moved = turns_of(progress, engine)
    clock.now_ns = 100_000_000_000
    moved()
    assert progress.stalled(60) == []
    engine._stuck_since_s = 1.0  # as after a batch that did not end
    clock.now_ns *= 2
    moved()
    assert progress.stalled(60) == ["engine"]
