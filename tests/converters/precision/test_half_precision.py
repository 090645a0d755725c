"""FP16 on the CPU: what ONNX Runtime hides, the emulation finds and the pins cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from converters.comparison.real_tiles import calibration_pictures, real_tiles
from converters.graph.contract import check_graph
from converters.graph.float_graph import FloatGraph, as_half
from converters.graph.onnx_from_keras import convert
from converters.precision.half_emulation import emulated
from converters.precision.half_graph import half_graph
from converters.precision.half_precision import to_half
from converters.precision.pinning import pins_by_rule
from converters.precision.tensor_ranges import full_ranges, half_report, range_of
from edge.bundle import Bundle
from edge.errors import ConversionError
from edge.opencv import cv2
from edge.records import GraphContract, UInt8
from tests.converters.conftest import glass
from tests.converters.graph.test_onnx_from_keras import NAMES
from tests.converters.onnx_bundles import (
    CLASS,
    TILE,
    blurring_net,
    net_of,
    normalising_net,
    steep_net,
    write_onnx_bundle,
)

THRESHOLDS = (0.6,)
BRIGHT = np.full((1, TILE, TILE, 1), 200, np.uint8)  # x 1200 = 240,000; p = 0.784


def quiet(items: Any, _words: str) -> Any:
    """Show no progress."""
    return items


def run(graph: bytes, tiles: UInt8, thresholds: tuple[float, ...] = THRESHOLDS) -> tuple[UInt8, UInt8]:
    """Answer tiles with ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    asked = np.array(thresholds, np.float32)
    classes, scores = session.run(["classes", "scores"], {"tiles": tiles, "thresholds": asked})
    return classes, scores


@pytest.fixture
def steep(tmp_path: Path) -> Bundle:
    """Return a bundle whose activations reach 306,000."""
    return write_onnx_bundle(tmp_path / "steep", steep_net())


def head_pins(graph: FloatGraph) -> set[str]:
    """Name the nodes of the head alone."""
    return {name for name in graph.candidates if name.startswith("head/")}


def test_onnx_runtime_hides_an_overflow_that_the_emulation_shows(steep: Bundle) -> None:
    """240,000 is infinite in FP16, and so is what follows. ONNX Runtime answers the typed graph as if it were not."""
    graph = FloatGraph(steep.onnx_path)
    pins = head_pins(graph)
    right = run(steep.onnx_path.read_bytes(), BRIGHT)
    assert right[1].min() == right[1].max() == round(200 / 255 * 255)
    hidden = run(half_graph(graph, pins), BRIGHT)
    np.testing.assert_allclose(hidden[1], right[1], atol=1)
    shown = run(emulated(graph, pins), BRIGHT)
    assert (shown[1] != right[1]).all()
    reference = ReferenceEvaluator(onnx.load_model_from_string(half_graph(graph, pins)))
    with np.errstate(over="ignore", invalid="ignore"):
        truth = reference.run(None, {"tiles": BRIGHT, "thresholds": np.array(THRESHOLDS, np.float32)})[1]
    assert (truth != right[1]).all()


def test_the_report_names_the_node_that_overflows(steep: Bundle) -> None:
    """Of 1024 pixels of 200 all overflow where they are multiplied by 1200; later values are no finite numbers."""
    graph = FloatGraph(steep.onnx_path)
    ranges = full_ranges(graph, BRIGHT, THRESHOLDS, quiet)
    report = {node.node: node for node in half_report(graph, ranges, {}, (BRIGHT, THRESHOLDS), quiet)}
    first = next(node for node in report.values() if node.overflows)
    assert (first.operation, first.overflows, first.largest) == ("Mul", TILE * TILE, 240_000)
    later = [node for node in report.values() if node.not_finite]
    assert first.node not in {node.node for node in later}
    assert [node.operation for node in later][:2] == ["Relu", "Mul"]


def test_pins_cure_an_overflow_and_the_typed_graph_keeps_the_defects(steep: Bundle) -> None:
    """The plan excepts what writes and what reads the large numbers; then nothing overflows and no defect changes."""
    made = to_half(steep, (calibration_pictures(steep),) * 2, 0.0005, quiet)
    operations = {node.name: node.op_type for node in FloatGraph(steep.onnx_path).nodes}
    overflowing = [pin.node for pin in made.plan.pinned if pin.reason.startswith("overflows")]
    assert [operations[name] for name in overflowing] == ["Mul", "Relu", "Mul"]
    assert not any(node.overflows or node.not_finite for node in made.nodes)
    assert any(node.overflows for node in made.without_pins)
    assert (made.comparison.total_lost, made.comparison.total_gained) == (0, 0)
    assert made.comparison.defects > 0
    check_graph(made.graph, steep.contract(1))
    assert made.plan.onnx_sha256 == steep.model_sha256
    # pinned, and so computed in FP32 by whoever reads the types in the graph
    reference = ReferenceEvaluator(onnx.load_model_from_string(made.graph))
    scores = reference.run(None, {"tiles": BRIGHT, "thresholds": np.array(THRESHOLDS, np.float32)})[1]
    assert (scores == 200).all()


def test_statistics_and_the_last_activation_are_pinned(tmp_path: Path) -> None:
    """Mean, difference, square, variance, root and reciprocal of a normalisation are pinned, and so is the sigmoid."""
    bundle = write_onnx_bundle(tmp_path / "b", normalising_net())
    graph = FloatGraph(bundle.onnx_path)
    tiles = real_tiles(bundle, calibration_pictures(bundle), 4)
    rules = pins_by_rule(graph, full_ranges(graph, tiles, THRESHOLDS, quiet))
    operations = {node.name: node.op_type for node in graph.nodes}
    statistics = sorted(operations[name] for name, reason in rules.groups[0].items() if "statistics" in reason)
    assert statistics == sorted(["GlobalAveragePool", "Sub", "Mul", "GlobalAveragePool", "Add", "Sqrt", "Reciprocal"])
    assert {operations[name] for name in rules.groups[1]} == {"Sigmoid"}
    assert all(name.startswith(("head/", "net/")) for name in rules.all)


def test_the_emulation_is_the_typed_graph_of_the_reference(tmp_path: Path) -> None:
    """Number by number the emulation gives what ONNX's own reference gives for the typed graph."""
    bundle = write_onnx_bundle(tmp_path / "b", normalising_net())
    graph = FloatGraph(bundle.onnx_path)
    pins = head_pins(graph)
    tiles = glass(TILE, TILE, 3)[None, :, :, :1]
    wanted = "probabilities"

    def with_output(model: bytes, name: str) -> Any:
        proto = onnx.load_model_from_string(model)
        proto.graph.output.append(onnx.ValueInfoProto(name=name))
        return proto

    inputs = {"tiles": tiles, "thresholds": np.array(THRESHOLDS, np.float32)}
    typed = ReferenceEvaluator(with_output(half_graph(graph, pins), wanted)).run([wanted], inputs)[0]
    session = onnxruntime.InferenceSession(
        with_output(emulated(graph, pins), wanted).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = session.run([wanted], inputs)[0]
    assert typed.dtype == np.float16
    # the reference sums a mean in FP16 itself, one step at a time; everything else is exact
    np.testing.assert_allclose(found, typed.astype(np.float32), atol=2e-2)
    assert (as_half(found) == found).all()


@pytest.mark.parametrize("net", [steep_net, blurring_net, normalising_net])
def test_a_typed_graph_is_valid_and_its_borders_are_casts(tmp_path: Path, net: Any) -> None:
    """The graph passes ONNX's full checker and keeps the contract, whatever is pinned. FLOAT is only where pinned."""
    bundle = write_onnx_bundle(tmp_path / "b", net())
    graph = FloatGraph(bundle.onnx_path)
    for pinned in (head_pins(graph), head_pins(graph) | set(graph.candidates[::2]), set(graph.candidates)):
        typed = half_graph(graph, pinned)
        check_graph(typed, bundle.contract(1))
        proto = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(typed), strict_mode=True)
        kinds = {value.name: value.type.tensor_type.elem_type for value in proto.graph.value_info}
        for node in proto.graph.node:
            if node.name in graph.candidates and node.output[0] in kinds and node.name not in pinned:
                assert kinds[node.output[0]] != TensorProto.FLOAT, node.name
        assert run(typed, BRIGHT)[0].shape == (1, TILE, TILE)


def test_a_typed_graph_of_a_trained_net_finds_the_same(nets: dict[int, Any], tmp_path: Path) -> None:
    """A U-Net of three classes in FP16 gives the FP32 graph's classes but for a few pixels at thresholds."""
    nets[3].save(tmp_path / "m.keras")
    contract = GraphContract(64, 64, 1, 1, 1, NAMES, 4)
    full = convert(tmp_path / "m.keras", contract)
    graph = FloatGraph(full)
    tiles = np.stack(np.split(glass(64, 256, seed=5)[:, :, :1], 4, axis=1))
    thresholds = (0.3, 0.35, 0.4)
    pins = set(pins_by_rule(graph, full_ranges(graph, tiles, thresholds, quiet)).all)
    typed = half_graph(graph, pins)
    check_graph(typed, contract)
    expected = run(full, tiles, thresholds)[0]
    assert len(np.unique(expected)) == 4
    for graph_of_halves in (typed, emulated(graph, pins)):
        assert np.mean(run(graph_of_halves, tiles, thresholds)[0] != expected) < 0.005
    assert len(typed) < 0.75 * len(full)


def test_ranges_count_what_a_half_cannot_hold() -> None:
    """65519 rounds to 65504 and 65520 to infinity; 2^-25 rounds to 0 and the next number above it does not."""
    above = np.nextafter(np.float32(2**-25), np.float32(1))
    values = np.array([0, 65519, 65520, -1e6, 2**-25, above, np.nan, np.inf], np.float32)
    found = range_of(values)
    assert (found.overflows, found.underflows, found.not_finite, found.values) == (2, 1, 2, 8)
    assert (found.smallest, found.largest, found.magnitude) == (-1e6, 65520, 1e6)
    with np.errstate(over="ignore"):
        halves = values[:6].astype(np.float16)
    assert np.isinf(halves).sum() == found.overflows
    assert ((halves == 0) & (values[:6] != 0)).sum() == found.underflows


def test_a_model_that_answers_nan_is_refused(tmp_path: Path) -> None:
    """Sqrt of a negative number on real tiles is a ConversionError that names the node. Its bytes would not show it."""
    nodes = [
        onnx.helper.make_node("Sub", ["pixels", "most"], ["negative"]),
        onnx.helper.make_node("Sqrt", ["negative"], ["nan"]),
        onnx.helper.make_node("Mul", ["nan", "pixels"], ["answer"]),
    ]
    bundle = write_onnx_bundle(tmp_path / "b", net_of(nodes, {"most": np.float32(100)}))
    with pytest.raises(ConversionError, match=r"no finite number on real tiles, first in Sqrt 'net/\d/Sqrt'"):
        to_half(bundle, (calibration_pictures(bundle),) * 2, 0.0005, quiet)


def test_weights_that_overflow_have_to_be_pinned(tmp_path: Path) -> None:
    """A weight of 1e6 is never clipped: its node is pinned by rule, and unpinned the typed graph is refused."""
    nodes = [
        onnx.helper.make_node("Mul", ["pixels", "tiny"], ["small"]),
        onnx.helper.make_node("Mul", ["small", "huge"], ["answer"]),
    ]
    net = net_of(nodes, {"tiny": np.float32(1e-6 / 255), "huge": np.float32(1e6)})
    bundle = write_onnx_bundle(tmp_path / "b", net)
    graph = FloatGraph(bundle.onnx_path)
    with pytest.raises(ConversionError, match=r"reach 1e.06, beyond 65504"):
        half_graph(graph, head_pins(graph))
    made = to_half(bundle, (calibration_pictures(bundle),) * 2, 0.0005, quiet)
    assert any("its weights reach 1e+06" in pin.reason for pin in made.plan.pinned)


def test_a_search_finds_what_no_rule_asks_for(tmp_path: Path) -> None:
    """Near 1000 halves are 0.5 apart: p + 1000 - 1000 is a multiple of 0.5, unless sum and difference are in FP32."""
    nodes = [
        onnx.helper.make_node("Mul", ["pixels", "scale"], ["small"]),
        onnx.helper.make_node("Relu", ["small"], ["same"]),
        onnx.helper.make_node("Add", ["same", "thousand"], ["large"]),
        onnx.helper.make_node("Add", ["large", "back"], ["p"]),
        onnx.helper.make_node("Relu", ["p"], ["answer"]),
    ]
    weights = {"scale": np.float32(1 / 255), "thousand": np.float32(1000), "back": np.float32(-1000)}
    between = CLASS.model_copy(update={"threshold": 140.5 / 255})  # no grey value is just at it
    bundle = write_onnx_bundle(tmp_path / "b", net_of(nodes, weights), classes=(between,))
    made = to_half(bundle, (calibration_pictures(bundle),) * 2, 0.0005, quiet)
    operations = {node.name: node.op_type for node in FloatGraph(bundle.onnx_path).nodes}
    searched = [operations[pin.node] for pin in made.plan.pinned if pin.reason == "needed to keep what is found"]
    assert searched == ["Add", "Add"]
    assert (made.comparison.total_lost, made.comparison.total_gained) == (0, 0)


@pytest.mark.parametrize(("squares", "kept"), [(25, False), (4, True)])
def test_pins_of_the_rules_are_given_up_on_evidence_only(tmp_path: Path, squares: int, kept: bool) -> None:
    """A sigmoid whose rounding changes no defect of 25 need not be in FP32; of 4 defects nothing is concluded."""
    nodes = [
        onnx.helper.make_node("Sub", ["pixels", "middle"], ["centred"]),
        onnx.helper.make_node("Clip", ["centred"], ["clipped"]),
        onnx.helper.make_node("Sigmoid", ["clipped"], ["answer"]),
    ]
    bundle = write_onnx_bundle(tmp_path / "b", net_of(nodes, {"middle": np.float32(128)}), golden=1)
    picture = np.full((100, 100), 20, np.uint8)
    for number in range(squares):
        y, x = 5 + 20 * (number // 5), 5 + 20 * (number % 5)
        picture[y : y + 8, x : x + 8] = 220
    cv2.imwrite(str(bundle.path / "golden" / "part-0.png"), picture)
    made = to_half(bundle, (calibration_pictures(bundle),) * 2, 0.0005, quiet)
    assert made.comparison.defects == squares
    assert any(pin.reason == "the last activation" for pin in made.plan.pinned) is kept
    assert any(pin.reason == "the head decides defects" for pin in made.plan.pinned)
