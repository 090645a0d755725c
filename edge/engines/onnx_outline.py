"""The outline of an ONNX file, read without the `onnx` package, which no device has.

Only as much is read here as finds names, by the field numbers of onnx.proto3. `onnx_scan` says what may be run.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.engines.protobuf import fields
from edge.errors import ContractError
from edge.wording import counted

# Field numbers of ModelProto.graph; GraphProto.node and .initializer; NodeProto.output, .name and .op_type;
# TensorProto.data_type.
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_OUTPUT, _NAME, _OP_TYPE = 2, 3, 4
_DATA_TYPE = 2
_FLOAT16 = 10


@dataclass(frozen=True)
class OnnxNode:
    """One node: its name, its operator, and the names of what it answers."""

    name: str
    op_type: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OnnxOutline:
    """The nodes of a graph in order, and whether any of its weights are FP16."""

    nodes: tuple[OnnxNode, ...]
    half_weights: bool


def read_outline(model: bytes) -> OnnxOutline:
    """Read a serialised ONNX model. Raises ContractError for bytes that are none."""
    try:
        parts = fields(memoryview(model))
        graph = next(part for field, _, part in parts if field == _GRAPH and isinstance(part, memoryview))
        nodes, half = [], False
        for field, _, value in fields(graph):
            if field == _NODE and isinstance(value, memoryview):
                nodes.append(_node(value))
            elif field == _INITIALIZER and isinstance(value, memoryview):
                half = half or any((part, number) == (_DATA_TYPE, _FLOAT16) for part, _, number in fields(value))
        return OnnxOutline(tuple(nodes), half)
    except (StopIteration, ValueError) as error:
        raise ContractError(
            f"expected a serialised ONNX model, received {counted(len(model), 'byte')} of another kind: {error}"
        ) from error


def _node(raw: memoryview) -> OnnxNode:
    name, op_type, outputs = "", "", []
    for field, _, value in fields(raw):
        if not isinstance(value, memoryview):
            continue
        if field == _NAME:
            name = bytes(value).decode()
        elif field == _OP_TYPE:
            op_type = bytes(value).decode()
        elif field == _OUTPUT:
            outputs.append(bytes(value).decode())
    return OnnxNode(name, op_type, tuple(outputs))
