"""The engine on the simulated device; the suite of all engines is in tests/contracts."""

from __future__ import annotations

import gc
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from converters.tensorrt.building import BuiltEngine, EngineOptions, build_engine
from edge.bundle import Bundle
from edge.engines import tensorrt as room
from edge.engines.device import Vendor
from edge.engines.engine_files import plan_path
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
from edge.errors import ContractError, EngineError
from edge.records import Float32, Maps, Ticket, UInt8
from edge.simulation.cuda import Misuse
from edge.simulation.device import SimulatedDevice
from tests.bright_bundle import TILE
from tests.tensorrt.bundles import write_precise_bundle

HALF: Float32 = np.array([0.5], np.float32)
TILE_BYTES = TILE * TILE
NOISE = np.random.default_rng(3).integers(0, 256, (8, TILE, TILE, 1), np.uint8)


def make(bundle: Bundle, device: SimulatedDevice, **options: Any) -> TensorRtEngine:
    """Make an engine for three tiles at once, not yet opened."""
    return TensorRtEngine(bundle, bundle.contract(3), TensorRtOptions(**options), device.vendor)


def submit(engine: TensorRtEngine, tiles: UInt8) -> Ticket:
    """Fill a buffer and submit it."""
    batch = engine.buffer()
    batch.tiles[: len(tiles)] = tiles
    return engine.submit(batch, len(tiles), HALF)


def assert_right(maps: Maps, tiles: UInt8) -> None:
    """Require scratches where a pixel is 128 or more; the score is its brightness there, and 0 where clean."""
    bright = tiles[..., 0] >= 128
    np.testing.assert_array_equal(maps.classes, bright)
    assert (np.abs(np.asarray(maps.scores, np.int16) - np.where(bright, tiles[..., 0], 0)) <= 1).all()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("memory", ["copied", "mapped"])
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_every_way_of_running_answers_alike(
    bundle: Bundle, device: SimulatedDevice, precision: Any, memory: str, cuda_graphs: bool
) -> None:
    """Copied or mapped, replayed or not, in every precision: batches of changing size are answered to the pixel."""
    build_engine(bundle, EngineOptions(precision, (1, 2, 3)), lambda *_: None, vendor=device.vendor)
    with make(bundle, device, precision=precision, memory=memory, cuda_graphs=cuda_graphs) as engine:
        for count in (3, 1, 2, 3, 1):
            maps = engine.collect(submit(engine, NOISE[:count]))
            np.testing.assert_array_equal(maps.classes, NOISE[:count, ..., 0] >= 128)
    assert device.launched_graphs == (5 if cuda_graphs else 0)


@pytest.mark.usefixtures("built")
def test_only_the_tiles_of_a_partial_batch_are_copied(bundle: Bundle, device: SimulatedDevice) -> None:
    """One tile of three: one tile and the threshold go in (4,096 + 4 bytes), two maps come out (2 x 4,096)."""
    with make(bundle, device) as engine:
        assert_right(engine.collect(submit(engine, NOISE[:1])), NOISE[:1])
    assert device.copied_in_bytes == TILE_BYTES + 4
    assert device.copied_out_bytes == 2 * TILE_BYTES


@pytest.mark.usefixtures("built")
def test_mapped_memory_is_not_copied(bundle: Bundle, device: SimulatedDevice) -> None:
    """Nothing is moved where host and device share memory."""
    with make(bundle, device, memory="mapped") as engine:
        assert_right(engine.collect(submit(engine, NOISE[:3])), NOISE[:3])
    assert device.copied_in_bytes == device.copied_out_bytes == 0


@pytest.mark.usefixtures("built")
def test_a_batch_is_copied_in_while_another_is_computed(bundle: Bundle, device: SimulatedDevice) -> None:
    """The second batch's tiles can be on the device before anything of the first was computed."""
    with make(bundle, device) as engine:
        first, second = submit(engine, NOISE[:3]), submit(engine, NOISE[3:6])
        second.token[1].result()  # both are enqueued
        session, owner = engine._opened()
        owner.submit(session.sets[1].copied_in.synchronize).result()
        assert device.under_way().count("engine") == 2
        assert device.under_way().count("copy to the device") == 0
        owner.submit(session.sets[0].copied_out.synchronize).result()
        assert device.under_way().count("engine") == 1  # the first is ready, and the second was not waited for
        assert_right(engine.collect(second), NOISE[3:6])
        assert_right(engine.collect(first), NOISE[:3])


@pytest.mark.usefixtures("built")
def test_two_buffers_take_turns_and_no_more(bundle: Bundle, device: SimulatedDevice) -> None:
    """A third batch has to wait; a ticket is collected once; a strange batch and a wrong count are refused."""
    with make(bundle, device) as engine:
        first = submit(engine, NOISE[:1])
        batch = engine.buffer()
        second = engine.submit(batch, 3, HALF)
        with pytest.raises(EngineError, match=r"Both batches of the TensorRT engine are under way; collect ticket 0"):
            engine.buffer()
        with pytest.raises(EngineError, match=r"not under way, received another"):
            engine.submit(batch, 1, HALF)
        engine.collect(first)
        with pytest.raises(EngineError, match=r"Ticket 0 was collected before"):
            engine.collect(first)
        engine.collect(second)
        with pytest.raises(EngineError, match=r"expected 1 to 3 tiles, received 4"):
            engine.submit(engine.buffer(), 4, HALF)


@pytest.mark.usefixtures("built")
def test_any_thread_may_ask_since_one_owns_the_device(bundle: Bundle, device: SimulatedDevice) -> None:
    """Opened here, used in another thread, closed here: CUDA is called in the engine's own thread alone."""
    answers: list[Maps] = []
    with make(bundle, device) as engine:
        thread = threading.Thread(target=lambda: answers.append(engine.collect(submit(engine, NOISE[:2]))))
        thread.start()
        thread.join()
        assert_right(answers[0], NOISE[:2])
    assert not [one for one in threading.enumerate() if one.name.startswith("tensorrt")]


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("after", range(10))
def test_a_failure_of_the_chip_is_an_error_of_ours_and_the_next_batch_is_right(
    bundle: Bundle, device: SimulatedDevice, after: int
) -> None:
    """A batch fails with CUDA's words, whichever step fails. Nothing leaks, and the next batch is answered."""
    kept = []
    with make(bundle, device) as engine:
        device.faults.cuda_after = after
        with pytest.raises(EngineError, match=r"failed on a batch of 3 tiles: cuStream.*launch failure") as failed:
            engine.collect(submit(engine, NOISE[:3]))
        kept.append(failed.value)  # as a line does that reports it: the device's objects must not live in it
        assert_right(engine.collect(submit(engine, NOISE[3:5])), NOISE[3:5])
    assert kept


@pytest.mark.usefixtures("built")
def test_a_batch_that_tensorrt_does_not_run_leaves_its_buffers_free(bundle: Bundle, device: SimulatedDevice) -> None:
    """Its tiles were on their way already; that copy is over before the buffers are filled again."""
    with make(bundle, device) as engine:
        device.faults.run = "Cask convolution execution"
        with pytest.raises(EngineError, match=r"TensorRT does not run: Cask convolution execution"):
            engine.collect(submit(engine, NOISE[:3]))
        engine.buffer()  # the other one; the next is the one that failed
        for tiles in (NOISE[3:5], NOISE[5:8]):
            assert_right(engine.collect(submit(engine, tiles)), tiles)


@pytest.mark.usefixtures("built")
def test_thresholds_are_those_of_the_submission(bundle: Bundle, device: SimulatedDevice) -> None:
    """A caller who changes his array afterwards changes the next batch, not the one that waits for its turn."""
    mine, go_on = HALF.copy(), threading.Event()
    with make(bundle, device) as engine:
        engine._opened()[1].submit(go_on.wait)
        batch = engine.buffer()
        batch.tiles[:1] = NOISE[:1]
        ticket = engine.submit(batch, 1, mine)
        mine[:] = 1.0
        go_on.set()
        assert_right(engine.collect(ticket), NOISE[:1])


@pytest.mark.usefixtures("built")
def test_a_broken_device_fails_every_batch_and_can_be_closed(
    bundle: Bundle, device: SimulatedDevice, caplog: pytest.LogCaptureFixture
) -> None:
    """After a fault that CUDA does not recover from, every batch is an error of ours: NO_READ on a line, never OK."""
    device.faults.cuda_after, device.faults.breaks = 1, True
    with make(bundle, device) as engine:
        for _ in range(3):
            with pytest.raises(EngineError, match=r"launch failure"):
                engine.collect(submit(engine, NOISE[:3]))
    assert "could not be given back" in caplog.text


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("after", range(16))
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_an_engine_that_cannot_be_opened_gives_everything_back(
    bundle: Bundle, device: SimulatedDevice, after: int, cuda_graphs: bool
) -> None:
    """Two sets of four host and four device buffers: whichever of the 16 there is no memory for, nothing leaks."""
    device.faults.allocations_after = after
    with pytest.raises(EngineError, match=r"The GPU has no memory left: .* lower engine\.batch \(now 3\)") as failed:
        make(bundle, device, cuda_graphs=cuda_graphs).__enter__()
    device.faults.allocations_after = None
    device.check_nothing_held()
    del failed
    with make(bundle, device) as engine:
        assert_right(engine.collect(submit(engine, NOISE[:1])), NOISE[:1])


def test_the_largest_batch_needs_no_seventeenth_buffer(bundle: Bundle, device: SimulatedDevice) -> None:
    """With memory for 16 buffers the engine opens: the test above looks at every one of them."""
    build_engine(bundle, EngineOptions("fp16", (1, 2, 3)), lambda *_: None, vendor=device.vendor)
    device.faults.allocations_after = 16
    with make(bundle, device):
        pass


@pytest.mark.usefixtures("built")
def test_closing_with_batches_under_way_waits_for_them(bundle: Bundle, device: SimulatedDevice) -> None:
    """A line that stops in the middle leaves nothing running and nothing held."""
    with make(bundle, device) as engine:
        submit(engine, NOISE[:3])
        submit(engine, NOISE[3:6])
    assert device.under_way() == []
    device.check_nothing_held()


@pytest.mark.usefixtures("built")
def test_memory_does_not_grow_from_batch_to_batch(bundle: Bundle, device: SimulatedDevice) -> None:
    """Every buffer, context and graph is made once per size, not per batch."""
    with make(bundle, device, cuda_graphs=True) as engine:
        for count in (1, 2, 3, 1, 2, 3):
            engine.collect(submit(engine, NOISE[:count]))
        gc.collect()
        held, taken = len(device.objects), device._taken()
        for count in (1, 2, 3) * 10:
            engine.collect(submit(engine, NOISE[:count]))
        gc.collect()
        assert (len(device.objects), device._taken()) == (held, taken)


def test_a_larger_smallest_batch_is_filled_up(bundle: Bundle, device: SimulatedDevice) -> None:
    """An engine built for 2 to 3 tiles answers one: the other row is whatever the buffer held."""
    build_engine(bundle, EngineOptions("fp16", (2, 2, 3)), lambda *_: None, vendor=device.vendor)
    with make(bundle, device) as engine:
        maps = engine.collect(submit(engine, NOISE[:1]))
        assert maps.classes.shape == (1, TILE, TILE)
        assert_right(maps, NOISE[:1])


@pytest.mark.usefixtures("built")
def test_a_plan_that_tensorrt_does_not_load_is_refused_with_its_words(bundle: Bundle, device: SimulatedDevice) -> None:
    """`None` instead of an engine, after everything else was in order, is an error with TensorRT's own reason."""
    device.faults.load = "The engine plan file is generated on an incompatible device"
    with pytest.raises(EngineError, match=r"refuses .*fp16.plan: The engine plan file is .* convert .* --to tensorrt"):
        make(bundle, device).__enter__()
    device.check_nothing_held()


def test_an_engine_of_another_contract_is_refused(bundle: Bundle, device: SimulatedDevice, built: BuiltEngine) -> None:
    """A plan whose tensors are not the contract's is not run, even though its files are in order."""
    other = replace(bundle.contract(3), classes=("scratch", "dent"))
    engine = TensorRtEngine(bundle, other, TensorRtOptions(), device.vendor)
    with pytest.raises(ContractError, match=r"expected .*'FLOAT', \(2,\).* received .*'FLOAT', \(1,\)"):
        engine.__enter__()
    assert built.plan_path == plan_path(bundle.path, "fp16")
    device.check_nothing_held()


@pytest.mark.usefixtures("built")
def test_without_waiting_the_device_refuses_the_answer(
    bundle: Bundle, device: SimulatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suite can fail: an engine that does not wait for its maps is caught when they are read."""
    monkeypatch.setattr(room._Session, "wait", lambda *_: None)
    with make(bundle, device) as engine:
        ticket = submit(engine, NOISE[:1])
        with pytest.raises(Misuse, match=r"read before the copy from the device"):
            engine.collect(ticket)  # which looks at every answer


@pytest.mark.usefixtures("built")
def test_without_an_event_the_device_refuses_to_run(bundle: Bundle, device: SimulatedDevice) -> None:
    """The suite can fail: streams that do not wait for each other are caught."""

    def heedless() -> Any:
        stream = device.vendor.cuda.Stream()
        stream.wait_for_event = lambda _: None
        return stream

    cuda = SimpleNamespace(**{**vars(device.vendor.cuda), "Stream": heedless})
    vendor = Vendor(device.tensorrt, cuda, device, device.vendor.l4t, device.vendor.power_mode)
    with pytest.raises(Misuse), TensorRtEngine(bundle, bundle.contract(3), TensorRtOptions(), vendor) as engine:
        engine.collect(submit(engine, NOISE[:1]))


def test_without_nvidias_modules_the_error_says_where_they_come_from(bundle: Bundle) -> None:
    """On a machine without TensorRT the engine names what is missing."""
    from edge.errors import DependencyError

    with pytest.raises(DependencyError, match=r"`import tensorrt` failed.*JetPack"):
        TensorRtEngine(bundle, bundle.contract(3)).__enter__()


def test_a_copied_bundle_keeps_its_own_engine(tmp_path: Any, device: SimulatedDevice) -> None:
    """An engine is found beside its own bundle only; another bundle of the same model has none."""
    first, second = (write_precise_bundle(tmp_path / name) for name in ("first", "second"))
    build_engine(first, EngineOptions("fp16", (1, 2, 3)), lambda *_: None, vendor=device.vendor)
    with make(first, device):
        pass
    with pytest.raises(EngineError, match=rf"no TensorRT engine at {plan_path(second.path, 'fp16')}"):
        make(second, device).__enter__()
