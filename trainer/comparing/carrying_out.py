"""A run is carried out in a process of its own. One that fails, or eats all memory, leaves the others alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import yaml

from edge.files import write_text
from trainer.comparing.grid import Run
from trainer.comparing.one_run import FIGURES, RECIPE

FAILURE = "failed.txt"
STOPPED = "stopped.txt"  # of a run that was among the weakest
_LAST_WORDS = 2000
_STOP_S = 60.0


def is_done(folder: Path) -> bool:
    """Tell whether a run has its figures."""
    return (folder / FIGURES).is_file()


def prepare(run: Run, folder: Path) -> None:
    """Write the run's recipe into its folder, and forget how it ended before. Raises StoreError."""
    for ending in (FAILURE, STOPPED):
        (folder / ending).unlink(missing_ok=True)
    write_text(folder / RECIPE, yaml.safe_dump(run.recipe, sort_keys=False))


def command_of(run: Run, data: Path, folder: Path) -> list[str]:
    """Return the command that carries the run out."""
    fold = [] if run.fold is None else ["--fold", str(run.fold)]
    return [sys.executable, "-m", "trainer.comparing.one_run", str(folder), str(data), *fold]


def carry_out(run: Run, data: Path, folder: Path, lock: int | None) -> bool:
    """Carry a run out here; its last words are kept where it fails. Ctrl-C is handed on to it, and raised again.

    `lock`: the file descriptor that holds the comparison's folder, which the run's process holds as well.
    """
    prepare(run, folder)
    # in a session of its own a terminal's Ctrl-C does not reach it: a second one would end it within a step
    process = subprocess.Popen(  # noqa: S603 - this very program
        command_of(run, data, folder),
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=() if lock is None else (lock,),
        start_new_session=True,
    )
    try:
        _, stderr = process.communicate()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()  # its last whole epoch is kept
            process.communicate()
        raise
    return ended(folder, process.returncode, stderr)


def ended(folder: Path, code: int, stderr: str) -> bool:
    """Keep the last words of a run that failed; return whether it did not."""
    if code:
        how = f"exit code {code}" if code > 0 else f"ended by signal {-code}"
        write_text(folder / FAILURE, f"{how}\n{stderr[-_LAST_WORDS:]}")
    return code == 0


def why_failed(folder: Path) -> str:
    """Return a failed run's last words."""
    path = folder / FAILURE
    return path.read_text(encoding="utf-8") if path.is_file() else "it was not carried out"
