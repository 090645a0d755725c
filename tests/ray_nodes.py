"""Nodes of a Ray cluster as people start them, each in processes of its own on loopback. A test ends its own alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import free_port
from tests.conftest import ROOT

LIMIT_S = 900
_STARTS = 5
_RAY = [sys.executable, "-m", "ray.scripts.scripts"]
_STORE = ["--num-cpus=1", f"--object-store-memory={100 * 2**20}", "--min-worker-port=0", "--max-worker-port=0"]
# Ray gives workers a niceness of 15: on a machine that does something else they would hardly come to their turn
_VARIABLES = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"}
# a process of a node sees nothing at a path, as on a machine that lacks it
_HIDING = ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"']


@contextmanager
def head(given: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a cluster's head; yield its address. `given`: variables that it has."""
    port = free_port()
    with _running([*_RAY, "start", "--head", f"--port={port}", "--include-dashboard=false", *_STORE], given):
        yield f"127.0.0.1:{port}"


@contextmanager
def node(address: str, hidden: Path | None = None, given: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a further node of a cluster. `hidden`: a folder that is empty there. `given`: variables that it has."""
    words = [*_RAY, "start", f"--address={address}", *_STORE]
    with _running(words if hidden is None else [*_HIDING, str(hidden), *words], given):
        yield


def can_hide(folder: Path) -> bool:
    """Tell whether this machine lets a process see another folder than others do."""
    return bool(shutil.which("unshare")) and not subprocess.run([*_HIDING, folder, "true"], check=False).returncode


@contextmanager
def _running(words: Sequence[str], given: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run `ray start`. Ray gives a node 30 s to start, which a busy machine may take, so it is started again."""
    for _ in range(_STARTS):
        with subprocess.Popen(
            [*words, "--block", "--disable-usage-stats"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env=os.environ | _VARIABLES | (given or {}),
            start_new_session=True,
        ) as started:
            assert started.stdout is not None
            if any("Ray runtime started" in line for line in started.stdout):
                try:
                    yield
                finally:
                    _kill(started)
                return
    pytest.fail("no node of Ray can be started here")


def _kill(started: subprocess.Popen[Any]) -> None:
    """Kill a process and all below it: asked to end, a node would wait for half a minute."""
    for process in (started.pid, *descendants(started.pid)):
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)
    started.wait(LIMIT_S)


def descendants(root: int, called: bytes = b"") -> list[int]:
    """Return the processes below `root` whose command line holds `called`."""
    parents: dict[int, int] = {}
    named = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError, IndexError):
                parents[int(entry.name)] = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
                named += [int(entry.name)] if called in (entry / "cmdline").read_bytes() else []
    return [process for process in named if process != root and _is_below(process, root, parents)]


def _is_below(process: int, root: int, parents: Mapping[int, int]) -> bool:
    while process in parents and process != root:
        process = parents[process]
    return process == root


def until(is_so: Callable[[], object], started: subprocess.Popen[Any] | None = None) -> None:
    """Wait until something is so, or a process has ended."""
    ends_s = time.monotonic() + LIMIT_S
    while not is_so() and (started is None or started.poll() is None):
        assert time.monotonic() < ends_s, "it never came to be so"
        time.sleep(0.02)  # asking all the time takes time from the run


def none_left(processes: Sequence[int]) -> bool:
    """Tell whether all of them have ended; one that nobody asked about yet has ended as well."""
    return not any(_lives(process) for process in processes)


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except (OSError, IndexError):
        return False


@contextmanager
def in_terminal(words: Sequence[str], cwd: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    """Start a command as a terminal does: a Ctrl-C reaches it and what it started (`ctrl_c`)."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(words, start_new_session=True, text=True, cwd=cwd, **pipes) as started:
        try:
            yield started
        finally:
            if started.poll() is None:
                _kill(started)


def ctrl_c(started: subprocess.Popen[Any]) -> None:
    """Do what a terminal does at Ctrl-C."""
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGINT)


def finished(words: Sequence[str], cwd: Path = ROOT) -> tuple[int, str]:
    """Run a command to its end; return its exit code and what it said, which is never a traceback."""
    with in_terminal(words, cwd) as started:
        return _ended(started)


def stopped(started: subprocess.Popen[str], how: str) -> tuple[int, str]:
    """Stop a command by `Ctrl-C once`, `Ctrl-C twice` or `SIGTERM`; return its exit code and what it said."""
    if how == "SIGTERM":
        started.send_signal(signal.SIGTERM)
    else:
        ctrl_c(started)
    if how == "Ctrl-C twice":
        with suppress(subprocess.TimeoutExpired):
            started.wait(0.5)
        ctrl_c(started)
    return _ended(started)


def _ended(started: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = started.communicate(timeout=LIMIT_S)
    assert "Traceback" not in said
    return started.returncode, said
