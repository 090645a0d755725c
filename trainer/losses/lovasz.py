"""The Lovász extension of the Jaccard loss: the convex closure of 1 - IoU in the pixels' errors.

After Berman, Rannen Triki, Blaschko 2018 (arXiv 1705.08790), algorithm 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edge.records import Float32
from trainer.losses.answers import Prediction, gathered


def lovasz(
    answer: Prediction,
    weights: Float32,
    *,
    hinge: bool = False,
    per_picture: bool = False,
    background: bool = False,
    skip_absent: bool = True,
    by_numpy: bool = False,
) -> Any:
    """Return the mean over classes (and pictures) of weight x the extension at the errors.

    Errors are |t - p|, or with `hinge` (sigmoid heads) max(0, 1 - logit x (2 t - 1)). Sorting costs n log n in the
    pixels of a batch, or of a picture. `by_numpy`: let NumPy sort, to the same order: on a processor, without XLA.
    """
    import tensorflow as tf

    probabilities, target = answer.judged(background=background and not hinge)
    errors = tf.nn.relu(1 - answer.logits * (2 * target - 1)) if hinge else tf.abs(target - probabilities)
    errors *= answer.known[..., None]  # those of ignored pixels come last, and count nothing
    errors, target = _flat(errors, per_picture=per_picture), _flat(target, per_picture=per_picture)
    own = weights[len(weights) - errors.shape[0] :, None]
    if not per_picture:
        errors, target = gathered(errors, axis=2), gathered(target, axis=2)
    if by_numpy:
        order = tf.ensure_shape(tf.numpy_function(falling_order, [errors], tf.int32), errors.shape)
    else:
        order = tf.argsort(errors, axis=-1, direction="DESCENDING")
    ranked = tf.gather(errors, order, batch_dims=2)
    slope = tf.stop_gradient(jaccard_steps(tf.gather(target, order, batch_dims=2)))
    values = tf.reduce_sum(ranked * slope, axis=-1)  # [classes, groups]
    shown = tf.reduce_sum(target, axis=-1) > 0
    counted = tf.cast(shown, tf.float32) if skip_absent else tf.ones_like(values)
    of_groups = tf.math.divide_no_nan(tf.reduce_sum(values * own * counted, axis=0), tf.reduce_sum(counted, axis=0))
    return tf.reduce_mean(of_groups)


def falling_order(errors: Float32) -> npt.NDArray[np.int32]:
    """Return the places of float32 [..., P] >= 0 along the last axis by falling value, equal ones as they stand.

    Numbers of 64 bits are sorted: an error's own bits, which rise with it, turned round, and its place below them. So
    that no value is looked up while they are compared. TensorFlow's own sorting takes eight times as long.
    """
    bits = np.ascontiguousarray(errors + np.float32(0)).view(np.int32)  # -0 becomes 0
    keys = (~bits).astype(np.int64) << 32
    keys |= np.arange(errors.shape[-1], dtype=np.int64)
    keys.sort(axis=-1)
    order: npt.NDArray[np.int32] = (keys & 0xFFFFFFFF).astype(np.int32)
    return order


def jaccard_steps(ranked: Any) -> Any:
    """Return by how much 1 - IoU grows with each further wrong pixel, float32 [..., P].

    `ranked`: the truth, 0 or 1, float32 [..., P], of pixels sorted by falling error.
    """
    import tensorflow as tf

    true = tf.reduce_sum(ranked, axis=-1, keepdims=True)
    left = true - tf.cumsum(ranked, axis=-1)
    union = true + tf.cumsum(1 - ranked, axis=-1)
    loss = 1 - left / union
    return tf.concat([loss[..., :1], loss[..., 1:] - loss[..., :-1]], axis=-1)


def _flat(values: Any, *, per_picture: bool) -> Any:
    """Turn [N, h, w, classes] into [classes, groups, pixels]: one group of all pixels, or one per picture."""
    import tensorflow as tf

    by_class = tf.transpose(values, (3, 0, 1, 2))
    shape = tf.shape(by_class)
    groups = shape[1] if per_picture else 1
    flat = tf.reshape(by_class, (shape[0], groups, -1))
    return tf.ensure_shape(flat, (values.shape[-1], None, None))
