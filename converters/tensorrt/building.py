"""A bundle → an engine in its `engines/`, built on the device that will run it. Either all of it is kept, or nothing.

graph and pins → free memory → TensorRT → inspector → plan and sidecar, written together under a lock
"""

from __future__ import annotations

import hashlib
import logging
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from converters.locking import locked
from converters.precision.plan import GRAPHS, PLANS, Precision, graph_path, plan_path, read_plan
from converters.staging import Staging
from converters.tensorrt.dialects import Dialect, dialect_of
from converters.tensorrt.layers import EngineInformation, disobeyed_pins, read_information
from converters.tensorrt.network import BuildProgress, Built, Order, TimingCacheRefusedError, build_plan
from converters.tensorrt.timing_cache import TimingCache, locked_timing_cache
from edge.bundle import Bundle, HashedFile
from edge.engines import engine_files
from edge.engines.device import Machine, Vendor, current_context, free_memory, let_go, load_vendor, machine_of
from edge.engines.onnx_scan import read_onnx
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
from edge.errors import BundleError, ContractError, ConversionError, EngineError, SettingsError, StoreError
from edge.inspection.golden import check_golden
from edge.stopping import stopping_on_signals
from edge.wording import command, counted

_LOG = logging.getLogger(__name__)
_HEARD_WITHIN_S = 0.2
_TENSORS = ("tiles", "thresholds", "classes", "scores")
_MB = 1 << 20
_LEAST_WORKSPACE_BYTES = 16 * _MB


@dataclass(frozen=True)
class EngineOptions:
    """Options of a build. `batch`: fewest, usual and most tiles at once; `workspace_mb` None = half of what is free.

    `builder_level` 0-5: how long TensorRT may look for faster tactics. Raises SettingsError for what cannot be.
    """

    precision: Precision = "fp16"
    batch: tuple[int, int, int] = (1, 4, 4)
    workspace_mb: int | None = None
    builder_level: int = 3

    def __post_init__(self) -> None:
        fewest, usual, most = self.batch
        if not 1 <= fewest <= usual <= most:
            raise SettingsError(
                f"--batch: expected MIN,OPT,MAX with 1 <= MIN <= OPT <= MAX, received {fewest},{usual},{most}"
            )
        if not 0 <= self.builder_level <= 5:
            raise SettingsError(f"The builder's level: expected 0 to 5, received {self.builder_level}")


@dataclass(frozen=True)
class BuiltEngine:
    """A finished engine: where its plan lies, what stands beside it, and how many golden frames it was shown."""

    plan_path: Path
    sidecar: engine_files.Sidecar
    golden: int = 0

    def report(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {
            "plan": str(self.plan_path),
            "golden": self.golden,
            **self.sidecar.model_dump(mode="json", by_alias=True),
        }


@dataclass(frozen=True)
class Source:
    """The source of an engine: a graph of the bundle, and the nodes whose FP32 must be asked for by layer."""

    graph: Path
    graph_sha256: str
    onnx_sha256: str
    pinned: frozenset[str]


def build_engine(
    bundle: Bundle, options: EngineOptions, progress: BuildProgress, *, vendor: Vendor | None = None
) -> BuiltEngine:
    """Build the bundle's engine of a precision for this device and keep it in `engines/`.

    `vendor` stands in for NVIDIA's own modules. Ctrl-C and SIGTERM end a build that tells its progress at its next
    step. Raises BundleError without the graph of that precision, StoreError where another build runs or the disk is
    full. Raises EngineError where TensorRT gives up. Raises ConversionError where a pin meets no layer or was not
    obeyed. It does so, too, where the engine sees a golden frame otherwise than at conversion.
    """
    vendor = vendor or load_vendor()
    dialect = dialect_of(vendor.tensorrt.__version__, jetson=vendor.l4t is not None)
    source = source_of(bundle, options.precision, dialect)
    graph = read_onnx(HashedFile(source.graph, source.graph_sha256), "TensorRT cannot read")
    machine = machine_of(vendor)
    with (
        building_alone(bundle.path) as folder,
        locked_timing_cache(machine) as cache,
        stopping_on_signals(signal.SIGINT, signal.SIGTERM) as stopped,
    ):
        timings = cache.read()

        def build() -> tuple[Order, Built]:
            with current_context(vendor):
                order = order_of(bundle, options, (source, graph), _workspace_bytes(vendor, options), timings)
                try:
                    return order, build_plan(vendor.tensorrt, dialect, order, progress, stopped)
                except BaseException as error:
                    let_go(error)  # or the builder would be freed after its context
                    raise

        try:
            # in a thread of its own, so that this one, which alone hears signals, is not deep within TensorRT
            with ThreadPoolExecutor(1, thread_name_prefix="tensorrt-build") as owner:
                building = owner.submit(build)
                # a signal that the kernel gives to another thread is heard when this one wakes
                while not building.done():
                    wait([building], _HEARD_WITHIN_S)
                order, built = building.result()
        except TimingCacheRefusedError as error:
            raise cache.refused(str(error)) from error
        except vendor.cuda.Error as error:
            raise EngineError(f"CUDA failed while the engine was built: {error}") from error
        except (RuntimeError, TypeError, ValueError) as error:  # pybind's, of a call or a value that it does not take
            raise EngineError(
                f"TensorRT {vendor.tensorrt.__version__} failed while the engine was built: {error}"
            ) from error
        information = _checked(built, dialect, order)
        sidecar = _sidecar(built, information, options, source, machine, workspace_bytes=order.workspace_bytes)
        plan = engine_files.plan_path(bundle.path, options.precision)
        with Staging(folder) as staging:
            for path, content in ((plan, built.plan), (engine_files.sidecar_path(plan), sidecar.serialised())):
                staging.write(path.name, content).chmod(0o600)
            golden = staging.commit(lambda: _prove(bundle, options, vendor))
        _keep(cache, built.timing_cache)
    return BuiltEngine(plan, sidecar, golden)


def source_of(bundle: Bundle, precision: Precision, dialect: Dialect) -> Source:
    """Return the graph that this version is given for a precision, and its pins. Raises BundleError where it is absent.

    FP16 is a typed graph where the dialect is typed; elsewhere it is model.onnx with pins by layer.
    """
    onnx = GRAPHS["fp32"]
    typed = precision if precision == "int8" or dialect.typed else "fp32"
    name = GRAPHS[typed]
    for needed in (onnx, name, *([PLANS[precision]] if precision != "fp32" else [])):
        if needed not in bundle.manifest.files:
            wanted = () if needed == onnx else ("--precision", precision)
            raise BundleError(
                f"{bundle.path} holds no {needed}, of which an engine in {precision} is made. Run on a workstation: "
                f"{command('convert', bundle.path, '--to', 'onnxruntime', *wanted)}"
            )
    onnx_sha256 = bundle.manifest.files[onnx]
    pinned: frozenset[str] = frozenset()
    if precision != "fp32":
        plan = read_plan(plan_path(bundle, precision))
        if plan.onnx_sha256 != onnx_sha256:
            raise BundleError(
                f"{plan_path(bundle, precision)} speaks of another model: expected the sha256 {onnx_sha256} of "
                f"{onnx}, found {plan.onnx_sha256}. Run on a workstation: "
                f"{command('convert', bundle.path, '--to', 'onnxruntime', '--precision', precision)}"
            )
        if precision == "fp16" and not dialect.typed:
            pinned = plan.pinned_nodes
    return Source(graph_path(bundle, typed), bundle.manifest.files[name], onnx_sha256, pinned)


def order_of(
    bundle: Bundle, options: EngineOptions, read: tuple[Source, bytes], workspace_bytes: int, timing_cache: bytes = b""
) -> Order:
    """Put together what `build_plan` needs. `read`: what is built from, and the content of its graph."""
    source, graph = read
    contract = bundle.contract(options.batch[2])
    frames = (contract.frames,) if contract.frames > 1 else ()
    return Order(
        graph=graph,
        path=source.graph,
        precision=options.precision,
        pinned=source.pinned,
        tile_shape=(*frames, contract.tile_height, contract.tile_width, contract.channels),
        batch=options.batch,
        workspace_bytes=workspace_bytes,
        builder_level=options.builder_level,
        timing_cache=timing_cache,
    )


@contextmanager
def building_alone(bundle: Path) -> Iterator[Path]:
    """Make the bundle's `engines/`, mode 0700, and hold its lock; clear what a killed build left. Raises StoreError."""
    folder = bundle / engine_files.ENGINES
    try:
        folder.mkdir(mode=engine_files.FOLDER_MODE, exist_ok=True)
        folder.chmod(engine_files.FOLDER_MODE)
    except OSError as error:
        raise StoreError(f"{folder} cannot be written: {error}. Mend the permissions of {bundle}") from error
    with locked(folder):
        for left in folder.glob("*.tmp"):
            left.unlink(missing_ok=True)
        yield folder


def _workspace_bytes(vendor: Vendor, options: EngineOptions) -> int:
    """Return what TensorRT may use while it tries tactics: as asked, or half of what is free now."""
    free, total = free_memory(vendor)
    wanted = free // 2 if options.workspace_mb is None else options.workspace_mb * _MB
    if wanted > total or wanted < _LEAST_WORKSPACE_BYTES:
        raise EngineError(
            f"A workspace of {wanted // _MB} MB cannot be: the device has {total // _MB} MB, of which {free // _MB} MB "
            f"are free, and at least {_LEAST_WORKSPACE_BYTES // _MB} MB are needed. Stop other programs that use "
            "memory, the line included, or name another size with --workspace-mb"
        )
    return int(wanted)


def _checked(built: Built, dialect: Dialect, order: Order) -> EngineInformation | None:
    """Return the inspector's words, None where they cannot be read.

    Refuse a plan of another kind than asked for.
    """
    header = engine_files.read_header(built.plan)
    if header.tensorrt[:3] != dialect.version[:3]:
        raise EngineError(
            f"TensorRT {dialect.version} wrote a plan whose header names {header.tensorrt}; expected its own version. "
            "The engine was not kept"
        )
    information = read_information(built.information)
    _check_pins(information, order)
    if information is None:
        _LOG.warning("TensorRT's inspector did not answer in JSON, so the share of half-precision layers is unknown")
        return None
    if information.tensors and set(information.tensors) != set(_TENSORS):
        raise ContractError(
            f"The engine does not keep the graph contract: expected the inputs and outputs {sorted(_TENSORS)}, "
            f"received {sorted(information.tensors)}. The engine was not kept"
        )
    if order.precision != "fp32" and not information.lower:
        _LOG.warning(
            "none of the engine's %d layers is seen to work in %s or less. Where all of them were fused into one this "
            "cannot be seen; else the engine is no faster than fp32: compare them with linewatch bench-engine",
            information.layers,
            order.precision,
        )
    return information


def _check_pins(information: EngineInformation | None, order: Order) -> None:
    """Refuse an engine in which a pin was passed over: TensorRT 8.6 may fuse a layer away from what it was told."""
    if not order.pinned:
        return
    if information is None:
        raise ConversionError(
            "TensorRT's inspector did not answer in JSON, so nothing shows that the layers that must stay in FP32 "
            "did. The engine was not kept. Build it in fp32"
        )
    lower, unseen = disobeyed_pins(information, order.pinned)
    if lower:
        raise ConversionError(
            f"TensorRT did not obey the precision plan: {', '.join(lower[:5])} must stay in FP32 and answer in lower "
            "precision, where they would overflow or lose defects. The engine was not kept. Build it in fp32, or on "
            "TensorRT 10, where the types stand in the graph"
        )
    if unseen:
        _LOG.warning(
            "of %d nodes that stay in FP32, %d were fused into layers that do not name them: the golden frames judge "
            "them",
            len(order.pinned),
            len(unseen),
        )


def _prove(bundle: Bundle, options: EngineOptions, vendor: Vendor) -> int:
    """Replay the golden frames on the engine that was just built; return how many.

    Raises ConversionError where a defect is lost or gained: such an engine is not kept.
    """
    contract = bundle.contract(options.batch[2])
    try:
        with TensorRtEngine(bundle, contract, TensorRtOptions(options.precision), vendor) as engine:
            results = check_golden(bundle, engine)
    except EngineError as error:
        raise EngineError(
            f"The engine in {options.precision} was built and cannot answer the golden frames: {error} It was not kept"
        ) from error
    failed = [result for result in results if not result.passed]
    if failed:
        lost, gained = (sum(getattr(each, f"defects_{word}") for each in failed) for word in ("lost", "gained"))
        raise ConversionError(
            f"The engine in {options.precision} sees {', '.join(each.image for each in failed)} otherwise than at "
            f"conversion: {counted(lost, 'defect')} lost, {gained} gained. It was not kept; what was there before is "
            "as it was. Build it in another --precision"
        )
    if not results:
        _LOG.warning("%s has no golden frames, so nothing shows that this engine sees what the model sees", bundle.path)
    return len(results)


def _keep(cache: TimingCache, content: bytes) -> None:
    """Keep the timings; an engine that took minutes is not thrown away because they cannot be."""
    try:
        cache.write(content)
    except StoreError as error:
        _LOG.warning("%s. The engine is built; the next build takes as long", error)


def _sidecar(
    built: Built,
    information: EngineInformation | None,
    options: EngineOptions,
    source: Source,
    machine: Machine,
    *,
    workspace_bytes: int,
) -> engine_files.Sidecar:
    return engine_files.Sidecar(
        plan_sha256=hashlib.sha256(built.plan).hexdigest(),
        onnx_sha256=source.onnx_sha256,
        graph_sha256=source.graph_sha256,
        precision=options.precision,
        batch=options.batch,
        **machine.as_dict(),
        workspace_mb=workspace_bytes // _MB,
        builder_level=options.builder_level,
        layers=information.layers if information else None,
        half_share=information.half_share if information else None,
        built_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
