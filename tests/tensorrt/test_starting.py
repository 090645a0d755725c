"""A line that finds no engine: it builds one and says so, or refuses."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.tensorrt.building import EngineOptions, build_engine
from edge.app import RunResult, make_engine, run_line
from edge.bundle import Bundle, write_manifest
from edge.engines.device import Vendor
from edge.engines.engine_building import missing_precision
from edge.engines.engine_files import MissingEngineError, plan_path, sidecar_path
from edge.errors import BundleError, DependencyError, EngineError
from edge.opencv import cv2
from edge.publishers.memory import MemoryPublisher
from edge.records.decided import Decided
from edge.settings import EngineSettings, Settings
from edge.simulation.device import SimulatedDevice
from tests.bright_bundle import part

CONVERT = (sys.executable, "-m", "tests.tensorrt.convert_simulated")


@pytest.fixture
def vendor(device: SimulatedDevice) -> Vendor:
    """Return the simulated device with a `convert` that builds for it, in a process of its own."""
    return replace(device.vendor, convert=CONVERT)


def line(folder: Path, **engine: Any) -> Settings:
    """Return a line of three clean parts, by TensorRT, with three tiles at once."""
    (folder / "parts").mkdir(exist_ok=True)
    for index in range(3):
        cv2.imwrite(str(folder / "parts" / f"{index}.png"), part(64, 64))
    return Settings.model_validate(
        {
            "camera": {"kind": "images", "source": str(folder / "parts"), "max_age_ms": 60_000},
            "engine": {"backend": "tensorrt", "batch": 3, **engine},
        }
    )


def run(folder: Path, settings: Settings, bundle: Bundle, vendor: Vendor, stop: threading.Event | None = None) -> Any:
    """Run the line to its end. Return what it came to and its messages as (topic below the root, body), in order."""
    publisher, decided = MemoryPublisher(), list[Decided]()
    result = run_line(
        settings, bundle, stop or threading.Event(), store=folder / "o.db", live=True,
        publisher=publisher, vendor=vendor, watchers=[decided.append],
    )  # fmt: skip
    told = [
        (message.topic.partition("/inspect/v1/")[2], json.loads(message.payload)["body"])
        for message in publisher.messages
        if message.payload and message.content_type == "application/json"
    ]
    return result, told, publisher


def test_a_missing_engine_is_built_while_the_line_says_no_read(
    bundle: Bundle, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`starting: building the engine`, NO_READ and its alarm; then the parts are OK and the alarm's cause is gone."""
    monkeypatch.setenv("SIMULATED_BUILD_S", "1.5")
    result, told, _ = run(tmp_path, line(tmp_path), bundle, vendor)
    assert plan_path(bundle.path, "fp16").exists()
    states = [(body["status"], body["reason"]) for topic, body in told if topic == "status"]
    assert ("starting", "building the engine") in states
    assert states.index(("starting", "building the engine")) < states.index(("online", "inspecting"))
    verdicts = [body["verdict"] for topic, body in told if topic == "event/result"]
    first_ok = verdicts.index("OK")
    assert first_ok >= 2  # twice within a second and a half
    assert set(verdicts[:first_ok]) == {"NO_READ"}
    assert set(verdicts[first_ok:]) == {"OK"}
    reasons = {body["reason"] for topic, body in told if topic == "event/result" and body["verdict"] == "NO_READ"}
    assert reasons == {"building the engine"}
    alarms = [body["transition"] for topic, body in told if topic.startswith("event/alarm")]
    assert alarms == ["raised", "cleared"]
    assert (result.counts.alarms_raised, result.counts.alarms_cleared) == (1, 1)
    standing = [body["state"] for topic, body in told if topic == "alarm/no-read"]
    assert standing[-1] == "returned"  # over, and to be acknowledged: somebody should know that parts went by unseen


def test_a_refused_engine_is_built_again(bundle: Bundle, vendor: Vendor, tmp_path: Path) -> None:
    """JetPack was updated: `missing: build` builds again what must not be used; `refuse` ends the line."""
    old = SimulatedDevice("10.2.0")
    build_engine(bundle, EngineOptions("fp16", (1, 3, 3)), lambda *_: None, vendor=old.vendor)
    before = plan_path(bundle.path, "fp16").read_bytes()
    with pytest.raises(EngineError, match=r"expected a plan of TensorRT 10\.3\.0, found one of TensorRT 10\.2\.0"):
        run(tmp_path, line(tmp_path, missing="refuse"), bundle, vendor)
    (tmp_path / "o.db").unlink()
    _, told, _ = run(tmp_path, line(tmp_path), bundle, vendor)
    assert plan_path(bundle.path, "fp16").read_bytes() != before
    assert [body["verdict"] for topic, body in told if topic == "event/result"][-1] == "OK"


def test_an_engine_that_tensorrt_itself_does_not_take_is_built_again(
    bundle: Bundle, vendor: Vendor, tmp_path: Path
) -> None:
    """Hash, header and description are in order and TensorRT answers None: `build` builds, `refuse` ends."""
    built = build_engine(bundle, EngineOptions("fp16", (1, 3, 3)), lambda *_: None, vendor=vendor)
    useless = built.plan_path.read_bytes()[:40]
    built.plan_path.write_bytes(useless)
    described = built.sidecar.model_copy(update={"plan_sha256": hashlib.sha256(useless).hexdigest()})
    sidecar_path(built.plan_path).write_bytes(described.serialised())
    with pytest.raises(EngineError, match=r"TensorRT 10\.3\.0 refuses .*Serialization assertion failed"):
        run(tmp_path, line(tmp_path, missing="refuse"), bundle, vendor)
    assert built.plan_path.read_bytes() == useless
    (tmp_path / "o.db").unlink()
    _, told, _ = run(tmp_path, line(tmp_path), bundle, vendor)
    assert built.plan_path.read_bytes() != useless
    assert [body["verdict"] for topic, body in told if topic == "event/result"][-1] == "OK"


def test_what_no_golden_frame_could_prove_is_not_built(bundle: Bundle, vendor: Vendor, tmp_path: Path) -> None:
    """Before minutes are spent on it: the line ends with what to do, and nothing was built."""
    bare = write_manifest(bundle.path, bundle.manifest.model_copy(update={"golden": ()}))
    with pytest.raises(BundleError, match=r"has no golden frames, so nothing can show .* TensorRT .*--data PICTURES"):
        run(tmp_path, line(tmp_path), bare, vendor)
    assert not plan_path(bundle.path, "fp16").exists()


def test_an_engine_that_sees_a_golden_frame_otherwise_judges_nothing(
    bundle: Bundle, vendor: Vendor, tmp_path: Path
) -> None:
    """One that was built and proven, of a bundle whose golden map was then mended: the line does not start with it."""
    build_engine(bundle, EngineOptions("fp16", (1, 3, 3)), lambda *_: None, vendor=vendor)
    cv2.imwrite(str(bundle.path / "golden" / "0.map.png"), np.zeros((64, 64), np.uint8))
    other = write_manifest(bundle.path, bundle.manifest)
    with pytest.raises(BundleError, match=r"with the engine tensorrt fp16: .* received 0 defects lost, 2 gained"):
        run(tmp_path, line(tmp_path), other, vendor)


def test_an_engine_in_a_folder_that_others_may_write_is_not_built_over(
    bundle: Bundle, vendor: Vendor, tmp_path: Path
) -> None:
    """Plans are run as code: a person looks first."""
    build_engine(bundle, EngineOptions("fp16", (1, 3, 3)), lambda *_: None, vendor=vendor)
    plan_path(bundle.path, "fp16").parent.chmod(0o777)
    before = plan_path(bundle.path, "fp16").read_bytes()
    with pytest.raises(EngineError, match=r"is open to other users"):
        run(tmp_path, line(tmp_path), bundle, vendor)
    assert plan_path(bundle.path, "fp16").read_bytes() == before


def test_fewer_multiprocessors_are_another_power_mode(bundle: Bundle, tmp_path: Path) -> None:
    """Nvpmodel switches some off: the plan serves as before."""
    build_engine(bundle, EngineOptions("fp16", (1, 3, 3)), lambda *_: None, vendor=SimulatedDevice(sm_count=16).vendor)
    saving = replace(SimulatedDevice(sm_count=8).vendor, convert=("false",))
    _, told, _ = run(tmp_path, line(tmp_path), bundle, saving)
    assert {body["verdict"] for topic, body in told if topic == "event/result"} == {"OK"}


def test_an_engine_that_is_there_is_not_built_again(bundle: Bundle, vendor: Vendor, tmp_path: Path) -> None:
    """The second start inspects at once."""
    build_engine(bundle, EngineOptions("fp16", (1, 3, 3)), lambda *_: None, vendor=vendor)
    before = plan_path(bundle.path, "fp16").stat().st_mtime_ns
    _, told, _ = run(tmp_path, line(tmp_path), bundle, replace(vendor, convert=("false",)))
    assert plan_path(bundle.path, "fp16").stat().st_mtime_ns == before
    assert {body["verdict"] for topic, body in told if topic == "event/result"} == {"OK"}


def test_refusing_is_a_setting(bundle: Bundle, vendor: Vendor, tmp_path: Path) -> None:
    """`missing: refuse` ends the line with how to build the engine, and leaves `offline: could not start`."""
    publisher = MemoryPublisher()
    with pytest.raises(MissingEngineError, match=r"convert .* --to tensorrt --precision fp16 --batch 1,3,3"):
        run_line(
            line(tmp_path, missing="refuse"), bundle, threading.Event(), store=tmp_path / "o.db", live=True,
            publisher=publisher, vendor=vendor,
        )  # fmt: skip
    assert json.loads(publisher.messages[-1].payload)["body"]["reason"] == "could not start"
    assert not plan_path(bundle.path, "fp16").exists()


def test_a_build_that_fails_ends_the_line_with_its_words(bundle: Bundle, vendor: Vendor, tmp_path: Path) -> None:
    """The words of `convert` are in the error, and the alarm stands: nothing was read."""
    (bundle.path / "model.onnx").write_bytes(b"no graph")
    broken = write_manifest(bundle.path, bundle.manifest)
    publisher = MemoryPublisher()
    with pytest.raises(EngineError, match=r"could not be built: .* ended with 4: (.|\n)*is refused"):
        run_line(
            line(tmp_path, precision="fp32"), broken, threading.Event(), store=tmp_path / "o.db", live=True,
            publisher=publisher, vendor=vendor,
        )  # fmt: skip
    assert [topic for topic, message in publisher.retained.items() if "/alarm/no-read" in topic and message.payload]


def test_a_converter_that_is_not_there_is_named(bundle: Bundle, vendor: Vendor, tmp_path: Path) -> None:
    """As any program that is missing."""
    with pytest.raises(DependencyError, match="since /no/convert fails"):
        run(tmp_path, line(tmp_path), bundle, replace(vendor, convert=("/no/convert",)))


def test_stopping_ends_the_build(
    bundle: Bundle, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM while the engine is built: the build ends, nothing is left of it, and the line says goodbye."""
    monkeypatch.setenv("SIMULATED_BUILD_S", "60")
    stop = threading.Event()
    threading.Timer(1.2, stop.set).start()
    begun_s = time.monotonic()
    result, told, _ = run(tmp_path, line(tmp_path), bundle, vendor, stop)
    assert time.monotonic() - begun_s < 50
    assert isinstance(result, RunResult)
    assert result.counts.frames == 0
    assert not plan_path(bundle.path, "fp16").exists()
    assert [body["reason"] for topic, body in told if topic == "status"][-1] == "stopped"


def test_what_is_missing_follows_settings_and_bundle(bundle: Bundle, device: SimulatedDevice) -> None:
    """`auto` builds fp16, or fp32 where nobody decided pins; any engine that is there is enough for it."""
    assert missing_precision(bundle, "auto") == "fp16"
    assert missing_precision(bundle, "int8") == "int8"
    (bundle.path / "precision.json").unlink()
    (bundle.path / "model.fp16.onnx").unlink()
    plain = write_manifest(bundle.path, bundle.manifest)
    assert missing_precision(plain, "auto") == "fp32"
    assert missing_precision(plain, "fp16") == "fp16"
    build_engine(plain, EngineOptions("int8", (1, 1, 1)), lambda *_: None, vendor=device.vendor)
    assert missing_precision(plain, "auto") is None
    assert missing_precision(plain, "fp32") == "fp32"
    plan_path(plain.path, "int8").unlink()  # the rest is for a person to look at
    assert missing_precision(plain, "auto") is None


@pytest.mark.parametrize(("memory", "cuda_graphs"), [("copied", False), ("mapped", True)])
def test_the_settings_reach_the_engine(
    bundle: Bundle, vendor: Vendor, device: SimulatedDevice, tmp_path: Path, memory: str, cuda_graphs: bool
) -> None:
    """`engine.memory` and `engine.cuda_graphs` decide how the device is used."""
    build_engine(bundle, EngineOptions("fp16", (1, 3, 3)), lambda *_: None, vendor=vendor)
    device.copied_in_bytes = device.launched_graphs = 0  # those of the build's golden frames are not counted
    run(tmp_path, line(tmp_path, memory=memory, cuda_graphs=cuda_graphs), bundle, vendor)
    assert (device.copied_in_bytes > 0) == (memory == "copied")
    assert (device.launched_graphs > 0) == cuda_graphs
    with make_engine(EngineSettings(backend="tensorrt", precision="fp16", batch=3), bundle, vendor=vendor):
        pass
