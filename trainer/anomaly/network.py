"""The network: a frozen encoder, whitening and a memory, as plain layers that every engine runs.

With f the whitened features of a cell and m the memory, the squared distance to the nearest is

    d^2 = |f|^2 + min over m of (|m|^2 - 2 m f)

The bracket is a 1 x 1 convolution. With `neighbours` each memory's squared distance has a weight, before the least is
taken. Neighbouring distances are smoothed, and with t the threshold distance

    p = d^2 / (d^2 + t^2)

is answered: 0.5 at the threshold, rising without end, so that what is far beyond it is still told apart. Marked defects
multiply d^2 by what they say of the cell, and so do drawn ones; head.py has the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from edge.records import Float32, Float64
from trainer.anomaly.drawn_head import CELL_PX, DEEP_PX, TAPS, DrawnHead
from trainer.anomaly.head import MOST, Head
from trainer.anomaly.learning import Learned
from trainer.anomaly.memory import Memory, Places, Whitening
from trainer.models.pretrained import encode
from trainer.recipe.good_parts_settings import STRIDES, GoodPartsRecipe
from trainer.recipe.model_settings import LiteUnetSettings

THRESHOLD = 0.5
WHITENING, MEMORY, NEARNESS, PLACES, HEAD, DRAWN = "whitening", "memory", "nearness", "places", "head", "drawn"
# EfficientNet-Lite0's last features of each stage, and their strides: 40, 80, 112, 192 and 320 channels.
_LEVELS = {3: "block4_out", 4: "block7_out", 5: "block10_out", 6: "block14_out", 7: "block15_out"}
_WEIGHTS = LiteUnetSettings(weights="imagenet")


def encoder(recipe: GoodPartsRecipe) -> Any:
    """Return the keras.Model: float32 [N, H, W, C] (0-255, grey or BGR) → float32 [N, H / cell, W / cell, F].

    With `drawn` it has further outputs, the features of each stage of `TAPS`. `cells_of` leaves these out. Raises
    DependencyError where the package that holds the weights is not installed.
    """
    pixels = keras.Input((recipe.tile.height, recipe.tile.width, recipe.channels), name="tiles", dtype="float32")
    taps = TAPS if recipe.drawn else ()
    asked = sorted({*recipe.stages, *taps})
    levels = encode(pixels, "EfficientNetLite0", _WEIGHTS, [_LEVELS[stage] for stage in asked])
    of_stage = dict(zip(asked, levels, strict=True))
    alike = [_resized(of_stage[stage], STRIDES[stage], recipe.cell_px) for stage in sorted(recipe.stages)]
    joined = layers.Concatenate()(alike) if len(alike) > 1 else alike[0]
    features = layers.AveragePooling2D(3, strides=1, padding="same", name="neighbours")(joined)
    if recipe.contrast_cells:  # the common light and texture of a whole region are no defect
        around = layers.AveragePooling2D(recipe.contrast_cells, strides=1, padding="same")(features)
        features = layers.Subtract(name="contrast")([features, around])
    outputs = [features, *(of_stage[tap] for tap in taps)] if taps else features
    model = keras.Model(pixels, outputs, name="good_parts_encoder")
    model.trainable = False
    return model


def cells_of(encoded: Any) -> Any:
    """Return the keras.Model that answers only the cells that are compared."""
    return keras.Model(encoded.input, encoded.outputs[0])


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
    said = _said(whitened, recipe, learned.head or Head.none(whitened.shape[-1]))
    cell_px: int = recipe.cell_px
    if learned.drawn is not None:  # its cells are 16 px wide, or as the others where these are finer
        cell_px = min(CELL_PX, cell_px)
        squares, said = (_resized(each, recipe.cell_px, cell_px) for each in (squares, said))
        said = said + _resized(_drawn(encoded.outputs[1:], learned.drawn), CELL_PX, cell_px)
    ratio = squares * ops.exp(ops.clip(said, -MOST, MOST))
    answer = layers.UpSampling2D(cell_px, interpolation="bilinear", name="to_full_size")(ratio / (ratio + 1.0))
    return keras.Model(encoded.input, answer, name="good_parts")


def _whitened(encoded: Any, whitening: Whitening) -> Any:
    axes = whitening.axes
    layer = layers.Conv2D(axes.shape[1], 1, name=WHITENING)
    return _fixed(layer, [axes[None, None], -(whitening.mean @ axes)], encoded.outputs[0])


def _squares(whitened: Any, recipe: GoodPartsRecipe, learned: Learned, threshold: float) -> Any:
    known = learned.known
    distance = _from_places(whitened, known) if isinstance(known, Places) else _from_memory(whitened, known)
    return ops.square(_smooth(distance, recipe) / threshold)


def _said(whitened: Any, recipe: GoodPartsRecipe, head: Head) -> Any:
    layer = layers.Conv2D(1, 1, name=HEAD)
    logit = _fixed(layer, [head.weights[None, None, :, None], np.array([head.bias])], whitened)
    return _smooth(logit, recipe)


def _drawn(taps: Sequence[Any], head: DrawnHead) -> Any:
    """Return what the head of drawn defects says, float32 [N, H / 16, W / 16, 1], from the encoder's stages."""
    width = len(head.bias)
    summed: dict[int, Any] = {}
    for stage, tap, kernel in zip(TAPS, taps, head.taps, strict=True):
        side = kernel.shape[0]
        layer = layers.Conv2D(width, side, strides=side, use_bias=stage == TAPS[0], name=f"{DRAWN}_{stage}")
        own = _fixed(layer, [kernel, head.bias] if stage == TAPS[0] else [kernel], tap)
        cell_px = STRIDES[stage] * side
        summed[cell_px] = summed[cell_px] + own if cell_px in summed else own
    x = ops.relu(summed[CELL_PX] + _resized(summed[DEEP_PX], DEEP_PX, CELL_PX))
    for number, (kernel, bias) in enumerate(head.layers, start=1):
        layer = layers.Conv2D(len(bias), kernel.shape[0], padding="same", name=f"{DRAWN}_layer_{number}")
        x = _fixed(layer, [kernel, bias], x)
        if number < len(head.layers):
            x = ops.relu(x)
    return x


def _drawn_of(model: Any, names: set[str]) -> DrawnHead | None:
    kept = [model.get_layer(f"{DRAWN}_{stage}").get_weights() for stage in TAPS if f"{DRAWN}_{stage}" in names]
    if not kept:
        return None
    after = [name for name in (f"{DRAWN}_layer_{number}" for number in range(1, len(names))) if name in names]
    layers_after = tuple(tuple(model.get_layer(name).get_weights()) for name in after)
    return DrawnHead(tuple(one[0] for one in kept), kept[0][1], layers_after)


def _smooth(cells: Any, recipe: GoodPartsRecipe) -> Any:
    for _ in range(recipe.smooth_cells):  # at the edge of a tile over the neighbours that there are
        cells = layers.AveragePooling2D(3, strides=1, padding="same")(cells)
    return cells


def distance_of(probability: Float64 | float, threshold: float) -> Float64:
    """Return the distance behind an answered probability, which is below 1."""
    p = np.asarray(probability, np.float64)
    return np.asarray(threshold * np.sqrt(p / (1 - p)))


def _from_memory(whitened: Any, memory: Memory) -> Any:
    points = memory.points
    kernel = -2 * points.T[None, None]
    apart = _fixed(layers.Conv2D(len(points), 1, name=MEMORY), [kernel, (points * points).sum(axis=1)], whitened)
    own = ops.sum(whitened * whitened, axis=-1, keepdims=True)
    if (memory.weights == 1).all():
        return ops.sqrt(ops.relu(ops.min(apart, axis=-1, keepdims=True) + own))
    weighed = layers.Normalization(axis=-1, name=NEARNESS)  # it multiplies by 1 / sqrt(variance)
    weighed.build(apart.shape)
    weighed.set_weights([0 * memory.weights, memory.weights**-2.0, np.array(0, weighed.weights[-1].dtype)])
    weighed.finalize_state()
    return ops.sqrt(ops.relu(ops.min(weighed(apart + own), axis=-1, keepdims=True)))


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
    head, drawn = None, _drawn_of(model, names)
    if HEAD in names:
        weights, shift = model.get_layer(HEAD).get_weights()
        head = Head(weights[0, 0, :, 0], float(shift[0]))
    if MEMORY in names:
        kernel, _ = model.get_layer(MEMORY).get_weights()
        points = np.ascontiguousarray(kernel[0, 0].T / -2)
        weights = np.ones(len(points), np.float32)
        if NEARNESS in names:
            weights = np.asarray(model.get_layer(NEARNESS).get_weights()[1], np.float32) ** -0.5
        return Learned(whitening, Memory(points, weights), head, drawn)
    mean, variance, _ = model.get_layer(PLACES).get_weights()
    return Learned(whitening, Places(mean, variance), head, drawn)


def _fixed(layer: Any, weights: Sequence[Float32], x: Any) -> Any:
    """Apply a layer with weights that are not learned."""
    layer.build(x.shape)
    layer.set_weights([np.asarray(each, np.float32) for each in weights])
    layer.trainable = False
    return layer(x)
