"""Keras models that other people trained: as tutorials, mixed precision and newer layers make them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

from converters.graph.onnx_from_keras import convert
from edge.bundle import load_bundle
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.records import GraphContract
from tests.converters.foreign.nets import BIAS, KERNEL, MEAN, STD, TILE, expected_probability, part, write_parts
from tests.converters.test_flow import run

BASE = ("--to", "onnxruntime", "--tile", f"{TILE}x{TILE}", "--classes", "red")
layers = keras.layers


@pytest.fixture(autouse=True)
def _float32() -> Any:
    yield
    keras.config.set_dtype_policy("float32")


def red_net(side: int | None, middle: Callable[[Any], Any] = lambda x: x) -> Any:
    """Build the net of `nets.py` for pixels of 0-1, RGB, channels last: `middle` is added and takes nothing away."""
    pixels = keras.Input((side, side, 3))
    last = layers.Conv2D(1, 1, activation="sigmoid", name="last", dtype="float32")
    first = layers.Conv2D(3, 1, name="first")
    x = first(pixels)
    extra = layers.Conv2D(3, 1, kernel_initializer="zeros", name="none")(middle(x))
    model = keras.Model(pixels, last(layers.Add()([x, extra])))
    first.set_weights([np.diag(1 / np.array(STD))[None, None], -np.array(MEAN) / STD])
    last.set_weights([KERNEL.reshape(1, 1, 3, 1), np.array([BIAS])])
    return model


def proved(bundle: Path) -> None:
    """Hold the bundle's answers against the formula, on a part that nobody has converted it with."""
    tile = part(77, TILE, TILE)
    expected = expected_probability(tile)
    loaded = load_bundle(bundle)
    with OnnxRuntimeEngine(loaded.onnx_path, loaded.contract(1)) as engine:
        batch = engine.buffer()
        batch.tiles[0] = tile
        found = engine.collect(engine.submit(batch, 1, np.array([0.5], np.float32)))
    assert found.classes.any()
    assert (found.classes[0] == (expected >= 0.5)).all()


def test_a_tutorial_unet_is_not_taken_for_one_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A net for [0, 1] RGB is refused until that is said; then it finds what the formula finds, of any size."""
    parts = write_parts(tmp_path / "parts")
    model = tmp_path / "unet.keras"
    red_net(None).save(model)
    assert run(model, *BASE, "--data", parts) == 4
    assert "--input-range" in capsys.readouterr().err
    assert run(model, *BASE, "--input-range", "0,1", "--data", parts) == 4
    assert "--colour rgb" in capsys.readouterr().err
    report = tmp_path / "r.json"
    flags = ("--input-range", "0,1", "--colour", "rgb", "--json", report)
    assert run(model, *BASE, *flags, "--data", parts) == 0
    proved(tmp_path / "unet-1.0.0")
    told = json.loads(report.read_text())
    assert told["original"] == f"{model} by Keras"
    assert told["comparison"]["defects"] == 4
    assert run(tmp_path / "unet-1.0.0", "--to", "onnxruntime") == 0


@pytest.mark.parametrize(
    "middle",
    [
        lambda x: layers.ReLU()(layers.Conv2D(4, 3, padding="same", activation="gelu")(x)),
        lambda x: layers.Activation("gelu")(layers.Conv2D(6, 3, padding="same", groups=3)(x)),
        lambda x: layers.ReLU()(layers.Conv2D(6, 3, padding="same", groups=3, dilation_rate=2)(x)),
        lambda x: layers.GroupNormalization(3)(layers.LayerNormalization()(x)),
    ],
    ids=["gelu", "groups", "dilated groups", "normalisations"],
)
def test_newer_layers_are_translated(tmp_path: Path, middle: Callable[[Any], Any]) -> None:
    """GELU, convolutions in groups and normalisations by group come through, compared with Keras on the file."""
    parts = write_parts(tmp_path / "parts", count=2)
    red_net(TILE, middle).save(tmp_path / "m.keras")
    flags = ("--input-range", "0,1", "--colour", "rgb")
    assert run(tmp_path / "m.keras", *BASE, *flags, "--data", parts) == 0
    proved(tmp_path / "m-1.0.0")


def test_mixed_precision_becomes_fp32(tmp_path: Path) -> None:
    """A net trained in mixed_float16 has no half in its graph; it is compared with Keras's own mixed answers."""
    parts = write_parts(tmp_path / "parts", count=2)
    keras.config.set_dtype_policy("mixed_float16")
    red_net(TILE).save(tmp_path / "m.keras")
    flags = ("--input-range", "0,1", "--colour", "rgb")
    assert run(tmp_path / "m.keras", *BASE, *flags, "--data", parts) == 0
    proved(tmp_path / "m-1.0.0")
    graph = onnx.load(tmp_path / "m-1.0.0" / "model.onnx").graph
    assert onnx.TensorProto.FLOAT16 not in {each.data_type for each in graph.initializer}


@pytest.mark.parametrize(
    ("middle", "words"),
    [
        (lambda x: layers.BatchNormalization()(x, training=True), "with training=True"),
        (lambda x: layers.Dropout(0.5)(x, training=True), "with training=True"),
        (lambda x: x - keras.ops.mean(x, axis=(0, 1, 2), keepdims=True), "what else is in the batch decides"),
    ],
    ids=["batch normalisation", "dropout", "statistics of the batch"],
)
def test_training_mode_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], middle: Callable[[Any], Any], words: str
) -> None:
    """Layers called with training=True, and answers that depend on the batch, are refused; nothing is written."""
    parts = write_parts(tmp_path / "parts", count=2)
    pixels = keras.Input((TILE, TILE, 3))
    x = layers.Conv2D(1, 1, name="last")(middle(pixels))
    model = keras.Model(pixels, layers.Activation("sigmoid")(x))
    model.get_layer("last").set_weights([KERNEL.reshape(1, 1, 3, 1), np.array([BIAS])])
    model.save(tmp_path / "m.keras")
    flags = ("--input-range", "0,1", "--colour", "rgb")
    assert run(tmp_path / "m.keras", *BASE, *flags, "--data", parts) == 4
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "m-1.0.0").exists()


def test_convnext_converts(tmp_path: Path) -> None:
    """ConvNeXt, which the trainer's family `transfer` may name, becomes a graph that answers as Keras does.

    It is a small one: its grouped convolutions, GELU and learnt normalisation are those of the large ones.
    """
    from keras.src.applications.convnext import ConvNeXt

    pixels = keras.Input((TILE, TILE, 3))
    backbone = ConvNeXt(
        depths=[1, 1, 1, 1],
        projection_dims=[4, 8, 12, 16],
        include_top=False,
        weights=None,
        input_shape=(None, None, 3),
        name="small",
    )
    cell = layers.GlobalAveragePooling2D(keepdims=True)(backbone(pixels))
    net = keras.Model(pixels, layers.Conv2D(1, 1, activation="sigmoid")(cell))
    net.save(tmp_path / "model.keras")
    contract = GraphContract(TILE, TILE, 3, 1, TILE, ("scratch",), 2)
    (tmp_path / "model.onnx").write_bytes(convert(tmp_path / "model.keras", contract))
    tiles = np.random.default_rng(0).integers(0, 256, (2, TILE, TILE, 3), np.uint8)
    expected = np.asarray(net(tiles.astype(np.float32), training=False)).reshape(2)
    with OnnxRuntimeEngine(tmp_path / "model.onnx", contract) as engine:
        batch = engine.buffer()
        batch.tiles[:] = tiles
        found = engine.collect(engine.submit(batch, 2, np.array([0.001], np.float32)))
    assert np.abs(found.scores.reshape(2) - expected * 255).max() <= 1


class Doubled(layers.Layer):
    """A layer of somebody's own, whose code is in no file."""

    def call(self, x: Any) -> Any:
        """Answer twice what comes."""
        return x * 2


@pytest.mark.parametrize(
    ("middle", "says"),
    [(Doubled(), "the code of Doubled"), (layers.Lambda(lambda x: x), "code of its own")],
)
def test_layers_of_somebody_s_own_code_have_their_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], middle: Callable[[Any], Any], says: str
) -> None:
    """No code of a file is run: the layer is named, and what to export instead; weights alone are told as such."""
    model = tmp_path / "own.keras"
    red_net(TILE, middle).save(model)
    flags = ("--input-range", "0,1", "--colour", "rgb", "--data", write_parts(tmp_path / "parts"))
    assert run(model, *BASE, *flags) == 4
    told = " ".join(capsys.readouterr().err.split())
    assert says in told
    assert "format='onnx'" in told
    model.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert run(model, *BASE, *flags) == 4
    assert "weights alone" in " ".join(capsys.readouterr().err.split())
