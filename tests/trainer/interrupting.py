"""A training of its own process, interrupted as by Ctrl-C once it has come so far."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.brokers import wait_for
from tests.conftest import ROOT


def fit_interrupted(recipe: Path, data: Path, out: Path, *, log: Path, epochs: int) -> None:
    """Run `linewatch-train fit` and interrupt it when `log`, a log.csv, has so many epochs.

    It ends with exit code 130 and says how to go on. One that was done before the signal came is left as it is.
    """
    command = [sys.executable, "-m", "trainer", "fit", str(recipe), "--data", str(data), "--out", str(out)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        try:
            # its checkpoint is whole before the log's line is, so what is seen here can be resumed
            wait_for(lambda: process.poll() is not None or _epochs(log) >= epochs, 240)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    assert _epochs(log) >= epochs, stderr
    if process.returncode != 0:
        assert process.returncode == 130, stderr
        assert b"Traceback" not in stderr
        assert b"--resume" in stderr
        assert not (out / "manifest.json").exists()


def _epochs(log: Path) -> int:
    return len(log.read_text().splitlines()) - 1 if log.exists() else 0
