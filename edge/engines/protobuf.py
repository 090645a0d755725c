"""Protobuf's wire format, as much of it as ONNX uses: https://protobuf.dev/programming-guides/encoding.

The runtime has no package `onnx`. The bytes read here decide whether a model is refused. So bytes that two readers
could understand differently are an error: groups, numbers of more than 64 bits, whatever is cut off.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def fields(raw: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield (field number, wire type, value) of a message: an int for a varint, else the bytes. Raises ValueError."""
    at, size = 0, len(raw)
    while at < size:
        key, at = _varint(raw, at)
        field, wire = key >> 3, key & 7
        if field == 0:
            raise ValueError(f"field number 0 at byte {at}")
        if wire == VARINT:
            value, at = _varint(raw, at)
            yield field, wire, value
            continue
        if wire == BYTES:
            length, at = _varint(raw, at)
        elif wire == FIXED64:
            length = 8
        elif wire == FIXED32:
            length = 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + length > size:
            raise ValueError("it is cut off")
        yield field, wire, raw[at : at + length]
        at += length


def packed(value: int | memoryview) -> Iterator[int]:
    """Yield the varints of a repeated field, which writers pack into one piece of bytes or write one by one."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number


def _varint(raw: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw):
            raise ValueError("it is cut off")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
