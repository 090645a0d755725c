"""From a family's features to what is asked of every family: logits to learn from, probabilities to answer with.

Let z be the 1 x 1 convolution's answers per pixel and u the gate's per tile. The probability of defect class k is

    softmax head:  p_k = softmax(z)_k sigmoid(u_k),  background p_0 = 1 - sum of the others
    sigmoid head:  p_k = sigmoid(z_k) sigmoid(u_k)

and without a gate sigmoid(u) is 1. Training is given logits whose softmax or sigmoid is exactly p. So one loss serves
gated and other networks, and teaches the gate as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from trainer.recipe.model_settings import ModelSettings

HEAD = "head"
GATE = "gate"
_FULL = "to_full_size"
_SUM = "head_sum"
# The gate begins open: sigmoid(2) = 0.88.
_OPEN = 2.0


@dataclass(frozen=True)
class Features:
    """A family's features of its pixels. `map`: float32 [N, h, w, F], from which the head reads.

    `grow`: factor by which the head's answers are enlarged to full size. `deep`: float32 [N, h', w', F'], from which a
    gate judges the whole tile. `fine`: features at full size, whose own head's answers are added.
    """

    map: Any
    deep: Any
    grow: int = 1
    fine: Any = None


def core(pixels: Any, features: Features, settings: ModelSettings, class_count: int, name: str) -> Any:
    """Return the keras.Model that holds all weights: pixels → [z] or [z, u], the answers before the arithmetic above.

    z: float32 [N, H, W, K']; u: float32 [N, K]; both also where the rest is trained in a smaller type.
    """
    z = layers.Conv2D(class_count + settings.has_background, 1, dtype="float32", name=HEAD)(features.map)
    if features.grow > 1:
        z = layers.UpSampling2D(features.grow, interpolation="bilinear", dtype="float32", name=_FULL)(z)
    if features.fine is not None:
        fine = layers.Conv2D(class_count + settings.has_background, 1, dtype="float32", name="head_fine")(features.fine)
        z = layers.Add(dtype="float32", name=_SUM)([z, fine])
    if settings.gate == "none":
        return keras.Model(pixels, [z], name=name)
    seen = layers.Concatenate(name="gate_pooled")(
        # the mean sees how much of the tile is defective, the maximum that anything is
        [layers.GlobalAveragePooling2D()(features.deep), layers.GlobalMaxPooling2D()(features.deep)]
    )
    bias = keras.initializers.Constant(_OPEN)
    u = layers.Dense(class_count, bias_initializer=bias, dtype="float32", name=GATE)(seen)
    return keras.Model(pixels, [z, u], name=name)


def core_of(trained: Any, like: Any) -> Any:
    """Return the part of a training model that `core` made; `like` is a core of the same settings."""
    names = {layer.name for layer in like.layers}
    z = next(name for name in (_SUM, _FULL, HEAD) if name in names)
    ends = [z, GATE] if GATE in names else [z]
    return keras.Model(trained.input, [trained.get_layer(end).output for end in ends], name=like.name)


def with_logits(net: Any, settings: ModelSettings) -> Any:
    """Return the keras.Model to train: pixels → float32 logits [N, H, W, K'] of the probabilities above."""
    z, *gate = net.outputs
    if gate:
        u = ops.reshape(gate[0], (-1, 1, 1, gate[0].shape[-1]))
        z = _gated_softmax(z, u) if settings.has_background else _gated_sigmoid(z, u)
    return keras.Model(net.input, z, name=net.name)


def _gated_softmax(z: Any, u: Any) -> Any:
    logs = ops.log_softmax(z, axis=-1)
    background, defects = logs[..., :1], logs[..., 1:]
    # probability that the gate takes from the defects is background
    background = ops.logsumexp(
        ops.concatenate([background, defects + ops.log_sigmoid(-u)], axis=-1), axis=-1, keepdims=True
    )
    return ops.concatenate([background, defects + ops.log_sigmoid(u)], axis=-1)


def _gated_sigmoid(z: Any, u: Any) -> Any:
    yes = ops.log_sigmoid(z) + ops.log_sigmoid(u)
    # 1 - p = (1 - sigmoid(z)) + sigmoid(z) (1 - sigmoid(u)), in logarithms: 1 - exp(yes) would lose small ones
    no = ops.logaddexp(ops.log_sigmoid(-z), ops.log_sigmoid(z) + ops.log_sigmoid(-u))
    return yes - no


def with_probabilities(net: Any, settings: ModelSettings) -> Any:
    """Return the keras.Model that a bundle keeps: pixels → float32 probabilities [N, H, W, K] of the defect classes.

    A softmax's background is left out by plain slicing, so that the file loads in Keras's safe mode.
    """
    z, *gate = net.outputs
    if settings.has_background:
        # written out: ONNX Runtime's Softmax over the channels takes four times as long, a quarter of edge-unet's time
        powers = ops.exp(z - ops.max(z, axis=-1, keepdims=True))
        probabilities = powers[..., 1:] / ops.sum(powers, axis=-1, keepdims=True)
    else:
        probabilities = layers.Activation("sigmoid", name="probabilities")(z)
    if gate:
        opened = layers.Activation("sigmoid", name="gate_opened")(gate[0])
        opened = layers.Reshape((1, 1, gate[0].shape[-1]), name="gate_per_class")(opened)
        probabilities = layers.Multiply(name="gated")([probabilities, opened])
    return keras.Model(net.input, probabilities, name=net.name)


def mean_over_views(model: Any, views: int) -> Any:
    """Return the keras.Model that answers the mean of `model`'s probabilities over a tile and its mirror images.

    Both float32 [N, (T,) H, W, C] (0-255) → float32 [N, h, w, K]. `views` as in ModelSettings. Each answer is mirrored
    back before the mean.
    """
    if views == 1:
        return model
    height, width = model.input_shape[-3:-1]
    rows, columns = model.output_shape[1:3]
    pixels = keras.Input(model.input_shape[1:], name="tiles", dtype="float32")
    answers = []
    for upside_down, mirrored in [(False, False), (False, True), (True, False), (True, True)][:views]:
        x = _turned(pixels, height if upside_down else 0, width if mirrored else 0, first_axis=len(pixels.shape) - 3)
        answers.append(_turned(model(x), rows if upside_down else 0, columns if mirrored else 0, first_axis=1))
    return keras.Model(pixels, layers.Average(name="mean_over_views")(answers), name=f"{model.name}_views")


def _turned(x: Any, rows: int, columns: int, *, first_axis: int) -> Any:
    """Turn the order of `rows` and `columns` of a tensor round; 0 leaves them as they are.

    By slices that walk backwards: every backend has them, while reversal becomes a node that is made for sequences.
    """
    for axis, count in ((first_axis, rows), (first_axis + 1, columns)):
        if count > 1:
            x = x[(slice(None),) * axis + (slice(None, None, -1),)]
    return x
