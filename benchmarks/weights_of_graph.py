"""Reads the weights of a shipped slim U-Net from its ONNX graph. A training can begin with them.

    python -m benchmarks.weights_of_graph BUNDLE out/glass-lines out/glass-begun

The graph has no means and variances of batch normalisation, which are folded into its convolutions. They are measured
anew on crops of a dataset. Scale and offset then keep the answers the same.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge.bundle import SPLIT, Bundle, load_bundle
from edge.records import Float32
from trainer.datasets.dataset import load_picture, read_judged
from trainer.models import build_for_training
from trainer.recipe.settings import TrainSettings, stored_recipe
from trainer.training.hardware import import_keras

WEIGHTS = "begun.weights.h5"
_PICTURES, _CROPS_EACH, _BATCH = 240, 2, 32
_CLOSE = 1e-3  # of a logit


def read_back(bundle: Bundle, data: Path, out: Path) -> float:
    """Write weights, and beside them which pictures they know, into the folder `out`.

    `data`: the dataset whose prepared crops the statistics are of. Returns by how much a logit differs at most between
    the weights and the graph. Raises BundleError, DatasetError.
    """
    settings = TrainSettings.model_validate(stored_recipe(bundle.manifest.training.get("recipe")))
    import_keras(settings.seed)
    net = build_for_training(settings.model, settings.channels, len(bundle.classes), settings.sampling.crop_px)
    crops = _crops(data, bundle, settings)
    difference = _fill(net, _convolutions(bundle.onnx_path), crops)
    out.mkdir(parents=True, exist_ok=True)
    net.save_weights(out / WEIGHTS)
    shutil.copy(bundle.path / SPLIT, out / SPLIT)
    return difference


def _convolutions(path: Path) -> list[tuple[Float32, Float32]]:
    """Return the kernels, [out, in, h, w], and offsets, [out], of a graph's convolutions, in its order."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    own = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    return [(own[node.input[1]], own[node.input[2]]) for node in graph.node if node.op_type == "Conv"]


def _crops(data: Path, bundle: Bundle, settings: TrainSettings) -> Float32:
    """Cut prepared crops from some pictures, float32 [N, S, S, C] (0-255)."""
    names, side = tuple(entry.name for entry in bundle.classes), settings.sampling.crop_px
    entries = read_judged(data)[0]
    g = np.random.default_rng(0)
    chosen = g.choice(len(entries), min(_PICTURES, len(entries)), replace=False)
    crops = []
    for place in chosen:
        pixels = load_picture(entries[place], names, settings.preparing, settings.channels).pixels
        for _ in range(_CROPS_EACH):
            y, x = (int(g.integers(0, length - side + 1)) for length in pixels.shape[:2])
            crops.append(pixels[y : y + side, x : x + side].astype(np.float32))
    return np.stack(crops)


def _fill(net: Any, convolutions: list[tuple[Float32, Float32]], crops: Float32) -> float:
    """Give a network the weights; return by how much its logits then differ from those without new statistics."""
    import keras

    own = [layer for layer in net.layers if isinstance(layer, keras.layers.Conv2D)]
    norms = [layer for layer in net.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer, (kernel, offset) in zip(own, convolutions, strict=True):
        layer.set_weights([kernel.transpose(2, 3, 1, 0), *([offset] if layer.use_bias else [])])
    for norm, (_, offset) in zip(norms, convolutions, strict=False):  # the last convolution is not normalised
        still, one = np.zeros(len(offset)), np.ones(len(offset))
        norm.set_weights([one * np.sqrt(1 + norm.epsilon), offset, still, one])
    before = net.predict(crops[:_BATCH], verbose=0)
    probe = keras.Model(net.input, [layer.output for layer in own[: len(norms)]])
    sums: list[list[tuple[Any, Any]]] = [[] for _ in norms]
    for first in range(0, len(crops), _BATCH):
        for place, output in enumerate(probe(crops[first : first + _BATCH], training=False)):
            values = output.numpy().astype(np.float64)
            sums[place].append((values.mean((0, 1, 2)), (values**2).mean((0, 1, 2))))
    for norm, (_, offset), seen in zip(norms, convolutions, sums, strict=False):
        mean = np.mean([each for each, _ in seen], axis=0)
        variance = np.mean([each for _, each in seen], axis=0) - mean**2
        norm.set_weights([np.sqrt(variance + norm.epsilon), offset + mean, mean, variance])
    return float(np.abs(net.predict(crops[:_BATCH], verbose=0) - before).max())


def main() -> None:
    """Read the folders from the command line; exit code 1 where the answers differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    difference = read_back(load_bundle(given.bundle), given.data, given.out)
    print(json.dumps({"weights": str(given.out / WEIGHTS), "logits_differ_by": difference}))
    sys.exit(int(difference > _CLOSE))


if __name__ == "__main__":
    main()
