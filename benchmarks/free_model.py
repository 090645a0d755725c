"""A bundle whose model costs next to nothing: what is left is what a station does itself."""

from __future__ import annotations

from pathlib import Path

from converters.graph.onnx_from_keras import add_head
from edge.bundle import Bundle, ClassEntry, Manifest, TileEntry, write_manifest

TILE_PX = 32


def write_free_bundle(path: Path) -> Bundle:
    """Write a bundle that makes each frame 32 x 32 px and calls a pixel a scratch by its brightness alone."""
    from onnx import TensorProto, helper

    path.mkdir(parents=True)
    manifest = Manifest.model_validate(
        {
            "name": "free",
            "version": "1.0.0",
            "classes": [ClassEntry(id=1, name="scratch", colour=(255, 0, 0), threshold=0.99, min_area_px=1)],
            "tile": TileEntry(height=TILE_PX, width=TILE_PX, overlap_px=0),
            "preparing": [
                {"step": "grey"},
                {"step": "resize", "width": TILE_PX, "height": TILE_PX, "fit": "stretch"},
            ],
        }
    )
    bundle = Bundle(path, manifest)
    shape = ["N", TILE_PX, TILE_PX, 1]
    net = helper.make_graph(
        [helper.make_node("Mul", ["pixels", "per_255"], ["answer"])],
        "free",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, shape)],
        [helper.make_tensor("per_255", TensorProto.FLOAT, [], [1 / 255])],
    )
    bundle.onnx_path.write_bytes(add_head(net, bundle.contract(1)).SerializeToString())
    return write_manifest(path, manifest)
