"""Models that other people trained, through `convert`: what they expect and give goes into the graph."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.app import make_engine
from edge.bundle import load_bundle, write_manifest
from edge.cameras.images import read_picture
from edge.inspection.golden import check_golden
from edge.opencv import cv2
from edge.settings import EngineSettings
from tests.conftest import ROOT
from tests.converters.foreign.nets import MEAN, STD, TILE, around, expected_probability, part, torch_like, write_parts
from tests.converters.test_flow import content, run

BASE = ("--to", "onnxruntime", "--tile", f"{TILE}x{TILE}", "--classes", "red")
NORMAL = (
    *("--input-range", "0,1", "--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))),
    *("--colour", "rgb"),
)
SOFTMAX = ("--activation", "softmax", "--background", "0")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Return a folder of four pictures with one red and one blue spot each."""
    return write_parts(tmp_path / "parts")


def answered(bundle: Path, bgr: Any, thresholds: float = 0.5) -> tuple[Any, Any]:
    """Return classes and scores, uint8 [TILE, TILE], that the bundle's engine gives for one tile of BGR pixels."""
    loaded = load_bundle(bundle)
    with make_engine(EngineSettings(backend="onnxruntime", precision="fp32"), loaded) as engine:
        batch = engine.buffer()
        batch.tiles[0] = bgr
        asked = np.full(len(loaded.classes), thresholds, np.float32)
        maps = engine.collect(engine.submit(batch, 1, asked))
        return maps.classes[0].copy(), maps.scores[0].copy()


def proved(bundle: Path) -> None:
    """Hold the bundle's answers against the formula of the net, on a part that nobody has converted it with."""
    tile = part(77, TILE, TILE)
    expected = expected_probability(tile)
    classes, scores = answered(bundle, tile)
    assert classes.any()
    assert (classes == (expected >= 0.5)).all()
    assert np.abs(scores.astype(int) - np.where(expected >= 0.5, np.round(expected * 255), 0)).max() <= 1


@pytest.mark.parametrize("opset", [18, 20])
@pytest.mark.parametrize("batch", [1, "batch"])
def test_the_export_of_pytorch_comes_in(tmp_path: Path, parts: Path, opset: int, batch: int | str) -> None:
    """NCHW, logits, a background, [0, 1] RGB with mean and deviation, opset 18 and 20, a fixed batch: as by hand."""
    model = torch_like(tmp_path / "unet.onnx", opset=opset, batch=batch)
    assert run(model, *BASE, *NORMAL, *SOFTMAX, "--data", parts) == 0
    proved(tmp_path / "unet-1.0.0")
    made = load_bundle(tmp_path / "unet-1.0.0")
    assert made.manifest.channels == 3
    with make_engine(EngineSettings(), made) as engine:
        assert all(result.passed and result.prepared_same for result in check_golden(made, engine))


def test_free_sizes_are_the_tiles(tmp_path: Path, parts: Path) -> None:
    """A net of any height and width is given those of --tile."""
    model = torch_like(tmp_path / "unet.onnx", batch="batch", size="side")
    assert run(model, *BASE, *NORMAL, *SOFTMAX, "--data", parts) == 0
    proved(tmp_path / "unet-1.0.0")


def test_weights_beside_the_graph_are_merged(tmp_path: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """External data is refused with the command that merges it; the merged file converts; no file elsewhere is read."""
    model = torch_like(tmp_path / "unet.onnx", external=True)
    assert run(model, *BASE, *NORMAL, *SOFTMAX, "--data", parts) == 4
    assert f"convert merge-data {model}" in capsys.readouterr().err
    assert run("merge-data", model) == 0
    merged = tmp_path / "unet.merged.onnx"
    assert run(merged, *BASE, *NORMAL, *SOFTMAX, "--data", parts, "--out", tmp_path / "out") == 0
    proved(tmp_path / "out")
    assert run("merge-data", merged) == 4
    (tmp_path / "unet.onnx.data").write_bytes(b"short")
    assert run("merge-data", model) == 4
    assert "is cut off" in capsys.readouterr().err
    proto = onnx.load(model, load_external_data=False)
    for tensor in proto.graph.initializer:
        tensor.external_data[0].value = "../secret"
    (tmp_path.parent / "secret").write_bytes(b"0" * 1000)
    model.write_bytes(proto.SerializeToString())
    assert run("merge-data", model) == 4
    assert "outside the model's folder" in capsys.readouterr().err


def test_what_a_net_expects_stands_in_a_yaml_beside_it(tmp_path: Path, parts: Path) -> None:
    """The keys are the flags' names, with - or _. A flag goes before its key; preparing may be a file or its steps."""
    torch_like(tmp_path / "unet.onnx", batch="batch", names=("image", "mask"), outputs=2)
    (tmp_path / "unet.yaml").write_text(
        "tile: 32x32\nclasses: red\nthresholds: 0.9\ninput-range: 0,1\n"
        f"mean: {list(MEAN)}\nstd: {list(STD)}\ncolour: rgb\nlayout: nchw\nactivation: softmax\nbackground: 0\n"
        "output: mask\nname: mine\n"
    )
    assert run(tmp_path / "unet.onnx", "--to", "onnxruntime", "--thresholds", "0.5", "--data", parts) == 0
    proved(tmp_path / "mine-1.0.0")
    assert load_bundle(tmp_path / "mine-1.0.0").classes[0].threshold == 0.5
    (tmp_path / "unet.yaml").write_text("tile: 32x32\ncolor: rgb\n")
    assert run(tmp_path / "unet.onnx", "--to", "onnxruntime", "--data", parts) == 3


def test_a_bundle_of_such_a_model_is_built_again(tmp_path: Path, parts: Path) -> None:
    """`convert BUNDLE` needs no flags: what the net expects stands in the bundle; flags are refused there."""
    model = torch_like(tmp_path / "unet.onnx")
    assert run(model, *BASE, *NORMAL, *SOFTMAX, "--data", parts) == 0
    bundle = tmp_path / "unet-1.0.0"
    before = load_bundle(bundle).manifest.files
    assert run(bundle, "--to", "onnxruntime") == 0
    assert load_bundle(bundle).manifest.files == before
    proved(bundle)
    assert run(bundle, "--to", "onnxruntime", "--input-range", "0,255") == 4
    assert run(bundle, "--to", "onnxruntime", "--precision", "fp16") == 0


def test_a_bundle_without_golden_frames_gets_some_of_the_data(tmp_path: Path, parts: Path) -> None:
    """Those of --data, spread over all, at most four; by them another engine can be proven from then on."""
    assert run(torch_like(tmp_path / "unet.onnx"), *BASE, *NORMAL, *SOFTMAX, "--data", parts) == 0
    bundle = load_bundle(tmp_path / "unet-1.0.0")
    shutil.rmtree(bundle.path / "golden")
    write_manifest(bundle.path, bundle.manifest.model_copy(update={"golden": ()}))
    assert run(bundle.path, "--to", "onnxruntime", "--data", parts) == 0
    made = load_bundle(bundle.path)
    assert [entry.image for entry in made.manifest.golden] == [f"golden/{n}-part-{n}.png" for n in range(4)]
    with make_engine(EngineSettings(backend="openvino", precision="fp32"), made) as engine:
        assert all(result.passed and result.prepared_same for result in check_golden(made, engine))


def test_a_folder_may_have_any_name(tmp_path: Path, parts: Path) -> None:
    """A name that is no UTF-8 ends no process where golden frames are written."""
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    assert run(torch_like(folder / "unet.onnx"), *BASE, *NORMAL, *SOFTMAX, "--data", parts) == 0
    assert len(load_bundle(folder / "unet-1.0.0").manifest.golden) == 4


def test_check_accepts_such_a_bundle_built_again(tmp_path: Path, parts: Path) -> None:
    """`linewatch check` verifies files and golden frames of a bundle of somebody else's model that was built again."""
    assert run(torch_like(tmp_path / "unet.onnx"), *BASE, *NORMAL, *SOFTMAX, "--data", parts) == 0
    assert run(tmp_path / "unet-1.0.0", "--to", "onnxruntime") == 0
    line = tmp_path / "line.yaml"
    line.write_text(f"bundle: unet-1.0.0\ncamera: {{kind: images, source: {parts}}}\n")
    command = [sys.executable, "-m", "edge", "check", str(line), "--offline"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert told.returncode == 0, told.stderr
    assert "bundle unet 1.0.0: " in told.stdout
    assert told.stdout.count("passed") == 4


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("--input-range", "--input-range 0,1"),
        ("--colour", "--colour rgb"),
        ("--background", "--background 0"),
        ("--activation", "--activation softmax"),
    ],
)
def test_what_only_the_trainer_knows_is_asked_for(
    tmp_path: Path, parts: Path, capsys: pytest.CaptureFixture[str], missing: str, words: str
) -> None:
    """Without one of the flags nothing is guessed: the command names it, and leaves nothing."""
    flags = [*NORMAL, *SOFTMAX]
    place = flags.index(missing)
    del flags[place : place + 2]
    model = torch_like(tmp_path / "unet.onnx")
    assert run(model, *BASE, *flags, "--data", parts) == 4
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "unet-1.0.0").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--input-range", "1,0"), "LO < HI"),
        (("--mean", "123,117,104"), "within the input range"),
        (("--mean", "0.5,0.5"), "for each of 3 channels"),
        (("--std", "0,1,1"), "above 0"),
        (("--layout", "nhwc"), "--layout"),
        (("--background", "2"), "from 0 to 1"),
        (("--output", "nothing"), "there are output"),
        (("--stride", "4"), "one cell per 1 px"),
        (("--channels", "1"), "contradicts"),
        (("--frames", "3"), "--frames"),
        (("--tile", "48x48"), "--tile"),
        (("--classes", "red,blue,green"), "--classes"),
    ],
)
def test_flags_that_contradict_the_net_are_refused(
    tmp_path: Path, parts: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, str], words: str
) -> None:
    """Each flag that cannot be of this net ends with its own sentence, exit code 4 and nothing written."""
    model = torch_like(tmp_path / "unet.onnx")
    assert run(model, *BASE, *NORMAL, *SOFTMAX, *flags, "--data", parts) == 4
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "unet-1.0.0").exists()


def test_none_or_nearly_all_defective_must_be_confirmed(
    tmp_path: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong background makes all defective, too high a threshold nothing: --yes goes on, and the sheet is there."""
    model = torch_like(tmp_path / "unet.onnx")
    wrong = (*NORMAL, "--activation", "softmax", "--background", "1")
    assert run(model, *BASE, *wrong, "--data", parts) == 11
    said = " ".join(capsys.readouterr().err.split())
    assert "of all pixels defective" in said
    assert "--yes" in said
    sheet = tmp_path / "unet-1.0.0.sheet.jpg"
    assert read_picture(sheet).size
    assert not (tmp_path / "unet-1.0.0").exists()
    clean = tmp_path / "clean"
    clean.mkdir()
    cv2.imwrite(str(clean / "a.png"), np.full((40, 60, 3), 120, np.uint8))
    assert run(model, *BASE, *NORMAL, *SOFTMAX, "--data", clean) == 11
    assert "no defect on 1 picture." in capsys.readouterr().err
    assert run(model, *BASE, *NORMAL, *SOFTMAX, "--data", clean, "--yes") == 0
    assert "proves nothing" in " ".join(capsys.readouterr().out.split())


def test_what_the_net_sees_is_told(tmp_path: Path, parts: Path) -> None:
    """Share, defects per picture and the range of the probabilities are those of the formula, by hand."""
    model = torch_like(tmp_path / "unet.onnx")
    report = tmp_path / "r.json"
    assert run(model, *BASE, *NORMAL, *SOFTMAX, "--data", parts, "--json", report) == 0
    sight = json.loads(report.read_text())["sight"]
    pictures = [expected_probability(read_picture(path)) for path in sorted(parts.glob("*.png"))]
    assert sight["pictures"] == 4
    assert sight["defective_share"] == pytest.approx(np.mean([p >= 0.5 for p in pictures]), abs=1e-6)
    assert sight["defects_per_picture"] == 1
    found = sight["probabilities"]["red"]
    assert found["greatest"] == pytest.approx(max(p.max() for p in pictures), abs=1e-4)
    assert found["least"] == pytest.approx(min(p.min() for p in pictures), abs=1e-4)


def test_a_reference_tells_what_no_flag_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers of the original by picture or by tile agree; without mean and deviation they differ, exit code 11."""
    parts = write_parts(tmp_path / "parts", height=TILE, width=TILE)
    model = torch_like(tmp_path / "unet.onnx", background=False)
    logits = {}
    for path in sorted(parts.glob("*.png")):
        p = expected_probability(read_picture(path))
        logits[path.name] = np.log(p / (1 - p))[None, None].astype(np.float32)
    np.savez(tmp_path / "named.npz", **logits)
    np.savez(
        tmp_path / "tiles.npz",
        inputs=np.stack([read_picture(parts / name) for name in logits]),
        outputs=np.concatenate(list(logits.values())),
    )
    sigmoid = ("--activation", "sigmoid", "--data", parts)
    for number, name in enumerate(("named.npz", "tiles.npz")):
        out = tmp_path / f"out-{number}"
        assert run(model, *BASE, *NORMAL, *sigmoid, "--reference", tmp_path / name, "--out", out) == 0
    forgotten = ("--input-range", "0,1", "--colour", "rgb")
    assert run(model, *BASE, *forgotten, *sigmoid, "--reference", tmp_path / "named.npz", "--yes") == 11
    assert "--mean" in capsys.readouterr().err
    assert run(model, *BASE, *NORMAL, *sigmoid, "--reference", tmp_path / "unet.onnx") == 4


def _named(path: Path, values: Any) -> None:
    np.savez(path, **{"part-0": values})


REFERENCES: dict[str, tuple[Any, str]] = {
    "no numbers": (lambda path: _named(path, np.full((1, 1, TILE, TILE), np.nan, np.float32)), "no finite number"),
    "an .npy": (
        lambda path: np.save(path, np.zeros(3)) or path.with_suffix(".npz.npy").rename(path),
        "Expected an .npz that numpy.savez wrote",
    ),
    "a text": (lambda path: path.write_text("hello"), "Expected an .npz that numpy.savez wrote"),
    "objects": (lambda path: _named(path, np.array([{}], object)), "Expected an .npz that numpy.savez wrote"),
    "divided tiles": (
        lambda path: np.savez(path, inputs=np.zeros((1, TILE, TILE, 3)), outputs=np.zeros((1, 1, TILE, TILE))),
        "expected `inputs` as uint8",
    ),
    "no tiles": (
        lambda path: np.savez(
            path, inputs=np.zeros((0, TILE, TILE, 3), np.uint8), outputs=np.zeros((0, 1, TILE, TILE))
        ),
        "does not fit the net",
    ),
    "nothing": (np.savez, "names nothing"),
    "one answer for all pixels": (lambda path: _named(path, np.zeros((1, 1, 1))), "its answers are (1, 1, 1, 1)"),
    "another shape": (lambda path: _named(path, np.zeros((3, 3))), "does not fit the net"),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_that_proves_nothing_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Numbers that are none agree with anything. A file that is no .npz is told, and none ends in a traceback."""
    write, words = REFERENCES[name]
    parts = write_parts(tmp_path / "parts", 1, TILE, TILE)
    reference = tmp_path / "outputs.npz"
    write(reference)
    model = torch_like(tmp_path / "unet.onnx", background=False)
    flags = ("--activation", "sigmoid", "--data", parts, "--reference", reference)
    assert run(model, *BASE, *NORMAL, *flags) == 4
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "unet-1.0.0").exists()


def _batch_norm(path: Path) -> Path:
    nodes = [
        helper.make_node(
            "BatchNormalization", ["logits", "one", "zero", "zero", "one"], ["n", "m", "v"], training_mode=1
        ),
        helper.make_node("Sigmoid", ["n"], ["output"]),
    ]
    return around(path, nodes, {"one": np.ones(1, np.float32), "zero": np.zeros(1, np.float32)}, 17)


def _batch_statistics(path: Path) -> Path:
    nodes = [
        helper.make_node("ReduceMean", ["logits"], ["m"], axes=[0, 2, 3], keepdims=1),
        helper.make_node("Sub", ["logits", "m"], ["n"]),
        helper.make_node("Sigmoid", ["n"], ["output"]),
    ]
    return around(path, nodes, {}, 17)


def _noise(path: Path) -> Path:
    nodes = [
        helper.make_node("RandomNormalLike", ["logits"], ["noise"]),
        helper.make_node("Add", ["logits", "noise"], ["n"]),
        helper.make_node("Sigmoid", ["n"], ["output"]),
    ]
    return around(path, nodes, {}, 17)


def _dropout(path: Path) -> Path:
    nodes = [
        helper.make_node("Dropout", ["logits", "ratio", "on"], ["n"]),
        helper.make_node("Sigmoid", ["n"], ["output"]),
    ]
    return around(path, nodes, {"ratio": np.float32(0.5), "on": np.bool_(True)}, 17)


def _class_numbers(path: Path) -> Path:
    nodes = [helper.make_node("ArgMax", ["logits"], ["output"], axis=1)]
    around(path, nodes, {}, 17)
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    path.write_bytes(model.SerializeToString())
    return path


def _tanh(path: Path) -> Path:
    return around(path, [helper.make_node("Tanh", ["logits"], ["output"])], {}, 17)


def _of_255(path: Path) -> Path:
    nodes = [helper.make_node("Sigmoid", ["logits"], ["p"]), helper.make_node("Mul", ["p", "white"], ["output"])]
    return around(path, nodes, {"white": np.float32(255)}, 17)


def _logits(path: Path) -> Path:
    return around(path, [helper.make_node("Identity", ["logits"], ["output"])], {}, 17)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (_tanh, "come of a tanh"),
        (_of_255, "of 0 to 100 or 255"),
        (_logits, "look like logits: give --activation sigmoid"),
        (_batch_norm, "is in training mode"),
        (_batch_statistics, "what else is in the batch decides"),
        (_noise, "RandomNormalLike"),
        (_dropout, "is in training mode"),
        (_class_numbers, "without its ArgMax"),
    ],
)
def test_nets_that_cannot_be_trusted_are_refused(
    tmp_path: Path, parts: Path, capsys: pytest.CaptureFixture[str], write: Any, words: str
) -> None:
    """Training mode, a batch that decides, noise, and class numbers: each its sentence and its way, nothing written."""
    model = write(tmp_path / "net.onnx")
    assert run(model, *BASE, *NORMAL, "--data", parts) == 4
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "net-1.0.0").exists()


def _unchanged(operator: str, **attributes: Any) -> Any:
    def write(path: Path, opset: int) -> Path:
        nodes = [
            helper.make_node("Sigmoid", ["logits"], ["p"]),
            helper.make_node(operator, ["p"], ["shaped"], **attributes),
            helper.make_node("Mul", ["shaped", "none"], ["nothing"]),
            helper.make_node("Add", ["p", "nothing"], ["output"]),
        ]
        return around(path, nodes, {"none": np.float32(0)}, opset)

    return write


def _reduced(path: Path, opset: int) -> Path:
    nodes = [
        helper.make_node("ReduceMax", ["logits", "axes"], ["top"], keepdims=1),
        helper.make_node("Sub", ["top", "top"], ["nothing"]),
        helper.make_node("Add", ["logits", "nothing"], ["same"]),
        helper.make_node("Split", ["same"], ["output_"], axis=1, num_outputs=1),
        helper.make_node("Pad", ["output_", "pads", "", "sides"], ["padded"]),
        helper.make_node("Slice", ["padded", "begin", "end", "sides"], ["cut"]),
        helper.make_node("Sigmoid", ["cut"], ["output"]),
    ]
    weights = {
        "axes": np.array([2, 3]), "pads": np.array([0, 1, 0, 1]), "sides": np.array([2, 3]),
        "begin": np.array([0, 1]), "end": np.array([TILE, TILE + 1]),
    }  # fmt: skip
    return around(path, nodes, weights, opset)


@pytest.mark.parametrize(
    ("write", "opset"),
    [
        (_unchanged("Gelu"), 20),
        (_unchanged("Gelu", approximate="tanh"), 20),
        (_unchanged("Mish"), 18),
        (_reduced, 18),
        (_reduced, 21),
    ],
)
def test_newer_operators_are_lowered(tmp_path: Path, parts: Path, write: Any, opset: int) -> None:
    """Operators that opset 17 lacks are written with those it has; the answers are those of the formula."""
    model = write(tmp_path / "net.onnx", opset)
    assert run(model, *BASE, *NORMAL, "--data", parts) == 0
    proved(tmp_path / "net-1.0.0")
    assert {entry.version for entry in onnx.load(tmp_path / "net-1.0.0" / "model.onnx").opset_import} == {17}


def test_gelu_is_lowered_to_the_same_numbers(tmp_path: Path) -> None:
    """Erf and tanh forms answer what ONNX Runtime's own Gelu answers, to single precision."""
    import onnxruntime

    from converters.foreign.lowering import lowered

    for approximate in ("none", "tanh"):
        node = helper.make_node("Gelu", ["logits"], ["output"], approximate=approximate)
        path = around(tmp_path / "g.onnx", [node], {}, 20)
        pixels = np.random.default_rng(0).random((2, 3, TILE, TILE)).astype(np.float32)
        answers = [
            onnxruntime.InferenceSession(raw, providers=["CPUExecutionProvider"]).run(None, {"input": pixels})[0]
            for raw in (path.read_bytes(), lowered(onnx.load(path), "g").SerializeToString())
        ]
        assert np.abs(answers[0] - answers[1]).max() < 1e-5


def test_half_precision_nets_come_in(tmp_path: Path, parts: Path) -> None:
    """A net in FP16 throughout becomes one in FP32, compared with the file as it was given."""
    path = torch_like(tmp_path / "half.onnx", background=False)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("conv"):
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
            )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    path.write_bytes(model.SerializeToString())
    assert run(path, *BASE, *NORMAL, "--activation", "sigmoid", "--data", parts) == 0
    proved(tmp_path / "half-1.0.0")


def test_a_classifier_answers_one_cell_per_tile(tmp_path: Path, parts: Path) -> None:
    """[N, K] is one cell per tile: the stride is the tile's side, and is told."""
    nodes = [
        helper.make_node("GlobalMaxPool", ["logits"], ["top"]),
        helper.make_node("Flatten", ["top"], ["output"]),
    ]
    path = around(tmp_path / "net.onnx", nodes, {}, 17)
    model = onnx.load(path)
    del model.graph.output[0].type.tensor_type.shape.dim[2:]
    path.write_bytes(model.SerializeToString())
    assert run(path, *BASE, *NORMAL, "--activation", "sigmoid", "--data", parts) == 0
    made = load_bundle(tmp_path / "net-1.0.0")
    assert made.manifest.stride == TILE
    red, grey = np.zeros((TILE, TILE, 3), np.uint8), np.full((TILE, TILE, 3), 120, np.uint8)
    red[...] = (30, 30, 220)
    assert answered(made.path, red)[0].tolist() == [[1]]
    assert answered(made.path, grey)[0].tolist() == [[0]]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("m.h5", "keras.saving.load_model"),
        ("m.tflite", "--tflite"),
        ("m.pt", "torch.onnx.export"),
        ("m.pth", "torch.onnx.export"),
        ("m.pb", "--saved-model"),
        ("m.engine", "TensorRT"),
        ("saved", "--saved-model"),
    ],
)
def test_files_of_other_tools_have_their_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, words: str
) -> None:
    """Each kind of file is named, with the command that makes of it what `convert` takes; none is opened."""
    path = tmp_path / name
    if "." in name:
        path.write_bytes(b"anything")
    else:
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"")
    before = content(tmp_path)
    assert run(path, *BASE) == 4
    said = capsys.readouterr().err
    assert words in said
    assert "docs/other-models.md" in said
    assert content(tmp_path) == before


def test_preparing_steps_come_from_a_file(tmp_path: Path, parts: Path) -> None:
    """--preparing names a YAML like a recipe's; its steps stand in the bundle and the golden frames are prepared so."""
    steps = "preparing:\n  - {step: level_light}\n"
    (tmp_path / "steps.yaml").write_text(steps)
    model = torch_like(tmp_path / "unet.onnx")
    flags = ("--preparing", tmp_path / "steps.yaml", "--yes")
    assert run(model, *BASE, *NORMAL, *SOFTMAX, *flags, "--data", parts) == 0
    made = load_bundle(tmp_path / "unet-1.0.0")
    assert [step.step for step in made.manifest.preparing] == ["level_light"]
    with make_engine(EngineSettings(), made) as engine:
        assert all(result.passed for result in check_golden(made, engine))
    (tmp_path / "steps.yaml").write_text("preparing: [{step: none-such}]\n")
    assert run(model, *BASE, *NORMAL, *SOFTMAX, *flags, "--data", parts, "--out", tmp_path / "o") == 3


def test_sequences_are_fed_frame_by_frame(tmp_path: Path, parts: Path) -> None:
    """A net of two frames, channels before height, sees the same numbers in each: the answer is the formula's."""
    path = tmp_path / "net.onnx"
    around(path, [helper.make_node("Identity", ["logits"], ["output"])], {"axis": np.array([1])}, 18)
    model = onnx.load(path)
    model.graph.node[0].input[0] = "mean"
    model.graph.node.insert(0, helper.make_node("ReduceMean", ["input", "axis"], ["mean"], keepdims=0))
    del model.graph.input[:]
    model.graph.input.append(helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 2, 3, TILE, TILE]))
    path.write_bytes(model.SerializeToString())
    flags = ("--activation", "sigmoid", "--frames", "2")
    assert run(path, *BASE, *NORMAL, *flags, "--data", parts) == 0
    tile = part(77, TILE, TILE)
    classes, _ = answered(tmp_path / "net-1.0.0", np.stack([tile, tile]))
    assert (classes == (expected_probability(tile) >= 0.5)).all()


def test_grey_in_three_channels(tmp_path: Path) -> None:
    """--colour grey gives the same grey to each of three channels; the bundle's tiles have one."""
    parts = write_parts(tmp_path / "parts")
    nodes = [
        helper.make_node("Add", ["logits", "up"], ["same"]),
        helper.make_node("Sigmoid", ["same"], ["output"]),
    ]
    path = around(tmp_path / "net.onnx", nodes, {"up": np.float32(3)}, 17)
    flags = ("--input-range", "0,1", "--colour", "grey", "--yes")
    assert run(path, *BASE, *flags, "--data", parts) == 0
    made = load_bundle(tmp_path / "net-1.0.0")
    assert made.manifest.channels == 1
    # 12 (grey - grey) + 0 is 0, so p is 0.5 everywhere
    classes, scores = answered(made.path, np.full((TILE, TILE, 1), 200, np.uint8), thresholds=0.4)
    assert set(np.unique(classes)) == {1}
    assert set(np.unique(scores)) == {128}


def test_a_net_that_takes_bytes_comes_in(tmp_path: Path, parts: Path) -> None:
    """A net with a uint8 input that it casts itself is given the tiles as they are, with no rounding."""
    nodes = [helper.make_node("Sigmoid", ["logits"], ["output"])]
    path = around(tmp_path / "net.onnx", nodes, {"scale": np.float32(1 / 255)}, 17)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.node[0].input[0] = "scaled"
    model.graph.node.insert(0, helper.make_node("Mul", ["real", "scale"], ["scaled"]))
    model.graph.node.insert(0, helper.make_node("Cast", ["input"], ["real"], to=TensorProto.FLOAT))
    path.write_bytes(model.SerializeToString())
    assert run(path, *BASE, "--input-range", "0,255", "--colour", "rgb", "--data", parts) == 0
    tile = part(77, TILE, TILE)
    logit = tile[..., ::-1].astype(np.float64) / 255 @ np.array([12, 0, -12.0]) - 3
    classes, _ = answered(tmp_path / "net-1.0.0", tile)
    assert (classes == (logit >= 0)).all()


def _names_of_the_contract(model: Any) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "tiles"
    model.graph.initializer[0].name = model.graph.node[0].input[1] = "thresholds"
    model.graph.node[0].output[0] = model.graph.node[1].input[0] = "scores"
    model.graph.node[1].output[0] = model.graph.output[0].name = "classes"


def _function(model: Any, *inside: Any) -> None:
    model.graph.node[1].op_type, model.graph.node[1].domain = "Outer", "own"
    model.opset_import.append(helper.make_opsetid("own", 1))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.functions.append(helper.make_function("own", "Outer", ["x"], ["y"], inside, opsets))


def _of_layers(model: Any) -> None:
    _function(model, helper.make_node("Inner", ["x"], ["y"], domain="own"))
    opsets = [helper.make_opsetid("", 17)]
    inner = helper.make_function("own", "Inner", ["a"], ["b"], [helper.make_node("Sigmoid", ["a"], ["b"])], opsets)
    model.functions.append(inner)


def _of_2018(model: Any) -> None:
    model.ir_version = 3
    model.opset_import[0].version = 7
    model.graph.input.extend(
        helper.make_tensor_value_info(each.name, each.data_type, list(each.dims)) for each in model.graph.initializer
    )


def changed(path: Path, change: Any) -> Path:
    """Write the net of the formula with its sigmoid, changed by `change`."""
    around(path, [helper.make_node("Sigmoid", ["logits"], ["output"])], {}, 17)
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("change", [_names_of_the_contract, _of_layers, _of_2018])
def test_what_exporters_call_things_and_how_they_pack_them_is_free(tmp_path: Path, parts: Path, change: Any) -> None:
    """Names of our own contract, functions for layers, and weights among the inputs as in 2018 come in."""
    assert run(changed(tmp_path / "net.onnx", change), *BASE, *NORMAL, "--data", parts) == 0
    proved(tmp_path / "net-1.0.0")


def _without_end(model: Any) -> None:
    _function(model, helper.make_node("Outer", ["x"], ["y"], domain="own"))


def _doubling(model: Any) -> None:
    _function(model, helper.make_node("F0", ["x"], ["y"], domain="own"))
    for number in range(40):
        twice = [("x", "a"), ("a", "y")] if number < 39 else []
        nodes = [helper.make_node(f"F{number + 1}", [into], [out], domain="own") for into, out in twice]
        nodes = nodes or [helper.make_node("Sigmoid", ["x"], ["y"])]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", f"F{number}", ["x"], ["y"], nodes, opsets))


def _of_others(model: Any) -> None:
    _function(model, helper.make_node("Secret", ["x"], ["y"], domain="com.other"))


@pytest.mark.parametrize(
    ("change", "words"),
    [(_without_end, "calls itself"), (_doubling, "200,000 nodes"), (_of_others, "another library's code")],
)
def test_functions_that_no_net_has_are_refused(
    tmp_path: Path, parts: Path, capsys: pytest.CaptureFixture[str], change: Any, words: str
) -> None:
    """Functions that never end, that unfold to 2^39 nodes, or that hide another library's operators come to nothing."""
    assert run(changed(tmp_path / "net.onnx", change), *BASE, *NORMAL, "--data", parts) == 4
    assert words in " ".join(capsys.readouterr().err.split())
