"""Levels on their way to a machine: of each signal the latest wins, and those with a moment wait on their own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping

from edge.records.outputs import Level

Batch = tuple[dict[str, Level], int | None]
_MOST = 1_000


class Pending:
    """Batches in their order. `some` is set while there is one."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self._lock = threading.Lock()
        self.some = threading.Event()

    def put(self, levels: Mapping[str, Level], by_ns: int | None) -> None:
        """Let levels wait. They join the last batch where neither has a moment, and then stand behind its others."""
        with self._lock:
            if by_ns is None and self._batches and self._batches[-1][1] is None:
                last = self._batches[-1][0]
                for name, level in levels.items():
                    last.pop(name, None)
                    last[name] = level
            else:
                self._batches.append((dict(levels), by_ns))
                if len(self._batches) > _MOST:  # nobody takes them: what is due is late, and the levels join
                    self._fold()
            self.some.set()

    def take(self) -> list[Batch]:
        """Return everything that waits."""
        with self._lock:
            taken, self._batches = list(self._batches), deque()
            self.some.clear()
        return taken

    def _fold(self) -> None:
        levels: dict[str, Level] = {}
        for batch, _ in self._batches:
            for name, level in batch.items():
                levels.pop(name, None)
                levels[name] = level
        self._batches = deque([(levels, None)])
