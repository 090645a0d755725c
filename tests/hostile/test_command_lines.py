"""Every verb that reads settings, given what are none: our own error, its exit code, and no traceback."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest
from typer.testing import CliRunner

from edge.cli.commands import app
from edge.errors import LinewatchError
from tests.conftest import ROOT
from tests.hostile.test_running_stores import BY_MODE

# The arguments of each verb; CONFIG is the one that hurts. A verb that is not here is missed by the first test.
WORDS = {
    "run": ["CONFIG"],
    "replay": ["pictures", "--config", "CONFIG", "--events", "events.jsonl"],
    "record": ["CONFIG", "--frames", "1", "--out", "recording"],
    "check": ["CONFIG"],
    "learn-belt": ["CONFIG", "camera", "--out", "belt.npz"],
    "learn-quality": ["CONFIG", "camera", "--out", "quality.npz"],
    "zones": ["CONFIG", "--draw", "zones.png"],
    "calibrate": ["CONFIG", "camera", "--target", "chessboard:9x6:10mm"],
    "inspect": ["pictures", "--config", "CONFIG", "--bundle", "demo", "--report", "report.html"],
    "reinspect": ["pictures", "--config", "CONFIG", "--bundle", "demo", "--out", "results"],
    "alarms": ["CONFIG"],
    "ack": ["CONFIG", "camera-lost"],
    "reset": ["CONFIG", "camera-lost"],
    "shelve": ["CONFIG", "camera-lost", "--for", "1h"],
    "unshelve": ["CONFIG", "camera-lost"],
    "challenge": ["CONFIG"],
    "bypass": ["CONFIG", "--on", "--reason", "lens", "--minutes", "5"],
    "reset-counters": ["CONFIG"],
    "journal": ["CONFIG"],
    "evidence": ["CONFIG", "list"],
    "backup": ["CONFIG", "backup.zip"],
    "recipe": ["CONFIG"],
    "reload": ["CONFIG"],
    "report": ["CONFIG"],
    "status": ["CONFIG"],
    "signals": ["CONFIG", "--once"],
    "outputs": ["CONFIG", "test", "--yes"],
    "bench-engine": ["demo", "--config", "CONFIG", "--batch", "1"],
    "watch": ["CONFIG", "--once"],
    "dashboard": ["CONFIG", "--port", "0"],
    "dashboard-user": ["CONFIG", "list"],
}
# `restore` writes its settings: what stands there is kept, and the backup is what could hurt (tests/edge/backup).
NOT_READ = {"restore"}


def written(content: bytes) -> Callable[[Path], object]:
    """Return what writes a file."""
    return lambda path: path.write_bytes(content)


BAD: dict[str, Callable[[Path], object]] = {
    "absent": lambda _: None,
    "a folder": Path.mkdir,
    "a pipe to which nobody writes": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a device without anything": lambda path: path.symlink_to("/dev/null"),
    "no UTF-8": written(b"\xff\xfe\x00a"),
    "zero bytes": written(b"camera: {source: simulated}\n\x00"),
    "3 GB": lambda path: (path.touch(), os.truncate(path, 3_000_000_000)),
    "brackets without end": written(b"[" * 100_000),
    "aliases without end": written(b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (ord("b") + n, ord("b") + n, *[ord("a") + n] * 8)
        for n in range(9)
    )),
    "an alias in itself": written(b"camera: &c {source: *c}\n"),
    "a key twice": written(b"camera: {source: simulated}\ncamera: {source: simulated}\n"),
    "a number of 50,000 digits": written(b"camera: {source: simulated, max_age_ms: 0x" + b"f" * 50_000 + b"}\n"),
    "a number in base 60": written(b"camera: {source: simulated, max_age_ms: !!float " + b"1:" * 400 + b"1}\n"),
    "not a number": written(b"camera: {source: simulated, max_age_ms: .nan}\n"),
    "infinity": written(b"camera: {source: simulated, max_age_ms: 1e400}\n"),
    "an object of Python": written(b"camera: !!python/object/apply:os.system ['false']\n"),
    "a list": written(b"- camera\n"),
    "a number": written(b"42\n"),
    "two documents": written(b"camera: {source: simulated}\n---\ncamera: {source: simulated}\n"),
    "a zero byte in a path": written(b'camera: {source: simulated}\nstore: {path: "a\\0b"}\n'),
    "half a pair in a path": written(b'camera: {source: simulated}\nstore: {path: "\\ud800"}\n'),
    "a dashboard's path with a zero byte": written(b'sites: [acme]\nusers: "a\\0b"\n'),
    "escapes in a key": written(b'"\\e[2J\\nerror: forged": 1\n'),
}  # fmt: skip


def test_each_verb_that_reads_settings_is_here() -> None:
    """A new verb is tried as the others are."""
    reads = {
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback is not None and "config" in inspect.signature(command.callback).parameters
    }
    assert reads - NOT_READ == set(WORDS)


@pytest.mark.parametrize("bad", BAD)
def test_no_verb_takes_what_are_no_settings(bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ends at once in an error of ours, in lines that steer no terminal, and writes nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    BAD[bad](tmp_path / "line.yaml")
    before = sorted(tmp_path.rglob("*"))
    for verb, words in WORDS.items():
        given = [verb, *("line.yaml" if word == "CONFIG" else word for word in words)]
        error = CliRunner().invoke(app, given, standalone_mode=False).exception
        assert isinstance(error, LinewatchError), f"{verb}: {error!r}"
        assert error.exit_code == 3, f"{verb}: {error}"
        assert all(line.isprintable() for line in str(error).split("\n")), verb
        assert "\nerror: forged" not in str(error)
        assert len(str(error)) < 12_000
    assert sorted(tmp_path.rglob("*")) == before


def test_settings_that_this_user_may_not_read_are_told_as_such(tmp_path: Path) -> None:
    """Exit code 3 with the reason, and not that of a wrong command line: no verb leaves it to the parser."""
    for callback in filter(None, (command.callback for command in app.registered_commands)):
        told = get_type_hints(callback, include_extras=True).get("config")
        assert told is None or not told.__metadata__[0].readable, callback
    (tmp_path / "line.yaml").write_text("camera: {source: simulated}\n")
    (tmp_path / "line.yaml").chmod(0)
    command = [*BY_MODE, sys.executable, "-m", "edge", "status", str(tmp_path / "line.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert done.returncode == 3, done.stderr
    assert "line.yaml cannot be read: Permission denied. Expected a file that this user may read" in done.stderr


# Streams that a shell, a container or a service manager may hand on, and what is still told.
ENVIRONMENTS = {
    "a zone of more than a day": ({"TZ": "XXX-24:59:59"}, "error: The time zone TZ=XXX-24:59:59 cannot be used"),
    "a zone of four days": ({"TZ": "XXX99:99"}, "cannot be used: it is a day or more from UTC"),
    "a zone that is none": ({"TZ": "Foo/Bar"}, "error: No settings at absent.yaml"),
    "no width": ({"COLUMNS": "0", "LINES": "0"}, "error: No settings at absent.yaml"),
    "a width of nothing": ({"COLUMNS": "-5"}, "error: No settings at absent.yaml"),
    "ASCII alone": ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "error: No settings at absent"),
    "no home": ({"HOME": "/nonexistent"}, "error: No settings at absent.yaml"),
}


@pytest.mark.parametrize(("environment", "says"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_an_odd_environment_silences_no_error(environment: dict[str, str], says: str) -> None:
    """The fault is told in a line, with 3, and never as a traceback."""
    command = [sys.executable, "-m", "edge", "status", "absent.yaml"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT, env=os.environ | environment
    )
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
    assert says in done.stderr
