"""The age of a live picture by the stream's own clock, and the gaps between pictures. Pure.

A stream tells its own time with each picture. Our clock runs beside it. So their difference is the same for all
pictures, but for the time that each waited: in the camera, on the network, in a buffer of this machine. The smallest
difference is that of a picture that did not wait; any surplus is backlog. A delay that all pictures have from the first
one on cannot be told in this way (docs/cameras.md).
"""

from __future__ import annotations

from collections import deque
from statistics import median

# Two quartz clocks drift apart by at most so much. Without it a camera would fall behind by its clock alone.
_DRIFT = 200e-6
_INTERVALS = 31
# Jitter is less; with one picture missing an interval is twice as long.
_LONG = 1.75


class StreamClock:
    """Compares a stream's clock with ours. All times in nanoseconds; `media_ns` is the stream's own time."""

    def __init__(self) -> None:
        self._smallest_ns: float | None = None
        self._last_ns = 0

    def arrived(self, media_ns: int, now_ns: int) -> None:
        """Note that the picture of `media_ns` was there at `now_ns`."""
        offset_ns = float(now_ns - media_ns)
        if self._smallest_ns is None:
            self._smallest_ns = offset_ns
        else:
            self._smallest_ns = min(offset_ns, self._smallest_ns + _DRIFT * max(0, now_ns - self._last_ns))
        self._last_ns = now_ns

    def captured_ns(self, media_ns: int, arrived_ns: int) -> int:
        """Return the time on our clock at which a picture would have been there without waiting, ns.

        It is never after the time at which it was there.
        """
        if self._smallest_ns is None:
            return arrived_ns
        return min(arrived_ns, round(media_ns + self._smallest_ns))


class StreamGaps:
    """The pictures that are missing in a stream that numbers none, by its own times: an estimate.

    Pictures come at a steady pace. So an interval of n times the usual one, the median of the last ones, lacks n - 1 of
    them. A camera with a changed pace is told so for a few pictures, until the new pace is usual.
    """

    def __init__(self) -> None:
        self._intervals_ns: deque[int] = deque(maxlen=_INTERVALS)
        self._last_ns: int | None = None

    def missed_before(self, media_ns: int) -> int:
        """Return how many are missing between the last picture and the one of `media_ns`, the stream's own time."""
        last_ns, self._last_ns = self._last_ns, media_ns
        if last_ns is None or media_ns <= last_ns:  # begun anew, or out of order
            return 0
        interval_ns = media_ns - last_ns
        usual_ns = median(self._intervals_ns) if len(self._intervals_ns) > _INTERVALS // 2 else None
        self._intervals_ns.append(interval_ns)
        if usual_ns is None or interval_ns < _LONG * usual_ns:
            return 0
        return max(1, round(interval_ns / usual_ns) - 1)
