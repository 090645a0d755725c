"""Tiles of many views share the batches of one engine. Each view gets its own map, and waits for no other."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import deque
from contextlib import suppress
from datetime import datetime, timezone
from types import TracebackType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import Self

from edge.bundle import Bundle
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.errors import BundleError, EngineError
from edge.inspection.batcher import Batcher, SharedInference
from edge.inspection.inference import FrameJob
from edge.records import Batch, Float32, Frame, GraphContract, Maps, PreparedFrame, Ticket, Transform, UInt8
from tests.bright_bundle import write_bright_bundle
from tests.brokers import wait_for

HALF = np.array([0.5], np.float32)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle whose answer is the pixel itself."""
    return write_bright_bundle(tmp_path_factory.mktemp("bundles") / "bright")


def prepared(pixels: UInt8, camera: str = "c", index: int = 0) -> PreparedFrame:
    """Wrap grey pixels [H, W]."""
    frame = Frame(camera, index, pixels, 0, datetime.now(timezone.utc))
    return PreparedFrame(frame, pixels[:, :, None], Transform.identity())


def noise(seed: int, height: int = 96, width: int = 130) -> UInt8:
    """Draw random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


class SteppedEngine:
    """A bright engine of 64 px tiles that notes what each batch held and answers when the gate is open."""

    at_once = 2

    def __init__(self, max_batch: int = 4, *, gate: threading.Event | None = None, fails_at: int = -1) -> None:
        self.contract = GraphContract(64, 64, 1, 1, 1, ("bright",), max_batch)
        self.batches: list[list[str]] = []
        self.thresholds: list[float] = []
        self._gate, self._fails_at = gate, fails_at
        self._answers: deque[Maps] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def buffer(self) -> Batch:
        """Return fresh memory."""
        return Batch(np.zeros((self.contract.max_batch, 64, 64, 1), np.uint8))

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Answer at once; the caller gets it when the gate opens."""
        self.batches.append([ref.camera for ref in batch.refs])
        self.thresholds.append(float(thresholds[0]))
        tiles = batch.tiles[:count, :, :, 0]
        self._answers.append(Maps((tiles >= thresholds[0] * 255).astype(np.uint8), tiles.copy()))
        return Ticket(len(self.batches) - 1, count)

    def collect(self, ticket: Ticket) -> Maps:
        """Wait for the gate, then answer or fail."""
        if self._gate is not None:
            self._gate.wait(120)
        answer = self._answers.popleft()
        if ticket.serial == self._fails_at:
            raise EngineError("this batch fails")
        return answer


def test_each_view_gets_its_own_map(bundle: Bundle) -> None:
    """Eight views of other sizes feed the real engine from their own threads; every map is its frame's."""
    wrong: list[str] = []

    def feed(view: int, batcher: Batcher) -> None:
        for index in range(10):
            pixels = noise(100 * view + index, 70 + view, 90 - view)
            found = batcher.infer(prepared(pixels, f"view{view}", index), HALF).answer.result(120)
            if not (found.classes == (pixels >= 128)).all():
                wrong.append(f"view{view} {index}")

    with OnnxRuntimeEngine(bundle.onnx_path, bundle.contract(4)) as engine, Batcher(engine, 8) as batcher:
        threads = [threading.Thread(target=feed, args=(view, batcher)) for view in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert wrong == []
    assert batcher.counts.tiles == 8 * 10 * 4  # two tiles each way


def test_views_share_batches_and_thresholds_keep_them_apart() -> None:
    """Tiles of two views gather into full batches while the engine works. A view with other thresholds has its own."""
    gate = threading.Event()
    engine = SteppedEngine(gate=gate)
    strict = np.array([0.9], np.float32)
    with Batcher(engine, 0, max_wait_s=60) as batcher:
        first = batcher.infer(prepared(noise(0, 64, 64), "first"), HALF)
        while not engine.batches:
            time.sleep(0.001)
        answers = [batcher.infer(prepared(noise(k, 64, 64), "ab"[k % 2]), HALF) for k in range(4)]
        apart = batcher.infer(prepared(noise(9, 64, 64), "strict"), strict)
        gate.set()
        for answer in (first, *answers, apart):
            answer.answer.result(120)
    assert engine.batches == [["first"], ["a", "b", "a", "b"], ["strict"]]
    assert engine.thresholds == pytest.approx([0.5, 0.5, 0.9])


def test_an_idle_engine_is_not_kept_waiting() -> None:
    """A single tile goes at once where the engine has nothing to do, however long tiles may wait for others."""
    engine = SteppedEngine()
    with Batcher(engine, 0, max_wait_s=60) as batcher:
        assert batcher.infer(prepared(noise(1, 64, 64)), HALF).answer.result(120).classes.shape == (64, 64)


def test_a_failed_batch_fails_its_own_frames_only() -> None:
    """The frame of the failed batch says so, the next one is answered."""
    with Batcher(SteppedEngine(fails_at=0), 0) as batcher:
        with pytest.raises(EngineError, match="this batch fails"):
            batcher.infer(prepared(noise(1, 64, 64)), HALF).answer.result(120)
        assert batcher.infer(prepared(noise(2, 64, 64)), HALF).answer.result(120).classes.shape == (64, 64)


def test_failed_frames_do_not_wait_for_the_collector() -> None:
    """A failed frame is let go of at once: an engine that fails all the time takes no memory until Python collects."""
    gc.disable()
    try:
        with Batcher(SteppedEngine(fails_at=0), 0) as batcher:
            shared = SharedInference(batcher, [0.5])
            gone = failed(shared)
            shared.finish(shared.begin([prepared(noise(2, 64, 64))])[0])  # the batcher has other work now
            wait_for(lambda: gone() is None)
    finally:
        gc.enable()


def failed(shared: SharedInference) -> weakref.ref[FrameJob]:
    """Begin a frame that fails, as a view does, and forget it."""
    job = shared.begin([prepared(noise(1, 64, 64))])[0]
    with suppress(EngineError):
        shared.finish(job)
    return weakref.ref(job)


def test_whoever_waits_is_told_when_the_batcher_ends() -> None:
    """Neither a close nor an error that nobody foresaw leaves a future without an answer."""

    class Broken(SteppedEngine):
        def collect(self, ticket: Ticket) -> Maps:
            raise ValueError(f"a vendor's error that the seam does not know, of batch {ticket.serial}")

    with Batcher(Broken(), 0) as batcher:
        with pytest.raises(EngineError, match="a vendor's error"):
            batcher.infer(prepared(noise(1, 64, 64)), HALF).answer.result(120)
        with pytest.raises(EngineError, match="a vendor's error"):
            batcher.infer(prepared(noise(1, 64, 64)), HALF).answer.result(120)
    with Batcher(SteppedEngine(), 0) as closed:
        pass
    with pytest.raises(EngineError, match="closed"):
        closed.infer(prepared(noise(1, 64, 64)), HALF).answer.result(120)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 150), st.integers(1, 150)), min_size=1, max_size=12),
    st.integers(1, 7),
    st.integers(0, 30),
)
def test_any_frames_any_batches(frames: list[tuple[str, int, int]], max_batch: int, overlap_px: int) -> None:
    """Frames of any size, in batches of any size, come back as if the model had seen them whole."""
    with Batcher(SteppedEngine(max_batch), overlap_px) as batcher:
        pictures = [noise(place, height, width) for place, (_, height, width) in enumerate(frames)]
        answers = [
            batcher.infer(prepared(pixels, view), HALF) for pixels, (view, *_) in zip(pictures, frames, strict=True)
        ]
        for pixels, answer in zip(pictures, answers, strict=True):
            np.testing.assert_array_equal(answer.answer.result(120).classes, pixels >= 127.5)


def test_a_wrong_overlap_is_refused() -> None:
    """A model with one answer per tile cannot overlap its tiles."""
    engine = SteppedEngine()
    engine.contract = GraphContract(64, 64, 1, 1, 64, ("bright",), 4)
    with pytest.raises(BundleError, match="overlap_px"):
        Batcher(engine, 8)
