"""The deep residual U-Net of Zhang et al. 2018 (arXiv 1711.10684): pre-activation blocks, 16 to 256 channels.

Normalisation and ReLU come before each convolution (He et al. 2016, arXiv 1603.05027). Training adds Gaussian noise to
the input, so that sensor noise is no feature to learn.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from trainer.models.heads import Features
from trainer.models.normalising import normalise
from trainer.recipe.model_settings import ResunetSettings


def features(settings: ResunetSettings, pixels: Any) -> Features:
    """Compute features of float32 [N, H, W, C] (0-255), H and W multiples of `settings.multiple_px`."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = layers.GaussianNoise(settings.noise / 127.5)(x)  # in training only
    x = layers.Conv2D(settings.widths[0], 3, padding="same", use_bias=False)(x)
    skips = []
    for level, width in enumerate(settings.widths):
        x = _residual(x, width, stride=2 if level else 1)
        skips.append(x)
    deep = x = layers.Dropout(settings.dropout)(x)
    for width, skip in zip(reversed(settings.widths[:-1]), reversed(skips[:-1]), strict=True):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = _residual(layers.Concatenate()([x, skip]), width)
    return Features(_activate(x), deep)


def _residual(x: Any, width: int, stride: int = 1) -> Any:
    # every second pixel by pooling: see edge_unet on what TensorFlow does otherwise
    seen = x if stride == 1 else layers.MaxPooling2D(1, strides=stride)(x)
    shortcut = layers.Conv2D(width, 1, use_bias=False)(seen)
    x = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(_activate(x))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(_activate(x))
    return layers.Add()([x, shortcut])


def _activate(x: Any) -> Any:
    return layers.ReLU()(normalise(x))
