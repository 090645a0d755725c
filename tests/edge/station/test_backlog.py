"""What a line judges is new, by a clock that is drawn into the picture."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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
