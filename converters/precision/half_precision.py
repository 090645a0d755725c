"""FP16, decided once for every TensorRT: ranges on real tiles → emulation → pins → the typed graph and its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.comparison.real_tiles import Pictures, real_tiles
from converters.graph.contract import check_graph
from converters.graph.float_graph import FloatGraph
from converters.precision.half_emulation import emulated
from converters.precision.half_graph import half_graph
from converters.precision.judging import DecidedPrecision, Judge
from converters.precision.pinning import RulePins, pins_by_rule
from converters.precision.plan import Pin, PrecisionPlan
from converters.precision.search import Measurements, measured_about, minimal, search_file
from converters.precision.tensor_ranges import NodeDone, NodeReport, full_ranges, half_report
from edge.bundle import Bundle, sha256_of
from edge.errors import ConversionError
from edge.wording import counted

TILES = 32  # whose tensors are looked at, spread over all pictures
# Fewer defects say too little to give up a pin that a rule asks for.
DEFECTS_TO_GIVE_UP_PINS = 20
_SEARCHED = "needed to keep what is found"


@dataclass(frozen=True)
class Half(DecidedPrecision):
    """A model in half precision. `without_pins`, `nodes`: every node before and after pinning."""

    without_pins: tuple[NodeReport, ...]
    nodes: tuple[NodeReport, ...]

    def report(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {
            **super().report(),
            "without_pins": [node.as_dict() for node in self.without_pins],
            "nodes": [node.as_dict() for node in self.nodes],
        }


def to_half(bundle: Bundle, pictures: Pictures, max_changed_share: float, progress: NodeDone[Any]) -> Half:
    """Decide which nodes of model.onnx stay in FP32, and write the others in FP16.

    `pictures`: those whose tiles show the ranges, and those that defects are counted on.
    Raises ConversionError where no choice of pins keeps the defects, or where the model answers no finite numbers.
    """
    shown, judged = pictures
    graph = FloatGraph(bundle.onnx_path)
    graph.require_plain()
    thresholds = [entry.threshold for entry in bundle.classes]
    tiles = real_tiles(bundle, shown, TILES)
    ranges = full_ranges(graph, tiles, thresholds, progress)
    without_pins = half_report(graph, ranges, {}, (tiles, thresholds), progress)
    rules = pins_by_rule(graph, ranges)
    judge = Judge(bundle, judged, max_changed_share, progress)
    measurements = Measurements(search_file(bundle, "fp16"), measured_about(bundle, judge.searched, max_changed_share))
    search = _Search(graph, judge, measurements)
    pins = search.pins(rules)
    nodes = half_report(graph, ranges, pins, (tiles, thresholds), progress)
    if broken := [node for node in nodes if node.overflows or node.not_finite]:
        raise ConversionError(
            f"In FP16 {broken[0].operation} {broken[0].node!r} overflows on real tiles though its FP32 answers reach "
            f"only {broken[0].largest:.6g}. The bundle was left as it was; use --precision fp32"
        )
    comparison = judge.compare_graph(emulated(graph, set(pins)), "Comparing in FP16")
    if failures := comparison.failures(max_changed_share):
        raise ConversionError(
            f"In FP16 the model differs from {bundle.onnx_path} on {counted(comparison.pictures, 'picture')}: "
            f"{'; '.join(failures)}. The bundle was left as it was. Use --precision fp32; where the pictures show "
            "that such pixels do not matter, raise --max-changed-pixels"
        )
    typed = half_graph(graph, set(pins))
    check_graph(typed, bundle.contract(1))
    measurements.forget()
    order = {node.name: place for place, node in enumerate(graph.nodes)}
    plan = PrecisionPlan(
        "fp16",
        sha256_of(bundle.onnx_path),
        tuple(Pin(node, pins[node]) for node in sorted(pins, key=order.__getitem__)),
    )
    return Half(
        plan, typed, comparison, search.measured, measurements.reused, "fp16", tuple(without_pins), tuple(nodes)
    )


class _Search:
    """Looks for the fewest pins under which no defect is lost or gained in the emulation."""

    def __init__(self, graph: FloatGraph, judge: Judge, measurements: Measurements) -> None:
        self._graph = graph
        self._judge = judge
        self._measurements = measurements
        self.measured = 0

    def pins(self, rules: RulePins) -> Mapping[str, str]:
        """Return reasons by node: the rules' pins less those that do not matter, or more where they do not suffice."""
        needed, soft = frozenset(rules.needed), [frozenset(group) for group in rules.groups]
        every = needed.union(*soft)
        if self._failures(every):
            return self._more(rules, every)
        if self._judge.defects < DEFECTS_TO_GIVE_UP_PINS:
            return rules.all
        kept = needed | minimal(lambda pins: bool(self._failures(pins)), needed, soft)
        return {name: reason for name, reason in rules.all.items() if name in kept}

    def _more(self, rules: RulePins, every: frozenset[str]) -> Mapping[str, str]:
        others = [frozenset({name}) for name in self._graph.candidates if name not in every]
        if failures := self._failures(every.union(*others)):
            raise ConversionError(
                f"Even with every node in FP32 the emulated graph differs: {'; '.join(failures)}. This should not be; "
                "the bundle was left as it was"
            )
        added = minimal(lambda pins: bool(self._failures(pins)), every, others)
        return {**rules.all, **dict.fromkeys(added, _SEARCHED)}

    def _failures(self, pins: frozenset[str]) -> list[str]:
        self.measured += 1
        return self._measurements.get(pins, lambda wanted: self._judge.searched_failures(emulated(self._graph, wanted)))
