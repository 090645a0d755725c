"""The tables of a comparison by folds: what each recipe comes to, its thresholds, and each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from edge.wording import counted
from trainer.comparing.folds import Folds
from trainer.comparing.folds_summary import Labels
from trainer.comparing.grid import SEED, Run
from trainer.comparing.rows import RunFigures, as_row
from trainer.comparing.tables import NOTHING, in_markdown, laid_out

_OF_FOLDS = ("pooled", "folds", "worst", "between folds", "between seeds")
_OF_HELD_OUT = ("held out", "worst held out")
_THRESHOLDS = ("threshold", "smallest area, px", "missed", "false", "IoU")
Rows = list[tuple[Labels, list[str]]]


def in_words(folds: Folds) -> str:
    """Say in which folds the runs were judged."""
    judged = sum(fold is not None for fold in folds.of_image.values())
    held_out = len(folds.held_out)
    drawn = f"{counted(folds.count, 'fold')} of {counted(judged, 'picture')}, by group, drawn with seed {folds.seed}"
    if not held_out:
        return f"{drawn}; none is held out of all folds. Choose by the folds."
    return (
        f"{drawn}; {counted(held_out, 'picture is', 'pictures are')} held out of all folds, and nothing is chosen by "
        f"{'it' if held_out == 1 else 'them'}. Choose by the folds."
    )


def axes_of(outcomes: Sequence[RunFigures]) -> Labels:
    """Name the axes that recipes differ in."""
    return tuple(axis for axis, _ in outcomes[0].run.labels if axis != SEED)


def columns(summary: Mapping[Labels, Mapping[str, Any]]) -> tuple[str, ...]:
    """Name the columns of figures: those of what all folds hold out only where anything is."""
    held_out = any(spread.get("mean") is not None for own in summary.values() for spread in own["held_out"].values())
    return (*_OF_FOLDS, *(_OF_HELD_OUT if held_out else ()))


def recipe_rows(summary: Mapping[Labels, Mapping[str, Any]]) -> Rows:
    """Lay out each figure that anybody measured, the recipes of one figure below each other."""
    measured = (name for own in summary.values() for name, spread in own["folds"].items() if spread["mean"] is not None)
    names = list(dict.fromkeys(measured))
    shown = len(columns(summary))
    return [
        ((name, *labels), _cells(name, own)[:shown])
        for name in names
        for labels, own in summary.items()
        if name in own["folds"]
    ]


def _cells(name: str, own: Mapping[str, Any]) -> list[str]:
    folds, held_out = own["folds"][name], own["held_out"].get(name, {})
    return [
        _number(folds["pooled"]),
        _mean(folds),
        _worst(folds),
        _number(own["between_folds"].get(name)),
        _number(own["between_seeds"].get(name)),
        _mean(held_out),
        _worst(held_out),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mean(spread: Mapping[str, Any]) -> str:
    if spread.get("mean") is None:
        return "-"
    deviation = "" if spread["deviation"] is None else f" ± {spread['deviation']:.3f}"
    return f"{spread['mean']:.3f}{deviation}"


def _worst(spread: Mapping[str, Any]) -> str:
    if spread.get("worst") is None:
        return "-"
    return f"{spread['worst']:.3f}" + ("" if spread["worst_run"].startswith(NOTHING) else f" {spread['worst_run']}")


def threshold_rows(summary: Mapping[Labels, Mapping[str, Any]]) -> Rows:
    """Lay out the thresholds that all folds together chose, with what they still miss and flag."""
    rows: Rows = []
    for labels, own in summary.items():
        for name, fitted in (own["thresholds"].get("classes") or {}).items():
            counts = own["thresholds"]["pictures"] - fitted["shown"]
            cells = [f"{fitted['threshold']:.2f}", f"{fitted['min_area_px']:.0f}"]
            cells += [
                f"{fitted['missed']} of {fitted['shown']}",
                f"{fitted['false']} of {counts}",
                _number(fitted["iou"]),
            ]
            rows.append(((*labels, name), cells))
    return rows


def figures_at_thresholds(summary: Mapping[Labels, Mapping[str, Any]]) -> Rows:
    """Lay out the figures at thresholds over folds: each fold's by what the others chose, the held-out ones by all."""
    rows: Rows = []
    for labels, own in summary.items():
        at = own["thresholds"]
        for name, spread in (at.get("folds") or {}).items():
            rows.append(((name, *labels), [_mean(spread), _mean(at["held_out"].get(name, {}))]))
    return sorted(rows, key=lambda row: row[0][0])


def run_rows(outcomes: Sequence[RunFigures]) -> tuple[list[str], Rows]:
    """Lay out each run: the names of its figures, and a row for each."""
    rows = [as_row(outcome) for outcome in outcomes]
    labels = {axis for axis, _ in outcomes[0].run.labels} | {"fold", "failure", "stopped"}
    names = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in labels]
    return names, [
        ((outcome.run.name,), [_of_run(row, name) for name in names])
        for outcome, row in zip(outcomes, rows, strict=True)
    ]


def _of_run(row: Mapping[str, Any], name: str) -> str:
    if row["failure"]:
        return "stopped" if row.get("stopped") else "failed"
    return f"{row[name]:.1f}" if name == "minutes" and row[name] is not None else _number(row.get(name))


def answering_nothing(outcomes: Sequence[RunFigures]) -> list[RunFigures]:
    """Return what answering nothing would have scored in each fold, as if it were a recipe."""
    judged = {outcome.run.fold: outcome.report for outcome in outcomes if outcome.report}
    made = []
    for fold, report in sorted(judged.items(), key=lambda item: item[0] or 0):
        labels = tuple((axis, NOTHING if place == 0 else "") for place, axis in enumerate(axes_of(outcomes)))
        held_out = report.get("held_out")
        empty = {**report["empty_baseline"], "held_out": held_out and held_out["empty_baseline"]}
        made.append(RunFigures(Run(labels, {}, fold), empty, None, ""))
    return made


def markdown(folds: Folds, outcomes: Sequence[RunFigures], summary: Mapping[Labels, Mapping[str, Any]]) -> str:
    """Write all tables as Markdown."""
    axes = axes_of(outcomes)
    names, runs = run_rows(outcomes)
    parts = [in_words(folds) + "\n", in_markdown(["figure", *axes, *columns(summary)], recipe_rows(summary))]
    if rows := threshold_rows(summary):
        parts += ["Thresholds chosen over all folds:\n", in_markdown([*axes, "class", *_THRESHOLDS], rows)]
        at = figures_at_thresholds(summary)
        words = "At thresholds over folds, each fold's chosen by the other folds:\n"
        parts += [words, in_markdown(["figure", *axes, "folds", "held out"], at)]
    return "\n".join([*parts, "Each run:\n", in_markdown(["run", *names], runs)])


def tables(outcomes: Sequence[RunFigures], summary: Mapping[Labels, Mapping[str, Any]], width: int) -> list[Table]:
    """Lay the recipes' figures and thresholds out for a terminal of `width` characters."""
    axes = axes_of(outcomes)
    made = laid_out(["figure", *axes], columns(summary), recipe_rows(summary), width)
    if rows := threshold_rows(summary):
        made += laid_out([*axes, "class"], _THRESHOLDS, rows, width)
        made += laid_out(
            ["figure", *axes], ["folds at thresholds over folds", "held out"], figures_at_thresholds(summary), width
        )
    return made
