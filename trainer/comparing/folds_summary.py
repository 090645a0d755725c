"""The folds' word on each recipe: mean, spread, the worst run, and thresholds chosen over all folds.

A fold's figures are those at the thresholds that its run's own validation pictures chose. `pooled` are those of all
pictures that the folds judge, taken as one set. So a rare class counts where it is shown. The figures
`at thresholds over folds` are honest as well: each fold is answered at what the other folds chose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from trainer.comparing.answers import CountedAnswers, read_answers, together
from trainer.comparing.grid import SEED
from trainer.comparing.one_run import FOLD, HELD_OUT, answers_of
from trainer.comparing.rows import FOUND, RunFigures, as_row
from trainer.evaluation.metrics import iou_of, mean_of
from trainer.evaluation.thresholds import FittedClass, fit_counted
from trainer.recipe.settings import TrainSettings

# Of these the largest is the worst; of all others the smallest.
_BETTER_SMALL = frozenset({"missed", "passed", "false"})
_HELD_OUT = "held-out "

Labels = tuple[str, ...]


def by_recipe(outcomes: Sequence[RunFigures]) -> dict[Labels, list[RunFigures]]:
    """Group the runs of each recipe: those that differ in fold and seed only."""
    groups: dict[Labels, list[RunFigures]] = {}
    for outcome in outcomes:
        labels = tuple(label for axis, label in outcome.run.labels if axis != SEED)
        groups.setdefault(labels, []).append(outcome)
    return groups


def summarised(runs: Sequence[RunFigures], out: Path) -> dict[str, Any]:
    """Summarise the runs of one recipe, whose folders are in `out`; figures that nobody measured are None."""
    rows = [as_row(run) | {"run": run.run.name} for run in runs]
    names = [key for key in dict.fromkeys(key for row in rows for key in row) if _is_figure(key)]
    axes = {axis for axis, _ in runs[0].run.labels}
    names = [name for name in names if name not in axes]
    pooled = pooled_figures([run.report for run in runs if run.report])
    return {
        "runs": len(runs),
        "failed": [run.run.name for run in runs if run.report is None and not run.stopped],
        "stopped": [run.run.name for run in runs if run.stopped],
        "folds": {name: _spread(rows, name, name) | {"pooled": pooled.get(name)} for name in names},
        "held_out": {name: _spread(rows, _HELD_OUT + name, name) for name in names},
        "between_seeds": {name: _between(rows, name, fixed="fold") for name in names},
        "between_folds": {name: _between(rows, name, fixed=SEED) for name in names},
        "minutes": mean_of(row["minutes"] for row in rows),
        "thresholds": _over_folds(runs, out),
    }


def _is_figure(key: str) -> bool:
    return key in {"miou", FOUND, *_BETTER_SMALL} or key.startswith("iou ")


def _spread(rows: Sequence[Mapping[str, Any]], key: str, name: str) -> dict[str, Any]:
    measured = [(row[key], row["run"]) for row in rows if row.get(key) is not None]
    if not measured:
        return {"mean": None, "deviation": None, "worst": None, "worst_run": None}
    values = [value for value, _ in measured]
    worst, worst_run = (max if name in _BETTER_SMALL else min)(measured)
    return {"mean": float(np.mean(values)), "deviation": _deviation(values), "worst": worst, "worst_run": worst_run}


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _between(rows: Sequence[Mapping[str, Any]], key: str, *, fixed: str) -> float | None:
    """Return the standard deviation of a figure among rows that are alike in `fixed`, pooled over these."""
    groups: dict[Any, list[float]] = {}
    for row in rows:
        if row.get(key) is not None:
            groups.setdefault(row.get(fixed), []).append(row[key])
    spreads = [spread for values in groups.values() if (spread := _deviation(values)) is not None]
    return float(np.sqrt(np.mean(np.square(spreads)))) if spreads else None


def pooled_figures(reports: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return figures of all judged pictures as one set. A picture that several seeds judged counts as often."""
    found: dict[str, float | None] = {}
    matrices = [report["confusion"]["pixels"] for report in reports]
    if matrices and all(matrix is not None for matrix in matrices):
        classes = reports[0]["confusion"]["pixel_classes"]
        same = [report["confusion"]["pixel_classes"] == classes for report in reports]
        if all(same):
            iou = iou_of(np.sum([np.array(matrix, np.int64) for matrix in matrices], axis=0))
            found = {"miou": mean_of(iou)} | {f"iou {name}": v for name, v in zip(classes, iou, strict=True)}
    for name, key, of in (
        ("missed", "missed_pictures", "defective"),
        ("passed", "passed_pictures", "defective"),
        ("false", "false_pictures", "clean"),
    ):
        counts = [(report[key]["all"], report["counts"][of]) for report in reports]
        whole = sum(count for value, count in counts if value is not None)
        found[name] = sum(value * count for value, count in counts if value is not None) / whole if whole else None
    return found


def _over_folds(runs: Sequence[RunFigures], out: Path) -> dict[str, Any]:
    """Choose thresholds and smallest areas on what the folds' runs answered in pictures that they had not seen."""
    if not runs[0].run.recipe:
        return {"classes": None, "why": "it answers nothing"}
    settings = runs[0].run.settings
    if not isinstance(settings, TrainSettings):
        return {"classes": None, "why": "it learned from good parts, which choose its one threshold"}
    done = [run for run in runs if run.report is not None]
    answers = {run.run.name: read_answers(answers_of(out / run.run.name, FOLD)) for run in done}
    known = {name: own for name, own in answers.items() if own is not None}
    if not known or len(known) < len(done):
        return {"classes": None, "why": "not every run answered pictures with masks"}
    names = list(done[0].report["iou"])[1:] if done[0].report else []

    folds = sorted({run.run.fold for run in done if run.run.fold is not None})
    of_fold = {fold: together([known[run.run.name] for run in done if run.run.fold == fold]) for fold in folds}

    def fitted(but: int | None = None) -> list[FittedClass]:
        counted = together([own for fold, own in of_fold.items() if fold != but])
        return [fit_counted(own, settings.thresholds) for own in counted.of_class]

    of_all = fitted()
    by_others = [(own, fitted(but=fold)) for fold, own in of_fold.items() if len(folds) > 1]
    held_out = [read_answers(answers_of(out / run.run.name, HELD_OUT)) for run in done]
    return {
        "classes": {name: asdict(own) for name, own in zip(names, of_all, strict=True)},
        "pictures": int(sum(len(own.pixels) for own in known.values())),
        "folds": _at(by_others),
        "held_out": _at([(own, of_all) for own in held_out if own is not None]),
    }


def _at(judged: Sequence[tuple[CountedAnswers, Sequence[FittedClass]]]) -> dict[str, dict[str, float | None]]:
    each = [counted.at(fitted) for counted, fitted in judged]
    return {
        name: {
            "mean": mean_of(own[name] for own in each),
            "deviation": _deviation([value for own in each if (value := own[name]) is not None]),
        }
        for name in (each[0] if each else ())
    }
