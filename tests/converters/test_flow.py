"""`convert` from its command line, on bundles whose nets are a few ONNX nodes: precisions, bare models, bad input."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from converters.__main__ import main
from converters.locking import locked
from converters.precision.plan import read_plan
from edge.app import make_engine
from edge.bundle import load_bundle, sha256_of
from edge.errors import SettingsError
from edge.inspection.golden import check_golden
from edge.opencv import cv2
from edge.settings import EngineSettings
from tests.conftest import ROOT
from tests.converters.conftest import glass
from tests.converters.onnx_bundles import blurring_net, net_of, steep_net, write_onnx_bundle


def run(*arguments: object) -> int:
    """Run `convert` in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def content(bundle: Path) -> dict[str, str]:
    """Hash every file of a folder."""
    return {str(path.relative_to(bundle)): sha256_of(path) for path in sorted(bundle.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of two convolutions, as it is shipped: without model.keras."""
    return write_onnx_bundle(tmp_path_factory.mktemp("kept") / "bundle", blurring_net()).path


@pytest.fixture
def bundle(kept: Path, tmp_path: Path) -> Path:
    """Return a bundle of its own for one test."""
    return shutil.copytree(kept, tmp_path / "bundle")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of two pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in (5, 6):
        cv2.imwrite(str(folder / f"p{seed}.png"), glass(40, 60, seed)[:, :, 0])
    return folder


# --------------------------------------------------------------------------------------------------- precisions


def test_a_shipped_bundle_gets_both_precisions(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """FP16 and INT8 lie beside model.onnx with their plans; the manifest verifies them and says how they were made."""
    before = sha256_of(bundle / "model.onnx")
    for precision in ("fp16", "int8"):
        report = tmp_path / f"{precision}.json"
        limit = ("--max-changed-pixels", "0.02")
        assert run(bundle, "--to", "onnxruntime", "--precision", precision, "--json", report, *limit) == 0
        assert json.loads(report.read_text())[precision]["comparison"]["lost"] == {"scratch": 0}
        assert f"Wrote {bundle}/model.{precision}.onnx" in capsys.readouterr().out
    loaded = load_bundle(bundle)
    assert loaded.model_sha256 == before
    assert [step["step"] for step in loaded.manifest.provenance] == ["fp16", "int8"]
    for precision, name in (("fp16", "precision.json"), ("int8", "precision.int8.json")):
        plan = read_plan(bundle / name)
        assert (plan.precision, plan.onnx_sha256) == (precision, before)
        assert plan.pinned_nodes <= {node.name for node in onnx.load(bundle / "model.onnx").graph.node}
        assert {f"model.{precision}.onnx", name} <= set(loaded.manifest.files)
    with make_engine(EngineSettings(backend="onnxruntime", precision="int8"), loaded) as engine:
        assert engine.contract.max_batch == 4
    assert not list(bundle.parent.glob("*search*")), "a finished search leaves nothing"


def test_int8_is_judged_on_the_backend_that_runs_it(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """INT8 that ONNX Runtime was judged with is none of OpenVINO's: that gets a graph of its own, judged there."""
    limit = ("--precision", "int8", "--max-changed-pixels", "0.02")
    assert run(bundle, "--to", "onnxruntime", *limit) == 0
    with pytest.raises(SettingsError, match=r"holds no model\.int8\.openvino\.onnx.*--to openvino --precision int8"):
        make_engine(EngineSettings(backend="openvino", precision="int8"), load_bundle(bundle))
    report = tmp_path / "report.json"
    assert run(bundle, "--to", "openvino", *limit, "--json", report) == 0
    assert "Wrote" in capsys.readouterr().out
    found = json.loads(report.read_text())
    assert found["openvino"]["int8"]["lost"] == found["int8"]["comparison"]["lost"] == {"scratch": 0}
    loaded = load_bundle(bundle)
    assert {"model.int8.onnx", "model.int8.openvino.onnx", "precision.int8.openvino.json"} <= set(loaded.manifest.files)
    assert [step["step"] for step in loaded.manifest.provenance] == ["int8", "int8-openvino"]
    with make_engine(EngineSettings(backend="openvino", precision="int8"), loaded) as engine:
        assert all(result.passed for result in check_golden(loaded, engine))


def test_openvino_is_compared_before_it_is_used(bundle: Path, tmp_path: Path) -> None:
    """--to openvino reports what OpenVINO answers otherwise, fp32 and, where the CPU has it, bf16."""
    report = tmp_path / "report.json"
    assert run(bundle, "--to", "openvino", "--json", report) == 0
    found = json.loads(report.read_text())["openvino"]
    assert found["fp32"]["lost"] == found["fp32"]["gained"] == {"scratch": 0}
    assert found["fp32"]["pictures"] == 2


def test_an_interrupted_search_leaves_the_bundle_and_goes_on(tmp_path: Path) -> None:
    """Ctrl-C in a long search is exit code 130 and changes no file of the bundle. Run again, it measures less."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Transpose", ["pixels"], ["x0"], perm=[0, 3, 1, 2])]
    weights = {}
    for number in range(24):  # every one of them would cost defects: the search has much to ask
        weights[f"w{number}"] = (np.eye(2, 1 if number == 0 else 2)[..., None, None] * 1.0).astype(np.float32)
        weights[f"w{number}"][1] = 3000 * rng.random((weights[f"w{number}"].shape[1], 1, 1)) if number == 0 else 0
        if number:
            weights[f"w{number}"][1, 1] = 1
        nodes.append(helper.make_node("Conv", [f"x{number}", f"w{number}"], [f"x{number + 1}"]))
    weights["last"] = np.array([[[[1 / 255]], [[0]]]], np.float32)
    nodes += [
        helper.make_node("Conv", ["x24", "last"], ["y"]),
        helper.make_node("Transpose", ["y"], ["answer"], perm=[0, 2, 3, 1]),
    ]
    path = write_onnx_bundle(tmp_path / "bundle", net_of(nodes, weights), golden=8).path
    before = content(path)
    search = tmp_path / "bundle.int8-search.json"
    arguments = [str(path), "--to", "onnxruntime", "--precision", "int8", "--max-changed-pixels", "0.05"]
    command = [sys.executable, "-m", "converters", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        deadline_s = time.monotonic() + 240
        while not search.exists() and time.monotonic() < deadline_s and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert content(path) == before
    assert search.exists()
    report = tmp_path / "report.json"
    assert run(*arguments, "--json", report) == 0
    found = json.loads(report.read_text())["int8"]
    assert found["reused"] >= 1
    assert found["quantised"] + len(found["pinned"]) == 25
    assert not search.exists()


# --------------------------------------------------------------------------------------------------- bare models


def float_model(path: Path, net: Any) -> Path:
    """Write a net as a model from float pixels to probabilities, as other tools export it."""
    model = helper.make_model(net, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    path.write_bytes(model.SerializeToString())
    return path


FLAGS = (
    *("--tile", "32x32", "--classes", "scratch", "--thresholds", "0.6", "--overlap", "8", "--min-area", "4"),
    *("--input-range", "0,255"),
)


@pytest.mark.parametrize("with_contract", [False, True])
def test_a_bare_onnx_becomes_a_bundle(tmp_path: Path, kept: Path, pictures: Path, with_contract: bool) -> None:
    """A net from pixels to probabilities is given the head, a graph of the contract is taken; golden frames replay."""
    source = tmp_path / "mine.onnx"
    if with_contract:
        shutil.copy(kept / "model.onnx", source)
    else:
        float_model(source, blurring_net())
    assert run(source, "--to", "onnxruntime", "--precision", "fp16", "--data", pictures, *FLAGS) == 0
    made = load_bundle(tmp_path / "mine-1.0.0")
    assert [entry.threshold for entry in made.classes] == [0.6]
    assert {"model.onnx", "model.fp16.onnx", "precision.json"} <= set(made.manifest.files)
    with make_engine(EngineSettings(), made) as engine:
        results = check_golden(made, engine)
    assert len(results) == 2
    assert all(result.passed for result in results)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mine-1.0.0",
        "mine-1.0.0.sheet.jpg",
        "mine.onnx",
        "pictures",
    ]


def test_a_bare_keras_model_becomes_a_bundle(nets: dict[int, Any], tmp_path: Path) -> None:
    """A .keras file with tile and classes is compared like a bundle's, and lies at --out."""
    nets[1].save(tmp_path / "m.keras")
    (tmp_path / "pictures").mkdir()
    cv2.imwrite(str(tmp_path / "pictures" / "a.png"), glass(100, 150, 1))
    flags = (
        "--tile",
        "64x64",
        "--classes",
        "stain",
        "--input-range",
        "0,255",
        "--name",
        "glass",
        "--out",
        tmp_path / "out",
    )
    assert run(tmp_path / "m.keras", "--to", "onnxruntime", "--data", tmp_path / "pictures", *flags) == 0
    made = load_bundle(tmp_path / "out")
    assert made.manifest.name == "glass"
    assert made.manifest.provenance[-1]["comparison"]["lost"] == {"stain": 0}


def test_a_copy_leaves_the_bundle_as_it_was(bundle: Path, tmp_path: Path) -> None:
    """With --out the bundle itself is not touched; a folder that is not empty is never written into."""
    before = content(bundle)
    assert run(bundle, "--to", "onnxruntime", "--precision", "fp16", "--out", tmp_path / "copy") == 0
    assert content(bundle) == before
    assert "model.fp16.onnx" in load_bundle(tmp_path / "copy").manifest.files
    assert run(bundle, "--to", "onnxruntime", "--precision", "fp16", "--out", tmp_path / "copy") == 8


def _truncated(path: Path) -> None:
    float_model(path, blurring_net())
    path.write_bytes(path.read_bytes()[:-40])


def _text(path: Path) -> None:
    path.write_text("no model at all")


def _external(path: Path) -> None:
    model = helper.make_model(blurring_net(), ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/passwd")
    path.write_bytes(model.SerializeToString())


def _unknown_operator(path: Path) -> None:
    net = blurring_net()
    net.node[2].op_type = "Relux"
    float_model(path, net)


def _foreign_operator(path: Path) -> None:
    net = blurring_net()
    net.node[2].domain = "com.example"
    model = helper.make_model(
        net, ir_version=8, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    )
    path.write_bytes(model.SerializeToString())


def _wrong_shape(path: Path) -> None:
    float_model(path, net_of([helper.make_node("Identity", ["pixels"], ["answer"])], {}, size=48))


def _nan(path: Path) -> None:
    nodes = [
        helper.make_node("Sub", ["pixels", "pixels"], ["zero"]),
        helper.make_node("Div", ["zero", "zero"], ["answer"]),
    ]
    float_model(path, net_of(nodes, {}))


@pytest.mark.parametrize(
    ("write", "code", "words"),
    [
        (_truncated, 4, "m.onnx cannot be"),
        (_text, 4, "m.onnx cannot be read as ONNX"),
        (_external, 4, "in other files"),
        (_unknown_operator, 4, "Relux"),
        (_foreign_operator, 4, "com.example"),
        (_wrong_shape, 4, "does not keep the graph contract"),
        (_nan, 11, "no finite number"),
    ],
)
def test_bad_models_end_with_a_message(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str], write: Any, code: int, words: str
) -> None:
    """Each ends with its own message and exit code, and nothing is left of a bundle."""
    write(tmp_path / "m.onnx")
    assert run(tmp_path / "m.onnx", "--to", "onnxruntime", "--data", pictures, *FLAGS) == code
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "pictures"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 4, "expected --tile"),
        (("--tile", "32x32", "--classes", "a,b", "--thresholds", "0.1,0.2,0.3"), 4, "for each of the 2 classes"),
        (("--tile", "32", "--classes", "a"), 2, "WIDTHxHEIGHT"),
        (("--tile", "32x32", "--classes", "a b"), 4, "makes no manifest"),
        (("--tile", "32x32", "--classes", "a"), 4, "--input-range 0,1"),
        (("--tile", "32x32", "--classes", "a", "--input-range", "0,255"), 4, "no real pictures"),
    ],
)
def test_a_bare_model_needs_what_a_manifest_would_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Without tile, classes or pictures the message says which; nothing is written."""
    float_model(tmp_path / "m.onnx", blurring_net())
    assert run(tmp_path / "m.onnx", "--to", "onnxruntime", *arguments) == code
    assert words in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


# ----------------------------------------------------------------------------------------------------- bad luck


def test_without_real_pictures_no_precision_is_chosen(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bundle without golden pictures is told so, exit code 4; --calibration names some."""
    bundle = write_onnx_bundle(tmp_path / "bundle", blurring_net(), golden=0).path
    before = content(bundle)
    assert run(bundle, "--to", "onnxruntime", "--precision", "int8") == 4
    assert "no real pictures to choose a precision on" in capsys.readouterr().err
    assert content(bundle) == before
    limit = ("--max-changed-pixels", "0.02")
    assert run(bundle, "--to", "onnxruntime", "--precision", "int8", "--calibration", pictures, *limit) == 0


def test_two_conversions_of_one_bundle_exclude_each_other(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second ends at once with exit code 8 and changes nothing; after the first has ended it works."""
    before = content(bundle)
    with locked(bundle):
        assert run(bundle, "--to", "onnxruntime", "--precision", "fp16") == 8
        assert "being converted by another process" in capsys.readouterr().err
        assert content(bundle) == before
    assert run(bundle, "--to", "onnxruntime", "--precision", "fp16") == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount 64 KiB of memory at `folder`; limit the size of files where that is not allowed."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if mounted.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)


def _fill(filler: Path) -> bool:
    """Write until the disk is full, 64 KiB at most; tell whether it is."""
    try:
        with filler.open("wb") as file:
            for _ in range(64):
                file.write(bytes(1024))
                file.flush()
    except OSError:
        return True
    return False


def test_a_full_disk_leaves_the_bundle_as_it_was(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 8 if the typed graph no longer fits. The bundle is byte for byte what it was."""
    disk = tmp_path / "disk"
    with small_disk(disk):
        path = shutil.copytree(kept, disk / "bundle")
        filler = disk / "filler"
        if not _fill(filler):  # no disk of its own: files of at most 100 bytes
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        before = content(path)
        code = run(path, "--to", "onnxruntime", "--precision", "fp16")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert code == 8
        assert "cannot be written" in capsys.readouterr().err
        assert content(path) == before
        filler.unlink()
        assert sorted(each.name for each in disk.iterdir()) == ["bundle"]


def test_a_bundle_whose_name_is_a_verb_is_reached_by_a_path(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`convert ./plan --to …` takes the folder, `convert plan` the verb; both of one and the same name."""
    bundle.rename(bundle.parent / "plan")
    monkeypatch.chdir(bundle.parent)
    assert run("./plan", "--to", "onnxruntime", "--precision", "fp16") == 0
    assert run("plan", "plan", "--for", "10.13") == 0
    assert "model.fp16.onnx" in capsys.readouterr().out


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.touch()])
def test_what_is_no_bundle_is_told_at_once(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """A pipe without a writer, a device or a file in a bundle's place ends with exit code 4."""
    make(tmp_path / "bundle")
    assert run(tmp_path / "bundle", "--to", "onnxruntime") == 4


def test_tensorrt_is_asked_for_where_it_is_built(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without TensorRT a build ends with exit code 7 before anything long begins, and says what shows the calls."""
    before = content(bundle)
    assert run(bundle, "--to", "tensorrt", "--precision", "fp16") == 7
    assert "convert plan" in capsys.readouterr().err
    assert content(bundle) == before
    for batch in ("4,2,1", f"1,4,{'9' * 5_000}", "²,4,8"):  # more digits than Python reads, and none that it reads
        assert run(bundle, "--to", "tensorrt", "--batch", batch) == 2


def test_an_overflowing_model_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table names the node that overflows in FP16, and the summary why it stays in FP32."""
    bundle = write_onnx_bundle(tmp_path / "bundle", steep_net())
    assert run(bundle.path, "--to", "onnxruntime", "--precision", "fp16") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Nodes that stay in FP32: 3 (overflows)" in told


def test_sigterm_leaves_nothing_behind(tmp_path: Path, pictures: Path) -> None:
    """`kill` in the middle of a conversion to --out is exit code 130; no half-written folder is left."""
    rng = np.random.default_rng(0)
    for seed in range(40):
        cv2.imwrite(str(pictures / f"more-{seed}.png"), rng.integers(0, 256, (400, 600), np.uint8))
    model = float_model(tmp_path / "m.onnx", blurring_net())
    arguments = [str(model), "--to", "onnxruntime", "--data", str(pictures), "--yes", *FLAGS]
    with subprocess.Popen(
        [sys.executable, "-m", "converters", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline_s = time.monotonic() + 240
        while not (tmp_path / "m-1.0.0.tmp" / "golden").exists() and time.monotonic() < deadline_s:
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "pictures"]
