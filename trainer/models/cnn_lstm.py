"""A sequence model: the same convolutions on each of the last T frames, and an LSTM over what they saw.

For what one frame cannot tell: flicker, something that moves or grows. The answer is about the last frame's tile. The
frames are folded into the batch for the convolutions, which is what TimeDistributed computes, in one piece. T is fixed,
so the LSTM is unrolled, and the exported graph holds plain products and sums: no loop, no state between calls.
"""

from __future__ import annotations

from typing import Any

from keras import layers, ops

from trainer.models.heads import Features
from trainer.models.normalising import normalise
from trainer.recipe.model_settings import CnnLstmSettings


def features(settings: CnnLstmSettings, pixels: Any) -> Features:
    """Compute features of one cell, [N, 1, 1, F], of float32 [N, T, S, S, C] (0-255) with S the tile's side."""
    frames, *tile = pixels.shape[1:]
    x = ops.reshape(pixels, (-1, *tile))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    for width in settings.widths:
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(normalise(x))
        x = layers.MaxPooling2D(2)(x)
    # the mean sees how much is defective, the maximum that anything is
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    x = ops.reshape(x, (-1, frames, x.shape[-1]))
    x = layers.LSTM(settings.units, unroll=True)(x)
    cell = layers.Reshape((1, 1, settings.units))(layers.Dropout(settings.dropout)(x))
    return Features(cell, cell)
