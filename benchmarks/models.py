"""The cost of every family of networks: python benchmarks/models.py [--tile 128] → docs/models.md's table."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from converters.graph.onnx_from_keras import convert, load_tools
from edge.bundle import KERAS_MODEL, ONNX_MODEL
from edge.records import GraphContract

CLASSES = ("a", "b", "c")
_BATCH = 4
_ROUNDS = 8


def main() -> None:
    """Build, convert and time each family at its defaults; on random pixels, which cost what real ones cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tile", type=int, default=128, help="side of a square tile, px")
    parser.add_argument("families", nargs="*", help="default: all")
    arguments = parser.parse_args()
    load_tools()
    from trainer.recipe.model_settings import FAMILY_SETTINGS

    names = arguments.families or list(FAMILY_SETTINGS)
    timed = [(name, *_measured(name, arguments.tile)) for name in names]
    best = [float("inf")] * len(timed)
    for _ in range(_ROUNDS):  # by turns, so that a busy moment of the machine is everybody's
        for place, (_, _, run) in enumerate(timed):
            started_s = time.perf_counter()
            run()
            best[place] = min(best[place], time.perf_counter() - started_s)
    print(f"| family | parameters | GFLOP per {arguments.tile} px tile | ms per tile | stride | frames |")
    print("|---|---:|---:|---:|---:|---:|")
    for (name, about, _), seconds in zip(timed, best, strict=True):
        figures = f"{about.parameters:,} | {about.gflop_per_tile:.3f} | {1000 * seconds / _BATCH:.1f}"
        print(f"| `{name}` | {figures} | {about.stride_px} | {about.frames} |")


def _measured(name: str, tile_px: int) -> tuple[Any, Any]:
    """Return a family's facts, and a function that answers a batch of tiles with ONNX Runtime on one thread."""
    import onnxruntime

    from trainer.models import build_for_training, describe, for_inference
    from trainer.recipe.model_settings import FAMILY_SETTINGS

    settings = FAMILY_SETTINGS[name]()
    net = build_for_training(settings, 1, len(CLASSES), tile_px)
    contract = GraphContract(tile_px, tile_px, 1, settings.frames, settings.stride_px(tile_px), CLASSES, _BATCH)
    with tempfile.TemporaryDirectory() as folder:
        keras_path, onnx_path = Path(folder) / KERAS_MODEL, Path(folder) / ONNX_MODEL
        for_inference(net, settings, (tile_px, tile_px, 1), len(CLASSES)).save(keras_path)
        onnx_path.write_bytes(convert(keras_path, contract))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(onnx_path.read_bytes(), options, providers=["CPUExecutionProvider"])
    frames = [settings.frames] if settings.frames > 1 else []
    tiles = np.random.default_rng(0).integers(0, 256, (_BATCH, *frames, tile_px, tile_px, 1), np.uint8)
    inputs = {"tiles": tiles, "thresholds": np.full(len(CLASSES), 0.5, np.float32)}
    return describe(settings, 1, len(CLASSES), tile_px), lambda: session.run(["classes", "scores"], inputs)


if __name__ == "__main__":
    main()
