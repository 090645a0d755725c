"""A picture is as old as the clock that it shows, whatever it waited in on its way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edge.cameras.capture import CapturedCamera, CaptureLimits
from edge.cameras.opencv import OpenCvSource
from edge.cameras.stream_clock import StreamClock
from edge.records import CameraCondition, Frame
from edge.simulation.usb_device import SimulatedUsbDevice
from tests.bright_bundle import write_bright_bundle
from tests.conftest import ROOT
from tests.edge.cameras.clips import rtsp_server

SECOND = 1_000_000_000
LINE = Path(__file__).with_name("clock_line.py")


def test_a_picture_that_waited_was_captured_earlier() -> None:
    """Pictures each second, on their way for 0.2 s, the third 5 s more: its time of capture says so, ours does not."""
    clock = StreamClock()
    ages_s = []
    for number, waited_s in enumerate((0.2, 0.2, 5.2, 4.2, 0.2)):
        arrived_ns = round((100 + number + waited_s) * SECOND)
        clock.arrived(number * SECOND, arrived_ns)
        ages_s.append((arrived_ns - clock.captured_ns(number * SECOND, arrived_ns)) / SECOND)
    assert [round(age_s, 2) for age_s in ages_s] == [0, 0, 5, 4, 0]


@given(st.floats(-100e-6, 100e-6), st.integers(1, 60))
def test_clocks_that_drift_apart_are_no_backlog(drift: float, fps: int) -> None:
    """A quartz is wrong by 100 millionths at most; after a day no picture seems to be old by more than a moment."""
    clock = StreamClock()
    for second in range(0, 86_400, 600):
        for frame in range(3):
            now_ns = second * SECOND + frame * SECOND // fps
            media_ns = round(now_ns * (1 + drift))
            clock.arrived(media_ns, now_ns)
            assert now_ns - clock.captured_ns(media_ns, now_ns) < 0.07 * SECOND


def decided(process: subprocess.Popen[str], judged: int) -> list[dict[str, Any]]:
    """Read what the line decides until it has judged so many pictures."""
    assert process.stdout is not None
    rows: list[dict[str, Any]] = []
    while sum(row["verdict"] != "NO_READ" for row in rows) < judged:
        line = process.stdout.readline()
        assert line, f"the line ended after {rows}"
        rows.append(json.loads(line))
    return rows


def test_a_backlog_is_no_read_and_is_thrown_away(tmp_path: Path) -> None:
    """Whatever the line judges shows a clock of the last second; what waited while it was held is NO_READ.

    The line's process is held for 5 s with its connection open. What the camera sent meanwhile waits in buffers.
    """
    write_bright_bundle(tmp_path / "bundle")
    with rtsp_server(server="clock_server.py") as (_, port):
        command = [sys.executable, str(LINE), f"rtsp://127.0.0.1:{port}/line", str(tmp_path), "120"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as line:
            try:
                before = decided(line, 10)
                line.send_signal(signal.SIGSTOP)
                time.sleep(5)
                line.send_signal(signal.SIGCONT)
                after = decided(line, 30)
            finally:
                line.kill()
    judged = [row for row in before + after if row["verdict"] != "NO_READ"]
    # one second is allowed; encoder, server and this reading of the clock take their share on a busy machine
    assert max(row["shown_s"] for row in judged) < 2.5
    late = [row["reason"] for row in after if row["verdict"] == "NO_READ"]
    assert any("ms old" in reason for reason in late), late


def test_a_usb_camera_whose_pictures_waited_is_no_read() -> None:
    """The driver stamps each picture; one that is older than allowed by that stamp is not looked at."""
    device = SimulatedUsbDevice(fps_at_most=100)
    source = OpenCvSource("device", "stand-in", max_age_ms=500, opener=lambda _kind, _source: device)
    with CapturedCamera("c", lambda: source, live=True, limits=CaptureLimits(500)) as camera:
        items = []
        for waited_ms in (0.0, 2000.0, 0.0):
            device.buffered_ms = waited_ms
            time.sleep(0.1)
            camera.read(0)  # what was taken before
            items.append(camera.read(2))
    assert isinstance(items[0], Frame)
    assert not isinstance(items[1], Frame)
    assert items[1].condition is CameraCondition.UNREADABLE
    assert "2000 ms old by the source's own clock" in items[1].detail
    assert isinstance(items[2], Frame)
