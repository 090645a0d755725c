"""`linewatch run`, `check` and `cameras` on Aravis's own fake GenICam camera: real processes, real GigE Vision."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.brokers import free_port
from tests.conftest import ROOT
from tests.edge.cameras.clips import fake_genicam

pytestmark = pytest.mark.genicam
LINEWATCH = [sys.executable, "-m", "edge"]


def written(folder: Path, port: int) -> Path:
    """Write the settings of a line with a GenICam camera and no broker."""
    settings = f"""
camera:
  name: top
  kind: genicam
  id: LW1
  max_age_ms: 20000
  device: {{fps: 5, roi_px: [0, 0, 320, 240], exposure_us: 5000, white_balance_k: auto}}
broker: {{port: {free_port()}}}
store: {{path: outbox.db}}
monitoring: {{port: {port}}}
"""
    path = folder / "line.yaml"
    path.write_text(settings, encoding="utf-8")
    return path


def until(port: int, holds: Callable[[dict[str, float]], bool], line: subprocess.Popen[str]) -> dict[str, float]:
    """Read the line's metrics until something holds of them."""
    seen: dict[str, float] = {}
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert line.poll() is None, "the line ended"
        with suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                text = answer.read().decode()
            rows = re.findall(r"^linewatch_(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
            seen = {name: float(value) for name, value in rows}
            if holds(seen):
                return seen
        time.sleep(0.2)
    pytest.fail(f"it never came to it: {seen}")


def test_the_page_shows_what_is_run_here() -> None:
    """docs/cameras.md has the settings, and the commands, of these tests."""
    page = (ROOT / "docs" / "cameras.md").read_text(encoding="utf-8")
    (block,) = (each for each in page.split("```sh\n")[1:] if each.startswith("arv-fake"))
    verbs = ("cameras", "check line.yaml --bundle demo", "run line.yaml --bundle demo")
    assert block.split("```")[0].splitlines() == [
        "arv-fake-gv-camera-0.8 -i 127.0.0.1 -s LW1",
        *(f"linewatch {verb}" for verb in verbs),
    ]
    assert "id: LW1, max_age_ms: 20000, device: {fps: 5, roi_px: [0, 0, 320, 240], exposure_us: 5000}" in page


def test_a_line_runs_on_a_genicam_camera_that_goes_and_comes_back(tmp_path: Path) -> None:
    """Its frames are judged; the alarm stands after its loss, and frames are judged again at its return."""
    frames, up = 'frames_total{camera="top"}', 'camera_up{camera="top"}'
    alarm = 'alarms_standing{priority="high"}'
    port = free_port()
    command = [*LINEWATCH, "run", str(written(tmp_path, port)), "--bundle", "demo"]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, cwd=ROOT, stderr=log, text=True) as line:
        try:
            with fake_genicam():
                first = until(port, lambda seen: seen.get(frames, 0) >= 3 and seen.get(up) == 1, line)
                assert first['camera_settings_differ{camera="top"}'] == 1
            until(port, lambda seen: seen.get(up) == 0 and seen.get(alarm, 0) >= 1, line)
            with fake_genicam():
                until(port, lambda seen: seen.get(up) == 1 and seen.get(frames, 0) > first[frames] + 3, line)
            line.send_signal(signal.SIGTERM)
            assert line.wait(60) == 0
        finally:
            line.kill()
    told = (tmp_path / "log").read_text()
    assert told.count("camera.device.white_balance_k: asked for auto") == 1


def test_check_shows_what_the_camera_did_not_take(tmp_path: Path) -> None:
    """The camera is tried, and a setting that it refuses is a warning with both values."""
    config = written(tmp_path, free_port())
    with fake_genicam():
        command = [*LINEWATCH, "check", str(config), "--bundle", "demo"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    told = " ".join(done.stdout.split())
    assert "camera: warning, top: 320 x 240 px" in told, told + done.stderr
    assert "camera.device.white_balance_k: asked for auto, the camera" in told


def test_cameras_lists_it_and_says_how_it_is_written() -> None:
    """The printed line is what the settings take."""
    with fake_genicam("21234567"):
        command = [*LINEWATCH, "cameras", "--json"]
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100)
            found = [row for row in json.loads(done.stdout) if row["kind"] == "genicam"]
            if found or time.monotonic() > deadline:
                break
    assert found == [
        {
            "kind": "genicam",
            "camera": "Aravis Fake, serial number 21234567",
            "place": "GigEVision 127.0.0.1",
            "settings": 'camera: {kind: genicam, id: "21234567"}',
        }
    ]
