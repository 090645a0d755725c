"""One recording that two readers play: each gets every frame, and each frame is decoded once.

The first reader has the frame decoded; it waits for the other, so that few frames are held. One goes on where both
would wait for each other, as two stations with different cameras might.
"""

from __future__ import annotations

import threading
from collections import deque
from types import TracebackType

from typing_extensions import Self

from edge.protocols import Camera
from edge.records import CameraCondition, CameraState, Frame

_AHEAD = 6  # frames of one camera that one reader may be ahead of the other


class Turns:
    """The turns of two readers' cameras: a lock, and which of the two waits for the other."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: set[int] = set()
        self.left: set[int] = set()

    def leave(self, reader: int) -> None:
        """Note that a reader, 0 or 1, has ended: nobody waits for it any more."""
        with self.changed:
            self.left.add(reader)
            self.changed.notify_all()


class SharedCamera:
    """A recorded camera, read by two: `for_reader(0)` and `for_reader(1)` are cameras of their own."""

    def __init__(self, inner: Camera, turns: Turns) -> None:
        self.inner = inner
        self._turns = turns
        self._queues: tuple[deque[tuple[Frame | CameraState, int]], ...] = (deque(), deque())
        self._reading = False
        self._open = 0

    def for_reader(self, reader: int) -> Camera:
        """Return the camera of the first or second reader."""
        return _Shared(self, reader)

    def enter(self) -> None:
        """Open it for one more reader."""
        with self._turns.changed:
            if self._open == 0:
                self.inner.__enter__()
            self._open += 1

    def leave(self) -> None:
        """Close it once nobody reads it any more."""
        with self._turns.changed:
            self._open -= 1
            if self._open == 0:
                self.inner.__exit__(None, None, None)

    def read(self, reader: int, timeout_s: float) -> tuple[Frame | CameraState, int]:
        """Return what comes next for a reader, and how many frames were dropped before it."""
        other, turns = 1 - reader, self._turns
        own, others = self._queues[reader], self._queues[other]
        with turns.changed:
            while not own and (self._reading or self._must_wait(reader, others)):
                if not self._reading:
                    turns.waiting.add(reader)
                    turns.changed.notify_all()
                turns.changed.wait()
                turns.waiting.discard(reader)
            if own:
                turns.changed.notify_all()
                return own.popleft()
            self._reading = True
        item: Frame | CameraState | None = None
        try:
            item = self.inner.read(timeout_s)
        finally:
            with turns.changed:
                self._reading = False
                if item is not None and _is_for_both(item) and other not in turns.left:
                    others.append((item, self.inner.dropped))
                turns.changed.notify_all()
        return item, self.inner.dropped

    def _must_wait(self, reader: int, others: deque[tuple[Frame | CameraState, int]]) -> bool:
        other = 1 - reader
        return len(others) >= _AHEAD and other not in self._turns.left and other not in self._turns.waiting


def _is_for_both(item: Frame | CameraState) -> bool:
    return isinstance(item, Frame) or item.condition is not CameraCondition.NO_FRAME_YET


class _Shared:
    """The camera of one reader."""

    def __init__(self, shared: SharedCamera, reader: int) -> None:
        self.name = shared.inner.name
        self.dropped = 0
        self._shared = shared
        self._reader = reader

    @property
    def total(self) -> int:
        """The number of frames, where that is known."""
        return int(getattr(self._shared.inner, "total", 0))

    def __enter__(self) -> Self:
        self._shared.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shared.leave()

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame, or why there is none."""
        item, self.dropped = self._shared.read(self._reader, timeout_s)
        return item
