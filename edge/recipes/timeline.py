"""The values in force, each from its moment on: a change takes hold then, and not when somebody hears of it."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")

_KEPT = 64  # changes that nobody has come to yet; a camera that hangs comes to none


class Timeline(Generic[T]):
    """Values by the moment, on the station's clock, from which each holds. Any thread may change it and ask it."""

    def __init__(self, first: T) -> None:
        self._lock = threading.Lock()
        self._first = first
        self._changes: tuple[tuple[int, T], ...] = ()

    def change(self, value: T, from_ns: int) -> None:
        """Let `value` hold from a moment on, in place of all that was to hold later."""
        with self._lock:
            earlier = [change for change in self._changes if change[0] < from_ns]
            if len(earlier) == _KEPT:
                self._first = earlier.pop(0)[1]
            self._changes = (*earlier, (from_ns, value))

    def at(self, moment_ns: int) -> T:
        """Return what holds at a moment."""
        with self._lock:
            return next((value for from_ns, value in reversed(self._changes) if from_ns <= moment_ns), self._first)

    def forget_before(self, moment_ns: int) -> None:
        """Keep only what holds at a moment and later."""
        with self._lock:
            while self._changes and self._changes[0][0] <= moment_ns:
                self._first = self._changes[0][1]
                self._changes = self._changes[1:]

    @property
    def values(self) -> list[T]:
        """All that holds now or later, in order."""
        with self._lock:
            return [self._first, *(value for _, value in self._changes)]
