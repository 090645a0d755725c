"""Every call that the build and the engine make, against the real signatures of five versions of TensorRT."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from converters.tensorrt.building import EngineOptions
from converters.tensorrt.planning import planned_calls
from edge.bundle import load_bundle
from tests.conftest import ROOT
from tests.tensorrt.bindings import BINDINGS, Binding, compiled_stubs, installed
from tests.tensorrt.bundles import PINNED, write_precise_bundle


@pytest.fixture(scope="module", params=BINDINGS, ids=lambda binding: binding.version)
def driven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Binding, Path, Any]:
    """Run the driver once per version; return the version, the bundle and the report."""
    binding: Binding = request.param
    folder = tmp_path_factory.mktemp("binding")
    bundle = write_precise_bundle(folder / "bundle").path
    stubs = compiled_stubs(folder / "stubs", binding.libraries)
    environment = os.environ | {"PYTHONPATH": str(installed(binding)), "LD_LIBRARY_PATH": str(stubs)}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.tensorrt.drive_binding", str(bundle)],
        cwd=ROOT,
        env=environment | {"XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return binding, bundle, json.loads(ended.stdout)


def test_build_and_engine_make_only_calls_that_this_version_takes(driven: tuple[Binding, Path, Any]) -> None:
    """Three precisions are built and run, copied and mapped, by the version's own signatures, without a refusal."""
    binding, _, report = driven
    assert binding.version.startswith(report["version"])
    assert report["binding_works"]
    assert report["methods"] > 100
    for calls in report["calls"].values():
        assert any("build_serialized_network" in call for call in calls)


def test_what_is_kept_of_a_version_is_what_its_binding_says(driven: tuple[Binding, Path, Any]) -> None:
    """The signatures under `apis/`, which plans are printed from, are those of the binding, to the last one."""
    _, _, report = driven
    assert report["kept_is_true"], "read them anew: python -m tests.tensorrt.keep_apis"


def test_a_wrong_call_is_refused(driven: tuple[Binding, Path, Any]) -> None:
    """Calls that are gone, of wrong count, keyword or type, and properties that are gone, each end in a refusal."""
    _, _, report = driven
    refused = report["refused"]
    assert [name for name, why in refused.items() if not why] == []
    assert "has no execute_async_v2" in refused["gone"]
    assert "takes (pool: MemoryPoolType, pool_size: " in refused["too few"]
    assert "fp16_mode" in refused["property"]


def test_the_printed_plan_is_what_a_build_calls(driven: tuple[Binding, Path, Any]) -> None:
    """`convert plan` prints, without TensorRT, the calls that the build made here, but for the workspace's size."""
    _, bundle, report = driven
    for precision, calls in report["calls"].items():
        planned = planned_calls(load_bundle(bundle), report["version"], EngineOptions(precision, (1, 2, 3), 4096))
        # the first build kept its timings, which the next ones are given
        made = [call.replace("create_timing_cache(<bytes>)", "create_timing_cache(b'')") for call in calls]
        named = [re.sub(r"<bytes of [^>]+>", "<bytes>", call) for call in planned]
        # then the golden frames are replayed on what was built
        assert named == made[: len(planned)]
        assert made[len(planned)] == "tensorrt.init_libnvinfer_plugins(logger, '')"


def test_each_version_is_told_its_precision_in_its_own_way(driven: tuple[Binding, Path, Any]) -> None:
    """8.6 is told by flags and layer precisions, later ones by the typed graph alone."""
    _, bundle, report = driven
    fp16, int8, fp32 = (" ".join(report["calls"][precision]) for precision in ("fp16", "int8", "fp32"))
    number = tuple(int(part) for part in report["version"].split(".")[:2])
    flags = {(8, 6): "create_network(1)", (11, 4): "create_network(0)"}
    assert flags.get(number, "create_network(2)") in fp16
    graphs = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
    if number < (10, 0):
        graphs["fp16"] = "model.onnx"
        assert "set_flag(BuilderFlag.FP16)" in fp16
        assert "set_flag(BuilderFlag.OBEY_PRECISION_CONSTRAINTS)" in fp16
        assert f".precision = DataType.FLOAT  # {PINNED}" in fp16
        assert f".set_output_type(0, DataType.FLOAT)  # {PINNED}" in fp16
        assert "set_flag(BuilderFlag.INT8)" in int8
    else:
        assert "set_flag" not in fp16 + int8
        assert "precision" not in fp16
    for precision, graph in graphs.items():
        planned = planned_calls(load_bundle(bundle), report["version"], EngineOptions(precision, (1, 2, 3), 4096))
        assert f"parser.parse(<bytes of {bundle / graph}>)" in planned
    assert "FP16" not in fp32
    assert ("progress_monitor" in fp16) == (number >= (10, 0))
