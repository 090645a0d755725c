from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from converters.tensorrt.building import EngineOptions, build_engine
from converters.tensorrt.planning import planned_calls
from edge.bundle import load_bundle
from edge.cli.demo import BUNDLE
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
from edge.inspection.golden import check_golden
from edge.simulation.device import SimulatedDevice


def test_the_shipped_model_sees_its_golden_frames_on_the_simulated_device(
    tmp_path: Path, device: SimulatedDevice
) -> None:
    """A trained network, cut into tiles, batched, copied there and back, and stitched: no defect lost or gained."""
    shutil.copytree(BUNDLE, tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    build_engine(bundle, EngineOptions("fp32", (1, 4, 4)), lambda *_: None, vendor=device.vendor)
    with TensorRtEngine(bundle, bundle.contract(4), TensorRtOptions("fp32"), device.vendor) as engine:
        results = check_golden(bundle, engine)
    assert results
    assert all(result.passed for result in results)
    assert len(planned_calls(bundle, "11.4", EngineOptions("fp32", (1, 4, 4), None))) > 15


@pytest.mark.parametrize(
    ("version", "graph", "flag"),
    [
        ("8.6", "model.onnx", True),
        ("10.3", "model.fp16.onnx", False),
        ("10.13", "model.fp16.onnx", False),
        ("10.16", "model.fp16.onnx", False),
        ("11.4", "model.fp16.onnx", False),
    ],
)
def test_the_shipped_model_can_be_built_in_half_precision(version: str, graph: str, flag: bool) -> None:
    """The shipped model holds what FP16 needs: a flag and pinned layers on 8.6, the typed graph from 10.0 on."""
    calls = planned_calls(load_bundle(BUNDLE), version, EngineOptions("fp16", (1, 4, 4), None))
    assert any("parser.parse(" in call and call.endswith(f"{graph}>)") for call in calls)
    assert any("BuilderFlag.FP16" in call for call in calls) is flag
    assert any(".precision = DataType.FLOAT" in call for call in calls) is flag
