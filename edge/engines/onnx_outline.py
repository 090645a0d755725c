"""What an ONNX file is made of, read without the `onnx` package, which no device has.

Only as much of the protobuf format is known here as finds names: https://protobuf.dev/programming-guides/encoding and
the field numbers of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edge.errors import ContractError

# Field numbers of ModelProto.graph; GraphProto.node and .initializer; NodeProto.output, .name and .op_type;
# TensorProto.data_type.
_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_OUTPUT, _NAME, _OP_TYPE = 2, 3, 4
_DATA_TYPE = 2
_FLOAT16 = 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


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
        graph = next(bytes(value) for field, value in _fields(memoryview(model)) if field == _GRAPH and _is(value))
        nodes, half = [], False
        for field, value in _fields(memoryview(graph)):
            if field == _NODE and isinstance(value, memoryview):
                nodes.append(_node(value))
            elif field == _INITIALIZER and isinstance(value, memoryview):
                half = half or (_DATA_TYPE, _FLOAT16) in _fields(value)
        return OnnxOutline(tuple(nodes), half)
    except (StopIteration, IndexError, ValueError) as error:
        raise ContractError(
            f"expected a serialised ONNX model, received {len(model)} bytes of another kind: {error}"
        ) from error


def _is(value: int | memoryview) -> bool:
    return isinstance(value, memoryview)


def _node(raw: memoryview) -> OnnxNode:
    name, op_type, outputs = "", "", []
    for field, value in _fields(raw):
        if not isinstance(value, memoryview):
            continue
        if field == _NAME:
            name = bytes(value).decode()
        elif field == _OP_TYPE:
            op_type = bytes(value).decode()
        elif field == _OUTPUT:
            outputs.append(bytes(value).decode())
    return OnnxNode(name, op_type, tuple(outputs))


def _fields(raw: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield (field number, value) of a message: an int for a varint, the bytes for whatever has a length."""
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(raw, at)
            yield field, value
        elif wire == _BYTES:
            size, at = _varint(raw, at)
            if at + size > len(raw):
                raise ValueError("it is cut off")
            yield field, raw[at : at + size]
            at += size
        elif wire in {_FIXED64, _FIXED32}:
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
