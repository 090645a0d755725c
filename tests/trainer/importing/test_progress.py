"""An import in a terminal shows how far it is; a pipe and a log get plain lines."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.trainer.importing.pictures import save, surface

ESCAPE = b"\x1b"


def folders(folder: Path) -> list[str]:
    """Write a folder of two classes; return the command that imports it."""
    for place, name in enumerate(("dent", "scratch")):
        for number in range(20):
            save(folder / "sorted" / name / f"{number}.png", surface(20 * place + number, (32, 40)))
    words = [sys.executable, "-m", "trainer", "import", "class-folders", str(folder / "sorted"), "--out"]
    return [*words, str(folder / "out")]


def in_a_terminal(command: list[str]) -> tuple[int, bytes]:
    """Run with a terminal of 100 columns as its output; return the exit code and all that it drew."""
    master, slave = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "CI"}}
    environment |= {"TERM": "xterm-256color", "COLUMNS": "100", "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(
        command, stdout=slave, stderr=slave, stdin=subprocess.DEVNULL, env=environment, cwd=ROOT
    ) as ran:
        os.close(slave)
        drawn = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            drawn += part
        os.close(master)
        return ran.wait(timeout=240), drawn


def test_in_a_terminal_an_import_shows_its_progress(tmp_path: Path) -> None:
    """A bar that names what goes on, up to the whole; it is wiped away, and the summary stays."""
    code, drawn = in_a_terminal(folders(tmp_path))
    assert code == 0, drawn
    assert b"importing" in drawn
    assert b"100%" in drawn
    assert ESCAPE + b"[2K" in drawn  # a line is drawn over
    assert (tmp_path / "out" / "manifest.csv").is_file()
    assert b"importing" not in drawn[drawn.rindex(ESCAPE + b"[2K") :]


def test_a_pipe_gets_no_bar_and_no_escapes(tmp_path: Path) -> None:
    """The same import into a pipe: plain text, no line twice, nothing that only a terminal understands."""
    ran = subprocess.run(folders(tmp_path), capture_output=True, timeout=120, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    for told in (ran.stdout, ran.stderr):
        assert ESCAPE not in told
        assert b"\r" not in told
        assert b"100%" not in told
    assert b"40" in ran.stdout + ran.stderr
