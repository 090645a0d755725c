"""A bundle's engine on an NVIDIA device, by TensorRT 8.6, 10 or 11 and pycuda.

Everything of CUDA happens in one thread of the engine's own. There the device's context is current from opening to
closing. Two sets of page-locked buffers take turns on three streams. One batch is computed while the next is copied in
and the one before copied out:

    copy-in   [tiles of A] [tiles of B]
    compute                [   A     ] [   B     ]
    copy-out                           [maps of A] [maps of B]

A host and device with shared memory let the engine read and write the host's buffers in place ("mapped").
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Literal

import numpy as np
from typing_extensions import Self

from edge.bundle import ONNX_MODEL, Bundle
from edge.engines.answers import checked
from edge.engines.device import Vendor, VendorLog, initialise_plugins, let_go, load_vendor, machine_of
from edge.engines.engine_files import Precision, RefusedPlanError, plan_path, rebuild_command, verified_plan
from edge.engines.onnx_scan import read_onnx
from edge.errors import ContractError, EngineError
from edge.records import Batch, Float32, GraphContract, Maps, Ticket, UInt8
from edge.wording import counted

_LOG = logging.getLogger(__name__)
_SETS = 2
_INPUTS = ("tiles", "thresholds")
_OUTPUTS = ("classes", "scores")

MemoryMode = Literal["copied", "mapped"]


@dataclass(frozen=True)
class TensorRtOptions:
    """The way in which the engine is run. `memory`: host buffers are copied to the device, or mapped into it.

    `cuda_graphs`: an inference is recorded once per batch size and replayed, which spares the launches of its kernels.
    """

    precision: Precision = "fp16"
    memory: MemoryMode = "copied"
    cuda_graphs: bool = False


@dataclass(eq=False)
class _BufferSet:
    """The memory of one batch. `host`: page-locked arrays by name, of the largest batch; `device`: addresses."""

    number: int
    host: dict[str, Any]
    device: dict[str, int]
    copied_in: Any
    computed: Any
    copied_out: Any
    serial: int | None = None  # of the ticket that waits to be collected


class TensorRtEngine:
    """Answers tiles with the bundle's TensorRT engine. `vendor` stands in for NVIDIA's own modules.

    Batches and maps are memory of the engine's own: they are dead once it is closed. Raises MissingEngineError where no
    engine was built. Raises EngineError where one must not be used, ContractError where it is of another shape.
    """

    at_once = _SETS

    def __init__(
        self,
        bundle: Bundle,
        contract: GraphContract,
        options: TensorRtOptions | None = None,
        vendor: Vendor | None = None,
    ) -> None:
        self.contract = contract
        self._bundle = bundle
        self._options = options or TensorRtOptions()
        self._vendor = vendor
        self._serial = itertools.count()
        self._owner: ThreadPoolExecutor | None = None
        self._session: _Session | None = None
        self._turn = 0

    def __enter__(self) -> Self:
        vendor = self._vendor or load_vendor()
        read_onnx(self._bundle.file(ONNX_MODEL))  # a plan is only as trustworthy as the graph that it was built of
        plan = verified_plan(self._bundle, self._options.precision, self.contract.max_batch, machine_of(vendor))
        session = _Session(vendor, self._bundle, self.contract, self._options)
        self._owner = ThreadPoolExecutor(1, thread_name_prefix="tensorrt")
        try:
            self._owner.submit(session.open, plan).result()
        except BaseException:
            self._owner.shutdown()
            self._owner = None
            raise
        self._session = session
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owner is None or self._session is None:
            return
        session, owner = self._session, self._owner
        self._session = self._owner = None
        try:
            owner.submit(session.close).result()
        finally:
            owner.shutdown()

    def buffer(self) -> Batch:
        """Return the next of two page-locked buffers, uint8 [B, (T,) H, W, C]; EngineError while both are in use."""
        session, _ = self._opened()
        buffers = session.sets[self._turn]
        if buffers.serial is not None:
            raise EngineError(f"Both batches of the TensorRT engine are under way; collect ticket {buffers.serial}")
        self._turn = (self._turn + 1) % _SETS
        return Batch(buffers.host["tiles"])

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Hand the first `count` tiles to the device; only those are copied. Returns without waiting."""
        session, owner = self._opened()
        buffers = next((one for one in session.sets if one.host["tiles"] is batch.tiles), None)
        if buffers is None or buffers.serial is not None:
            raise EngineError("expected a batch of this engine's own `buffer` that is not under way, received another")
        if not 1 <= count <= self.contract.max_batch:
            raise EngineError(f"expected 1 to {counted(self.contract.max_batch, 'tile')}, received {count}")
        serial = next(self._serial)
        buffers.serial = serial
        asked = thresholds.copy()
        return Ticket(serial, count, (buffers.number, owner.submit(session.begin, buffers, count, asked), asked))

    def collect(self, ticket: Ticket) -> Maps:
        """Wait for a ticket's maps, uint8 [count, h, w] each; they are valid until the batch's buffer is used again."""
        session, owner = self._opened()
        number, begun, thresholds = ticket.token
        buffers = session.sets[number]
        if buffers.serial != ticket.serial:
            raise EngineError(f"Ticket {ticket.serial} was collected before; its buffers are used for another batch")
        try:
            begun.result()
            owner.submit(session.wait, buffers).result()
        except EngineError as error:
            let_go(error)
            raise EngineError(f"TensorRT failed on a batch of {counted(ticket.count, 'tile')}: {error}") from error
        finally:
            buffers.serial = None
        maps = Maps(buffers.host["classes"][: ticket.count], buffers.host["scores"][: ticket.count])
        return checked(maps, ticket.count, self.contract, thresholds)

    def _opened(self) -> tuple[_Session, ThreadPoolExecutor]:
        if self._session is None or self._owner is None:
            raise EngineError("The TensorRT engine is closed; open it with `with` before using it")
        return self._session, self._owner


def check_plan(bundle: Bundle, contract: GraphContract, precision: Precision, vendor: Vendor | None) -> None:
    """Load a bundle's engine and let it go. Raises as the engine: RefusedPlanError where it must not be used."""
    with TensorRtEngine(bundle, contract, TensorRtOptions(precision), vendor):
        pass


class _Session:
    """The open state on the device. Every method runs in the owner's thread."""

    def __init__(self, vendor: Vendor, bundle: Bundle, contract: GraphContract, options: TensorRtOptions) -> None:
        self.sets: list[_BufferSet] = []
        self._vendor = vendor
        self._bundle = bundle
        self._contract = contract
        self._options = options
        self._log = VendorLog(vendor.tensorrt)
        self._memory: list[tuple[str, Callable[[], object]]] = []
        self._current: Any = None
        self._pushed = False
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._copy_in: Any = None
        self._compute: Any = None
        self._copy_out: Any = None
        self._fewest = 1
        self._graphs: dict[tuple[int, int], tuple[Any, int]] = {}

    def open(self, plan: bytes) -> None:
        """Take the device; all of it is given back if a later step fails."""
        try:
            self._translated(self._open, plan)
        except BaseException as error:
            let_go(error)
            self.close()
            raise

    def _open(self, plan: bytes) -> None:
        cuda = self._vendor.cuda
        self._current = cuda.Device(0).retain_primary_context()
        self._current.push()
        self._pushed = True
        self._load(plan)
        self._check()
        self._copy_in, self._compute, self._copy_out = (cuda.Stream() for _ in range(3))
        self.sets = [self._make_set(number) for number in range(_SETS)]

    def close(self) -> None:
        """Wait for what is under way and give everything back, whatever fails on the way."""
        steps: list[tuple[str, Callable[[], object]]] = []
        if self._pushed:
            steps = [("unfinished batches", self._current.synchronize), *self._graph_steps(), *self._memory[::-1]]
        steps.append(("engine", self._forget))
        if self._pushed:
            steps.append(("current context", self._current.pop))
        if self._current is not None:
            steps.append(("context", self._current.detach))
        for what, step in steps:
            self._give_back(what, step)
        self._memory.clear()
        self._current, self._pushed = None, False

    def _give_back(self, what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except (self._vendor.cuda.Error, RuntimeError, EngineError) as error:
            _LOG.warning("TensorRT engine: the %s could not be given back: %s", what, error)

    def _graph_steps(self) -> list[tuple[str, Callable[[], object]]]:
        graphs = self._vendor.graphs
        if graphs is None:
            return []
        return [("CUDA graph", partial(graphs.destroy, graph)) for _, graph in self._graphs.values()]

    def _forget(self) -> None:
        """Drop the vendor's objects, which free themselves, while the context is still current."""
        self._graphs.clear()
        for buffers in self.sets:  # of which a caller may hold one
            buffers.copied_in = buffers.computed = buffers.copied_out = None
        self.sets = []
        self._context = self._engine = self._runtime = None
        self._copy_in = self._compute = self._copy_out = None

    def _load(self, plan: bytes) -> None:
        initialise_plugins(self._vendor.tensorrt, self._log)
        self._runtime = self._vendor.tensorrt.Runtime(self._log.listener)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise RefusedPlanError(
                f"TensorRT {self._vendor.tensorrt.__version__} refuses {self._plan}: {self._log.words()}. Build it "
                f"again on this device: {self._rebuild}"
            )
        self._context = self._new_context()

    def _new_context(self) -> Any:
        context = self._engine.create_execution_context()
        if context is None:
            raise EngineError(
                f"TensorRT has not enough memory to run {self._plan}: {self._log.words()}. Stop other programs that "
                "use the GPU, or build a smaller engine: a lower MAX in --batch MIN,OPT,MAX"
            )
        return context

    @property
    def _plan(self) -> str:
        return str(plan_path(self._bundle.path, self._options.precision))

    @property
    def _rebuild(self) -> str:
        return rebuild_command(self._bundle.path, self._options.precision, self._contract.max_batch)

    def _check(self) -> None:
        """Compare the engine's tensors with the graph contract, and its batches with the largest one."""
        trt, engine, c = self._vendor.tensorrt, self._engine, self._contract
        frames = (c.frames,) if c.frames > 1 else ()
        cells = (c.tile_height // c.stride, c.tile_width // c.stride)
        expected = {
            "tiles": ("INPUT", "UINT8", (-1, *frames, c.tile_height, c.tile_width, c.channels)),
            "thresholds": ("INPUT", "FLOAT", (len(c.classes),)),
            "classes": ("OUTPUT", "UINT8", (-1, *cells)),
            "scores": ("OUTPUT", "UINT8", (-1, *cells)),
        }
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        found = {
            name: (
                "INPUT" if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else "OUTPUT",
                engine.get_tensor_dtype(name).name,
                tuple(engine.get_tensor_shape(name)),
            )
            for name in names
        }
        if found != expected:
            raise ContractError(
                f"{self._plan} does not keep the graph contract: expected {expected}, received {found}. Convert the "
                "bundle again on the workstation, then build its engine"
            )
        fewest, _, most = (next(iter(shape)) for shape in engine.get_tensor_profile_shape("tiles", 0))
        if most < c.max_batch or fewest > c.max_batch:
            raise ContractError(
                f"{self._plan} takes {fewest} to {counted(most, 'tile')} at once; expected up to {c.max_batch}. "
                f"Build it again "
                f"on this device: {self._rebuild}"
            )
        self._fewest = fewest

    def _make_set(self, number: int) -> _BufferSet:
        c = self._contract
        frames = (c.frames,) if c.frames > 1 else ()
        cells = (c.max_batch, c.tile_height // c.stride, c.tile_width // c.stride)
        shapes: dict[str, tuple[tuple[int, ...], type]] = {
            "tiles": ((c.max_batch, *frames, c.tile_height, c.tile_width, c.channels), np.uint8),
            "thresholds": ((len(c.classes),), np.float32),
            "classes": (cells, np.uint8),
            "scores": (cells, np.uint8),
        }
        host: dict[str, Any] = {}
        device: dict[str, int] = {}
        for name, (shape, dtype) in shapes.items():
            host[name], device[name] = self._allocate(name, shape, dtype)
            host[name][...] = 0
        # a waiting thread sleeps, in place of spinning on a core that the camera needs
        flags = self._vendor.cuda.event_flags
        events = [self._vendor.cuda.Event(flags.BLOCKING_SYNC | flags.DISABLE_TIMING) for _ in range(3)]
        return _BufferSet(number, host, device, *events)

    def _allocate(self, name: str, shape: tuple[int, ...], dtype: type) -> tuple[Any, int]:
        """Return a page-locked array and the address at which the device finds its values."""
        cuda = self._vendor.cuda
        mapped = self._options.memory == "mapped"
        flags = cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        array = cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
        self._memory.append((f"host memory of {name}", array.base.free))
        if mapped:
            return array, int(array.base.get_device_pointer())
        memory = cuda.mem_alloc(array.nbytes)
        self._memory.append((f"device memory of {name}", memory.free))
        return array, int(memory)

    # One batch.

    def begin(self, buffers: _BufferSet, count: int, thresholds: Float32) -> None:
        """Enqueue one batch: copies in, the engine, copies out. Waits for nothing."""
        self._whole(self._begin, buffers, max(count, self._fewest), thresholds)

    def _begin(self, buffers: _BufferSet, rows: int, thresholds: Float32) -> None:
        cuda, copied = self._vendor.cuda, self._options.memory == "copied"
        buffers.host["thresholds"][:] = thresholds
        if copied:
            for name in _INPUTS:
                cuda.memcpy_htod_async(buffers.device[name], _rows(buffers, name, rows), self._copy_in)
            buffers.copied_in.record(self._copy_in)
            self._compute.wait_for_event(buffers.copied_in)
        self._infer(buffers, rows)
        buffers.computed.record(self._compute)
        if copied:
            self._copy_out.wait_for_event(buffers.computed)
            for name in _OUTPUTS:
                cuda.memcpy_dtoh_async(_rows(buffers, name, rows), buffers.device[name], self._copy_out)
            buffers.copied_out.record(self._copy_out)

    def wait(self, buffers: _BufferSet) -> None:
        """Wait until a batch's maps are in host memory."""
        last = buffers.copied_out if self._options.memory == "copied" else buffers.computed
        self._whole(last.synchronize)

    def _whole(self, call: Callable[..., object], *arguments: object) -> None:
        """Run a step of a batch; at a failure wait for enqueued work, which must not meet the next batch."""
        try:
            self._translated(call, *arguments)
        except EngineError:
            self._give_back("failed batch", self._current.synchronize)
            raise

    def _infer(self, buffers: _BufferSet, rows: int) -> None:
        if not self._options.cuda_graphs or self._vendor.graphs is None:
            self._bind(self._context, buffers, rows)
            self._execute(self._context)
            return
        key = (buffers.number, rows)
        if key not in self._graphs:
            self._graphs[key] = self._record(buffers, rows)
        self._vendor.graphs.launch(self._graphs[key][1], self._compute.handle)

    def _record(self, buffers: _BufferSet, rows: int) -> tuple[Any, int]:
        """Record an inference with a context of its own: a graph knows the shapes and addresses of its context."""
        assert self._vendor.graphs is not None  # noqa: S101 - `_infer` saw to it
        context = self._new_context()
        self._bind(context, buffers, rows)
        self._execute(context)  # once before recording: TensorRT prepares what depends on shapes in the first run
        self._compute.synchronize()
        self._vendor.graphs.begin(self._compute.handle)
        try:
            self._execute(context)
        finally:
            graph = self._vendor.graphs.end(self._compute.handle)
        return context, graph

    def _bind(self, context: Any, buffers: _BufferSet, rows: int) -> None:
        shape = (rows, *buffers.host["tiles"].shape[1:])
        accepted = context.set_input_shape("tiles", self._vendor.tensorrt.Dims(shape))
        for name, address in buffers.device.items():
            accepted = accepted and context.set_tensor_address(name, address)
        if not accepted:
            raise EngineError(f"TensorRT does not take a batch of {counted(rows, 'tile')}: {self._log.words()}")

    def _execute(self, context: Any) -> None:
        if not context.execute_async_v3(self._compute.handle):
            raise EngineError(f"TensorRT does not run: {self._log.words()}")

    def _translated(self, call: Callable[..., object], *arguments: object) -> None:
        """Run a step; the vendor's exceptions become EngineError with its words."""
        cuda = self._vendor.cuda
        self._log.said.clear()  # words about an earlier batch explain nothing
        try:
            call(*arguments)
        except (cuda.Error, RuntimeError, TypeError, ValueError) as error:
            if not isinstance(error, cuda.MemoryError):
                told = f"; TensorRT said: {self._log.words()}" if self._log.said else ""
                raise EngineError(f"{error}{told}") from error
            raise EngineError(
                f"The GPU has no memory left: {error}. Stop other programs that use it, or lower engine.batch (now "
                f"{self._contract.max_batch})"
            ) from error


def _rows(buffers: _BufferSet, name: str, rows: int) -> UInt8:
    """Return what is copied of a host array: the rows of the batch, but every threshold."""
    array: UInt8 = buffers.host[name]
    return array if name == "thresholds" else array[:rows]
