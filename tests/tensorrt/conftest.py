"""A precise bundle, a simulated device, and an engine of that bundle built on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.tensorrt.building import BuiltEngine, EngineOptions, build_engine
from edge.bundle import Bundle
from edge.simulation.device import SimulatedDevice
from tests.tensorrt.bundles import write_precise_bundle


@pytest.fixture(autouse=True)
def _own_timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the timing caches of one test from the next."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Return a bundle in every precision, without engines."""
    return write_precise_bundle(tmp_path / "bundle")


@pytest.fixture
def device() -> SimulatedDevice:
    """Return an Orin of JetPack 6.2."""
    return SimulatedDevice()


@pytest.fixture
def built(bundle: Bundle, device: SimulatedDevice) -> BuiltEngine:
    """Return the bundle's FP16 engine for 1 to 3 tiles, built on the device."""
    engine = build_engine(bundle, EngineOptions("fp16", (1, 2, 3)), lambda *_: None, vendor=device.vendor)
    device.copied_in_bytes = device.copied_out_bytes = device.launched_graphs = 0  # the golden frames' are not counted
    return engine
