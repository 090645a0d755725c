"""A bundle whose answers can be told by hand: a pixel of 140 or more is a scratch, and one below is clean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge.bundle import Bundle, ClassEntry, Manifest, TileEntry, write_manifest

LEVEL, TILE = 140, 160


def write_step_bundle(path: Path, *, min_area_px: float, second: str = "chip") -> Bundle:
    """Write a converted bundle of the classes scratch and `second`, which it never answers; tiles of 160 px."""
    path.mkdir(parents=True)
    nodes = [
        helper.make_node("Cast", ["tiles"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Squeeze", ["levels", "last"], ["plane"]),
        helper.make_node("Less", ["plane", "level"], ["clean"]),
        helper.make_node("Where", ["clean", "none", "one"], ["ids"]),
        helper.make_node("Where", ["clean", "none", "most"], ["sure"]),
        # the thresholds take part, as every graph's do, and change nothing
        helper.make_node("ReduceMin", ["thresholds"], ["least"], keepdims=0),
        helper.make_node("Mul", ["least", "none"], ["nothing"]),
        helper.make_node("Add", ["ids", "nothing"], ["all_ids"]),
        helper.make_node("Cast", ["all_ids"], ["classes"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["sure"], ["scores"], to=TensorProto.UINT8),
    ]
    constants = {"last": np.array([3], np.int64)}
    constants |= {
        name: np.array(value, np.float32) for name, value in (("level", LEVEL), ("none", 0), ("one", 1), ("most", 255))
    }
    shape = ["N", TILE, TILE]
    graph = helper.make_graph(
        nodes,
        "bright",
        [
            helper.make_tensor_value_info("tiles", TensorProto.UINT8, [*shape, 1]),
            helper.make_tensor_value_info("thresholds", TensorProto.FLOAT, [2]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("classes", "scores")],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path / "model.onnx")
    classes = tuple(
        ClassEntry(id=k, name=name, colour=(230, 25, 75), threshold=0.5, min_area_px=min_area_px)
        for k, name in enumerate(("scratch", second), start=1)
    )
    tile = TileEntry(height=TILE, width=TILE, overlap_px=0)
    return write_manifest(path, Manifest(name="bright", version="1.0.0", classes=classes, tile=tile))
