"""Signals at moments at which nobody waits for them: while Python imports a command, while a line starts or ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib

from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.conftest import ROOT
from tests.edge.station.test_run import bodies, status, write_line

# It stands before the true one on the path, and takes as long as a slow device.
SENDS_WHILE_IMPORTED = """
import importlib, os, signal, sys, time
os.kill(os.getpid(), signal.NUMBER)
time.sleep(SECONDS)
del sys.modules[__name__]
sys.path.remove(os.path.dirname(__file__))
sys.modules[__name__] = importlib.import_module(__name__)
"""
COMMANDS = {"linewatch": "--help", "linewatch-train": "--help", "convert": "--help"}


def sending(folder: Path, number: signal.Signals, seconds: float = 0) -> dict[str, str]:
    """Return an environment in which each command gets a signal while it imports typer, and goes on after `seconds`."""
    first = folder / "first"
    first.mkdir()
    text = SENDS_WHILE_IMPORTED.replace("NUMBER", number.name).replace("SECONDS", str(seconds))
    (first / "typer.py").write_text(text)
    return os.environ | {"PYTHONPATH": str(first)}


def entry(name: str) -> list[str]:
    """Return the start of a command as its installed script starts it."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    module, function = scripts[name].split(":")
    return [sys.executable, "-c", f"import sys; from {module} import {function}; sys.exit({function}())"]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_ctrl_c_while_python_imports_a_command_is_no_traceback(tmp_path: Path, name: str) -> None:
    """Each command ends at once by 130 and says `interrupted`."""
    done = subprocess.run(
        [*entry(name), COMMANDS[name]],
        env=sending(tmp_path, signal.SIGINT, 600),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_hangup_while_python_imports_ends_what_is_no_line(tmp_path: Path) -> None:
    """A verb whose terminal has gone ends by SIGHUP as ever, though only once it is imported."""
    done = subprocess.run(
        [*entry("linewatch"), "version"],
        env=sending(tmp_path, signal.SIGHUP),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGHUP, "", "")


def test_a_hangup_at_any_moment_of_a_line_ends_it_at_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGHUP while the command is imported, while the line starts and while it stops: it inspects, and ends by 0."""
    for name, told in sending(tmp_path, signal.SIGHUP).items():
        monkeypatch.setenv(name, told)
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as desk:
        config = write_line(tmp_path, broker.port)
        command = [sys.executable, "-m", "edge", "run", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as line:
            wait_for(lambda: "starting" in status(desk))
            line.send_signal(signal.SIGHUP)
            wait_for(lambda: len(bodies(desk, "event/result")) >= 2)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGHUP):
                line.send_signal(number)
            _, stderr = line.communicate(timeout=120)
        assert (line.returncode, "Traceback" in stderr) == (0, False), stderr
        wait_for(lambda: status(desk)[-1] == "offline")
        assert bodies(desk, "status")[-1]["reason"] == "stopped"


PRINTS_AND_IS_INTERRUPTED = """
from edge.starting import begin
def main():
    print("a row")
    raise KeyboardInterrupt
begin(lambda: main)
"""


def test_what_was_printed_before_a_ctrl_c_reaches_a_pipe() -> None:
    """A command that is interrupted ends by 130, says so, and keeps the rows that it had printed."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", PRINTS_AND_IS_INTERRUPTED]
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert (told.returncode, told.stdout, told.stderr) == (130, "a row\n", "interrupted\n")
