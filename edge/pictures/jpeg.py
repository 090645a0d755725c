"""The completeness of a JPEG of several scans.

A progressive JPEG sends a blurred picture first and its details in later scans. libjpeg shows what has come, and calls
that no error: a file that ends between two scans would be read, without the fine scratches. Source: ITU-T T.81, B.2.3
and G.1.1.1.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

# Markers behind coded data: neither stuffed zeros nor restarts.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SEQUENTIAL, _PROGRESSIVE = frozenset({0xC0, 0xC1, 0xC9}), frozenset({0xC2, 0xCA})
_START_OF_SCAN, _END = 0xDA, 0xD9
_COEFFICIENTS = 64
_UNSEEN = 255
_SCANS_AT_MOST = 10_000


@dataclass
class _Frame:
    """The components as far as they have come: the lowest bit of each coefficient that is known yet."""

    progressive: bool
    components: dict[int, bytearray] = field(default_factory=dict)


def lacks_scans(encoded: bytes) -> bool:
    """Tell whether a JPEG ends before all that its frame promises has come; False where nothing can be said."""
    try:
        frame = _read(encoded)
    except (struct.error, IndexError, ValueError):
        return False  # cut off within a header, which the decoder tells
    return frame is not None and any(any(lowest) for lowest in frame.components.values())


def _read(encoded: bytes) -> _Frame | None:
    frame: _Frame | None = None
    at = 2
    for _ in range(_SCANS_AT_MOST):
        match = _MARKER.search(encoded, at)
        if match is None:
            break
        at = match.start()
        marker = encoded[at + 1]
        if marker == _END:
            break
        (length,) = struct.unpack_from(">H", encoded, at + 2)
        if frame is None and marker in _SEQUENTIAL | _PROGRESSIVE:
            frame = _Frame(marker in _PROGRESSIVE)
            for number in range(encoded[at + 9]):
                frame.components[encoded[at + 10 + 3 * number]] = bytearray([_UNSEEN]) * _COEFFICIENTS
        elif frame is not None and marker == _START_OF_SCAN:
            _take(frame, encoded, at + 4)
            if not frame.progressive and not any(map(any, frame.components.values())):
                break  # the usual JPEG has one scan, whose data need not be looked through
        at += 2 + length
    return frame


def _take(frame: _Frame, encoded: bytes, at: int) -> None:
    count = encoded[at]
    first, last, bits = encoded[at + 1 + 2 * count : at + 4 + 2 * count]
    if not frame.progressive:
        first, last, bits = 0, _COEFFICIENTS - 1, 0
    for number in range(count):
        lowest = frame.components.get(encoded[at + 1 + 2 * number])
        if lowest is not None and first <= last < _COEFFICIENTS:
            lowest[first : last + 1] = bytes([bits & 15]) * (last + 1 - first)
