"""A net of any exporter → the ONNX that a bundle holds.

That is opset 17, FP32, one file, any number of tiles of one size.

onnx's own converter goes up well and down badly. Resize 18 → 17 fails (onnx #8209); Gelu and GroupNormalization have
no way at all. So the way down is here, operator by operator. ONNX's full checker refuses an operator that is not
known here and is none of opset 17. The same answer is not believed but measured, against the file as given.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from converters.graph.contract import graphs_within
from converters.graph.float_graph import require_onnx
from edge.errors import ContractError

OPSET = 17
_DOMAINS = ("", "ai.onnx")
_REDUCTIONS = {
    *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd"),
    "ReduceSumSquare",
}
# New attributes of operators, and the value at which they change nothing; anything else is refused.
_NEUTRAL: dict[str, dict[str, Any]] = {
    "Resize": {"antialias": 0, "keep_aspect_ratio_policy": b"stretch", "axes": []},
    "AveragePool": {"dilations": "ones"},
    "Cast": {"saturate": 1, "round_mode": b"up"},
    "CastLike": {"saturate": 1, "round_mode": b"up"},
    "QuantizeLinear": {"saturate": 1, "block_size": 0, "output_dtype": 0, "precision": 0},
    "DequantizeLinear": {"block_size": 0, "output_dtype": 0},
    "Reshape": {"allowzero": 0},
}


def opset_of(proto: Any) -> int:
    """Return the opset of ONNX's own operators that a model states."""
    return max((entry.version for entry in proto.opset_import if entry.domain in _DOMAINS), default=0)


def lowered(proto: Any, name: str) -> Any:
    """Return a copy in opset 17 of an onnx.ModelProto without functions. Raises ContractError naming `name`."""
    onnx = require_onnx()
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    stated = opset_of(model)
    try:
        if stated < OPSET:
            model = onnx.version_converter.convert_version(model, OPSET)
        elif stated > OPSET:
            _go_down(model, stated)
        del model.opset_import[:]
        model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
        model.ir_version = 8
        del model.graph.value_info[:]
        _check(model)
    except ContractError:
        raise
    except Exception as error:  # the converter and the checker raise exceptions of many kinds
        raise ContractError(
            f"{name} is of opset {stated} and cannot be brought to opset {OPSET}, which TensorRT 8.6 reads: "
            f"{words_of(error)}. Export it again with opset {OPSET}"
        ) from error
    return model


def _check(model: Any) -> None:
    """Run ONNX's checker, which wants a shape of each answer; exporters may leave it out, so it is inferred first.

    Of an answer whose shape nothing tells, the checked copy says that it is a number.
    """
    import onnx

    lacking = [value.name for value in model.graph.output if not _has_shape(value)]
    if not lacking:
        onnx.checker.check_model(model)
        return
    known = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.output}
    for value in model.graph.output:
        if value.name in lacking:
            value.type.CopyFrom(known[value.name].type)
            if not value.type.tensor_type.elem_type:
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    for value in checked.graph.output:
        if not _has_shape(value):
            value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(checked)


def _has_shape(value: Any) -> bool:
    kind = value.type.WhichOneof("value")
    return kind is not None and (kind != "tensor_type" or value.type.tensor_type.HasField("shape"))


def words_of(error: Exception) -> str:
    """Return what a library says, where saying it works at all (tf2onnx quotes bytes that are no text)."""
    try:
        return " ".join(str(error).split())[:600]
    except (UnicodeError, ValueError):
        return type(error).__name__


def _go_down(model: Any, stated: int) -> None:
    for graph in graphs_within(model.graph):
        numbers = itertools.count()
        constants = {each.name: each for each in graph.initializer}
        constants |= {
            node.output[0]: a.t
            for node in graph.node
            if node.op_type == "Constant"
            for a in node.attribute
            if a.name == "value"
        }
        nodes: list[Any] = []
        for node in graph.node:
            adapt = _ADAPTERS.get(node.op_type)
            nodes += adapt(node, _Scope(graph, constants, numbers, stated)) if adapt else [node]
        for node in nodes:
            _drop_neutral(node)
        del graph.node[:]
        graph.node.extend(nodes)


class _Scope:
    """The scope of an adapter: the graph whose weights it may read and add to, and the opset that it comes from."""

    def __init__(self, graph: Any, constants: dict[str, Any], numbers: Iterator[int], stated: int) -> None:
        self.stated = stated
        self._graph = graph
        self._constants = constants
        self._numbers = numbers

    def values(self, node: Any, place: int) -> Any | None:
        """Return the constant that a node reads at a place, None where it reads none; refuse a computed one."""
        from onnx import numpy_helper

        if place >= len(node.input) or not node.input[place]:
            return None
        found = self._constants.get(node.input[place])
        if found is None:
            raise _refused(node, f"input {place} that is computed", "a constant")
        return numpy_helper.to_array(found)

    def weights(self, values: Any) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        name = self.new()
        tensor = numpy_helper.from_array(values, name)
        self._graph.initializer.append(tensor)
        self._constants[name] = tensor
        return name

    def new(self) -> str:
        """Return a name that nothing has."""
        return f"lowered/{next(self._numbers)}"


def _refused(node: Any, received: str, expected: str) -> ContractError:
    return ContractError(
        f"The operator {node.op_type} {node.name!r} cannot be brought to opset {OPSET}: expected {expected}, received "
        f"{received}. Export the model again with opset {OPSET}"
    )


def _attribute(node: Any, name: str, default: Any = None) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def _remove(node: Any, *names: str) -> None:
    kept = [a for a in node.attribute if a.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)


def _drop_neutral(node: Any) -> None:
    for name, neutral in _NEUTRAL.get(node.op_type, {}).items():
        found = _attribute(node, name)
        if found is None or (node.op_type == "Reshape" and name == "allowzero"):
            continue
        if neutral == "ones":
            same = all(each == 1 for each in found)
        else:
            same = (list(found) if isinstance(neutral, list) else found) == neutral
        if not same:
            raise _refused(node, f"{name} {found!r}", f"{name} {neutral!r}")
        _remove(node, name)


def _reduction(node: Any, scope: _Scope) -> list[Any]:
    """Make the axes an attribute again; they are an input since opset 18."""
    from onnx import helper

    axes = scope.values(node, 1)
    nothing = bool(_attribute(node, "noop_with_empty_axes", 0))
    if nothing and (axes is None or not axes.size):
        return [helper.make_node("Identity", [node.input[0]], list(node.output), name=node.name)]
    _remove(node, "noop_with_empty_axes")
    if axes is not None:
        del node.input[1:]
        if axes.size:
            node.attribute.append(helper.make_attribute("axes", [int(axis) for axis in axes]))
    return [node]


def _resize(node: Any, scope: _Scope) -> list[Any]:
    """Name all axes: some may be named alone since opset 18, and the others are scaled by 1."""
    axes = _attribute(node, "axes")
    if axes:
        scales, sizes = scope.values(node, 2), scope.values(node, 3)
        if scales is None or not scales.size or (sizes is not None and sizes.size) or sorted(axes) != [2, 3]:
            raise _refused(node, f"axes {list(axes)} with sizes", "scales of the axes 2 and 3")
        by_axis = dict(zip(axes, scales, strict=True))
        whole = np.array([by_axis.get(axis, 1.0) for axis in range(4)], np.float32)
        node.input[2] = scope.weights(whole)
        _remove(node, "axes")
    if _attribute(node, "coordinate_transformation_mode", b"half_pixel") == b"half_pixel_symmetric":
        raise _refused(node, "half_pixel_symmetric", "another mode")
    return [node]


def _split(node: Any, scope: _Scope) -> list[Any]:
    """Drop the number of equal pieces, known since opset 18; before, the outputs are counted."""
    del scope
    _remove(node, "num_outputs")
    return [node]


def _pad(node: Any, scope: _Scope) -> list[Any]:
    """Name all axes; since opset 18 some may be named alone. Others than 2 and 3 are refused."""
    axes = scope.values(node, 3)
    if axes is not None:
        pads = scope.values(node, 1)
        chosen = [int(axis) for axis in axes]
        if pads is None or any(axis not in (2, 3) for axis in chosen):
            raise _refused(node, f"axes {chosen}", "all axes, or the axes 2 and 3")
        whole = np.zeros(8, np.int64)
        for place, axis in enumerate(chosen):
            whole[axis], whole[axis + 4] = pads[place], pads[place + len(chosen)]
        node.input[1] = scope.weights(whole)
        del node.input[3:]
    if _attribute(node, "mode", b"constant") == b"wrap":
        raise _refused(node, "mode wrap", "constant, reflect or edge")
    return [node]


def _gelu(node: Any, scope: _Scope) -> list[Any]:
    """X / 2 (1 + erf(x / sqrt 2)), or with tanh(sqrt(2 / pi) (x + 0.044715 x^3)): onnx, operator Gelu."""
    x, answer = node.input[0], node.output[0]
    half, one = scope.weights(np.float32(0.5)), scope.weights(np.float32(1))
    chain = _Chain(scope)
    if _attribute(node, "approximate", b"none") == b"tanh":
        square = chain.add("Mul", x, x)
        cube = chain.add("Mul", square, x)
        bent = chain.add("Add", x, chain.add("Mul", cube, scope.weights(np.float32(0.044715))))
        inner = chain.add("Tanh", chain.add("Mul", bent, scope.weights(np.float32(math.sqrt(2 / math.pi)))))
    else:
        inner = chain.add("Erf", chain.add("Mul", x, scope.weights(np.float32(math.sqrt(0.5)))))
    chain.add("Mul", chain.add("Mul", x, half), chain.add("Add", inner, one), answer=answer)
    return chain.nodes


def _swish(node: Any, scope: _Scope) -> list[Any]:
    chain = _Chain(scope)
    x, alpha = node.input[0], _attribute(node, "alpha", 1.0)
    inner = x if alpha == 1 else chain.add("Mul", x, scope.weights(np.float32(alpha)))
    chain.add("Mul", x, chain.add("Sigmoid", inner), answer=node.output[0])
    return chain.nodes


def _mish(node: Any, scope: _Scope) -> list[Any]:
    chain = _Chain(scope)
    inner = chain.add("Tanh", chain.add("Softplus", node.input[0]))
    chain.add("Mul", node.input[0], inner, answer=node.output[0])
    return chain.nodes


def _group_normalization(node: Any, scope: _Scope) -> list[Any]:
    """Per group of channels to mean 0 and deviation 1, by InstanceNormalization; then scale and bias.

    Scale and bias are of each channel since opset 21, of each group in opset 18: onnx, operator GroupNormalization.
    """
    groups, epsilon = int(_attribute(node, "num_groups")), float(_attribute(node, "epsilon", 1e-5))
    scale, bias = scope.values(node, 1), scope.values(node, 2)
    if scale is None or bias is None or scope.stated < 21:
        raise _refused(node, f"opset {scope.stated}, where its scales are of groups", "opset 21 or later")
    chain = _Chain(scope)
    flat = chain.add("Reshape", node.input[0], scope.weights(np.array([0, groups, -1], np.int64)))
    ones, zeros = (scope.weights(np.full(groups, value, np.float32)) for value in (1, 0))
    normal = chain.add("InstanceNormalization", flat, ones, zeros, epsilon=epsilon)
    back = chain.add("Reshape", normal, chain.add("Shape", node.input[0]))
    spread = (1, -1, 1, 1)
    scaled = chain.add("Mul", back, scope.weights(scale.reshape(spread)))
    chain.add("Add", scaled, scope.weights(bias.reshape(spread)), answer=node.output[0])
    return chain.nodes


def _grid_sample(node: Any, scope: _Scope) -> list[Any]:
    """Rename the modes, called linear and cubic since opset 20; before, bilinear and bicubic."""
    from onnx import helper

    del scope
    mode = _attribute(node, "mode", b"linear").decode()
    _remove(node, "mode")
    older = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    node.attribute.append(helper.make_attribute("mode", older))
    return [node]


class _Chain:
    """Nodes that take one operator's place."""

    def __init__(self, scope: _Scope) -> None:
        self.nodes: list[Any] = []
        self._scope = scope

    def add(self, operator: str, *inputs: str, answer: str | None = None, **attributes: Any) -> str:
        """Add a node; return the name of its answer."""
        from onnx import helper

        name = answer or self._scope.new()
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=f"{operator}/{name}", **attributes))
        return name


_ADAPTERS: dict[str, Callable[[Any, _Scope], list[Any]]] = {
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "Resize": _resize,
    "Split": _split,
    "Pad": _pad,
    "Gelu": _gelu,
    "Swish": _swish,
    "Mish": _mish,
    "GroupNormalization": _group_normalization,
    "GridSample": _grid_sample,
}


def widened(model: Any) -> Any:
    """Let a model that computes in FP16, BF16 or FP64 compute in FP32, in place: precision is chosen apart."""
    from onnx import TensorProto, numpy_helper

    other = {TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
    for graph in graphs_within(model.graph):
        attributes = [attribute for node in graph.node for attribute in node.attribute]
        for tensor in [*graph.initializer, *(each.t for each in attributes if each.HasField("t"))]:
            if tensor.data_type in other:
                values = numpy_helper.to_array(tensor).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        for attribute in attributes:
            if attribute.name in {"to", "dtype"} and attribute.i in other:
                attribute.i = TensorProto.FLOAT
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type in other:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
    return model


def free_batch(model: Any, batch: int | None, sizes: tuple[int, ...]) -> Any:
    """Give the one input `sizes` after a free batch, in place, though the exporter fixed it at `batch`.

    Reshapings that name the batch are told to copy it.
    """
    from onnx import numpy_helper

    graph = model.graph
    constants = {each.name: each for each in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    dims = inputs[0].type.tensor_type.shape.dim
    for place, dim in enumerate(dims):
        dim.Clear()
        if place:
            dim.dim_value = sizes[place - 1]
        else:
            dim.dim_param = "N"
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    del graph.value_info[:]
    if batch is None:
        return model
    numbers = itertools.count()
    made = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        if node.op_type != "Reshape" or len(node.input) < 2:
            continue
        tensor = constants.get(node.input[1])
        if tensor is None and node.input[1] in made:
            tensor = next((a.t for a in made[node.input[1]].attribute if a.name == "value"), None)
        if tensor is None:
            continue
        shape = numpy_helper.to_array(tensor).copy()
        if shape.size and shape[0] == batch and not any(a.name == "allowzero" and a.i for a in node.attribute):
            shape[0] = 0
            name = f"batch/{next(numbers)}"
            graph.initializer.append(numpy_helper.from_array(shape, name))
            node.input[1] = name
    return model


def only_output(model: Any, name: str) -> Any:
    """Let a model answer one of its outputs only, in place; parts that only the others need go."""
    graph = model.graph
    kept = [value for value in graph.output if value.name == name]
    del graph.output[:]
    graph.output.extend(kept)
    needed = {name}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(node.input)
            for attribute in node.attribute:  # the outer names that branches read
                for nested in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                    needed.update(read for inner in graphs_within(nested) for n in inner.node for read in n.input)
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    used = [each for each in graph.initializer if each.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(used)
    inputs = [value for value in graph.input if value.name in needed]
    del graph.input[:]
    graph.input.extend(inputs)
    return model
