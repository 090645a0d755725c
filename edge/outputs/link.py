"""The common base of all links to a machine: a thread of their own, levels that wait for it, and what happened."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType

from typing_extensions import Self

from edge.outputs.pending import Pending
from edge.outputs.priority import go_first
from edge.records.outputs import Level, OutputEvent, OutputLate, OutputLost, Reading

Heard = Callable[[Reading], None]
_REMEMBERED = 1_000


class Link:
    """An `Output` whose thread is entered and left with it. `heard` is told of each reading of the inputs, in there.

    Leaving it sets what waits, which is the safe levels, within `ends_within_s`.
    """

    ends_within_s = 2.0

    def __init__(self, name: str, heard: Heard, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._heard = heard
        self._monotonic_ns = monotonic_ns
        self._pending = Pending()
        self._shown: dict[str, Level] = {}  # the levels for the machine to hold; the last one stands behind
        self._happened: deque[OutputEvent] = deque(maxlen=_REMEMBERED)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve_first, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._awake()
        self._thread.join(self.ends_within_s)

    def set(self, levels: Mapping[str, Level], by_ns: int | None = None) -> None:
        """Set levels, in their order."""
        self._pending.put(levels, by_ns)
        self._awake()

    def events(self) -> list[OutputEvent]:
        """Return what happened since last asked."""
        told = []
        while self._happened:
            told.append(self._happened.popleft())
        return told

    def _serve_first(self) -> None:
        go_first()
        self._run()

    @abstractmethod
    def _run(self) -> None:
        """Serve the machine until `_stop` is set."""

    def _awake(self) -> None:
        """Have the thread look at what waits."""
        self._pending.some.set()

    def _fold(self) -> None:
        """Take up what waited while nobody was there: levels alone, for a pulse's time is over."""
        for levels, by_ns in self._pending.take():
            if by_ns is None:
                self._show(levels)
            else:
                self._late(levels, by_ns, switched=False)

    def _show(self, levels: Mapping[str, Level]) -> None:
        """Note what the machine is to hold, in the order in which it is to see it."""
        for name, level in levels.items():
            self._shown.pop(name, None)
            self._shown[name] = level

    def _late(self, levels: Mapping[str, Level], by_ns: int | None, *, switched: bool) -> bool:
        """Tell of levels whose moment is over, and return whether it is; those without a moment are never late."""
        now_ns = self._monotonic_ns()
        if by_ns is None or now_ns <= by_ns:
            return False
        self._happened.extend(OutputLate(now_ns, name, now_ns - by_ns, switched) for name in levels)
        return True

    def _lost(self, detail: str) -> None:
        self._happened.append(OutputLost(self._monotonic_ns(), detail))
