"""Channels stay where convolutions want them: the transpositions that exporters leave in the middle are moved out.

Keras computes [N, H, W, C], ONNX convolves [N, C, H, W]. tf2onnx turns the nodes between convolutions, but stops where
Keras reshapes. So a softmax over every pixel ran between two transpositions of the whole map. Here

    elementwise(to_last(a), to_last(b))  becomes  to_last(elementwise(a, b)),   and   to_first(to_last(a))  becomes  a

(at the entry the other way round: to_first moves up towards the tiles), until nothing moves any more. A reshaping that
only moves a dimension of size 1 counts as a transposition on the way. It is a reshaping again at the end, since that
costs nothing. No arithmetic changes: the same numbers are computed in another order of memory.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

_TO_LAST = (0, 2, 3, 1)
_TO_FIRST = (0, 3, 1, 2)
_ELEMENTWISE = {
    *("Abs", "Add", "Cast", "Clip", "Div", "Exp", "Identity", "LeakyRelu", "Max", "Min", "Mul", "Neg", "Pow"),
    *("Reciprocal", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh"),
}
_Shape = tuple[int | None, ...]  # None: the batch, or unknown


def channels_first(net: Any, opset: int) -> Any:
    """Return an onnx.GraphProto that computes what `net` does, with as few transpositions inside as can be.

    `net` is a float graph of one input [N, …] and one output; its nodes stand in topological order and stay so.
    """
    layout = _Layout(net, opset)
    layout.reshapings_to_transpositions()
    while layout.sink() or layout.lift() or layout.cancel():
        layout.tidy()
    layout.transpositions_to_reshapings()
    layout.tidy()
    return layout.net


class _Layout:
    """One graph under change; shapes are those of the tensors, by name, and are kept up to date."""

    def __init__(self, net: Any, opset: int) -> None:
        import onnx
        from onnx import helper, numpy_helper

        self._helper = helper
        self._numpy = numpy_helper
        model = helper.make_model(net, opset_imports=[helper.make_opsetid("", opset)])
        self.net = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self._numbers = itertools.count()
        self._shapes: dict[str, _Shape] = {
            value.name: tuple(
                dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
            )
            for value in [*self.net.value_info, *self.net.input, *self.net.output]
        }
        self._weights = {weights.name: numpy_helper.to_array(weights) for weights in self.net.initializer}
        for name, values in self._weights.items():
            self._shapes[name] = values.shape

    # ------------------------------------------------------------------------------------------------ the moves

    def reshapings_to_transpositions(self) -> None:
        """Say of every reshaping that moves a dimension of size 1 that it is a transposition."""
        for node in list(self.net.node):
            if node.op_type != "Reshape":
                continue
            before, after = self._shapes.get(node.input[0], ()), self._shapes.get(node.output[0], ())
            if len(after) != 4 or None in after[1:] or None in before[1:] or len(before) < 2:
                continue
            if len(before) == 4 and 1 in before[1:]:
                for perm in (_TO_LAST, _TO_FIRST):
                    moved = tuple(before[place] for place in perm)
                    if moved[1:] == after[1:] and _same_order(before, perm):
                        self._replace(node, [self._transpose(node.input[0], perm, node.output[0])])
                        break
            elif len(before) == 2 and after[1:] == (1, 1, before[1]):
                planes = self._new((before[0], before[1], 1, 1))
                grown = self._reshape(node.input[0], (0, int(before[1] or 0), 1, 1), planes)
                self._replace(node, [grown, self._transpose(planes, _TO_LAST, node.output[0])])

    def sink(self) -> bool:
        """Move one to_last behind the elementwise operation that reads it; return whether one was moved."""
        makers = self._makers()
        for node in self.net.node:
            turned = [name for name in node.input if _turns(makers.get(name), _TO_LAST)]
            if not turned or not self._movable(node, 3):
                continue
            if len(self._shapes[node.output[0]]) != 4:
                continue
            sources = [self._source(name, makers, _TO_LAST, _TO_FIRST) for name in node.input]
            if None in sources:
                continue
            shape = self._shapes[node.output[0]]
            planes = self._new(tuple(shape[place] for place in _TO_FIRST))
            moved = self._copy(node, [str(name) for name in sources], planes, axis=1)
            self._replace(node, [moved, self._transpose(planes, _TO_LAST, node.output[0])])
            return True
        return False

    def lift(self) -> bool:
        """Move one to_first before the elementwise operation that it alone reads; return whether one was moved."""
        makers, readers = self._makers(), self._readers()
        for node in self.net.node:
            if not _turns(node, _TO_FIRST):
                continue
            maker = makers.get(node.input[0])
            if maker is None or not self._movable(maker, 3) or len(readers[node.input[0]]) > 1:
                continue
            moving = [name for name in maker.input if name not in self._weights and name]
            if any(len(self._shapes.get(name, ())) != 4 for name in moving):
                continue
            turning = []
            turned: dict[str, str] = {}
            for name in dict.fromkeys(moving):
                shape = self._shapes[name]
                turned[name] = self._new(tuple(shape[place] for place in _TO_FIRST))
                turning.append(self._transpose(name, _TO_FIRST, turned[name]))
            inputs = [turned.get(name) or self._constant(name, _TO_FIRST) for name in maker.input]
            if None in inputs:
                continue
            moved = self._copy(maker, [str(name) for name in inputs], node.output[0], axis=1)
            self._replace(maker, [])
            self._replace(node, [*turning, moved])
            return True
        return False

    def cancel(self) -> bool:
        """Let the readers of to_first(to_last(a)) read a; return whether there was one."""
        makers = self._makers()
        for node in self.net.node:
            for one, other in ((_TO_FIRST, _TO_LAST), (_TO_LAST, _TO_FIRST)):
                maker = makers.get(node.input[0]) if node.input else None
                if _turns(node, one) and maker is not None and _turns(maker, other):
                    identity = self._helper.make_node("Identity", [maker.input[0]], [node.output[0]])
                    self._replace(node, [] if self._bypass(node.output[0], maker.input[0]) else [identity])
                    return True
        return False

    def transpositions_to_reshapings(self) -> None:
        """Make every transposition that only moves a dimension of size 1 a reshaping, which is free.

        Not the last one: whoever adds a head wants to see that it is one, and leaves it out.
        """
        last = {value.name for value in self.net.output}
        for node in list(self.net.node):
            if node.op_type != "Transpose" or node.output[0] in last:
                continue
            shape, perm = self._shapes[node.input[0]], tuple(node.attribute[0].ints)
            if len(shape) == 4 and perm[0] == 0 and None not in shape[1:] and _same_order(shape, perm):
                sizes = (0, *(int(shape[place] or 0) for place in perm[1:]))
                self._replace(node, [self._reshape(node.input[0], sizes, node.output[0])])

    def tidy(self) -> None:
        """Drop nodes and weights that nothing reads, and the inferred shapes, which have changed."""
        kept: set[str] = {value.name for value in self.net.output}
        for node in reversed(list(self.net.node)):
            if kept.intersection(node.output):
                kept.update(node.input)
            else:
                self.net.node.remove(node)
        used = [weights for weights in self.net.initializer if weights.name in kept]
        del self.net.initializer[:]
        self.net.initializer.extend(used)
        del self.net.value_info[:]

    # ------------------------------------------------------------------------------------------------- the parts

    def _movable(self, node: Any, axis: int) -> bool:
        """Tell whether a node may work in either order: an elementwise one, or a joining along the channels."""
        if node.op_type == "Concat":
            return any(a.name == "axis" and a.i in {axis, axis - 4} for a in node.attribute)
        return node.op_type in _ELEMENTWISE and len(node.output) == 1

    def _source(self, name: str, makers: dict[str, Any], perm: tuple[int, ...], back: tuple[int, ...]) -> str | None:
        maker = makers.get(name)
        if maker is not None and _turns(maker, perm):
            return str(maker.input[0])
        return self._constant(name, back)

    def _constant(self, name: str, perm: tuple[int, ...]) -> str | None:
        """Return the name of a constant in the other order; None for what is no constant."""
        if not name:
            return name
        values = self._weights.get(name)
        if values is None or values.ndim > 4:
            return None
        if values.size == 1 and values.ndim < 4:
            return name
        spread = values.reshape((1,) * (4 - values.ndim) + values.shape)
        return self._add_weights(np.ascontiguousarray(spread.transpose(perm)))

    def _add_weights(self, values: Any) -> str:
        name = self._new(values.shape)
        self._weights[name] = values
        self.net.initializer.append(self._numpy.from_array(values, name))
        return name

    def _new(self, shape: _Shape) -> str:
        name = f"layout/{next(self._numbers)}"
        self._shapes[name] = shape
        return name

    def _transpose(self, name: str, perm: tuple[int, ...], output: str) -> Any:
        return self._helper.make_node("Transpose", [name], [output], perm=list(perm))

    def _reshape(self, name: str, sizes: tuple[int, ...], output: str) -> Any:
        return self._helper.make_node("Reshape", [name, self._add_weights(np.array(sizes, np.int64))], [output])

    def _copy(self, node: Any, inputs: list[str], output: str, axis: int) -> Any:
        copied = type(node)()
        copied.CopyFrom(node)
        copied.input[:] = inputs
        copied.output[:] = [output]
        for attribute in copied.attribute:
            if node.op_type == "Concat" and attribute.name == "axis":
                attribute.i = axis
        return copied

    def _replace(self, node: Any, others: list[Any]) -> None:
        place = next(i for i, other in enumerate(self.net.node) if other is node or other == node)
        del self.net.node[place]
        for offset, other in enumerate(others):
            self.net.node.insert(place + offset, other)

    def _bypass(self, name: str, instead: str) -> bool:
        """Let every reader of `name` read `instead`; not possible for an output of the graph."""
        if any(value.name == name for value in self.net.output):
            return False
        for reader in self.net.node:
            reader.input[:] = [instead if read == name else read for read in reader.input]
        return True

    def _makers(self) -> dict[str, Any]:
        return {name: node for node in self.net.node for name in node.output}

    def _readers(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {value.name: ["the graph"] for value in self.net.output}
        for node in self.net.node:
            for name in set(node.input):
                found.setdefault(name, []).append(node.name)
        return found


def _turns(node: Any, perm: tuple[int, ...]) -> bool:
    return node is not None and node.op_type == "Transpose" and tuple(node.attribute[0].ints) == perm


def _same_order(shape: _Shape, perm: tuple[int, ...]) -> bool:
    """Tell whether a transposition leaves the numbers in memory as they are: the large dimensions keep their order."""
    large = [place for place in perm if shape[place] != 1]
    return large == sorted(large)
