"""A build on a device takes what `convert` writes on a workstation, in every version and precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from converters.flow import Order, run
from converters.precision.plan import GRAPHS, plan_path, read_plan
from converters.tensorrt.building import EngineOptions, build_engine
from converters.tensorrt.planning import planned_calls
from edge.bundle import Bundle, load_bundle
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
from edge.protocols import Engine
from edge.records import UInt8
from edge.simulation.device import SimulatedDevice
from tests.converters.onnx_bundles import TILE, blurring_net, normalising_net, steep_net, write_onnx_bundle

NETS = {"steep": steep_net, "normalising": normalising_net, "blurring": blurring_net}
THRESHOLDS = np.array([0.6], np.float32)


@pytest.fixture(scope="module", params=NETS)
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle with the FP16 graph and the pins that `convert` decided for it."""
    path = write_onnx_bundle(tmp_path_factory.mktemp("precise") / "bundle", NETS[request.param]()).path
    run(path, Order("onnxruntime", "fp16", max_changed_share=0.02), lambda items, _: items)
    return load_bundle(path)


def answers(engine: Engine, tiles: UInt8) -> UInt8:
    """Return an engine's classes for some tiles, uint8 [n, TILE, TILE]."""
    batch = engine.buffer()
    batch.tiles[: len(tiles)] = tiles
    return np.array(engine.collect(engine.submit(batch, len(tiles), THRESHOLDS)).classes)


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106"])
def test_what_convert_decided_is_built_and_run(prepared: Bundle, version: str) -> None:
    """Every pin meets its layer (8.6) or stands in the typed graph (later); the answers are those of the graph.

    `convert` must prove that FP16 answers as FP32. Here a typed engine is compared with its own graph. One that is told
    by flags is compared with model.onnx, from which it is built.
    """
    device = SimulatedDevice(version, l4t=None)
    build = build_engine(prepared, EngineOptions("fp16", (1, 2, 3)), lambda *_: None, vendor=device.vendor)
    typed = not version.startswith("8")
    contract = prepared.contract(3)
    tiles = np.random.default_rng(1).integers(0, 256, (3, TILE, TILE, 1), np.uint8)
    graph = prepared.path / GRAPHS["fp16" if typed else "fp32"]
    with TensorRtEngine(prepared, contract, TensorRtOptions("fp16"), device.vendor) as engine:
        found = answers(engine, tiles)
    with OnnxRuntimeEngine(graph, contract) as engine:
        np.testing.assert_array_equal(found, answers(engine, tiles))
    calls = planned_calls(prepared, version, EngineOptions("fp16", (1, 2, 3), None))
    pins = read_plan(plan_path(prepared, "fp16")).pinned_nodes
    told = {call.partition("  # ")[2] for call in calls if ".precision = DataType.FLOAT" in call}
    assert told <= pins
    if typed:
        assert not told
    else:
        # a pinned node of integers only has no FP32 to be told of
        assert {node for node in pins if node.startswith("net/")} <= told
    assert build.sidecar.half_share is not None


def test_pins_are_nodes_of_the_graph_that_is_built(prepared: Bundle) -> None:
    """By their very names, or TensorRT 8.6 could not be told of them."""
    names: set[Any] = {node.name for node in onnx.load(prepared.onnx_path).graph.node}
    pins = read_plan(plan_path(prepared, "fp16")).pinned_nodes
    assert pins
    assert pins <= names
