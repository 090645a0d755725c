"""Tests for a device alone. Run there: python -m pytest -m gpu -rs tests/tensorrt (see docs/on-a-jetson.md)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.tensorrt.building import EngineOptions, build_engine
from edge.bundle import Bundle, load_bundle
from edge.engines.device import Vendor, VendorLog, current_context, load_vendor, machine_of, parse_version
from edge.engines.engine_files import read_header
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
from edge.errors import DependencyError, EngineError
from edge.inspection.golden import check_golden
from tests.bright_bundle import TILE, write_bright_bundle

pytestmark = pytest.mark.gpu

HALF = np.array([0.5], np.float32)
NOISE = np.random.default_rng(3).integers(0, 256, (8, TILE, TILE, 1), np.uint8)


@pytest.fixture(scope="module")
def vendor() -> Vendor:
    """Return NVIDIA's own modules, or skip: there is no device here."""
    try:
        found = load_vendor()
        machine_of(found)
    except (DependencyError, EngineError) as error:
        pytest.skip(f"gpu: {error}")
    return found


@pytest.fixture(scope="module")
def bright(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return the bright bundle with an FP32 engine of this device, for 1 to 3 tiles."""
    bundle = write_bright_bundle(tmp_path_factory.mktemp("gpu") / "bundle")
    build_engine(bundle, EngineOptions("fp32", (1, 2, 3)), lambda *_: None, vendor=vendor)
    return bundle


@pytest.fixture
def own_bundle() -> Bundle:
    """Return the bundle of LINEWATCH_GPU_BUNDLE, which has golden frames and an FP16 graph, or skip."""
    path = os.environ.get("LINEWATCH_GPU_BUNDLE")
    if not path:
        pytest.skip("gpu: set LINEWATCH_GPU_BUNDLE to a bundle that was converted with --precision fp16")
    return load_bundle(Path(path))


@pytest.mark.parametrize("memory", ["copied", "mapped"])
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_every_way_of_running_answers_to_the_pixel(
    bright: Bundle, vendor: Vendor, memory: Any, cuda_graphs: bool
) -> None:
    """A pixel of 128 or more is a scratch, in full and partial batches, with two of them under way."""
    options = TensorRtOptions("fp32", memory, cuda_graphs)
    with TensorRtEngine(bright, bright.contract(3), options, vendor) as engine:
        for counts in ((3, 1), (2, 3), (1, 3)):
            waiting = []
            for count in counts:
                batch = engine.buffer()
                batch.tiles[:count] = NOISE[:count]
                waiting.append((engine.submit(batch, count, HALF), count))
            for ticket, count in waiting:
                np.testing.assert_array_equal(engine.collect(ticket).classes, NOISE[:count, ..., 0] >= 128)


def test_opening_and_closing_gives_all_memory_back(bright: Bundle, vendor: Vendor) -> None:
    """After ten openings as much is free as after the first: what CUDA itself keeps, it keeps once."""

    def free() -> int:
        with current_context(vendor):
            return int(vendor.cuda.mem_get_info()[0])

    def open_once() -> None:
        with TensorRtEngine(bright, bright.contract(3), TensorRtOptions("fp32"), vendor) as engine:
            engine.collect(engine.submit(engine.buffer(), 3, HALF))

    open_once()
    after_first = free()
    for _ in range(10):
        open_once()
    assert free() >= after_first - (8 << 20)


def test_a_plan_begins_as_the_refusals_expect(bright: Bundle, vendor: Vendor) -> None:
    """Magic, zero, and this TensorRT's version at byte 24: read on a real plan."""
    plan = (bright.path / "engines" / "fp32.plan").read_bytes()
    assert read_header(plan).tensorrt[:3] == parse_version(vendor.tensorrt.__version__)[:3]


def test_a_plan_that_is_cut_off_is_answered_with_none(bright: Bundle, vendor: Vendor) -> None:
    """As the simulated device has it: None, and words in the log."""
    plan = (bright.path / "engines" / "fp32.plan").read_bytes()
    log = VendorLog(vendor.tensorrt)
    with current_context(vendor):
        assert vendor.tensorrt.Runtime(log.listener).deserialize_cuda_engine(plan[: len(plan) // 2]) is None
    assert log.said


def test_the_second_build_takes_the_kept_timings(bright: Bundle, vendor: Vendor) -> None:
    """The timing cache of this device and version is accepted, and the inspector's answer can be read."""
    built = build_engine(bright, EngineOptions("fp32", (1, 2, 3)), lambda *_: None, vendor=vendor)
    assert built.sidecar.layers is not None


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_real_model_sees_its_golden_frames(own_bundle: Bundle, vendor: Vendor, precision: Any) -> None:
    """On this chip, in this precision, no defect is lost or gained on the golden frames; FP16 is really used."""
    built = build_engine(own_bundle, EngineOptions(precision, (1, 4, 4)), lambda *_: None, vendor=vendor)
    assert precision == "fp32" or (built.sidecar.half_share or 0) > 0
    with TensorRtEngine(own_bundle, own_bundle.contract(4), TensorRtOptions(precision), vendor) as engine:
        results = check_golden(own_bundle, engine)
    assert results
    assert [result.image for result in results if not result.passed] == []
