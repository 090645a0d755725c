"""FP16 on a CPU, number by number: the FP32 graph with Cast → FP16 → Cast → FP32 after every operation.

ONNX Runtime's CPU provider runs an FP16 graph in FP32 wherever it has no FP16 kernel. So 3e5 passes through it as 3e5,
where a GPU has infinity. Here every answer is rounded to a half, or overflows. A chip that computes with exact sums and
stores halves does the same. One thing is not shown: the order and the width in which a chip sums inside one operation.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from converters.graph.float_graph import FloatGraph, as_half, rounds, set_nodes

RAW = "/before"  # ends the name of what an operation answered before it was rounded


def emulated(graph: FloatGraph, pinned: AbstractSet[str]) -> bytes:
    """Return the serialised graph in which every candidate that is not `pinned` (names of nodes) computes in halves."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    emulation = _Emulation(graph)
    half = set(graph.candidates) - set(pinned)
    for original in graph.nodes:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        if node.name in half:
            emulation.add_half(node)
        else:
            emulation.nodes.append(node)
    return set_nodes(model, emulation.nodes, list(emulation.weights.values()))


class _Emulation:
    """The nodes and rounded weights written so far; `_halves` are the tensors whose values are halves already."""

    def __init__(self, graph: FloatGraph) -> None:
        self.nodes: list[Any] = []
        self.weights: dict[str, Any] = {}
        self._graph = graph
        self._halves: set[str] = set()

    def add_half(self, node: Any) -> None:
        """Add a node that reads halves and whose answer is rounded."""
        outputs = self._graph.float_outputs(node)
        for place in self._graph.float_inputs(node):
            node.input[place] = self._rounded(node.input[place])
        self._halves.update(outputs)
        if rounds(node):
            node.output[:] = [f"{name}{RAW}" if name in outputs else name for name in node.output]
        self.nodes.append(node)
        if rounds(node):
            for name in outputs:
                self._round(f"{name}{RAW}", name)

    def _rounded(self, name: str) -> str:
        from onnx import numpy_helper

        if name in self._halves:
            return name
        target = f"{name}/half"
        if name in self._graph.weights:
            self.weights[target] = numpy_helper.from_array(as_half(self._graph.values(name)), target)
        elif target not in self._halves:
            self._round(name, target)
            self._halves.add(target)
        return target

    def _round(self, source: str, target: str) -> None:
        from onnx import TensorProto, helper

        halves = f"{target}/fp16"
        self.nodes += [
            helper.make_node("Cast", [source], [halves], f"{target}/to_fp16", to=TensorProto.FLOAT16),
            helper.make_node("Cast", [halves], [target], f"{target}/to_fp32", to=TensorProto.FLOAT),
        ]
