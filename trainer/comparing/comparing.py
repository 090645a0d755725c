"""`linewatch-train compare`: every run trained, judged and put in one table.

A finished run is not done again: a comparison that was killed goes on where it was.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from edge.errors import LinewatchError, StoreError
from edge.files import write_text
from edge.wording import counted
from trainer.comparing import folds_tables
from trainer.comparing.carrying_out import FAILURE, STOPPED, carry_out, is_done
from trainer.comparing.folds import FOLDS, Folds, draw_folds, keep_folds, seed_of_folds
from trainer.comparing.folds_summary import Labels, by_recipe, summarised
from trainer.comparing.grid import GridSettings, Run, in_folds, runs_of
from trainer.comparing.on_ray import RayWish, carry_out_on_ray
from trainer.comparing.one_run import RECIPE
from trainer.comparing.rows import RunFigures, as_row, figures_of
from trainer.comparing.tables import as_csv, markdown, tables
from trainer.datasets.dataset import read_judged

LOCK = "grid.lock"
TABLE = "table.md"


class GridFailedError(LinewatchError):
    """Some runs of a grid failed; the others are in the table."""

    exit_code = 1


class InterruptedComparisonError(LinewatchError):
    """Ctrl-C or SIGTERM: what is finished is kept, and the last whole epoch of the run that was interrupted."""

    exit_code = 130


@dataclass(frozen=True)
class Comparison:
    """The runs of a comparison of recipes on the dataset folder `data`, in the folder `out`."""

    runs: Sequence[Run]
    data: Path
    out: Path
    folds: Folds | None = None


def compare(
    grid: GridSettings,
    data: Path,
    out: Path,
    console: Console,
    *,
    folds: int | None = None,
    wish: RayWish | None = None,
) -> list[RunFigures]:
    """Train and judge every run into `out`/<run>, then write the tables there. `folds`: each run once for each fold.

    `wish`: let Ray carry them out; else they come one after another, here. Raises SettingsError, DatasetError,
    DependencyError, StoreError where `out` holds another grid, InterruptedComparisonError, and, after the last run,
    GridFailedError.
    """
    comparison = begin(grid, data, out, folds)
    with _alone(out) as lock, _ended_by_sigterm():
        if wish is not None:
            todo = [run for run in comparison.runs if not _is_over(out / run.name, wish)]
            done = len(comparison.runs) - len(todo)
            if done:
                console.print(f"{done} of {counted(len(comparison.runs), 'run')} done before")
            if todo:
                carry_out_on_ray(todo, data, out, wish, console)
            return finish(comparison, console)
        _one_by_one(comparison, lock, console)
    return finish(comparison, console)


def _one_by_one(comparison: Comparison, lock: int | None, console: Console) -> None:
    """Carry out here what is not done. Each run is followed by how long the others will take, and the table so far.

    Raises InterruptedComparisonError.
    """
    runs, out, took_s = comparison.runs, comparison.out, list[float]()
    for place, run in enumerate(runs, start=1):
        told = f"[{place}/{len(runs)}] {run.name}"
        if is_done(out / run.name):
            console.print(f"{told}: done before", markup=False)
            continue
        console.print(told, markup=False)
        began_s = time.monotonic()
        try:
            done = carry_out(run, comparison.data, out / run.name, lock)
        except KeyboardInterrupt as error:
            count = _write_table_so_far(comparison)
            table = f", and {out / TABLE} tells of what is done" if count else ""
            raise InterruptedComparisonError(
                f"Interrupted in the run {run.name}; {count} of {counted(len(runs), 'run')} done. The same command "
                f"goes on where it was{table}"
            ) from error
        took_s.append(time.monotonic() - began_s)
        left = sum(not is_done(out / each.name) for each in runs[place:])
        console.print(f"{told}: {after_a_run(took_s, left, failed=not done)}", markup=False)
        if left:
            _write_table_so_far(comparison)


def after_a_run(took_s: Sequence[float], left: int, *, failed: bool = False) -> str:
    """Say how long a run took, the last of `took_s` (seconds), and how long those that are left will take."""
    minutes = np.array(took_s) / 60
    told = f"failed after {minutes[-1]:.1f} min, see {FAILURE} in its folder" if failed else f"{minutes[-1]:.1f} min"
    if not left:
        return told
    return f"{told}; {counted(left, 'run')} left, about {left * minutes.mean():.0f} min at this pace"


def _write_table_so_far(comparison: Comparison) -> int:
    """Write table.md of the runs that have figures, and count them; no file for programs, which are of the whole."""
    out = comparison.out
    outcomes = [figures_of(run, out / run.name) for run in comparison.runs if is_done(out / run.name)]
    if not outcomes:
        return 0
    if comparison.folds is None:
        page = markdown(outcomes)
    else:
        summary = {labels: summarised(runs, out) for labels, runs in by_recipe(outcomes).items()}
        page = folds_tables.markdown(comparison.folds, outcomes, _with_nothing(summary, outcomes, out))
    so_far = f"So far: {len(outcomes)} of {counted(len(comparison.runs), 'run')}. The same command goes on.\n\n"
    write_text(out / TABLE, so_far + page)
    return len(outcomes)


def _is_over(folder: Path, wish: RayWish) -> bool:
    return is_done(folder) or (wish.halving and (folder / STOPPED).is_file())


def begin(grid: GridSettings, data: Path, out: Path, folds: int | None) -> Comparison:
    """Take the folder, and draw the folds. Raises SettingsError, DatasetError, StoreError."""
    runs = runs_of(grid)
    if folds is None:
        _claim(out, grid, data, None)
        return Comparison(runs, data, out)
    entries = read_judged(data)[0]
    seed = seed_of_folds(grid)
    runs_of_folds = in_folds(runs, folds, seed)
    drawn = draw_folds(entries, runs, folds, seed)
    _claim(out, grid, data, {"count": folds, "seed": seed})
    keep_folds(out / FOLDS, drawn, entries)
    return Comparison(runs_of_folds, data, out, drawn)


def finish(comparison: Comparison, console: Console) -> list[RunFigures]:
    """Write the tables, and print them. Raises StoreError, and GridFailedError where runs failed."""
    out = comparison.out
    outcomes = [figures_of(run, out / run.name) for run in comparison.runs]
    write_text(out / "table.csv", as_csv(outcomes))
    write_text(out / "table.json", json.dumps([as_row(outcome) for outcome in outcomes], indent=1) + "\n")
    if comparison.folds is None:
        write_text(out / TABLE, markdown(outcomes))
        shown = tables(outcomes, console.width)
    else:
        shown = _by_folds(comparison.folds, outcomes, out, console)
    for part in shown:
        console.print(part)
    failed = [outcome for outcome in outcomes if outcome.report is None and not outcome.stopped]
    if failed:
        told = "; ".join(f"{outcome.run.name}: {outcome.failure.strip().splitlines()[-1]}" for outcome in failed)
        raise GridFailedError(
            f"{len(failed)} of {counted(len(outcomes), 'run')} failed ({told}). The others are in {out / TABLE}; "
            f"the same command tries these again, and {FAILURE} in their folders says what they printed"
        )
    return outcomes


def _by_folds(folds: Folds, outcomes: Sequence[RunFigures], out: Path, console: Console) -> list[Any]:
    summary = {labels: summarised(runs, out) for labels, runs in by_recipe(outcomes).items()}
    names = {labels: [run.run.name for run in runs] for labels, runs in by_recipe(outcomes).items()}
    kept = [{"recipe": list(labels), "names": names[labels], **own} for labels, own in summary.items()]
    write_text(out / "summary.json", json.dumps(kept, indent=1) + "\n")
    shown = _with_nothing(summary, outcomes, out)
    write_text(out / TABLE, folds_tables.markdown(folds, outcomes, shown))
    console.print(folds_tables.in_words(folds))
    return folds_tables.tables(outcomes, shown, console.width)


def _with_nothing(
    summary: dict[Labels, dict[str, Any]], outcomes: Sequence[RunFigures], out: Path
) -> dict[Labels, dict[str, Any]]:
    """Add what answering nothing would have scored, as if it were a recipe."""
    nothing = folds_tables.answering_nothing(outcomes)
    return summary | {labels: summarised(runs, out) for labels, runs in by_recipe(nothing).items()}


def _claim(out: Path, grid: GridSettings, data: Path, folds: dict[str, int] | None) -> None:
    noted = out / "grid.json"
    told = {"grid": grid.model_dump(mode="json"), "data": str(data.resolve())} | ({"folds": folds} if folds else {})
    wanted = json.dumps(told, indent=1) + "\n"
    if noted.is_file():
        if noted.read_text(encoding="utf-8") == wanted:
            return
        if any(out.glob(f"*/{RECIPE}")):
            raise StoreError(
                f"{out} holds another grid, or one on other data or in other folds. Name another folder, or give what "
                "it was begun with"
            )
        with _alone(out):  # a start that began no run, such as one with a mistyped address
            (out / FOLDS).unlink(missing_ok=True)
            write_text(noted, wanted)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} is not empty and holds no grid. Name another folder")
    write_text(noted, wanted)


@contextmanager
def _alone(out: Path) -> Iterator[int | None]:
    """Hold the grid's folder; the file descriptor is for those who work on it. Raises StoreError if it is held already.

    A training goes on where its grid was killed outright: it holds the folder until it has ended.
    """
    try:
        import fcntl
    except ImportError:  # a system that has no such locks
        yield None
        return
    with (out / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"{out} is being worked on: another compare runs there, or a training of one that was killed. Wait "
                "until it has ended, or end it; what is finished is kept"
            ) from error
        yield file.fileno()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, which is what `kill` sends, end a grid as Ctrl-C does: with the training that it runs."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # Python lets nobody listen here
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
