from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from converters.graph.contract import check_graph
from converters.graph.onnx_from_keras import add_head
from edge.errors import ContractError
from edge.records import GraphContract

CONTRACT = GraphContract(16, 16, 1, 1, 1, ("scratch", "stain"), 4)


def _good() -> Any:
    """Build the smallest graph that keeps the contract: one 1 x 1 convolution and the head."""
    net = helper.make_graph(
        [
            helper.make_node("Transpose", ["pixels"], ["x"], perm=[0, 3, 1, 2]),
            helper.make_node("Conv", ["x", "kernel"], ["y"]),
            helper.make_node("Sigmoid", ["y"], ["p"]),
            helper.make_node("Transpose", ["p"], ["answer"], perm=[0, 2, 3, 1]),
        ],
        "net",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 16, 16, 1])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", 16, 16, 2])],
        [numpy_helper.from_array(np.ones((2, 1, 1, 1), np.float32), "kernel")],
    )
    return add_head(net, CONTRACT)


def _node(model: Any, name: str) -> Any:
    return next(node for node in model.graph.node if node.name == name)


def test_a_graph_that_keeps_the_contract_passes(tmp_path: Path) -> None:
    """The graph that every break below starts from is accepted, as bytes and as a file."""
    check_graph(_good().SerializeToString(), CONTRACT)
    path = tmp_path / "model.onnx"
    path.write_bytes(_good().SerializeToString())
    check_graph(path, CONTRACT)


def _float_tiles(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _fixed_batch(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def _other_batch_name(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def _other_tile_size(model: Any) -> None:
    for value in (model.graph.input[0], *model.graph.output):
        value.type.tensor_type.shape.dim[1].dim_value = 32


def _thresholds_of_another_count(model: Any) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 1
    next(w for w in model.graph.initializer if w.name == "head/planes").CopyFrom(
        numpy_helper.from_array(np.array([1, 1, 1, 1]), "head/planes")
    )


def _no_scores(model: Any) -> None:
    del model.graph.output[1]
    model.graph.node.remove(_node(model, "scores"))


def _renamed_output(model: Any) -> None:
    _node(model, "classes").output[0] = "labels"
    model.graph.output[0].name = "labels"


def _integer_classes(model: Any) -> None:
    _node(model, "classes").attribute[0].i = TensorProto.INT32
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32


def _tiles_read_without_a_cast(model: Any) -> None:
    model.graph.node.insert(0, helper.make_node("Identity", ["tiles"], ["copy"], name="first"))
    model.graph.node[1].input[0] = "copy"


def _classes_cast_from_integer(model: Any) -> None:
    place = list(model.graph.node).index(_node(model, "classes"))
    model.graph.node.insert(
        place, helper.make_node("Cast", ["head/classes"], ["whole"], name="whole", to=TensorProto.INT64)
    )
    _node(model, "classes").input[0] = "whole"


def _weights_in_another_file(model: Any) -> None:
    weights = next(w for w in model.graph.initializer if w.name.startswith("net/weights"))
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="../../etc/passwd")


def _weights_of_a_constant_node_in_another_file(model: Any) -> None:
    elsewhere = TensorProto(name="elsewhere", data_type=TensorProto.FLOAT, dims=[1])
    elsewhere.data_location = TensorProto.EXTERNAL
    elsewhere.external_data.add(key="location", value="weights.bin")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=elsewhere))


def _foreign_operator(model: Any) -> None:
    _node(model, "net/3/Sigmoid").domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _foreign_operator_in_a_branch(model: Any) -> None:
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, [1])
    branch = helper.make_graph([helper.make_node("Anything", [], ["v"], domain="com.example")], "branch", [], [value])
    model.graph.node.insert(0, helper.make_node("If", ["yes"], ["v0"], then_branch=branch, else_branch=branch))
    model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))


def _own_function(model: Any) -> None:
    model.functions.append(
        helper.make_function(
            "own", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 17)]
        )
    )


def _newer_opset(model: Any) -> None:
    model.opset_import[0].version = 18


def _newer_ir_version(model: Any) -> None:
    model.ir_version = 11


def _cycle(model: Any) -> None:
    model.graph.node[1].input[0] = "classes"


BREAKS = [
    (_float_tiles, r"the inputs tiles UINT8 .*received tiles FLOAT \[N, 16, 16, 1\]"),
    (_fixed_batch, r"inputs tiles UINT8 \[N, 16, 16, 1\].*received tiles UINT8 \[1, 16, 16, 1\]"),
    (_other_batch_name, r"received tiles UINT8 \[batch, 16, 16, 1\]"),
    (_other_tile_size, r"UINT8 \[N, 16, 16, 1\].*received tiles UINT8 \[N, 32, 16, 1\]"),
    (_thresholds_of_another_count, r"thresholds FLOAT \[2\].*received .*thresholds FLOAT \[1\]"),
    (_no_scores, r"scores UINT8 \[N, 16, 16\], received classes UINT8 \[N, 16, 16\]\."),
    (_renamed_output, r"the outputs classes .*received labels"),
    (_integer_classes, r"received classes INT32"),
    (_tiles_read_without_a_cast, "tiles to be read by a Cast to FLOAT only, received the Identity 'first'"),
    (_classes_cast_from_integer, "classes to be written by a Cast from FLOAT to UINT8, received .* from INT64"),
    (_weights_in_another_file, r"all weights inside the file, received external data for \['net/weights/0'\]"),
    (_weights_of_a_constant_node_in_another_file, r"received external data for \['elsewhere'\]"),
    (_foreign_operator, r"ai\.onnx only, received operators of \['com\.example'\]"),
    (_foreign_operator_in_a_branch, r"ai\.onnx only, received operators of \['com\.example'\]"),
    (_own_function, r"no functions of its own, received \['Twice'\]"),
    (_newer_opset, "at most opset 17 and IR version 10, received opset 18"),
    (_newer_ir_version, "received opset 17 and IR version 11"),
    (_cycle, "full checker"),
]


@pytest.mark.parametrize(("tamper", "words"), BREAKS, ids=[tamper.__name__.strip("_") for tamper, _ in BREAKS])
def test_every_break_of_the_contract_is_named(tamper: Callable[[Any], None], words: str) -> None:
    """A graph with one break is refused with what was expected, what was received, and what to do."""
    model = _good()
    tamper(model)
    with pytest.raises(ContractError, match=words) as refused:
        check_graph(model.SerializeToString(), CONTRACT)
    assert "expected" in str(refused.value)
    assert "convert BUNDLE --to onnxruntime" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"no model", _good().SerializeToString()[:-40]])
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty, foreign or truncated file is refused by name."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=r"model\.onnx does not keep the graph contract"):
        check_graph(path, CONTRACT)


def test_good_graph_is_within_what_onnx_calls_valid() -> None:
    """The starting point is valid by ONNX's own full checker, so that each break above is the only one."""
    onnx.checker.check_model(_good(), full_check=True)
