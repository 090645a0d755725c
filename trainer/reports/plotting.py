"""Plots as PNG bytes: training curves, confusion matrices, PR and ROC curves. matplotlib is loaded when one is drawn.

Figures are drawn without pyplot: no window, no global state, the same on a machine without a screen.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge.errors import DependencyError
from edge.installing import how_to_install
from trainer.training.collapse_guard import EpochFigures

Colour = tuple[int, int, int]
Points = Mapping[str, Sequence[float]]

_DOTS_PER_INCH = 110
# Brighter than this (0-1) a line cannot be seen on white.
_BRIGHTEST = 0.55


def draw_training(rows: Sequence[EpochFigures], colours: Mapping[str, Colour]) -> bytes:
    """Draw the loss and the validation Dice, with each class's, over epochs; NaN and infinity are left out."""
    figure = _figure(9.5, 3.4)
    left, right = figure.subplots(1, 2)
    epochs = [row.epoch for row in rows]
    left.plot(epochs, _drawable([row.loss for row in rows]), color="#1f4e79", label="training")
    if any(row.validation_loss is not None for row in rows):
        left.plot(epochs, _drawable([row.validation_loss for row in rows]), color="#c55a11", label="validation")
    left.set(title="Loss", xlabel="epoch")
    left.set_ylim(bottom=0 if all(row.loss >= 0 for row in rows) else None)
    left.legend(frameon=False)
    for name in rows[-1].classes if rows else ():
        dice = [figures.dice if (figures := row.classes.get(name)) else None for row in rows]
        right.plot(epochs, _drawable(dice), color=_line(colours.get(name)), linewidth=1.2, label=name)
    right.plot(epochs, _drawable([row.dice for row in rows]), color="black", linewidth=2, label="mean")
    right.set(title="Dice on validation crops", xlabel="epoch", ylim=(0, 1))
    right.legend(frameon=False, fontsize="small")
    return _png(figure)


def draw_confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> bytes:
    """Draw counts [C, C], rows the truth, columns the answer; the colour is the share of the row."""
    counts = np.array(matrix, np.float64).reshape(len(classes), len(classes))
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    side = max(3.0, 0.9 * len(classes) + 1.6)
    figure = _figure(side + 0.6, side)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes))
    axes.set_xticks(places, classes, rotation=30, ha="right")
    axes.set_yticks(places, classes)
    axes.set(title=title, xlabel="answered", ylabel="true")
    for row in places:
        for column in places:
            if not sums[row, 0]:
                continue
            words = f"{shares[row, column]:.1%}\n{_short(counts[row, column])}"
            ink = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, words, ha="center", va="center", color=ink, fontsize="small")
    axes.spines[:].set_visible(False)
    return _png(figure)


def draw_rankings(
    curves: Mapping[str, Points], figures: Mapping[str, Mapping[str, Any]], title: str, colours: Mapping[str, Colour]
) -> bytes:
    """Draw precision over recall and the ROC of each class. `figures`: as `ranking.Curve.figures` gives."""
    figure = _figure(9.5, 4.0)
    left, right = figure.subplots(1, 2)
    for name, points in curves.items():
        own = figures[name]
        if own["average_precision"] is not None:
            words = f"{name}, AP {own['average_precision']:.3f} (chance {own['chance']:.2g})"
            recall, precision = list(points["recall"]), list(points["precision"])
            # each threshold's precision holds back to the recall of the one before
            left.step(
                [0.0, *recall], [*precision[:1], *precision], where="pre", color=_line(colours.get(name)), label=words
            )
            left.axhline(own["chance"], color=_line(colours.get(name)), linewidth=0.7, linestyle=":")
        if own["roc_auc"] is not None:
            x, y = [0.0, *points["false_positive_rate"], 1.0], [0.0, *points["recall"], 1.0]
            right.plot(x, y, color=_line(colours.get(name)), label=f"{name}, area {own['roc_auc']:.3f}")
    right.plot([0, 1], [0, 1], color="grey", linewidth=0.7, linestyle=":")
    left.set(
        title=f"Precision and recall, {title}", xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02)
    )
    right.set(title=f"ROC, {title}", xlabel="false positive rate", ylabel="recall", xlim=(-0.02, 1), ylim=(0, 1.02))
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize="small", loc="best")
        else:
            axes.text(0.5, 0.5, "nothing to rank", ha="center", va="center", transform=axes.transAxes, color="grey")
    return _png(figure)


def _figure(width_inches: float, height_inches: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            f"Plots need matplotlib, and its import failed: {error}. {how_to_install('matplotlib', extra='train')}"
        ) from error
    return Figure(figsize=(width_inches, height_inches), dpi=_DOTS_PER_INCH, layout="constrained")


def _png(figure: Any) -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    into = io.BytesIO()
    figure.savefig(into, format="png", metadata={"Software": None})
    return into.getvalue()


def _drawable(values: Sequence[float | None]) -> list[float]:
    """Replace what was not measured by NaN, which leaves a gap."""
    return [float("nan") if value is None or not np.isfinite(value) else value for value in values]


def _line(colour: Colour | None) -> tuple[float, float, float]:
    """Return a class's colour for lines on white, as 0-1: darkened where it is too bright to be seen."""
    red, green, blue = (part / 255 for part in colour or (90, 90, 90))
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
    factor = min(1.0, _BRIGHTEST / brightness) if brightness else 1.0
    return red * factor, green * factor, blue * factor


def _short(count: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= size:
            return f"{count / (1e3 if unit == 'k' else size):.3g} {unit}"
    return f"{count:.0f}"
