"""Bundles around nets that are written as ONNX nodes: small enough to know every number, and without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from converters.graph.onnx_from_keras import add_head
from edge.bundle import GOLDEN, Bundle, ClassEntry, Manifest, TileEntry, load_bundle, write_manifest
from edge.opencv import cv2
from tests.converters.conftest import glass

TILE = 32
CLASS = ClassEntry(id=1, name="scratch", colour=(255, 0, 0), threshold=0.6, min_area_px=4)


def net_of(nodes: list[Any], weights: dict[str, Any], size: int = TILE) -> Any:
    """Build a net from `pixels`, float32 [N, size, size, 1], to `answer` of the same shape; weights by name."""
    shape = ["N", size, size, 1]
    return helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()],
    )


def write_onnx_bundle(folder: Path, net: Any, golden: int = 2, **manifest: Any) -> Bundle:
    """Write a converted bundle of one class around a net, with pictures of 40 x 60 px in `golden/`."""
    (folder / GOLDEN).mkdir(parents=True)
    for seed in range(golden):
        cv2.imwrite(str(folder / GOLDEN / f"part-{seed}.png"), glass(40, 60, seed)[:, :, 0])
    tile = TileEntry(height=TILE, width=TILE, overlap_px=8)
    described = Manifest(**{"name": "small", "version": "1.0.0", "classes": (CLASS,), "tile": tile, **manifest})
    bundle = Bundle(folder, described)
    bundle.onnx_path.write_bytes(add_head(net, bundle.contract(1)).SerializeToString())
    write_manifest(folder, described)
    return load_bundle(folder)


def steep_net() -> Any:
    """Scale pixels (0-255) to at most 306,000, past what a half holds, and back to 0-1: p = pixel x 1200 / 306,000."""
    nodes = [
        helper.make_node("Mul", ["pixels", "up"], ["large"]),
        helper.make_node("Relu", ["large"], ["still_large"]),
        helper.make_node("Mul", ["still_large", "down"], ["answer"]),
    ]
    return net_of(nodes, {"up": np.float32(1200), "down": np.float32(1 / 306_000)})


def blurring_net() -> Any:
    """Convolve twice with positive kernels that sum to 1 / 255 together: p is the mean brightness around a pixel."""
    rng = np.random.default_rng(0)
    first = rng.random((4, 1, 3, 3)).astype(np.float32)
    first /= first.sum(axis=(1, 2, 3), keepdims=True)
    second = np.full((1, 4, 1, 1), 1 / (4 * 255), np.float32)
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "first"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"]),
        helper.make_node("Transpose", ["c"], ["answer"], perm=[0, 2, 3, 1]),
    ]
    return net_of(nodes, {"first": first, "second": second})


def normalising_net() -> Any:
    """Normalise each tile to mean 0 and deviation 1 as Keras's instance normalisation is exported, then a sigmoid."""
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("GlobalAveragePool", ["planes"], ["mean"]),
        helper.make_node("Sub", ["planes", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "centred"], ["square"]),
        helper.make_node("GlobalAveragePool", ["square"], ["variance"]),
        helper.make_node("Add", ["variance", "epsilon"], ["safe"]),
        helper.make_node("Sqrt", ["safe"], ["deviation"]),
        helper.make_node("Reciprocal", ["deviation"], ["inverse"]),
        helper.make_node("Mul", ["centred", "inverse"], ["normal"]),
        helper.make_node("Clip", ["normal"], ["clipped"]),
        helper.make_node("Sigmoid", ["clipped"], ["p"]),
        helper.make_node("Transpose", ["p"], ["answer"], perm=[0, 2, 3, 1]),
    ]
    return net_of(nodes, {"epsilon": np.float32(1e-5).reshape(1, 1, 1, 1)})


def float_model_of(keras_file: Path, target: Path) -> None:
    """Export a Keras model with tf2onnx, as others would: float pixels to probabilities."""
    import keras
    import tensorflow as tf
    import tf2onnx

    model = keras.saving.load_model(keras_file)
    signature = [tf.TensorSpec(model.input_shape, tf.float32, name="pixels")]
    net = tf.function(lambda pixels: model(pixels, training=False), input_signature=signature)
    proto, _ = tf2onnx.convert.from_function(net, signature, opset=17)
    target.write_bytes(proto.SerializeToString())
