"""Training curves, read for the user: what they show, in numbers, and what to do about it. Pure.

The rules compare a change with the curves' jumps from one epoch to the next. So noise is not read as a trend. They are
ordered: the first that holds is the verdict, since a run that diverges may look like others besides.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge.errors import StoreError
from edge.records import Float64
from edge.wording import counted
from trainer.training.collapse_guard import ClassFigures, EpochFigures

Kind = Literal["still_learning", "overfitting", "data_wrong", "plateau", "diverging", "healthy"]

# Fewer epochs than this show no shape.
_SHORTEST = 6
# A change of Dice below this is not worth an hour of training.
_WORTH = 0.01
# A Dice within this of what answering nothing scores is no skill.
_NO_SKILL = 0.05
# From this Dice on a flat curve is a good end rather than a halt: masks drawn by two people agree no better.
_GOOD = 0.8
# The training loss is low once this share of where it began is left of it.
_LOW = 0.5
# The baseline's figure: of a classifier the second.
_CONSTANT = "answering nothing, or always the same,"
# Values beyond are as good as infinite, and would overflow in arithmetic.
_LARGEST = 1e9


@dataclass(frozen=True)
class Reading:
    """One thing that the curves show. The first reading of a list is the verdict (`leading`), the others add to it.

    `evidence`: in words with numbers; `numbers`: these, by name. `remedy`: what to do.
    """

    kind: Kind
    leading: bool
    evidence: str
    remedy: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class _Curves:
    """The curves as arrays, float64 [N], finite; `window`: how many epochs are averaged at either end."""

    epochs: list[int]
    loss: Float64
    dice: Float64
    validation_loss: Float64 | None
    baseline: float
    window: int
    broken: int

    def at_end(self, values: Float64) -> float:
        return float(np.median(values[-self.window :]))

    def at_start(self, values: Float64) -> float:
        return float(np.median(values[: self.window]))


def read_curves(rows: Sequence[EpochFigures]) -> list[Reading]:
    """Read the curves of a training, oldest epoch first. Never raises; the first reading is the verdict.

    Kinds: `diverging`, `data_wrong` (the loss falls and validation stays where answering nothing would be),
    `overfitting`, `still_learning`, `plateau`, `healthy`.
    """
    curves = _curves(rows)
    if curves is None or len(curves.epochs) < _SHORTEST:
        return [_too_short(rows, curves)]
    rules = (_diverging, _data_wrong, _overfitting, _still_learning, _plateau)
    found = [reading for rule in rules if (reading := rule(curves)) is not None]
    lost = _lost_class(rows[-curves.window :])
    if lost is not None:
        # a lost class must not hide behind a good mean; only what spoils every class goes before it
        found.insert(1 if found and found[0].kind in {"diverging", "data_wrong"} else 0, lost)
    found = found or [_healthy(curves)]
    return [replace(reading, leading=place == 0) for place, reading in enumerate(found)]


def _curves(rows: Sequence[EpochFigures]) -> _Curves | None:
    finite = [row for row in rows if math.isfinite(row.loss) and math.isfinite(row.dice)]
    if not finite:
        return None
    whole = [math.isfinite(row.loss) and math.isfinite(row.dice) for row in reversed(rows)]
    validation = [row.validation_loss for row in finite]
    measured = [v for v in validation if v is not None and math.isfinite(v)]
    baseline = finite[-1].baseline_dice
    return _Curves(
        epochs=[row.epoch for row in finite],
        loss=_array([row.loss for row in finite]),
        dice=_array([row.dice for row in finite]),
        validation_loss=_array(measured) if len(measured) == len(finite) else None,
        baseline=baseline if math.isfinite(baseline) else 0.0,
        window=max(2, min(5, len(finite) // 5)),
        broken=whole.index(True),
    )


def _array(values: Sequence[float]) -> Float64:
    return np.clip(np.array(values, np.float64), -_LARGEST, _LARGEST)


def _smooth(values: Float64, window: int) -> Float64:
    """Average over `window` epochs; float64 [N - window + 1]."""
    return np.convolve(values, np.full(window, 1 / window), "valid")


def _noise(values: Float64) -> float:
    """Estimate the standard deviation of an epoch around the trend, from second differences, robustly.

    The median of `|x[i-1] - 2 x[i] + x[i+1]|` is 0.6745 sqrt(6) standard deviations of independent normal noise. A
    trend that changes slowly has hardly any second difference.
    """
    if len(values) < 3:
        return 0.0
    return float(np.median(np.abs(np.diff(values, 2))) / (0.6745 * math.sqrt(6)))


def _too_short(rows: Sequence[EpochFigures], curves: _Curves | None) -> Reading:
    if rows and (curves is None or curves.broken):
        return Reading(
            "diverging",
            True,
            f"The figures of epoch {rows[-1].epoch} are no numbers",
            "Lower optimizer.learning_rate to a third, and look for broken pictures",
            {"epochs": float(len(rows))},
        )
    return Reading(
        "still_learning",
        True,
        f"{counted(len(rows), 'epoch is', 'epochs are')} too few to show a shape",
        f"Train for at least {_SHORTEST} epochs, better 20",
        {"epochs": float(len(rows))},
    )


def _diverging(c: _Curves) -> Reading | None:
    smooth = _smooth(c.loss, c.window)
    lowest, start, end = float(smooth.min()), c.at_start(c.loss), c.at_end(c.loss)
    numbers = {"loss_start": start, "loss_lowest": lowest, "loss_end": end}
    remedy = (
        "Lower optimizer.learning_rate to a third, lengthen optimizer.warm_up_steps, and keep optimizer.clip_norm at 5 "
        "or less; the best epoch's weights are kept"
    )
    if c.broken:
        words = f"The loss is no number in the last {counted(c.broken, 'epoch')}; the last number was {c.loss[-1]:.3g}"
        return Reading("diverging", False, words, remedy, numbers | {"broken_epochs": float(c.broken)})
    rise = end - lowest
    needed = max(0.3 * max(start - lowest, 0.0), 0.2 * abs(lowest), 3 * _noise(c.loss), 1e-6)
    if rise <= needed:
        return None
    where = c.epochs[min(int(smooth.argmin()) + c.window // 2, len(c.epochs) - 1)]
    words = f"The training loss rises: {start:.3f} at the start, {lowest:.3f} about epoch {where}, {end:.3f} at the end"
    return Reading("diverging", False, words, remedy, numbers)


def _data_wrong(c: _Curves) -> Reading | None:
    start, end = c.at_start(c.loss), c.at_end(c.loss)
    best, dice = float(_smooth(c.dice, c.window).max()), c.at_end(c.dice)
    fell = end <= _LOW * start if start > 0 else False
    if not fell or best - c.baseline > _NO_SKILL:
        return None
    words = (
        f"The training loss falls from {start:.3f} to {end:.3f}, yet on validation pictures the Dice is {dice:.3f}, "
        f"where {_CONSTANT} would score {c.baseline:.3f}"
    )
    return Reading(
        "data_wrong",
        False,
        words,
        "What is learned is not what validation shows. Look at the masks and labels of both parts for swapped or "
        "shifted ones, at whether both show the same light, sizes and classes, and at the split's groups",
        {"loss_start": start, "loss_end": end, "dice_end": dice, "dice_best": best, "dice_baseline": c.baseline},
    )


def _lost_class(last: Sequence[EpochFigures]) -> Reading | None:
    """Find the classes that remain at nothing where others are found."""
    found: dict[str, float] = {}
    for name in last[-1].classes:
        dice = [f.dice for row in last if (f := row.classes.get(name)) and f.dice is not None and f.true_share != 0]
        if dice and all(math.isfinite(value) for value in dice):
            found[name] = float(np.median(_array(dice)))
    lost = sorted(name for name, dice in found.items() if dice <= _NO_SKILL)
    others = [dice for name, dice in found.items() if name not in lost]
    if not lost or not others or max(others) <= 2 * _NO_SKILL:
        return None
    named = ", ".join(f"{name} ({found[name]:.3f})" for name in lost)
    return Reading(
        "data_wrong",
        False,
        f"The Dice of {named} stays at nothing, where other classes reach {max(others):.3f}; the mean hides that",
        f"Look at the masks of {', '.join(lost)} and at how many pictures show it; raise its weight in "
        "sampling.class_weights, and sampling.defect_share",
        {f"dice_{name}": found[name] for name in lost} | {"dice_best_class": max(others)},
    )


def _overfitting(c: _Curves) -> Reading | None:
    remedy = (
        "Keep the best epoch's weights, as fit does, and get more or more varied pictures; raise the ranges of "
        "augmentation and optimizer.weight_decay or model.dropout, or take a smaller model"
    )
    if c.validation_loss is not None:
        by_loss = _worsening(c, -c.validation_loss, least=0.1 * abs(float(c.validation_loss.min())))
        if by_loss is not None:
            place, best, end = by_loss
            words = (
                f"After epoch {c.epochs[place]} the validation loss rises from {-best:.3f} to {-end:.3f}, while the "
                f"training loss falls on to {c.at_end(c.loss):.3f}"
            )
            numbers = {"validation_loss_lowest": -best, "validation_loss_end": -end}
            return _overfitted(c, place, words, remedy, numbers)
    by_dice = _worsening(c, c.dice, least=0.03)
    if by_dice is None:
        return None
    place, best, end = by_dice
    words = (
        f"After epoch {c.epochs[place]} the validation Dice falls from {best:.3f} to {end:.3f}, while the training "
        f"loss falls on to {c.at_end(c.loss):.3f}"
    )
    return _overfitted(c, place, words, remedy, {"dice_best": best, "dice_end": end})


def _worsening(c: _Curves, values: Float64, *, least: float) -> tuple[int, float, float] | None:
    """Return where a figure (more is better) was best, its best and its end, if loss fell and it worsened."""
    smooth = _smooth(values, c.window)
    top = int(smooth.argmax())
    place = min(top + c.window // 2, len(values) - 1)
    best, end = float(smooth[top]), c.at_end(values)
    if best - end <= max(least, 3 * _noise(values)) or place >= len(values) - c.window:
        return None
    fell = float(_smooth(c.loss, c.window)[top]) - c.at_end(c.loss)
    return (place, best, end) if fell > _noise(c.loss) else None


def _overfitted(c: _Curves, place: int, words: str, remedy: str, numbers: dict[str, float]) -> Reading:
    own = {"best_epoch": float(c.epochs[place]), "loss_end": c.at_end(c.loss)}
    return Reading("overfitting", False, words, remedy, own | numbers)


def _still_learning(c: _Curves) -> Reading | None:
    window = max(c.window, len(c.dice) // 5)
    earlier, last = c.dice[-2 * window : -window], c.dice[-window:]
    gained = float(np.median(last) - np.median(earlier))
    # medians of `window` epochs are off by noise * sqrt(pi / 2 / window), a difference of two by sqrt(2) of that
    by_chance = 3 * _noise(c.dice[-max(6, len(c.dice) // 2) :]) * math.sqrt(math.pi / window)
    if gained <= max(_WORTH, by_chance):
        return None
    recent = counted(window, "epoch")
    words = f"In the last {recent} the validation Dice still rose by {gained:.3f}, to {c.at_end(c.dice):.3f}"
    return Reading(
        "still_learning",
        False,
        words,
        "Raise epochs (and max_minutes, if set) by half; the schedule of the learning rate stretches with them",
        {"dice_gained": gained, "dice_end": c.at_end(c.dice), "epochs_compared": float(window)},
    )


def _plateau(c: _Curves) -> Reading | None:
    """Tell of a flat end that is not good: below `_GOOD` with nothing gained in the last third, or without skill."""
    end = c.at_end(c.dice)
    if end - c.baseline >= _GOOD * (1 - c.baseline):
        return None
    third = max(c.window, len(c.dice) // 3)
    smooth = _smooth(c.dice, c.window)
    before, after = smooth[:-third], smooth[-third:]
    gained = float(after.max() - before.max()) if len(before) else 0.0
    if end - c.baseline > _NO_SKILL and gained > max(2 * _WORTH, 2 * _noise(c.dice)):
        return None
    start_loss, end_loss = c.at_start(c.loss), c.at_end(c.loss)
    numbers = {"dice_end": end, "dice_gained": gained, "loss_start": start_loss, "loss_end": end_loss}
    words = f"In the last {counted(third, 'epoch')} the validation Dice gained {gained:.3f} and stays at {end:.3f}"
    if end - c.baseline <= _NO_SKILL:
        words += f"; {_CONSTANT} would score {c.baseline:.3f}, and the loss went from {start_loss:.3f} to "
        words += f"{end_loss:.3f}"
        remedy = (
            "Nothing is learned. Try optimizer.learning_rate three times lower and three times higher, raise "
            "sampling.defect_share, and look at whether the masks lie on the defects"
        )
    else:
        remedy = (
            "More epochs will not help. Look at the worst pictures of the report for masks that disagree; then get "
            "more pictures of what is missed, larger tiles and crops, or a larger model"
        )
    return Reading("plateau", False, words, remedy, numbers)


def _healthy(c: _Curves) -> Reading:
    start, end, dice = c.at_start(c.loss), c.at_end(c.loss), c.at_end(c.dice)
    return Reading(
        "healthy",
        True,
        f"The training loss fell from {start:.3f} to {end:.3f}, and the validation Dice settled at {dice:.3f}, where "
        f"{_CONSTANT} would score {c.baseline:.3f}",
        "Nothing to change; judge on the pictures that were held out",
        {"loss_start": start, "loss_end": end, "dice_end": dice, "dice_baseline": c.baseline},
    )


def epochs_of(rows: Sequence[Mapping[str, Any]]) -> list[EpochFigures]:
    """Turn the rows of a training's log, of numbers or as CSV reads them, into figures. Raises ValueError, KeyError.

    The columns are epoch, loss, dice, and `dice_<class>` of each class. Measured ones are `validation_loss`,
    `learning_rate`, `baseline_dice`, and `answered_<class>` and `true_<class>`, shares of the validation pixels.
    """
    return [_epoch(row) for row in rows]


def _epoch(row: Mapping[str, Any]) -> EpochFigures:
    def number(key: str) -> float | None:
        value = row.get(key)
        return None if value is None or value == "" else float(value)

    names = [key.removeprefix("dice_") for key in row if isinstance(key, str) and key.startswith("dice_")]
    return EpochFigures(
        epoch=int(float(row["epoch"])),
        loss=float(row["loss"]),
        dice=float(row["dice"]),
        classes={n: ClassFigures(number(f"dice_{n}"), number(f"answered_{n}"), number(f"true_{n}")) for n in names},
        validation_loss=number("validation_loss"),
        learning_rate=number("learning_rate"),
        baseline_dice=number("baseline_dice") or 0.0,
    )


def read_log(path: Path) -> list[EpochFigures]:
    """Read a training's log.csv; empty where there is none. Raises StoreError."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return epochs_of(list(csv.DictReader(file)))
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise StoreError(
            f"{path} cannot be read as a training's log: {error}. Expected the columns epoch, loss and dice; train "
            "again, or remove the file to do without it"
        ) from error
