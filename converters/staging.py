"""Replace several files of a folder, all or none: a full disk or Ctrl-C leaves the folder as it was."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from typing_extensions import Self

from edge.bundle import MANIFEST
from edge.errors import StoreError

T = TypeVar("T")


class Staging:
    """Holds new files beside those that they will replace, under names ending in `.tmp`, which no manifest counts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: list[str] = []
        self._removed: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._names:
            self._new(name).unlink(missing_ok=True)
            self._old(name).unlink(missing_ok=True)

    def write(self, name: str, content: bytes) -> Path:
        """Write the new `name` (a path within the folder) beside the old; return where it waits. Raises StoreError."""
        self._names.append(name)
        path = self._new(name)
        try:
            with path.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._failed(name, error) from error
        return path

    def remove(self, name: str) -> None:
        """Let the old `name` go at the commit, without a new one; nothing happens where there is none."""
        if (self._folder / name).exists():
            self._names.append(name)
            self._removed.add(name)

    def commit(self, finish: Callable[[], T]) -> T:
        """Put every new file in its place, then call `finish`; put the old ones back at any failure."""
        replaced: list[str] = []
        try:
            for name in self._names:
                replaced.append(name)
                if (self._folder / name).exists():
                    (self._folder / name).replace(self._old(name))
                if name not in self._removed:
                    self._new(name).replace(self._folder / name)
            return finish()
        except BaseException as error:
            for name in replaced:
                self._put_back(name)
            if isinstance(error, OSError):
                raise self._failed(MANIFEST, error) from error
            raise

    def _put_back(self, name: str) -> None:
        if self._old(name).exists():
            self._old(name).replace(self._folder / name)
        elif name not in self._removed and not self._new(name).exists():  # it was moved to where nothing was
            (self._folder / name).unlink()

    def _new(self, name: str) -> Path:
        return self._folder / f"{name}.new.tmp"

    def _old(self, name: str) -> Path:
        return self._folder / f"{name}.old.tmp"

    def _failed(self, name: str, error: OSError) -> StoreError:
        return StoreError(
            f"{self._folder / name} cannot be written: {error}. The bundle was left as it was. "
            "Free some space or mend the folder's permissions, and convert again"
        )
