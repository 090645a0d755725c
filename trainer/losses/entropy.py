"""Losses that judge each pixel by itself: cross-entropy and focal cross-entropy."""

from __future__ import annotations

from typing import Any

from edge.records import Float32
from trainer.losses.answers import Prediction, summed


def cross_entropy(answer: Prediction, weights: Float32, *, label_smoothing: float = 0.0, balance: float = 0.0) -> Any:
    """Return the mean over pixels of -sum(t ln p).

    With a sigmoid head it is that of the binary one, over pixels and classes. `weights`, float32 [K + 1], multiply a
    pixel by its true class's (softmax) or a channel by its class's (sigmoid). The mean is not divided by their sum.
    Smoothing moves the target by Szegedy et al. 2016 (arXiv 1512.00567), eq. 7: t (1 - e) + e / classes.

    With `balance` b a pixel of class c also weighs f_c^-b / sum(f_k^(1 - b)). f are the classes' shares of the batch's
    pixels. So a rare class is not drowned while it is still unknown. Neither it nor Dice says much then, for Dice's
    slope is that of a probability near 0.
    """
    import tensorflow as tf

    classes = len(weights)
    if balance:
        weights = weights * _balancing(answer, balance)
    if answer.has_background:
        target = _smoothed(answer.target, label_smoothing, classes)
        entropy = tf.nn.softmax_cross_entropy_with_logits(target, answer.logits)
        return answer.mean(entropy * _of_pixels(answer, weights))
    target = _smoothed(answer.target[..., 1:], label_smoothing, 2)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(target, answer.logits)
    if balance:
        return answer.mean(entropy * _of_pixels(answer, weights)[..., None])
    return answer.mean(entropy * weights[1:])


def focal(
    answer: Prediction,
    weights: Float32,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    label_smoothing: float = 0.0,
) -> Any:
    """Return Keras's focal cross-entropy, categorical or binary, after Lin et al. 2017; means as in `cross_entropy`.

    `alpha` weighs defects, and 1 - alpha what is clean: pixels of the background, or of a sigmoid's channel.
    """
    import keras

    if answer.has_background:
        entropy = keras.losses.categorical_focal_crossentropy(
            answer.target,
            answer.logits,
            alpha=1.0,  # Keras multiplies by it whatever the class
            gamma=gamma,
            from_logits=True,
            label_smoothing=label_smoothing,
        )
        clean = answer.target[..., 0]
        balance = 1.0 if alpha is None else clean * (1 - alpha) + (1 - clean) * alpha
        return answer.mean(entropy * balance * _of_pixels(answer, weights))
    entropy = keras.losses.binary_focal_crossentropy(
        answer.target[..., 1:, None],  # Keras averages over the last axis
        answer.logits[..., None],
        apply_class_balancing=alpha is not None,
        alpha=alpha or 1.0,
        gamma=gamma,
        from_logits=True,
        label_smoothing=label_smoothing,
    )
    return answer.mean(entropy * weights[1:])


def _of_pixels(answer: Prediction, weights: Float32) -> Any:
    """Return each pixel's weight, float32 [N, h, w]: its true class's."""
    import tensorflow as tf

    return tf.reduce_sum(answer.target * weights, axis=-1)


def _balancing(answer: Prediction, balance: float) -> Any:
    """Return each class's factor, float32 [K + 1], 0 for a class that the batch does not show."""
    import tensorflow as tf

    pixels = summed(tf.reduce_sum(answer.target, (0, 1, 2)))
    shares = tf.math.divide_no_nan(pixels, tf.reduce_sum(pixels))
    factors = tf.where(shares > 0, tf.pow(tf.maximum(shares, 1e-9), -balance), 0.0)
    return tf.math.divide_no_nan(factors, tf.reduce_sum(shares * factors))


def _smoothed(target: Any, share: float, classes: int) -> Any:
    return target if not share else target * (1 - share) + share / classes
