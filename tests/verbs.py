"""The command `linewatch` in a process of its own, as a person starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def linewatch(*arguments: str | Path, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, whatever its exit code; no traceback may be told."""
    command = [sys.executable, "-m", "edge", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT)
    assert "Traceback" not in result.stderr, result.stderr
    return result
