"""Does an ONNX file keep the graph contract? Asked of every graph before it goes into a bundle.

The engines check names, dtypes and shapes again when they load a graph. Facts that only the file shows are checked
here. These are the Casts at its edges (TensorRT converts uint8 only to and from float). The file is whole by ONNX's own
full checker, holds its own weights, and uses no operator from outside ONNX.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.engines.onnx_scan import scan_onnx
from edge.errors import ContractError
from edge.records import GraphContract

MAX_OPSET = 17  # TensorRT 8.6 reads this
MAX_IR_VERSION = 10  # ONNX Runtime 1.18 reads this
EDGES = frozenset({"tiles", "thresholds", "classes", "scores"})
_DOMAINS = ("", "ai.onnx")


def check_graph(model: Path | bytes, contract: GraphContract) -> None:
    """Raise ContractError, with what was expected and received, unless `model` keeps the contract."""
    import onnx

    name = str(model) if isinstance(model, Path) else "The ONNX graph"
    raw = model.read_bytes() if isinstance(model, Path) else model
    try:
        proto = onnx.load_model_from_string(raw)
    except Exception as error:  # protobuf raises exceptions of many kinds
        raise _broken(name, "a serialised ONNX model", f"one that cannot be parsed ({error})") from error
    _check_versions(name, proto)
    _check_self_contained(name, proto)
    try:
        scan_onnx(raw, "it")  # as every engine does, before ONNX's checker looks for anything
    except ContractError as error:
        raise ContractError(f"{name} does not keep the graph contract: {error}") from error
    try:
        onnx.checker.check_model(proto, full_check=True)
        proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # ValidationError, InferenceError and protobuf's own
        raise _broken(name, "a graph that ONNX's full checker accepts", str(error)) from error
    _check_edges(name, proto.graph, contract)
    _check_casts(name, proto.graph)


def _broken(name: str, expected: str, received: str) -> ContractError:
    return ContractError(
        f"{name} does not keep the graph contract: expected {expected}, received {received}. "
        "Convert the bundle again: convert BUNDLE --to onnxruntime"
    )


def graphs_within(graph: Any) -> Iterator[Any]:
    """Yield a graph and all graphs nested in its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for nested in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from graphs_within(nested)


def names_within(graph: Any) -> set[str]:
    """Return what a graph and those nested in it call their values."""
    inner = list(graphs_within(graph))
    weights = {each.name for one in inner for each in one.initializer}
    return weights.union(*({*node.input, *node.output} for one in inner for node in one.node))


def _check_self_contained(name: str, proto: Any) -> None:
    """Refuse weights in other files (a path out of the bundle) and operators from other libraries (foreign code)."""
    from onnx import TensorProto

    if proto.functions:
        raise _broken(name, "no functions of its own", f"{[function.name for function in proto.functions]}")
    for graph in graphs_within(proto.graph):
        tensors = [
            *graph.initializer,
            *(a.t for node in graph.node for a in node.attribute if a.HasField("t")),
            *(tensor for node in graph.node for a in node.attribute for tensor in a.tensors),
            *(part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices)),
        ]
        if outside := sorted(t.name for t in tensors if t.data_location == TensorProto.EXTERNAL):
            raise _broken(name, "all weights inside the file", f"external data for {outside}")
        if foreign := sorted({node.domain for node in graph.node} - set(_DOMAINS)):
            raise _broken(name, "operators of the domain ai.onnx only", f"operators of {foreign}")


def _check_versions(name: str, proto: Any) -> None:
    opset = max((entry.version for entry in proto.opset_import if entry.domain in _DOMAINS), default=0)
    if opset > MAX_OPSET or proto.ir_version > MAX_IR_VERSION:
        raise _broken(
            name,
            f"at most opset {MAX_OPSET} and IR version {MAX_IR_VERSION}",
            f"opset {opset} and IR version {proto.ir_version}",
        )


def _check_edges(name: str, graph: Any, contract: GraphContract) -> None:
    """Compare names, dtypes and shapes of inputs and outputs."""
    frames = [str(contract.frames)] if contract.frames > 1 else []
    tile = ["N", *frames, *map(str, (contract.tile_height, contract.tile_width, contract.channels))]
    cells = ["N", *(str(size // contract.stride) for size in (contract.tile_height, contract.tile_width))]
    sides = {
        "inputs": (
            graph.input,
            {"tiles": f"UINT8 {_shape(tile)}", "thresholds": f"FLOAT [{len(contract.classes)}]"},
        ),
        "outputs": (graph.output, {"classes": f"UINT8 {_shape(cells)}", "scores": f"UINT8 {_shape(cells)}"}),
    }
    for side, (values, expected) in sides.items():
        found = {value.name: _words(value) for value in values}
        if found != expected:
            raise _broken(name, f"the {side} {_list(expected)}", _list(found))


def _words(value: Any) -> str:
    from onnx import TensorProto

    tensor = value.type.tensor_type
    sizes = [dim.dim_param or (str(dim.dim_value) if dim.HasField("dim_value") else "?") for dim in tensor.shape.dim]
    return f"{TensorProto.DataType.Name(tensor.elem_type)} {_shape(sizes)}"


def _shape(sizes: list[str]) -> str:
    return f"[{', '.join(sizes)}]"


def _list(values: dict[str, str]) -> str:
    return ", ".join(f"{name} {words}" for name, words in values.items()) or "none"


def _check_casts(name: str, graph: Any) -> None:
    """Require the first node on `tiles` to cast to float, and the last on each output from float to uint8."""
    from onnx import TensorProto

    for node in graph.node:
        if "tiles" in node.input and not _casts_to(node, TensorProto.FLOAT):
            raise _broken(name, "tiles to be read by a Cast to FLOAT only", f"the {node.op_type} {node.name!r}")
    dtypes = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    producers = {output: node for node in graph.node for output in node.output}
    for output in ("classes", "scores"):
        node = producers[output]
        source = dtypes.get(node.input[0], TensorProto.UNDEFINED) if node.input else TensorProto.UNDEFINED
        if not _casts_to(node, TensorProto.UINT8) or source != TensorProto.FLOAT:
            raise _broken(
                name,
                f"{output} to be written by a Cast from FLOAT to UINT8",
                f"the {node.op_type} {node.name!r} from {TensorProto.DataType.Name(source)}",
            )


def _casts_to(node: Any, dtype: int) -> bool:
    return node.op_type == "Cast" and any(a.name == "to" and a.i == dtype for a in node.attribute)
