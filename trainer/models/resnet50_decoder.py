"""A residual encoder and decoder after RedNet (Jiang et al. 2018, arXiv 1806.01054), with ResNet50 as encoder.

Each level of ResNet50 is narrowed by a 1 x 1 convolution ("agent") and added to the way up. The way up mirrors the
encoder in residual blocks that grow by transposed convolutions.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from trainer.models.heads import Features
from trainer.models.normalising import normalise
from trainer.models.pretrained import encode
from trainer.recipe.model_settings import Resnet50DecoderSettings

_LEVELS = ("conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")


def features(settings: Resnet50DecoderSettings, pixels: Any) -> Features:
    """Compute features of float32 [N, H, W, C] (0-255), H and W multiples of `settings.multiple_px`."""
    *skips, deepest = encode(pixels, "ResNet50", settings, _LEVELS)
    first, *widths = settings.widths
    deep = x = layers.Dropout(settings.dropout)(_agent(deepest, first))
    for width, skip in zip(widths, reversed(skips), strict=True):
        x = layers.Add()([_grow(x, width), _agent(skip, width)])
    return Features(_grow(x, settings.widths[-1]), deep)


def _agent(x: Any, width: int) -> Any:
    return layers.ReLU()(normalise(layers.Conv2D(width, 1, use_bias=False)(x)))


def _grow(x: Any, width: int) -> Any:
    """Double the sides in a residual block: [N, h, w, F] → [N, 2h, 2w, width]."""
    shortcut = normalise(layers.Conv2DTranspose(width, 2, strides=2, use_bias=False)(x))
    x = layers.ReLU()(normalise(layers.Conv2D(width, 3, padding="same", use_bias=False)(x)))
    x = normalise(layers.Conv2DTranspose(width, 3, strides=2, padding="same", use_bias=False)(x))
    return layers.ReLU()(layers.Add()([x, shortcut]))
