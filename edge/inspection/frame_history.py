"""The last prepared frames of a camera, for models that judge several at a time."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from edge.records import PreparedFrame


class RecentFrames:
    """Remembers the frames before the newest one, at most `frames` - 1 of them, of one camera.

    Only frames that follow each other without a gap, and that are of one size, make a sequence. Anything between them
    begins a new one.
    """

    def __init__(self, frames: int) -> None:
        self._earlier: deque[PreparedFrame] = deque(maxlen=frames - 1)

    def follow(self, prepared: PreparedFrame) -> PreparedFrame:
        """Return the frame with those before it, oldest first, and remember it."""
        if self._earlier:
            last = self._earlier[-1]
            adjoins = prepared.frame.index == last.frame.index + 1 and prepared.frame.camera == last.frame.camera
            if not adjoins or prepared.pixels.shape != last.pixels.shape:
                self.forget()
        earlier = tuple(each.pixels for each in self._earlier)
        self._earlier.append(prepared)
        return replace(prepared, earlier=earlier)

    def forget(self) -> None:
        """Begin anew: the camera was lost, or a frame could not be read."""
        self._earlier.clear()
