"""An engine that has a time limit: what never answers must not hold the line up, nor keep it from being stopped.

The vendor's calls that may not return are made in a thread of their own. It is left behind where they do not. Every
batch fails at once while it is stuck. An engine that comes back is used again, and its late answers are thrown away.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from edge.errors import EngineError, EngineHangsError, LinewatchError
from edge.protocols import Engine
from edge.records import Batch, Float32, GraphContract, Maps, Ticket
from edge.wording import counted

_LOG = logging.getLogger(__name__)
# A model is loaded and compiled within this time; systemd waits no longer for a line to start.
OPENING_AT_MOST_S = 90.0
CLOSING_AT_MOST_S = 5.0
# A stopping line waits no longer than this for an engine that may never answer.
STOPPING_AT_MOST_S = 2.0
_LOOK_EVERY_S = 0.1

_hanging: weakref.WeakSet[TimeLimitedEngine] = weakref.WeakSet()


def hanging() -> bool:
    """Tell whether a vendor's call is stuck in this process: its threads would keep the interpreter from ending."""
    return any(engine.hangs for engine in _hanging)


class _Call:
    """One call on its way to the thread, and what came of it."""

    def __init__(self, run: Callable[[], Any], late: Callable[[Any], object] | None = None) -> None:
        self.run = run
        self.late = late  # takes a result for which nobody waits any more
        self.given_up = False
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def __call__(self) -> None:
        try:
            self.result = self.run()
        except BaseException as error:  # noqa: BLE001 - raised again where the call was asked for
            self.error = error
        finally:
            self.done.set()


class TimeLimitedEngine:
    """Gives `engine` at most `max_batch_s` seconds for each batch. `name`: what runs the model, for messages.

    A set `stop` ends the wait for it after STOPPING_AT_MOST_S. `in_use`: backend and precision, for those who show it.
    Raises EngineHangsError, and what the engine raises.
    """

    def __init__(
        self,
        engine: Engine,
        max_batch_s: float,
        name: str = "the engine",
        stop: threading.Event | None = None,
        *,
        opening_at_most_s: float = OPENING_AT_MOST_S,
        closing_at_most_s: float = CLOSING_AT_MOST_S,
    ) -> None:
        self.inner = engine
        self.in_use = ""
        self._opening_at_most_s = opening_at_most_s
        self._closing_at_most_s = closing_at_most_s
        self._max_batch_s = max_batch_s
        self._name = name
        self._stop = stop or threading.Event()
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._stuck_since_s: float | None = None
        self._under_way: dict[int, Ticket] = {}
        self._abandoned: set[int] = set()
        self._lock = threading.Lock()
        self._spare: Batch | None = None
        self._open = False

    @property
    def contract(self) -> GraphContract:
        """The contract of the engine."""
        return self.inner.contract

    @property
    def at_once(self) -> int:
        """As many batches as the engine has under way."""
        return self.inner.at_once

    @property
    def hangs(self) -> bool:
        """True while a call of it does not return."""
        return self._stuck_since_s is not None

    def __enter__(self) -> Self:
        self._calls = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(self._calls,), name="engine", daemon=True).start()
        _hanging.add(self)
        try:
            self._within(self.inner.__enter__, self._opening_at_most_s, "opened the model")
        except BaseException:
            self._calls.put(None)
            raise
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        try:
            if self.hangs:
                _LOG.error("%s: it is left behind", self._why())
                return
            self._within(
                partial(self.inner.__exit__, kind, error, trace), self._closing_at_most_s, "let go of the model"
            )
        except EngineHangsError as late:
            _LOG.error("%s: it is left behind", late)
        except LinewatchError as failed:  # all that it answered is told and kept
            _LOG.error("The model was not let go of: %s", failed)
        finally:
            self._calls.put(None)

    def _work(self, calls: queue.SimpleQueue[_Call | None]) -> None:
        while (call := calls.get()) is not None:
            call()
            with self._lock:
                unwanted = call.given_up and call.error is None
            if unwanted and call.late is not None:
                with suppress(Exception):
                    call.late(call.result)
            with self._lock:
                if self._stuck_since_s is not None and calls.empty():
                    _LOG.warning("%s answers again", self._name)
                    self._stuck_since_s = None

    def _within(
        self, run: Callable[[], Any], seconds: float, did: str, late: Callable[[Any], object] | None = None
    ) -> Any:
        call = _Call(run, late)
        self._calls.put(call)
        begun_s = time.monotonic()
        ends_s, stopping = begun_s + seconds, False
        while not call.done.wait(max(0.0, min(_LOOK_EVERY_S, ends_s - time.monotonic()))):
            now_s = time.monotonic()
            if self._stop.is_set() and not stopping:
                stopping, ends_s = True, min(ends_s, now_s + STOPPING_AT_MOST_S)
            if now_s < ends_s:
                continue
            with self._lock:
                if call.done.is_set():  # in this very moment
                    break
                self._stuck_since_s, call.given_up = begun_s, True
                for ticket in self._under_way.values():
                    self._abandoned.add(ticket.serial)
                    self._calls.put(_Call(partial(self.inner.collect, ticket)))
                self._under_way.clear()
            told = f" by {seconds:g} s" if not stopping else " before it was stopped"
            raise EngineHangsError(f"{self._name} has not {did}{told}, {now_s - begun_s:.1f} s after it was asked")
        if isinstance(call.error, LinewatchError):
            raise call.error
        if call.error is not None:  # a vendor's code may raise anything, SystemExit too
            told = " ".join(str(call.error).split())[:500]
            raise EngineError(
                f"{self._name} failed: {type(call.error).__name__}: {told}. If that does not pass, run another "
                "engine.backend"
            ) from call.error
        return call.result

    def _why(self) -> str:
        since_s = self._stuck_since_s
        stuck_s = 0.0 if since_s is None else time.monotonic() - since_s
        return f"{self._name} has not answered for {stuck_s:.0f} s; a batch may take {self._max_batch_s:g} s"

    def buffer(self) -> Batch:
        """Return the engine's next buffer; a hanging engine gets one that goes nowhere."""
        if not self.hangs:
            return self.inner.buffer()
        if self._spare is None:
            c = self.contract
            frames = [c.frames] if c.frames > 1 else []
            self._spare = Batch(np.zeros((c.max_batch, *frames, c.tile_height, c.tile_width, c.channels), np.uint8))
        self._spare.refs.clear()
        return self._spare

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Hand tiles to the engine. Raises EngineHangsError at once while it hangs."""
        if self.hangs or batch is self._spare:
            raise EngineHangsError(self._why())
        if not self._open:
            return self.inner.submit(batch, count, thresholds)  # which says that it is closed
        ticket: Ticket = self._within(
            partial(self.inner.submit, batch, count, thresholds),
            self._max_batch_s,
            f"taken {counted(count, 'tile')}",
            late=self.inner.collect,  # or its buffer would never be free again
        )
        self._under_way[ticket.serial] = ticket
        return ticket

    def collect(self, ticket: Ticket) -> Maps:
        """Wait for a ticket's maps, uint8 [count, h, w] each, as long as is allowed."""
        with self._lock:
            if ticket.serial in self._abandoned:
                self._abandoned.discard(ticket.serial)
                raise EngineHangsError(self._why())
            self._under_way.pop(ticket.serial, None)
        what = f"answered {counted(ticket.count, 'tile')}"
        maps: Maps = self._within(partial(self.inner.collect, ticket), self._max_batch_s, what)
        return maps
