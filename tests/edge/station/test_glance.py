"""A person sees of a running line: in a terminal a panel, elsewhere one line a minute."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.station.glance import Glance, LastMinute, Minute, told
from tests.brokers import Mosquitto, free_port
from tests.conftest import ROOT

S = 1_000_000_000
BUNDLE = ROOT / "edge" / "bundles" / "simulated-glass"


def glance(at_s: float, ok: int = 0, ng: int = 0, no_read: int = 0, **how: object) -> Glance:
    """Return a glance at a line that is well."""
    given = {"dropped": 0, "age_ms": 41.0, "camera": "", "connected": True, "broker": "", "waiting": 0, "alarms": ()}
    counts = {"frames": ok + ng, "parts": None, "ok": ok, "ng": ng, "no_read": no_read}
    return Glance(at_ns=round(at_s * S), **counts, **{**given, **how})  # type: ignore[arg-type]


def test_a_minute_is_what_came_in_the_last_sixty_seconds() -> None:
    """8 frames a second for two minutes are 480 in the last one, whatever came before."""
    minutes = LastMinute()
    last = Minute(0, 0, 0, 0, 0)
    for second in range(121):
        last = minutes.of(glance(second, ok=8 * second, ng=second // 10))
    # (8 * 120 + 12) - (8 * 60 + 6) = 486 frames in 60 s
    assert last == Minute(60.0, 486 / 60, 480, 6, 0)
    assert last.verdicts_per_minute == 486


def test_before_a_minute_is_over_it_is_what_came_since_the_start() -> None:
    """The first glance knows no rate, and the second one does."""
    minutes = LastMinute()
    assert minutes.of(glance(5, ok=3)) == Minute(0.0, 0.0, 0, 0, 0)
    assert minutes.of(glance(7, ok=9)) == Minute(2.0, 3.0, 6, 0, 0)


def test_a_glance_is_one_line() -> None:
    """Rates, verdicts, the picture's age, the broker, what waits and what stands."""
    well = glance(60, ok=470, ng=8, no_read=2, alarms=(("scratched", "look"),))
    assert told(well, Minute(60.0, 7.97, 470, 8, 2)) == (
        "8.0 frames/s, 480 verdicts in 60 s: 470 OK, 8 NG, 2 NO_READ; picture 41 ms old; broker connected, 0 wait; "
        "alarms: scratched"
    )
    ill = glance(60, age_ms=None, camera="lost refused", connected=False, broker="no broker: refused", waiting=7)
    assert told(ill, Minute(60.0, 0.0, 0, 0, 60)) == (
        "0.0 frames/s, 60 verdicts in 60 s: 0 OK, 0 NG, 60 NO_READ; camera: lost refused; no picture; "
        "no broker: refused, 7 wait; alarms: none"
    )


def write_line(folder: Path, port: int, source: str = "simulated", max_age_ms: int = 120_000) -> Path:
    """Write the settings of a simulated line, or of another source."""
    (folder / "line.yaml").write_text(
        f"bundle: {BUNDLE}\n"
        f"camera: {{source: '{source}', name: top, simulated: {{fps: 5}}, max_age_ms: {max_age_ms}}}\n"
        f"store: {{path: outbox.db}}\nbroker: {{port: {port}}}\n"
    )
    return folder / "line.yaml"


def until(words: str, stream: int, seen: bytearray, timeout_s: float = 240) -> None:
    """Read a stream into `seen` until it has said these words."""
    ends_s = time.monotonic() + timeout_s
    while not re.search(words.encode(), seen):
        assert time.monotonic() < ends_s, seen.decode(errors="replace")[-3000:]
        if select.select([stream], [], [], 1)[0]:
            try:
                chunk = os.read(stream, 65536)
            except OSError:  # a terminal whose program has gone
                chunk = b""
            assert chunk, seen.decode(errors="replace")[-3000:]
            seen += chunk


def test_a_line_started_by_hand_shows_what_it_does(tmp_path: Path) -> None:
    """In a terminal: camera, model, engine, broker, frames a second, verdicts a minute, alarms."""
    ours, theirs = pty.openpty()
    with Mosquitto(tmp_path) as broker:
        command = [sys.executable, "-m", "edge", "run", str(write_line(tmp_path, broker.port))]
        environment = os.environ | {"COLUMNS": "150", "TERM": "xterm"}
        with subprocess.Popen(command, stderr=theirs, stdout=theirs, stdin=theirs, env=environment, cwd=ROOT) as line:
            os.close(theirs)
            seen = bytearray()
            try:
                until(r"connected", ours, seen)
                until(r"[1-9]\d* OK", ours, seen)
                line.send_signal(signal.SIGINT)
                until("stopped after", ours, seen)
            finally:
                line.kill()
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen.decode(errors="replace"))
    for words in (
        "top: simulated (simulated)",
        "simulated-glass 1.1.0: chip, scratch, stain",
        "onnxruntime, precision auto, 4 tiles at once",
        f"127.0.0.1:{broker.port}",
        "frames/s",
        "a minute:",
        "alarms",
        "none",
    ):
        assert words in text, words


def test_in_a_pipe_a_lost_camera_is_one_line_with_its_reason(tmp_path: Path) -> None:
    """Nothing is drawn. The log says once what the line is made of, and once why no frame comes, without the password.

    The alarm and the journal carry the same reason.
    """
    config = write_line(tmp_path, free_port(), f"rtsp://eye:hunter2@127.0.0.1:{free_port()}/1", 3000)
    command = [sys.executable, "-m", "edge", "run", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT) as line:
        assert line.stderr is not None
        seen = bytearray()
        try:
            until(r"Camera top: lost: .*\n", line.stderr.fileno(), seen)
            # three more results of the same
            time.sleep(3.5)
            line.send_signal(signal.SIGTERM)
            until("stopped after", line.stderr.fileno(), seen)
        finally:
            line.kill()
    text = seen.decode()
    assert text.count("Camera top: lost") == 1
    assert "refuses the connection" in text
    assert "model simulated-glass 1.1.0" in text
    assert "hunter2" not in text
    assert "\x1b" not in text
    asked = [sys.executable, "-m", "edge", "journal", str(config), "--alarm", "camera-lost", "--json"]
    journal = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "refuses the connection" in journal
    assert "hunter2" not in journal


def test_a_broker_that_goes_and_comes_back_is_told_with_each_reason(tmp_path: Path) -> None:
    """Gone, refusing, and there again: a line each, however often the line tries in between."""
    with Mosquitto(tmp_path) as broker:
        command = [sys.executable, "-m", "edge", "run", str(write_line(tmp_path, broker.port))]
        with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT) as line:
            assert line.stderr is not None
            seen = bytearray()
            try:
                until("frames are read", line.stderr.fileno(), seen)
                broker.stop()
                until("No broker: .*ended", line.stderr.fileno(), seen)
                until("No broker: .*refused", line.stderr.fileno(), seen)
                # while it tries again and again
                time.sleep(4)
                broker.start()
                until("The broker is there again", line.stderr.fileno(), seen)
                line.send_signal(signal.SIGTERM)
                until("stopped after", line.stderr.fileno(), seen)
            finally:
                line.kill()
    told = [text for text in seen.decode().splitlines() if "No broker: " in text]
    assert len([text for text in told if "more in" not in text]) <= 3, told


@pytest.mark.soak
def test_in_a_pipe_a_line_says_once_a_minute_how_it_stands(tmp_path: Path) -> None:
    """Two minutes and a half are two such lines, and nothing else repeats."""
    with Mosquitto(tmp_path) as broker:
        config = write_line(tmp_path, broker.port)
        config.write_text(
            config.read_text() + "alarms: [{id: rejects, measure: ng, text: look, out_of_service: true}]\n"
        )
        command = [sys.executable, "-m", "edge", "run", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as line:
            time.sleep(155)
            line.send_signal(signal.SIGTERM)
            _, stderr = line.communicate(timeout=120)
    assert line.returncode == 0, stderr
    minutes = [text for text in stderr.splitlines() if "frames/s" in text]
    assert len(minutes) == 2, stderr
    assert all(re.search(r"[\d.]+ frames/s, \d+ verdicts in 6\d s: .*broker connected", text) for text in minutes), (
        stderr
    )
