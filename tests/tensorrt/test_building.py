"""Builds on the simulated device: what is kept, what is refused, and that nothing half-written is ever left."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

from converters.precision.plan import GRAPHS, PLANS, Pin, PrecisionPlan, write_plan
from converters.tensorrt import building
from converters.tensorrt.building import BuiltEngine, EngineOptions, build_engine, building_alone
from converters.tensorrt.dialects import dialect_of
from converters.tensorrt.timing_cache import cache_folder
from edge.bundle import Bundle, load_bundle, write_manifest
from edge.engines.device import Vendor, tegra_available_bytes
from edge.engines.engine_files import Sidecar, plan_path, sidecar_path
from edge.errors import (
    BundleError,
    ContractError,
    ConversionError,
    DependencyError,
    EngineError,
    SettingsError,
    StoreError,
)
from edge.simulation.device import SimulatedDevice
from edge.simulation.tensorrt import SimulatedTensorRT, plain_values
from tests.conftest import ROOT
from tests.tensorrt.bundles import PINNED

VERSIONS = ("8.6.1", "10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106")


def build(bundle: Bundle, device: SimulatedDevice, precision: Any = "fp16", **options: Any) -> BuiltEngine:
    """Build for 1 to 3 tiles, silently."""
    wanted = EngineOptions(precision, (1, 2, 3), **options)
    return build_engine(bundle, wanted, lambda *_: None, vendor=device.vendor)


def engines(bundle: Bundle) -> dict[str, bytes]:
    """Return what lies in the bundle's `engines/`, but for its lock."""
    folder = bundle.path / "engines"
    return {path.name: path.read_bytes() for path in folder.glob("*")}


@pytest.mark.parametrize("version", VERSIONS)
def test_plan_and_sidecar_are_kept_for_this_user_alone(bundle: Bundle, version: str) -> None:
    """A 0700 folder with 0600 files; the sidecar says everything that decides whether the plan may run."""
    jetson = "36.4.3" if version != VERSIONS[-1] else None  # which 11.4.0 does not support
    device = SimulatedDevice(version, l4t=jetson)
    built = build(bundle, device, workspace_mb=512)
    assert stat.S_IMODE(built.plan_path.parent.stat().st_mode) == 0o700
    assert set(engines(bundle)) == {"fp16.plan", "fp16.json"}
    for name in engines(bundle):
        assert stat.S_IMODE((built.plan_path.parent / name).stat().st_mode) == 0o600
    kept = Sidecar.model_validate_json(sidecar_path(built.plan_path).read_bytes())
    assert kept == built.sidecar
    assert (kept.tensorrt, kept.cuda, kept.gpu, kept.compute_capability) == (version, "12.6", "Simulated Orin", "8.7")
    assert (kept.sm_count, kept.l4t, kept.power_mode, kept.batch) == (16, jetson, "MAXN", (1, 2, 3))
    assert (kept.workspace_mb, kept.onnx_sha256) == (512, bundle.model_sha256)
    typed = not version.startswith("8")
    assert kept.graph_sha256 == bundle.manifest.files[GRAPHS["fp16" if typed else "fp32"]]
    assert built.report()["plan"] == str(built.plan_path)
    json.dumps(built.report())
    device.check_nothing_held()


def test_the_inspector_proves_the_share_of_half_precision(bundle: Bundle) -> None:
    """Of 20 layers one answers integers (ArgMax) and one is pinned: 18 / 20 in FP16 on 8.6, none in FP32."""
    device = SimulatedDevice("8.6.1")
    nodes = [node.name for node in onnx.load(bundle.onnx_path).graph.node]
    assert (len(nodes), PINNED in nodes) == (20, True)
    half, full = build(bundle, device).sidecar, build(bundle, device, "fp32").sidecar
    assert (half.layers, half.half_share) == (20, 0.9)
    assert (full.layers, full.half_share) == (20, 0.0)


def test_an_engine_without_any_half_precision_is_told(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    """A typed graph that holds no FP16 gives an FP32 engine: its share is 0, and a warning says what to look at."""
    (bundle.path / GRAPHS["fp16"]).write_bytes(bundle.onnx_path.read_bytes())
    plain = write_manifest(bundle.path, bundle.manifest)
    assert build(plain, SimulatedDevice("10.13.3")).sidecar.half_share == 0
    assert "none of the engine's 20 layers is seen to work in fp16" in caplog.text


def test_progress_is_told_where_tensorrt_tells_it(bundle: Bundle) -> None:
    """From 10 on every step is told, to the last of them; 8.6 has no such interface."""
    for version, steps in (("8.6.1", 0), ("10.3.0", 20)):
        told: list[tuple[str, int, int]] = []
        options = EngineOptions("fp32", (1, 1, 1))
        build_engine(
            bundle, options, lambda *step, told=told: told.append(step), vendor=SimulatedDevice(version).vendor
        )
        assert [done for _, done, _ in told] == ([0, *range(1, steps + 1), steps] if steps else [])
        assert {total for _, _, total in told} == ({steps} if steps else set())


@pytest.mark.parametrize(
    "told",
    [
        "[virtualMemoryBuffer.cpp::resizePhysical] Error Code 2: OutOfMemory (Requested size was 2147483648 bytes.)",
        "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[net/1/Mul...scores]}.)",
        "CUDA error: out of memory",
        "Tactic Device request: 512MB. Device memory is insufficient to use tactic. Insufficient memory",
    ],
)
def test_out_of_memory_is_named_as_such(bundle: Bundle, device: SimulatedDevice, told: str) -> None:
    """With TensorRT's words, the workspace that was given, and what to lower; the last of these often means it."""
    device.faults.build = told
    with pytest.raises(EngineError, match=r"ran out of memory") as failed:
        build(bundle, device, workspace_mb=1024)
    text = str(failed.value)
    assert told in text
    assert "a workspace of 1024 MB" in text
    assert "a lower --workspace-mb, or a lower MAX in --batch MIN,OPT,MAX (now 3)" in text
    assert engines(bundle) == {}
    device.check_nothing_held()


def test_another_failure_is_not_called_out_of_memory(bundle: Bundle, device: SimulatedDevice) -> None:
    """TensorRT's own words are all there is to say."""
    device.faults.build = "Error Code 4: Miscellaneous (unsupported shape)"
    with pytest.raises(EngineError, match=r"could not build the engine: Error Code 4") as failed:
        build(bundle, device)
    assert "memory" not in str(failed.value)


def test_the_workspace_comes_from_what_is_free(bundle: Bundle) -> None:
    """Half of what is free now; more than there is, or next to nothing, is refused before TensorRT begins."""
    assert build(bundle, SimulatedDevice(memory_bytes=2 << 30)).sidecar.workspace_mb == 1024
    with pytest.raises(EngineError, match=r"A workspace of 4096 MB cannot be: the device has 2048 MB"):
        build(bundle, SimulatedDevice(memory_bytes=2 << 30), workspace_mb=4096)
    with pytest.raises(EngineError, match=r"A workspace of 10 MB cannot be: the device has 20 MB, of which 20 MB"):
        build(bundle, SimulatedDevice(memory_bytes=20 << 20))


def test_a_full_disk_leaves_the_engine_that_was_there(bundle: Bundle, device: SimulatedDevice) -> None:
    """The kernel refuses the write in the middle of the plan; the old engine stands, nothing half-written is left."""
    build(bundle, device)
    before = engines(bundle)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step: str, done: int, total: int) -> None:
        del step
        if done == total:  # as late as can be: the plan is larger than this, all else is smaller
            resource.setrlimit(resource.RLIMIT_FSIZE, (1200, hard))

    try:
        with pytest.raises(StoreError, match=r"fp16.plan cannot be written: .*Free some space"):
            build_engine(bundle, EngineOptions("fp16", (1, 2, 3)), fill, vendor=device.vendor)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert engines(bundle) == before
    device.check_nothing_held()


def test_two_builds_at_once_are_one_too_many(bundle: Bundle, device: SimulatedDevice) -> None:
    """The second is told so at once, and can go on when the first is done."""
    with (
        building_alone(bundle.path),
        pytest.raises(StoreError, match=r"engines is being converted by another process. Wait"),
    ):
        build(bundle, device)
    build(bundle, device)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing(bundle: Bundle, device: SimulatedDevice, number: signal.Signals) -> None:
    """Ctrl-C or a stopping service ends the build at its next step: no plan, no lock, handlers as before."""
    before = signal.getsignal(number)
    steps = []

    def interrupt(step: str, done: int, total: int) -> None:
        del step, total
        steps.append(done)
        if done == 3:
            os.kill(os.getpid(), number)
            for _ in range(500):  # the main thread hears it, and then listens as before
                if signal.getsignal(number) is before:
                    break
                time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        build_engine(bundle, EngineOptions("fp16", (1, 2, 3)), interrupt, vendor=device.vendor)
    assert max(steps[:-1]) == 3
    assert engines(bundle) == {}
    assert signal.getsignal(number) is before
    device.check_nothing_held()
    build(bundle, device)


def test_a_version_that_tells_no_progress_stops_after_its_build(bundle: Bundle) -> None:
    """On 8.6 a signal is obeyed once TensorRT returns: what it built is not kept."""
    device = SimulatedDevice("8.6.1")
    builder = device.tensorrt.Builder

    class Interrupting:
        """Sends the signal while TensorRT is at work."""

        def __init__(self, real: Any) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def build_serialized_network(self, *arguments: Any) -> Any:
            os.kill(os.getpid(), signal.SIGINT)
            while signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
                time.sleep(0.01)
            return self._real.build_serialized_network(*arguments)

    names = (
        "OnnxParser",
        "Runtime",
        "ILogger",
        "Dims",
        "BuilderFlag",
        "MemoryPoolType",
        "NetworkDefinitionCreationFlag",
        "init_libnvinfer_plugins",
    )
    kinds = {name: getattr(device.tensorrt, name) for name in (*names, "ProfilingVerbosity", "DataType", "__version__")}
    tensorrt = SimpleNamespace(**kinds, Builder=lambda listener: Interrupting(builder(listener)))
    vendor = Vendor(tensorrt, device.vendor.cuda, None, device.vendor.l4t, device.vendor.power_mode)
    with pytest.raises(KeyboardInterrupt):
        build_engine(bundle, EngineOptions("fp16", (1, 2, 3)), lambda *_: None, vendor=vendor)
    assert engines(bundle) == {}


def test_what_a_killed_build_left_is_cleared(bundle: Bundle, device: SimulatedDevice) -> None:
    """SIGKILL and a power cut run no clean-up; the next build does it, under the lock."""
    folder = bundle.path / "engines"
    folder.mkdir(mode=0o755)
    (folder / "fp16.plan.new.tmp").write_bytes(b"half")
    build(bundle, device)
    assert set(engines(bundle)) == {"fp16.plan", "fp16.json"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_killed_build_holds_no_lock(bundle: Bundle, device: SimulatedDevice) -> None:
    """The lock goes with the process that held it."""
    hold = (
        "import sys, time; from pathlib import Path; from converters.tensorrt.building import building_alone\n"
        "with building_alone(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(bundle.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StoreError, match=r"by another process"):
            build(bundle, device)
        process.kill()
        process.wait()
    build(bundle, device)


@pytest.mark.parametrize(
    ("missing", "precision", "version", "told"),
    [
        (GRAPHS["fp16"], "fp16", "10.13.3", "holds no model.fp16.onnx, of which an engine in fp16 is made"),
        (PLANS["fp16"], "fp16", "8.6.1", "holds no precision.json"),
        (GRAPHS["int8"], "int8", "10.3.0", "holds no model.int8.onnx"),
    ],
)
def test_a_bundle_without_that_precision_says_what_to_run(
    bundle: Bundle, missing: str, precision: str, version: str, told: str
) -> None:
    """The workstation writes graphs and plans; the device only builds."""
    (bundle.path / missing).unlink()
    poor = write_manifest(bundle.path, bundle.manifest)
    with pytest.raises(BundleError, match=told) as refused:
        build(poor, SimulatedDevice(version), precision)
    assert f"convert {bundle.path} --to onnxruntime --precision {precision}" in str(refused.value)


def test_pins_of_another_model_are_refused(bundle: Bundle, device: SimulatedDevice) -> None:
    """A precision plan that was copied from another bundle would pin the wrong layers."""
    write_plan(bundle.path / PLANS["fp16"], PrecisionPlan("fp16", "0" * 64, (Pin(PINNED, "copied"),)))
    mixed = write_manifest(bundle.path, bundle.manifest)
    with pytest.raises(BundleError, match=rf"speaks of another model: expected the sha256 {bundle.model_sha256}"):
        build(mixed, device)


def test_a_pin_that_meets_no_layer_is_refused(bundle: Bundle) -> None:
    """Passing over it would run that layer in FP16, where it overflows."""
    assert bundle.model_sha256 is not None
    write_plan(
        bundle.path / PLANS["fp16"], PrecisionPlan("fp16", bundle.model_sha256, (Pin("net/9/Exp", "overflows"),))
    )
    mixed = write_manifest(bundle.path, bundle.manifest)
    with pytest.raises(ConversionError, match=r"keeps net/9/Exp in FP32, and TensorRT 8\.6\.1 has no layer of that"):
        build(mixed, SimulatedDevice("8.6.1"))


def test_a_graph_that_tensorrt_cannot_read_is_refused(bundle: Bundle, device: SimulatedDevice) -> None:
    """With what is wrong with it."""
    bundle.onnx_path.write_bytes(b"no graph")
    with pytest.raises(ContractError, match=r"refused: expected a serial"):
        build(write_manifest(bundle.path, bundle.manifest), device, "fp32")


class _Swapping(SimulatedTensorRT):
    """Somebody else writes another graph into the bundle while TensorRT builds, and the right one back after it."""

    def Builder(self, logger: Any) -> Any:  # noqa: N802 - the vendor's name
        """Begin a build."""
        self.values.path.write_bytes(b"another graph")
        return super().Builder(logger)

    def Runtime(self, logger: Any) -> Any:  # noqa: N802 - the vendor's name
        """Begin to load the engine."""
        self.values.path.write_bytes(self.values.content)
        return super().Runtime(logger)


def test_tensorrt_is_given_the_very_bytes_that_were_hashed(bundle: Bundle, device: SimulatedDevice) -> None:
    """A file that is another one only while TensorRT builds changes nothing; one that stays another is refused."""
    plain = build(bundle, device, "fp32").plan_path.read_bytes()
    values = plain_values()
    values.path, values.content = bundle.onnx_path, bundle.onnx_path.read_bytes()
    vendor = replace(device.vendor, tensorrt=_Swapping(device, "10.3.0", values))
    built = build_engine(bundle, EngineOptions("fp32", (1, 2, 3)), lambda *_: None, vendor=vendor)
    assert built.plan_path.read_bytes() == plain
    bundle.onnx_path.write_bytes(b"another graph")
    with pytest.raises(BundleError, match=r"altered: expected sha256"):
        build(bundle, device, "fp32")


@pytest.mark.parametrize("version", ["7.2.3", "8.5.2", "9.3.0", "12.0.0"])
def test_a_version_that_nobody_has_checked_is_refused(bundle: Bundle, version: str) -> None:
    """Neither older nor newer than what the signatures are known of."""
    with pytest.raises(DependencyError, match=rf"TensorRT {version} is none that engines are built with: expected 8.6"):
        build(bundle, SimulatedDevice(version))
    assert dialect_of("10.0.1").typed
    assert not dialect_of("8.6.1").typed


@pytest.mark.parametrize("version", ["11.0.0", "11.4.0.106"])
def test_a_jetson_is_not_given_a_tensorrt_that_does_not_support_it(bundle: Bundle, version: str) -> None:
    """TensorRT 11 supports Jetson from 11.4.1 on; before, a build ends with what to install. Other GPUs are served."""
    with pytest.raises(
        DependencyError, match=rf"TensorRT {version} does not support Jetson: expected 11\.4\.1 or later"
    ):
        build(bundle, SimulatedDevice(version, l4t="39.0"))
    assert engines(bundle) == {}
    assert dialect_of("11.4.1.2", jetson=True).typed
    assert dialect_of("10.16.1.11", jetson=True).typed
    build(bundle, SimulatedDevice(version, l4t=None))


@pytest.mark.parametrize("batch", [(0, 1, 1), (2, 1, 3), (1, 4, 3)])
def test_batches_out_of_order_are_refused(batch: tuple[int, int, int]) -> None:
    """1 <= MIN <= OPT <= MAX."""
    with pytest.raises(SettingsError, match=r"--batch: expected MIN,OPT,MAX"):
        EngineOptions(batch=batch)
    with pytest.raises(SettingsError, match=r"builder's level: expected 0 to 5, received 6"):
        EngineOptions(builder_level=6)


def cached(name: str) -> Path:
    """Return the timing cache's file of a kind."""
    (found,) = cache_folder().glob(f"*.{name}")
    return found


def test_the_second_build_is_given_the_timings_of_the_first(bundle: Bundle, device: SimulatedDevice) -> None:
    """They lie under the user's cache, one file per device and version."""
    build(bundle, device)
    assert cached("timing").read_bytes() == b"simulated timings of 10.3.0"
    assert "Simulated-Orin-sm8.7-16-trt10.3.0" in cached("timing").name
    build(bundle, device)


def test_a_timing_cache_of_another_device_or_version_is_refused(bundle: Bundle, device: SimulatedDevice) -> None:
    """Copied from another machine, damaged, or refused by TensorRT: never used, and never passed over in silence."""
    build(bundle, device)
    described = json.loads(cached("json").read_text())
    for change, told in (({"gpu": "Xavier"}, "found .*gpu Xavier"), ({"tensorrt": "10.2.0"}, "found tensorrt 10.2.0")):
        cached("json").write_text(json.dumps({**described, **change}))
        with pytest.raises(
            StoreError, match=rf"timing cache .* is refused: expected .*{told}.* Delete it and build again"
        ):
            build(bundle, device)
    cached("json").write_text(json.dumps(described))
    cached("timing").write_bytes(b"simulated timings of 10.3.1")
    with pytest.raises(StoreError, match=r"is refused: expected .*sha256"):
        build(bundle, device)
    cached("json").write_text("{")
    with pytest.raises(StoreError, match=r"is refused: it cannot be read"):
        build(bundle, device)


def test_timings_that_tensorrt_itself_does_not_take_are_refused(bundle: Bundle, device: SimulatedDevice) -> None:
    """`set_timing_cache` without ignoring a mismatch has the last word."""
    build(bundle, device)
    from converters.tensorrt.timing_cache import locked_timing_cache
    from edge.engines.device import machine_of

    with locked_timing_cache(machine_of(device.vendor)) as cache:
        cache.write(b"simulated timings of another chip")
    with pytest.raises(StoreError, match=r"is refused: TensorRT does not take it for this device"):
        build(bundle, device)


def test_a_timing_cache_that_cannot_be_kept_costs_no_engine(
    bundle: Bundle, device: SimulatedDevice, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine took minutes; that the next one will too is a warning."""
    cache_folder().mkdir(parents=True)

    def block(step: str, done: int, total: int) -> None:
        del step
        if done == total:
            name = "Simulated-Orin-sm8.7-16-trt10.3.0.timing"
            (cache_folder() / name).mkdir(exist_ok=True)

    build_engine(bundle, EngineOptions("fp16", (1, 2, 3)), block, vendor=device.vendor)
    assert "fp16.plan" in engines(bundle)
    assert "The engine is built; the next build takes as long" in caplog.text


def test_builds_of_different_bundles_wait_for_each_others_timings(
    bundle: Bundle, device: SimulatedDevice, tmp_path: Path
) -> None:
    """One build waits while the other uses the timing cache, so that neither loses what the other has learnt."""
    from converters.tensorrt.timing_cache import locked_timing_cache
    from edge.engines.device import machine_of

    del tmp_path
    machine = machine_of(device.vendor)
    with locked_timing_cache(machine) as cache:
        cache.write(b"simulated timings of 10.3.0")
        thread = threading.Thread(target=lambda: build(bundle, device))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(60)
    assert "fp16.plan" in engines(bundle)


def test_a_build_in_another_thread_leaves_signals_alone(bundle: Bundle, device: SimulatedDevice) -> None:
    """Only the main thread may listen to them."""
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=lambda: build(bundle, device))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert plan_path(bundle.path, "fp16").exists()


def test_a_failure_of_cuda_during_a_build_is_an_error_of_ours(
    bundle: Bundle, device: SimulatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA's words, and no traceback."""

    def fail(*_: object) -> None:
        raise device.vendor.cuda.Error("cuCtxSynchronize failed: launch timed out")

    monkeypatch.setattr(building, "build_plan", fail)
    with pytest.raises(EngineError, match=r"CUDA failed while the engine was built: cuCtxSynchronize"):
        build(bundle, device)
    device.check_nothing_held()


def test_a_pin_that_was_not_obeyed_is_refused(bundle: Bundle) -> None:
    """8.6 is told layer by layer and may fuse a layer away: its inspector is read back, and such an engine not kept."""
    device = SimulatedDevice("8.6.1")
    device.faults.disobeys = True
    with pytest.raises(ConversionError, match=rf"did not obey the precision plan: {PINNED} must stay in FP32"):
        build(bundle, device)
    assert engines(bundle) == {}
    device.faults.disobeys = False
    assert build(bundle, device).sidecar.precision == "fp16"


@pytest.mark.parametrize("raised", [RuntimeError("cannot allocate"), TypeError("incompatible function arguments")])
def test_what_a_binding_raises_is_ours(bundle: Bundle, device: SimulatedDevice, raised: Exception) -> None:
    """Pybind's exceptions become EngineError, and the builder is freed while its context is there."""
    device.faults.raises = raised
    with pytest.raises(EngineError, match=rf"TensorRT 10\.3\.0 failed while the engine was built: {raised}") as failed:
        build(bundle, device)
    assert failed.value.exit_code == 6
    device.check_nothing_held()


def test_a_build_that_fails_frees_its_builder_before_its_context(bundle: Bundle, device: SimulatedDevice) -> None:
    """A builder that outlives its context crashes a real device; the simulated one says Misuse."""
    device.faults.build = "Error Code 10"
    with pytest.raises(EngineError, match="Error Code 10"):
        build(bundle, device)
    device.check_nothing_held()


def test_an_engine_that_sees_golden_frames_otherwise_is_not_kept(tmp_path: Path, device: SimulatedDevice) -> None:
    """Defects lost on the device that built it: exit code 11, and the engine that was there before is as it was."""
    bundle = load_bundle(shutil.copytree(ROOT / "edge" / "bundles" / "simulated-glass", tmp_path / "glass"))
    assert build(bundle, device, "fp32").golden == len(bundle.manifest.golden) > 0
    before = engines(bundle)
    model = onnx.load(bundle.onnx_path)
    less = next(node for node in model.graph.node if node.name == "head/clean")
    less.input[0] = "head/0"  # which is below 1: everything is clean
    bundle.onnx_path.write_bytes(model.SerializeToString())
    wrong = write_manifest(bundle.path, bundle.manifest)
    with pytest.raises(
        ConversionError, match=r"otherwise than at conversion: \d+ defects lost, .*was not kept"
    ) as lost:
        build(wrong, device, "fp32")
    assert lost.value.exit_code == 11
    assert engines(bundle) == before


def test_the_workspace_of_a_jetson_is_what_linux_could_give_away(bundle: Bundle, tmp_path: Path) -> None:
    """CUDA counts the page cache as taken on a Jetson: half of MemAvailable is used, as /proc/meminfo says it."""
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:        7800000 kB\nMemFree:          300000 kB\nMemAvailable:    4096000 kB\n")
    device = SimulatedDevice(memory_bytes=1 << 30)
    assert build(bundle, device).sidecar.workspace_mb == 512
    device = SimulatedDevice(memory_bytes=6 << 30)
    device.vendor.cuda.mem_get_info = lambda: (300 << 20, 6 << 30)
    jetson = replace(device.vendor, available_bytes=lambda: tegra_available_bytes(meminfo))
    built = build_engine(bundle, EngineOptions("fp16", (1, 2, 3)), lambda *_: None, vendor=jetson)
    assert built.sidecar.workspace_mb == 2000
    assert tegra_available_bytes(tmp_path / "none") is None
