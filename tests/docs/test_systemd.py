from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

UNIT = ROOT / "systemd" / "linewatch.service"
UNITS = (UNIT, *(ROOT / "systemd" / f"linewatch-{name}.service" for name in ("dashboard", "backup")))


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    """Run systemd's own verifier; no systemd need be running."""
    command = ["systemd-analyze", "--man=no", "--recursive-errors=yes", "verify", str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_unit_is_valid(unit: Path) -> None:
    """Debian's systemd accepts every key and value of the unit."""
    result = verify(unit)
    assert result.returncode == 0, result.stderr


def test_the_backup_is_taken_every_night() -> None:
    """Debian's systemd accepts the timer, knows when it is due, and finds the unit of its name."""
    timer = ROOT / "systemd" / "linewatch-backup.timer"
    result = verify(timer)
    assert result.returncode == 0, result.stderr
    (when,) = [line.partition("=")[2] for line in timer.read_text().splitlines() if line.startswith("OnCalendar=")]
    due = subprocess.run(["systemd-analyze", "calendar", when], capture_output=True, text=True, check=False)
    assert "02:30:00" in due.stdout


@pytest.mark.parametrize(
    ("good", "bad"), [("WatchdogSec=60", "WatchdogSeconds=60"), ("ProtectHome=yes", "ProtectHome=perhaps")]
)
def test_the_verifier_would_notice(tmp_path: Path, good: str, bad: str) -> None:
    """A misspelt key or value is found, so that the test above can fail."""
    text = UNIT.read_text()
    assert good in text
    mutated = tmp_path / "linewatch.service"
    mutated.write_text(text.replace(good, bad))
    assert verify(mutated).returncode != 0


def test_a_path_in_a_model_leads_nowhere() -> None:
    """The line works in its own folder, reaches no other service's secrets, and a crash leaves nothing on disk."""
    lines = UNIT.read_text().splitlines()
    assert "WorkingDirectory=/var/lib/linewatch" in lines
    assert "StateDirectory=linewatch" in lines  # which is that folder
    assert "LimitCORE=0" in lines
    hidden = {path for line in lines if line.startswith("InaccessiblePaths=") for path in line.split("=")[1].split()}
    assert {"-/etc/shadow", "-/etc/ssh", "-/var/log", "-/run/docker.sock"} <= hidden
    assert all(path.startswith("-/") for path in hidden)  # absent ones keep no line from starting
    assert not any("linewatch" in path or path in {"-/etc", "-/opt", "-/var/lib"} for path in hidden)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_unit_is_hardened(unit: Path) -> None:
    """The exposure score that systemd gives stays at 2.0 or below."""
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", str(unit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-400:]
