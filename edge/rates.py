"""A bound on how often something may be done."""

from __future__ import annotations

import time
from collections.abc import Callable


class Rate:
    """At most `per_s` times a second on average, and at most `burst` times at once. For one thread only."""

    def __init__(self, per_s: float, burst: int, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._monotonic_s = monotonic_s
        self._left = float(burst)
        self._looked_s = monotonic_s()

    @property
    def left(self) -> int:
        """Return the number of times that it may be done now."""
        now_s = self._monotonic_s()
        self._left = min(self._burst, self._left + (now_s - self._looked_s) * self._per_s)
        self._looked_s = now_s
        return int(self._left)

    def take(self) -> bool:
        """Take one of them; False where none is left."""
        if self.left < 1:
            return False
        self._left -= 1
        return True

    def owe(self, count: int) -> None:
        """Take so many, also more than are left: none is left then until all of them have come back."""
        self._left -= count


class TurnRate:
    """The room that a rate gives in one turn of a loop. Room that comes back meanwhile is for the next turn.

    So whatever is more urgent, and comes first in each turn, leaves first. For one thread only.
    """

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self.left = 0

    def begin(self) -> None:
        """Begin a turn."""
        self.left = self._rate.left

    def take(self, count: int) -> None:
        """Take so many, also more than are left."""
        self.left -= count
        self._rate.owe(count)
