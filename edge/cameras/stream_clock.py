"""The age of a live picture by the stream's own clock. Pure.

A stream tells its own time with each picture. Our clock runs beside it. So their difference is the same for all
pictures, but for the time that each waited: in the camera, on the network, in a buffer of this machine. The smallest
difference is that of a picture that did not wait; any surplus is backlog. A delay that all pictures have from the first
one on cannot be told in this way (docs/cameras.md).
"""

from __future__ import annotations

# Two quartz clocks drift apart by at most so much; without it a camera would fall behind by its clock alone.
_DRIFT = 200e-6


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
