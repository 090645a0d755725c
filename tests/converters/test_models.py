"""Every family of the trainer through `convert` and an engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from converters.__main__ import main
from converters.graph.contract import check_graph
from converters.graph.float_graph import FloatGraph
from converters.graph.onnx_from_keras import convert
from converters.precision.half_graph import half_graph
from converters.precision.int8_graph import int8_graph
from converters.precision.pinning import pins_by_rule
from converters.precision.tensor_ranges import full_ranges
from edge.bundle import GOLDEN, KERAS_MODEL, Bundle, ClassEntry, Manifest, TileEntry, load_bundle, write_manifest
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.inspection.golden import check_golden
from edge.opencv import cv2
from edge.preparing import Grey, prepare
from edge.protocols import Engine
from edge.records import GraphContract, Maps, UInt8
from tests.converters.conftest import glass
from tests.trainer.tiny_models import CLASSES, TILE, TINY, contract_of, shown, taught, tiny
from trainer.evaluation.keras_engine import KerasEngine, load_model
from trainer.models import for_inference

THRESHOLDS = np.array([0.35, 0.4], np.float32)


@dataclass(frozen=True)
class Kept:
    """One family's model.keras and model.onnx, and an open engine on each."""

    name: str
    keras_path: Path
    onnx_path: Path
    original: Engine
    converted: Engine

    @property
    def contract(self) -> GraphContract:
        """Return the promise of both engines."""
        return contract_of(tiny(self.name))


@pytest.fixture(scope="module", params=TINY)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """Train each family a few steps, save it as a bundle does, convert it, and open both."""
    name = str(request.param)
    contract = contract_of(tiny(name))
    folder = tmp_path_factory.mktemp("model")
    keras_path, onnx_path = folder / KERAS_MODEL, folder / "model.onnx"
    for_inference(taught(name).net, tiny(name), (TILE, TILE, 1), len(CLASSES)).save(keras_path)
    onnx_path.write_bytes(convert(keras_path, contract))
    with KerasEngine(keras_path, contract) as original, OnnxRuntimeEngine(onnx_path, contract, threads=1) as converted:
        yield Kept(name, keras_path, onnx_path, original, converted)


def answers(engine: Engine, tiles: UInt8) -> Maps:
    """Send tiles through an engine in one batch."""
    batch = engine.buffer()
    batch.tiles[: len(tiles)] = tiles
    return engine.collect(engine.submit(batch, len(tiles), THRESHOLDS))


def _sequence(picture: UInt8, frames: int) -> UInt8:
    return np.stack([np.roll(picture, 2 * t, axis=1) for t in range(frames)]) if frames > 1 else picture


def test_onnx_runtime_answers_as_keras(kept: Kept) -> None:
    """On drawn tiles and noise, classes are Keras's but for a few at thresholds, and scores to one step."""
    settings, contract = tiny(kept.name), kept.contract
    noise = np.random.default_rng(0).integers(0, 256, (2, TILE, TILE, 1), np.uint8)
    drawn = shown(settings, 10, seed=7)[0]
    tiles = np.concatenate([np.stack([_sequence(tile, settings.frames) for tile in noise]), drawn])
    differing, scored_otherwise, seen = 0, 0, set()
    for batch in np.split(tiles, 3):
        before, after = answers(kept.original, batch), answers(kept.converted, batch)
        cells = TILE // contract.stride
        assert before.classes.shape == after.classes.shape == (4, cells, cells)
        same = before.classes == after.classes
        differing += int((~same).sum())
        scored_otherwise += int((np.abs(before.scores.astype(int) - after.scores)[same] > 1).sum())
        seen |= set(np.unique(before.classes).tolist())
    allowed = 0.0005 * 12 * (TILE // contract.stride) ** 2  # as `convert` allows
    assert differing <= allowed
    # unpooling gives the value to one of two pixels that are the maximum but for the last digit
    assert scored_otherwise <= (allowed if "unpool" in kept.name else 0)
    assert seen & {1, 2}, "the tiles must show a class"


def test_any_number_of_tiles_is_answered(kept: Kept) -> None:
    """The batch is free: tiles one by one are answered as four together."""
    tiles = shown(tiny(kept.name), 4, seed=3)[0]
    together = answers(kept.converted, tiles).classes.copy()
    alone = np.concatenate([answers(kept.converted, tiles[place : place + 1]).classes for place in range(4)])
    assert np.mean(together != alone) <= 0.0005


def test_real_pictures_are_answered_alike(kept: Kept, real_data: Path) -> None:
    """On tiles of a real phone screen the classes are Keras's too."""
    picture = cv2.imread(str(next(iter(sorted((real_data / "phone_msd" / "images").rglob("*.jpg"))))))
    grey, _ = prepare(picture, (Grey(),), 1)
    tiles = np.stack([grey[300 : 300 + TILE, x : x + TILE] for x in (200, 700, 1200, 1500)])
    tiles = np.stack([_sequence(tile, kept.contract.frames) for tile in tiles])
    before, after = answers(kept.original, tiles), answers(kept.converted, tiles)
    assert np.mean(before.classes != after.classes) <= 0.0005


def test_graphs_are_plain(kept: Kept) -> None:
    """The contract is kept, at opset 17, by operators that need no loop, no branch and no state."""
    check_graph(kept.onnx_path, kept.contract)
    operators = {node.op_type for node in onnx.load(kept.onnx_path).graph.node}
    assert not operators & {"Loop", "Scan", "If", "LSTM", "SequenceAt", "NonZero", "RandomNormalLike"}, operators


# Few remain. One is at the start of a flattening or of the time axis. Others are the unpooling's comparisons of
# neighbours, and answers that are mirrored back, with a channel per class.
_TRANSPOSITIONS = {"cnn6": 1, "cnn-lstm": 1, "instance-resunet unpooling": 10, "edge-unet of four views": 5}


def test_channels_stay_where_convolutions_want_them(kept: Kept) -> None:
    """No transposition is left in a graph, but for those that compute something; names are stable and unique."""
    nodes = onnx.load(kept.onnx_path).graph.node
    transposed = [node.name for node in nodes if node.op_type == "Transpose"]
    assert len(transposed) <= _TRANSPOSITIONS.get(kept.name, 0), transposed
    names = [node.name for node in nodes]
    assert len(set(names)) == len(names)
    assert all(name.startswith(("net/", "head/", "classes", "scores")) for name in names)


def test_openvino_answers_as_onnx_runtime(kept: Kept) -> None:
    """Every family runs on OpenVINO in FP32 with the same classes but for a few at thresholds."""
    settings = tiny(kept.name)
    tiles = shown(settings, 4, seed=9)[0]
    with OpenVinoEngine(kept.onnx_path, kept.contract) as engine:
        found = answers(engine, tiles)
    expected = answers(kept.converted, tiles)
    assert found.classes.shape == expected.classes.shape
    # unpooling gives the value to one of two pixels that are the maximum but for the last digit
    assert np.mean(found.classes != expected.classes) <= (0.01 if "unpool" in kept.name else 0.0005)


def test_openvino_goes_through_the_head_plane_by_plane(kept: Kept) -> None:
    """In FP32 no family's few classes are innermost where the head computes: OpenVINO would take twice as long."""
    with OpenVinoEngine(kept.onnx_path, kept.contract) as engine:
        compiled = engine._requests[0].get_compiled_model()
        layouts = {
            name: info["outputLayouts"].astype(str)
            for info in (operation.get_rt_info() for operation in compiled.get_runtime_model().get_ordered_ops())
            for name in info["originalLayersNames"].astype(str).split(",")
        }
    innermost = {name: layout for name, layout in layouts.items() if name.startswith("head/") and layout == "acdb"}
    assert not innermost


def test_every_family_has_its_other_precisions(kept: Kept) -> None:
    """The typed FP16 graph and the Q/DQ graph of every family are valid, keep the contract, and run."""
    graph = FloatGraph(kept.onnx_path)
    graph.require_plain()
    tiles = shown(tiny(kept.name), 2, seed=4)[0]
    ranges = full_ranges(graph, tiles, THRESHOLDS.tolist(), lambda items, _: items)
    pins = set(pins_by_rule(graph, ranges).all)
    assert pins < set(graph.candidates)
    for written in (half_graph(graph, pins), int8_graph(graph, ranges, set())):
        check_graph(written, kept.contract)
        path = kept.onnx_path.with_name("other.onnx")
        path.write_bytes(written)
        with OnnxRuntimeEngine(path, kept.contract, threads=1) as engine:
            assert answers(engine, tiles).classes.shape[0] == 2


@pytest.mark.parametrize("kept", ["cnn-lstm"], indirect=True)
def test_a_sequence_has_a_place_for_each_frame_and_an_order(kept: Kept) -> None:
    """The engine's buffer is uint8 [B, T, H, W, C], and the same frames backwards are answered otherwise."""
    assert kept.converted.buffer().tiles.shape == (4, 3, TILE, TILE, 1)
    drawn = shown(tiny(kept.name), 3)[0]
    mixed = np.stack([drawn[0, 0], drawn[1, 0], drawn[2, 0]])[None]
    model = load_model(kept.keras_path)
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
    for_inference(taught(name).net, tiny(name), (TILE, TILE, 1), len(CLASSES)).save(tmp_path / KERAS_MODEL)
    bundle = _bundle(tmp_path / "bundle", name, tmp_path / KERAS_MODEL)
    with pytest.raises(SystemExit) as ended:
        main([str(bundle.path), "--to", "onnxruntime", "--yes"])  # a random net may mark all
    assert ended.value.code == 0, capsys.readouterr().err
    loaded = load_bundle(bundle.path)
    with OnnxRuntimeEngine(loaded.onnx_path, loaded.contract(4)) as engine:
        results = check_golden(loaded, engine)
    assert len(results) == 2
    assert all(result.passed and result.prepared_same for result in results)
