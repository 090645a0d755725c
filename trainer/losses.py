"""Cross-entropy and soft Dice, and their weighted sum. Each returns a scalar float32 tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.settings import LossSettings, ModelSettings

# Keeps Dice defined, and without a gradient that explodes, where a class is hardly there.
SMOOTH = 1.0


def one_hot(truth: Any, class_count: int) -> Any:
    """Turn class ids [N, H, W] (0 = clean) into float32 [N, H, W, K + 1], channel 0 the background."""
    import tensorflow as tf

    return tf.one_hot(tf.cast(truth, tf.int32), class_count + 1, dtype=tf.float32)


def soft_dice(probabilities: Any, target: Any) -> Any:
    """Return 1 - mean Dice over the classes that the batch's target shows; 0 where it shows none.

    Both float32 [N, H, W, K], defect classes only. Dice of a class, pooled over the batch, after Milletari et al. 2016
    (arXiv 1606.04797) without squares: (2 sum(p t) + s) / (sum(p) + sum(t) + s).
    """
    import tensorflow as tf

    overlap = tf.reduce_sum(probabilities * target, (0, 1, 2))
    sizes = tf.reduce_sum(probabilities + target, (0, 1, 2))
    present = tf.cast(tf.reduce_sum(target, (0, 1, 2)) > 0, tf.float32)
    dice = (2 * overlap + SMOOTH) / (sizes + SMOOTH)
    shown = tf.reduce_sum(present)
    return tf.math.divide_no_nan(tf.reduce_sum((1 - dice) * present), shown)


def make_loss(settings: LossSettings, model: ModelSettings, class_count: int) -> Callable[[Any, Any], Any]:
    """Return loss(logits [N, H, W, K'], truth ids [N, H, W]) for the model's head."""
    import tensorflow as tf

    def loss(logits: Any, truth: Any) -> Any:
        target = one_hot(truth, class_count)
        if model.has_background:
            entropy = tf.nn.softmax_cross_entropy_with_logits(target, logits)
            probabilities = tf.nn.softmax(logits)[..., 1:]
        else:
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(target[..., 1:], logits)
            probabilities = tf.nn.sigmoid(logits)
        dice = soft_dice(probabilities, target[..., 1:])
        return settings.cross_entropy * tf.reduce_mean(entropy) + settings.dice * dice

    return loss
