"""Losses, one family per file, and the weighted sum that a recipe makes of them. Each is a scalar float32 tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from trainer.losses.answers import Prediction, class_weights
from trainer.losses.entropy import cross_entropy, focal
from trainer.losses.lovasz import lovasz
from trainer.losses.regions import dice, region_accuracy, tversky
from trainer.recipe.loss_settings import (
    CrossEntropyTerm,
    DiceTerm,
    FocalTerm,
    LossSettings,
    LossTerm,
    LovaszTerm,
    RegionAccuracyTerm,
    TverskyTerm,
)
from trainer.recipe.model_settings import ModelSettings

__all__ = ["Prediction", "make_loss"]


def make_loss(
    settings: LossSettings, model: ModelSettings, names: Sequence[str], *, by_numpy: bool = False
) -> Callable[[Any, Any], Any]:
    """Return loss(logits [N, h, w, K'], truth ids uint8 [N, h, w]) for the model's head and the classes 1…K.

    Logits of any float dtype are taken as float32. On several devices each of them gets the same value for figures
    pooled over the batch. For the rest it gets its own mean over pixels. The mean over devices is the loss of the whole
    batch. `by_numpy`: what a processor does faster by NumPy is done so, to the same numbers; not under XLA.
    """
    import tensorflow as tf

    terms = [(term.weight, _make_term(term, names, by_numpy=by_numpy)) for term in settings.sum_of(names)]

    def loss(logits: Any, truth: Any) -> Any:
        answer = Prediction.of(logits, truth, len(names), has_background=model.has_background)
        return tf.add_n([weight * term(answer) for weight, term in terms])

    return loss


def _make_term(term: LossTerm, names: Sequence[str], *, by_numpy: bool) -> Callable[[Prediction], Any]:
    weights = class_weights(term.class_weights, names)
    match term:
        case CrossEntropyTerm():
            return lambda answer: cross_entropy(
                answer, weights, label_smoothing=term.label_smoothing, balance=term.balance
            )
        case FocalTerm():
            return lambda answer: focal(
                answer, weights, gamma=term.gamma, alpha=term.alpha, label_smoothing=term.label_smoothing
            )
        case DiceTerm():
            return lambda answer: dice(
                answer, weights, background=term.background, skip_absent=term.absent == "skip", smooth=term.smooth
            )
        case TverskyTerm():
            return lambda answer: tversky(
                answer,
                weights,
                alpha=term.alpha,
                beta=term.beta,
                power=term.power,
                background=term.background,
                skip_absent=term.absent == "skip",
                smooth=term.smooth,
            )
        case RegionAccuracyTerm():
            return lambda answer: region_accuracy(answer, weights, background=term.background)
        case LovaszTerm():
            return lambda answer: lovasz(
                answer,
                weights,
                hinge=term.errors == "hinge",
                per_picture=term.per_picture,
                background=term.background,
                skip_absent=term.absent == "skip",
                by_numpy=by_numpy,
            )
