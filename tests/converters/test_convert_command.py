from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from converters.__main__ import main
from converters.converting import Limits, install
from converters.graph.onnx_from_keras import convert
from edge.bundle import load_bundle, sha256_of, write_manifest
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.errors import ContractError, ConversionError
from edge.inspection.inference import Inference
from edge.inspection.measuring import measure, region
from edge.opencv import cv2
from edge.pictures import read_picture
from edge.preparing import prepare
from edge.records import Frame, PreparedFrame
from tests.converters.conftest import TILE, glass, slim_unet

MakeBundle = Callable[..., Path]


def _run(*arguments: object) -> int:
    """Run `convert` in this process, as TensorFlow is loaded here already; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def _content(bundle: Path) -> dict[str, str]:
    return {str(path.relative_to(bundle)): sha256_of(path) for path in sorted(bundle.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def fresh(nets: dict[int, Any], make_bundle: MakeBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of three classes as the trainer leaves it."""
    return make_bundle(tmp_path_factory.mktemp("fresh") / "bundle", nets[3])


@pytest.fixture
def bundle(fresh: Path, tmp_path: Path) -> Path:
    """Return a bundle of its own for one test."""
    return shutil.copytree(fresh, tmp_path / "bundle")


@pytest.fixture(scope="module")
def converted(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a converted bundle, with its report beside it; for reading only."""
    path = shutil.copytree(fresh, tmp_path_factory.mktemp("converted") / "bundle")
    assert _run(path, "--to", "onnxruntime", "--json", path.parent / "report.json") == 0
    return path


def test_converted_bundle_runs_on_the_line(converted: Path) -> None:
    """The bundle verifies, names its model's hash, and an engine of the line opens it."""
    loaded = load_bundle(converted)
    assert loaded.model_sha256 == sha256_of(converted / "model.onnx")
    with OnnxRuntimeEngine(loaded.onnx_path, loaded.contract(2)) as engine:
        batch = engine.buffer()
        maps = engine.collect(engine.submit(batch, 1, np.array([0.5, 0.5, 0.5], np.float32)))
        assert maps.classes.shape == (1, TILE, TILE)


def test_provenance_says_how_the_model_was_made(converted: Path) -> None:
    """The last step names tools, opset, both models' hashes and the comparison; earlier steps stay."""
    loaded = load_bundle(converted)
    *earlier, step = loaded.manifest.provenance
    assert [entry["step"] for entry in earlier] == ["data", "keras"]
    assert step["step"] == "onnx"
    assert step["keras_sha256"] == sha256_of(converted / "model.keras")
    assert step["onnx_sha256"] == loaded.model_sha256
    assert {"tensorflow", "keras", "tf2onnx", "onnx"} <= set(step["tools"])
    assert step["opset"] == 17
    assert datetime.fromisoformat(step["at"]).tzinfo is timezone.utc


def test_report_counts_what_was_compared(converted: Path) -> None:
    """Two pictures of 100 x 150 with tiles of 64 and 16 overlap are 2 x 2 x 3 tiles and 30,000 pixels. None differs."""
    report = json.loads((converted.parent / "report.json").read_text())
    comparison = report["comparison"]
    assert (comparison["pictures"], comparison["tiles"], comparison["pixels"]) == (2, 12, 30_000)
    assert comparison["defects"] > 0
    assert comparison["changed_share"] <= 0.0005
    assert set(comparison["lost"].values()) == set(comparison["gained"].values()) == {0}
    assert comparison["largest_score_difference"] <= 1 / 255 + 1e-9
    assert load_bundle(converted).manifest.provenance[-1]["comparison"] == comparison


def test_golden_frames_replay(converted: Path) -> None:
    """Each golden picture, prepared and inspected again, has the stated hash and exactly the stated map."""
    loaded = load_bundle(converted)
    manifest = loaded.manifest
    assert [entry.image for entry in manifest.golden] == ["golden/part-0.png", "golden/part-1.png"]
    with OnnxRuntimeEngine(loaded.onnx_path, loaded.contract(3)) as engine:
        inference = Inference(engine, [entry.threshold for entry in manifest.classes], manifest.tile.overlap_px)
        for entry in manifest.golden:
            raw = read_picture(converted / entry.image)
            pixels, to_frame = prepare(raw, manifest.preparing, manifest.channels)
            assert sha256(pixels.tobytes()).hexdigest() == entry.prepared_sha256
            frame = Frame("test", 0, raw, 0, datetime.fromtimestamp(0, timezone.utc))
            found = inference.finish(inference.begin([PreparedFrame(frame, pixels, to_frame)])[0])
            _, kept = measure(found, loaded.classes, region((100, 150), None, to_frame), to_frame, None)
            expected = cv2.imread(str(converted / entry.expected_map), cv2.IMREAD_UNCHANGED)
            assert expected.dtype == np.uint8
            assert (kept.classes == expected).all()
            assert expected.any()


def test_converting_again_changes_neither_model_nor_maps(converted: Path, tmp_path: Path) -> None:
    """A second conversion gives the same files, and its step replaces the first one's."""
    again = shutil.copytree(converted, tmp_path / "bundle")
    assert _run(again, "--to", "onnxruntime") == 0
    before, after = load_bundle(converted).manifest, load_bundle(again).manifest
    assert after.files == before.files
    assert after.golden == before.golden
    assert [entry["step"] for entry in after.provenance] == ["data", "keras", "onnx"]


def test_pictures_of_a_dataset_are_compared_too(nets: dict[int, Any], make_bundle: MakeBundle, tmp_path: Path) -> None:
    """A bundle without golden frames converts on --data: the pictures that its manifest.csv names, not their masks.

    They become its golden frames.
    """
    path = make_bundle(tmp_path / "bundle", nets[1], golden=0)
    data = tmp_path / "data"
    data.mkdir()
    for name in ("picture.png", "mask.png"):
        cv2.imwrite(str(data / name), glass(80, 80, seed=9))
    (data / "manifest.csv").write_text("image,mask,class,group\npicture.png,mask.png,a,1\npicture.png,mask.png,b,1\n")
    assert _run(path, "--to", "onnxruntime", "--data", data, "--json", tmp_path / "report.json") == 0
    assert json.loads((tmp_path / "report.json").read_text())["comparison"]["pictures"] == 1
    assert [golden.image for golden in load_bundle(path).manifest.golden] == ["golden/0-picture.png"]


def test_other_precisions_go_with_the_model_that_they_were_made_of(converted: Path, tmp_path: Path) -> None:
    """FP16 stays as long as model.onnx does; a damaged one, or one of another training, is removed and not hashed."""
    path = shutil.copytree(converted, tmp_path / "bundle")
    fp16 = ("--precision", "fp16", "--max-changed-pixels", "0.05")
    assert _run(path, "--to", "onnxruntime", *fp16) == 0
    made = _content(path)
    assert _run(path, "--to", "onnxruntime") == 0
    assert _content(path).items() >= {name: made[name] for name in ("model.fp16.onnx", "precision.json")}.items()
    (path / "model.fp16.onnx").write_bytes(b"damaged")
    assert _run(path, "--to", "onnxruntime") == 0
    assert not {"model.fp16.onnx", "precision.json"} & set(load_bundle(path).manifest.files)
    assert _run(path, "--to", "onnxruntime", *fp16) == 0
    slim_unet(3, seed=2).save(path / "model.keras")
    write_manifest(path, load_bundle(converted).manifest)
    assert _run(path, "--to", "onnxruntime") == 0
    assert not (path / "model.fp16.onnx").exists()
    assert [step["step"] for step in load_bundle(path).manifest.provenance] == ["data", "keras", "onnx"]


# ----------------------------------------------------------------------------------------------------- refusals


def test_a_graph_with_other_weights_is_refused(bundle: Path) -> None:
    """A graph of another net is a ConversionError, exit code 11, that counts what differs; the bundle stays."""
    other = bundle.parent / "other.keras"
    slim_unet(3, seed=2).save(other)
    before = _content(bundle)
    loaded = load_bundle(bundle, need_onnx=False)
    with pytest.raises(ConversionError, match=r"pixels \(.*%\) have another class.*The bundle was left") as refused:
        install(loaded, convert(other, loaded.contract(4)), [], Limits(), lambda pictures: pictures)
    assert refused.value.exit_code == 11
    assert _content(bundle) == before


def test_a_graph_that_breaks_the_contract_is_refused(bundle: Path) -> None:
    """A graph that ONNX Runtime would run, but that TensorRT could not, never enters a bundle."""
    before = _content(bundle)
    loaded = load_bundle(bundle, need_onnx=False)
    graph = onnx.load_model_from_string(convert(loaded.keras_path, loaded.contract(4)))
    graph.graph.node.insert(0, onnx.helper.make_node("Identity", ["tiles"], ["copy"], name="first"))
    graph.graph.node[1].input[0] = "copy"
    with pytest.raises(ContractError, match="tiles to be read by a Cast"):
        install(loaded, graph.SerializeToString(), [], Limits(), lambda pictures: pictures)
    assert _content(bundle) == before


def test_a_conversion_that_loses_defects_ends_the_command(
    make_bundle: MakeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A net so steep that the last bit of a sum decides differs between two backends: exit code 11, nothing written."""
    import keras

    keras.utils.set_random_seed(1)
    pixels = keras.Input((TILE, TILE, 1))
    x = keras.layers.Conv2D(64, 7, padding="same")(pixels)
    x = keras.layers.Conv2D(1, 7, padding="same")(x)
    net = keras.Model(pixels, (keras.ops.sin(x * 1e6) + 1.0) / 2.0)
    path = make_bundle(tmp_path / "bundle", net)
    before = _content(path)
    assert _run(path, "--to", "onnxruntime") == 11
    assert "have another class" in capsys.readouterr().err
    assert _content(path) == before


@pytest.mark.parametrize(("bias", "words"), [(-20.0, "it finds no defect on 3 pictures"), (20.0, "100% of all pixels")])
def test_a_trained_net_that_finds_nothing_or_all_must_be_confirmed(
    make_bundle: MakeBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], bias: float, words: str
) -> None:
    """The trainer's own bundle is asked about like a foreign net: without a terminal 11, unchanged; with --yes, 0."""
    import keras

    pixels = keras.Input((TILE, TILE, 1))
    last = keras.layers.Conv2D(1, 1, activation="sigmoid")
    net = keras.Model(pixels, last(keras.layers.Rescaling(1 / 255)(pixels)))
    last.set_weights([np.zeros((1, 1, 1, 1), np.float32), np.array([bias], np.float32)])
    path = make_bundle(tmp_path / "bundle", net)
    data = tmp_path / "data"
    data.mkdir()
    cv2.imwrite(str(data / "part.png"), glass(80, 80, seed=9))
    before = _content(path)
    assert _run(path, "--to", "onnxruntime", "--data", data) == 11
    told = " ".join(capsys.readouterr().err.split())
    assert words in told
    assert "Train it again" in told
    assert "confirm it with --yes" in told
    assert _content(path) == before
    assert _run(path, "--to", "onnxruntime", "--data", data, "--yes") == 0
    assert load_bundle(path).manifest.golden


def _remove_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()


def _alter_keras_file(bundle: Path) -> None:
    (bundle / "model.keras").write_bytes(b"not what was trained")


def _ship(bundle: Path) -> None:
    manifest = load_bundle(bundle, need_onnx=False).manifest
    (bundle / "model.keras").unlink()
    write_manifest(bundle, manifest)


def _corrupt_keras_file_in_a_valid_bundle(bundle: Path) -> None:
    manifest = load_bundle(bundle, need_onnx=False).manifest
    _alter_keras_file(bundle)
    write_manifest(bundle, manifest)


def _remove_golden_pictures(bundle: Path) -> None:
    manifest = load_bundle(bundle, need_onnx=False).manifest
    shutil.rmtree(bundle / "golden")
    write_manifest(bundle, manifest)


def _golden_picture_that_is_none(bundle: Path) -> None:
    manifest = load_bundle(bundle, need_onnx=False).manifest
    (bundle / "golden" / "part-1.png").write_text("no picture")
    write_manifest(bundle, manifest)


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (shutil.rmtree, 4, "No bundle at"),
        (_remove_manifest, 4, "has no manifest.json"),
        (_alter_keras_file, 4, "corrupt or was altered"),
        (_corrupt_keras_file_in_a_valid_bundle, 4, "Keras cannot read"),
        (_ship, 4, "holds no model.keras"),
        (_remove_golden_pictures, 4, "--data"),
        (_golden_picture_that_is_none, 5, "part-1.png is no picture"),
    ],
)
def test_bad_bundles_end_with_a_message(
    bundle: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], code: int, words: str
) -> None:
    """A bundle that cannot be converted ends in one message and its exit code, and is left as it was."""
    spoil(bundle)
    before = _content(bundle)
    assert _run(bundle, "--to", "onnxruntime") == code
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message
    assert _content(bundle) == before


def test_a_missing_data_folder_is_named(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--data that is no folder ends with exit code 5."""
    assert _run(bundle, "--to", "onnxruntime", "--data", bundle / "nowhere") == 5
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--to", "coreml"], [], ["--to", "onnxruntime", "--max-changed-pixels", "2"]])
def test_a_wrong_command_line_is_exit_code_2(bundle: Path, arguments: list[str]) -> None:
    """An unknown backend, none, or a share above 1 is refused before anything is loaded."""
    assert _run(bundle, *arguments) == 2


@pytest.fixture
def disk_full_at_100_kb() -> Iterator[None]:
    """Let the system refuse to write beyond 100 kB of a file, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_at_the_last_step_leaves_the_bundle_valid(
    nets: dict[int, Any], make_bundle: MakeBundle, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The model fits, the manifest does not: exit code 8, and the bundle is byte for byte what it was."""
    path = make_bundle(tmp_path / "bundle", nets[1], training={"log": "x" * 200_000})
    before = _content(path)
    request.getfixturevalue("disk_full_at_100_kb")
    assert _run(path, "--to", "onnxruntime") == 8
    assert _content(path) == before
    load_bundle(path, need_onnx=False)


def test_what_convert_makes_may_be_damaged(converted: Path, tmp_path: Path) -> None:
    """A damaged model.onnx or a lost golden map is made anew: `convert` needs only what the trainer wrote."""
    path = shutil.copytree(converted, tmp_path / "bundle")
    (path / "model.onnx").write_bytes(b"half of a model")
    (path / "golden" / "part-0.map.png").unlink()
    assert _run(path, "--to", "onnxruntime") == 0
    assert load_bundle(path).manifest.files == load_bundle(converted).manifest.files


def test_help_is_quick_and_shows_an_example() -> None:
    """--help names the exit codes and an example, and does not load TensorFlow."""
    code = (
        "import sys, converters.__main__ as c\n"
        "try: c.main(['--help'])\n"
        "finally: assert not {'tensorflow', 'keras', 'onnx'} & set(sys.modules), 'loaded for --help'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in ("--to onnxruntime", "Exit codes", "--max-changed-pixels", "--json"):
        assert words in done.stdout


def test_without_tensorflow_it_says_what_to_install(fresh: Path) -> None:
    """Without TensorFlow the command ends with exit code 7 and the pip command, and no traceback."""
    # None in sys.modules is how Python itself marks a module that cannot be imported
    code = f"import sys; sys.modules['tensorflow'] = None\nimport converters.__main__ as c\nc.main({[str(fresh)]!r} + "
    code += "['--to', 'onnxruntime'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "pip install tensorflow tf2onnx onnx;" in done.stderr
    assert "Traceback" not in done.stderr
