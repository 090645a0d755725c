"""An observer without a thread or queue, for what must see everything: it may slow the loop, and may end it."""

from __future__ import annotations

from collections.abc import Callable

from edge.records.decided import Decided, DecidedPart


class DirectObserver:
    """Calls `take` in the loop's thread with each that is decided. Any error of `take` ends the run.

    For recordings, tests, the demo, and what the loop does itself. A live station is watched through `QueuedObserver`.
    """

    def __init__(self, take: Callable[[Decided | DecidedPart], None]) -> None:
        self._take = take

    def offer(self, decided: Decided | DecidedPart) -> None:
        """Have it taken before this returns."""
        self._take(decided)
