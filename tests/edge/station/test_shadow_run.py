"""A second model beside the running one: it costs the loop nothing, judges what it can, and says what it could not."""

from __future__ import annotations

import threading
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from edge.bundle import Bundle
from edge.inspection.batcher import Batcher
from edge.inspection.settings import InspectSettings
from edge.protocols import Engine
from edge.recipes.loaded import LoadedView
from edge.records import Frame, FrameResult, Judgement, UInt8, Verdict
from edge.simulation.engine import SimulatedEngine, SimulatedFault
from edge.station.shadow_run import MOST_BYTES, MOST_FRAMES, ShadowFrame, ShadowRun
from tests.bright_bundle import TILE, part, write_bright_bundle, write_bright_cells
from tests.brokers import wait_for

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Write a bundle."""
    return write_bright_bundle(tmp_path_factory.mktemp("shadow") / "model")


def engine_of(bundle: Bundle, fault: SimulatedFault | None = None) -> Engine:
    """Return a simulated engine that sees nothing."""
    return SimulatedEngine(bundle.contract(4), lambda _camera, _frame: np.zeros((TILE, TILE), np.uint8), 0.0, fault)


def frame(number: int, side: int = TILE) -> tuple[Frame, FrameResult]:
    """Return a frame, and what the running model made of it."""
    pixels = part(side, side)
    judged = FrameResult("top", number, "", NOW, number, 1.0, Judgement(Verdict.OK, None), None, recipe="a")
    return Frame("top", number, pixels, number, NOW), judged


def run_of(bundle: Bundle, batcher: Batcher) -> ShadowRun:
    """Return a shadow run of one view, which is not begun."""
    return ShadowRun({("a", "top"): LoadedView("a", bundle, InspectSettings(), batcher, 3)})


def taken(run: ShadowRun, count: int) -> list[ShadowFrame]:
    """Wait until so many frames came out, and return them."""
    out: list[ShadowFrame] = []

    def all_there() -> bool:
        out.extend(run.take())
        return len(out) >= count

    wait_for(all_there)
    return out


def test_frames_are_judged_by_the_other_model(bundle: Bundle) -> None:
    """Each result names the second model, its recipe and its edition, and comes in the order of the frames."""
    with engine_of(bundle) as engine, Batcher(engine, 8) as batcher:
        run = run_of(bundle, batcher)
        run.start()
        for number in range(5):
            run.offer(*frame(number))
        out = taken(run, 5)
        run.stop()
        run.join()
    assert [one.key for one in out] == [("top", number) for number in range(5)]
    results = [one.result for one in out]
    assert all(one is not None and (one.recipe, one.edition) == ("a", 3) for one in results)
    assert all(one.took_ms is not None for one in out)
    assert (run.judges("a", "top"), run.judges("b", "top")) == (True, False)


def test_who_offers_never_waits_for_an_engine_that_hangs(bundle: Bundle) -> None:
    """A bounded number waits, the others come back unjudged, and stopping waits for nobody."""
    hangs = SimulatedFault(kind="hangs", hangs_s=2)
    with engine_of(bundle, hangs) as engine, Batcher(engine, 8) as batcher:
        run = run_of(bundle, batcher)
        run.start()
        run.offer(*frame(0))
        wait_for(lambda: bool(batcher.counts.batches))
        for number in range(1, 1000):
            run.offer(*frame(number))
        unjudged = run.take()
        assert not [one for one in unjudged if one.result is not None]
        assert len(unjudged) == 999 - MOST_FRAMES
        run.stop()
        assert "shadow run" in {each.name for each in threading.enumerate()}  # it is held, and nobody waits
    wait_for(lambda: "shadow run" not in {each.name for each in threading.enumerate()})


def test_large_frames_wait_in_bounded_memory(bundle: Bundle) -> None:
    """So many bytes wait, however few frames that is."""
    with engine_of(bundle) as engine, Batcher(engine, 8) as batcher:
        run = run_of(bundle, batcher)  # it does not work yet
        large, judged = frame(0, side=2400)
        room = MOST_BYTES // large.pixels.nbytes
        for _ in range(room + 3):
            run.offer(large, judged)
        assert len(run.take()) == 3
        run.stop()


def test_what_is_left_out_hangs_together(bundle: Bundle) -> None:
    """After a frame that found no room none is taken until none waits: so whole parts are judged, or not at all."""
    may = threading.Semaphore(0)

    def truth(_camera: str, _frame: int) -> UInt8:
        may.acquire()
        return np.zeros((TILE, TILE), np.uint8)

    with SimulatedEngine(bundle.contract(1), truth) as engine, Batcher(engine, 8) as batcher:
        run = run_of(bundle, batcher)
        for number in range(MOST_FRAMES + 1):
            run.offer(*frame(number))
        run.start()
        may.release(10)
        out = taken(run, 11)
        for number in range(100, 105):  # there is room, and the gap goes on
            run.offer(*frame(number))
        may.release(1000)
        out += taken(run, MOST_FRAMES - 10 + 5)
        wait_for(lambda: not run.waits)
        run.offer(*frame(1000))
        out += taken(run, 1)
        run.stop()
        run.join()
    judged = [one.key[1] for one in out if one.result is not None]
    assert judged == [*range(MOST_FRAMES), 1000]
    assert {one.key[1] for one in out if one.result is None} == {MOST_FRAMES, *range(100, 105)}


def test_an_engine_that_fails_is_told(bundle: Bundle) -> None:
    """The frame has no result, and the reason is there; the frames after it are judged."""
    fails = SimulatedFault(kind="fails", after_batches=0, batches=1)
    with engine_of(bundle, fails) as engine, Batcher(engine, 8) as batcher:
        run = run_of(bundle, batcher)
        run.start()
        run.offer(*frame(0))
        first = taken(run, 1)
        run.offer(*frame(1))
        second = taken(run, 1)
        run.stop()
        run.join()
    assert "inference failed" in first[0].failed
    assert first[0].result is None
    assert (second[0].failed, second[0].result is not None) == ("", True)


def test_a_model_of_several_frames_is_compared_once_it_has_them(tmp_path: Path) -> None:
    """Its first frames, and those after a gap, are judged otherwise than without it.

    So they do not count.
    """
    cells = write_bright_cells(tmp_path / "cells", frames=3)
    with engine_of(cells) as engine, Batcher(engine, 0) as batcher:
        run = run_of(cells, batcher)
        run.start()
        for number in range(4):
            run.offer(*frame(number))
        out = taken(run, 4)
        run.stop()
        run.join()
    assert [one.result is None for one in out] == [True, True, False, False]
