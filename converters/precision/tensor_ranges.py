"""The range of every tensor of a graph on real tiles, and what a half would make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from converters.graph.float_graph import HALF_MAX, FloatGraph, rounds
from converters.precision.half_emulation import RAW, emulated
from edge.errors import ConversionError, DependencyError, EngineError
from edge.installing import how_to_install
from edge.records import Float32, UInt8
from edge.wording import counted

Item = TypeVar("Item")
NodeDone = Callable[[Iterable[Item], str], Iterable[Item]]  # wraps what is gone through; the text says what it is
# A half rounds a value below this to zero, and at least that to infinity.
_TO_ZERO_BELOW = 2.0**-25
_TO_INFINITY_FROM = 65520.0
_OUTPUT_BYTES_AT_ONCE = 256e6  # of the tensors of one tile, before they are fetched in several runs


@dataclass(frozen=True)
class TensorRange:
    """The values of one tensor. `magnitude`: largest absolute value, of finite ones; `values`: how many were seen.

    `overflows`: finite values that a half would make infinite. `underflows`: others than 0 that it would make 0.
    `not_finite`: infinite or no number.
    """

    smallest: float
    largest: float
    values: int
    overflows: int
    underflows: int
    not_finite: int

    @property
    def magnitude(self) -> float:
        """The largest absolute value."""
        return max(abs(self.smallest), abs(self.largest))

    def plus(self, other: TensorRange) -> TensorRange:
        """Return both as one."""
        return TensorRange(
            min(self.smallest, other.smallest),
            max(self.largest, other.largest),
            self.values + other.values,
            self.overflows + other.overflows,
            self.underflows + other.underflows,
            self.not_finite + other.not_finite,
        )


def range_of(values: Float32) -> TensorRange:
    """Describe one float32 array of any shape."""
    finite = np.isfinite(values)
    known = values if finite.all() else values[finite]
    magnitude = np.abs(known)
    return TensorRange(
        smallest=float(known.min(initial=np.inf)) if known.size else 0.0,
        largest=float(known.max(initial=-np.inf)) if known.size else 0.0,
        values=values.size,
        overflows=int(np.count_nonzero(magnitude >= _TO_INFINITY_FROM)),
        underflows=int(np.count_nonzero((magnitude <= _TO_ZERO_BELOW) & (magnitude > 0))),
        not_finite=int(values.size - known.size),
    )


@dataclass(frozen=True)
class NodeReport:
    """One node in half precision. `largest`: absolute value in FP32. The counts are of its answers in halves.

    `overflows`: became infinite here. `underflows`: share of the answers that became 0 here, 0-1. `not_finite`:
    infinite or no number, from here or from before. `pinned`: why it stays in FP32, or "".
    """

    node: str
    operation: str
    largest: float
    overflows: int
    underflows: float
    not_finite: int
    pinned: str = ""

    @property
    def troubled(self) -> bool:
        """Tell whether people should look at it."""
        return bool(self.overflows or self.not_finite or self.pinned or self.underflows > 0.01)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for a report."""
        return asdict(self)


def observe(
    model: bytes, names: Sequence[str], tiles: Iterable[UInt8], thresholds: Sequence[float]
) -> dict[str, TensorRange]:
    """Run a graph of the contract on tiles, one by one, and return the range of every named tensor.

    Raises EngineError with ONNX Runtime's words.
    """
    ranges: dict[str, TensorRange] = {}
    if not names:  # ONNX Runtime would answer every output
        return {}
    groups: list[list[str]] = [list(names)]
    session = _session(model, names)
    asked = np.array(thresholds, np.float32)
    for tile in tiles:
        size = 0
        for group in groups:
            try:
                answers = session.run(group, {"tiles": tile[None], "thresholds": asked})
            except Exception as error:  # ONNX Runtime raises bare exceptions of many kinds
                raise EngineError(f"ONNX Runtime failed while the ranges were measured: {error}") from error
            for name, values in zip(group, answers, strict=True):
                found = range_of(values)
                ranges[name] = ranges[name].plus(found) if name in ranges else found
                size += values.nbytes
        runs = int(size // _OUTPUT_BYTES_AT_ONCE) + 1
        if runs > len(groups):
            groups = [list(names[start::runs]) for start in range(runs)]
    return ranges


def _session(model: bytes, names: Sequence[str]) -> Any:
    import onnx

    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            f"Ranges are measured with ONNX Runtime, and `import onnxruntime` failed: {error}. "
            f"{how_to_install('onnxruntime', extra='convert')}"
        ) from error
    proto = onnx.load_model_from_string(model)
    known = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def full_ranges(
    graph: FloatGraph, tiles: UInt8, thresholds: Sequence[float], progress: NodeDone[Any]
) -> dict[str, TensorRange]:
    """Return the range of every float tensor that a node writes, in FP32.

    Raises ConversionError where the model answers anything that is no finite number: no precision would mend it.
    """
    names = [name for node in graph.nodes for name in graph.float_outputs(node)]
    ranges = observe(graph.model.SerializeToString(), names, progress(list(tiles), "Measuring ranges"), thresholds)
    if broken := [name for name in names if ranges[name].not_finite]:
        node = graph.maker[broken[0]]
        raise ConversionError(
            f"The model answers what is no finite number on real tiles, first in {node.op_type} {node.name!r} "
            f"({ranges[broken[0]].not_finite} of {counted(ranges[broken[0]].values, 'value')}). Expected finite "
            f"numbers "
            "throughout. The bundle was left as it was; train the model again"
        )
    return ranges


def half_report(
    graph: FloatGraph,
    ranges: Mapping[str, TensorRange],
    pins: Mapping[str, str],
    shown: tuple[UInt8, Sequence[float]],
    progress: NodeDone[Any],
) -> list[NodeReport]:
    """Say of every node that could compute in halves what happens there.

    `pins`: reasons by node. `shown`: the tiles and the thresholds to look at.
    """
    tiles, thresholds = shown
    half = set(graph.candidates) - set(pins)
    watched: dict[str, str] = {}  # tensor to watch, by the name that the graph knows it by
    for node in graph.nodes:
        if node.name in half:
            suffix = RAW if rounds(node) else ""
            watched |= {name: f"{name}{suffix}" for name in graph.float_outputs(node)}
    model = emulated(graph, set(pins))
    found = observe(model, list(watched.values()), progress(list(tiles), "Emulating FP16"), thresholds)
    reports = []
    for node in graph.nodes:
        if node.name not in graph.candidates:
            continue
        own = [found[watched[name]] for name in graph.float_outputs(node) if name in watched]
        values = sum(each.values for each in own) or 1
        reports.append(
            NodeReport(
                node.name,
                node.op_type,
                largest=max((ranges[name].magnitude for name in graph.float_outputs(node)), default=0.0),
                overflows=sum(each.overflows for each in own),
                underflows=sum(each.underflows for each in own) / values,
                not_finite=sum(each.not_finite for each in own),
                pinned=pins.get(node.name, ""),
            )
        )
    return reports


def beyond_half(magnitude: float, margin: float) -> bool:
    """Tell whether a magnitude, with a margin for tiles not seen, is beyond the largest half."""
    return magnitude * margin > HALF_MAX
