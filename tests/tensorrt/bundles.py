"""The bright bundle in every precision, with pins: what a workstation hands to a device."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from converters.precision.plan import GRAPHS, PLANS, Pin, PrecisionPlan, write_plan
from edge.bundle import Bundle, write_manifest
from tests.bright_bundle import add_golden, write_bright_bundle

PINNED = "net/1/Mul"


def write_precise_bundle(path: Path) -> Bundle:
    """Write the bright bundle with a typed FP16 graph, a Q/DQ graph and plans that pin its multiplication.

    Both answer what model.onnx does, to the pixel. FP16: 1/255 is 0.0039215088 there, so 128 comes to 0.50195 and 127
    to 0.49803. INT8 of scale 1/127: 128/255 is 64 of 127, 0.5039, and 127/255 is 63, 0.4961. The threshold is 0.5.
    """
    bundle = add_golden(write_bright_bundle(path))
    model = onnx.load(bundle.onnx_path)
    weight = next(entry for entry in model.graph.initializer if entry.name.startswith("net/weights/"))
    weight.CopyFrom(helper.make_tensor("net/weights/half", TensorProto.FLOAT16, [], [1 / 255]))
    multiply = _multiplication(model)
    multiply.input[1] = "net/widened"
    widen = helper.make_node("Cast", ["net/weights/half"], ["net/widened"], "net/widen", to=TensorProto.FLOAT)
    model.graph.node.insert(list(model.graph.node).index(multiply), widen)
    _write(model, path / GRAPHS["fp16"])

    model = onnx.load(bundle.onnx_path)
    multiply = _multiplication(model)
    answer, multiply.output[0] = multiply.output[0], "net/real"
    model.graph.initializer.append(helper.make_tensor("net/scale", TensorProto.FLOAT, [], [1 / 127]))
    model.graph.initializer.append(helper.make_tensor("net/zero", TensorProto.INT8, [], [0]))
    place = list(model.graph.node).index(multiply) + 1
    for kind, given, made in (("DequantizeLinear", "net/small", answer), ("QuantizeLinear", "net/real", "net/small")):
        node = helper.make_node(kind, [given, "net/scale", "net/zero"], [made], f"net/{kind}")
        model.graph.node.insert(place, node)
    _write(model, path / GRAPHS["int8"])
    assert bundle.model_sha256 is not None
    for precision in ("fp16", "int8"):
        pins = (Pin(PINNED, "overflows"),)
        write_plan(path / PLANS[precision], PrecisionPlan(precision, bundle.model_sha256, pins))
    return write_manifest(path, bundle.manifest)


def _multiplication(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == PINNED)


def _write(model: onnx.ModelProto, path: Path) -> None:
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
