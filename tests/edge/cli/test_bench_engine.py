from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from converters.tensorrt.building import EngineOptions, build_engine
from edge.cli import bench_engine
from edge.cli.bench_engine import Timing, bench, fastest
from edge.cli.commands import app
from edge.errors import SettingsError
from edge.settings import EngineSettings
from edge.simulation.device import SimulatedDevice
from tests.bright_bundle import write_bright_bundle


def run(*arguments: object) -> Any:
    """Run `linewatch bench-engine`."""
    return CliRunner().invoke(app, ["bench-engine", *map(str, arguments)])


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_table_and_figures_for_every_batch_size(tmp_path: Path, backend: str) -> None:
    """One row per size; p95 is not below the median, and the rate is that of tiles, not of batches."""
    bundle = write_bright_bundle(tmp_path / "bundle").path
    done = run(bundle, "--backend", backend, "--batch", "1,3", "--seconds", "0.1", "--json", tmp_path / "t.json")
    assert done.exit_code == 0, done.output
    assert f"fastest at 3 tiles: {backend}" in done.output
    rows = json.loads((tmp_path / "t.json").read_text())["timings"]
    assert [(row["engine"], row["batch"]) for row in rows] == [(backend, 1), (backend, 3)]
    for row in rows:
        assert 0 < row["median_ms"] <= row["p95_ms"]
        assert row["batches"] >= 10
        assert row["tiles_per_s"] > 0


def test_tensorrt_is_measured_in_every_way_that_can_be_set(tmp_path: Path) -> None:
    """Copied and mapped, with and without graphs, on the simulated device: what is measured is what is set."""
    bundle, device = write_bright_bundle(tmp_path / "bundle"), SimulatedDevice()
    build_engine(bundle, EngineOptions("fp32", (1, 2, 2)), lambda *_: None, vendor=device.vendor)
    settings = EngineSettings(backend="tensorrt", precision="fp32")
    seen: dict[str, tuple[bool, bool]] = {}
    for timing in bench(settings, bundle, [2], 0.1, device.vendor):
        seen[timing.engine] = device.copied_in_bytes > 0, device.launched_graphs > 0
        device.copied_in_bytes = device.launched_graphs = 0
    assert seen == {
        "tensorrt fp32 copied": (True, False),
        "tensorrt fp32 copied graphs": (True, True),
        "tensorrt fp32 mapped": (False, False),
        "tensorrt fp32 mapped graphs": (False, True),
    }


def test_the_fastest_is_that_of_the_largest_batch() -> None:
    """By its median; small batches and rates do not decide."""
    rows = [Timing("a", 1, 10, 1.0, 2.0, 9.0), Timing("a", 4, 10, 8.0, 9.0, 1.0), Timing("b", 4, 10, 7.0, 20.0, 0.5)]
    assert fastest(rows).engine == "b"
    assert doctest.testmod(bench_engine).failed == 0


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    """Sizes that are none, and a precision that the backend has not, are wrong command lines."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    with pytest.raises(SettingsError, match="expected sizes of 1 and more"):
        list(bench(EngineSettings(), bundle, [0], 0.1))
    for wrong in (("--batch", "1,x"), ("--batch", ""), ("--backend", "onnxruntime", "--precision", "bf16")):
        assert run(bundle.path, *wrong).exit_code == 2
