"""An ONNX graph with what one must know to compute parts of it in FP16: which tensors are floats, and who reads them.

Half precision (IEEE 754 binary16) ends at 65504; from 65520 on a number rounds to infinity. The smallest above zero is
2^-24, and from 2^-25 down a number rounds to zero.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edge.engines.onnx_scan import scan_onnx
from edge.errors import ContractError, ConversionError, DependencyError
from edge.installing import how_to_install
from edge.records import Float32

HALF_MAX = 65504.0
# Inputs that stay FP32 whatever a node computes in: ONNX allows Resize no other type for them.
_ALWAYS_FULL = {"Resize": {1, 2}}
# Nodes that make a type of their own, or whose floats are written into the graph.
_NEVER_HALF = {"Cast", "Constant", "ConstantOfShape", "RandomNormalLike", "RandomUniformLike"}
# Operations whose answer is one of their inputs: on numbers that are halves already they round nothing.
_EXACT = {
    *("Concat", "Expand", "Flatten", "Gather", "GatherElements", "Identity", "Max", "MaxPool", "Min", "Neg", "Pad"),
    *("ReduceMax", "ReduceMin", "Relu", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    *("GlobalMaxPool", "Where", "Abs"),
}


class FloatGraph:
    """A checked model.onnx; `model` is its onnx.ModelProto with inferred shapes, `nodes` in order of execution."""

    def __init__(self, source: Path | bytes) -> None:
        """Read a graph. Raises ContractError where it cannot be read."""
        onnx = require_onnx()
        raw = source.read_bytes() if isinstance(source, Path) else source
        name = str(source) if isinstance(source, Path) else "The ONNX graph"
        scan_onnx(raw, name)
        try:
            model = onnx.load_model_from_string(raw)
            self.model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        except Exception as error:  # protobuf and ONNX raise exceptions of many kinds
            raise ContractError(
                f"{name} cannot be read as ONNX: {error}. Convert the bundle again: convert BUNDLE --to onnxruntime"
            ) from error
        self.nodes: list[Any] = list(self.model.graph.node)
        self.name = name

    def require_plain(self) -> None:
        """Raise ConversionError where the graph has branches or loops, whose inner tensors this class does not know."""
        branching = [n.name for n in self.nodes if any(a.HasField("g") or a.graphs for a in n.attribute)]
        if branching:
            raise ConversionError(
                f"{self.name} has branches or loops ({', '.join(branching[:3])}); expected a plain graph to give "
                "another precision. Use a model family of the trainer"
            )

    @cached_property
    def weights(self) -> dict[str, Any]:
        """The FP32 weights, onnx.TensorProto by name."""
        from onnx import TensorProto

        return {w.name: w for w in self.model.graph.initializer if w.data_type == TensorProto.FLOAT}

    @cached_property
    def floats(self) -> frozenset[str]:
        """The names of the FP32 tensors that nodes write, and of FP32 inputs."""
        from onnx import TensorProto

        values = [*self.model.graph.value_info, *self.model.graph.input, *self.model.graph.output]
        return frozenset(v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT)

    @cached_property
    def maker(self) -> dict[str, Any]:
        """The node that writes each tensor."""
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def readers(self) -> dict[str, list[Any]]:
        """The nodes that read each tensor."""
        found: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def candidates(self) -> list[str]:
        """The names of the nodes that can compute in half precision, in order of execution."""
        return [node.name for node in self.nodes if node.op_type not in _NEVER_HALF and self.float_inputs(node)]

    def values(self, name: str) -> Float32:
        """Return the values of one weight tensor."""
        from onnx import numpy_helper

        values: Float32 = numpy_helper.to_array(self.weights[name])
        return values

    def float_inputs(self, node: Any) -> list[int]:
        """Return the places of a node's inputs that become halves where it computes in half precision."""
        never = _ALWAYS_FULL.get(node.op_type, set())
        return [
            place
            for place, name in enumerate(node.input)
            if place not in never and (name in self.floats or name in self.weights)
        ]

    def float_outputs(self, node: Any) -> list[str]:
        """Return a node's FP32 outputs."""
        return [name for name in node.output if name in self.floats]


def require_onnx() -> Any:
    """Return the package onnx. Raises DependencyError where it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise DependencyError(
            f"Graphs are read with the package onnx, and `import onnx` failed: {error}. "
            f"{how_to_install('onnx', extra='convert')}"
        ) from error
    return onnx


def rounds(node: Any) -> bool:
    """Tell whether a node's answer to halves may be no half, so that it has to be rounded."""
    return node.op_type not in _EXACT


def as_half(values: Float32) -> Float32:
    """Round FP32 values to halves and back; too large ones become infinite."""
    with np.errstate(over="ignore", under="ignore"):
        rounded: Float32 = values.astype(np.float16).astype(np.float32)
    return rounded


def set_nodes(model: Any, nodes: list[Any], weights: list[Any]) -> bytes:
    """Give an onnx.ModelProto other nodes and further weights, drop weights that nothing reads, and serialise it."""
    graph = model.graph
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    kept = [each for each in [*graph.initializer, *weights] if each.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return bytes(model.SerializeToString(deterministic=True))
