"""An engine that is not the reference (ONNX Runtime in fp32) is proven before it judges: run, replay and inspect."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edge.bundle import INT8_MODEL, INT8_OPENVINO_MODEL, ONNX_MODEL, Bundle, write_manifest
from edge.opencv import cv2
from tests.bright_bundle import add_golden, part, write_bright_bundle
from tests.brokers import free_port
from tests.conftest import ROOT

DEFECTIVE = 12  # exit code of `inspect` where a picture is NG


def line_of(folder: Path, engine: str) -> Path:
    """Write a line of two parts, the second one scratched, whose engine is `engine`."""
    parts = folder / "parts"
    parts.mkdir()
    cv2.imwrite(str(parts / "0.png"), part(64, 64))
    cv2.imwrite(str(parts / "1.png"), part(64, 64, (10, 10, 20, 20)))
    (folder / "line.yaml").write_text(
        f"bundle: bundle\ncamera: {{kind: images, source: {parts}, max_age_ms: 60000}}\n"
        f"store: {{path: outbox.db}}\nbroker: {{port: {free_port()}}}\nengine: {engine}\n"
    )
    return folder / "line.yaml"


def with_graph(bundle: Bundle, name: str, *, loses: bool) -> Bundle:
    """Add a graph of another precision: the same as model.onnx, or one that sees scratches at half their brightness."""
    shutil.copyfile(bundle.path / ONNX_MODEL, bundle.path / name)
    if loses:
        model = onnx.load(bundle.path / name)
        (weight,) = (each for each in model.graph.initializer if each.name.startswith("net/weights/"))
        weight.CopyFrom(helper.make_tensor(weight.name, TensorProto.FLOAT, [], [0.5 / 255]))  # 250 comes to 0.49
        onnx.save(model, bundle.path / name)
    return write_manifest(bundle.path, bundle.manifest)


def linewatch(verb: str, config: Path) -> subprocess.CompletedProcess[str]:
    """Run a verb of the real command to its end."""
    folder = config.parent
    arguments = {
        "run": [config],
        "replay": [folder / "parts", "--config", config, "--events", folder / "events.jsonl"],
        "inspect": [folder / "parts", "--config", config, "--report", folder / "report.html"],
        "check": [config, "--offline"],
    }
    command = [sys.executable, "-m", "edge", verb, *map(str, arguments[verb])]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)


@pytest.mark.parametrize(
    ("verb", "backend", "name"),
    [
        ("run", "openvino", INT8_OPENVINO_MODEL),
        ("replay", "onnxruntime", INT8_MODEL),
        ("inspect", "openvino", INT8_OPENVINO_MODEL),
        ("check", "openvino", INT8_OPENVINO_MODEL),
    ],
)
def test_a_graph_that_loses_a_golden_defect_judges_nothing(tmp_path: Path, verb: str, backend: str, name: str) -> None:
    """Exit code 4 before the first frame; the golden frame, what was lost and the engine to take are named."""
    with_graph(add_golden(write_bright_bundle(tmp_path / "bundle")), name, loses=True)
    told = linewatch(verb, line_of(tmp_path, f"{{backend: {backend}, precision: int8}}"))
    said = " ".join(told.stderr.split())
    assert told.returncode == 4, told.stderr
    assert f"on golden/0.png, with the engine {backend} int8" in said
    assert "received 2 defects lost, 0 gained" in said
    assert "{backend: onnxruntime, precision: fp32}" in said
    assert not (tmp_path / "events.jsonl").exists() or not (tmp_path / "events.jsonl").read_text()


def test_each_backend_s_int8_is_judged_by_itself(tmp_path: Path) -> None:
    """One bundle: ONNX Runtime's INT8 graph keeps the golden defects and judges; OpenVINO's loses them and does not."""
    bundle = with_graph(add_golden(write_bright_bundle(tmp_path / "bundle")), INT8_MODEL, loses=False)
    with_graph(bundle, INT8_OPENVINO_MODEL, loses=True)
    config = line_of(tmp_path, "{backend: onnxruntime, precision: int8}")
    assert linewatch("replay", config).returncode == 0
    config.write_text(config.read_text().replace("backend: onnxruntime", "backend: openvino"))
    told = linewatch("replay", config)
    assert told.returncode == 4
    assert "with the engine openvino int8" in " ".join(told.stderr.split())


@pytest.mark.parametrize("verb", ["check", "replay"])
def test_the_shipped_bundle_says_that_it_has_no_int8_for_openvino(tmp_path: Path, verb: str) -> None:
    """Exit code 3, the file that is missing and the command that makes it. ONNX Runtime's INT8 is not taken for it."""
    config = line_of(tmp_path, "{backend: openvino, precision: int8}")
    shutil.copytree(ROOT / "edge" / "bundles" / "simulated-glass", tmp_path / "bundle")
    told = linewatch(verb, config)
    said = " ".join(told.stderr.split())
    assert told.returncode == 3, told.stderr
    assert INT8_OPENVINO_MODEL in said
    assert "--to openvino --precision int8" in said


def test_a_graph_that_keeps_them_judges(tmp_path: Path) -> None:
    """The same bundle whose INT8 graph answers as the model: both parts get their verdicts."""
    with_graph(add_golden(write_bright_bundle(tmp_path / "bundle")), INT8_OPENVINO_MODEL, loses=False)
    told = linewatch("replay", line_of(tmp_path, "{backend: openvino, precision: int8}"))
    assert told.returncode == 0, told.stderr
    assert "1 OK, 1 NG, 0 NO_READ" in " ".join(told.stdout.split())


@pytest.mark.parametrize("verb", ["run", "replay", "inspect"])
def test_without_golden_frames_only_the_reference_judges(tmp_path: Path, verb: str) -> None:
    """Nothing could prove another engine: exit code 4 and the command that adds some. The reference runs."""
    write_bright_bundle(tmp_path / "bundle")
    config = line_of(tmp_path, "{backend: openvino, precision: fp32}")
    told = linewatch(verb, config)
    said = " ".join(told.stderr.split())
    assert told.returncode == 4, told.stderr
    assert "has no golden frames, so nothing can show that the engine openvino fp32 sees what the model sees" in said
    assert "--data PICTURES" in said
    config.write_text(config.read_text().replace("{backend: openvino, precision: fp32}", "{backend: auto}"))
    assert linewatch(verb, config).returncode == (DEFECTIVE if verb == "inspect" else 0)
