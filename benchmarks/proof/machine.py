"""Faults of the machine for scenes: a small disk in memory, and a disk that stops answering. Both need root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import Self

from .setting import ProofError

_IMAGE_MB = 192


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProofError(f"{' '.join(str(part) for part in command)}: {done.stderr.strip()}")


def _need_root(what: str) -> None:
    if os.geteuid():
        raise ProofError(f"{what} needs root. Run: sudo make proof")


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """Mount a tmpfs of so many MB below `folder` and return where it is. Raises ProofError without root."""
    _need_root("mounting a small disk")
    where = folder / "small"
    where.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", where)
    try:
        yield where
    finally:
        _run("umount", "-l", where)


class StallingDisk:
    """An ext4 file system in a file, mounted at `path`, that can be frozen: writes and syncs then do not return."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stalling"
        self._image = folder / "stalling.img"
        self._frozen = False

    def __enter__(self) -> Self:
        _need_root("freezing a disk")
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(_IMAGE_MB * 1_000_000)
        _run("mkfs.ext4", "-q", self._image)
        _run("mount", "-o", "loop", self._image, self.path)
        return self

    def __exit__(self, *_: object) -> None:
        if self._frozen:
            self.freeze(on=False)
        _run("umount", "-l", self.path)
        self._image.unlink()

    def freeze(self, *, on: bool) -> None:
        """Stop answering, or answer again."""
        _run("fsfreeze", "-f" if on else "-u", self.path)
        self._frozen = on
