"""Every call that a build makes of TensorRT, in their order; `dialects` decides between versions.

The same code runs on a device, on the recorder that prints a plan, and on the simulated device.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from converters.precision.plan import Precision
from converters.tensorrt.dialects import Dialect
from edge.engines.device import VendorLog, initialise_plugins
from edge.errors import ContractError, ConversionError, EngineError, StoreError
from edge.wording import counted

_MB = 1 << 20
# These of TensorRT's logged errors before it gives up speak of memory, the last one often so on a Jetson.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|outofmemory|insufficient memory|could not find any implementation", re.IGNORECASE
)


class TimingCacheRefusedError(StoreError):
    """TensorRT does not take the kept timings for this device; says why."""


class BuildProgress(Protocol):
    """Is told how far a build is."""

    def __call__(self, step: str, done: int, total: int, /) -> None:
        """Hear that `done` of `total` parts of what is named `step` are done."""
        ...


@dataclass(frozen=True)
class Order:
    """One order to build. `batch`: fewest, usual and most tiles; `tile_shape`: of one tile, without the batch.

    `pinned`: names of the graph's nodes that stay in FP32 where the graph's own types do not say so. `graph`: the
    content of the file `path`, which TensorRT is given as it was hashed; the path is for messages.
    """

    graph: bytes
    path: Path
    precision: Precision
    pinned: frozenset[str]
    tile_shape: tuple[int, ...]
    batch: tuple[int, int, int]
    workspace_bytes: int
    builder_level: int
    timing_cache: bytes


@dataclass(frozen=True)
class Built:
    """The work of TensorRT: the plan, what its inspector says of it (JSON), and the timings that it learnt."""

    plan: bytes
    information: str
    timing_cache: bytes


def build_plan(
    trt: Any, dialect: Dialect, order: Order, progress: BuildProgress, stopped: Callable[[], bool] = lambda: False
) -> Built:
    """Build the ordered engine on the current CUDA context.

    `stopped` is asked at every step where TensorRT tells its progress. Raises ContractError for a graph that TensorRT
    cannot read, EngineError where the build fails, KeyboardInterrupt where it was stopped.
    """
    log = VendorLog(trt)
    initialise_plugins(trt, log)
    builder = trt.Builder(log.listener)
    network = builder.create_network(_network_flags(trt, dialect))
    _parse(trt, network, order, log)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, order.workspace_bytes)
    config.builder_optimization_level = order.builder_level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # FP32 shall mean 24 bits of mantissa: a pin would be of little use at TF32's eleven
    config.clear_flag(trt.BuilderFlag.TF32)
    if not dialect.typed:
        _set_precision(trt, network, config, order)
    _add_profile(trt, builder, config, order)
    cache = config.create_timing_cache(order.timing_cache)
    if not config.set_timing_cache(cache, False):
        raise TimingCacheRefusedError(f"TensorRT does not take it for this device: {log.words()}")
    monitor = _monitor(trt, progress, stopped) if dialect.monitored else None
    if monitor is not None:
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if stopped():
        raise KeyboardInterrupt
    if plan is None:
        _fail(log, order)
    plan_bytes = bytes(plan)
    return Built(plan_bytes, _inspect(trt, plan_bytes, log), bytes(config.get_timing_cache().serialize()))


def _network_flags(trt: Any, dialect: Dialect) -> int:
    if dialect.network_flag is None:
        return 0
    return 1 << int(getattr(trt.NetworkDefinitionCreationFlag, dialect.network_flag))


def _parse(trt: Any, network: Any, order: Order, log: VendorLog) -> None:
    parser = trt.OnnxParser(network, log.listener)
    if parser.parse(order.graph):
        return
    problems = [parser.get_error(number) for number in range(parser.num_errors)]
    told = "; ".join(f"node {problem.node()}: {problem.desc()}" for problem in problems) or log.words()
    raise ContractError(
        f"TensorRT {trt.__version__} cannot read {order.path}: {told}. Convert the bundle again on the workstation: "
        "convert BUNDLE --to onnxruntime"
    )


def _set_precision(trt: Any, network: Any, config: Any, order: Order) -> None:
    """Allow the lower precision by flags and forbid it at the pins: TensorRT 8.6."""
    if order.precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)  # Q/DQ in the graph says where; the rest stays in FP32
        return
    if order.precision == "fp32":
        return
    config.set_flag(trt.BuilderFlag.FP16)
    if not order.pinned:
        return
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    wanting = set(order.pinned)
    for number in range(network.num_layers):
        layer = network.get_layer(number)
        node = _node_of(layer, order.pinned)
        if node is not None:
            wanting.discard(node)
            _pin(trt, layer)
    if wanting:
        raise ConversionError(
            f"The precision plan keeps {', '.join(sorted(wanting))} in FP32, and TensorRT {trt.__version__} has no "
            "layer of that name; built without it, defects could be lost. Convert the bundle again on the workstation: "
            "convert BUNDLE --to onnxruntime --precision fp16"
        )


def _node_of(layer: Any, pinned: frozenset[str]) -> str | None:
    """Return the pinned node that a layer was made of, None where it was made of another.

    The parser writes the node into the layer's metadata, else into its name. A number stands behind it if a node became
    several layers.
    """
    told = re.search(r"\[ONNX Layer: ([^\]]+)\]", layer.metadata)
    name = str(layer.name)
    candidates = [told[1]] if told else [name, re.sub(r"_\d+$", "", name)]
    return next((node for node in candidates if node in pinned), None)


def _pin(trt: Any, layer: Any) -> None:
    """Keep a layer's arithmetic and its answers in FP32; integer answers are left as they are."""
    real = (trt.DataType.FLOAT, trt.DataType.HALF)
    outputs = [number for number in range(layer.num_outputs) if layer.get_output(number).dtype in real]
    if outputs:
        layer.precision = trt.DataType.FLOAT
    for number in outputs:
        layer.set_output_type(number, trt.DataType.FLOAT)


def _add_profile(trt: Any, builder: Any, config: Any, order: Order) -> None:
    profile = builder.create_optimization_profile()
    fewest, usual, most = (trt.Dims((count, *order.tile_shape)) for count in order.batch)
    profile.set_shape("tiles", fewest, usual, most)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(
            f"TensorRT {trt.__version__} refuses batches of {order.batch[0]} to {counted(order.batch[2], 'tile')} of "
            f"{order.tile_shape}: expected 1 <= MIN <= OPT <= MAX in --batch MIN,OPT,MAX"
        )


def _monitor(trt: Any, progress: BuildProgress, stopped: Callable[[], bool]) -> Any:
    totals: dict[str, int] = {}

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the vendor's class is known when it is imported
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # pybind demands this very call

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002 - TensorRT's signature
            totals[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, totals.get(phase_name, step + 1))
            return not stopped()

        def phase_finish(self, phase_name: str) -> None:
            total = totals.pop(phase_name, 0)
            progress(phase_name, total, total)

    return Monitor()


def _inspect(trt: Any, plan: bytes, log: VendorLog) -> str:
    """Load the plan once, so that none that fails is kept, and ask what became of the layers."""
    engine = trt.Runtime(log.listener).deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineError(f"TensorRT {trt.__version__} cannot load the engine that it has just built: {log.words()}")
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


def _fail(log: VendorLog, order: Order) -> NoReturn:
    told = log.words()
    if not _OUT_OF_MEMORY.search(told):
        raise EngineError(f"TensorRT could not build the engine: {told}")
    raise EngineError(
        f"TensorRT ran out of memory while it built the engine, with a workspace of {order.workspace_bytes // _MB} MB: "
        f"{told}. Stop other programs that use memory, the line included, or ask for less: a lower --workspace-mb, or "
        f"a lower MAX in --batch MIN,OPT,MAX (now {order.batch[2]})"
    )
