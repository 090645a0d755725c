"""Levels of 10, 12 and 14 bits in files of 16: never guessed from one picture, and 8 of their bits kept."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from edge.opencv import cv2
from edge.pictures import NotReadableError, as_frame, bits_seen, decode, depth_of, levels_lost, to_eight_bits
from edge.preparing import Depth, Grey, depth_bits


def deep(bits: int, greatest: int | None = None) -> np.ndarray:
    """Paint a ramp over all levels of a depth, uint16 [16, 256]."""
    most = (1 << bits) - 1 if greatest is None else greatest
    return np.linspace(0, most, 16 * 256).astype(np.uint16).reshape(16, 256)


def png(pixels: np.ndarray) -> bytes:
    """Encode as a PNG of 16 bits."""
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_depth_that_is_set_keeps_256_levels(bits: int, suffix: str) -> None:
    """A ramp over all levels of 10, 12 or 14 bits is one over all 256: each level is the old one less its low bits."""
    pixels = deep(bits)
    data = bytes(cv2.imencode(suffix, pixels)[1].tobytes())
    grey = as_frame(decode(data), bits)[:, :, 0]
    assert np.array_equal(grey, pixels // 2 ** (bits - 8))
    assert len(np.unique(grey)) == 256


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_a_depth_that_nothing_says_is_refused_with_the_setting_that_says_it(bits: int) -> None:
    """Without a depth such a picture is none, and the error says which depth its levels need."""
    with pytest.raises(NotReadableError, match=re.escape(f"preparing: [{{step: depth, bits: {bits}}}]")):
        as_frame(decode(png(deep(bits))))


def test_levels_that_use_all_16_bits_need_no_word() -> None:
    """Levels above 16,383 leave one answer: the upper 8 bits, as it always was."""
    pixels = deep(16)
    assert np.array_equal(as_frame(decode(png(pixels)))[:, :, 0], pixels >> 8)


def test_levels_beyond_the_depth_are_refused() -> None:
    """A depth that is too small would cut bright levels; it is refused, with the one that is needed."""
    with pytest.raises(NotReadableError, match="expected a depth of 12"):
        as_frame(decode(png(deep(12))), 10)


def test_files_that_state_their_depth_are_believed() -> None:
    """PGM's greatest level, PNG's sBIT and TIFF's MaxSampleValue say how many bits count."""
    pixels = deep(12, 900)  # dark: alone it would look like 10 bits
    pgm = b"P5\n256 16\n4095\n" + pixels.astype(">u2").tobytes()
    plain = png(pixels)
    body = b"sBIT\x0c"
    sbit = plain[:33] + struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body)) + plain[33:]
    tiff = io.BytesIO()
    Image.fromarray(pixels).save(tiff, "TIFF", tiffinfo={281: 4095})
    for data in (pgm, sbit, tiff.getvalue()):
        assert np.array_equal(as_frame(decode(data))[:, :, 0], pixels >> 4)


def test_levels_that_are_scaled_to_16_bits_as_png_has_it_are_of_16() -> None:
    """By PNG's specification sBIT tells of levels scaled to 16 bits; low ones that may be either are asked about."""
    pixels = deep(12)
    body = b"sBIT\x0c"

    def stated(levels: np.ndarray) -> bytes:
        plain = png(levels)
        return plain[:33] + struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body)) + plain[33:]

    assert np.array_equal(as_frame(decode(stated(pixels << 4)))[:, :, 0], pixels >> 4)
    with pytest.raises(NotReadableError, match="expected to be told"):
        as_frame(decode(stated(deep(12, 200) << 4)))


@pytest.mark.parametrize("suffix", [".pgm", ".jp2"])
def test_a_file_that_states_16_bits_says_nothing_of_the_camera(suffix: str) -> None:
    """Programs write 65535 into every PGM and JPEG 2000 of 16 bits: 12 bits in them are asked about, not made black."""
    pixels = np.repeat(deep(12), 4, axis=0)  # OpenJPEG wants 64 rows
    data = bytes(cv2.imencode(suffix, pixels)[1].tobytes())
    with pytest.raises(NotReadableError, match="depth, bits: 12"):
        as_frame(decode(data))
    assert np.abs((as_frame(decode(data), 12)[:, :, 0]).astype(int) - (pixels >> 4)).max() <= 1  # JPEG 2000 rounds
    bright = bytes(cv2.imencode(suffix, pixels << 4)[1].tobytes())
    assert np.abs(as_frame(decode(bright))[:, :, 0].astype(int) - (pixels >> 4)).max() <= 1


def test_what_is_lost_is_told() -> None:
    """Of 12 bits 16 levels become one; a depth that is larger than any level needs is asked about."""
    pixels = deep(12)
    assert levels_lost(pixels, 12) == "12 bits for each level are brought to 8: 16 neighbouring levels become one"
    assert "no level needs more than 12 bits" in levels_lost(pixels, 16)
    assert levels_lost(pixels.astype(np.uint8), 8) == ""


def test_frames_and_pictures_of_one_depth_are_the_same() -> None:
    """A camera's uint16 frame (Mono12, Y16) and a file of the same levels become the same 8 bits."""
    pixels = deep(12)
    assert np.array_equal(to_eight_bits(pixels, 12), as_frame(decode(png(pixels)), 12)[:, :, 0])
    assert [bits_seen(level) for level in (0, 255, 256, 4095, 4096, 65535)] == [8, 8, 10, 12, 14, 16]
    assert depth_of(pixels, 12) == 12
    assert (depth_bits((Grey(), Depth(bits=12))), depth_bits((Grey(),))) == (12, None)
