"""The calls of a build on another version of TensorRT, told without any: the build itself, on a strict stand-in."""

from __future__ import annotations

from pathlib import Path

from converters.tensorrt.api import known_apis
from converters.tensorrt.building import EngineOptions, order_of, source_of
from converters.tensorrt.dialects import dialect_of
from converters.tensorrt.network import build_plan
from converters.tensorrt.strict import StrictTensorRT, values_of
from edge.bundle import Bundle, HashedFile
from edge.engines.device import current_context
from edge.engines.onnx_scan import read_onnx
from edge.errors import SettingsError
from edge.simulation.device import SimulatedDevice

_MB = 1 << 20


class _HalfOfFree(int):
    """A workspace whose size only the device knows."""

    def __repr__(self) -> str:
        return "<half of the device's free memory>"


class _Content(bytes):
    """A graph that is shown by its file's name."""

    path: Path

    def __repr__(self) -> str:
        return f"<bytes of {self.path}>"


def planned_calls(bundle: Bundle, version: str, options: EngineOptions) -> list[str]:
    """List the calls that a build of this bundle would make on TensorRT `version` (8.6, 10.3, 10.13, 10.16 or 11.4).

    They are those of `build_plan` itself, checked against that version's signatures. Raises SettingsError for a version
    whose signatures are not known, BundleError where the bundle lacks the graph of this precision.
    """
    apis = known_apis()
    api = apis.get(".".join(version.split(".")[:2]))
    if api is None:
        known = ", ".join(sorted(apis, key=lambda name: [int(part) for part in name.split(".")]))
        raise SettingsError(f"--for: expected one of {known}, whose signatures are known; received {version}")
    dialect = dialect_of(api.version)
    workspace = _HalfOfFree(_MB) if options.workspace_mb is None else options.workspace_mb * _MB
    source = source_of(bundle, options.precision, dialect)
    graph = _Content(read_onnx(HashedFile(source.graph, source.graph_sha256), "TensorRT cannot read"))
    graph.path = source.graph
    order = order_of(bundle, options, (source, graph), workspace)
    values = values_of(api)
    device = SimulatedDevice(api.version, values=values)
    strict = StrictTensorRT(api, device.tensorrt, values)
    with current_context(device.vendor):
        build_plan(strict, dialect, order, lambda *_: None)
    return strict.calls
