"""The belt's encoder: what it counted at a moment that is past, from readings of a counter that begins anew."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque

_MOST_READINGS = 20_000


class Encoder:
    """Readings of a counter of so many `bits`, joined to one count that falls only when the belt goes back.

    `kept_ns`: how long readings are remembered. Any thread may ask and tell.
    """

    def __init__(self, bits: int = 16, kept_ns: int = 120_000_000_000) -> None:
        self._period = 1 << bits
        self._kept_ns = kept_ns
        self._lock = threading.Lock()
        self._readings: deque[tuple[int, int]] = deque(maxlen=_MOST_READINGS)

    @property
    def count(self) -> int | None:
        """The last count; None before the first reading, and after a loss."""
        with self._lock:
            return self._readings[-1][1] if self._readings else None

    def read(self, at_ns: int, raw: int) -> int:
        """Take a reading, and return the count. Less than half a turn of the counter lies between two readings."""
        half = self._period // 2
        with self._lock:
            last = self._readings[-1][1] if self._readings else None
            count = raw if last is None else last + (raw - last + half) % self._period - half
            self._readings.append((at_ns, count))
            while self._readings[0][0] < at_ns - self._kept_ns:
                self._readings.popleft()
        return count

    def lose(self) -> None:
        """Forget everything: nobody knows how far the belt went meanwhile."""
        with self._lock:
            self._readings.clear()

    def at(self, moment_ns: int) -> int | None:
        """Return the count at a moment, between the readings around it; None where there are none."""
        with self._lock:
            readings = list(self._readings)
        place = bisect_left(readings, moment_ns, key=lambda reading: reading[0])
        if place == len(readings):  # after the last reading: the last is the best that is known
            return readings[-1][1] if readings else None
        after_ns, after = readings[place]
        if place == 0:
            return after if after_ns == moment_ns else None
        before_ns, before = readings[place - 1]
        return before + round((after - before) * (moment_ns - before_ns) / (after_ns - before_ns))
