"""One process per version: drives the build and the engine through a version's real signatures, and tells what came.

python -m tests.tensorrt.drive_binding BUNDLE, with the binding on PYTHONPATH and the stubs on LD_LIBRARY_PATH.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt_bindings

from converters.tensorrt.api import api_of, known_apis
from converters.tensorrt.building import EngineOptions, build_engine
from converters.tensorrt.strict import StrictTensorRT, WrongCallError
from edge.bundle import Bundle, load_bundle
from edge.engines.device import Vendor
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
from edge.simulation.device import SimulatedDevice
from tests.bright_bundle import TILE


def main(path: Path) -> dict[str, Any]:
    """Return the report that the test looks at."""
    api = api_of(tensorrt_bindings)
    device = SimulatedDevice(api.version, l4t=None, values=tensorrt_bindings)
    strict = StrictTensorRT(api, device.tensorrt, tensorrt_bindings)
    vendor = Vendor(strict, device.vendor.cuda, device, device.vendor.l4t, device.vendor.power_mode)
    bundle = load_bundle(path)
    calls = {}
    for precision in ("fp32", "fp16", "int8"):
        strict.calls.clear()
        built = build_engine(bundle, EngineOptions(precision, (1, 2, 3)), lambda *_: None, vendor=vendor)
        calls[precision] = list(strict.calls)
        for options in (
            TensorRtOptions(precision),
            TensorRtOptions(precision, "mapped", cuda_graphs=True),
        ):
            run(bundle, options, vendor)
    kept = known_apis()[".".join(api.version.split(".")[:2])]
    return {
        "version": api.version,
        "methods": sum(len(entry.methods) for entry in api.classes.values()),
        "kept_is_true": kept == api,
        "calls": calls,
        "half_share": built.sidecar.half_share,
        "binding_works": str(tensorrt_bindings.Dims((1, 2))) == "(1, 2)",
        "refused": refused(strict),
    }


def run(bundle: Bundle, options: TensorRtOptions, vendor: Vendor) -> None:
    """Answer full and partial batches, two of them under way at once; each must be right to the pixel."""
    noise = np.random.default_rng(0)
    with TensorRtEngine(bundle, bundle.contract(3), options, vendor) as engine:
        for counts in ((3, 1), (2, 3)):
            waiting = []
            for count in counts:
                batch = engine.buffer()
                tiles = noise.integers(0, 256, (count, TILE, TILE, 1), np.uint8)
                batch.tiles[:count] = tiles
                waiting.append((engine.submit(batch, count, np.array([0.5], np.float32)), tiles))
            for ticket, tiles in waiting:
                np.testing.assert_array_equal(engine.collect(ticket).classes, tiles[..., 0] >= 128)


def refused(trt: StrictTensorRT) -> dict[str, str]:
    """Make wrong calls of every kind; each answers with why it was refused, or with nothing where it was not."""
    device = SimulatedDevice(trt.api.version, values=tensorrt_bindings)
    module = StrictTensorRT(trt.api, device.tensorrt, tensorrt_bindings)

    class Listener(tensorrt_bindings.ILogger):  # type: ignore[misc]  # a class of the binding
        def __init__(self) -> None:
            tensorrt_bindings.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            del severity, message

    context = device.vendor.cuda.Device(0).retain_primary_context()
    context.push()
    builder = module.Builder(Listener())
    config = builder.create_builder_config()
    attempts = {
        "gone": lambda: module.wrap("ICudaEngine", object(), "engine").execute_async_v2,
        "too few": lambda: config.set_memory_pool_limit(tensorrt_bindings.MemoryPoolType.WORKSPACE),
        "too many": lambda: builder.create_network(0, 1),
        "keyword": lambda: builder.create_network(flag=0),
        "type": lambda: config.set_memory_pool_limit("WORKSPACE", 1),
        "number": lambda: config.set_memory_pool_limit(tensorrt_bindings.MemoryPoolType.WORKSPACE, 1.5),
        "property": lambda: setattr(config, "fp16_mode", True),
        "module": lambda: module.OnnxParserV2(None),
        "logger": lambda: module.Builder("logger"),
        "precision": lambda: setattr(module.wrap("ILayer", object(), "layer"), "precision", 1.0),
    }
    told = {name: why_refused(attempt) for name, attempt in attempts.items()}
    context.pop()
    return told


def why_refused(attempt: Callable[[], Any]) -> str:
    """Make a call; return why it was refused, or nothing."""
    try:
        attempt()
    except WrongCallError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))))
