"""INT8: ranges on real tiles → Q/DQ graph → its loss on real pictures → the nodes that have to stay in FP32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from converters.comparison.real_tiles import Pictures, real_tiles
from converters.graph.contract import check_graph
from converters.graph.float_graph import FloatGraph
from converters.precision.int8_graph import int8_graph, quantisable
from converters.precision.judging import DecidedPrecision, Judge
from converters.precision.plan import Pin, PrecisionPlan, variant_of
from converters.precision.search import Measurements, measured_about, minimal, search_file
from converters.precision.tensor_ranges import NodeDone, TensorRange, full_ranges
from edge.bundle import Bundle, sha256_of
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.errors import ConversionError

TILES = 64  # whose ranges set the scales, spread over all pictures
_SEARCHED = "needed to keep what is found"


@dataclass(frozen=True)
class Quantised(DecidedPrecision):
    """A model in INT8. `quantised`: how many nodes are; the plan's pins are the others that could have been."""

    quantised: int

    def report(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {**super().report(), "quantised": self.quantised}


def to_int8(
    bundle: Bundle,
    pictures: Pictures,
    max_changed_share: float,
    progress: NodeDone[Any],
    backend: Literal["onnxruntime", "openvino"] = "onnxruntime",
) -> Quantised:
    """Quantise as much of model.onnx as leaves the defects on real pictures as they are.

    They are counted on the `backend` that is to run it.

    `pictures`: those whose tiles set the scales, and those that defects are counted on.
    Raises ConversionError where nothing can be quantised without losing or gaining one.
    """
    shown, judged = pictures
    graph = FloatGraph(bundle.onnx_path)
    graph.require_plain()
    nodes = quantisable(graph)
    if not nodes:
        raise ConversionError(f"{bundle.onnx_path} has no convolution or matrix product to quantise; use fp32 or fp16")
    thresholds = [entry.threshold for entry in bundle.classes]
    ranges = full_ranges(graph, real_tiles(bundle, shown, TILES), thresholds, progress)
    variant = variant_of("int8", backend)
    opener = OpenVinoEngine if backend == "openvino" else OnnxRuntimeEngine
    judge = Judge(bundle, judged, max_changed_share, progress, opener)
    measurements = Measurements(search_file(bundle, variant), measured_about(bundle, judge.searched, max_changed_share))
    search = _Search(graph, ranges, judge, measurements)
    excepted = minimal(search.fails, frozenset(), [frozenset({name}) for name in nodes])
    if excepted == set(nodes):
        raise ConversionError(_refusal(bundle, search.failures(frozenset())))
    quantised = int8_graph(graph, ranges, excepted)
    check_graph(quantised, bundle.contract(1))
    comparison = judge.compare_graph(quantised, "Comparing in INT8")
    if failures := comparison.failures(max_changed_share):
        raise ConversionError(_refusal(bundle, failures))
    measurements.forget()
    pins = tuple(Pin(name, _SEARCHED) for name in nodes if name in excepted)
    plan = PrecisionPlan("int8", sha256_of(bundle.onnx_path), pins)
    return Quantised(plan, quantised, comparison, search.measured, measurements.reused, variant, len(nodes) - len(pins))


def _refusal(bundle: Bundle, failures: list[str]) -> str:
    return (
        f"In INT8 the model differs from {bundle.onnx_path}: {'; '.join(failures)}. The bundle was left as it was. "
        "Name more real pictures with --calibration, or use --precision fp16; where the pictures show that such pixels "
        "do not matter, raise --max-changed-pixels"
    )


class _Search:
    """Asks what is wrong where some nodes are excepted."""

    def __init__(
        self, graph: FloatGraph, ranges: Mapping[str, TensorRange], judge: Judge, measurements: Measurements
    ) -> None:
        self._graph = graph
        self._ranges = ranges
        self._judge = judge
        self._measurements = measurements
        self._all = frozenset(quantisable(graph))
        self.measured = 0

    def fails(self, excepted: frozenset[str]) -> bool:
        """Tell whether a defect is lost or gained, or too many pixels change, where `excepted` stay in FP32."""
        return bool(self.failures(excepted))

    def failures(self, excepted: frozenset[str]) -> list[str]:
        """Say what is wrong."""
        if excepted == self._all:  # model.onnx itself
            return []
        self.measured += 1
        return self._measurements.get(
            excepted, lambda wanted: self._judge.searched_failures(int8_graph(self._graph, self._ranges, wanted))
        )
