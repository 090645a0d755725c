"""Stand-ins for pycuda's objects: page-locked arrays, device memory, streams, events, the context.

They keep to the rules of `SimulatedDevice`, which knows what is allocated and what is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from typing_extensions import Self

from edge.records import UInt8

if TYPE_CHECKING:
    from edge.simulation.device import SimulatedDevice

Span = tuple[int, int]  # first address, first address beyond


class Misuse(AssertionError):  # noqa: N818 - no error of the device: a defect of whoever called it
    """A call that the simulated device does not allow; no handler of vendors' errors may hide it."""


class CudaError(Exception):
    """Stands in for pycuda.driver.Error."""


class CudaMemoryError(CudaError):
    """Stands in for pycuda.driver.MemoryError."""


@dataclass(eq=False)
class Allocation:
    """Memory by its device addresses. `data`: uint8 [size]. `written`: which of its bytes hold something."""

    start: int
    data: UInt8
    kind: Literal["device", "host"]
    written: UInt8
    freed: bool = False

    @property
    def end(self) -> int:
        """The first address beyond it."""
        return self.start + self.data.size


@dataclass(eq=False)
class Operation:
    """Something enqueued: what it reads and writes by device addresses, and what it does when its turn comes."""

    serial: int
    name: str
    run: Callable[[], None]
    reads: Sequence[Span] = ()
    writes: Sequence[Span] = ()
    waits_for: Operation | None = None
    done: bool = False


class HostArray(np.ndarray[Any, np.dtype[Any]]):
    """Page-locked memory as numpy sees it. Reading its values while a copy to it is under way is a Misuse."""

    simulation: SimulatedDevice | None = None
    holder: HostMemory | None = None

    def __array_finalize__(self, parent: Any) -> None:
        self.simulation = getattr(parent, "simulation", None)

    @property
    def base(self) -> Any:
        """Return the holder of the memory, as pycuda has it; of a view, the array that it is of."""
        return self.holder or np.ndarray.base.__get__(self)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self.simulation is not None:
            self.simulation.check_host_write(self)
        super().__setitem__(key, value)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        for value in inputs:
            _may_read(value)
        bare = [plain(value) for value in inputs]
        if "out" in options:
            options["out"] = tuple(plain(value) for value in options["out"])
        return getattr(ufunc, method)(*bare, **options)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        for value in arguments:
            _may_read(value)
        return super().__array_function__(function, types, arguments, options)

    def __getitem__(self, key: Any) -> Any:
        item = super().__getitem__(key)
        if not isinstance(item, np.ndarray):
            _may_read(self)
        return item

    def copy(self, order: Any = "C") -> Any:
        """Return the values in memory of their own."""
        _may_read(self)
        return np.array(plain(self), order=order)

    def tobytes(self, order: Any = "C") -> bytes:
        """Return the values as bytes."""
        _may_read(self)
        content: bytes = plain(self).tobytes(order)
        return content


def plain(value: Any) -> Any:
    """Return host memory as a plain array over the same values, and anything else as it is."""
    return value.view(np.ndarray) if isinstance(value, HostArray) else value


def _may_read(value: Any) -> None:
    if isinstance(value, HostArray) and value.simulation is not None:
        value.simulation.check_host_read(value)


@dataclass(eq=False)
class HostMemory:
    """Stands in for pycuda's PagelockedHostAllocation, the `base` of such an array."""

    device: SimulatedDevice
    allocation: Allocation
    mapped: bool

    def free(self) -> None:
        """Free it, once."""
        self.device.free(self.allocation)

    def get_device_pointer(self) -> int:
        """Return the address at which the device finds mapped memory."""
        if not self.mapped:
            raise Misuse("This host memory was not made with DEVICEMAP, so the device has no address of it")
        return self.allocation.start


@dataclass(eq=False)
class DeviceMemory:
    """Stands in for pycuda's DeviceAllocation."""

    device: SimulatedDevice
    allocation: Allocation

    def free(self) -> None:
        """Free it, once."""
        self.device.free(self.allocation)

    def __int__(self) -> int:
        return self.allocation.start

    def __index__(self) -> int:
        return self.allocation.start


class Stream:
    """Stands in for pycuda's Stream: its operations run in order, when somebody waits for them."""

    def __init__(self, device: SimulatedDevice, handle: int) -> None:
        self._device = device
        self.handle = handle
        self.pending: list[Operation] = []
        self.recording: list[Operation] | None = None

    def synchronize(self) -> None:
        """Run all that was enqueued."""
        self._device.require_context("Stream.synchronize")
        while self.pending:
            self._device.complete(self.pending[0])

    def wait_for_event(self, event: Event) -> None:
        """Run what comes after this only once the event has come."""
        if event.recorded is None:
            raise Misuse("A stream was told to wait for an event that was never recorded, which waits for nothing")
        self._device.enqueue(self, "wait", lambda: None, waits_for=event.recorded)


class Event:
    """Stands in for pycuda's Event."""

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device
        self.recorded: Operation | None = None

    def record(self, stream: Stream) -> Self:
        """Come when the stream has run all that was enqueued so far."""
        self.recorded = self._device.enqueue(stream, "event", lambda: None)
        return self

    def synchronize(self) -> Self:
        """Run all that must come before it."""
        self._device.require_context("Event.synchronize")
        if self.recorded is None:
            raise Misuse("An event was waited for that was never recorded, which waits for nothing")
        self._device.complete(self.recorded)
        return self

    def query(self) -> bool:
        """Tell whether it has come."""
        self._device.require_context("Event.query")
        return self.recorded is not None and self.recorded.done


@dataclass(eq=False)
class Context:
    """Stands in for pycuda's Context: the device's primary one, current in the threads that pushed it."""

    device: SimulatedDevice
    detached: bool = False

    def push(self) -> None:
        """Make it current in this thread."""
        if self.detached:
            raise Misuse("A context was made current after it was given back")
        self.device.contexts.append(self)

    def pop(self) -> None:
        """Make the one before it current again."""
        if not self.device.contexts:
            raise Misuse("A context was popped in a thread where none is current")
        self.device.contexts.pop()

    def detach(self) -> None:
        """Give it back; nothing of it may be held any more."""
        if self.detached:
            raise Misuse("A context was given back twice")
        if self in self.device.contexts:
            raise Misuse("A context was given back while it was current")
        self.detached = True
        self.device.check_nothing_held()

    def synchronize(self) -> None:
        """Run all that was enqueued on any stream."""
        self.device.require_context("Context.synchronize")
        for stream in list(self.device.streams):
            stream.synchronize()
