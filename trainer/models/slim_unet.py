"""The slim U-Net: four levels of two convolutions, 16 to 128 channels, for fine defects on ordinary computers.

It is after Ronneberger et al. 2015 (arXiv 1505.04597), with batch normalisation and padded convolutions. Bilinear
upsampling takes the place of transposed convolutions, which leave checkerboards on thin scratches. A `stem_stride` of 2
lets everything between the first convolution and the last upsampling work at half resolution: a quarter of the
arithmetic.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from trainer.models.heads import Features
from trainer.models.normalising import normalise
from trainer.recipe.model_settings import SlimUnetSettings


def features(settings: SlimUnetSettings, pixels: Any) -> Features:
    """Compute features of float32 [N, H, W, C] (0-255), H and W multiples of `settings.multiple_px`."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    skips = []
    for level, width in enumerate(settings.widths):
        stride = settings.stem_stride if level == 0 else 2
        if level:
            x = layers.MaxPooling2D(2)(x)
            stride = 1
        x = _convolve(x, width, stride)
        x = _convolve(x, width)
        skips.append(x)
    deep = x = layers.Dropout(settings.dropout)(x)
    for width, skip in zip(reversed(settings.widths[:-1]), reversed(skips[:-1]), strict=True):
        x = _convolve(x, width, kernel=1)  # narrowed before it grows: an eighth of the arithmetic of doing it after
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = layers.Concatenate()([x, skip])
        x = _convolve(x, width)
        x = _convolve(x, width)
    return Features(x, deep, grow=settings.stem_stride)


def _convolve(x: Any, width: int, stride: int = 1, kernel: int = 3) -> Any:
    x = layers.Conv2D(width, kernel, strides=stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(normalise(x))
