from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from edge.engines.cascade import CascadeEngine
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.errors import EngineError
from edge.protocols import Engine
from edge.records import Cell, GraphContract, TileRef, UInt8
from edge.simulation.engine import SimulatedEngine
from tests.bright_bundle import TILE, write_bright_bundle

BATCH = 3
CONTRACT = GraphContract(TILE, TILE, 1, 1, 1, ("scratch",), BATCH)
FRAME = np.random.default_rng(0).integers(0, 256, (TILE, 4 * TILE), np.uint8)
Opener = Callable[[], AbstractContextManager[Engine]]


def keras_engine() -> AbstractContextManager[Engine]:
    """Make the trainer's reference engine with a net that divides by 255."""
    import keras

    from trainer.evaluation.keras_engine import KerasEngine

    tiles = keras.Input((TILE, TILE, 1))
    return KerasEngine(keras.Model(tiles, keras.layers.Rescaling(1 / 255)(tiles)), CONTRACT)


def tensorrt_opener(folder: Path, memory: str) -> Opener:
    """Build the bundle's engine on a simulated device, and return what opens it there."""
    from converters.tensorrt.building import EngineOptions, build_engine
    from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
    from edge.simulation.device import SimulatedDevice

    bundle, device = write_bright_bundle(folder), SimulatedDevice()
    build_engine(bundle, EngineOptions("fp32", (1, 2, BATCH)), lambda *_: None, vendor=device.vendor)
    options = TensorRtOptions("fp32", "copied" if memory == "copied" else "mapped", cuda_graphs=memory == "graphs")
    return lambda: TensorRtEngine(bundle, CONTRACT, options, device.vendor)


@pytest.fixture(
    params=[
        "onnxruntime",
        "openvino",
        "second-look",
        "keras",
        "simulated",
        "tensorrt-copied",
        "tensorrt-mapped",
        "tensorrt-graphs",
    ],
)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Return what opens each engine; all answer `scratch` where a pixel of FRAME is 128 or more."""
    if request.param == "onnxruntime":
        bundle = write_bright_bundle(tmp_path / "bundle")
        return lambda: OnnxRuntimeEngine(bundle.onnx_path, CONTRACT)
    if request.param == "openvino":
        bundle = write_bright_bundle(tmp_path / "bundle")
        return lambda: OpenVinoEngine(bundle.onnx_path, CONTRACT)
    if request.param == "second-look":
        model = write_bright_bundle(tmp_path / "bundle").onnx_path
        return lambda: CascadeEngine(OnnxRuntimeEngine(model, CONTRACT), OpenVinoEngine(model, CONTRACT), [5])
    if request.param == "keras":
        return keras_engine
    if request.param.startswith("tensorrt"):
        return tensorrt_opener(tmp_path / "bundle", request.param.removeprefix("tensorrt-"))
    return lambda: SimulatedEngine(CONTRACT, lambda _: (FRAME >= 128).astype(np.uint8))


def fill(engine: Engine, tiles: list[int]) -> tuple[object, list[UInt8]]:
    """Cut tiles of FRAME into a buffer of the engine's and submit them; return the ticket and what was cut."""
    batch = engine.buffer()
    cut = []
    for place, number in enumerate(tiles):
        tile = FRAME[:, number * TILE : (number + 1) * TILE]
        batch.tiles[place, :, :, 0] = tile
        batch.refs.append(TileRef("c", 0, Cell(number, 0, number * TILE, 0, TILE, number * TILE, (number + 1) * TILE)))
        cut.append(tile)
    return engine.submit(batch, len(tiles), np.array([0.5], np.float32)), cut


def test_tickets_are_answered_whole_and_in_any_order(opener: Opener) -> None:
    """Two batches under way keep their own answers, also when the second is collected first; shapes and dtypes hold."""
    with opener() as engine:
        first, cut_first = fill(engine, [0, 1, 2])
        second, cut_second = fill(engine, [3])
        for ticket, cut in ((second, cut_second), (first, cut_first)):
            maps = engine.collect(ticket)  # type: ignore[arg-type]  # a Ticket
            assert maps.classes.shape == maps.scores.shape == (len(cut), TILE, TILE)
            assert maps.classes.dtype == maps.scores.dtype == np.uint8
            for answer, score, tile in zip(maps.classes, maps.scores, cut, strict=True):
                np.testing.assert_array_equal(answer, (tile >= 128).astype(np.uint8))
                assert ((score > 0) == (answer > 0)).all()


def test_a_buffer_begins_empty_and_is_of_the_contract(opener: Opener) -> None:
    """Buffers are uint8 [B, H, W, C] without references of an earlier use."""
    with opener() as engine:
        for _ in range(5):
            batch = engine.buffer()
            assert (batch.tiles.shape, batch.tiles.dtype, batch.refs) == ((BATCH, TILE, TILE, 1), np.uint8, [])
            batch.refs.append(TileRef("c", 0, Cell(0, 0, 0, 0, 1, 0, 1)))


def test_a_closed_engine_says_so(opener: Opener) -> None:
    """Submitting after leaving is an error of ours, not a crash."""
    with opener() as engine:
        pass
    with pytest.raises(EngineError, match="is closed"):
        fill(engine, [0])


def test_an_engine_can_be_opened_again(opener: Opener) -> None:
    """Opening, closing and opening anew leaves nothing behind."""
    for _ in range(2):
        with opener() as engine:
            ticket, _ = fill(engine, [1])
            assert engine.collect(ticket).classes.shape[0] == 1  # type: ignore[arg-type]  # a Ticket
