"""`--halving`: the weakest runs end early, so that what they would have taken is there for the others.

Ray Tune's ASHA (Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", arXiv 1810.05934) decides. It
is told the mean Dice on each run's own validation pictures. It is told nothing of what a fold or the held-out pictures
say.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from edge.errors import DependencyError, SettingsError
from edge.files import write_text
from edge.installing import how_to_install
from trainer.comparing.carrying_out import STOPPED, is_done
from trainer.comparing.grid import Run
from trainer.comparing.one_run import BUNDLE
from trainer.comparing.tasks import TRIES_AGAIN, Work, begin_there, keep_reason, require_done
from trainer.recipe.settings import TrainSettings
from trainer.training.checkpointing import LOG, TRAINING
from trainer.training.final_training import first_part

_LOOK_S = 1.0
_REDUCTION = 3
_FIRST_RUNG = 9  # the weakest two thirds end after a ninth of the epochs, two thirds of the others after a third


def require_epochs(runs: Sequence[Run]) -> None:
    """Raise SettingsError where a run has no epochs between which it could be ended."""
    if learned := [run.name for run in runs if run.learns_from_good_parts]:
        raise SettingsError(
            f"--halving ends runs between epochs, and {learned[0]} learns from good parts in one pass. Leave it out"
        )


def epochs_of(run: Run) -> int:
    """Return how many epochs a run has in which validation pictures judge."""
    settings = run.settings
    return first_part(settings).epochs if isinstance(settings, TrainSettings) else 0


def carry_out_by_halving(work: Work, console: Console) -> None:
    """Let Ray Tune carry the runs out.

    Its ASHA ends the weakest early, by the mean Dice of their validation pictures. Raises DependencyError.
    """
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    # on Ctrl-C it would return, and runs that were never finished would count as the weakest
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    try:
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler
    except ImportError as error:
        raise DependencyError(
            f"--halving needs Ray Tune: {error}. {how_to_install('ray[data]', extra='ray')}"
        ) from error
    named = {run.name: run for run in work.runs}
    epochs = max(epochs_of(run) for run in work.runs)

    def trial(config: dict[str, Any]) -> None:
        report_epochs(named[config["run"]], work.data, work.out / config["run"], work.cpus)

    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": work.cpus, "gpu": work.gpus}),
        param_space={"run": tune.grid_search(list(named))},
        tune_config=tune.TuneConfig(
            # one epoch beyond the last: what has come so far is judged before it ends
            scheduler=ASHAScheduler(
                time_attr="epoch",
                metric="dice",
                mode="max",
                max_t=epochs + 1,
                grace_period=max(1, round(epochs / _FIRST_RUNG)),
                reduction_factor=_REDUCTION,
            ),
        ),
        run_config=tune.RunConfig(
            name="halving",
            storage_path=str(work.out / "ray"),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=TRIES_AGAIN),
        ),
    )
    for result in tuner.fit():
        run = named[result.config["run"]]
        folder = work.out / run.name
        if is_done(folder):
            words = "done"
        elif result.error is not None:
            keep_reason(folder, result.error)
            words = "failed twice"
        else:
            last = result.metrics
            words = f"stopped after epoch {last['epoch']} of {epochs_of(run)}, Dice {last['dice']:.3f}"
            write_text(folder / STOPPED, f"{words}: halving\n")
        console.print(f"{run.name}: {words}", markup=False)


def report_epochs(run: Run, data: Path, folder: Path, cpus: float) -> None:
    """Carry a run out within a trial of Ray Tune, and report each epoch's validation to it. Raises RunFailedError."""
    from ray import tune

    if is_done(folder):
        return
    log = folder / BUNDLE / TRAINING / LOG
    process = begin_there(run, data, folder, cpus)
    told = 0
    running = True
    while running:
        running = process.poll() is None
        for epoch, dice in validated(log)[told:]:
            tune.report({"epoch": epoch, "dice": dice})
            told = epoch
        if running:
            time.sleep(_LOOK_S)  # an epoch takes longer
    require_done(process, folder)


def validated(log: Path) -> list[tuple[int, float]]:
    """Return epoch and mean Dice on validation pictures of each whole line of a log.csv; none where there is none."""
    if not log.is_file():
        return []
    head, *lines = log.read_text(encoding="utf-8").splitlines(keepends=True) or [""]
    names = head.strip().split(",")
    rows = [dict(zip(names, line.strip().split(","), strict=False)) for line in lines if line.endswith("\n")]
    return [(int(row["epoch"]), float(row["dice"] or 0.0)) for row in rows if len(row) == len(names)]
