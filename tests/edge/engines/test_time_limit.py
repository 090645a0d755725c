from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from typing_extensions import Self

from edge.engines import time_limit
from edge.engines.time_limit import TimeLimitedEngine
from edge.errors import EngineError, EngineHangsError
from edge.records import Batch, Cell, Float32, GraphContract, Maps, Ticket, TileRef, UInt8
from edge.simulation.engine import SimulatedEngine, SimulatedFault
from edge.simulation.rendering import CLASS_NAMES

CONTRACT = GraphContract(8, 8, 1, 1, 1, ("scratch",), 2)
THRESHOLDS = np.array([0.5], np.float32)
SCRATCHED: UInt8 = np.full((8, 8), CLASS_NAMES.index("scratch") + 1, np.uint8)


def limited(seconds: float = 0.2, stop: threading.Event | None = None, **fault: object) -> TimeLimitedEngine:
    """Make a simulated engine with a fault and a time limit."""
    told = SimulatedFault.model_validate({"kind": "hangs", **fault})
    return TimeLimitedEngine(SimulatedEngine(CONTRACT, lambda *_: SCRATCHED, 0.0, told), seconds, "the fake", stop)


def answer(engine: TimeLimitedEngine) -> int:
    """Have one tile answered, and return its highest class."""
    batch = engine.buffer()
    batch.refs.append(TileRef("c", 0, Cell(0, 0, 0, 0, 8, 0, 8)))
    return int(engine.collect(engine.submit(batch, 1, THRESHOLDS)).classes.max())


def test_what_answers_in_time_is_handed_on() -> None:
    """A time limit changes no answer, batch after batch."""
    with limited(30, after_batches=100) as engine:
        assert [answer(engine) for _ in range(20)] == [1] * 20
        assert not engine.hangs


def test_what_does_not_answer_is_an_error_and_then_at_once() -> None:
    """The first batch waits for the limit; each further one fails without waiting while the engine hangs."""
    with limited(0.2, after_batches=1) as engine:
        assert answer(engine) == 1
        with pytest.raises(EngineHangsError, match=r"the fake has not answered 1 tile by 0\.2 s"):
            answer(engine)
        assert engine.hangs
        assert time_limit.hanging()
        for _ in range(50):
            with pytest.raises(EngineHangsError, match="the fake has not answered for"):
                answer(engine)


def test_both_batches_under_way_fail() -> None:
    """A batch behind the one that hangs is failed too, and not waited for."""
    with limited(0.2) as engine:
        tickets = []
        for _ in range(2):
            batch = engine.buffer()
            batch.refs.append(TileRef("c", 0, Cell(0, 0, 0, 0, 8, 0, 8)))
            tickets.append(engine.submit(batch, 1, THRESHOLDS))
        for ticket in tickets:
            with pytest.raises(EngineHangsError):
                engine.collect(ticket)


def test_what_comes_back_is_used_again() -> None:
    """Late answers are thrown away, and the next batch is answered rightly."""
    with limited(2, hangs_s=4, batches=1) as engine:
        with pytest.raises(EngineHangsError):
            answer(engine)
        ends_s = time.monotonic() + 240
        while engine.hangs and time.monotonic() < ends_s:
            time.sleep(0.02)
        assert answer(engine) == 1


def test_a_stop_does_not_wait_for_the_limit() -> None:
    """With `stop` set an engine that hangs is waited for no longer than a few seconds, whatever the limit."""
    stop = threading.Event()
    with limited(3600, stop) as engine:
        threading.Timer(0.2, stop.set).start()
        begun_s = time.monotonic()
        with pytest.raises(EngineHangsError, match="before it was stopped"):
            answer(engine)
        assert time.monotonic() - begun_s < 60  # of an hour


def test_what_hangs_while_it_is_opened_or_closed_is_left_behind() -> None:
    """Opening ends with an error, and leaving ends; neither is waited for without end."""

    class Stuck(SimulatedEngine):
        where = "opened"

        def __enter__(self) -> Self:
            if self.where == "opened":
                threading.Event().wait()
            return super().__enter__()

        def __exit__(self, *_: object) -> None:
            threading.Event().wait()

    stuck = Stuck(CONTRACT, lambda *_: SCRATCHED)
    limit = TimeLimitedEngine(stuck, 1, opening_at_most_s=0.2)
    with pytest.raises(EngineHangsError, match="has not opened the model"), limit:
        pass
    stuck.where = "closed"
    with TimeLimitedEngine(stuck, 5, closing_at_most_s=0.2) as engine:
        assert answer(engine) == 1


def test_an_error_of_the_engine_stays_what_it_is() -> None:
    """An error of the engine is raised as it is, and is no hang."""
    with limited(5, kind="fails", batches=1) as engine:
        with pytest.raises(EngineError, match="as it was told to") as refused:
            answer(engine)
        assert not isinstance(refused.value, EngineHangsError)
        assert answer(engine) == 1


class RaisingEngine(SimulatedEngine):
    """An engine whose vendor raises whatever it likes, in one of its calls."""

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__(CONTRACT, lambda *_: SCRATCHED)
        self._where = where
        self._error = error

    def _raise_in(self, where: str) -> None:
        if where == self._where:
            raise self._error

    def __enter__(self) -> Self:
        self._raise_in("open")
        return super().__enter__()

    def __exit__(self, *how: object) -> None:
        self._raise_in("close")

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Raise, or hand the tiles over."""
        self._raise_in("submit")
        return super().submit(batch, count, thresholds)

    def collect(self, ticket: Ticket) -> Maps:
        """Raise, or answer."""
        self._raise_in("collect")
        return super().collect(ticket)


ODD = [
    RuntimeError("CUDA error \x1b[2J"),
    MemoryError(),
    SystemExit(0),
    KeyboardInterrupt(),
    StopIteration(),
    OSError(5),
]


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["open", "submit", "collect"])
def test_whatever_a_vendor_raises_is_a_failed_inference(where: str, error: BaseException) -> None:
    """Not even SystemExit ends a line: it is an EngineError that names it, and the engine is used on."""
    engine = TimeLimitedEngine(RaisingEngine(where, error), 10, "the fake")
    with pytest.raises(EngineError, match=f"the fake failed: {type(error).__name__}") as told, engine:
        answer(engine)
    assert "\x1b" not in str(told.value)


def test_what_fails_while_it_is_closed_is_told_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    """All frames are decided by then, so the line ends as it would have."""
    with TimeLimitedEngine(RaisingEngine("close", RuntimeError("gone")), 10, "the fake") as engine:
        assert answer(engine) == 1
    assert "was not let go of: the fake failed: RuntimeError: gone" in caplog.text


class StuckInSubmit(SimulatedEngine):
    """An engine that hangs while it takes the tiles of its second batch, until it is let go."""

    free = threading.Event()

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Hand the tiles over; the second ones only when it is let go."""
        ticket = super().submit(batch, count, thresholds)
        if ticket.serial == 1:
            self.free.wait(120)
        return ticket


def test_tiles_that_are_not_taken_in_time_are_an_error() -> None:
    """A driver can hang where tiles are handed to it as well as where answers are waited for."""
    with TimeLimitedEngine(StuckInSubmit(CONTRACT, lambda *_: SCRATCHED), 2, "the fake") as engine:
        assert answer(engine) == 1
        with pytest.raises(EngineHangsError, match=r"has not taken 1 tile by 2 s"):
            answer(engine)
        StuckInSubmit.free.set()
        ends_s = time.monotonic() + 240
        while engine.hangs and time.monotonic() < ends_s:
            time.sleep(0.02)
        assert answer(engine) == 1
