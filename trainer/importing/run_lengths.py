"""Run-length encoded masks as labelling tools write them: COCO's two kinds, CVAT's, and Label Studio's.

COCO (pycocotools, `common/maskApi.c`) counts down the columns, first the outside, then the inside, and so on. The
counts are a list of numbers, or packed into text. CVAT counts so along the rows of a box. Label Studio packs the four
channels of a picture (thi.ng/rle-pack), the last of which is the opacity: what was brushed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edge.errors import DatasetError
from edge.records import UInt8
from edge.wording import counted

_BITS_OF_COUNT = 32


def of_counts(counts: Sequence[int], shape_px: tuple[int, int], where: str, *, along_rows: bool = False) -> UInt8:
    """Read counts outside and inside by turns as uint8 [H, W] of 0 and 255; `shape_px`: (height, width).

    Down the columns, or along the rows. Raises DatasetError that begins with `where`.
    """
    height, width = shape_px
    if wrong := next((count for count in counts if count < 0), None):
        raise DatasetError(f"{where}: expected runs of 0 px and more, received {wrong}")
    if (total := sum(counts)) != height * width:
        raise DatasetError(
            f"{where}: expected runs of {height * width} px in all, as {width} x {height} px have, received {total}"
        )
    inside = np.arange(len(counts)) % 2
    flat = np.repeat(np.where(inside, np.uint8(255), np.uint8(0)), np.asarray(counts, np.int64))
    return flat.reshape(height, width) if along_rows else np.ascontiguousarray(flat.reshape(width, height).T)


def to_counts(mask: UInt8) -> list[int]:
    """Write uint8 [H, W] (not 0 = inside) as COCO's counts down the columns."""
    flat = (mask.T != 0).reshape(-1).astype(np.int8)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat)))).tolist()
    borders = [0, *edges, flat.size]
    return [end - start for start, end in pairwise(borders)]


def unpacked(text: str, where: str) -> list[int]:
    """Read the counts that pycocotools packs into text: 5 bits a letter, from the third on differences.

    Raises DatasetError that begins with `where`.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for letter in text.encode("utf-8", "replace"):
        bits = letter - 48
        if not 0 <= bits < 64:
            raise DatasetError(f"{where}: expected packed runs, received the letter {chr(letter)!r} in them")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise DatasetError(f"{where}: the packed runs are cut off")
    return counts


def of_brush(numbers: Sequence[int], shape_px: tuple[int, int], where: str) -> UInt8:
    """Read Label Studio's packed picture, bytes 0 to 255, as uint8 [H, W] of 0 and 255: where it is opaque.

    Raises DatasetError that begins with `where`.
    """
    height, width = shape_px
    if any(not 0 <= number <= 255 for number in numbers):
        raise DatasetError(f"{where}: expected bytes from 0 to 255 of a brush")
    bits = _Bits(np.unpackbits(np.array(numbers, np.uint8)), where)
    total = bits.number(_BITS_OF_COUNT)
    if total != 4 * height * width:
        raise DatasetError(
            f"{where}: expected a brush of four channels of {width} x {height} px ({4 * height * width}), "
            f"received {total}"
        )
    word = bits.number(5) + 1
    sizes = [bits.number(4) + 1 for _ in range(4)]
    values: UInt8 = np.zeros(total, np.uint8)
    done = 0
    while done < total:
        repeats, size = bits.number(1), sizes[bits.number(2)]
        count = min(1 + bits.number(size), total - done)
        values[done : done + count] = bits.number(word) if repeats else bits.numbers(word, count)
        done += count
    return np.where(values.reshape(height, width, 4)[:, :, 3] > 0, np.uint8(255), np.uint8(0))


class _Bits:
    """Whole numbers out of a row of bits, the highest bit first."""

    def __init__(self, bits: UInt8, where: str) -> None:
        self._bits, self._where, self._at = bits, where, 0

    def number(self, size: int) -> int:
        return int("".join(map(str, self._take(size).tolist())), 2)

    def numbers(self, size: int, count: int) -> NDArray[np.int64]:
        weights = 1 << np.arange(size - 1, -1, -1)
        values: NDArray[np.int64] = self._take(size * count).reshape(count, size).astype(np.int64) @ weights
        return values

    def _take(self, count: int) -> UInt8:
        end = self._at + count
        if end > len(self._bits):
            raise DatasetError(f"{self._where}: the brush is cut off after {counted(len(self._bits) // 8, 'byte')}")
        taken, self._at = self._bits[self._at : end], end
        return taken
