"""Masks whose pixel values are class ids, those with a palette included.

OpenCV gives a palette's colours and loses the ids. A palette PNG is the same file as a grey one but for its header. So
the header is changed before it is decoded. The ids come out as grey levels (PNG specification, 11.2.1 and 11.2.2).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from edge.errors import DatasetError, SourceError
from edge.pictures import NotReadableError, decode, read_bytes
from edge.records import UInt8

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3
_PALETTE_CHUNKS = (b"PLTE", b"tRNS", b"bKGD", b"hIST")


def read_indexed(path: Path) -> UInt8:
    """Read a mask as uint8 [H, W] of class ids. Raises DatasetError naming the file."""
    try:
        encoded = read_bytes(path)
    except SourceError as error:
        raise DatasetError(str(error)) from error
    bits = 8
    if encoded.startswith(_SIGNATURE):
        encoded, bits = _as_grey(encoded, path)
    try:
        ids = decode(encoded).pixels
    except NotReadableError as error:
        raise DatasetError(f"{path} is no picture that can be read: {error}; expected a mask of class ids") from error
    if ids.ndim == 3 and ids.shape[2] == 4 and bool((ids[:, :, 3] == ids[0, 0, 3]).all()):
        ids = np.ascontiguousarray(ids[:, :, :3])  # a transparency that says nothing
    if ids.ndim == 3 and ids.shape[2] == 3 and bool((ids == ids[:, :, :1]).all()):
        ids = np.ascontiguousarray(ids[:, :, 0])  # grey, saved as colour
    if ids.ndim == 2 and ids.dtype == np.uint16 and int(ids.max(initial=0)) <= 255:
        ids = ids.astype(np.uint8)  # ids of classes in a file of 16 bits
    if ids.ndim == 2 and ids.dtype == np.uint16:
        raise DatasetError(
            f"{path}: expected the ids of classes, from 0 to 255, received up to {int(ids.max())}. If each level is an "
            "object of one class give --class NAME --objects"
        )
    if ids.ndim != 2 or ids.dtype != np.uint8:
        raise DatasetError(
            f"{path}: expected one value of 8 bits per pixel, the class id; received {ids.shape[2:] or 1} of "
            f"{ids.dtype}. Save it as grey or with a palette"
        )
    # fewer bits per pixel are spread over 0-255 when decoded: 4 bits give 17 for 1
    return ids if bits >= 8 else ids // np.uint8(255 // (2**bits - 1))


def _as_grey(encoded: bytes, path: Path) -> tuple[bytes, int]:
    """Return a PNG that has grey levels in place of a palette, and how many bits a pixel has."""
    parts, at, bits = [_SIGNATURE], len(_SIGNATURE), 8
    palette = False
    while at + 12 <= len(encoded):
        length = int(struct.unpack_from(">I", encoded, at)[0])
        kind, body = encoded[at + 4 : at + 8], encoded[at + 8 : at + 8 + length]
        at += 12 + length
        if len(body) < length or (kind == b"IHDR" and length != 13):
            raise DatasetError(f"{path} is no whole PNG: its chunk {kind!r} is cut off. Save it again")
        if kind == b"IHDR":
            bits, palette = body[8], body[9] == _PALETTE
            body = body[:9] + bytes([_GREY]) + body[10:] if palette else body
        if palette and kind in _PALETTE_CHUNKS:
            continue
        parts.append(struct.pack(">I", length) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(parts), bits
