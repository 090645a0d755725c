"""The demands of a model's file, read before Keras opens it: a small file that unfolds into gigabytes is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

_FREE_BYTES = 1 << 27
_TIMES_AT_MOST = 20


def refuse_bombs(path: Path) -> None:
    """Raise ValueError where a .keras or .h5 file would unfold into far more than it holds.

    Weights are numbers, which hardly shrink: 20 times a file's size, and 128 MiB in any case, are more than any model.
    """
    size = path.stat().st_size
    allowed = max(_FREE_BYTES, _TIMES_AT_MOST * size)
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            _refuse_h5(file, allowed)
        return
    with zipfile.ZipFile(path) as archive:
        unfolded = sum(member.file_size for member in archive.infolist())
        if unfolded > allowed:
            raise ValueError(f"it has {size:,} bytes and unfolds into {unfolded:,}; expected at most {allowed:,}")
        for member in archive.infolist():
            if member.filename.endswith(".h5"):
                with archive.open(member) as inside:
                    _refuse_h5(inside, allowed)


def _refuse_h5(file: Any | BinaryIO, allowed: int) -> None:
    import h5py

    if file.read(8) != b"\x89HDF\r\n\x1a\n":
        return  # Keras says what is wrong with it
    file.seek(0)
    total = 0

    def count(_: str, item: Any) -> None:
        nonlocal total
        total += item.nbytes if isinstance(item, h5py.Dataset) else 0

    with h5py.File(file, "r") as weights:
        weights.visititems(count)
    if total > allowed:
        raise ValueError(f"its weights would take {total:,} bytes; expected at most {allowed:,} of a file of its size")
