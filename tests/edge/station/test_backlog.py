"""A line judges new frames, by a clock that is drawn into the picture."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.bundle import write_manifest
from edge.preparing import Resize
from tests.bright_bundle import write_bright_bundle
from tests.conftest import ROOT
from tests.edge.cameras.clips import rtsp_server

LINE = Path(__file__).with_name("clock_line.py")


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
    """The line judges pictures whose clock is of the last second. One that waited while it was held is NO_READ.

    The line's process is held for 5 s with its connection open. Pictures of the camera meanwhile wait in buffers.
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
    # one second is allowed, and encoder, server and this reading of the clock take their share on a busy machine. The
    # oldest that waited is 5 s old
    assert max(row["shown_s"] for row in judged) < 4.0
    late = [row["reason"] for row in after if row["verdict"] == "NO_READ"]
    assert any("ms old" in reason for reason in late), late


@contextmanager
def held(process: subprocess.Popen[str], share: float) -> Iterator[None]:
    """Let a process run for so large a share of each tenth of a second only."""
    ended = threading.Event()

    def hold() -> None:
        while not ended.is_set():
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.1 * (1 - share))
            process.send_signal(signal.SIGCONT)
            ended.wait(0.1 * share)

    holding = threading.Thread(target=hold)
    holding.start()
    try:
        yield
    finally:
        ended.set()
        holding.join()


@pytest.mark.soak
def test_a_processor_that_cannot_keep_up_with_4k_judges_no_old_picture(tmp_path: Path) -> None:
    """A line with 40 % of the processor's time for 4K by RTSP judges what it can, and nothing too old.

    Its age is read off the clock that is drawn into the picture. A delay that all pictures have, of encoder and server,
    cannot be told by the line. It is that of the newest picture.
    """
    bundle = write_bright_bundle(tmp_path / "bundle")
    smaller = bundle.manifest.model_copy(update={"preparing": (Resize(width=320, height=180),)})
    write_manifest(bundle.path, smaller)
    with rtsp_server("0", "uhd", server="clock_server.py") as (_, port):
        command = [sys.executable, str(LINE), f"rtsp://127.0.0.1:{port}/line", str(tmp_path), "60"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as line:
            try:
                free = decided(line, 5)
                with held(line, 0.4):
                    assert line.stdout is not None
                    tight = [json.loads(row) for row in line.stdout]
            finally:
                line.kill()
    judged = [row for row in free + tight if row["verdict"] != "NO_READ"]
    delay_s = min(row["shown_s"] for row in judged)
    oldest_s = max(row["shown_s"] for row in judged) - delay_s
    assert len(tight) > 10
    # max_age_ms, and the time for which the process was held while it told
    assert oldest_s < 1.0 + 0.2, f"{len(judged)} judged, {len(tight)} decided while held"
