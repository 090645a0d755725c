"""The collapse guard: from the figures of each epoch, which class is being lost, since when, and what to change.

A mean over classes hides a class that is no longer answered, and hours of training with it. So each class is looked at
for itself. Pure: the same history gives the same findings, so a resumed run is guarded as if it had not been stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge.wording import counted
from trainer.recipe.settings import GuardSettings

# Answered at most this share of the true area, a class is as good as not answered.
_NOTHING = 0.01
# A Dice below this is what a mask of chance would reach on a small defect.
_DICE_OF_NOTHING = 0.01
# A Dice at most this share of the best before it is a class forgotten, though something is still answered.
_FORGOTTEN = 0.1
# From this share of all pixels on, and this many times the true one, a class is answered everywhere.
_FLOOD_SHARE, _FLOOD_TIMES = 0.5, 5.0


@dataclass(frozen=True)
class ClassFigures:
    """One class in one epoch, on the validation pictures; None where it was not measured.

    `dice`: 0-1; None where validation does not show the class. `answered_share`, `true_share`: of all validation pixels
    (of a classifier: of all validation pictures), 0-1.
    """

    dice: float | None
    answered_share: float | None = None
    true_share: float | None = None


@dataclass(frozen=True)
class EpochFigures:
    """The figures of one epoch. `loss`: mean over its steps. `dice`: mean over the classes, on validation.

    `validation_loss`, `learning_rate`: None where not measured. `baseline_dice`: what answering nothing (or, of a
    classifier, always the same) would score as `dice`. `epoch` counts from 1.
    """

    epoch: int
    loss: float
    dice: float
    classes: Mapping[str, ClassFigures] = field(default_factory=dict)
    validation_loss: float | None = None
    learning_rate: float | None = None
    baseline_dice: float = 0.0


@dataclass(frozen=True)
class LossOfClass:
    """Something that the guard has seen. `class_name` is None where it is about the whole training.

    `since_epoch`: the first of `epochs` epochs in a row. `evidence` says what was measured, `remedy` what to change.
    `is_new`: it became so with the last epoch, so that a caller who looks after each epoch tells of it once.
    """

    kind: Literal["class_lost", "everything_predicted", "not_a_number"]
    class_name: str | None
    since_epoch: int
    epochs: int
    action: Literal["warn", "stop"]
    evidence: str
    remedy: str
    is_new: bool

    @property
    def words(self) -> str:
        """The finding in one paragraph, for people."""
        return f"{self.evidence}. {self.remedy}"


def look(history: Sequence[EpochFigures], settings: GuardSettings) -> list[LossOfClass]:
    """Return what is wrong as of the last epoch of `history`, oldest epoch first; nothing where all is well.

    A value that is no number is told at once. A class that is lost or answered everywhere is told after
    `settings.collapse_epochs` epochs in a row: early in training either is common.
    """
    if not history:
        return []
    findings = _not_numbers(history, settings)
    for name in history[-1].classes:
        findings += _lost(history, name, settings) + _everywhere(history, name, settings)
    return findings


def _not_numbers(history: Sequence[EpochFigures], settings: GuardSettings) -> list[LossOfClass]:
    named: list[tuple[str | None, str, list[float | None]]] = [
        (None, "The loss", [epoch.loss for epoch in history]),
        (None, "The validation loss", [epoch.validation_loss for epoch in history]),
        (None, "The mean Dice", [epoch.dice for epoch in history]),
        *(
            (name, f"The Dice of {name}", [_class(epoch, name).dice for epoch in history])
            for name in history[-1].classes
        ),
    ]
    findings = []
    for class_name, words, values in named:
        streak = _streak([not _is_number(value) for value in values])
        if not streak:
            continue
        since = history[-streak].epoch
        findings.append(
            LossOfClass(
                "not_a_number",
                class_name,
                since,
                streak,
                settings.action,
                f"{words} is {values[-1]} since epoch {since}",
                "Lower optimizer.learning_rate to a third, keep optimizer.clip_norm, and look for broken pictures; "
                "what is learned from here on is worth nothing",
                is_new=streak == 1,
            )
        )
    return findings


def _lost(history: Sequence[EpochFigures], name: str, settings: GuardSettings) -> list[LossOfClass]:
    best = 0.0
    gone = []
    for epoch in history:
        figures = _class(epoch, name)
        gone.append(_is_gone(figures, best))
        if figures.dice is not None and math.isfinite(figures.dice):
            best = max(best, figures.dice)
    streak = _streak(gone)
    if streak < settings.collapse_epochs:
        return []
    since, now = history[-streak].epoch, _class(history[-1], name)
    before = max(
        (f.dice or 0.0 for f in (_class(e, name) for e in history[:-streak]) if _is_number(f.dice)), default=0.0
    )
    if before > _DICE_OF_NOTHING:
        evidence = f"{name} is lost since epoch {since}: {_measured(now)}, after a Dice of {before:.3f}"
        remedy = (
            "It was found before, so the steps are too large or the other classes outweigh it: lower "
            f"optimizer.learning_rate to a third, then raise sampling.class_weights.{name} to 2 or 3"
        )
    else:
        evidence = f"{name} has not been answered in {counted(streak, 'epoch')}, since epoch {since}: {_measured(now)}"
        remedy = (
            f"Raise sampling.class_weights.{name} to 3, sampling.defect_share to 0.8 and loss.dice; if that does not "
            "help, choose a loss for rare classes, and look at its masks"
        )
    return [
        LossOfClass(
            "class_lost",
            name,
            since,
            streak,
            settings.action,
            evidence,
            remedy,
            is_new=streak == settings.collapse_epochs,
        )
    ]


def _is_gone(figures: ClassFigures, best_before: float) -> bool:
    """Tell whether a class that is there to be found is answered nearly never, or never where it is."""
    if figures.true_share == 0 or figures.dice is None:
        return False  # validation does not show it
    if not math.isfinite(figures.dice):
        return False  # told of as no number
    answered, true = figures.answered_share, figures.true_share
    if answered is not None and true is not None and answered <= _NOTHING * true:
        return True
    return figures.dice < max(_DICE_OF_NOTHING, _FORGOTTEN * best_before)


def _everywhere(history: Sequence[EpochFigures], name: str, settings: GuardSettings) -> list[LossOfClass]:
    streak = _streak([_is_everywhere(_class(epoch, name)) for epoch in history])
    if streak < settings.collapse_epochs:
        return []
    since = history[-streak].epoch
    return [
        LossOfClass(
            "everything_predicted",
            name,
            since,
            streak,
            settings.action,
            f"{name} is answered nearly everywhere since epoch {since}: {_measured(_class(history[-1], name))}",
            f"Lower sampling.class_weights.{name} and sampling.defect_share, so that more clean crops are seen; if "
            "loss.dice stands alone, give loss.cross_entropy a weight; or lower optimizer.learning_rate to a third",
            is_new=streak == settings.collapse_epochs,
        )
    ]


def _is_everywhere(figures: ClassFigures) -> bool:
    answered, true = figures.answered_share, figures.true_share
    if answered is None or true is None or not (math.isfinite(answered) and math.isfinite(true)) or true >= 1:
        return False
    flooded = answered >= _FLOOD_SHARE and answered >= _FLOOD_TIMES * true
    return flooded or 1 - answered <= _NOTHING * (1 - true)  # pixels not of the class are gone


def _measured(figures: ClassFigures) -> str:
    words = f"Dice {figures.dice:.3f}" if figures.dice is not None else "no Dice"
    if figures.answered_share is None or figures.true_share is None:
        return words
    answered, true = figures.answered_share, figures.true_share
    return f"{answered:.3%} of the validation area is answered so, {true:.3%} is so, {words}"


def _class(epoch: EpochFigures, name: str) -> ClassFigures:
    return epoch.classes.get(name, ClassFigures(None))


def _is_number(value: float | None) -> bool:
    """Tell whether a figure was measured as a number."""
    return value is None or math.isfinite(value)


def _streak(holds: Sequence[bool]) -> int:
    """Count for how many of the last epochs in a row something holds."""
    return next((place for place, held in enumerate(reversed(holds)) if not held), len(holds))
