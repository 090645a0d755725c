"""One run in a process of its own: fit, or go on with a fit that was stopped, then judge, and write the figures.

`python -m trainer.comparing.one_run FOLDER DATA`: the folder holds recipe.yaml; the bundle and figures.json go there.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.bundle import MANIFEST, load_bundle
from edge.cli.console import run_app
from edge.cli.terminal import Terminal
from edge.files import write_text
from edge.yaml_settings import load_yaml
from trainer.comparing.answers import AnswerCounter, write_answers
from trainer.comparing.folds import FOLDS, Folds, read_folds
from trainer.datasets.dataset_cache import default_cache_folder
from trainer.evaluation.evaluating import Judged, Wanted, evaluate
from trainer.recipe.good_parts_settings import GoodPartsRecipe, learned_from_good_parts, learns_from_good_parts
from trainer.recipe.settings import TrainSettings
from trainer.training.checkpointing import CHECKPOINT, TRAINING

RECIPE = "recipe.yaml"
BUNDLE = "bundle"
FIGURES = "figures.json"
FOLD, HELD_OUT = "fold", "held_out"  # the judges of a run: keys of its figures, names of its answers
_ENDED_WITH_PARENT = 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Terminal()


def answers_of(folder: Path, part: str) -> Path:
    """Name the file of a run's folder with what it answered in a part, `fold` or `held_out`."""
    return folder / f"answers-{part}.npz"


@app.command()
def carry_out(
    folder: Annotated[Path, typer.Argument(help="the run's folder, with recipe.yaml")],
    data: Annotated[Path, typer.Argument(help="the dataset")],
    fold: Annotated[int, typer.Option("--fold", help="which fold is held out; -1: there are none")] = -1,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="end when standard input is closed")] = False,
) -> None:
    """Carry out one run."""
    if with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    folds = read_folds(folder.parent / FOLDS) if fold >= 0 else None
    _fit(folder, data, folds, fold)
    figures = _judged(folder, data) if folds is None else _judged_by_fold(folder, data, folds, fold)
    write_text(folder / FIGURES, json.dumps(figures, indent=1) + "\n")


def _end_with_parent() -> None:
    """End at once when whoever began this process is gone; the last whole epoch is kept."""
    while os.read(sys.stdin.fileno(), 1024):  # not by Python's own reader, whose lock would be held when Python ends
        pass
    os._exit(_ENDED_WITH_PARENT)


def _fit(folder: Path, data: Path, folds: Folds | None, fold: int) -> None:
    recipe, bundle = folder / RECIPE, folder / BUNDLE
    if (bundle / MANIFEST).is_file():
        return
    if learns_from_good_parts(recipe):
        from trainer.anomaly.fitting import fit_good_parts

        without = frozenset[str]() if folds is None else folds.judged(fold) | folds.held_out
        fit_good_parts(load_yaml(recipe, GoodPartsRecipe), data, bundle, console, without=without)
        return
    from trainer.fitting import fit

    resume = (bundle / TRAINING / CHECKPOINT).is_file()
    settings = load_yaml(recipe, TrainSettings)
    fit(settings, data, bundle, console, resume=resume, cache=default_cache_folder(), recipe=recipe)


def _judged(
    folder: Path, data: Path, only: frozenset[str] | None = None, watch: Callable[[Judged], None] | None = None
) -> dict[str, Any]:
    evaluation = evaluate(folder / BUNDLE, data, console, wanted=Wanted(only=only), watch=watch)
    return evaluation.report | {"per_picture": evaluation.pictures}


def _judged_by_fold(folder: Path, data: Path, folds: Folds, fold: int) -> dict[str, Any]:
    """Judge by the fold and by what all folds hold out; keep what would be answered at other thresholds."""
    bundle = load_bundle(folder / BUNDLE, need_onnx=False)
    found: dict[str, Any] = {FOLD: None, HELD_OUT: None}
    for part, only in ((FOLD, folds.judged(fold)), (HELD_OUT, folds.held_out)):
        if not only:
            continue
        # a model that learned from good parts has one threshold, which its own parts chose
        counter = None if learned_from_good_parts(bundle.manifest) else AnswerCounter(len(bundle.classes))
        found[part] = _judged(folder, data, only, counter)
        counted = None if counter is None else counter.counted()
        if counted is not None:
            write_answers(answers_of(folder, part), counted)
    return {**found[FOLD], HELD_OUT: found[HELD_OUT]}


def main() -> None:
    """Run it; our errors end it with a message and their exit code."""
    run_app(app)


if __name__ == "__main__":
    main()
