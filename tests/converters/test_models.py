"""Every family of the trainer through `convert` and an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import pytest

from converters.__main__ import main
from converters.graph_contract import check_graph
from converters.onnx_from_keras import convert
from edge.bundle import GOLDEN, KERAS_MODEL, Bundle, ClassEntry, Manifest, TileEntry, load_bundle, write_manifest
from edge.checking import check_golden
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.opencv import cv2
from edge.preparing import Grey, prepare
from edge.protocols import Engine
from edge.records import Maps, UInt8
from tests.converters.conftest import glass
from tests.trainer.tiny_models import CLASSES, TILE, TINY, contract_of, shown, taught, tiny
from trainer.keras_engine import KerasEngine, load_model
from trainer.models import for_inference

THRESHOLDS = np.array([0.35, 0.4], np.float32)


@pytest.fixture(scope="module", params=TINY)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Train each family a few steps, save it as a bundle does, convert it: name, model.keras, model.onnx."""
    name = str(request.param)
    settings = tiny(name)
    folder = tmp_path_factory.mktemp("model")
    net = lively(name)
    for_inference(net, settings, (TILE, TILE, 1), len(CLASSES)).save(folder / KERAS_MODEL)
    (folder / "model.onnx").write_bytes(convert(folder / KERAS_MODEL, contract_of(settings)))
    return name, folder / KERAS_MODEL, folder / "model.onnx"


def lively(name: str) -> Any:
    """Return a trained network with such a head that every class is answered somewhere."""
    net = taught(name).net
    pixels = shown(tiny(name), 12, seed=2)[0].astype(np.float32)
    head = net.get_layer("head")
    kernel, _ = head.get_weights()
    features = np.asarray(keras.Model(net.input, head.input)(pixels)).reshape(-1, kernel.shape[2])
    logits = features @ kernel[0, 0]
    scale = 3 / (logits.std(axis=0) + 1e-6)
    head.set_weights([kernel * scale, -logits.mean(axis=0) * scale])
    return net


def answers(engine: Engine, tiles: UInt8) -> Maps:
    """Send tiles through an engine in one batch."""
    batch = engine.buffer()
    batch.tiles[: len(tiles)] = tiles
    return engine.collect(engine.submit(batch, len(tiles), THRESHOLDS))


def _sequence(picture: UInt8, frames: int) -> UInt8:
    return np.stack([np.roll(picture, 2 * t, axis=1) for t in range(frames)]) if frames > 1 else picture


def test_onnx_runtime_answers_as_keras(kept: tuple[str, Path, Path]) -> None:
    """On drawn tiles and on noise, for one tile and for four, classes are Keras's but for a few at thresholds."""
    name, keras_path, onnx_path = kept
    settings = tiny(name)
    contract = contract_of(settings)
    noise = np.random.default_rng(0).integers(0, 256, (2, TILE, TILE, 1), np.uint8)
    drawn = shown(settings, 12, seed=7)[0]
    tiles = np.concatenate([np.stack([_sequence(tile, settings.frames) for tile in noise]), drawn])
    with KerasEngine(keras_path, contract) as original, OnnxRuntimeEngine(onnx_path, contract, threads=1) as converted:
        differing, scored_otherwise, seen = 0, 0, set()
        for first in (0, 1, 5, 9):
            batch = tiles[first : first + (1 if first == 0 else 4)]
            before, after = answers(original, batch), answers(converted, batch)
            cells = TILE // contract.stride
            assert before.classes.shape == after.classes.shape == (len(batch), cells, cells)
            differing += int((before.classes != after.classes).sum())
            same = before.classes == after.classes
            scored_otherwise += int((np.abs(before.scores.astype(int) - after.scores)[same] > 1).sum())
            seen |= set(np.unique(before.classes).tolist())
    allowed = 0.0005 * 13 * (TILE // contract.stride) ** 2  # what `convert` allows
    assert differing <= allowed
    # where two pixels are the maximum but for the last digit, unpooling gives the value to one of them
    assert scored_otherwise <= (allowed if "unpool" in name else 0)
    assert seen & {1, 2}, "the tiles must show a class"


def test_real_pictures_are_answered_alike(kept: tuple[str, Path, Path], real_data: Path) -> None:
    """On tiles of a real phone screen the classes are Keras's too."""
    name, keras_path, onnx_path = kept
    settings = tiny(name)
    picture = cv2.imread(str(next(iter(sorted((real_data / "phone_msd" / "images").rglob("*.jpg"))))))
    grey, _ = prepare(picture, (Grey(),), 1)
    tiles = np.stack([grey[300 : 300 + TILE, x : x + TILE] for x in (200, 700, 1200, 1500)])
    tiles = np.stack([_sequence(tile, settings.frames) for tile in tiles])
    contract = contract_of(settings)
    with KerasEngine(keras_path, contract) as original, OnnxRuntimeEngine(onnx_path, contract, threads=1) as converted:
        before, after = answers(original, tiles), answers(converted, tiles)
    assert np.mean(before.classes != after.classes) <= 0.0005


def test_graphs_are_plain(kept: tuple[str, Path, Path]) -> None:
    """The contract is kept, at opset 17, by operators that need no loop, no branch and no state."""
    name, _, onnx_path = kept
    check_graph(onnx_path, contract_of(tiny(name)))
    graph = onnx.load(onnx_path).graph
    operators = {node.op_type for node in graph.node}
    assert not operators & {"Loop", "Scan", "If", "LSTM", "SequenceAt", "NonZero", "Random"}, operators


@pytest.mark.parametrize("kept", ["cnn-lstm"], indirect=True)
def test_a_sequence_has_a_place_for_each_frame_and_an_order(kept: tuple[str, Path, Path]) -> None:
    """The engine's buffer is uint8 [B, T, H, W, C], and the same frames backwards are answered otherwise."""
    name, keras_path, onnx_path = kept
    contract = contract_of(tiny(name))
    with OnnxRuntimeEngine(onnx_path, contract, threads=1) as engine:
        assert engine.buffer().tiles.shape == (4, 3, TILE, TILE, 1)
    drawn = shown(tiny(name), 3)[0]
    mixed = np.stack([drawn[0, 0], drawn[1, 0], drawn[2, 0]])[None]
    model = load_model(keras_path)
    forwards, backwards = (np.asarray(model(each.astype(np.float32))) for each in (mixed, mixed[:, ::-1]))
    assert np.abs(forwards - backwards).max() > 1e-3


def _bundle(folder: Path, name: str, keras_model: Path) -> Bundle:
    """Write a bundle around a tiny model as the trainer does."""
    settings = tiny(name)
    (folder / GOLDEN).mkdir(parents=True)
    load_model(keras_model).save(folder / KERAS_MODEL)
    for seed in range(2):
        cv2.imwrite(str(folder / GOLDEN / f"part-{seed}.png"), glass(100, 150, seed))
    classes = tuple(
        ClassEntry(id=i + 1, name=kind, colour=(255, 0, 0), threshold=float(THRESHOLDS[i]), min_area_px=4)
        for i, kind in enumerate(CLASSES)
    )
    stride = settings.stride_px(TILE)
    tile = TileEntry(height=TILE, width=TILE, overlap_px=0 if stride > 1 else 16)
    described = {"tile": tile, "stride": stride, "frames": settings.frames, "preparing": (Grey(),)}
    return write_manifest(folder, Manifest(name="tiny", version="1.0.0", classes=classes, **described))


@pytest.mark.parametrize("name", ["edge-unet", "cnn6", "cnn-lstm"])
def test_the_command_converts_and_the_device_checks(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`convert` keeps a segmenter, a patch classifier and a sequence model, and their golden frames replay."""
    for_inference(lively(name), tiny(name), (TILE, TILE, 1), len(CLASSES)).save(tmp_path / KERAS_MODEL)
    bundle = _bundle(tmp_path / "bundle", name, tmp_path / KERAS_MODEL)
    with pytest.raises(SystemExit) as ended:
        main([str(bundle.path), "--to", "onnxruntime"])
    assert ended.value.code == 0, capsys.readouterr().err
    loaded = load_bundle(bundle.path)
    with OnnxRuntimeEngine(loaded.onnx_path, loaded.contract(4)) as engine:
        results = check_golden(loaded, engine)
    assert len(results) == 2
    assert all(result.passed and result.prepared_same for result in results)
