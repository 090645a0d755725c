"""TensorRT's measurements on this device, kept so that the next build takes less time.

One file per device and version, under the user's cache folder, with a sidecar that says whose it is. It is locked from
reading to writing, so that two builds of different bundles do not lose each other's measurements. A cache of another
device or version is refused, never used and never passed over in silence: its timings would choose wrong tactics.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.engines.device import Machine
from edge.errors import StoreError
from edge.files import cache_home, write_bytes, write_text

_IDENTITY = ("tensorrt", "gpu", "compute_capability", "sm_count", "l4t")


def cache_folder() -> Path:
    """Return where timing caches lie: $XDG_CACHE_HOME/linewatch/tensorrt, or beneath ~/.cache. Raises StoreError."""
    home = cache_home()
    if home is None:
        raise StoreError("No home folder for the timing cache: name one that can be written in HOME or XDG_CACHE_HOME")
    return home / "linewatch" / "tensorrt"


class TimingCache:
    """The timing cache of one machine. Made by `locked_timing_cache`, which holds its lock."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        name = f"{machine.gpu}-sm{machine.compute_capability}-{machine.sm_count}-trt{machine.tensorrt}"
        self.path = folder / (re.sub(r"[^A-Za-z0-9.]+", "-", name) + ".timing")
        self._identity = {key: value for key, value in machine.as_dict().items() if key in _IDENTITY}

    @property
    def _sidecar(self) -> Path:
        return self.path.with_suffix(".json")

    def read(self) -> bytes:
        """Return what is kept, b"" at first. Raises StoreError for a cache of another device, version or content."""
        try:
            content = self.path.read_bytes()
            described = json.loads(self._sidecar.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return b""
        except (OSError, ValueError) as error:
            raise self.refused(f"it cannot be read: {error}") from error
        expected = {**self._identity, "sha256": hashlib.sha256(content).hexdigest()}
        if not isinstance(described, dict) or described != expected:
            raise self.refused(f"expected {_words(expected)}, found {_words(described)}")
        return content

    def write(self, content: bytes) -> None:
        """Keep what a build has learnt: the cache first, then its description. Raises StoreError."""
        described = {**self._identity, "sha256": hashlib.sha256(content).hexdigest()}
        try:
            # without its description a cache counts as none, so a fall between the two loses measurements only
            self._sidecar.unlink(missing_ok=True)
            write_bytes(self.path, content)
            write_text(self._sidecar, json.dumps(described, indent=1) + "\n")
        except (OSError, StoreError) as error:
            raise StoreError(
                f"{self.path} cannot be written: {error}. Free some space in {self.path.parent}, or name another "
                "folder with XDG_CACHE_HOME"
            ) from error

    def refused(self, reason: str) -> StoreError:
        """Return the error for a cache that must not be used."""
        return StoreError(
            f"The timing cache {self.path} is refused: {reason}. Delete it and build again; the build then takes "
            "longer once"
        )


@contextmanager
def locked_timing_cache(machine: Machine, folder: Path | None = None) -> Iterator[TimingCache]:
    """Give this machine's timing cache, waiting for another build that uses it."""
    cache = TimingCache(folder or cache_folder(), machine)
    try:
        cache.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(cache.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreError(
            f"{cache.path.parent} cannot be used for timing caches: {error}. Mend its permissions, or name another "
            "folder with XDG_CACHE_HOME"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield cache
    finally:
        os.close(descriptor)  # which gives the lock back


def _words(facts: Any) -> str:
    if not isinstance(facts, dict):
        return repr(facts)
    return ", ".join(f"{key} {str(value)[:16] if key == 'sha256' else value}" for key, value in facts.items())
