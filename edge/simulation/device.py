"""A device without a device: stands in for pycuda and TensorRT at the border of their bindings, and is stricter.

Nothing is enqueued here but noted, and run only when somebody waits for it. So a result is not there before its stream
was synchronised. Work that no event ordered runs in no order. A real device answers some calls with garbage, a crash or
nothing at all; `Misuse` is raised for them:

- memory used after it was freed, an address or a size that is not of any allocation, memory never written;
- two streams at one buffer without an event between them;
- host memory read or written while a copy of it is under way;
- a call in a thread without the context, whatever is still held when the context goes.

Engines are run by ONNX Runtime, so answers are those of the graph; see `simulated_tensorrt` for that half.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np

from edge.engines.device import Vendor
from edge.records import UInt8
from edge.simulation.cuda import (
    Allocation,
    Context,
    CudaError,
    CudaMemoryError,
    DeviceMemory,
    Event,
    HostArray,
    HostMemory,
    Misuse,
    Operation,
    Span,
    Stream,
    plain,
)
from edge.wording import counted

_ALIGNMENT = 256
_FIRST_ADDRESS = 0x7F00_0000_0000
_POISON = 0xA5
_MAPPED = 2  # pycuda's host_alloc_flags.DEVICEMAP


class _PerThread(threading.local):
    def __init__(self) -> None:
        self.contexts: list[Context] = []


@dataclass
class Faults:
    """The faults that come next.

    `build`: TensorRT's words before it gives up building; `load`: before it answers None; `run`: before it refuses to
    run a batch. `raises`: what a build raises, as pybind does. `disobeys`: pins are passed over. `cuda_after`: so many
    operations run well, and the next fails as CUDA's do, with all that was enqueued; `allocations_after` likewise. With
    `breaks` the context is `broken` then: every call fails, as after most faults of a real chip.
    """

    build: str | None = None
    raises: Exception | None = None
    disobeys: bool = False
    load: str | None = None
    run: str | None = None
    cuda_after: int | None = None
    allocations_after: int | None = None
    broken: bool = False
    breaks: bool = False


class SimulatedDevice:
    """One GPU of the given kind with the given TensorRT. `vendor` is what an engine or a build is handed.

    `faults` is what is to go wrong. `copied_in_bytes`, `copied_out_bytes`, `launched_graphs` count what was enqueued.
    `values` stands in for the vendor's own enumerations, `Dims` and interfaces; see `SimulatedTensorRT`.
    """

    def __init__(
        self,
        tensorrt: str = "10.3.0",
        *,
        gpu: str = "Simulated Orin",
        compute_capability: tuple[int, int] = (8, 7),
        sm_count: int = 16,
        l4t: str | None = "36.4.3",
        memory_bytes: int = 8 << 30,
        values: Any = None,
    ) -> None:
        from edge.simulation.tensorrt import SimulatedTensorRT

        self.faults = Faults()
        self.memory_bytes = memory_bytes
        self.launched_graphs = 0
        self.copied_in_bytes = 0
        self.copied_out_bytes = 0
        self.streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self.objects: weakref.WeakSet[Any] = weakref.WeakSet()
        self._allocations: list[Allocation] = []
        self._next_address = _FIRST_ADDRESS
        self._serials = itertools.count(1)
        self._threads = _PerThread()
        self._graphs: dict[int, list[Operation]] = {}
        self._lock = threading.RLock()
        self.tensorrt = SimulatedTensorRT(self, tensorrt, values)
        self.vendor = Vendor(self.tensorrt, self._module(gpu, compute_capability, sm_count), self, l4t, "MAXN")

    def _module(self, gpu: str, compute_capability: tuple[int, int], sm_count: int) -> Any:
        """Return what stands in for the module pycuda.driver."""
        facts = SimpleNamespace(
            name=lambda: gpu,
            compute_capability=lambda: compute_capability,
            get_attribute=lambda _: sm_count,
            retain_primary_context=lambda: Context(self),
        )
        return SimpleNamespace(
            Error=CudaError,
            MemoryError=CudaMemoryError,
            device_attribute=SimpleNamespace(MULTIPROCESSOR_COUNT="MULTIPROCESSOR_COUNT"),
            host_alloc_flags=SimpleNamespace(DEVICEMAP=_MAPPED),
            event_flags=SimpleNamespace(BLOCKING_SYNC=1, DISABLE_TIMING=2),
            init=lambda: None,
            Device=lambda _: facts,
            get_driver_version=lambda: 12060,
            mem_get_info=self._mem_get_info,
            pagelocked_empty=self._pagelocked_empty,
            mem_alloc=self._mem_alloc,
            memcpy_htod_async=self._copy_in,
            memcpy_dtoh_async=self._copy_out,
            Stream=self._stream,
            Event=self._event,
        )

    # The current context, and what is held.

    @property
    def contexts(self) -> list[Context]:
        """The contexts that this thread has pushed."""
        return self._threads.contexts

    def require_context(self, call: str) -> None:
        """Refuse a call in a thread where the context is not current, as CUDA and TensorRT need it."""
        if not self.contexts:
            raise Misuse(f"{call} was called in thread {threading.current_thread().name!r} without a current context")
        if self.contexts[-1].detached:
            raise Misuse(f"{call} was called with a context that was given back")
        if self.faults.broken:
            raise CudaError(f"{call} failed: unspecified launch failure")

    def check_nothing_held(self) -> None:
        """Refuse to give the context back while memory, streams or engines of it are held: they would leak."""
        if self.faults.broken:
            return  # nothing could be freed any more; the driver does it when the process ends
        held = [f"{counted(a.data.size, 'byte')} of {a.kind} memory" for a in self._allocations if not a.freed]
        held += [type(thing).__name__.strip("_") for thing in [*self.objects, *self.streams]]
        held += ["a recorded graph"] * len(self._graphs)
        if held:
            raise Misuse(f"The context was given back while these were held: {', '.join(sorted(held))}")

    def free(self, allocation: Allocation) -> None:
        """Free memory once, when nothing that is under way needs it."""
        self.require_context("free")
        if allocation.freed:
            raise Misuse("Memory was freed twice")
        span = (allocation.start, allocation.end)
        for operation in self._pending():
            if _overlap([span], [*operation.reads, *operation.writes]):
                raise Misuse(f"Memory was freed while the {operation.name} of it was under way")
        allocation.freed = True
        allocation.data.fill(_POISON)

    # Memory.

    def _mem_get_info(self) -> tuple[int, int]:
        self.require_context("mem_get_info")
        return self.memory_bytes - self._taken(), self.memory_bytes

    def _taken(self) -> int:
        return sum(allocation.data.size for allocation in self._allocations if not allocation.freed)

    def _mem_alloc(self, size: int) -> DeviceMemory:
        return DeviceMemory(self, self._allocate(size, "device"))

    def _pagelocked_empty(self, shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> HostArray:
        if order != "C":
            raise Misuse(f"Only arrays in C order are simulated, not {order!r}")
        dtype = np.dtype(dtype)
        allocation = self._allocate(int(np.prod(shape)) * dtype.itemsize, "host")
        array: HostArray = allocation.data.view(dtype).reshape(shape).view(HostArray)
        array.simulation = self
        array.holder = HostMemory(self, allocation, bool(mem_flags & _MAPPED))
        return array

    def _allocate(self, size: int, kind: Literal["device", "host"]) -> Allocation:
        self.require_context("an allocation")
        if self.faults.allocations_after is not None:
            self.faults.allocations_after -= 1
        failing = self.faults.allocations_after is not None and self.faults.allocations_after < 0
        if failing or size <= 0 or size + self._taken() > self.memory_bytes:
            raise CudaMemoryError(f"cuMemAlloc failed: out of memory ({counted(size, 'byte')})")
        written = np.full(size, kind == "host", np.uint8)
        allocation = Allocation(self._next_address, np.full(size, _POISON, np.uint8), kind, written)
        self._next_address += -(-size // _ALIGNMENT) * _ALIGNMENT + _ALIGNMENT
        self._allocations.append(allocation)
        return allocation

    def at(self, address: int, size: int, purpose: str) -> tuple[UInt8, UInt8]:
        """Return (bytes, which of them are written) at a device address, both uint8 [size]; they are views."""
        for allocation in self._allocations:
            if allocation.start <= address < allocation.end:
                if allocation.freed:
                    raise Misuse(f"{purpose} uses memory at {address:#x} that was freed")
                if address + size > allocation.end:
                    raise Misuse(
                        f"{purpose} needs {counted(size, 'byte')} at {address:#x}, where only "
                        f"{allocation.end - address} are"
                    )
                place = slice(address - allocation.start, address - allocation.start + size)
                return allocation.data[place], allocation.written[place]
        raise Misuse(f"{purpose} uses the address {address:#x}, which is no memory of this device")

    def _host_span(self, array: Any, purpose: str) -> Span:
        """Return the device addresses of a page-locked array, as if all of them were mapped."""
        if not array.flags.c_contiguous:
            raise Misuse(f"{purpose} needs an array whose values lie one behind the other")
        span = self._find_host(array, purpose)
        if span is None:
            raise Misuse(f"{purpose} is of memory that is not page-locked, so it would not run beside anything else")
        return span

    def _find_host(self, array: Any, purpose: str) -> Span | None:
        """Return the device addresses from an array's first to its last value; None for memory of another kind."""
        reach = [(side - 1) * step for side, step in zip(array.shape, array.strides, strict=True)]
        low = array.ctypes.data + sum(min(step, 0) for step in reach)
        high = array.ctypes.data + sum(max(step, 0) for step in reach) + array.itemsize
        for allocation in self._allocations:
            first = allocation.data.ctypes.data
            if allocation.kind == "host" and first <= low < first + allocation.data.size:
                if allocation.freed:
                    raise Misuse(f"{purpose} uses host memory that was freed")
                return allocation.start + low - first, allocation.start + high - first
        return None

    # Work.

    def _stream(self, flags: int = 0) -> Stream:  # noqa: ARG002 - pycuda's signature
        self.require_context("Stream")
        stream = Stream(self, next(self._serials) + 0x1000)
        self.streams.add(stream)
        return stream

    def _event(self, flags: int = 0) -> Event:  # noqa: ARG002 - pycuda's signature
        self.require_context("Event")
        event = Event(self)
        self.objects.add(event)
        return event

    def _copy_in(self, dest: Any, src: Any, stream: Stream) -> None:
        span = self._host_span(src, "A copy to the device")
        target = (int(dest), int(dest) + src.nbytes)
        self.copied_in_bytes += src.nbytes
        self._enqueue_copy(stream, "copy to the device", span, target)

    def _copy_out(self, dest: Any, src: Any, stream: Stream) -> None:
        span = self._host_span(dest, "A copy from the device")
        source = (int(src), int(src) + dest.nbytes)
        self.copied_out_bytes += dest.nbytes
        self._enqueue_copy(stream, "copy from the device", source, span)

    def _enqueue_copy(self, stream: Stream, name: str, source: Span, target: Span) -> None:
        size = source[1] - source[0]
        for start in (source[0], target[0]):
            self.at(start, size, f"A {name}")

        def run() -> None:
            values, written = self.at(source[0], size, f"A {name}")
            if not written.all():
                raise Misuse(f"A {name} reads memory that was never written")
            place, there = self.at(target[0], size, f"A {name}")
            place[:] = values
            there[:] = 1

        self.enqueue(stream, name, run, reads=[source], writes=[target])

    def enqueue(
        self,
        stream: Stream,
        name: str,
        run: Callable[[], None],
        *,
        reads: Sequence[Span] = (),
        writes: Sequence[Span] = (),
        waits_for: Operation | None = None,
    ) -> Operation:
        """Note an operation on a stream, or in the graph that is being recorded from it."""
        self.require_context(name)
        operation = Operation(next(self._serials), name, run, reads, writes, waits_for)
        (stream.pending if stream.recording is None else stream.recording).append(operation)
        return operation

    def complete(self, operation: Operation) -> None:
        """Run an operation and whatever has to run before it, and nothing else."""
        with self._lock:
            for stream in list(self.streams):
                if operation in stream.pending:
                    while not operation.done:
                        self._run_first(stream)
                    return

    def _run_first(self, stream: Stream) -> None:
        operation = stream.pending[0]
        if operation.waits_for is not None and not operation.waits_for.done:
            self.complete(operation.waits_for)
        for other in self._pending():
            if other.serial < operation.serial and (
                _overlap(operation.reads, other.writes) or _overlap(operation.writes, [*other.reads, *other.writes])
            ):
                raise Misuse(
                    f"A {operation.name} runs beside the {other.name} of the same memory that was enqueued before it; "
                    "no event orders them"
                )
        stream.pending.pop(0)
        operation.done = True
        if self.faults.cuda_after is not None:
            self.faults.cuda_after -= 1
            if self.faults.cuda_after < 0:
                self.faults.cuda_after = None
                self.faults.broken = self.faults.breaks
                for dropped in self._pending():
                    dropped.done = True
                for each in self.streams:
                    each.pending.clear()
                raise CudaError("cuStreamSynchronize failed: unspecified launch failure")
        operation.run()

    def under_way(self) -> list[str]:
        """Name what was enqueued and has not run yet, in the order of enqueueing."""
        return [operation.name for operation in sorted(self._pending(), key=lambda one: one.serial)]

    def _pending(self) -> list[Operation]:
        return [operation for stream in list(self.streams) for operation in stream.pending]

    def check_host_read(self, array: HostArray) -> None:
        """Refuse to read host memory that a copy or an engine is still to write, or that was freed."""
        span = self._find_host(plain(array), "Reading")
        for operation in self._pending():
            if span is not None and _overlap([span], operation.writes):
                raise Misuse(f"Host memory was read before the {operation.name} to it was waited for")

    def check_host_write(self, array: HostArray) -> None:
        """Refuse to write host memory that a copy or an engine is still to read, or that was freed."""
        span = self._find_host(plain(array), "Writing")
        for operation in self._pending():
            if span is not None and _overlap([span], [*operation.reads, *operation.writes]):
                raise Misuse(f"Host memory was written before the {operation.name} of it was waited for")

    def stream_of(self, handle: int) -> Stream:
        """Return the stream of a handle, as `execute_async_v3` is given it."""
        for stream in list(self.streams):
            if stream.handle == handle:
                return stream
        raise Misuse(f"No stream has the handle {handle}")

    # Graphs, in place of the driver's own functions.

    def begin(self, stream: int) -> None:
        """Record what is enqueued on the stream in place of running it."""
        self.require_context("cuStreamBeginCapture")
        self.stream_of(stream).recording = []

    def end(self, stream: int) -> int:
        """Stop recording and return the graph's handle."""
        self.require_context("cuStreamEndCapture")
        recorder = self.stream_of(stream)
        if recorder.recording is None:
            raise Misuse("A recording was ended that was never begun")
        handle = next(self._serials)
        self._graphs[handle], recorder.recording = recorder.recording, None
        return handle

    def launch(self, graph: int, stream: int) -> None:
        """Enqueue what was recorded."""
        if graph not in self._graphs:
            raise Misuse(f"A graph was launched that does not exist, or no longer: {graph}")
        self.launched_graphs += 1
        for recorded in self._graphs[graph]:
            self.enqueue(
                self.stream_of(stream), recorded.name, recorded.run, reads=recorded.reads, writes=recorded.writes
            )

    def destroy(self, graph: int) -> None:
        """Free a recorded graph."""
        self.require_context("cuGraphExecDestroy")
        if self._graphs.pop(graph, None) is None:
            raise Misuse("A graph was freed twice")


def _overlap(some: Sequence[Span], others: Sequence[Span]) -> bool:
    return any(a[0] < b[1] and b[0] < a[1] for a in some for b in others)
