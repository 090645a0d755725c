"""Runs as tasks of Ray, each a process of its own below its task.

So nothing that a run does harms Ray's worker. A task that fails, or whose node dies, is given to Ray once more
(`max_retries`). Its run goes on where it was. The comparison's folder and the dataset are files that every node sees by
the same path.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edge.clusters import undisturbed
from edge.errors import LinewatchError
from edge.files import write_text
from trainer.comparing.carrying_out import FAILURE, command_of, ended, is_done, prepare
from trainer.comparing.cluster import first_line
from trainer.comparing.grid import Run
from trainer.training.hardware import cores

SAID, COMPLAINED = "said.txt", "complained.txt"
TRIES_AGAIN = 1


@dataclass(frozen=True)
class Work:
    """Runs to be carried out on the dataset `data`, below the folder `out`, each with so many CPUs and GPUs."""

    runs: Sequence[Run]
    data: Path
    out: Path
    cpus: float
    gpus: float


class RunFailedError(LinewatchError):
    """A run that failed; its folder says why."""


def carry_out_in_tasks(ray: Any, work: Work, console: Console) -> None:
    """Let Ray carry the runs out; a run that fails twice is left with its reason."""
    how = {"num_cpus": work.cpus, "num_gpus": work.gpus, "max_retries": TRIES_AGAIN, "retry_exceptions": True}
    task = ray.remote(**how)(carry_out_there)
    waited = {task.remote(run, str(work.data), str(work.out / run.name), work.cpus): run for run in work.runs}
    number = 0
    try:
        while waited:
            (done,), _ = ray.wait(list(waited), num_returns=1)
            run = waited.pop(done)
            number += 1
            words = "done"
            try:
                ray.get(done)
            except ray.exceptions.RayError as error:
                keep_reason(work.out / run.name, error)
                words = "failed twice"
            console.print(f"[{number}/{len(work.runs)}] {run.name}: {words}", markup=False)
    except KeyboardInterrupt:
        with undisturbed():
            for reference in waited:
                with suppress(ray.exceptions.RayError):
                    ray.cancel(reference, force=True)
        raise


def keep_reason(folder: Path, error: BaseException) -> None:
    """Write down why a run has no figures, where it could not do so itself."""
    if not (folder / FAILURE).is_file():
        told = f"the process or the node that carried it out died, twice: {first_line(error)}\n"
        write_text(folder / FAILURE, told)


def carry_out_there(run: Run, data: str, folder: str, cpus: float) -> None:
    """Carry a run out on the node that this runs on. Raises RunFailedError, for which Ray tries again."""
    if is_done(Path(folder)):
        return
    process = begin_there(run, Path(data), Path(folder), cpus)
    process.wait()
    require_done(process, Path(folder))


def begin_there(run: Run, data: Path, folder: Path, cpus: float) -> subprocess.Popen[bytes]:
    """Begin a run's process, which ends with the one that began it: its standard input is closed then."""
    prepare(run, folder)
    given = os.environ | ({} if cpus >= cores() else _threads(max(1, int(cpus))))
    with (folder / SAID).open("wb") as said, (folder / COMPLAINED).open("wb") as complained:
        return subprocess.Popen(  # noqa: S603 - this very program
            [*command_of(run, data, folder), "--with-parent"],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=complained,
            env=given,
            start_new_session=True,
        )


def _threads(count: int) -> dict[str, str]:
    """Say to TensorFlow and to what it calls how many threads are theirs."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys(names, str(count))


def require_done(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Raise RunFailedError, with its last words, where a run's process did not end well."""
    if not ended(folder, process.returncode, (folder / COMPLAINED).read_text(encoding="utf-8", errors="replace")):
        raise RunFailedError((folder / FAILURE).read_text(encoding="utf-8"))
