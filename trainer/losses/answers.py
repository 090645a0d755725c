"""A network's answers beside the truth, as losses read them; and sums over all devices that share a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.records import Float32
from trainer.datasets.masks import IGNORED
from trainer.recipe.loss_settings import BACKGROUND


@dataclass(frozen=True)
class Prediction:
    """A batch's logits and truth; ignored pixels have a target and probabilities of 0.

    `logits`: float32 [N, h, w, K']. `target`: float32 [N, h, w, K + 1], one-hot, channel 0 the background.
    `probabilities`: float32 [N, h, w, K + 1]. With a softmax K' = K + 1. With a sigmoid K' = K, and each class answers
    for itself. The background's probability is then that of no class: the product of their complements. `known`:
    float32 [N, h, w], 0 where the truth is ignored, else 1.
    """

    logits: Any
    target: Any
    probabilities: Any
    has_background: bool
    known: Any

    @staticmethod
    def of(logits: Any, truth: Any, class_count: int, *, has_background: bool) -> Prediction:
        """Pair logits of any float dtype with class ids, integers [N, h, w], 0 = clean, 255 = ignored."""
        import tensorflow as tf

        logits = tf.cast(logits, tf.float32)
        # an id past the last class has no channel that is hot
        target = tf.one_hot(tf.cast(truth, tf.int32), class_count + 1, dtype=tf.float32)
        known = tf.cast(tf.not_equal(tf.cast(truth, tf.int32), IGNORED), tf.float32)
        if has_background:
            probabilities = tf.nn.softmax(logits)
        else:
            defects = tf.nn.sigmoid(logits)
            probabilities = tf.concat([tf.reduce_prod(1 - defects, axis=-1, keepdims=True), defects], axis=-1)
        return Prediction(logits, target, probabilities * known[..., None], has_background, known)

    def mean(self, values: Any) -> Any:
        """Average float32 [N, h, w] or [N, h, w, classes] over the pixels that are not ignored; 0 where all are."""
        import tensorflow as tf

        known = self.known if len(values.shape) == len(self.known.shape) else self.known[..., None]
        counted = summed(tf.reduce_sum(self.known))
        of_all = summed(tf.cast(tf.size(self.known), tf.float32))
        return tf.reduce_mean(values * known) * tf.math.divide_no_nan(of_all, counted)

    def judged(self, *, background: bool) -> tuple[Any, Any]:
        """Return probabilities and target, float32 [N, h, w, classes], with or without the background."""
        first = 0 if background else 1
        return self.probabilities[..., first:], self.target[..., first:]


def class_weights(weights: Mapping[str, float], names: Sequence[str]) -> Float32:
    """Return float32 [K + 1]: the weight of the background, then of each of `names`; 1 where none is given."""
    return np.array([weights.get(name, 1.0) for name in (BACKGROUND, *names)], np.float32)


def summed(value: Any) -> Any:
    """Add a tensor up over the devices that share the batch; as it is where there is one device."""
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return value
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, value)


def gathered(value: Any, axis: int) -> Any:
    """Join a tensor's parts of all devices that share the batch along `axis`.

    It is as it was on one device.
    """
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return value
    return replica.all_gather(value, axis=axis)
