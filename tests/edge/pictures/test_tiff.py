"""A TIFF's packed data is whole or refused, beside programs that write such files and a decoder by the standard."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edge.opencv import cv2
from edge.pictures import NotReadableError, decode
from edge.pictures.tiff import _length_lzw, check_tiff

_LZW, _DEFLATE, _PACKBITS = 5, 32946, 32773


def unpacked_lzw(data: bytes) -> bytes | None:
    """Unpack LZW code by code, as TIFF 6.0 has it in section 13. None stands for codes without meaning or end."""
    table: list[bytes] = []
    bits, at, before, out = 9, 0, b"", b""
    whole = int.from_bytes(data, "big")
    while at + bits <= 8 * len(data):
        code = whole >> (8 * len(data) - at - bits) & ((1 << bits) - 1)
        at += bits
        if code == 256:
            table, bits, before = [], 9, b""
            continue
        if code == 257:
            return out
        if code < 256:
            found = bytes([code])
        elif code - 258 < len(table):
            found = table[code - 258]
        elif code - 258 == len(table) and before:
            found = before + before[:1]
        else:
            return None
        if before:
            table.append(before + found[:1])
            bits = 9 + sum(258 + len(table) >= step for step in (511, 1023, 2047))
            if 258 + len(table) > 4096:
                return None
        before = found
        out += found
    return None


def surface(height: int, width: int, kind: str) -> np.ndarray:
    """Draw levels that LZW packs well, badly, or not at all."""
    rng = np.random.default_rng(1)
    ramp = np.add.outer(np.arange(height), np.arange(width)) // 4 % 200
    drawn = {
        "flat": np.zeros((height, width)),
        "ramp": ramp + rng.integers(0, 12, (height, width)),
        "noise": rng.integers(0, 256, (height, width)),
        "spots": (rng.random((height, width)) < 0.01) * 200,
    }
    return drawn[kind].astype(np.uint8)


def lzw(pixels: np.ndarray) -> bytes:
    """Write a TIFF by Pillow, whose libtiff packs it."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "TIFF", compression="tiff_lzw")
    return target.getvalue()


@pytest.mark.parametrize("kind", ["flat", "ramp", "noise", "spots"])
@pytest.mark.parametrize("packing", [_LZW, _DEFLATE, _PACKBITS])
@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (300, 517)])
def test_whole_files_are_read(kind: str, packing: int, shape: tuple[int, int]) -> None:
    """Grey, colour and 16 bits, in strips whose last one is short: as OpenCV and Pillow write them."""
    grey = surface(*shape, kind)
    for pixels in (grey, np.dstack([grey, grey // 2, 255 - grey]), grey.astype(np.uint16) * 257):
        data = cv2.imencode(".tif", pixels, [cv2.IMWRITE_TIFF_COMPRESSION, packing])[1].tobytes()
        assert np.array_equal(decode(data).pixels, pixels)
    assert np.array_equal(decode(lzw(grey)).pixels, grey)


@given(st.binary(max_size=400), st.booleans())
def test_lzw_comes_to_as_many_bytes_as_the_standard_says(data: bytes, cleared: bool) -> None:
    """Of any bytes: the length that the plain decoder unpacks, and nothing where it finds no sense or no end."""
    data = b"\x80" + data if cleared else data
    unpacked = unpacked_lzw(data)
    assert _length_lzw(data) == (-1 if unpacked is None else len(unpacked))


def test_lzw_of_a_full_table_comes_to_as_many_bytes() -> None:
    """Codes of 9 to 12 bits, several tables, each of whose codes was counted by the plain decoder."""
    for kind in ("flat", "ramp", "noise", "spots"):
        target = io.BytesIO()
        pixels = surface(64, 400, kind)
        Image.fromarray(pixels).save(target, "TIFF", compression="tiff_lzw", tiffinfo={278: 64})
        data = target.getvalue()
        begin, length = (Image.open(io.BytesIO(data)).tag_v2[tag][0] for tag in (273, 279))  # type: ignore[attr-defined]
        strip = data[begin : begin + length]
        assert unpacked_lzw(strip) is not None
        assert _length_lzw(strip) == len(unpacked_lzw(strip) or b"")


def test_damaged_lzw_is_told() -> None:
    """A strip whose end is wiped, or is cut off, never reads. One with a changed byte reads only as what it says.

    LZW has no checksum: a changed level stays a level. Any other number of bytes is damage.
    """
    data = lzw(surface(200, 300, "ramp"))
    offsets = Image.open(io.BytesIO(data)).tag_v2  # type: ignore[attr-defined]
    begin, length = offsets[273][0], offsets[279][0]
    for share in (0.1, 0.5, 0.9):
        at = begin + int(length * share)
        for damaged in (data[:at] + bytes(begin + length - at) + data[begin + length :], data[:at]):
            with pytest.raises(NotReadableError, match=r"damaged|cut off"):
                decode(damaged)
    refused = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        damaged = bytearray(data)
        damaged[begin + int(rng.integers(length))] ^= int(rng.integers(1, 256))
        try:
            check_tiff(bytes(damaged))
        except NotReadableError:
            refused += 1
    assert refused > 120
