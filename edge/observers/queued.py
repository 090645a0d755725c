"""An observer with a thread of its own behind a bounded queue: it costs the loop that offers nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Generic, Literal, TypeVar, cast

from typing_extensions import Self

from edge.records.decided import Decided
from edge.repeats import Repeats, likeness
from edge.wording import counted

_log = logging.getLogger(__name__)

One = TypeVar("One")

MOST = 1_000
CLOSES_WITHIN_S = 2.0


class QueuedObserver(Generic[One]):
    """Runs `take` in a thread of its own on what is offered, in the order of offering.

    It is offered frames and parts, or whatever else `take` takes.

    `most`: how much may wait; what finds no room is dropped and counted. `keeps`: which stays then, the `newest` or
    the `oldest`. `pixels`: whether `take` is given frames and maps; without them much may wait in little memory. An
    exception of `take` is logged once of its kind, and counted. Leaving waits until what is queued was taken, at most
    `closes_within_s` seconds, and drops the rest.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[One], None],
        *,
        most: int = MOST,
        keeps: Literal["newest", "oldest"] = "newest",
        pixels: bool = False,
        closes_within_s: float = CLOSES_WITHIN_S,
    ) -> None:
        if most < 1:
            raise ValueError(f"expected room for at least 1, received {most}")
        self.name = name
        self._take = take
        self._most = most
        self._keeps_newest = keeps == "newest"
        self._pixels = pixels
        self._closes_within_s = closes_within_s
        self._waiting: deque[One] = deque()
        self._some = threading.Condition()
        self._open = False
        self._until_s: float | None = None
        self._failures: Repeats[str] = Repeats()
        self._dropped = 0
        self._failed = 0
        self._thread = threading.Thread(target=self._run, name=f"observer-{name}", daemon=True)

    def __enter__(self) -> Self:
        self._open = True
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._some:
            self._open = False
            self._until_s = time.monotonic() + self._closes_within_s
            self._some.notify()
        self._thread.join(self._closes_within_s)
        with self._some:
            self._drop_all()
        if self._thread.is_alive():
            _log.warning("The observer %s did not end within %g s and is left behind", self.name, self._closes_within_s)
        self._tell_failures(all_of_it=True)
        if self._dropped:
            _log.info("The observer %s did not see %s", self.name, counted(self._dropped, "result"))

    def offer(self, decided: One) -> None:
        """Accept what was decided, or drop and count something; never waits for `take`, never raises."""
        if not self._pixels and isinstance(decided, Decided):
            decided = cast("One", replace(decided, frame=None, defect_map=None, to_frame=None))
        with self._some:
            if not self._open:
                self._dropped += 1
                return
            if len(self._waiting) >= self._most:
                self._dropped += 1
                if not self._keeps_newest:
                    return
                self._waiting.popleft()
            self._waiting.append(decided)
            self._some.notify()

    @property
    def dropped(self) -> int:
        """Return the number of items that were offered and never taken."""
        return self._dropped

    @property
    def failed(self) -> int:
        """Return the number of times that `take` raised."""
        return self._failed

    @property
    def waiting(self) -> int:
        """Return the number of items that wait to be taken."""
        return len(self._waiting)

    def _run(self) -> None:
        while (decided := self._next()) is not None:
            try:
                self._take(decided)
            except Exception as error:  # noqa: BLE001 - what watches a line never ends anything
                self._failed += 1
                self._tell(error)
            self._tell_failures()

    def _next(self) -> One | None:
        """Wait for what is to be taken; None when it is time to end."""
        with self._some:
            while not self._waiting:
                if not self._open:
                    return None
                self._some.wait()
            if self._until_s is not None and time.monotonic() >= self._until_s:
                self._drop_all()
                return None
            return self._waiting.popleft()

    def _drop_all(self) -> None:
        self._dropped += len(self._waiting)
        self._waiting.clear()

    def _tell(self, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}"
        if self._failures.told((type(error), likeness(str(error))), told, time.monotonic()):
            _log.error("The observer %s failed, and goes on", self.name, exc_info=error)

    def _tell_failures(self, *, all_of_it: bool = False) -> None:
        for count, last, seconds in self._failures.due(time.monotonic(), all_of_it=all_of_it):
            _log.error("The observer %s failed %d more times in %.0f s, the last: %s", self.name, count, seconds, last)
