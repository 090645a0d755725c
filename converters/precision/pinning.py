"""The nodes that stay in FP32 by rule, before anything is searched: what overflows, statistics, last activation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.graph.float_graph import FloatGraph
from converters.precision.tensor_ranges import TensorRange, beyond_half

# Real tiles that were seen are not all that will be: twice what was seen must still fit.
MARGIN = 2.0
_MEANS = {"GlobalAveragePool", "ReduceMean", "ReduceSum", "AveragePool"}
_NORMALISATIONS = {"InstanceNormalization", "LayerNormalization", "GroupNormalization", "LpNormalization"}
_ACTIVATIONS = {
    *("Div", "Exp", "Identity", "Mul", "Reciprocal", "ReduceMax", "ReduceSum", "Reshape", "Sigmoid", "Slice"),
    *("Softmax", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze"),
}
# Operators between a variance and its square root: epsilon, and guards against a negative one.
_AROUND_VARIANCE = {"Add", "Clip", "Max", "Relu", "Reshape"}
_HEAD = "head/"
_FINAL = ("classes", "scores")


@dataclass(frozen=True)
class RulePins:
    """Reasons by node. `needed`: never given up. `groups`: what the search may give up, a whole group at a time."""

    needed: dict[str, str]
    groups: tuple[dict[str, str], ...]

    @property
    def all(self) -> dict[str, str]:
        """Every pin of the rules."""
        return {**{node: reason for group in self.groups for node, reason in group.items()}, **self.needed}


def pins_by_rule(graph: FloatGraph, ranges: Mapping[str, TensorRange]) -> RulePins:
    """Apply the rules to a graph of the contract whose tensors held `ranges` on real tiles. Pure."""
    candidates = set(graph.candidates)
    needed = {name: reason for name, reason in _overflowing(graph, ranges) if name in candidates}
    needed |= {name: "the head decides defects" for name in graph.candidates if _is_head(name) and name not in needed}
    taken = set(needed)
    groups = []
    for group in [*_statistics(graph), _last_activation(graph)]:
        fresh = {name: reason for name, reason in group.items() if name in candidates and name not in taken}
        taken.update(fresh)
        if fresh:
            groups.append(fresh)
    return RulePins(needed, tuple(groups))


def _is_head(name: str) -> bool:
    return name.startswith(_HEAD) or name in _FINAL


def _overflowing(graph: FloatGraph, ranges: Mapping[str, TensorRange]) -> Iterable[tuple[str, str]]:
    """Yield the nodes that write, and those that read, a tensor too large for halves, and those with such weights."""
    for node in graph.nodes:
        for name in graph.float_outputs(node):
            if beyond_half(ranges[name].magnitude, MARGIN):
                size = f"{ranges[name].magnitude:.6g}"
                yield node.name, f"overflows: it answers up to {size}"
                for reader in graph.readers.get(name, []):
                    yield reader.name, f"overflows: it reads up to {size}"
        for name in node.input:
            if name in graph.weights:
                largest = float(np.abs(graph.values(name)).max(initial=0.0))
                if beyond_half(largest, 1.0):
                    yield node.name, f"overflows: its weights reach {largest:.6g}"


def _statistics(graph: FloatGraph) -> Iterable[dict[str, str]]:
    """Yield, per normalisation layer, the nodes that compute mean and deviation.

    Keras writes them as mean → difference → square → mean → + epsilon → square root → reciprocal. So the pattern is
    found from the square root back to both means.
    """
    for node in graph.nodes:
        if node.op_type in _NORMALISATIONS:
            yield {node.name: "normalisation statistics"}
        if node.op_type == "Sqrt" and (means := _back_to_means(graph, node)):
            after = [reader for reader in graph.readers.get(node.output[0], []) if reader.op_type == "Reciprocal"]
            yield {member.name: "normalisation statistics" for member in [*means, node, *after]}


def _back_to_means(graph: FloatGraph, root: Any) -> list[Any]:
    """List what leads to a square root: the mean, the difference, its square, the variance, + epsilon; or nothing."""
    found: list[Any] = []
    node = _maker_of_first(graph, root)
    while node is not None and node.op_type in _AROUND_VARIANCE:
        found.append(node)
        node = _maker_of_first(graph, node)
    if node is None or node.op_type not in _MEANS:
        return []
    found.append(node)
    square = _maker_of_first(graph, node)
    if square is None or square.op_type not in {"Mul", "Pow"}:
        return found
    found.append(square)
    difference = _maker_of_first(graph, square)
    if difference is None or difference.op_type != "Sub":
        return found
    found.append(difference)
    for name in difference.input:
        mean = graph.maker.get(name)
        shaped = [mean] if mean is not None and mean.op_type == "Reshape" else []
        if shaped:
            mean = _maker_of_first(graph, mean)
        if mean is not None and mean.op_type in _MEANS:
            found += [*shaped, mean]
    return found


def _maker_of_first(graph: FloatGraph, node: Any) -> Any | None:
    """Return the node that makes the first input of `node` that a node makes."""
    return next((graph.maker[name] for name in node.input if name in graph.maker), None)


def _last_activation(graph: FloatGraph) -> dict[str, str]:
    """Return what lies between the last weights and the head: the softmax or sigmoid, and what shapes it."""
    found: set[str] = set()
    waiting = [name for node in graph.nodes if _is_head(node.name) for name in node.input]
    while waiting:
        maker = graph.maker.get(waiting.pop())
        if maker is None or maker.name in found or _is_head(maker.name) or maker.op_type not in _ACTIVATIONS:
            continue
        found.add(maker.name)
        waiting += list(maker.input)
    return {node.name: "the last activation" for node in graph.nodes if node.name in found}
