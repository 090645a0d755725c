"""A residual U-Net with instance normalisation, for surfaces whose contrast differs from part to part.

Residual blocks are after He et al. 2015 (arXiv 1512.03385), instance normalisation after Ulyanov et al. 2016 (arXiv
1607.08022). Each channel of each tile is normalised by its own mean and variance. So an answer depends on its tile
alone. There are no running statistics that a new batch of parts could contradict.

Upsampling is bilinear, or `unpool`, after SegNet (Badrinarayanan et al. 2015, arXiv 1511.00561): values return to where
the encoder's maxima were. ONNX has no unpooling that TensorRT runs. So the places are a mask, encoder value = pooled
maximum, and not indices. Each of several maximal values of a window is given the value.
"""

from __future__ import annotations

from typing import Any

from keras import layers, ops

from trainer.models.heads import Features
from trainer.recipe.model_settings import InstanceResunetSettings

_EPSILON = 1e-5


def features(settings: InstanceResunetSettings, pixels: Any) -> Features:
    """Compute features of float32 [N, H, W, C] (0-255), H and W multiples of `settings.multiple_px`."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    skips, masks = [], []
    for level, width in enumerate(settings.widths):
        if level:
            pooled = layers.MaxPooling2D(2)(x)
            if settings.upsampling == "unpool":
                masks.append(_maxima(x, pooled))
            x = pooled
        x = _residual(x, width)
        skips.append(x)
    deep = x = layers.Dropout(settings.dropout)(x)
    for width, skip in zip(reversed(settings.widths[:-1]), reversed(skips[:-1]), strict=True):
        x = layers.Conv2D(width, 1)(x)
        if settings.upsampling == "unpool":
            x = layers.Multiply()([layers.UpSampling2D(2)(x), masks.pop()])
        else:
            x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = _residual(layers.Concatenate()([x, skip]), width)
    return Features(x, deep)


def _maxima(x: Any, pooled: Any) -> Any:
    """Mark with 1, among 0, each value that is the maximum of its 2 x 2 window."""
    return ops.cast(ops.equal(x, layers.UpSampling2D(2)(pooled)), x.dtype)


def _residual(x: Any, width: int) -> Any:
    shortcut = x if x.shape[-1] == width else layers.Conv2D(width, 1, use_bias=False)(x)
    x = layers.ReLU()(_normalise(layers.Conv2D(width, 3, padding="same", use_bias=False)(x)))
    x = _normalise(layers.Conv2D(width, 3, padding="same", use_bias=False)(x))
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _normalise(x: Any) -> Any:
    """Normalise each channel of each tile over its pixels, then scale and shift it.

    Written out: what Keras has (GroupNormalization) exports as reductions over five axes, several times slower.
    """
    x = ops.cast(x, "float32")  # sums of squares over a whole tile outgrow a smaller type
    centred = x - ops.mean(x, axis=(1, 2), keepdims=True)
    variance = ops.mean(ops.square(centred), axis=(1, 2), keepdims=True)
    return layers.DepthwiseConv2D(1, depthwise_initializer="ones")(centred * ops.rsqrt(variance + _EPSILON))
