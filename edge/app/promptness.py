"""The time until a thread of this process has its turn: a verdict passes three threads on its way to a machine."""

from __future__ import annotations

import gc
import sys
from types import TracebackType

from typing_extensions import Self

# The interpreter's own is 5 ms: so long each of three threads may wait for one that computes.
_SWITCH_S = 0.0001


class Promptness:
    """Threads take turns every tenth of a millisecond while it is entered; leaving it restores what was before.

    `settle` takes what lives by now out of the garbage collector's care: to look through all of it stops every thread
    for tens of milliseconds.
    """

    def __enter__(self) -> Self:
        self._before_s = sys.getswitchinterval()
        self._settled = False
        sys.setswitchinterval(min(_SWITCH_S, self._before_s))
        return self

    def settle(self) -> None:
        """Expect what lives by now to live on. Call it once all is opened."""
        gc.collect()
        gc.freeze()
        self._settled = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.setswitchinterval(self._before_s)
        if self._settled:
            gc.unfreeze()
