"""Every reason to refuse an engine, each with what was expected, what was found, and how to rebuild."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.tensorrt.building import BuiltEngine
from edge.bundle import Bundle, load_bundle
from edge.engines.device import Vendor, l4t_release, machine_of, parse_version
from edge.engines.engine_files import (
    MissingEngineError,
    _check_folder,
    plan_path,
    read_header,
    sidecar_path,
    verified_plan,
)
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
from edge.errors import EngineError
from edge.simulation.device import SimulatedDevice


def untouched(device: SimulatedDevice) -> Vendor:
    """Return a vendor whose GPU can be asked what it is, and nothing else: a context or memory would be an error."""
    cuda = device.vendor.cuda
    facts = cuda.Device(0)
    asking = SimpleNamespace(
        name=facts.name, compute_capability=facts.compute_capability, get_attribute=facts.get_attribute
    )
    kept = {name: getattr(cuda, name) for name in ("Error", "init", "device_attribute", "get_driver_version")}
    return Vendor(
        device.tensorrt,
        SimpleNamespace(**kept, Device=lambda _: asking),
        None,
        device.vendor.l4t,
        device.vendor.power_mode,
    )


def refusal(bundle: Bundle, device: SimulatedDevice, precision: Any = "fp16", batch: int = 3) -> str:
    """Open the bundle's engine on a GPU that must not be touched; return why it was refused."""
    options = TensorRtOptions(precision)
    with pytest.raises(EngineError) as refused:
        TensorRtEngine(bundle, bundle.contract(batch), options, untouched(device)).__enter__()
    text = str(refused.value)
    assert f"convert {bundle.path} --to tensorrt --precision {precision} --batch 1,{batch},{batch}" in text
    return text


def describe_anew(plan: Path, **changes: Any) -> None:
    """Rewrite a plan's sidecar, with the hash of the plan as it is now."""
    sidecar = json.loads(sidecar_path(plan).read_text())
    sidecar["plan_sha256"] = hashlib.sha256(plan.read_bytes()).hexdigest()
    sidecar_path(plan).write_text(json.dumps({**sidecar, **changes}))


def test_a_missing_engine_says_how_to_build_it(bundle: Bundle, device: SimulatedDevice) -> None:
    """A bundle fresh from the workstation has none."""
    assert "There is no TensorRT engine at" in refusal(bundle, device)
    with pytest.raises(MissingEngineError):
        verified_plan(bundle, "fp16", 3, machine_of(device.vendor))


def test_a_truncated_plan_is_refused_by_its_hash(bundle: Bundle, device: SimulatedDevice, built: BuiltEngine) -> None:
    """A plan that a full disk or an unfinished copy leaves is not what was built."""
    plan = built.plan_path
    plan.write_bytes(plan.read_bytes()[:-100])
    text = refusal(bundle, device)
    assert f"altered or cut off since it was built: expected sha256 {built.sidecar.plan_sha256}" in text
    assert f"found {hashlib.sha256(plan.read_bytes()).hexdigest()}" in text


def test_one_changed_bit_is_refused(bundle: Bundle, device: SimulatedDevice, built: BuiltEngine) -> None:
    """A plan is code: nobody may slip in another."""
    plan = bytearray(built.plan_path.read_bytes())
    plan[200] ^= 1
    built.plan_path.write_bytes(plan)
    assert "altered or cut off" in refusal(bundle, device)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"ftrt", "expected a plan of at least 28 bytes, received 4: it is cut off"),
        (b"\x7fELF" + bytes(100), "begins with 74727466 00000000, received 464c457f 00000000"),
        (b"", "at least 28 bytes, received 0"),
    ],
)
def test_a_foreign_file_is_refused_by_its_header(
    bundle: Bundle, device: SimulatedDevice, built: BuiltEngine, content: bytes, told: str
) -> None:
    """Even where somebody has described it well."""
    built.plan_path.write_bytes(content)
    describe_anew(built.plan_path)
    assert told in refusal(bundle, device)


def test_a_plan_of_another_tensorrt_is_refused_by_its_header(
    bundle: Bundle, device: SimulatedDevice, built: BuiltEngine
) -> None:
    """The version stands in the plan itself: after an update of JetPack every engine is built anew."""
    assert device.tensorrt.__version__ == "10.3.0"
    assert built.sidecar.tensorrt == "10.3.0"
    told = refusal(bundle, SimulatedDevice("10.13.3.9"))
    assert "expected a plan of TensorRT 10.13.3, found one of TensorRT 10.3.0 in its header" in told


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"gpu": "Orin Nano"}, "expected GPU Orin Nano, which this device has, found Simulated Orin"),
        ({"compute_capability": (11, 0)}, "expected compute capability 11.0, which this device has, found 8.7"),
        ({"l4t": "36.4.4"}, "expected L4T 36.4.4, which this device has, found 36.4.3"),
        ({"l4t": None}, "expected L4T none, which this device has, found 36.4.3"),
    ],
)
def test_a_plan_of_another_device_is_refused(
    bundle: Bundle, built: BuiltEngine, other: dict[str, Any], told: str
) -> None:
    """A plan that came along with a copied bundle says where it was built."""
    assert built.sidecar.gpu == "Simulated Orin"
    assert told in refusal(bundle, SimulatedDevice(**other))


def test_another_build_of_the_same_tensorrt_is_refused_by_the_sidecar(
    bundle: Bundle, device: SimulatedDevice, built: BuiltEngine
) -> None:
    """The header names 10.3.0 for all of its builds; the sidecar tells them apart."""
    describe_anew(built.plan_path, tensorrt="10.3.0.26")
    assert "expected TensorRT 10.3.0, which this device has, found 10.3.0.26" in refusal(bundle, device)


def test_a_plan_of_another_precision_is_refused(bundle: Bundle, device: SimulatedDevice, built: BuiltEngine) -> None:
    """A renamed file is still of its own precision."""
    renamed = plan_path(bundle.path, "fp32")
    renamed.write_bytes(built.plan_path.read_bytes())
    sidecar_path(renamed).write_bytes(sidecar_path(built.plan_path).read_bytes())
    assert "expected precision fp32, found fp16" in refusal(bundle, device, "fp32")


def test_a_plan_of_another_model_is_refused(bundle: Bundle, device: SimulatedDevice, built: BuiltEngine) -> None:
    """A bundle that was trained or converted again needs its engine again, whichever of its graphs changed."""
    describe_anew(built.plan_path, onnx_sha256="0" * 64)
    told = refusal(bundle, device)
    assert f"expected model.onnx with sha256 {bundle.model_sha256}, found {'0' * 64}" in told
    describe_anew(built.plan_path, onnx_sha256=bundle.model_sha256, graph_sha256="1" * 64)
    assert f"a graph that the bundle no longer holds: found sha256 {'1' * 64}" in refusal(bundle, device)


def test_an_engine_for_smaller_batches_is_refused(bundle: Bundle, device: SimulatedDevice, built: BuiltEngine) -> None:
    """The line's batch and the engine's go together."""
    assert built.sidecar.batch == (1, 2, 3)
    assert "expected an engine of 4 tiles at once, found one of at most 3" in refusal(bundle, device, batch=4)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "expected the description of fp16.plan at"),
        ("{", "to describe the plan, received at the whole file"),
        ('{"schema": "linewatch/engine/1"}', "received at plan_sha256: Field required"),
    ],
)
def test_a_plan_without_a_readable_sidecar_is_refused(
    bundle: Bundle, device: SimulatedDevice, built: BuiltEngine, content: str | None, told: str
) -> None:
    """A plan that nobody answers for is not run."""
    sidecar_path(built.plan_path).unlink()
    if content is not None:
        sidecar_path(built.plan_path).write_text(content)
    assert told in refusal(bundle, device)


def test_a_folder_that_others_may_write_is_refused(bundle: Bundle, device: SimulatedDevice, built: BuiltEngine) -> None:
    """Plans are run as code, so their folder is this user's alone."""
    folder = built.plan_path.parent
    folder.chmod(0o755)
    assert "expected mode 0700, found 0755" in refusal(bundle, device)
    folder.chmod(0o700)
    with pytest.raises(EngineError, match=r"belongs to another user \(uid \d+\); expected this one \(12345\)"):
        _check_folder(folder, 12345)


def test_the_first_of_many_reasons_is_told(bundle: Bundle, built: BuiltEngine) -> None:
    """Hash, then header, then device, then precision, then model: each is told once the ones before are in order."""
    other = SimulatedDevice("11.4.0", gpu="Thor")
    plan = built.plan_path
    whole = plan.read_bytes()
    wrong: dict[str, Any] = {"gpu": "Xavier", "precision": "int8", "onnx_sha256": "0" * 64}
    describe_anew(plan, **wrong)
    plan.write_bytes(whole[:-1] + b"?")
    assert "altered or cut off" in refusal(bundle, other)
    describe_anew(plan, **wrong)
    assert "of TensorRT 10.3.0 in its header" in refusal(bundle, other)
    here = SimulatedDevice()
    mends: list[tuple[str, Callable[[], Any]]] = [
        ("found Xavier", lambda: wrong.pop("gpu")),
        ("found int8", lambda: wrong.pop("precision")),
        ("built of another model", lambda: wrong.pop("onnx_sha256")),
    ]
    right = {"gpu": "Simulated Orin", "precision": "fp16", "onnx_sha256": bundle.model_sha256}
    for told, mend in mends:
        describe_anew(plan, **{**right, **wrong})
        assert told in refusal(bundle, here)
        mend()
    describe_anew(plan, **right)
    assert verified_plan(bundle, "fp16", 3, machine_of(here.vendor)) == plan.read_bytes()


@given(st.binary(max_size=64))
def test_no_bytes_make_the_header_reader_fail_otherwise(content: bytes) -> None:
    """A file is a plan or refused, whatever it holds."""
    is_plan = len(content) >= 28 and content[:8] == b"ftrt\0\0\0\0"
    with contextlib.nullcontext() if is_plan else pytest.raises(EngineError):
        read_header(content)


@given(st.lists(st.integers(0, 255), min_size=4, max_size=4))
def test_the_header_gives_the_version_that_wrote_the_plan(version: list[int]) -> None:
    """Magic, zero, sixteen bytes, and the four numbers at byte 24."""
    content = bytes.fromhex("66747274") + bytes(4) + bytes(range(16)) + bytes(version) + b"rest"
    assert read_header(content).tensorrt == tuple(version)


def test_versions_are_compared_as_numbers() -> None:
    """10 comes after 8, and a build number or a post-release does no harm."""
    assert parse_version("10.13.3.9.post1") == (10, 13, 3, 9)
    assert parse_version("10.3.0") > parse_version("8.6.1")
    with pytest.raises(EngineError, match=r"expected numbers such as 10.3.0"):
        parse_version("unknown")


def test_the_release_of_jetson_is_read_from_its_file(tmp_path: Path) -> None:
    """As JetPack 6.2 writes it; any other machine has no such file."""
    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n")
    assert l4t_release(release) == "36.4.3"
    release.write_text("something else\n")
    assert l4t_release(release) is None
    assert l4t_release(tmp_path / "none") is None


def test_engines_do_not_change_what_a_bundle_is(bundle: Bundle, built: BuiltEngine) -> None:
    """The manifest leaves `engines/` out, so a bundle with an engine is still verified as a whole."""
    assert built.plan_path.exists()
    assert load_bundle(bundle.path).manifest == bundle.manifest
