"""Measure the cost of a model of good parts: python benchmarks/good_parts.py [--recipe config/train.good-parts.yaml].

GFLOP are counted in the traced graph, two per multiplication of convolutions and matrix products. The yardstick is
`lite-unet`: how many GFLOP a second its graph reaches on ONNX Runtime, one thread, in turns with this one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from converters.graph.onnx_from_keras import convert, load_tools
from edge.bundle import KERAS_MODEL, TileEntry
from edge.records import GraphContract
from edge.yaml_settings import load_yaml
from trainer.recipe.good_parts_settings import ANOMALY, GoodPartsRecipe
from trainer.recipe.model_settings import FAMILY_SETTINGS

_BATCH = 4
_ROUNDS = 20
GFLOP_AT_MOST = 0.35  # of a tile of 128 px
SPEED_AT_LEAST = 0.9  # of the tiles a second that the GFLOP predict


def main() -> None:
    """Build both graphs at random weights' size, run them in turns, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", type=Path, default=Path("config/train.good-parts.yaml"))
    parser.add_argument("--tile", type=int, default=128, help="side of a square tile, px")
    arguments = parser.parse_args()
    load_tools()
    runs = [_good_parts(load_yaml(arguments.recipe, GoodPartsRecipe), arguments.tile), _yardstick(arguments.tile)]
    best = [float("inf")] * len(runs)
    for _ in range(_ROUNDS):  # by turns, so that a busy moment of the machine is everybody's
        for place, (_, run) in enumerate(runs):
            started_s = time.perf_counter()
            run()
            best[place] = min(best[place], (time.perf_counter() - started_s) / _BATCH)
    (gflop, _), (other_gflop, _) = runs
    predicted = other_gflop / best[1] / gflop
    print(f"good parts: {gflop:.3f} GFLOP per {arguments.tile} px tile (at most {GFLOP_AT_MOST} of 128 px)")
    print(f"yardstick lite-unet: {other_gflop:.3f} GFLOP, {other_gflop / best[1]:.1f} GFLOP/s")
    print(
        f"{1 / best[0]:.1f} tiles/s on one thread; its GFLOP predict {predicted:.1f}: {1 / best[0] / predicted:.2f} of "
        f"that (at least {SPEED_AT_LEAST})"
    )


def gflop_of(graph: bytes) -> float:
    """Count a graph's GFLOP per tile: two per multiplication of Conv, MatMul and Gemm, at the inferred shapes."""
    import onnx
    from onnx import shape_inference

    model = onnx.load_model_from_string(graph)
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.shape.dim and value.type.tensor_type.shape.dim[0].dim_param:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    model = shape_inference.infer_shapes(model, data_prop=True)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.value_info}
    weights = {each.name: list(each.dims) for each in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            out, kernel = shapes[node.output[0]], weights[node.input[1]]
            total += 2 * int(np.prod(out[1:])) * int(np.prod(kernel[1:]))
        elif node.op_type == "ConvTranspose":
            into, kernel = shapes[node.input[0]], weights[node.input[1]]
            total += 2 * int(np.prod(into[1:])) * int(np.prod(kernel[1:]))
        elif node.op_type in {"MatMul", "Gemm"}:
            total += 2 * int(np.prod(shapes[node.output[0]][1:])) * int(weights[node.input[1]][0])
    return total / 1e9


def _good_parts(recipe: GoodPartsRecipe, tile_px: int) -> tuple[float, Callable[[], Any]]:
    from trainer.anomaly.learning import Learned
    from trainer.anomaly.memory import Memory, Whitening
    from trainer.anomaly.network import encoder, scorer

    tile = TileEntry(height=tile_px, width=tile_px, overlap_px=0)
    recipe = recipe.model_copy(update={"tile": tile})
    encoded = encoder(recipe)
    rng, features = np.random.default_rng(0), encoded.outputs[0].shape[-1]
    axes = rng.normal(0, 1, (features, min(recipe.components, features))).astype(np.float32)
    memory = rng.normal(0, 1, (recipe.memory, axes.shape[1])).astype(np.float32)
    drawn = None
    if recipe.drawn is not None:
        from trainer.anomaly.drawn_learning import untaught

        drawn = untaught([tap.shape[-1] for tap in encoded.outputs[1:]], recipe.seed)
    weights = rng.uniform(0.5, 2, len(memory)) if recipe.neighbours else np.ones(len(memory))
    known = Memory(memory, weights.astype(np.float32))
    learned = Learned(Whitening(np.zeros(features, np.float32), axes), known, drawn=drawn)
    return _run(scorer(encoded, recipe, learned, 10.0), (ANOMALY,), tile_px, recipe.channels)


def _yardstick(tile_px: int) -> tuple[float, Callable[[], Any]]:
    from trainer.models import build_for_training, for_inference

    settings = FAMILY_SETTINGS["lite-unet"]()
    net = for_inference(build_for_training(settings, 1, 1, tile_px), settings, (tile_px, tile_px, 1), 1)
    return _run(net, (ANOMALY,), tile_px, 1)


def _run(net: Any, names: tuple[str, ...], tile_px: int, channels: int) -> tuple[float, Callable[[], Any]]:
    """Return a net's GFLOP per tile, and a function that answers a batch with ONNX Runtime on one thread."""
    import onnxruntime

    contract = GraphContract(tile_px, tile_px, channels, 1, 1, names, _BATCH)
    with tempfile.TemporaryDirectory() as folder:
        net.save(Path(folder) / KERAS_MODEL)
        graph = convert(Path(folder) / KERAS_MODEL, contract)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    tiles = np.random.default_rng(0).integers(0, 256, (_BATCH, tile_px, tile_px, channels), np.uint8)
    inputs = {"tiles": tiles, "thresholds": np.full(len(names), 0.5, np.float32)}
    return gflop_of(graph), lambda: session.run(["classes", "scores"], inputs)


if __name__ == "__main__":
    main()
