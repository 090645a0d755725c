"""The typed FP16 graph: what TensorRT 10 and later build from, since there the types in the graph decide.

Every node that is not pinned reads and writes FLOAT16; at the borders stand Casts, one per tensor and type. The graph
keeps the contract: `tiles` are cast to FLOAT first; the two last Casts to UINT8 come from FLOAT, because their nodes
are pinned. Weights are rounded, never clipped: one that a half cannot hold is an error here, since the search for pins
excepts its node.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from converters.graph.float_graph import FloatGraph, set_nodes
from edge.errors import ConversionError


def half_graph(graph: FloatGraph, pinned: AbstractSet[str]) -> bytes:
    """Return the serialised typed graph. `pinned`: names of the nodes that compute in FP32.

    Raises ConversionError where a weight of a node that is not pinned overflows.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    typed = _Typed(graph)
    half = set(graph.candidates) - set(pinned)
    for original in graph.nodes:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        typed.add(node, half=node.name in half)
    return set_nodes(model, typed.nodes, list(typed.weights.values()))


class _Typed:
    """The nodes and FP16 weights written so far; `_in_half` are the tensors that are FLOAT16."""

    def __init__(self, graph: FloatGraph) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}
        self._graph = graph
        self._in_half: set[str] = set()
        self._casts: set[str] = set()

    def add(self, node: Any, *, half: bool) -> None:
        """Add a node that computes in halves or in FP32, and the Casts that its inputs need."""
        halved = set(self._graph.float_inputs(node)) if half else set()
        outputs = self._graph.float_outputs(node)
        for place, name in enumerate(node.input):
            node.input[place] = self._as_type(name, to_half=place in halved)
        if half:
            self._in_half.update(outputs)
        self.nodes.append(node)

    def _as_type(self, name: str, *, to_half: bool) -> str:
        """Return the name of `name` in the wanted type; a Cast or a rounded weight is made once."""
        from onnx import TensorProto, helper

        if name in self._graph.weights:
            return self._weights_in_half(name) if to_half else name
        if name not in self._graph.floats or (name in self._in_half) == to_half:
            return name
        target = f"{name}/{'fp16' if to_half else 'fp32'}"
        if target not in self._casts:
            self._casts.add(target)
            wanted = TensorProto.FLOAT16 if to_half else TensorProto.FLOAT
            self.nodes.append(helper.make_node("Cast", [name], [target], f"cast/{target}", to=wanted))
        return target

    def _weights_in_half(self, name: str) -> str:
        from onnx import numpy_helper

        target = f"{name}/half"
        if target not in self.weights:
            self.weights[target] = numpy_helper.from_array(_rounded(self._graph, name), target)
        return target


def _rounded(graph: FloatGraph, name: str) -> Any:
    values = graph.values(name)
    with np.errstate(over="ignore", under="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise ConversionError(
            f"The weights {name} reach {np.abs(values).max():.6g}, beyond 65504, the largest number of FP16; "
            "their node has to stay in FP32"
        )
    return halves
