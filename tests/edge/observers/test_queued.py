"""Watching costs a line nothing: a slow observer, one that fails, and one that never comes back."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable
from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.observers.direct import DirectObserver
from edge.observers.queued import QueuedObserver
from edge.records import Frame, FrameResult, Judgement, Verdict
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import Closing, PartResult
from tests.brokers import wait_for

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)


def decided(index: int, frame: Frame | None = None) -> Decided:
    """Return frame number `index`, decided."""
    result = FrameResult("top", index, "", NOW, index, 1.0, Judgement(Verdict.OK, None), None)
    return Decided(result, {"frame": index}, frame, None, ())


def part(number: int) -> DecidedPart:
    """Return part number `number`, decided."""
    result = PartResult(number, f"p{number}", False, None, 0, 1, Closing.TRIGGER, Judgement(Verdict.OK, None))
    return DecidedPart(result, {"part": number}, ())


class Held:
    """Takes the first that it gets and holds it until let go; then notes each."""

    def __init__(self) -> None:
        self.holds, self.let_go = threading.Event(), threading.Event()
        self.taken: list[int] = []

    def __call__(self, one: Decided | DecidedPart) -> None:
        """Note a frame, and wait."""
        self.taken.append(one.body["frame"])
        self.holds.set()
        assert self.let_go.wait(120)


@pytest.mark.parametrize(("keeps", "kept"), [("newest", [0, *range(9_991, 10_001)]), ("oldest", [0, *range(1, 11)])])
def test_offers_return_while_the_observer_is_held(keeps: str, kept: list[int]) -> None:
    """Ten thousand offers return to an observer that takes none: 10 wait, 9,990 are counted, the order is kept."""
    held = Held()
    with QueuedObserver("held", held, most=10, keeps=keeps) as observer:  # type: ignore[arg-type]
        observer.offer(decided(0))
        assert held.holds.wait(120)
        for index in range(1, 10_001):
            observer.offer(decided(index))
        assert not held.let_go.is_set()
        assert (observer.waiting, observer.dropped) == (10, 9_990)
        held.let_go.set()
        wait_for(lambda: len(held.taken) == len(kept))
    assert held.taken == kept


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_each_offer_is_taken_or_counted(parts: list[bool], most: int) -> None:
    """Of any sequence of frames and parts each is either taken, in order, or counted as dropped; never both."""
    taken: list[int] = []
    with QueuedObserver("any", lambda one: taken.append(next(iter(one.body.values()))), most=most) as observer:
        for number, is_part in enumerate(parts):
            observer.offer(part(number) if is_part else decided(number))
    assert taken == sorted(set(taken))
    assert len(taken) + observer.dropped == len(parts)


def test_one_that_raises_goes_on_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """An observer that fails on each of 1,000 results is asked for each. The log has one traceback, and the count."""

    def fails(one: Decided | DecidedPart) -> None:
        raise OSError(f"no space for frame {one.body['frame']}")

    with caplog.at_level(logging.INFO), QueuedObserver("evidence", fails, most=2_000) as observer:
        for index in range(1_000):
            observer.offer(decided(index))
    assert (observer.failed, observer.dropped) == (1_000, 0)
    tracebacks = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage() for record in tracebacks] == ["The observer evidence failed, and goes on"]
    (counted,) = [record.getMessage() for record in caplog.records if "999 more times" in record.getMessage()]
    assert "no space for frame 999" in counted


def test_what_waits_holds_no_pixels_unless_it_is_wanted() -> None:
    """Pictures of results that wait are free again at once; an observer of pixels holds as many as may wait."""

    def alive_with(*, pixels: bool) -> int:
        held, seen = Held(), []
        with QueuedObserver("held", held, most=3, pixels=pixels) as observer:
            observer.offer(decided(0))
            assert held.holds.wait(120)
            for index in range(1, 101):
                shown = np.zeros((8, 8), np.uint8)
                seen.append(weakref.ref(shown))
                observer.offer(decided(index, Frame("top", index, shown, index, NOW)))
            del shown
            gc.collect()
            alive = sum(ref() is not None for ref in seen)
            held.let_go.set()
        return alive

    assert alive_with(pixels=False) == 0
    assert alive_with(pixels=True) == 3


def test_leaving_ends_the_thread_and_takes_what_waits() -> None:
    """All that was offered is taken before leaving; then the thread is gone, and an offer is dropped and counted."""
    taken: list[int] = []
    with QueuedObserver("gone", lambda one: taken.append(one.body["frame"])) as observer:
        for index in range(100):
            observer.offer(decided(index))
    assert taken == list(range(100))
    assert not [thread for thread in threading.enumerate() if thread.name == "observer-gone"]
    observer.offer(decided(100))
    assert (observer.dropped, observer.waiting) == (1, 0)


def test_one_that_never_comes_back_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    """Leaving an observer that hangs ends after its time; waiting items are counted, and the log says so."""
    held = Held()
    with caplog.at_level(logging.INFO), QueuedObserver("stuck", held, closes_within_s=0.05) as observer:
        observer.offer(decided(0))
        assert held.holds.wait(120)
        observer.offer(decided(1))
        observer.offer(decided(2))
    assert observer.dropped == 2
    told = " ".join(record.getMessage() for record in caplog.records)
    assert "did not end within 0.05 s" in told
    assert "did not see 2 results" in told
    held.let_go.set()
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name == "observer-stuck"])


def test_a_direct_observer_ends_what_offers() -> None:
    """Any error of a direct observer reaches who offers, for its files must be complete."""
    seen: list[Decided | DecidedPart] = []
    take: Callable[[Decided | DecidedPart], None] = seen.append
    DirectObserver(take).offer(part(1))
    assert seen == [part(1)]
    with pytest.raises(ZeroDivisionError):
        DirectObserver(lambda _: 1 // 0).offer(part(1))
