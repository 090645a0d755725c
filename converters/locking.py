"""One conversion of a bundle at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import StoreError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a bundle's folder, by a lock of the folder itself.

    So no file is left, and it ends with the process. Raises StoreError at once where another process converts it.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # a pipe in its place is not waited for
    except OSError:
        yield  # no folder: whoever reads the bundle says so
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise StoreError(
            f"{folder} is being converted by another process. Wait until it has finished, and run the command again"
        ) from error
    try:
        yield
    finally:
        os.close(handle)
