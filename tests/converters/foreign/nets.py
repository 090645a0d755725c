"""Nets as other tools write them, small enough to compute by hand: red minus blue tells a defect.

The net finds what is red: with r, g, b in 0-1, normalised by mean and deviation as torchvision does,

    logit = 12 (r' - b') - 3       r' = (r - mean_r) / std_r and so on

and a background logit of 0 where it has one. So p = sigmoid(logit) by either activation.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edge.opencv import cv2
from edge.records import Float32, UInt8

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TILE = 32
KERNEL = np.array([12, 0, -12], np.float32)
BIAS = -3.0


def expected_probability(bgr: UInt8) -> Float32:
    """Return float64 [H, W] for uint8 BGR pixels, by the formula above."""
    rgb = (bgr[..., ::-1].astype(np.float64) / 255 - MEAN) / STD
    probability: Float32 = 1 / (1 + np.exp(-(rgb @ KERNEL.astype(np.float64) + BIAS)))
    return probability


def part(seed: int, height: int = 40, width: int = 60) -> UInt8:
    """Draw a grey part, uint8 BGR, with red and blue spots on it: only the red ones are defects."""
    rng = np.random.default_rng(seed)
    picture: UInt8 = rng.integers(110, 130, (height, width, 1), np.uint8).repeat(3, axis=2)
    for colour in ((30, 30, 220), (220, 30, 30)):
        x, y = int(rng.integers(8, width - 8)), int(rng.integers(8, height - 8))
        cv2.circle(picture, (x, y), 5, colour, -1)
    return picture


def write_parts(folder: Path, count: int = 4, height: int = 40, width: int = 60) -> Path:
    """Write so many pictures of parts; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        cv2.imwrite(str(folder / f"part-{seed}.png"), part(seed, height, width))
    return folder


def torch_like(
    path: Path,
    *,
    opset: int = 18,
    batch: int | str = 1,
    size: int | str = TILE,
    background: bool = True,
    names: tuple[str, str] = ("input", "output"),
    outputs: int = 1,
    external: bool = False,
) -> Path:
    """Write the net as PyTorch's exporter does: NCHW, logits, Resize of opset 18, fixed batch, one side file if asked.

    Half the size and back again by nearest neighbours of a 2 x 2 repetition, so that Resize computes nothing.
    """
    channels = 2 if background else 1
    kernel = np.zeros((channels, 3, 1, 1), np.float32)
    kernel[-1, :, 0, 0] = KERNEL
    bias = np.zeros(channels, np.float32)
    bias[-1] = BIAS
    weights = {
        "conv.weight": kernel,
        "conv.bias": bias,
        "up": np.array([1, 1, 2, 2], np.float32),
        "axes": np.array([1], np.int64),
        "half": np.array([0, channels, size // 2, 2, size // 2, 2], np.int64) if isinstance(size, int) else None,
    }
    nodes = [
        helper.make_node("Conv", [names[0], "conv.weight", "conv.bias"], ["logits"], name="/conv/Conv"),
        helper.make_node("Resize", ["logits", "", "up"], ["large"], name="/up/Resize", mode="nearest",
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor", antialias=0),
        helper.make_node("MaxPool", ["large"], [names[1]], name="/pool/MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    ]  # fmt: skip
    made = [names[1]]
    if outputs > 1:
        nodes.append(helper.make_node("ReduceMean", [names[1], "axes"], ["mean"], name="/mean/ReduceMean", keepdims=1))
        made.append("mean")
    weights = {name: value for name, value in weights.items() if value is not None and name != "half"}
    if outputs == 1:
        del weights["axes"]
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [batch, 3, size, size])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, channels if place == 0 else 1, size, size])
            for place, name in enumerate(made)
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)])
    model.producer_name = "pytorch"
    if external:
        data = path.with_name(f"{path.name}.data")
        content = b""
        for tensor in model.graph.initializer:
            raw = numpy_helper.to_array(tensor).tobytes()
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", data.name), ("offset", len(content)), ("length", len(raw))):
                tensor.external_data.add(key=key, value=str(value))
            content += raw
        data.write_bytes(content)
    path.write_bytes(model.SerializeToString())
    return path


def around(path: Path, middle: list[Any], weights: dict[str, Any], opset: int, channels: int = 1) -> Path:
    """Write a net of `middle` nodes between `logits` (the formula) and `output`, NCHW, any batch, 0-1."""
    kernel = KERNEL.reshape(1, 3, 1, 1)
    tensors = {"w": kernel, "b": np.array([BIAS], np.float32), **weights}
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "w", "b"], ["logits"], name="/conv"), *middle],
        "main_graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, TILE, TILE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", channels, TILE, TILE])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)])
    path.write_bytes(model.SerializeToString())
    return path
