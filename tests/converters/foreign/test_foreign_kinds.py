"""Nets of many exporters through the real command, each against ONNX Runtime on the file as it was given.

NumPy makes the pixels here as the net's own program would make them. Its answer is read as that program would read it.
So a flag that the graph obeys wrongly shows: the two share nothing but the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.bundle import load_bundle
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.opencv import cv2
from edge.records import Float32, UInt8
from tests.converters.conftest import glass
from tests.converters.test_flow import run

TILE = 64
THRESHOLD = 0.4
NAMES = ("chip", "scratch")
# Nearer than this to a threshold or to another class, single precision may decide either way.
ROUNDING = {"float32": 1e-4, "float16": 2e-2}


@dataclass(frozen=True)
class Kind:
    """One exporter's habits. `inside`: the net ends with its own sigmoid or softmax; else it answers logits."""

    called: str
    opset: int
    colour: str = "rgb"
    ends: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: str = "nchw"
    half: str = ""  # "", "answer" or "all"
    activation: str = "sigmoid"
    inside: bool = True
    classes: int = 1
    background: int | None = None
    free: bool = False
    outputs: int = 1
    shapeless: bool = False
    batch: int | str = "N"

    @property
    def channels(self) -> int:
        """Of the answer, the background's among them."""
        return self.classes + (self.background is not None)

    @property
    def flags(self) -> list[str]:
        """Return the flags that the command is given."""
        said = {
            "--input-range": ",".join(map(str, self.ends)),
            "--mean": ",".join(map(str, self.mean)),
            "--std": ",".join(map(str, self.std)),
            "--colour": self.colour,
            "--activation": "" if self.inside else self.activation,
            "--background": "" if self.background is None else str(self.background),
            "--output": "answer" if self.outputs > 1 else "",
            "--classes": ",".join(NAMES[: self.classes]),
            "--tile": f"{TILE}x{TILE}",
            "--thresholds": str(THRESHOLD),
        }
        return [word for flag, value in said.items() if value for word in (flag, value)]


TORCH = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
KINDS = (
    Kind("old caffe", 9, "bgr", (0.0, 255.0), (123.7, 116.8, 103.9), inside=False),
    Kind("old pytorch", 9, **TORCH, activation="softmax", classes=2, background=0),
    Kind("one tile only", 11, **TORCH, batch=1),
    Kind("minus one to one", 11, ends=(-1.0, 1.0), inside=False, free=True),
    Kind("tf2onnx", 13, ends=(-1.0, 1.0), layout="nhwc"),
    Kind(
        "tf2onnx of bytes' range", 13, ends=(0.0, 255.0), layout="nhwc", activation="softmax", classes=2, background=2
    ),
    Kind("mean only", 13, "bgr", (0.0, 1.0), (0.5,), (0.5,), activation="softmax", background=1, inside=False),
    Kind("grey", 17, "grey", ends=(0.0, 1.0), inside=False),
    Kind("two outputs", 17, **TORCH, outputs=2, inside=False),
    Kind("no shape at its end", 17, **TORCH, shapeless=True),
    Kind("torch export", 18, **TORCH, activation="softmax", classes=2, background=1, inside=False),
    Kind("torch export, free", 18, **TORCH, inside=False, free=True, shapeless=True),
    Kind("half answer", 18, half="answer"),
    Kind("dynamo", 20, **TORCH, inside=False, shapeless=True, outputs=2),
    Kind("half throughout", 20, "bgr", (-1.0, 1.0), half="all", inside=False),
    Kind("new", 21, **TORCH, activation="softmax", background=0, inside=False, shapeless=True),
    Kind("newest", 22, "bgr", (0.0, 255.0), layout="nhwc", free=True, classes=2, inside=False),
    Kind("newest, fixed", 22, "grey", (-1.0, 1.0), batch=4, activation="softmax", background=1),
)


def _layers(kind: Kind, rng: Any, bias: Float32) -> tuple[list[Any], dict[str, Any]]:
    """Return a small U in the operators of the opset: down by 2, up again, one skip; and its weights."""

    def kernel(out: int, into: int, side: int) -> Any:
        return rng.normal(0, 1 / np.sqrt(into * side * side), (out, into, side, side)).astype(np.float32)

    steep = np.float32(8 / max(abs(end) for end in kind.ends))
    weights = {
        "first": kernel(6, 3, 3), "second": kernel(6, 6, 3), "last": kernel(kind.channels, 12, 3) * steep, "bias": bias,
        "twice": np.array([1, 1, 2, 2], np.float32),
    }  # fmt: skip
    if kind.opset < 10:
        up = helper.make_node("Upsample", ["low", "twice"], ["up"], mode="nearest")
    else:
        modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        empty = "none" if kind.opset < 13 else ""  # opset 11 wants a region
        if empty:
            weights[empty] = np.array([], np.float32)
        up = helper.make_node("Resize", ["low", empty, "twice"], ["up"], mode="nearest", **modes)
    pads = {"pads": [1, 1, 1, 1]}
    planes = "pixels" if kind.layout == "nchw" else "planes"
    nodes = [
        helper.make_node("Conv", [planes, "first"], ["a"], **pads),
        helper.make_node("Relu", ["a"], ["skip"]),
        helper.make_node("MaxPool", ["skip"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["half", "second"], ["low"], **pads),
        up,
        helper.make_node("Concat", ["up", "skip"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "last", "bias"], ["logits"], **pads),
    ]
    if kind.layout == "nhwc":
        nodes.insert(0, helper.make_node("Transpose", ["pixels"], [planes], perm=[0, 3, 1, 2]))
    # channels last from here on: Softmax of one axis in the middle is known since opset 13 only
    nodes.append(helper.make_node("Transpose", ["logits"], ["lasts"], perm=[0, 2, 3, 1]))
    name = "lasts"
    if kind.inside and kind.activation == "sigmoid":
        nodes.append(helper.make_node("Sigmoid", [name], ["p"]))
        name = "p"
    elif kind.inside:
        nodes.append(helper.make_node("Softmax", [name], ["p"], axis=3))
        name = "p"
    if kind.half == "answer":
        nodes.append(helper.make_node("Cast", [name], ["halves"], to=TensorProto.FLOAT16))
        name = "halves"
    perm = [0, 3, 1, 2] if kind.layout == "nchw" else [0, 1, 2, 3]
    nodes.append(helper.make_node("Transpose", [name], ["answer"], perm=perm))
    if kind.outputs > 1:
        nodes.append(helper.make_node("Relu", ["up"], ["features"]))
    return nodes, weights


def write_net(path: Path, kind: Kind, bias: Float32) -> Path:
    """Write the net of a kind; `bias` of its last layer, float32 [channels]."""
    nodes, weights = _layers(kind, np.random.default_rng(len(kind.called)), bias)
    pixels = TensorProto.FLOAT16 if kind.half == "all" else TensorProto.FLOAT
    answers = TensorProto.FLOAT16 if kind.half else TensorProto.FLOAT
    if kind.half == "all":
        weights = {
            name: value if name in {"twice", "none"} else value.astype(np.float16) for name, value in weights.items()
        }
    side: int | str = "side" if kind.free else TILE
    shape = [kind.batch, 3, side, side] if kind.layout == "nchw" else [kind.batch, side, side, 3]
    answered = [kind.batch, kind.channels, side, side]
    if kind.layout == "nhwc":
        answered = [kind.batch, side, side, kind.channels]
    made = [helper.make_tensor_value_info("answer", answers, None if kind.shapeless else answered)]
    if kind.outputs > 1:
        shape_of_features = None if kind.shapeless else [kind.batch, 6, side, side]
        made.insert(0, helper.make_tensor_value_info("features", pixels, shape_of_features))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("pixels", pixels, shape)],
        made,
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(
        graph, ir_version=4 if kind.opset < 11 else 8, opset_imports=[helper.make_opsetid("", kind.opset)]
    )
    path.write_bytes(model.SerializeToString())
    return path


def own_answer(path: Path, kind: Kind, bgr: UInt8) -> Any:
    """Run the file as its own program would: probabilities, float64 [H, W, classes], of uint8 BGR pixels."""
    logits = raw_answer(path, kind, bgr)
    if kind.inside:
        p = logits
    elif kind.activation == "sigmoid":
        p = 1 / (1 + np.exp(-logits))
    else:
        high = np.exp(logits - logits.max(axis=-1, keepdims=True))
        p = high / high.sum(axis=-1, keepdims=True)
    return p if kind.background is None else np.delete(p, kind.background, axis=-1)


def raw_answer(path: Path, kind: Kind, bgr: UInt8) -> Any:
    """Return what the file answers, float64 [H, W, channels]."""
    low, high = kind.ends
    if kind.colour == "grey":
        picture = np.repeat(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2)
    else:
        picture = bgr[..., ::-1] if kind.colour == "rgb" else bgr
    pixels = low + picture.astype(np.float64) / 255 * (high - low)
    pixels = (pixels - (kind.mean or 0.0)) / (kind.std or 1.0)
    given = pixels[None].transpose(0, 3, 1, 2) if kind.layout == "nchw" else pixels[None]
    if isinstance(kind.batch, int):
        given = np.repeat(given, kind.batch, axis=0)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["answer"], {"pixels": given.astype(np.float16 if kind.half == "all" else np.float32)})
    answer = found[0].astype(np.float64)
    return answer.transpose(1, 2, 0) if kind.layout == "nchw" else answer


def part(seed: int) -> UInt8:
    """Draw a coloured part of one tile, uint8 BGR."""
    picture = glass(TILE, TILE, seed)
    picture[..., 0] = np.roll(picture[..., 0], 11, axis=1)  # or the order of colours would not show
    picture[..., 2] = 255 - picture[..., 2] // 2
    return picture


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.opset}-{kind.called}")
def test_a_net_answers_in_its_bundle_as_in_its_own_program(tmp_path: Path, kind: Kind) -> None:
    """No pixel differs beyond rounding, on a part that the net was not converted with. Scores differ by 1 at most."""
    data = tmp_path / "parts"
    data.mkdir()
    for seed in range(3):
        cv2.imwrite(str(data / f"part-{seed}.png"), part(seed))
    flat = Kind(**{**vars(kind), "inside": False})
    bare = raw_answer(write_net(tmp_path / "net.onnx", flat, np.zeros(kind.channels, np.float32)), flat, part(0))
    usual = np.array([0.3 if channel == kind.background else 0.8 for channel in range(kind.channels)])
    middle = [np.quantile(bare[..., channel], share) for channel, share in enumerate(usual)]
    path = write_net(tmp_path / "net.onnx", kind, -np.array(middle, np.float32))
    assert run(path, "--to", "onnxruntime", *kind.flags, "--data", data) == 0
    tile = part(7)
    ratios = own_answer(path, kind, tile) / THRESHOLD
    best = ratios.max(axis=-1)
    expected = np.where(best >= 1, ratios.argmax(axis=-1) + 1, 0)
    others = np.sort(np.concatenate([ratios, np.ones_like(ratios[..., :1])], axis=-1), axis=-1)
    sure = others[..., -1] - others[..., -2] > ROUNDING["float16" if kind.half else "float32"]
    assert sure.mean() > (0.9 if kind.half else 0.99)
    assert 0.02 < (expected > 0).mean() < 0.98
    bundle = load_bundle(tmp_path / "net-1.0.0")
    with OnnxRuntimeEngine(bundle.onnx_path, bundle.contract(2)) as engine:
        batch = engine.buffer()
        batch.tiles[0] = cv2.cvtColor(tile, cv2.COLOR_BGR2GRAY)[..., None] if kind.colour == "grey" else tile
        maps = engine.collect(engine.submit(batch, 1, np.full(kind.classes, THRESHOLD, np.float32)))
    differing = (maps.classes[0] != expected) & sure
    assert differing.sum() == 0
    wanted = np.where(expected > 0, np.round(best * THRESHOLD * 255), 0)
    assert np.abs(maps.scores[0].astype(int) - wanted)[sure].max() <= (3 if kind.half else 1)
    assert {entry.version for entry in onnx.load(bundle.onnx_path).opset_import} == {17}


def test_the_kinds_cover_what_exporters_differ_in() -> None:
    """Every habit is there at least once: a kind that is taken out of the table is missed."""
    assert {kind.opset for kind in KINDS} >= {9, 11, 13, 17, 18, 20, 21, 22}
    assert {kind.colour for kind in KINDS} == {"rgb", "bgr", "grey"}
    assert {kind.ends for kind in KINDS} == {(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)}
    assert {(kind.activation, kind.inside) for kind in KINDS} == {
        (activation, inside) for activation in ("sigmoid", "softmax") for inside in (True, False)
    }
    assert {kind.background for kind in KINDS} == {None, 0, 1, 2}
    assert {kind.half for kind in KINDS} == {"", "answer", "all"}
    assert {kind.layout for kind in KINDS} == {"nchw", "nhwc"}
    assert {kind.opset for kind in KINDS if kind.shapeless} == {17, 18, 20, 21}


@pytest.mark.parametrize("opset", [17, 18, 20, 21, 22])
@pytest.mark.parametrize("lacks", ["shape", "type"])
def test_an_answer_may_be_declared_without_its_shape(tmp_path: Path, opset: int, lacks: str) -> None:
    """Exporters leave an answer's shape or its whole type out; the net comes in as with both."""
    kind = Kind("bare", opset, shapeless=True)
    data = tmp_path / "parts"
    data.mkdir()
    cv2.imwrite(str(data / "part.png"), part(0))
    path = write_net(tmp_path / "net.onnx", kind, np.zeros(1, np.float32))
    if lacks == "type":
        model = onnx.load(path)
        model.graph.output[0].ClearField("type")
        path.write_bytes(model.SerializeToString())
    assert run(path, "--to", "onnxruntime", *kind.flags, "--data", data, "--yes") == 0
    expected = own_answer(path, kind, part(7))[..., 0] >= THRESHOLD
    bundle = load_bundle(tmp_path / "net-1.0.0")
    with OnnxRuntimeEngine(bundle.onnx_path, bundle.contract(1)) as engine:
        batch = engine.buffer()
        batch.tiles[0] = part(7)
        maps = engine.collect(engine.submit(batch, 1, np.full(1, THRESHOLD, np.float32)))
    assert (maps.classes[0] != expected).mean() < 0.001
