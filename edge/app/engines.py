"""The engines of a station: which one the settings ask for, and the proof that it sees what the model saw."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import numpy as np

from edge.bundle import INT8_MODEL, INT8_OPENVINO_MODEL, ONNX_MODEL, Bundle
from edge.engines.autotune import Candidate, cache_file, choose, cpu_has_bf16, machine_key
from edge.engines.cascade import openvino_bf16
from edge.engines.device import Vendor
from edge.engines.engine_files import Precision, plan_path
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
from edge.engines.time_limit import TimeLimitedEngine
from edge.errors import SettingsError
from edge.inspection.golden import check_golden, golden_tiles, require_golden, require_passed
from edge.protocols import Engine
from edge.settings import PRECISIONS, EngineSettings
from edge.simulation.engine import SimulatedEngine, Truth
from edge.wording import command

_LOG = logging.getLogger(__name__)
# Bundles are judged on it when they are converted; any other engine is proven before it judges.
REFERENCE = Candidate("onnxruntime", "fp32")


def make_engine(
    settings: EngineSettings,
    bundle: Bundle,
    truth: Truth | None = None,
    vendor: Vendor | None = None,
) -> Engine:
    """Return the settings' engine, not opened, without a time limit; the simulated one needs the line's `truth`.

    `auto` measures here what is the fastest, the first time; later starts remember it. `vendor` stands in for NVIDIA's
    modules. Raises SettingsError for a simulated engine without truth, and for bf16 on a CPU without it.
    """
    if settings.backend == "simulated":
        if truth is None:
            raise SettingsError("key engine.backend: the simulated engine answers only for the simulated camera")
        tiles_per_s, fault = settings.simulated_tiles_per_s, settings.simulated_fault
        return SimulatedEngine(bundle.contract(settings.batch), truth, tiles_per_s, fault)
    return _open_engine(_chosen(settings, bundle, vendor), settings, bundle, vendor)


def _chosen(settings: EngineSettings, bundle: Bundle, vendor: Vendor | None) -> Candidate:
    """Return what the settings ask for; of several, the fastest that sees the golden frames."""
    candidates = _candidates(settings, bundle)
    if not bundle.manifest.golden and REFERENCE in candidates:
        candidates = [REFERENCE]  # nothing could prove another
    if len(candidates) == 1:
        return candidates[0]

    def opener(each: Candidate) -> TimeLimitedEngine:  # an engine that hangs while it is measured is not chosen
        return TimeLimitedEngine(
            _open_engine(each, settings, bundle, vendor), settings.max_batch_s, f"the engine {each}"
        )

    openers = {each: partial(opener, each) for each in candidates}
    built = [plan_path(bundle.path, each.precision) for each in openers if each.backend == "tensorrt"]
    about = {
        "batch": settings.batch,
        "threads": settings.threads,
        "of": [str(each) for each in openers],
        "built": [plan.stat().st_mtime_ns for plan in built],
        # they decide how much bf16 looks at twice
        "counts": [(entry.threshold, entry.min_area_px) for entry in bundle.classes],
    }
    key = machine_key(json.dumps(bundle.manifest.files, sort_keys=True), **about)
    thresholds = np.array([entry.threshold for entry in bundle.classes], np.float32)
    tiles = partial(golden_tiles, bundle)
    return choose(openers, key, partial(_why_not, bundle), thresholds, cache_file(), tiles=tiles).candidate


def make_limited_engine(
    settings: EngineSettings,
    bundle: Bundle,
    truth: Truth | None = None,
    vendor: Vendor | None = None,
    stop: threading.Event | None = None,
) -> TimeLimitedEngine:
    """Return what `make_engine` returns, with the time limit for a batch; a shorter one once `stop` is set."""
    engine = make_engine(settings, bundle, truth, vendor)
    return TimeLimitedEngine(engine, settings.max_batch_s, f"the engine ({settings.backend})", stop)


@contextmanager
def proven_engine(
    settings: EngineSettings,
    bundle: Bundle,
    truth: Truth | None = None,
    vendor: Vendor | None = None,
    stop: threading.Event | None = None,
    *,
    live: bool = False,
) -> Iterator[TimeLimitedEngine]:
    """Open what `make_limited_engine` returns for what judges by it, once it saw the bundle's golden frames alike.

    The reference is ONNX Runtime in fp32, on which a bundle is judged at its conversion. Any other engine is proven
    whenever it opens; a bundle without golden frames is refused there. A `live` line proves the reference as well, and
    only warns where it cannot. The simulated engine answers for the simulated camera alone: nothing to prove. Raises
    BundleError, and as `make_limited_engine`.
    """
    if settings.simulated:
        with make_limited_engine(settings, bundle, truth, vendor, stop) as engine:
            engine.in_use = "simulated"
            yield engine
        return
    chosen = _chosen(settings, bundle, vendor)
    reference = chosen == REFERENCE
    if not reference:
        require_golden(bundle, f"the engine {chosen}")
    made = _open_engine(chosen, settings, bundle, vendor)
    with TimeLimitedEngine(made, settings.max_batch_s, f"the engine ({settings.backend})", stop) as engine:
        engine.in_use = str(chosen)
        if live or not reference:
            _prove(bundle, engine, chosen)
        yield engine


def _prove(bundle: Bundle, engine: Engine, chosen: Candidate) -> None:
    results = check_golden(bundle, engine)
    if not results:
        _LOG.warning(
            "%s has no golden frames, so nothing shows that it sees here what it saw when it was converted. "
            "Convert it again: %s",
            bundle.path,
            command("convert", bundle.path, "--to", "onnxruntime", "--data", "PICTURES"),
        )
    require_passed(bundle, results, f"the engine {chosen}" if chosen != REFERENCE else "")


def _candidates(settings: EngineSettings, bundle: Bundle) -> list[Candidate]:
    """List what the settings leave open and this bundle and machine can run. Raises SettingsError for none."""
    backends = PRECISIONS if settings.backend == "auto" else (settings.backend,)
    asked = [
        Candidate(backend, precision)
        for backend in backends
        for precision in PRECISIONS[backend]
        if settings.precision in {"auto", precision}
    ]
    lacking = {each: _lacking(each, bundle) for each in asked}
    usable = [each for each, lack in lacking.items() if not lack]
    # TensorRT itself says how a missing engine is built
    if not usable and settings.backend != "tensorrt":
        raise SettingsError(f"key engine: {'; '.join(f'{each}: {lack}' for each, lack in lacking.items())}")
    return usable or asked[:1]


def _lacking(candidate: Candidate, bundle: Bundle) -> str:
    """Say what a candidate needs and this machine or bundle has not; or nothing."""
    backend, precision = candidate
    if backend == "tensorrt":
        return "" if plan_path(bundle.path, precision).exists() else "no engine was built on this device"
    if precision == "bf16" and not cpu_has_bf16():
        return "this CPU does not compute in bf16 (no avx512_bf16 or amx_bf16 in /proc/cpuinfo); use fp32"
    if precision == "int8" and _int8_model(backend) not in bundle.manifest.files:
        return (
            f"the bundle holds no {_int8_model(backend)}, which is chosen and judged on {backend} itself; run convert "
            f"{bundle.path} --to {backend} --precision int8"
        )
    return ""


def _int8_model(backend: str) -> str:
    """Name the INT8 graph of a backend: each rounds in its own way, and is judged by what it finds itself."""
    return INT8_OPENVINO_MODEL if backend == "openvino" else INT8_MODEL


def _open_engine(
    candidate: Candidate, settings: EngineSettings, bundle: Bundle, vendor: Vendor | None = None
) -> Engine:
    contract = bundle.contract(settings.batch)
    if candidate.backend == "tensorrt":
        options = TensorRtOptions(
            cast("Precision", candidate.precision), settings.memory, cuda_graphs=settings.cuda_graphs
        )
        return TensorRtEngine(bundle, contract, options, vendor)
    model = bundle.file(_int8_model(candidate.backend) if candidate.precision == "int8" else ONNX_MODEL)
    match candidate.backend:
        case "openvino":
            if candidate.precision == "bf16":
                return openvino_bf16(model, contract, bundle.classes, settings.threads)
            return OpenVinoEngine(model, contract, settings.threads)
        case _:
            return OnnxRuntimeEngine(model, contract, settings.threads)


def _why_not(bundle: Bundle, engine: Engine) -> str:
    """Say why an engine must not be chosen: a golden frame that it sees otherwise; or nothing."""
    failed = [result.image for result in check_golden(bundle, engine) if not result.passed]
    return f"it sees {', '.join(failed)} otherwise than at conversion" if failed else ""
