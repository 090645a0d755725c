"""A training of its own process, interrupted as by Ctrl-C once it has come so far."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT

_POLL_S = 0.005  # an epoch of these small trainings takes some tenths of a second


def fit_interrupted(recipe: Path, data: Path, out: Path, *, log: Path, epochs: int) -> None:
    """Run `linewatch-train fit` and interrupt it when `log`, a log.csv, has so many epochs.

    It ends with exit code 130 and says how to go on; one that was done before the signal came is left as it is.
    """
    command = [sys.executable, "-m", "trainer", "fit", str(recipe), "--data", str(data), "--out", str(out)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        deadline_s = time.monotonic() + 90
        # its checkpoint is whole before the log's line is, so what is seen here can be resumed
        while not (log.exists() and len(log.read_text().splitlines()) > epochs):
            assert time.monotonic() < deadline_s
            assert process.poll() is None
            time.sleep(_POLL_S)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
    if process.returncode != 0:
        assert process.returncode == 130, stderr
        assert b"Traceback" not in stderr
        assert b"--resume" in stderr
        assert not (out / "manifest.json").exists()
