"""Weights that PyTorch saved, read without PyTorch.

The format is that of torch.save before version 1.6 (https://github.com/pytorch/pytorch, torch/serialization.py,
`_legacy_save`). Pickles come first: a magic number, a version, what the machine was, and the dictionary of tensors.
Then come a pickle of the storages' keys, and each storage as a count and its raw numbers. A pickle can run programs.
This reader knows four names, none of which does anything, and refuses every other.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError
from edge.wording import counted

_MAGIC = 0x1950A86A20F9469CFC6C
_BYTES_AT_MOST = 1 << 31
# Instructions of a pickle whose number alone is how much memory is asked for.
_BY_A_NUMBER = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "FRAME"})
_DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
# errors of a pickle of other things where tensors are looked for in it, and of an impossible count
_OF_WRONG_PICKLES = (TypeError, AttributeError, OverflowError, MemoryError)


@dataclass(frozen=True)
class _View:
    """A tensor as the file names it: which storage, from which number on, its sides and its strides in numbers."""

    key: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _OnlyTensors(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, and tensors need no such thing")

    def persistent_load(self, pid: Any) -> Any:
        _, dtype, key, *_ = pid  # "storage", its kind, its key, where it was, how many numbers, None
        return dtype, key


def _view(storage: tuple[str, str], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _View:
    return _View(storage[1], storage[0], offset, tuple(shape), tuple(strides))


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """Return the tensors of a file by name, float32 or int64. Raises BundleError for anything else than such a file."""
    try:
        return _read(_content(path))
    except (OSError, pickle.UnpicklingError, EOFError, LookupError, ValueError, *_OF_WRONG_PICKLES) as error:
        raise BundleError(
            f"{path} cannot be read as weights that PyTorch saved: {error}. Expected a dictionary of tensors as "
            "torch.save wrote it before version 1.6"
        ) from error


def _content(path: Path) -> bytes:
    if path.stat().st_size > _BYTES_AT_MOST:
        raise ValueError(f"it has {path.stat().st_size:,} bytes, and at most {_BYTES_AT_MOST:,} are read")
    return path.read_bytes()


def _read(data: bytes) -> dict[str, NDArray[Any]]:
    at, read = 0, []
    for _ in range(5):
        value, at = _unpickle(data, at)
        read.append(value)
    magic, _version, _machine, views, keys = read
    if magic != _MAGIC:
        raise ValueError("it does not begin with PyTorch's number")
    dtypes = {view.key: view.dtype for view in views.values()}
    storages = {}
    for key in keys:
        count = int(np.frombuffer(data[at : at + 8], "<i8")[0])
        size = count * np.dtype(dtypes[key]).itemsize
        raw = data[at + 8 : at + 8 + max(0, size)]
        if len(raw) != size:
            raise ValueError(f"it ends within its numbers, {counted(size - len(raw), 'byte')} too early")
        storages[key] = np.frombuffer(raw, dtypes[key])
        at += 8 + size
    return {name: _tensor(storages[view.key], view) for name, view in views.items()}


def _unpickle(data: bytes, at: int) -> tuple[Any, int]:
    """Read one pickle from a place in the file; return it, and where it ends.

    Its instructions are looked through first: some make the unpickler ask for memory by a number alone.
    """
    file = io.BytesIO(data)
    file.seek(at)
    for instruction, argument, _ in pickletools.genops(file):
        if instruction.name in _BY_A_NUMBER and isinstance(argument, int) and argument > len(data):
            raise ValueError(
                f"its pickle asks for memory for {argument:,} things, and the file has {len(data):,} bytes"
            )
    return _OnlyTensors(io.BytesIO(data[at : file.tell()])).load(), file.tell()


def _tensor(storage: NDArray[Any], view: _View) -> NDArray[Any]:
    last = view.offset + sum((side - 1) * step for side, step in zip(view.shape, view.strides, strict=True))
    if last >= len(storage) or min((view.offset, *view.shape, *view.strides)) < 0:
        raise ValueError(f"a tensor of {view.shape} reaches beyond its {len(storage)} numbers")
    if int(np.prod(view.shape, dtype=object)) > len(storage):
        raise ValueError(f"a tensor of {view.shape} repeats its {len(storage)} numbers")
    steps = [step * storage.itemsize for step in view.strides]
    return np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, steps).copy()
