"""Import of TensorFlow without its greetings.

Its libraries write to file descriptor 2 whatever their log level, before anything can be asked of them. A user would
take lines about absent drivers for something that is wrong.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def without_greetings() -> Iterator[None]:
    """Shut file descriptor 2 meanwhile. Python's own errors come through."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def import_quietly(modules: Sequence[str]) -> None:
    """Import modules by name. Raises ImportError."""
    with without_greetings():
        for name in modules:
            importlib.import_module(name)
