"""`convert compare` and `convert inspect`, against arithmetic and against the files themselves."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.comparing_files import Operand, compare, operand
from edge.bundle import load_bundle, sha256_of, write_manifest
from edge.errors import BundleError, SourceError
from edge.opencv import cv2
from edge.simulation.camera import write_video
from edge.simulation.rendering import SimulatedLineSettings
from tests.bright_bundle import write_bright_bundle
from tests.conftest import ROOT
from tests.converters.precision.test_half_precision import quiet
from tests.converters.test_flow import run


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Return two bundles that answer brightness / 255, with thresholds of 0.5 and 0.6: from 128 and from 153 on."""
    first = write_bright_bundle(tmp_path / "a")
    second = write_bright_bundle(tmp_path / "b")
    stricter = second.manifest.classes[0].model_copy(update={"threshold": 0.6})
    write_manifest(second.path, second.manifest.model_copy(update={"classes": (stricter,)}))
    return first.path, second.path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return two pictures of 64 x 64: one with 10 x 10 px of 140 and 20 x 10 of 200, one with nothing."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture = np.full((64, 64), 20, np.uint8)
    cv2.imwrite(str(folder / "clean.png"), picture)
    picture[5:15, 5:15] = 140
    picture[30:50, 30:40] = 200
    cv2.imwrite(str(folder / "marked.png"), picture)
    return folder


def test_one_model_on_two_engines_differs_in_nothing(pair: tuple[Path, Path], pictures: Path) -> None:
    """The same model on ONNX Runtime and OpenVINO: 2 defects, none lost, no pixel, no coverage."""
    found = compare(Operand(pair[0], "onnxruntime", ""), Operand(pair[0], "openvino", "fp32"), pictures, quiet)
    assert (found.total.pictures, found.total.defects, found.total.changed_pixels) == (2, 2, 0)
    assert found.mean_coverage_difference == 0.0


def test_differences_are_counted_in_defects_pixels_and_coverage(
    pair: tuple[Path, Path], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 0.6 the mark of 140 is gone: 1 of 2 defects, 100 of 8192 pixels, 100 / 4096 of one picture's coverage."""
    report = tmp_path / "report.json"
    assert run("compare", pair[0], pair[1], "--data", pictures, "--json", report) == 0
    found = json.loads(report.read_text())
    total = found["comparison"]
    assert (total["defects"], total["lost"], total["gained"]) == (2, {"scratch": 1}, {"scratch": 0})
    assert (total["changed_pixels"], total["pixels"]) == (100, 2 * 64 * 64)
    difference = found["coverage_difference"]
    assert difference["worst"] == pytest.approx(100 / 4096)
    assert difference["mean"] == pytest.approx(50 / 4096)
    assert difference["worst_frame"] == "marked.png"
    assert "1 scratch" in capsys.readouterr().out
    assert run("compare", pair[1], pair[0], "--data", pictures, "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["comparison"]["gained"] == {"scratch": 1}
    assert run("compare", pair[0], pair[1], "--data", pictures, "--strict") == 11
    assert "1 scratch defect lost" in capsys.readouterr().err


def test_model_files_and_videos_are_compared_too(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """A model inside a bundle takes its manifest; a video is compared frame by frame."""
    video = tmp_path / "line.mp4"
    write_video(video, SimulatedLineSettings(width=160, height=128, seed=3), 4)
    found = compare(operand(f"{pair[0]}/model.onnx"), operand(f"{pair[0]}@openvino"), video, quiet)
    assert [frame.name for frame in found.frames] == ["0", "1", "2", "3"]
    assert found.total.changed_share < 0.001
    assert found.sides == (f"{pair[0]}/model.onnx@onnxruntime", f"{pair[0]}@openvino")


def test_sides_that_cannot_be_compared_say_why(pair: tuple[Path, Path], pictures: Path, tmp_path: Path) -> None:
    """A file without a manifest, a missing side, an engine without the precision, and no pictures: each its message."""
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(pair[0] / "model.onnx", alone / "m.onnx")
    with pytest.raises(BundleError, match="is a bundle or lies in one"):
        compare(operand(str(alone / "m.onnx")), operand(str(alone / "m.onnx")), pictures, quiet)
    with pytest.raises(BundleError, match="Nothing at"):
        compare(operand(str(tmp_path / "nowhere")), operand(str(pair[0])), pictures, quiet)
    with pytest.raises(BundleError, match="expected onnxruntime with fp32, fp16, int8, received 'bf16'"):
        operand(f"{pair[0]}@onnxruntime:bf16")
    with pytest.raises(BundleError, match=r"holds no model\.int8\.openvino\.onnx"):
        compare(operand(str(pair[0])), operand(f"{pair[0]}@openvino:int8"), pictures, quiet)
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match="holds no pictures"):
        compare(operand(str(pair[0])), operand(str(pair[0])), tmp_path / "none", quiet)
    assert operand("odd@name") == Operand(Path("odd@name"), "onnxruntime", "")


# ------------------------------------------------------------------------------------------------------- inspect


def inspected(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return what `convert inspect` writes as JSON."""
    assert run("inspect", path, "--json", "-") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_bundle_and_its_graph_are_told_of(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Name, classes, tile and hashes are those of the files; the graph's opset, shapes and precision too."""
    found = inspected(pair[0], capsys)
    loaded = load_bundle(pair[0])
    assert (found["kind"], found["name"], found["classes"]) == ("bundle", "bright 1.0.0", {"scratch": 0.5})
    graph = found["models"]["model.onnx"]
    assert graph["sha256"] == loaded.model_sha256 == sha256_of(pair[0] / "model.onnx")
    assert (graph["opset"], graph["precision"]) == ({"ai.onnx": 17}, "fp32")
    assert graph["inputs"] == {"tiles": "UINT8 [N, 64, 64, 1]", "thresholds": "FLOAT [1]"}
    assert run("inspect", pair[0]) == 0
    assert "bright 1.0.0" in capsys.readouterr().out


def test_a_bundle_is_told_of_where_onnx_is_not_installed(pair: tuple[Path, Path]) -> None:
    """On a device, without the package onnx, a manifest tells of a bundle, and a hash of a graph."""
    # None in sys.modules is how Python itself marks a module that cannot be imported
    code = "import sys; sys.modules['onnx'] = None\nfrom converters.__main__ import main\n"
    code += f"main(['inspect', {str(pair[0])!r}, '--json', '-'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["name"] == "bright 1.0.0"
    assert found["models"]["model.onnx"]["sha256"] == sha256_of(pair[0] / "model.onnx")
    assert "import onnx" in found["models"]["model.onnx"]["not read"]


def test_a_plan_is_told_of_by_its_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """u32[0] = 0x74727466, u32[1] = 0, and bytes 24-27 the version: no TensorRT is needed to read that."""
    plan = tmp_path / "fp16.plan"
    plan.write_bytes(struct.pack("<II", 0x74727466, 0) + bytes(16) + bytes([10, 3, 0, 26]) + b"weights" * 10)
    found = inspected(plan, capsys)
    assert (found["kind"], found["written by TensorRT"]) == ("TensorRT plan", "10.3.0.26")
    assert found["sidecar"].startswith("none that can be read")
    assert found["sha256"] == sha256_of(plan)
    plan.write_bytes(b"ftrt")
    assert run("inspect", plan) == 4
    assert "is no TensorRT plan" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "content"), [("m.onnx", b"text"), ("m.onnx", b""), ("m.keras", b"PK\x03\x04")])
def test_what_is_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes
) -> None:
    """A file that is none of these, or not there, ends with exit code 4 and a message."""
    (tmp_path / name).write_bytes(content)
    assert run("inspect", tmp_path / name) == 4
    assert "Traceback" not in capsys.readouterr().err
    assert run("inspect", tmp_path / "nowhere") == 4


def test_a_keras_file_is_told_of_without_tensorflow(
    nets: dict[int, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The version of Keras and the count of layers are read from the archive."""
    nets[1].save(tmp_path / "m.keras")
    found = inspected(tmp_path / "m.keras", capsys)
    assert found["kind"] == "Keras model"
    assert found["layers"] == len(nets[1].layers)
