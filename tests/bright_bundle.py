"""A bundle whose model anybody can check by eye: the probability of a scratch is the pixel's brightness / 255."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from converters.onnx_from_keras import add_head
from edge.bundle import Bundle, ClassEntry, Manifest, TileEntry, write_manifest
from edge.records import UInt8

TILE = 64
THRESHOLD = 0.5  # a pixel of 128 or more is scratched


def write_bright_bundle(path: Path, min_area_px: float = 4) -> Bundle:
    """Write the bundle: tiles of 64 px with 8 px of overlap, no preparing, one class."""
    from onnx import TensorProto, helper

    path.mkdir(parents=True)
    scratch = ClassEntry(id=1, name="scratch", colour=(255, 0, 0), threshold=THRESHOLD, min_area_px=min_area_px)
    manifest = Manifest(
        name="bright", version="1.0.0", classes=(scratch,), tile=TileEntry(height=TILE, width=TILE, overlap_px=8)
    )
    bundle = Bundle(path, manifest)
    net = helper.make_graph(
        [helper.make_node("Mul", ["pixels", "per_255"], ["answer"])],
        "bright",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", TILE, TILE, 1])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", TILE, TILE, 1])],
        [helper.make_tensor("per_255", TensorProto.FLOAT, [], [1 / 255])],
    )
    bundle.onnx_path.write_bytes(add_head(net, bundle.contract(1)).SerializeToString())
    return write_manifest(path, manifest)


def part(height: int = 100, width: int = 150, *scratches: tuple[int, int, int, int]) -> UInt8:
    """Draw a dark part, [H, W, 3], with bright rectangles (x, y, w, h)."""
    pixels = np.full((height, width, 3), 40, np.uint8)
    for x, y, w, h in scratches:
        pixels[y : y + h, x : x + w] = 250
    return pixels
