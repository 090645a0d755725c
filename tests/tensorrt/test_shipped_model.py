from __future__ import annotations

import shutil
from pathlib import Path

from converters.tensorrt.building import EngineOptions, build_engine
from converters.tensorrt.planning import planned_calls
from edge.bundle import load_bundle
from edge.checking import check_golden
from edge.demo import BUNDLE
from edge.engines.simulated_device import SimulatedDevice
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions


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
    assert len(planned_calls(bundle, "11.4", "fp32", (1, 4, 4), None)) > 15
