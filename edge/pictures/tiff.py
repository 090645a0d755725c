"""The kinds of TIFF that are read, and the check that the data of every strip and tile is whole.

OpenCV reads a TIFF of 8 bits past its errors and leaves black what it could not decode. So each strip and tile is
decoded here before OpenCV gets the file, as far as its length is known. Sources: TIFF 6.0; "TIFF Technical Note 2" for
JPEG in TIFF; Adobe Photoshop TIFF Technical Notes for Deflate.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge.pictures.exif import TiffTags, read_directories
from edge.pictures.not_readable import NotReadableError
from edge.wording import counted

_LZW, _JPEG, _PACKBITS = 5, 7, 32773
_DEFLATE = frozenset({8, 32946})
_FAX = frozenset({2, 3, 4})
_READ = frozenset({1, _LZW, _JPEG, _PACKBITS}) | _DEFLATE | _FAX
_NAMES = {6: "JPEG of an old kind", 34712: "JPEG 2000", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP",
          50002: "JPEG XL", 34887: "LERC"}  # fmt: skip
_COLOURS = {5: "in CMYK, as for print", 8: "in the colours CIELab", 9: "in the colours ICCLab"}
_CLEAR, _END = 256, 257
# The n-th code after a clear code is one of at most 258 + n. The table may have 4096 (TIFF 6.0, section 13).
_CODE_WIDTHS = np.searchsorted([254, 766, 1790], np.arange(3840), side="right") + 9
_CODE_ENDS = np.cumsum(_CODE_WIDTHS)
_CODE_BEGINS = _CODE_ENDS - _CODE_WIDTHS
_CODE_SHIFTS, _CODE_MASKS = (24 - _CODE_WIDTHS).astype(np.int32), ((1 << _CODE_WIDTHS) - 1).astype(np.int32)
_PLACES = np.arange(3840, dtype=np.int32)


def refuse_unread(tags: TiffTags) -> None:
    """Raise NotReadableError for kinds of TIFF that OpenCV does not read, or not rightly."""
    bits, packing, meaning = tags.number(258, 1), tags.number(259, 1), tags.number(262, 1)
    if bits not in {1, 2, 4, 8, 16, 32, 64}:
        raise NotReadableError(f"it is a TIFF with {bits} bits packed for each level; save it with 16")
    if tags.number(339, 1) == 3:
        raise NotReadableError(
            "its levels are floating-point numbers, whose black and white nothing says; save 8 or 16 bits"
        )
    if packing not in _READ:
        named = _NAMES.get(packing, f"number {packing}")
        raise NotReadableError(f"it is a TIFF compressed by {named}, which is not read here; save it with LZW")
    if meaning not in {0, 1, 2, 3, 6}:
        named = _COLOURS.get(meaning, f"of the photometric kind {meaning}")
        raise NotReadableError(f"it is a TIFF {named}; save it as RGB or grey")
    if bits == 16 and meaning == 0:
        raise NotReadableError("it is a TIFF of 16 bits whose 0 is white; save it with 0 as black")
    if bits == 16 and tags.number(284, 1) == 2 and tags.number(277, 1) > 1:
        raise NotReadableError("it is a TIFF of 16 bits with each colour by itself; save its colours pixel by pixel")


def check_tiff(encoded: bytes) -> None:
    """Look at the data of the first page. Raises NotReadableError where some is missing or damaged."""
    tags = next(read_directories(encoded))
    tables = bytes(tags.all_of(347, encoded))
    for number, (data, sizes) in enumerate(_pieces(tags, encoded), start=1):
        if reason := _amiss(tags.number(259, 1), data, sizes, tables):
            raise NotReadableError(f"it is a damaged TIFF: strip or tile {number} {reason}")


def _pieces(tags: TiffTags, encoded: bytes) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Yield the data of each strip or tile, and how many bytes it comes to when unpacked.

    The second number is that of a whole strip, which some programs also write where fewer rows are left.
    """
    tiled = 322 in tags.numbers
    begins, counts = (324, 325) if tiled else (273, 279)
    starts, lengths = tags.all_of(begins, encoded), tags.all_of(counts, encoded)
    width, height = tags.number(256), tags.number(257)
    across = tags.number(322) if tiled else width
    rows = tags.number(323) if tiled else min(tags.number(278, height) or height, height)
    apart = tags.number(284, 1) == 2
    samples = 1 if apart else tags.number(277, 1)
    row_bytes = (across * samples * tags.number(258, 1) + 7) // 8
    if rows < 1 or across < 1 or not starts or len(starts) != len(lengths):
        raise NotReadableError("it is a TIFF that is cut off or damaged: nothing says where its data lies")
    in_column = -(-height // rows)
    needed = in_column * -(-width // across) * (tags.number(277, 1) if apart else 1)
    if len(starts) < needed:
        raise NotReadableError(f"it is a damaged TIFF: expected {needed} strips or tiles, received {len(starts)}")
    mixed = tags.number(262, 1) == 6 and tags.number(259, 1) != _JPEG  # colours at half of the size
    for number, (start, length) in enumerate(zip(starts[:needed], lengths, strict=False)):
        own = rows if tiled else min(rows, height - number % in_column * rows)
        data = encoded[start : start + length]
        if len(data) < length:
            raise NotReadableError(
                f"it is a TIFF that is cut off: {counted(length - len(data), 'byte is', 'bytes are')} missing"
            )
        yield data, (0, 0) if mixed else (row_bytes * own, row_bytes * rows)


def _amiss(packing: int, data: bytes, sizes: tuple[int, int], tables: bytes) -> str:
    """Say what is wrong with a strip or tile; nothing where it is whole or cannot be known."""
    if packing in _FAX:
        return ""
    if packing == _JPEG:
        return _amiss_jpeg(data, tables)
    expected, whole = sizes
    if packing in _DEFLATE:
        return _amiss_deflate(data, expected)
    length = len(data) if packing == 1 else _length_lzw(data) if packing == _LZW else _length_packbits(data)
    if length < 0:
        return "cannot be unpacked"
    # codes that are damaged come to another number of bytes, mostly to more
    beyond = packing == _LZW and expected and length > expected and length != whole
    return f"has {counted(length, 'byte')} of {expected}" if length < expected or beyond else ""


def _amiss_jpeg(data: bytes, tables: bytes) -> str:
    whole = tables[:-2] + data[2:] if len(tables) > 4 else data
    try:
        simplejpeg.decode_jpeg(whole, colorspace="GRAY", strict=True)
    except ValueError as error:
        return f"is a damaged JPEG: {error}"
    return ""


def _amiss_deflate(data: bytes, expected: int) -> str:
    unpacking = zlib.decompressobj()
    try:
        length = len(unpacking.decompress(data, expected + 1))
        length += len(unpacking.decompress(unpacking.unconsumed_tail, 1)) if not unpacking.eof else 0
    except zlib.error as error:
        return f"cannot be unpacked: {error}"
    return "" if unpacking.eof and length >= expected else f"has {counted(length, 'byte')} of {expected}, or no end"


def _length_packbits(data: bytes) -> int:
    at = length = 0
    while at < len(data):
        count = data[at]
        if count < 128:
            length += min(count + 1, len(data) - at - 1)
            at += count + 2
        else:
            length += 257 - count if count > 128 and at + 1 < len(data) else 0
            at += 2 if count > 128 else 1
    return length


def _length_lzw(data: bytes) -> int:
    """Return how many bytes LZW's codes come to (TIFF 6.0, section 13).

    -1 for codes that say nothing, or no end. From one clear code to the next, the place of each code decides its width.
    A code stands for one level, or for an earlier code's string and one level more. So its length is its distance from
    a level, found by doubling.
    """
    padded = np.frombuffer(data + bytes(3), np.uint8).astype(np.int32)
    windows = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    begins, total = 0, 0
    while True:
        count = int(np.searchsorted(_CODE_ENDS, 8 * len(data) - begins, side="right"))
        at = _CODE_BEGINS[:count] + begins
        codes = (windows[at >> 3] >> (_CODE_SHIFTS[:count] - (at & 7))) & _CODE_MASKS[:count]
        ends = np.flatnonzero(codes >> 1 == _CLEAR >> 1)  # the clear code and the end
        if not ends.size:
            return -1
        last = int(ends[0])
        length = _length_of_strings(codes[:last])
        if length < 0:
            return -1
        total += length
        if codes[last] == _END:
            return total
        begins += int(_CODE_ENDS[last])


def _length_of_strings(codes: NDArray[np.int32]) -> int:
    """Return how many bytes the codes after a clear code come to; -1 where one stands for no earlier string."""
    places = _PLACES[: len(codes)]
    parents = codes - (_END + 1)
    if (parents >= places).any():
        return -1
    steps = (parents >= 0).astype(np.int32)
    parents = np.maximum(parents, 0) * steps + places * (1 - steps)
    while (further := steps[parents]).any():
        steps += further
        parents = parents[parents]
    return len(codes) + int(steps.sum())
