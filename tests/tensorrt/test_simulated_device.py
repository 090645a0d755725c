"""Each rule of the simulated device, broken once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from converters.tensorrt.building import BuiltEngine
from edge.engines.device import VendorLog
from edge.simulation.cuda import CudaError, CudaMemoryError, Misuse
from edge.simulation.device import SimulatedDevice
from tests.bright_bundle import TILE


@pytest.fixture
def cuda(device: SimulatedDevice) -> Iterator[Any]:
    """Return the device's pycuda with its context current; allocations of a test are no matter here."""
    context = device.vendor.cuda.Device(0).retain_primary_context()
    context.push()
    yield device.vendor.cuda
    context.pop()


def moved(cuda: Any, size: int = 8) -> tuple[Any, Any, Any]:
    """Return host memory of ones, device memory, and the stream on which the one is being copied to the other."""
    host, memory, stream = cuda.pagelocked_empty((size,), np.uint8), cuda.mem_alloc(size), cuda.Stream()
    host[:] = 1
    cuda.memcpy_htod_async(memory, host, stream)
    return host, memory, stream


def test_a_copy_there_and_back_gives_what_was_sent(cuda: Any) -> None:
    """Used rightly, the device keeps what it is given."""
    _, memory, stream = moved(cuda)
    back = cuda.pagelocked_empty((8,), np.uint8)
    cuda.memcpy_dtoh_async(back, memory, stream)
    stream.synchronize()
    np.testing.assert_array_equal(back, np.ones(8))


def test_a_read_before_the_stream_is_synchronised_is_refused(cuda: Any) -> None:
    """A result that is read before it was waited for raises Misuse, whichever way it is read."""
    _, memory, stream = moved(cuda)
    back = cuda.pagelocked_empty((8,), np.uint8)
    cuda.memcpy_dtoh_async(back, memory, stream)
    ways = (lambda: back == 1, lambda: back[0], back.copy, back.tobytes, lambda: np.sum(back), lambda: back[2:5] + 1)
    for read in ways:
        with pytest.raises(Misuse, match=r"read before the copy from the device"):
            read()


def test_a_write_while_a_copy_is_under_way_is_refused(cuda: Any) -> None:
    """The buffer of a batch may not be filled anew before its copy has run."""
    host, _, stream = moved(cuda)
    with pytest.raises(Misuse, match=r"written before the copy to the device"):
        host[3] = 7
    stream.synchronize()
    host[3] = 7


def test_memory_is_not_used_after_it_was_freed(cuda: Any) -> None:
    """Neither the device's memory nor the host's."""
    host, memory, stream = moved(cuda)
    stream.synchronize()
    memory.free()
    with pytest.raises(Misuse, match=r"that was freed"):
        cuda.memcpy_htod_async(memory, host, stream)
    with pytest.raises(Misuse, match=r"freed twice"):
        memory.free()
    host.base.free()
    with pytest.raises(Misuse, match=r"Writing uses host memory that was freed"):
        host[0] = 1
    with pytest.raises(Misuse, match=r"Reading uses host memory that was freed"):
        host.copy()


def test_memory_is_not_freed_while_a_copy_of_it_is_under_way(cuda: Any) -> None:
    """Memory that a stream still needs stays."""
    host, memory, _ = moved(cuda)
    for held in (memory, host.base):
        with pytest.raises(Misuse, match=r"freed while the copy to the device of it was under way"):
            held.free()


def test_a_wrong_address_or_size_is_refused(cuda: Any) -> None:
    """A copy goes to memory of the device, and fits."""
    host, memory, stream = moved(cuda)
    small = cuda.mem_alloc(4)
    with pytest.raises(Misuse, match=r"needs 8 bytes at .*, where only 4 are"):
        cuda.memcpy_htod_async(small, host, stream)
    with pytest.raises(Misuse, match=r"is no memory of this device"):
        cuda.memcpy_htod_async(int(memory) + 100_000, host, stream)
    with pytest.raises(Misuse, match=r"not page-locked"):
        cuda.memcpy_htod_async(memory, np.ones(8, np.uint8), stream)
    with pytest.raises(Misuse, match=r"one behind the other"):
        cuda.memcpy_htod_async(memory, host[::2], stream)
    with pytest.raises(Misuse, match=r"not made with DEVICEMAP"):
        host.base.get_device_pointer()


def test_memory_is_not_read_before_it_was_written(cuda: Any) -> None:
    """Fresh memory holds garbage, and a copy of it is a defect."""
    back, memory, stream = cuda.pagelocked_empty((8,), np.uint8), cuda.mem_alloc(8), cuda.Stream()
    cuda.memcpy_dtoh_async(back, memory, stream)
    with pytest.raises(Misuse, match=r"reads memory that was never written"):
        stream.synchronize()


def test_two_streams_at_one_buffer_need_an_event(cuda: Any) -> None:
    """Without it the order is chance; with it, waiting for the last runs the first."""
    _, memory, stream = moved(cuda)
    other, event = cuda.Stream(), cuda.Event()
    cuda.memcpy_dtoh_async(cuda.pagelocked_empty((8,), np.uint8), memory, other)
    with pytest.raises(Misuse, match=r"no event orders them"):
        other.synchronize()
    event.record(stream)
    another = cuda.Stream()
    another.wait_for_event(event)
    back = cuda.pagelocked_empty((8,), np.uint8)
    cuda.memcpy_dtoh_async(back, memory, another)
    another.synchronize()
    assert back.sum() == 8


def test_an_event_that_was_never_recorded_is_not_waited_for(cuda: Any) -> None:
    """CUDA would return at once, which is what nobody means."""
    with pytest.raises(Misuse, match=r"never recorded"):
        cuda.Stream().wait_for_event(cuda.Event())
    with pytest.raises(Misuse, match=r"never recorded"):
        cuda.Event().synchronize()


def test_a_call_from_another_thread_is_refused(cuda: Any) -> None:
    """A context is current in the thread that pushed it and in no other."""
    told: list[BaseException] = []

    def elsewhere() -> None:
        try:
            cuda.mem_alloc(8)
        except Misuse as error:
            told.append(error)

    thread = threading.Thread(target=elsewhere, name="elsewhere")
    thread.start()
    thread.join()
    assert "in thread 'elsewhere' without a current context" in str(told[0])


def test_a_leak_is_told_when_the_context_goes(device: SimulatedDevice) -> None:
    """Memory, streams, events and engines are freed before the context is given back."""
    cuda, log = device.vendor.cuda, VendorLog(device.tensorrt)
    context = cuda.Device(0).retain_primary_context()
    context.push()
    held = [cuda.mem_alloc(8), cuda.Stream(), cuda.Event(), device.tensorrt.Runtime(log.listener)]
    context.pop()
    with pytest.raises(Misuse, match=r"while these were held: 8 bytes of device memory, Event, Runtime, Stream"):
        context.detach()
    assert len(held) == 4


def test_a_context_is_given_back_once(device: SimulatedDevice) -> None:
    """Popping what is not there, and detaching twice, are defects."""
    context = device.vendor.cuda.Device(0).retain_primary_context()
    with pytest.raises(Misuse, match=r"popped in a thread where none is current"):
        context.pop()
    context.push()
    with pytest.raises(Misuse, match=r"given back while it was current"):
        context.detach()
    context.pop()
    context.detach()
    with pytest.raises(Misuse, match=r"given back twice"):
        context.detach()
    with pytest.raises(Misuse, match=r"after it was given back"):
        context.push()


def test_what_cuda_itself_would_say_is_an_error_of_cudas(device: SimulatedDevice, cuda: Any) -> None:
    """No memory, and a fault of the chip, come as pycuda's exceptions: the engine has to translate them."""
    with pytest.raises(CudaMemoryError, match=r"out of memory"):
        cuda.mem_alloc(9 << 30)
    _, _, stream = moved(cuda)
    device.faults.cuda_after = 0
    with pytest.raises(CudaError, match=r"unspecified launch failure"):
        stream.synchronize()


def loaded(device: SimulatedDevice, plan: bytes) -> tuple[Any, VendorLog]:
    """Return the plan's engine, or None, and what TensorRT said."""
    log = VendorLog(device.tensorrt)
    return device.tensorrt.Runtime(log.listener).deserialize_cuda_engine(plan), log


def test_an_engine_runs_on_addresses_of_the_right_size_only(
    device: SimulatedDevice, cuda: Any, built: BuiltEngine
) -> None:
    """A missing address or shape is told as TensorRT does, by False; a wrong one is a Misuse."""
    engine, log = loaded(device, built.plan_path.read_bytes())
    context, stream = engine.create_execution_context(), cuda.Stream()
    dims = device.tensorrt.Dims
    assert not context.execute_async_v3(stream.handle)
    assert "The shape of tiles was not set" in log.words()
    assert not context.set_input_shape("tiles", dims((4, TILE, TILE, 1)))
    assert "does not satisfy profile" in log.words()
    assert context.set_input_shape("tiles", dims((2, TILE, TILE, 1)))
    assert not context.execute_async_v3(stream.handle)
    assert "The address of tiles was not set" in log.words()
    memory = cuda.mem_alloc(TILE * TILE)
    for name in ("tiles", "thresholds", "classes", "scores"):
        assert context.set_tensor_address(name, int(memory))
    with pytest.raises(Misuse, match=r"The engine's tiles needs 8192 bytes at .*, where only 4096 are"):
        context.execute_async_v3(stream.handle)
    for name in ("tiles", "classes", "scores"):
        context.set_tensor_address(name, int(cuda.mem_alloc(2 * TILE * TILE)))
    with pytest.raises(Misuse, match=r"No stream has the handle 1"):
        context.execute_async_v3(1)


def test_a_plan_that_is_cut_off_or_of_another_version_is_not_loaded(
    device: SimulatedDevice, cuda: Any, built: BuiltEngine
) -> None:
    """As with TensorRT, the answer is None and the reason is in the log."""
    del cuda  # the context that it made current is needed
    plan = built.plan_path.read_bytes()
    for wrong in (plan[:20], plan[:40], b"\0" * 200, plan[:24] + bytes([8, 6, 1, 0]) + plan[28:]):
        engine, log = loaded(device, wrong)
        assert engine is None
        assert "Serialization assertion failed" in log.words()


def test_a_graph_is_recorded_replayed_and_freed_once(device: SimulatedDevice, cuda: Any) -> None:
    """A recorded call does not run; a graph that is gone cannot be launched."""
    host, memory, stream = moved(cuda)
    stream.synchronize()
    device.begin(stream.handle)
    cuda.memcpy_htod_async(memory, host, stream)
    graph = device.end(stream.handle)
    assert device.under_way() == []
    device.launch(graph, stream.handle)
    assert device.under_way() == ["copy to the device"]
    stream.synchronize()
    device.destroy(graph)
    with pytest.raises(Misuse, match=r"no longer"):
        device.launch(graph, stream.handle)
    with pytest.raises(Misuse, match=r"freed twice"):
        device.destroy(graph)
    with pytest.raises(Misuse, match=r"never begun"):
        device.end(stream.handle)
