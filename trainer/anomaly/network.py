"""The network: a frozen encoder, whitening and a memory, as plain layers that every engine runs.

With f the whitened features of a cell and m the memory, the squared distance to the nearest is

    d^2 = |f|^2 + min over m of (|m|^2 - 2 m f)

The bracket is a 1 x 1 convolution. Neighbouring distances are smoothed, and with t the threshold distance

    p = d^2 / (d^2 + t^2)

is answered: 0.5 at the threshold, rising without end, so that what is far beyond it is still told apart. Marked defects
multiply d^2 by what they say of the cell; head.py has the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from edge.records import Float32, Float64
from trainer.anomaly.head import MOST, Head
from trainer.anomaly.learning import Learned
from trainer.anomaly.memory import Places, Whitening
from trainer.models.pretrained import encode
from trainer.recipe.good_parts_settings import STRIDES, GoodPartsRecipe
from trainer.recipe.model_settings import LiteUnetSettings

THRESHOLD = 0.5
WHITENING, MEMORY, PLACES, HEAD = "whitening", "memory", "places", "head"
# EfficientNet-Lite0's last features of each stage, and their strides: 40, 80, 112, 192 and 320 channels.
_LEVELS = {3: "block4_out", 4: "block7_out", 5: "block10_out", 6: "block14_out", 7: "block15_out"}
_WEIGHTS = LiteUnetSettings(weights="imagenet")


def encoder(recipe: GoodPartsRecipe) -> Any:
    """Return the keras.Model: float32 [N, H, W, C] (0-255, grey or BGR) → float32 [N, H / cell, W / cell, F].

    Raises DependencyError where the package that holds the weights is not installed.
    """
    pixels = keras.Input((recipe.tile.height, recipe.tile.width, recipe.channels), name="tiles", dtype="float32")
    stages = sorted(recipe.stages)
    levels = encode(pixels, "EfficientNetLite0", _WEIGHTS, [_LEVELS[stage] for stage in stages])
    alike = [_resized(level, STRIDES[stage], recipe.cell_px) for level, stage in zip(levels, stages, strict=True)]
    joined = layers.Concatenate()(alike) if len(alike) > 1 else alike[0]
    features = layers.AveragePooling2D(3, strides=1, padding="same", name="neighbours")(joined)
    if recipe.contrast_cells:  # the common light and texture of a whole region are no defect
        around = layers.AveragePooling2D(recipe.contrast_cells, strides=1, padding="same")(features)
        features = layers.Subtract(name="contrast")([features, around])
    model = keras.Model(pixels, features, name="good_parts_encoder")
    model.trainable = False
    return model


def _resized(level: Any, stride: int, cell_px: int) -> Any:
    if stride > cell_px:
        return layers.UpSampling2D(stride // cell_px, interpolation="bilinear")(level)
    return layers.AveragePooling2D(cell_px // stride)(level) if stride < cell_px else level


def scorer(encoded: Any, recipe: GoodPartsRecipe, learned: Learned, threshold: float) -> Any:
    """Return the keras.Model a bundle keeps: tiles as of `encoder` → float32 probabilities [N, H, W, 1].

    `encoded`: what `encoder` returned. `learned`: with a memory, or with the places of a part in a fixture. With
    places, the distance of a cell is the root of the mean of (f - mean)^2 / variance. That is PaDiM with diagonal
    covariances. `threshold`: the distance at which 0.5 is answered, where no defects were marked.
    """
    whitened = _whitened(encoded, learned.whitening)
    squares = _squares(whitened, recipe, learned, threshold)
    ratio = squares * _factor(whitened, recipe, learned.head or Head.none(whitened.shape[-1]))
    answer = layers.UpSampling2D(recipe.cell_px, interpolation="bilinear", name="to_full_size")(ratio / (ratio + 1.0))
    return keras.Model(encoded.input, answer, name="good_parts")


def _whitened(encoded: Any, whitening: Whitening) -> Any:
    axes = whitening.axes
    layer = layers.Conv2D(axes.shape[1], 1, name=WHITENING)
    return _fixed(layer, [axes[None, None], -(whitening.mean @ axes)], encoded.output)


def _squares(whitened: Any, recipe: GoodPartsRecipe, learned: Learned, threshold: float) -> Any:
    known = learned.known
    distance = _from_places(whitened, known) if isinstance(known, Places) else _from_memory(whitened, known)
    return ops.square(_smooth(distance, recipe) / threshold)


def _factor(whitened: Any, recipe: GoodPartsRecipe, head: Head) -> Any:
    layer = layers.Conv2D(1, 1, name=HEAD)
    logit = _fixed(layer, [head.weights[None, None, :, None], np.array([head.bias])], whitened)
    return ops.exp(ops.clip(_smooth(logit, recipe), -MOST, MOST))


def _smooth(cells: Any, recipe: GoodPartsRecipe) -> Any:
    for _ in range(recipe.smooth_cells):  # at the edge of a tile over the neighbours that there are
        cells = layers.AveragePooling2D(3, strides=1, padding="same")(cells)
    return cells


def distance_of(probability: Float64 | float, threshold: float) -> Float64:
    """Return the distance behind an answered probability, which is below 1."""
    p = np.asarray(probability, np.float64)
    return np.asarray(threshold * np.sqrt(p / (1 - p)))


def _from_memory(whitened: Any, memory: Float32) -> Any:
    kernel = -2 * memory.T[None, None]
    nearest = _fixed(layers.Conv2D(len(memory), 1, name=MEMORY), [kernel, (memory * memory).sum(axis=1)], whitened)
    squares = ops.min(nearest, axis=-1, keepdims=True) + ops.sum(whitened * whitened, axis=-1, keepdims=True)
    return ops.sqrt(ops.relu(squares))


def _from_places(whitened: Any, places: Places) -> Any:
    normal = layers.Normalization(axis=(1, 2, 3), name=PLACES)
    normal.build(whitened.shape)
    normal.set_weights([places.mean, places.variance, np.array(0, normal.weights[-1].dtype)])
    normal.finalize_state()
    return ops.sqrt(ops.mean(ops.square(normal(whitened)), axis=-1, keepdims=True))


def learned_by(model: Any) -> Learned:
    """Read back from a bundle's keras.Model what `scorer` was given."""
    axes, bias = model.get_layer(WHITENING).get_weights()
    axes = axes[0, 0]
    mean = -np.linalg.lstsq(axes.T, bias, rcond=None)[0]
    whitening = Whitening(np.asarray(mean, np.float32), axes)
    names = {layer.name for layer in model.layers}
    head = None
    if HEAD in names:
        weights, shift = model.get_layer(HEAD).get_weights()
        head = Head(weights[0, 0, :, 0], float(shift[0]))
    if MEMORY in names:
        kernel, _ = model.get_layer(MEMORY).get_weights()
        return Learned(whitening, np.ascontiguousarray(kernel[0, 0].T / -2), head)
    mean, variance, _ = model.get_layer(PLACES).get_weights()
    return Learned(whitening, Places(mean, variance), head)


def _fixed(layer: Any, weights: Sequence[Float32], x: Any) -> Any:
    """Apply a layer with weights that are not learned."""
    layer.build(x.shape)
    layer.set_weights([np.asarray(each, np.float32) for each in weights])
    layer.trainable = False
    return layer(x)
