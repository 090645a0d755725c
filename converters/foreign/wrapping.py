"""A net's input and output, put into the graph: uint8 tiles → the net's own pixels → its answer → probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.foreign.lowering import OPSET, words_of
from converters.foreign.nets import Net
from converters.foreign.understanding import Reading
from converters.graph.layout import channels_first
from converters.graph.onnx_from_keras import add_head, simplified
from edge.errors import ContractError
from edge.records import GraphContract


def graph_of(net: Net, reading: Reading, contract: GraphContract) -> bytes:
    """Return the serialised graph of the contract around `net`. Raises ContractError, ConversionError."""
    height, width = contract.tile_height, contract.tile_width
    inside = [height, width, len(reading.order)] if reading.layout == "nhwc" else [len(reading.order), height, width]
    frames = [reading.frames] if reading.frames > 1 else []
    model = net.plain((*frames, *inside))
    try:
        wrapped = _wrapped(model, reading, contract)
        plain = channels_first(simplified(wrapped).graph, OPSET)
        return bytes(add_head(plain, contract).SerializeToString(deterministic=True))
    except Exception as error:  # onnxslim and shape inference raise exceptions of many kinds
        raise ContractError(
            f"{net.path} cannot be understood: {words_of(error)}. Export it again with plain ONNX operators"
        ) from error


def _wrapped(model: Any, reading: Reading, contract: GraphContract) -> Any:
    """Return an onnx.ModelProto from float32 [N, (T,) H, W, C] of 0-255 to probabilities [N, h, w, K]."""
    from onnx import TensorProto, helper

    graph = model.graph
    weights: list[Any] = list(graph.initializer)
    known = {each.name for each in weights}
    source = next(value.name for value in graph.input if value.name not in known)
    before = _Nodes("expects", weights)
    pixels = _fed(before, "wrapped/tiles", reading)
    before.add("Identity", [pixels], answer=source)
    after = _Nodes("gives", weights)
    answer = _read(after, graph.output[0].name, reading)
    after.add("Identity", [answer], answer="wrapped/probabilities")
    frames = [contract.frames] if contract.frames > 1 else []
    tiles = ["N", *frames, contract.tile_height, contract.tile_width, contract.channels]
    cells = [contract.tile_height // contract.stride, contract.tile_width // contract.stride]
    made = helper.make_graph(
        [*before.nodes, *graph.node, *after.nodes],
        "wrapped",
        [helper.make_tensor_value_info("wrapped/tiles", TensorProto.FLOAT, tiles)],
        [
            helper.make_tensor_value_info(
                "wrapped/probabilities", TensorProto.FLOAT, ["N", *cells, len(contract.classes)]
            )
        ],
        weights,
        sparse_initializer=list(graph.sparse_initializer),
    )
    return helper.make_model(made, ir_version=8, opset_imports=[helper.make_opsetid("", OPSET)])


def _fed(nodes: _Nodes, pixels: str, reading: Reading) -> str:
    """Add what leads from the line's pixels (0-255) to those of the net; return the name of these."""
    if reading.order != tuple(range(reading.channels)):
        if reading.channels == 1:
            pixels = nodes.add("Concat", [pixels] * len(reading.order), axis=-1)
        else:
            pixels = nodes.add("Gather", [pixels, nodes.constant(np.array(reading.order, np.int64))], axis=-1)
    scale, offset = reading.scale_and_offset
    if (scale != 1).any():
        pixels = nodes.add("Mul", [pixels, nodes.constant(_same(scale))])
    if (offset != 0).any():
        pixels = nodes.add("Add", [pixels, nodes.constant(_same(offset))])
    if reading.layout == "nchw":
        perm = [0, 1, 4, 2, 3] if reading.frames > 1 else [0, 3, 1, 2]
        pixels = nodes.add("Transpose", [pixels], perm=perm)
    return pixels


def _same(values: Any) -> Any:
    """Return one number in place of equal ones."""
    return values[:1].reshape(()) if (values == values[0]).all() else values


def _read(nodes: _Nodes, answer: str, reading: Reading) -> str:
    """Add what leads from the net's answer to probabilities [N, h, w, K]; return the name of these."""
    count = reading.classes + (reading.expects.background is not None)
    if reading.answer == "nhwc":
        answer = nodes.add("Transpose", [answer], perm=[0, 3, 1, 2])
    elif reading.answer == "nhw":
        answer = nodes.add("Unsqueeze", [answer, nodes.constant(np.array([1], np.int64))])
    elif reading.answer in {"nk", "n"}:
        answer = nodes.add("Reshape", [answer, nodes.constant(np.array([-1, count, 1, 1], np.int64))])
    if reading.expects.activation == "sigmoid":
        answer = nodes.add("Sigmoid", [answer])
    elif reading.expects.activation == "softmax":
        answer = nodes.add("Softmax", [answer], axis=1)
    if reading.expects.background is not None:
        defects = [channel for channel in range(count) if channel != reading.expects.background]
        answer = nodes.add("Gather", [answer, nodes.constant(np.array(defects, np.int64))], axis=1)
    return nodes.add("Transpose", [answer], perm=[0, 2, 3, 1])


class _Nodes:
    """Nodes in a row; their constants are added to the graph's weights."""

    def __init__(self, name: str, weights: list[Any]) -> None:
        self.nodes: list[Any] = []
        self._name = name
        self._weights = weights

    def constant(self, values: Any) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        name = f"wrapped/{self._name}/constant/{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, operator: str, inputs: Sequence[str], answer: str | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its answer."""
        from onnx import helper

        name = answer or f"wrapped/{self._name}/{len(self.nodes)}"
        node_name = f"wrapped/{self._name}/{len(self.nodes)}/{operator}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=node_name, **attributes))
        return name
