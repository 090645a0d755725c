"""A station sees the disk of its store, and a clock that is set."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edge.messages.writer import Stamp
from edge.station.device_watch import ClockJumps, DeviceWatch
from tests.brokers import wait_for

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
# by how much each clock goes on from one look to the next, s, and the jump that this is
STEPS = [
    (2.0, 2.0, 0.0),
    (2.0, 2.001, 0.0),  # NTP turns it by 0.5 ms in a second at most
    (2.0, 9.0, 0.0 - 7.0),  # the device was asleep, or the clock was put back
    (3602.0, 2.0, 3600.0),
    (-58.0, 2.0, -60.0),
    (2.4, 2.0, 0.0),
    (2.5, 2.0, 0.5),
]


def test_a_clock_that_is_set_is_told_of() -> None:
    """A jump is what the wall clock went on more than the other. Slow turning and a late look are none."""
    jumps, wall, mono_s = ClockJumps(), NOON, 100.0
    assert jumps.look(Stamp(wall, round(mono_s * 1e9), synced=True)) == 0.0
    told = 0
    for wall_s, steady_s, expected in STEPS:
        wall, mono_s = wall + timedelta(seconds=wall_s), mono_s + steady_s
        assert jumps.look(Stamp(wall, round(mono_s * 1e9), synced=True)) == pytest.approx(expected)
        told += expected != 0
        assert jumps.count == told
    assert (jumps.last_ns, jumps.last_s) == (round(mono_s * 1e9), pytest.approx(0.5))


def test_the_disk_is_that_of_the_store(tmp_path: Path) -> None:
    """Free bytes and size are those that the system tells, also of a store that is not there yet."""
    watch = DeviceWatch(tmp_path / "not" / "yet" / "outbox.db", every_s=0.01)
    assert watch.now is None
    with watch:
        wait_for(lambda: watch.now is not None)
    assert watch.now is not None
    disk = os.statvfs(tmp_path)
    assert watch.now.size_bytes == disk.f_blocks * disk.f_frsize
    assert watch.now.free_bytes == pytest.approx(disk.f_bavail * disk.f_frsize, abs=1e9)
