"""The pixel formats of GenICam cameras → uint8 BGR. Pure.

Names, codes and packings are those of the EMVA's Pixel Format Naming Convention 2.4 and of GigE Vision 2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.opencv import cv2
from edge.pictures import NotReadableError, UInt16, to_eight_bits
from edge.records import UInt8
from edge.wording import counted

Packing = Literal["8", "16", "10p", "12p", "10Packed", "12Packed", "RGB8", "BGR8", "UYVY", "YUYV"]
# bytes for so many pixels
_SPAN: dict[Packing, tuple[int, int]] = {
    "8": (1, 1),
    "16": (2, 1),
    "10p": (5, 4),
    "12p": (3, 2),
    "10Packed": (3, 2),
    "12Packed": (3, 2),
    "RGB8": (3, 1),
    "BGR8": (3, 1),
    "UYVY": (2, 1),
    "YUYV": (2, 1),
}
# OpenCV names a mosaic by the second and third pixel of its second row.
_MOSAICS = {
    "RG": cv2.COLOR_BayerBG2BGR,
    "GR": cv2.COLOR_BayerGB2BGR,
    "GB": cv2.COLOR_BayerGR2BGR,
    "BG": cv2.COLOR_BayerRG2BGR,
}


@dataclass(frozen=True)
class PixelFormat:
    """One format. `bits`: how many of a level count, None where the format does not say. `mosaic`: RG, GR, GB or BG."""

    name: str
    packing: Packing
    bits: int | None = 8
    mosaic: str = ""

    def size_bytes(self, width: int, height: int) -> int:
        """Return how many bytes a picture of so many px takes, without padding."""
        count, pixels = _SPAN[self.packing]
        return -(-width * height * count // pixels)


def _bayer(first: int, packing: Packing, bits: int | None, suffix: str) -> dict[int, PixelFormat]:
    return {
        first + step: PixelFormat(f"Bayer{mosaic}{suffix}", packing, bits, mosaic)
        for step, mosaic in enumerate(("GR", "RG", "GB", "BG"))
    }


FORMATS: dict[int, PixelFormat] = {
    0x01080001: PixelFormat("Mono8", "8"),
    0x01100003: PixelFormat("Mono10", "16", 10),
    0x01100005: PixelFormat("Mono12", "16", 12),
    0x01100025: PixelFormat("Mono14", "16", 14),
    0x01100007: PixelFormat("Mono16", "16", None),
    0x010C0004: PixelFormat("Mono10Packed", "10Packed", 10),
    0x010C0006: PixelFormat("Mono12Packed", "12Packed", 12),
    0x010A0046: PixelFormat("Mono10p", "10p", 10),
    0x010C0047: PixelFormat("Mono12p", "12p", 12),
    0x02180014: PixelFormat("RGB8", "RGB8"),
    0x02180015: PixelFormat("BGR8", "BGR8"),
    0x0210001F: PixelFormat("YUV422_8_UYVY", "UYVY"),
    0x02100032: PixelFormat("YUV422_8", "YUYV"),
    **_bayer(0x01080008, "8", 8, "8"),
    **_bayer(0x0110000C, "16", 10, "10"),
    **_bayer(0x01100010, "16", 12, "12"),
    **_bayer(0x0110002E, "16", None, "16"),
}
READABLE = tuple(sorted(each.name for each in FORMATS.values()))


def as_picture(data: bytes, code: int, size_px: tuple[int, int], depth_bits: int | None) -> UInt8:
    """Return a picture's bytes as uint8 BGR [H, W, 3].

    `size_px`: width, height. `depth_bits`: how many bits of a level of 16 count, where the format itself does not say.
    Raises NotReadableError for another format, for too few bytes, and for levels beyond the depth.
    """
    pixel_format, (width, height) = FORMATS.get(code), size_px
    if pixel_format is None:
        raise NotReadableError(
            f"its pixel format 0x{code:08X} is not read here: set device.pixel_format to one of {', '.join(READABLE)}"
        )
    expected = pixel_format.size_bytes(width, height)
    if width < 1 or height < 1 or len(data) < expected:
        raise NotReadableError(
            f"{width} x {height} px of {pixel_format.name} take {counted(expected, 'byte')}, and {len(data)} came"
        )
    raw = np.frombuffer(data, np.uint8, expected)
    if pixel_format.packing in {"RGB8", "BGR8", "UYVY", "YUYV"}:
        return _colour(raw.reshape(height, width, -1), pixel_format.packing)
    levels = unpacked(raw, pixel_format.packing, width * height).reshape(height, width)
    eight = to_eight_bits(levels, pixel_format.bits or depth_bits)
    shown: UInt8 = cv2.cvtColor(eight, _MOSAICS.get(pixel_format.mosaic, cv2.COLOR_GRAY2BGR))
    return shown


def _colour(raw: UInt8, packing: Packing) -> UInt8:
    if packing == "BGR8":
        return raw.copy()
    how = {"RGB8": cv2.COLOR_RGB2BGR, "UYVY": cv2.COLOR_YUV2BGR_UYVY, "YUYV": cv2.COLOR_YUV2BGR_YUYV}[packing]
    shown: UInt8 = cv2.cvtColor(raw, how)
    return shown


def unpacked(raw: UInt8, packing: Packing, count: int) -> UInt8 | UInt16:
    """Return the first `count` levels of uint8 [n] as they are packed: uint8 or uint16 [count]."""
    if packing == "8":
        return raw[:count]
    if packing == "16":
        return raw[: 2 * count].view("<u2").astype(np.uint16, copy=False)
    span, pixels = _SPAN[packing]
    groups = -(-count // pixels)
    whole = np.zeros(groups * span, np.uint16)
    whole[: len(raw)] = raw[: len(whole)]
    b = whole.reshape(groups, span).T
    if packing == "12Packed":  # the upper eight bits of each, and between them the lower four of both
        levels = [b[0] << 4 | b[1] & 0xF, b[2] << 4 | b[1] >> 4]
    elif packing == "10Packed":
        levels = [b[0] << 2 | b[1] & 0x3, b[2] << 2 | b[1] >> 4 & 0x3]
    elif packing == "12p":  # one stream of bits, the lowest first
        levels = [b[0] | (b[1] & 0xF) << 8, b[1] >> 4 | b[2] << 4]
    else:
        levels = [
            b[0] | (b[1] & 0x3) << 8,
            b[1] >> 2 | (b[2] & 0xF) << 6,
            b[2] >> 4 | (b[3] & 0x3F) << 4,
            b[3] >> 6 | b[4] << 2,
        ]
    return np.stack(levels, axis=1).reshape(-1)[:count].astype(np.uint16)
