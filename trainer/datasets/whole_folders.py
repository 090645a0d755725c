"""Folders that are whole or absent: written beside their place under a hidden name, and renamed at last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import StoreError


def check_target(out: Path) -> None:
    """Raise StoreError unless `out` is absent or an empty folder; to be known before work is done for it."""
    try:
        occupied = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise unwritable(out, error) from error
    if occupied:
        raise StoreError(f"{out} is not an empty folder, and nothing is overwritten. Name another or remove it")


@contextmanager
def whole_or_absent(out: Path, doing: str) -> Iterator[Path]:
    """Offer a hidden folder beside `out` that becomes `out` if all goes well, and is removed if not.

    `doing`: what it is called meanwhile, `.NAME.doing-…`, should the process be killed. Raises StoreError.
    """
    check_target(out)
    out = out.absolute()
    unfinished = out.with_name(f".{out.name}.{doing}-{os.getpid()}")
    try:
        try:
            unfinished.mkdir(parents=True)
        except OSError as error:
            raise unwritable(out, error) from error
        yield unfinished
        try:
            unfinished.replace(out)
        except OSError as error:
            raise unwritable(out, error) from error
    except BaseException:  # Ctrl-C as well
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def unwritable(path: Path, error: OSError) -> StoreError:
    """Say that a file or folder cannot be written, and what to do."""
    return StoreError(f"{path} cannot be written: {error.strerror or error}. Free some space or name another folder")
