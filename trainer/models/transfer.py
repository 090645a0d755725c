"""A patch classifier on a network of keras.applications: global average pooling and a linear head.

With pretrained weights the head learns first, on features as they are. Later stages let the backbone follow, from its
end. Its batch normalisation keeps its statistics as long as it does not learn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from keras import layers

from trainer.models.heads import Features
from trainer.models.pretrained import BACKBONE, encode
from trainer.recipe.model_settings import TransferSettings


def features(settings: TransferSettings, pixels: Any) -> Features:
    """Compute features of one cell, [N, 1, 1, F], of float32 [N, S, S, C] (0-255) with S the tile's side."""
    (x,) = encode(pixels, settings.backbone, settings)
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    cell = layers.Dropout(settings.dropout)(x)
    return Features(cell, cell)


def unfreezing(settings: TransferSettings) -> list[tuple[float, Callable[[Any], None]]]:
    """Return, for each stage, the share of the schedule from which it holds and what makes a model's layers so."""
    if settings.weights == "random":
        return [(0.0, partial(_let_learn, layers_share=1.0))]
    return [(stage.from_share, partial(_let_learn, layers_share=stage.layers_share)) for stage in settings.unfreezing]


def _let_learn(model: Any, layers_share: float) -> None:
    backbone = model.get_layer(BACKBONE)
    weighted = [layer for layer in backbone.layers if layer.weights]
    frozen = len(weighted) - round(layers_share * len(weighted))
    model.trainable = backbone.trainable = True  # Keras hands neither on to what is inside
    for place, layer in enumerate(weighted):
        layer.trainable = place >= frozen
