"""The classic U-Net of Ronneberger et al. 2015 (arXiv 1505.04597): the yardstick.

There are five levels of two convolutions, 32 to 512 channels (the paper's own 64 to 1024 by `widths`). Transposed
convolutions lead up. There is no normalisation, and every kernel has L2 regularisation. Convolutions are padded, so
that every pixel of a tile is answered.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from trainer.models.heads import Features
from trainer.recipe.model_settings import ClassicUnetSettings


def features(settings: ClassicUnetSettings, pixels: Any) -> Features:
    """Compute features of float32 [N, H, W, C] (0-255), H and W multiples of `settings.multiple_px`."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    skips = []
    for level, width in enumerate(settings.widths):
        if level:
            x = layers.MaxPooling2D(2)(x)
        x = _convolve(_convolve(x, width, settings.l2), width, settings.l2)
        skips.append(x)
    deep = x = layers.Dropout(settings.dropout)(x)
    for width, skip in zip(reversed(settings.widths[:-1]), reversed(skips[:-1]), strict=True):
        x = layers.Conv2DTranspose(
            width, 2, strides=2, kernel_initializer="he_normal", kernel_regularizer=keras.regularizers.L2(settings.l2)
        )(x)
        x = layers.Concatenate()([skip, x])
        x = _convolve(_convolve(x, width, settings.l2), width, settings.l2)
    return Features(x, deep)


def _convolve(x: Any, width: int, l2: float) -> Any:
    # He's initialisation keeps the variance through ReLUs, which nothing else does here
    return layers.Conv2D(
        width,
        3,
        padding="same",
        activation="relu",
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(l2),
    )(x)
