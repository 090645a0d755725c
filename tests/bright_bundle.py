"""A bundle whose model anybody can check by eye: the probability of a scratch is the pixel's brightness / 255."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from converters.graph.onnx_from_keras import add_head
from edge.bundle import Bundle, ClassEntry, GoldenEntry, Manifest, TileEntry, write_manifest
from edge.opencv import cv2
from edge.records import UInt8

TILE = 64
THRESHOLD = 0.5  # a pixel of 128 or more is scratched


def write_bright_bundle(
    path: Path, min_area_px: float = 4, white: float = 255, *, not_a_number: bool = False
) -> Bundle:
    """Write the bundle: tiles of 64 px with 8 px of overlap, no preparing, one class.

    `white`: the brightness at which the probability would be 1; another one makes another model. `not_a_number`: it
    answers NaN, by numbers that grow too large.
    """
    from onnx import TensorProto, helper

    path.mkdir(parents=True)
    scratch = ClassEntry(id=1, name="scratch", colour=(255, 0, 0), threshold=THRESHOLD, min_area_px=min_area_px)
    manifest = Manifest(
        name="bright", version="1.0.0", classes=(scratch,), tile=TileEntry(height=TILE, width=TILE, overlap_px=8)
    )
    bundle = Bundle(path, manifest)
    nodes = [helper.make_node("Mul", ["pixels", "per_white"], ["answer"])]
    if not_a_number:
        nodes = [
            helper.make_node("Mul", ["pixels", "per_white"], ["large"]),
            helper.make_node("Mul", ["large", "large"], ["too_large"]),
            helper.make_node("Sub", ["too_large", "too_large"], ["answer"]),
        ]
    net = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", TILE, TILE, 1])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", TILE, TILE, 1])],
        [helper.make_tensor("per_white", TensorProto.FLOAT, [], [1e30 if not_a_number else 1 / white])],
    )
    bundle.onnx_path.write_bytes(add_head(net, bundle.contract(1)).SerializeToString())
    return write_manifest(path, manifest)


def part(height: int = 100, width: int = 150, *scratches: tuple[int, int, int, int]) -> UInt8:
    """Draw a dark part of two shades, [H, W, 3], with bright rectangles (x, y, w, h)."""
    pixels = np.full((height, width, 3), 38, np.uint8)
    pixels[:, width // 2 :] = 42
    for x, y, w, h in scratches:
        pixels[y : y + h, x : x + w] = 250
    return pixels


def add_golden(bundle: Bundle) -> Bundle:
    """Add a golden frame of one tile with two scratches; its map by hand: what is drawn bright is scratched."""
    pixels = part(TILE, TILE, (5, 5, 10, 10), (30, 40, 20, 8))
    expected = np.where(pixels[..., 0] >= 128, 1, 0).astype(np.uint8)
    (bundle.path / "golden").mkdir()
    cv2.imwrite(str(bundle.path / "golden" / "0.png"), pixels)
    cv2.imwrite(str(bundle.path / "golden" / "0.map.png"), expected)
    grey = np.ascontiguousarray(pixels[..., :1])
    entry = GoldenEntry(
        image="golden/0.png",
        prepared_sha256=hashlib.sha256(grey.tobytes()).hexdigest(),
        expected_map="golden/0.map.png",
    )
    return write_manifest(bundle.path, bundle.manifest.model_copy(update={"golden": (entry,)}))


def write_bright_cells(path: Path, overlap_px: int = 0, frames: int = 1) -> Bundle:
    """Write a bundle of one answer per tile of 64 px: the mean brightness of the tile, over `frames` frames."""
    from onnx import TensorProto, helper

    path.mkdir(parents=True, exist_ok=True)
    bright = ClassEntry(id=1, name="scratch", colour=(255, 0, 0), threshold=THRESHOLD, min_area_px=4)
    tile = TileEntry(height=TILE, width=TILE, overlap_px=overlap_px)
    manifest = Manifest(name="cells", version="1.0.0", classes=(bright,), tile=tile, stride=TILE, frames=frames)
    bundle = Bundle(path, manifest)
    sequence = [frames] if frames > 1 else []
    axes = [1, 2, 3] if frames > 1 else [1, 2]
    nodes = [helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=axes, keepdims=1)]
    if frames > 1:
        nodes.append(helper.make_node("Squeeze", ["mean", "time"], ["mean_of_all"]))
    nodes.append(helper.make_node("Mul", ["mean_of_all" if frames > 1 else "mean", "per_255"], ["answer"]))
    net = helper.make_graph(
        nodes,
        "cells",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", *sequence, TILE, TILE, 1])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", 1, 1, 1])],
        [
            helper.make_tensor("per_255", TensorProto.FLOAT, [], [1 / 255]),
            helper.make_tensor("time", TensorProto.INT64, [1], [1]),
        ],
    )
    bundle.onnx_path.write_bytes(add_head(net, bundle.contract(1)).SerializeToString())
    return write_manifest(path, manifest)
