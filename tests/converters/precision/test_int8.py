from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from converters.comparison.real_tiles import calibration_pictures, real_tiles
from converters.graph.contract import check_graph
from converters.graph.float_graph import FloatGraph
from converters.precision.int8_graph import int8_graph, quantisable
from converters.precision.int8_precision import to_int8
from converters.precision.tensor_ranges import TensorRange, full_ranges
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.errors import ConversionError
from edge.protocols import Engine
from edge.records import UInt8
from tests.converters.onnx_bundles import blurring_net, net_of, steep_net, write_onnx_bundle
from tests.converters.precision.test_half_precision import THRESHOLDS, quiet


def wide_net() -> Any:
    """Mix two planes of which one is 10,000 times the other's size: one scale for both leaves nothing of the small."""
    first = np.array([1.0, 10_000.0], np.float32).reshape(2, 1, 1, 1)
    second = np.array([1 / 255, 0.0], np.float32).reshape(1, 2, 1, 1)
    nodes = [
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "first"], ["a"]),
        helper.make_node("Conv", ["a", "second"], ["b"]),
        helper.make_node("Transpose", ["b"], ["answer"], perm=[0, 2, 3, 1]),
    ]
    return net_of(nodes, {"first": first, "second": second})


def test_scales_are_full_and_zero_points_are_zero(tmp_path: Path) -> None:
    """The graph keeps the contract at opset 17; each weight and each input of a convolution has its pair."""
    bundle = write_onnx_bundle(tmp_path / "b", blurring_net())
    graph = FloatGraph(bundle.onnx_path)
    tiles = real_tiles(bundle, calibration_pictures(bundle), 4)
    ranges = full_ranges(graph, tiles, THRESHOLDS, quiet)
    written = int8_graph(graph, ranges, set())
    check_graph(written, bundle.contract(1))
    proto = onnx.load_model_from_string(written)
    constants = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    makers = {node.output[0]: node for node in proto.graph.node}
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[1]].dtype == np.float32
            assert constants[node.input[2]].dtype == np.int8
            assert not constants[node.input[2]].any()
        if node.op_type == "Conv":
            assert {makers[name].op_type for name in node.input[:2]} == {"DequantizeLinear"}
    # the scale of a symmetric range is the largest magnitude / 127: the first convolution's input are grey values
    first = next(node for node in proto.graph.node if node.op_type == "Conv")
    scale = constants[makers[makers[first.input[0]].input[0]].input[1]]
    assert scale == pytest.approx(tiles.max() / 127, rel=1e-6)
    assert int8_graph(graph, ranges, set()) == written, "the same graph must give the same bytes"


def answers(engine: Engine, tiles: UInt8) -> UInt8:
    """Answer tiles in one batch."""
    with engine:
        batch = engine.buffer()
        batch.tiles[: len(tiles)] = tiles
        return engine.collect(engine.submit(batch, len(tiles), np.array(THRESHOLDS, np.float32))).classes.copy()


def test_both_cpu_engines_find_the_same_in_int8(tmp_path: Path) -> None:
    """On real tiles the INT8 graph gives FP32's classes on ONNX Runtime and OpenVINO but for a few pixels."""
    bundle = write_onnx_bundle(tmp_path / "b", blurring_net())
    made = to_int8(bundle, (calibration_pictures(bundle),) * 2, 0.02, quiet)
    assert (made.quantised, made.plan.pinned, made.comparison.total_lost) == (2, (), 0)
    (tmp_path / "int8.onnx").write_bytes(made.graph)
    tiles = real_tiles(bundle, calibration_pictures(bundle), 4)
    contract = bundle.contract(4)
    full = answers(OnnxRuntimeEngine(bundle.onnx_path, contract), tiles)
    assert 0 < (full > 0).mean() < 1
    for engine in (OnnxRuntimeEngine, OpenVinoEngine):
        assert np.mean(answers(engine(tmp_path / "int8.onnx", contract), tiles) != full) < 0.02


def test_a_node_that_would_cost_defects_is_excepted(tmp_path: Path) -> None:
    """Planes of 255 and 2,550,000 under one scale lose every defect: the convolution that reads them stays in FP32."""
    bundle = write_onnx_bundle(tmp_path / "b", wide_net())
    graph = FloatGraph(bundle.onnx_path)
    first, second = quantisable(graph)
    made = to_int8(bundle, (calibration_pictures(bundle),) * 2, 0.02, quiet)
    assert made.plan.pinned_nodes == {second}
    assert made.plan.precision == "int8"
    assert (made.quantised, made.comparison.total_lost, made.comparison.total_gained) == (1, 0, 0)
    assert first in {node.name for node in onnx.load_model_from_string(made.graph).graph.node}


def test_what_cannot_be_quantised_without_loss_is_refused(tmp_path: Path) -> None:
    """INT8 is a ConversionError if no pixel may change and every choice changes some. No graph is written."""
    bundle = write_onnx_bundle(tmp_path / "b", blurring_net())
    with pytest.raises(ConversionError, match=r"In INT8 the model differs.*--precision fp16"):
        to_int8(bundle, (calibration_pictures(bundle),) * 2, 0.0, quiet)
    assert not (bundle.path / "model.int8.onnx").exists()


def test_a_net_without_convolutions_is_refused(tmp_path: Path) -> None:
    """A net of plain multiplications has nothing to quantise, and says so."""
    bundle = write_onnx_bundle(tmp_path / "b", steep_net())
    with pytest.raises(ConversionError, match="no convolution or matrix product"):
        to_int8(bundle, (calibration_pictures(bundle),) * 2, 0.0005, quiet)


def test_the_quantizer_s_own_failure_is_a_conversion_error(tmp_path: Path) -> None:
    """Ranges that lack a tensor end in a message, not in a traceback of ONNX Runtime's."""
    bundle = write_onnx_bundle(tmp_path / "b", blurring_net())
    with pytest.raises(ConversionError, match="quantizer failed"):
        int8_graph(FloatGraph(bundle.onnx_path), {"other": TensorRange(0, 1, 1, 0, 0, 0)}, set())
