"""Prepared pixels and class maps kept on disk between trainings, so that a second one begins at once.

A picture's entry is named by everything that it was made of. That is the contents of its picture and masks, the classes
and their order. It is the preparing steps, the channels, and the versions that decoded and prepared it. So an entry is
never wrong, only absent; a change makes its own entry anew, and nothing else. A file's content is known by its sha256.
That is remembered with its size and time, since hashing reads the whole file. The folder may be deleted at any time.

    <folder>/files/<xx>/<hash of the path>.json    size, time and sha256 of a file
    <folder>/pictures/<xx>/<name>.npy              pixels and class map, one after the other, uncompressed
    <folder>/pictures/<xx>/<name>.json             their shapes and their checksum; written last
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import logging
import os
import resource
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge import __version__
from edge.bundle import sha256_of
from edge.errors import DatasetError, StoreError
from edge.files import cache_home, write_bytes, write_text
from edge.opencv import cv2
from edge.preparing import PreparingStep
from edge.records import UInt8
from trainer.datasets.dataset import Entry, Picture, load_picture

_log = logging.getLogger(__name__)
_LAYOUT = 2
# A file that is younger when it is hashed could change again within one tick of its clock. Its time tells nothing.
_SETTLED_NS = 2_000_000_000
# Each mapped picture keeps a file open; so many are left to everything else.
_FILES_LEFT_FREE = 256
_FILES_AT_MOST = 60_000
# Folders that could not be written: told of once, and then only read.
_unwritable: set[Path] = set()


def default_cache_folder() -> Path | None:
    """Return `$XDG_CACHE_HOME/linewatch/datasets`, or the same below `~/.cache`; None where there is neither."""
    home = cache_home()
    return home and home / "linewatch" / "datasets"


def load_cached(
    entry: Entry, names: Sequence[str], steps: tuple[PreparingStep, ...], channels: int, folder: Path
) -> Picture:
    """Return what `load_picture` returns, byte for byte, from the cache in `folder` if it is there.

    Arrays from the cache are memory-mapped, copied where they are written to, and never change the cache. A damaged
    entry is made anew. A folder that cannot be written is a warning, and pictures are then loaded as without a cache.
    Raises DatasetError as `load_picture` does.
    """
    name = _name(entry, names, steps, channels, folder)
    place = folder / "pictures" / name[:2] / name
    if (found := _read(place)) is not None:
        return Picture(entry, *found)
    picture = load_picture(entry, names, steps, channels)
    _keep(folder, lambda: _write(place, picture))
    return picture


def _name(entry: Entry, names: Sequence[str], steps: tuple[PreparingStep, ...], channels: int, folder: Path) -> str:
    made_of = {
        "layout": _LAYOUT,
        "versions": [__version__, str(cv2.__version__)],
        "picture": _content(entry.path, folder),
        "masks": [[name, _content(path, folder)] for name, path in entry.all_masks],
        "labels": sorted(entry.labels),
        "names": list(names),
        "steps": [step.model_dump(mode="json") for step in steps],
        "channels": channels,
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _content(path: Path, folder: Path) -> str:
    """Return a file's sha256: the remembered one where size and time are the same, otherwise computed."""
    try:
        status = path.stat()
        known = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        key = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
        note = folder / "files" / key[:2] / f"{key}.json"
        remembered = _json(note)
        if remembered is not None and {key: remembered.get(key) for key in known} == known:
            return str(remembered.get("sha256"))
        digest = sha256_of(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}. Replace it or remove its row") from error
    if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
        _keep(folder, lambda: write_text(note, json.dumps(known | {"sha256": digest})))
    return digest


def _json(path: Path) -> dict[str, Any] | None:
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return read if isinstance(read, dict) else None


def _read(place: Path) -> tuple[UInt8, UInt8] | None:
    """Return pixels and class map of an entry, or None where it is absent or damaged."""
    note = _json(place.with_suffix(".json"))
    if note is None:
        return None
    try:
        content = _mapped(place.with_suffix(".npy"))
        pixels_shape, truth_shape = tuple(note["pixels"]), tuple(note["truth"])
        # reads every byte once, about as fast as memory; training reads them all anyway
        if zlib.crc32(content.data) != note["crc32"]:
            return None
        # the file's end, whatever the .npy header before it says: its checksum is right
        truth_from = content.size - int(np.prod(truth_shape))
        pixels_from = truth_from - int(np.prod(pixels_shape))
        pixels, truth = content[pixels_from:truth_from], content[truth_from:]
        return pixels.reshape(pixels_shape), truth.reshape(truth_shape)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _mapped(path: Path) -> UInt8:
    """Map a file as bytes, or read it where too many files are open to keep another one so."""
    _allow_many_files()
    with path.open("rb") as file:
        # descriptors are given out from the lowest: mapping opens a file, duplicates it and closes the first
        duplicate = os.dup(file.fileno())
        os.close(duplicate)
    if duplicate < resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _FILES_LEFT_FREE:
        try:
            return np.asarray(np.memmap(path, np.uint8, mode="c"))
        except OSError:  # the system's limit of mappings
            pass
    return np.fromfile(path, np.uint8)


@functools.cache
def _allow_many_files() -> None:
    """Raise this process's limit of open files, often 1024, towards what the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_AT_MOST if hard == resource.RLIM_INFINITY else min(_FILES_AT_MOST, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # a Mac promises more than it grants
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _write(place: Path, picture: Picture) -> None:
    flat = np.concatenate((picture.pixels.reshape(-1), picture.truth.reshape(-1)))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(flat))
    note = {
        "pixels": picture.pixels.shape,
        "truth": picture.truth.shape,
        "crc32": zlib.crc32(flat.data, zlib.crc32(header.getvalue())),
    }
    place.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(place.with_suffix(".npy"), header.getvalue(), flat.data)
    write_text(place.with_suffix(".json"), json.dumps(note))


def _keep(folder: Path, write: Callable[[], None]) -> None:
    """Write into the cache, or warn once that it cannot be written and leave it be from then on."""
    if folder in _unwritable:
        return
    try:
        write()
    except (OSError, StoreError) as error:
        _unwritable.add(folder)
        _log.warning(
            "%s cannot be written: %s. Going on without keeping decoded pictures; free some space or name another "
            "folder for them",
            folder,
            getattr(error.__cause__ or error, "strerror", None) or error,
        )
