"""Losses that compare regions class by class: Dice, Tversky, and accuracy inside the true region.

Sums are over the whole batch, on however many devices. Keras's own (`keras.losses.Dice`, `Tversky`) have three faults,
so they are written out here. They pool all classes into one ratio unless told the axes. They have no term that keeps
the ratio steady where a class is hardly there. Keras's Tversky (3.15) weighs missed pixels with the factor that it
documents for false ones.
"""

from __future__ import annotations

from typing import Any

from edge.records import Float32
from trainer.losses.answers import Prediction, summed

_PIXELS = (0, 1, 2)


def dice(
    answer: Prediction, weights: Float32, *, background: bool = False, skip_absent: bool = True, smooth: float = 1.0
) -> Any:
    """Return the mean over classes of weight x (1 - Dice).

    Dice = (2 sum(p t) + s) / (sum(p) + sum(t) + s), after Milletari et al. 2016 (arXiv 1606.04797) without squares.
    """
    probabilities, target = answer.judged(background=background)
    overlap, answered, true = _sums(probabilities, target)
    lost = 1 - (2 * overlap + smooth) / (answered + true + smooth)
    return _mean(lost, true, weights, skip_absent=skip_absent)


def tversky(
    answer: Prediction,
    weights: Float32,
    *,
    alpha: float,
    beta: float,
    power: float = 1.0,
    background: bool = False,
    skip_absent: bool = True,
    smooth: float = 1.0,
) -> Any:
    """Return the mean over classes of weight x (1 - index)^power, after Salehi et al. 2017 (arXiv 1706.05721).

    index = (hits + s) / (hits + alpha false + beta missed + s), in probabilities of pixels. alpha = beta = 1/2 is Dice
    with twice the s. `power` after Abraham and Khan 2018 (arXiv 1810.07842).
    """
    import tensorflow as tf

    probabilities, target = answer.judged(background=background)
    hits, answered, true = _sums(probabilities, target)
    index = (hits + smooth) / (hits + alpha * (answered - hits) + beta * (true - hits) + smooth)
    lost = 1 - index
    if power != 1:
        lost = tf.pow(tf.maximum(lost, 1e-6), power)  # the slope of a root is endless at 0
    return _mean(lost, true, weights, skip_absent=skip_absent)


def region_accuracy(answer: Prediction, weights: Float32, *, background: bool = True) -> Any:
    """Return the mean over the classes shown of weight x (1 - sum(p t) / sum(t)): 1 - mean class accuracy, softly.

    It is linear in the probabilities. So a pixel's pull does not fade as it gets better, nor grow as it gets worse.
    """
    import tensorflow as tf

    probabilities, target = answer.judged(background=background)
    overlap, _, true = _sums(probabilities, target)
    return _mean(1 - tf.math.divide_no_nan(overlap, true), true, weights, skip_absent=True)


def _sums(probabilities: Any, target: Any) -> tuple[Any, Any, Any]:
    """Return sum(p t), sum(p) and sum(t), float32 [classes] each, over the whole batch."""
    import tensorflow as tf

    sums = tf.stack([tf.reduce_sum(x, _PIXELS) for x in (probabilities * target, probabilities, target)])
    overlap, answered, true = tf.unstack(summed(sums))
    return overlap, answered, true


def _mean(lost: Any, true: Any, weights: Float32, *, skip_absent: bool) -> Any:
    """Average float32 [classes] over the classes shown, or over all; 0 where none is shown. Not over the weights."""
    import tensorflow as tf

    counted = tf.cast(true > 0, tf.float32) if skip_absent else tf.ones_like(true)
    own = weights[len(weights) - lost.shape[0] :]
    return tf.math.divide_no_nan(tf.reduce_sum(lost * own * counted), tf.reduce_sum(counted))
