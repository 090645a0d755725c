"""`linewatch-train compare`: one recipe, varied along axes; every combination trained, judged and put in one table.

Each run is a process of its own, so that one that fails, or eats all memory, leaves the others alone. What is finished
is not done again: a grid that was killed goes on where it was.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import Field, ValidationError
from rich.console import Console
from rich.table import Table

from edge.bundle import Name
from edge.errors import LinewatchError, SettingsError, StoreError
from edge.files import write_text
from edge.wording import counted
from edge.yaml_settings import StrictModel
from trainer.recipe.settings import TrainSettings

SEED = "seed"
FIGURES = "figures.json"
FAILURE = "failed.txt"
LOCK = "grid.lock"
NOTHING = "(answering nothing)"
_LAST_WORDS = 2000
_STOP_S = 60.0


class GridSettings(StrictModel):
    """A grid: `recipe` is what all runs share, `vary` names axes, on each of them labels, and what each label changes.

    A change is merged into the recipe key by key. An axis called `seed` is averaged over in the table.
    """

    name: Name
    recipe: dict[str, Any]
    vary: Annotated[dict[Name, dict[Name, dict[str, Any]]], Field(min_length=1)]


@dataclass(frozen=True)
class Run:
    """One combination: its label on each axis, and its recipe as plain keys."""

    labels: tuple[tuple[str, str], ...]
    recipe: dict[str, Any]

    @property
    def name(self) -> str:
        """What its folder is called."""
        return "-".join(label for _, label in self.labels)


@dataclass(frozen=True)
class RunFigures:
    """What a run came to: `evaluate`'s report and the bundle's training figures, or why there is none."""

    run: Run
    report: dict[str, Any] | None
    training: dict[str, Any] | None
    failure: str


class GridFailedError(LinewatchError):
    """Some runs of a grid failed; the others are in the table."""

    exit_code = 1


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a change into a recipe: dictionaries key by key, everything else replaced.

    A change that names another `family` or `preset` replaces the whole dictionary around it: its other keys would
    belong to the former one.
    """
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and not {"family", "preset"} & set(value):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def runs_of(grid: GridSettings) -> list[Run]:
    """Return every combination, checked as a recipe before anything is trained. Raises SettingsError naming the run."""
    runs = []
    for labels in itertools.product(*([(axis, label) for label in choices] for axis, choices in grid.vary.items())):
        recipe: dict[str, Any] = {"name": grid.name, **grid.recipe}
        for axis, label in labels:
            recipe = merged(recipe, grid.vary[axis][label])
        run = Run(labels, recipe)
        try:
            TrainSettings.model_validate(recipe)
        except ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join(str(part) for part in wrong["loc"]) or "the recipe"
            raise SettingsError(
                f"The run {run.name} has no valid recipe, key {where}: {wrong['msg']}, received {wrong['input']!r:.50}."
                " Check `recipe` and what `vary` changes in it"
            ) from error
        runs.append(run)
    return runs


def compare(grid: GridSettings, data: Path, out: Path, console: Console) -> list[RunFigures]:
    """Train and judge every run into `out`/<run>, then write the table there.

    Raises SettingsError, StoreError where `out` holds another grid, and, after the last run, GridFailedError.
    """
    runs = runs_of(grid)
    _claim(out, grid, data)
    with _alone(out) as lock, _ended_by_sigterm():
        for place, run in enumerate(runs, start=1):
            told = f"[{place}/{len(runs)}] {run.name}"
            if (out / run.name / FIGURES).is_file():
                console.print(f"{told}: done before", markup=False)
                continue
            console.print(told, markup=False)
            _carry_out(run, data, out / run.name, lock)
    outcomes = [_outcome(run, out / run.name) for run in runs]
    write_text(out / "table.md", markdown(outcomes))
    write_text(out / "table.csv", _as_csv(outcomes))
    write_text(out / "table.json", json.dumps([_as_row(outcome) for outcome in outcomes], indent=1) + "\n")
    for part in tables(outcomes, console.width):
        console.print(part)
    failed = [outcome for outcome in outcomes if outcome.report is None]
    if failed:
        told = "; ".join(f"{outcome.run.name}: {outcome.failure.strip().splitlines()[-1]}" for outcome in failed)
        raise GridFailedError(
            f"{len(failed)} of {counted(len(outcomes), 'run')} failed ({told}). The others are in {out / 'table.md'}; "
            f"the same command tries these again, and {FAILURE} in their folders says what they printed"
        )
    return outcomes


def _claim(out: Path, grid: GridSettings, data: Path) -> None:
    noted = out / "grid.json"
    wanted = json.dumps({"grid": grid.model_dump(mode="json"), "data": str(data.resolve())}, indent=1) + "\n"
    if noted.is_file():
        if noted.read_text(encoding="utf-8") != wanted:
            raise StoreError(
                f"{out} holds another grid or one on other data. Name another folder, or give what it was begun with"
            )
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

    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody listen
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _carry_out(run: Run, data: Path, folder: Path, lock: int | None) -> None:
    recipe, bundle = folder / "recipe.yaml", folder / "bundle"
    (folder / FAILURE).unlink(missing_ok=True)
    write_text(recipe, yaml.safe_dump(run.recipe, sort_keys=False))
    if not (bundle / "manifest.json").is_file():
        resume = ["--resume"] if (bundle / "training" / "checkpoint.npz").is_file() else []
        words = ["fit", str(recipe), "--data", str(data), "--out", str(bundle), *resume]
        if not _ran(words, folder, lock):
            return
    _ran(["evaluate", str(bundle), str(data), "--json", str(folder / FIGURES)], folder, lock)


def _ran(words: Sequence[str], folder: Path, lock: int | None) -> bool:
    """Run one of the trainer's commands; its last words are kept where it fails. Ctrl-C is handed on to it."""
    command = [sys.executable, "-m", "trainer", *words]
    kept = () if lock is None else (lock,)
    # in a session of its own a terminal's Ctrl-C does not reach it: a second one would end it within a step
    process = subprocess.Popen(  # noqa: S603 - this very program
        command, stderr=subprocess.PIPE, text=True, pass_fds=kept, start_new_session=True
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
    if process.returncode:
        write_text(folder / FAILURE, f"exit code {process.returncode}\n{stderr[-_LAST_WORDS:]}")
    return bool(process.returncode == 0)


def _outcome(run: Run, folder: Path) -> RunFigures:
    figures, manifest, failure = folder / FIGURES, folder / "bundle" / "manifest.json", folder / FAILURE
    if not figures.is_file():
        why = failure.read_text(encoding="utf-8") if failure.is_file() else "it was not carried out"
        return RunFigures(run, None, None, why)
    training = json.loads(manifest.read_text(encoding="utf-8"))["training"]
    return RunFigures(run, json.loads(figures.read_text(encoding="utf-8")), training, "")


def _as_row(outcome: RunFigures) -> dict[str, Any]:
    """Flatten an outcome: labels, then the figures that the table shows; None where a run failed."""
    report, training = outcome.report or {}, outcome.training or {}
    missed, false = report.get("missed_pictures", {}), report.get("false_pictures", {})
    row: dict[str, Any] = dict(outcome.run.labels)
    row |= {"miou": report.get("miou"), "missed": missed.get("all"), "false": false.get("all")}
    row |= {f"iou {name}": value for name, value in report.get("iou", {}).items()}
    row |= {f"dice {name}": value for name, value in report.get("dice_nonempty", {}).items()}
    row["minutes"] = training["seconds"] / 60 if "seconds" in training else None
    row["failure"] = outcome.failure or None
    return row


def _figures(outcomes: Sequence[RunFigures]) -> list[str]:
    """Name the columns of figures, in the order of the first run that has them."""
    axes = {axis for outcome in outcomes for axis, _ in outcome.run.labels} | {"failure"}
    return list(dict.fromkeys(key for outcome in outcomes for key in _as_row(outcome) if key not in axes))


def _averaged(outcomes: Sequence[RunFigures]) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """Group runs that differ in the seed only: (labels, figures as text), mean ± standard deviation over seeds."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for outcome in outcomes:
        labels = tuple(label for axis, label in outcome.run.labels if axis != SEED)
        groups.setdefault(labels, []).append(_as_row(outcome))
    return [(labels, {key: _text(key, rows) for key in _figures(outcomes)}) for labels, rows in groups.items()]


def _with_empty(outcomes: Sequence[RunFigures]) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """Add to `_averaged` what answering nothing would have scored on the same pictures, as its last row."""
    rows = _averaged(outcomes)
    judged = [o.report["empty_baseline"] for o in outcomes if o.report and "empty_baseline" in o.report]
    if judged:
        each = [_as_row(RunFigures(Run((), {}), report, None, "")) for report in judged]
        nothing = [row for place, row in enumerate(each) if row not in each[:place]]  # runs share a split, mostly
        labels = (NOTHING, *[""] * len(outcomes[0].run.labels))[: len(_axes(outcomes))]
        rows.append((labels, {key: _text(key, nothing) for key in _figures(outcomes)}))
    return rows


def _text(key: str, rows: Sequence[Mapping[str, Any]]) -> str:
    values = [row[key] for row in rows if row.get(key) is not None]
    if not values:
        return "failed" if any(row["failure"] for row in rows) else "-"
    digits = 1 if key == "minutes" else 3
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    lacking = f" ({len(values)} of {len(rows)})" if len(values) < len(rows) else ""
    return f"{np.mean(values):.{digits}f}{spread}{lacking}"


def _axes(outcomes: Sequence[RunFigures]) -> list[str]:
    return [axis for axis, _ in outcomes[0].run.labels if axis != SEED]


def tables(outcomes: Sequence[RunFigures], width: int) -> list[Table]:
    """Lay the grid out for a terminal of `width` characters: a row per combination, seeds averaged.

    Figures that do not fit beside each other go on in a further table, so that none is cut.
    """
    axes, rows = _axes(outcomes), _with_empty(outcomes)
    of_labels = sum(_width([axis, *(labels[k] for labels, _ in rows)]) for k, axis in enumerate(axes)) + 1
    parts: list[list[str]] = []
    left = 0
    for key in _figures(outcomes):
        own = _width([key, *(figures[key] for _, figures in rows)])
        if own > left:
            parts.append([])
            left = width - of_labels
        parts[-1].append(key)
        left -= own
    made = []
    for part in parts:
        shown = Table()
        for column in (*axes, *part):
            shown.add_column(column, no_wrap=True)
        for labels, figures in rows:
            shown.add_row(*labels, *(figures[key] for key in part))
        made.append(shown)
    return made


def _width(cells: Sequence[str]) -> int:
    """Return the characters that a column takes, with a blank on either side and its line."""
    return max(len(cell) for cell in cells) + 3


def markdown(outcomes: Sequence[RunFigures]) -> str:
    """Lay the grid out as a Markdown table, as in a thesis."""
    head = [*_axes(outcomes), *_figures(outcomes)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join([*labels, *figures.values()])} |" for labels, figures in _with_empty(outcomes)]
    return "\n".join(lines) + "\n"


def _as_csv(outcomes: Sequence[RunFigures]) -> str:
    rows = [_as_row(outcome) for outcome in outcomes]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    written = io.StringIO()
    writer = csv.DictWriter(written, columns)
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()
