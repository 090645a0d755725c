"""Functions that a model brings along, as some exporters write each layer: put in the place where they are called."""

from __future__ import annotations

from typing import Any

from converters.foreign.external_data import external_tensors
from converters.graph.contract import graphs_within
from converters.graph.float_graph import require_onnx
from edge.errors import ContractError

# Functions that call each other twice unfold without end; no net has so many nodes.
_NODES_AT_MOST = 200_000
_OWN_DOMAINS = ("", "ai.onnx")


def without_functions(proto: Any, name: str) -> Any:
    """Return an onnx.ModelProto whose own functions are part of its graph. Raises ContractError naming `name`."""
    require_onnx()
    if not proto.functions:
        return proto
    _check_harmless(proto.functions, name)
    _Unfolding(proto.functions, name).check(proto.graph)
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(proto)
    except Exception as error:  # the inliner raises exceptions of many kinds
        raise ContractError(
            f"{name} has functions of its own that cannot be put in their places: {' '.join(str(error).split())[:300]}."
            " Export it with plain ONNX operators"
        ) from error


def _check_harmless(functions: Any, name: str) -> None:
    """Refuse functions that stand in for ONNX's own operators, and weights in other files, also where none calls."""
    from onnx import GraphProto, ModelProto

    for function in functions:
        if function.domain in _OWN_DOMAINS:
            raise ContractError(
                f"{name} has a function in the place of ONNX's own operator {function.name!r}; expected functions of "
                "a domain of their own. Export it again"
            )
        if external_tensors(ModelProto(graph=GraphProto(node=function.node))):
            raise ContractError(
                f"{name} has the function {function.name!r} with weights in another file; expected them in the model. "
                "Export it with its weights inside"
            )


class _Unfolding:
    """The number of nodes that the functions come to, counted once for each."""

    def __init__(self, functions: Any, name: str) -> None:
        self._functions = {(each.domain, each.name): each for each in functions}
        self._name = name
        self._sizes: dict[tuple[str, str], int] = {}
        self._open: set[tuple[str, str]] = set()

    def check(self, graph: Any) -> None:
        """Raise ContractError for functions that call themselves, and for too many nodes."""
        self._size([node for inner in graphs_within(graph) for node in inner.node])

    def _size(self, nodes: Any) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            total += self._of(key) if key in self._functions else 1
            if total > _NODES_AT_MOST:
                raise ContractError(
                    f"{self._name} has functions that unfold into more than {_NODES_AT_MOST:,} nodes; expected a "
                    "net. Export it with plain ONNX operators"
                )
        return total

    def _of(self, key: tuple[str, str]) -> int:
        if key in self._open or len(self._open) > 100:
            raise ContractError(
                f"{self._name} has the function {key[1]!r}, which calls itself or lies too deep; expected plain ONNX "
                "operators. Export it again"
            )
        if key not in self._sizes:
            self._open.add(key)
            inside = list(self._functions[key].node)
            inside += [
                node
                for outer in self._functions[key].node
                for attribute in outer.attribute
                if attribute.HasField("g")
                for graph in graphs_within(attribute.g)
                for node in graph.node
            ]
            self._sizes[key] = self._size(inside)
            self._open.remove(key)
        return self._sizes[key]
