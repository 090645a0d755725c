"""Cameras of 10, 12 or 14 bits put their levels into files and frames of 16: how many bits count, and 8 of them.

Nothing here guesses from one picture what holds for all: a dark picture of 12 bits looks like a bright one of 10. The
outcome of the levels is said; the settings (`preparing: depth`) or the file state what to believe.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.pictures.not_readable import NotReadableError
from edge.records import UInt8

UInt16 = NDArray[np.uint16]
DEPTHS = (8, 10, 12, 14, 16)


def bits_seen(greatest_level: int) -> int:
    """Return the least of 8, 10, 12, 14 and 16 bits that hold a level of 0 to 65535."""
    return next(bits for bits in DEPTHS if greatest_level < 1 << bits)


def depth_of(pixels: NDArray[Any], bits: int | None, declared: int | None = None) -> int:
    """Return how many bits of uint8 or uint16 levels count: 8 to 16.

    `bits`: as somebody set; `declared`: as the file states. Without either, levels that use 15 bits or more are taken
    as 16. Raises NotReadableError for fewer, which nothing explains, and for levels beyond the depth.
    """
    if pixels.dtype == np.uint8:
        return 8
    if pixels.dtype != np.uint16:
        raise NotReadableError(f"its levels are {pixels.dtype.name}; expected whole numbers of 8 or 16 bits")
    greatest = int(pixels.max(initial=0))
    seen = bits_seen(greatest)
    count = bits or declared or (16 if seen == 16 else None)
    if count is None:
        raise NotReadableError(
            f"it has 16 bits for each level and none above {greatest}, so that {seen} of them or more may count: "
            f"expected to be told. Set `preparing: [{{step: depth, bits: {seen}}}]` in the recipe, or "
            f"`camera: {{depth_bits: {seen}}}` in the settings of a line whose bundle says nothing"
        )
    if greatest >= 1 << count:
        raise NotReadableError(
            f"its levels reach {greatest}, and {count} bits end at {(1 << count) - 1}: expected a depth of {seen} bits "
            "or more"
        )
    return count


def to_eight_bits(pixels: NDArray[Any], bits: int | None, declared: int | None = None) -> UInt8:
    """Return uint8 levels of the same shape: the upper eight of those that count (`depth_of`), as cameras do it."""
    count = depth_of(pixels, bits, declared)
    eight: UInt8 = pixels if pixels.dtype == np.uint8 else (pixels >> (count - 8)).astype(np.uint8)
    return eight


def levels_lost(pixels: NDArray[Any], count: int) -> str:
    """Say which levels are lost where `count` bits are brought to 8; nothing where all are kept."""
    if count == 8:
        return ""
    told = f"{count} bits for each level are brought to 8: {1 << (count - 8)} neighbouring levels become one"
    seen = bits_seen(int(pixels.max(initial=0)))
    return told + (f"; no level needs more than {seen} bits: is the depth right?" if seen <= count - 2 else "")
