"""TIFF's directories of tags, which Exif is made of too: how a picture is to be shown. Pure and bounded."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_ORIENTATION = 274
# Types of TIFF whose values are whole numbers: BYTE, UNDEFINED, SHORT, LONG, LONG8.
_NUMBERS = {1: ("B", 1), 7: ("B", 1), 3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}
_DIRECTORIES_AT_MOST = 10_000
_TAGS_AT_MOST = 4096


@dataclass(frozen=True)
class TiffTags:
    """The first whole number of each tag of one directory.

    `places`: where all values of a tag lie: their code for `struct`, how many there are, and the first one's byte.
    """

    numbers: Mapping[int, int]
    places: Mapping[int, tuple[str, int, int]] = field(default_factory=dict)

    def all_of(self, tag: int, encoded: bytes) -> tuple[int, ...]:
        """Return all values of a tag; none where it is absent or leads out of the file."""
        code, count, at = self.places.get(tag, ("<B", 0, 0))
        if at + count * struct.calcsize(code) > len(encoded):
            return ()
        return struct.unpack_from(f"{code[0]}{count}{code[1]}", encoded, at)

    def number(self, tag: int, default: int = 0) -> int:
        """Return a tag's first value."""
        return self.numbers.get(tag, default)

    @property
    def orientation(self) -> int:
        """1-8; 1, as stored, where it says nothing sensible."""
        found = self.number(_ORIENTATION, 1)
        return found if 1 <= found <= 8 else 1


def orientation_of(exif: bytes) -> int:
    """Return the orientation, 1-8, that a block of Exif states; 1 where it states none or is damaged."""
    for tags in read_directories(exif):
        return tags.orientation
    return 1


def read_directories(encoded: bytes) -> Iterator[TiffTags]:
    """Yield the directories of a TIFF, one per page. A damaged one, or a circle, ends them."""
    order = {b"II": "<", b"MM": ">"}.get(encoded[:2])
    if order is None or len(encoded) < 8:
        return
    (magic,) = struct.unpack_from(f"{order}H", encoded, 2)
    big = magic == 43
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", encoded, 8 if big else 4)
        while at and at not in seen and len(seen) < _DIRECTORIES_AT_MOST:
            seen.add(at)
            tags, at = _directory(encoded, order, at, big=big)
            yield tags
    except struct.error:
        return


def _directory(encoded: bytes, order: str, at: int, *, big: bool) -> tuple[TiffTags, int]:
    (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", encoded, at)
    at += 8 if big else 2
    entry = 20 if big else 12
    if count > _TAGS_AT_MOST:
        raise struct.error("more tags than a picture has")
    numbers: dict[int, int] = {}
    places: dict[int, tuple[str, int, int]] = {}
    for number in range(count):
        begins = at + number * entry
        tag, kind, length = struct.unpack_from(f"{order}HH{'Q' if big else 'I'}", encoded, begins)
        if kind not in _NUMBERS or not length:
            continue
        code, size = _NUMBERS[kind]
        inside = begins + (12 if big else 8)
        if size * length > (8 if big else 4):
            (inside,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", encoded, inside)
        if inside + size <= len(encoded):
            numbers[tag] = int(struct.unpack_from(f"{order}{code}", encoded, inside)[0])
            places[tag] = f"{order}{code}", length, inside
    following = at + count * entry
    (after,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", encoded, following)
    return TiffTags(numbers, places), int(after)
