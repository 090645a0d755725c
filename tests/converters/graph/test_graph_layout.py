from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.graph.layout import channels_first
from edge.records import Float32

OPSET = 17
PIXELS = np.random.default_rng(0).random((2, 6, 5, 3), np.float32)


def net_of(nodes: list[Any], weights: dict[str, Any], sizes: tuple[int, ...] = (6, 5, 3)) -> Any:
    """Build a graph from pixels [N, H, W, C] to answer; the nodes' weights are given by name."""
    return helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", *sizes])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", "a", "b", "c"])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()],
    )


def run(net: Any, pixels: Float32 = PIXELS) -> Float32:
    """Compute a graph with ONNX Runtime."""
    model = helper.make_model(net, ir_version=8, opset_imports=[helper.make_opsetid("", OPSET)])
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: Float32 = session.run(None, {"pixels": pixels})[0]
    return answer


def operations(net: Any) -> list[str]:
    """List the operators in order."""
    return [node.op_type for node in net.node]


def turn(source: str, target: str, perm: list[int]) -> Any:
    """Make a Transpose."""
    return helper.make_node("Transpose", [source], [target], perm=perm)


FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def test_a_softmax_between_two_transpositions_loses_both() -> None:
    """exp(x) / sum(exp(x)), as tf2onnx writes it, is computed in one order of memory, and gives the same numbers."""
    nodes = [
        turn("pixels", "planes", FIRST),
        helper.make_node("Exp", ["planes"], ["e"]),
        turn("e", "e_last", LAST),
        helper.make_node("ReduceSum", ["e", "axis"], ["sum"], keepdims=1),
        helper.make_node("Reshape", ["sum", "shape"], ["sum_last"]),
        helper.make_node("Div", ["e_last", "sum_last"], ["p"]),
        turn("p", "answer", FIRST),
    ]
    net = net_of(nodes, {"axis": np.array([1]), "shape": np.array([-1, 6, 5, 1])})
    before = run(net)
    after = channels_first(net, OPSET)
    assert operations(after) == ["Transpose", "Exp", "ReduceSum", "Div"] or operations(after)[-1] == "Identity"
    assert operations(after).count("Transpose") == 1
    np.testing.assert_array_equal(run(after), before)


def test_constants_per_channel_turn_with_what_they_are_added_to() -> None:
    """A bias of 3 channels and a full constant keep their places; a single number stays as it is."""
    rng = np.random.default_rng(1)
    weights = {"scale": np.float32(2), "bias": rng.random(3, np.float32), "full": rng.random((1, 6, 5, 3), np.float32)}
    nodes = [
        turn("pixels", "planes", FIRST),
        helper.make_node("Relu", ["planes"], ["r"]),
        turn("r", "last", LAST),
        helper.make_node("Mul", ["last", "scale"], ["a"]),
        helper.make_node("Add", ["bias", "a"], ["b"]),
        helper.make_node("Sub", ["full", "b"], ["c"]),
        helper.make_node("Concat", ["c", "a"], ["d"], axis=-1),
        turn("d", "e", FIRST),
        helper.make_node("Relu", ["e"], ["answer"]),
    ]
    net = net_of(nodes, weights)
    before = run(net)
    after = channels_first(net, OPSET)
    assert operations(after).count("Transpose") == 1
    np.testing.assert_array_equal(run(after), before)


def test_what_happens_before_the_first_convolution_moves_behind_the_transposition() -> None:
    """A grey picture made three channels and levelled needs no transposition at all: one channel only is reshaped."""
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Concat", ["pixels", "pixels", "pixels"], ["three"], axis=3),
        helper.make_node("Add", ["three", "mean"], ["level"]),
        turn("level", "planes", FIRST),
        helper.make_node("Conv", ["planes", "kernel"], ["answer"], kernel_shape=[3, 3]),
    ]
    weights = {"mean": rng.random(3, np.float32), "kernel": rng.random((2, 3, 3, 3), np.float32)}
    net = net_of(nodes, weights, sizes=(6, 5, 1))
    pixels = PIXELS[..., :1]
    before = run(net, pixels)
    after = channels_first(net, OPSET)
    assert operations(after) == ["Reshape", "Concat", "Add", "Conv"]
    np.testing.assert_array_equal(run(after, pixels), before)


@pytest.mark.parametrize("shared", [False, True])
def test_a_tensor_that_others_read_is_kept(shared: bool) -> None:
    """A tensor that is transposed and also read as it is stays correct, whether or not anything can move."""
    nodes = [
        helper.make_node("Exp", ["pixels"], ["e"]),
        turn("e", "planes", FIRST),
        helper.make_node("ReduceMax", ["planes"], ["top"], axes=[1], keepdims=1),
        helper.make_node("Reshape", ["top", "shape"], ["top_last"]),
        helper.make_node("Sub", ["e" if shared else "pixels", "top_last"], ["answer"]),
    ]
    net = net_of(nodes, {"shape": np.array([-1, 6, 5, 1])})
    before = run(net)
    np.testing.assert_array_equal(run(channels_first(net, OPSET)), before)
