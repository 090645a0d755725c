"""A U-Net whose encoder is VGG16 (Simonyan and Zisserman 2014, arXiv 1409.1556), with ImageNet's weights where wanted.

The five blocks of VGG16, each before its pooling, are the levels; the way up is bilinear, with batch normalisation.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from trainer.models.heads import Features
from trainer.models.normalising import normalise
from trainer.models.pretrained import encode
from trainer.recipe.model_settings import Vgg16UnetSettings

_LEVELS = ("block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3")


def features(settings: Vgg16UnetSettings, pixels: Any) -> Features:
    """Compute features of float32 [N, H, W, C] (0-255), H and W multiples of `settings.multiple_px`."""
    *skips, x = encode(pixels, "VGG16", settings, _LEVELS)
    deep = x = layers.Dropout(settings.dropout)(x)
    for width, skip in zip(settings.widths, reversed(skips), strict=True):
        x = _convolve(x, width, kernel=1)
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = layers.Concatenate()([x, skip])
        x = _convolve(_convolve(x, width), width)
    return Features(x, deep)


def _convolve(x: Any, width: int, kernel: int = 3) -> Any:
    x = layers.Conv2D(width, kernel, padding="same", use_bias=False)(x)
    return layers.ReLU()(normalise(x))
