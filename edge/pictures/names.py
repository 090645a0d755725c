"""Names of files: shown as text whatever their bytes, and sorted as people count."""

from __future__ import annotations

import re
from pathlib import PurePath

from edge.printable import encodable

_NUMBER = re.compile(r"([0-9]+)")


def as_text(name: str) -> str:
    """Return a file's name, or what was said of it, as text that any message can hold: odd bytes become escapes."""
    return encodable(name)


def is_text(name: str) -> bool:
    """Tell whether a name's bytes are UTF-8, so that a table, a page or a message can hold it."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def natural_order(path: PurePath | str) -> tuple[tuple[tuple[str | int, ...], ...], str]:
    """Return a key that sorts frame2 before frame10, folder by folder; equal numbers by how they are written."""
    text = str(path)
    return tuple(_key(part) for part in PurePath(text).parts), text


def _key(part: str) -> tuple[str | int, ...]:
    # the pattern's group makes words and numbers alternate, so that like is compared with like
    return tuple(int(piece[:400]) if place % 2 else piece for place, piece in enumerate(_NUMBER.split(part)))
