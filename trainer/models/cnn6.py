"""Six convolutions and a dense head: the smallest patch classifier, one answer per tile."""

from __future__ import annotations

from typing import Any

from keras import layers

from trainer.models.heads import Features
from trainer.models.normalising import normalise
from trainer.recipe.model_settings import Cnn6Settings


def features(settings: Cnn6Settings, pixels: Any) -> Features:
    """Compute features of one cell, [N, 1, 1, F], of float32 [N, S, S, C] (0-255) with S the tile's side."""
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    for place, width in enumerate(settings.widths):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(normalise(x))
        if place % 2:
            x = layers.MaxPooling2D(2)(x)
    gathered = (layers.Flatten() if settings.gather == "flatten" else layers.GlobalAveragePooling2D())(x)
    x = layers.Dense(settings.dense, activation="relu")(gathered)
    x = layers.Dropout(settings.dropout)(x)
    cell = layers.Reshape((1, 1, settings.dense))(x)
    return Features(cell, cell)
