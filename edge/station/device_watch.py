"""Looks at the device now and then, in a thread of its own: a disk that hangs keeps nobody else waiting."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edge.messages.writer import Stamp, stamp_now
from edge.records.health import DeviceNow

_log = logging.getLogger(__name__)

EVERY_S = 2.0
# NTP turns a clock by 0.5 ms in a second at most; a larger step between two looks was set.
JUMP_S = 0.5


class ClockJumps:
    """Tells when the wall clock was set: it and the monotonic clock then disagree on how much time has passed. Pure."""

    def __init__(self) -> None:
        self.count = 0
        self.last_ns: int | None = None
        self.last_s = 0.0
        self._before: Stamp | None = None

    def look(self, stamp: Stamp) -> float:
        """Take one more look at both clocks, and return by how many seconds the wall clock jumped since the last."""
        before, self._before = self._before, stamp
        if before is None:
            return 0.0
        by_s = (stamp.wall - before.wall).total_seconds() - (stamp.mono_ns - before.mono_ns) / 1e9
        if abs(by_s) < JUMP_S:
            return 0.0
        self.count += 1
        self.last_ns, self.last_s = stamp.mono_ns, by_s
        return by_s


class DeviceWatch:
    """Looks at the disk that `store` lies on and at the clocks. `now`: what was seen last, None before the first look.

    `stamp` reads both clocks.
    """

    def __init__(self, store: Path, every_s: float = EVERY_S, stamp: Callable[[], Stamp] = stamp_now) -> None:
        self._store = store
        self._every_s = every_s
        self._stamp = stamp
        self._jumps = ClockJumps()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self.now: DeviceNow | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self._every_s)  # a disk that hangs is left behind

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self._every_s)

    def look(self) -> DeviceNow:
        """Look once, and return what was seen."""
        free, size = _room(self._store)
        stamp = self._stamp()
        by_s = self._jumps.look(stamp)
        if by_s:
            _log.warning("The clock on the wall jumped by %+.1f s. Is it set by hand, or by two programs?", by_s)
        jumps = self._jumps
        self.now = DeviceNow(stamp.mono_ns, free, size, stamp.synced, jumps.count, jumps.last_ns, jumps.last_s)
        return self.now


def _room(store: Path) -> tuple[int | None, int | None]:
    """Return the free bytes and the size of a store's disk, even before it is there; None where unknown."""
    try:
        usage = shutil.disk_usage(next(each for each in store.absolute().parents if each.exists()))
    except OSError:
        return None, None
    return usage.free, usage.total
