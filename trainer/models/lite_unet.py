"""EfficientNet-Lite0 as the encoder of a U-Net, with the way up of `edge-unet`: for few pictures.

The encoder may begin with what it learned on ImageNet. A few hundred pictures do not teach a network to see. Each of
its strides 2, 4, 8, 16 (and 32, with five widths) is narrowed by a 1 x 1 convolution. It is added on the way up.
"""

from __future__ import annotations

from typing import Any

from keras import layers

from trainer.models import edge_unet
from trainer.models.efficientnet_lite import LEVELS
from trainer.models.heads import Features
from trainer.models.normalising import convolve
from trainer.models.pretrained import encode
from trainer.recipe.model_settings import LiteUnetSettings


def features(settings: LiteUnetSettings, pixels: Any) -> Features:
    """Compute features of float32 [N, H, W, C] (0-255), H and W multiples of `settings.multiple_px`, to learn from."""
    return _features(settings, pixels, edge_unet.scaled(pixels), edge_unet.LEARNING["rep"])


def deployed_features(settings: LiteUnetSettings, pixels: Any) -> Features:
    """Compute the same from the weights that `edge_unet.deploy` makes."""
    return _features(settings, pixels, pixels, edge_unet.DEPLOYED["rep"])


def _features(settings: LiteUnetSettings, pixels: Any, scaled: Any, block: edge_unet.Block) -> Features:
    levels = encode(pixels, "EfficientNetLite0", settings, LEVELS[: len(settings.widths)])
    *skips, deep = [
        convolve(x, width, 1, 1, f"agent{level}")
        for level, (x, width) in enumerate(zip(levels, settings.widths, strict=True))
    ]
    deep = layers.ReLU()(deep)
    if settings.context == "strips":
        deep = edge_unet.strips(deep)
    deep = layers.Dropout(settings.dropout)(deep)
    x = edge_unet.rise(deep, skips, settings.widths, settings.fine_blocks, block)
    return Features(x, deep, grow=2, fine=edge_unet.detail(x, scaled, 2) if settings.detail else None)
