from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.bundle import Bundle, write_manifest
from edge.engines.cascade import CascadeEngine
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.engines.time_limit import TimeLimitedEngine
from edge.errors import ContractError, EngineError, WrongAnswerError
from edge.protocols import Engine
from edge.records import Cell, GraphContract, TileRef, UInt8
from edge.simulation.engine import SimulatedEngine, SimulatedFault
from tests.bright_bundle import TILE, write_bright_bundle

BATCH = 3
CONTRACT = GraphContract(TILE, TILE, 1, 1, 1, ("scratch",), BATCH)
FRAME = np.random.default_rng(0).integers(0, 256, (TILE, 4 * TILE), np.uint8)
Opener = Callable[[], AbstractContextManager[Engine]]


def keras_engine(scale: float = 1 / 255) -> AbstractContextManager[Engine]:
    """Make the trainer's reference engine with a net that divides by 255."""
    import keras

    from trainer.evaluation.keras_engine import KerasEngine

    tiles = keras.Input((TILE, TILE, 1))
    return KerasEngine(keras.Model(tiles, keras.layers.Rescaling(scale)(tiles)), CONTRACT)


def tensorrt_opener(bundle: Bundle, memory: str) -> Opener:
    """Build the bundle's engine on a simulated device, and return what opens it there."""
    from converters.tensorrt.building import EngineOptions, build_engine
    from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
    from edge.simulation.device import SimulatedDevice

    device = SimulatedDevice()
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
        "time-limited",
    ],
)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:  # noqa: PLR0911 - one for each engine
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
    if request.param == "time-limited":
        model = write_bright_bundle(tmp_path / "bundle").onnx_path
        return lambda: TimeLimitedEngine(OnnxRuntimeEngine(model, CONTRACT), 30)
    if request.param.startswith("tensorrt"):
        return tensorrt_opener(write_bright_bundle(tmp_path / "bundle"), request.param.removeprefix("tensorrt-"))
    return lambda: SimulatedEngine(CONTRACT, lambda *_: (FRAME >= 128).astype(np.uint8))


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
    """As many batches as may be under way keep their own answers, collected in any order; shapes and dtypes hold."""
    with opener() as engine:
        assert engine.at_once >= 2
        begun = [fill(engine, tiles) for tiles in ([0, 1, 2], [3], [2, 0], [1, 3, 0])[: engine.at_once]]
        for ticket, cut in reversed(begun):
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


def slice_node(name: str, given: str, axes: str) -> list[Any]:
    """Cut a tensor to one along axes, by a number that only the run knows: no shape inference sees it."""
    return [
        helper.make_node("ReduceMax", ["thresholds"], [f"{name}/t"], axes=[0], keepdims=1),
        helper.make_node("Ceil", [f"{name}/t"], [f"{name}/one"]),
        helper.make_node("Cast", [f"{name}/one"], [f"{name}/end"], to=TensorProto.INT64),
        helper.make_node("Expand", [f"{name}/end", f"{axes}/count"], [f"{name}/ends"]),
        helper.make_node("Slice", [given, f"{axes}/starts", f"{name}/ends", axes], [name]),
    ]


def hostile_bundle(folder: Path, kind: str) -> Bundle:
    """Write the bright bundle with a model that answers what no model may."""
    bundle = write_bright_bundle(folder)
    model = onnx.load(bundle.onnx_path)
    graph = model.graph
    if kind == "not_a_number":
        (weight,) = (each for each in graph.initializer if each.name.startswith("net/weights/"))
        # 0 / 0 while computing: a graph that holds NaN among its weights is refused before it is opened
        name = weight.name
        weight.CopyFrom(helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0]))
        graph.node.insert(0, helper.make_node("Div", ["nothing", "nothing"], [name]))
    elif kind == "unknown_class":
        graph.initializer.append(helper.make_tensor("seven", TensorProto.FLOAT, [], [7.0]))
        last = next(node for node in graph.node if list(node.output) == ["classes"])
        added = helper.make_node("Mul", [last.input[0], "seven"], ["spoilt"])
        last.input[0] = "spoilt"
        graph.node.insert(list(graph.node).index(last), added)
    else:
        axes = [0] if kind == "few_tiles" else [1, 2]
        for name, values in (("axes", axes), ("axes/starts", [0] * len(axes)), ("axes/count", [len(axes)])):
            graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        for output in ("classes", "scores"):
            last = next(node for node in graph.node if list(node.output) == [output])
            cut = slice_node(f"cut/{output}", last.input[0], "axes")
            last.input[0] = cut[-1].output[0]
            place = list(graph.node).index(last)
            for node in reversed(cut):
                graph.node.insert(place, node)
    bundle.onnx_path.write_bytes(model.SerializeToString())
    return write_manifest(folder, bundle.manifest)


def hostile_opener(engine: str, kind: str, folder: Path) -> Opener:  # noqa: PLR0911 - one for each engine
    """Return what opens an engine whose answers are of this kind."""
    if engine == "keras":
        return lambda: keras_engine(float("nan"))
    if engine == "simulated":
        fault = SimulatedFault.model_validate({"kind": kind})
        return lambda: SimulatedEngine(CONTRACT, lambda *_: (FRAME >= 128).astype(np.uint8), 0.0, fault)
    bundle = hostile_bundle(folder, kind)
    if engine == "onnxruntime":
        return lambda: OnnxRuntimeEngine(bundle.onnx_path, CONTRACT)
    if engine == "openvino":
        return lambda: OpenVinoEngine(bundle.onnx_path, CONTRACT)
    if engine == "second-look":
        fast, exact = OnnxRuntimeEngine(bundle.onnx_path, CONTRACT), OpenVinoEngine(bundle.onnx_path, CONTRACT)
        return lambda: CascadeEngine(fast, exact, [5])
    if engine == "time-limited":
        return lambda: TimeLimitedEngine(OnnxRuntimeEngine(bundle.onnx_path, CONTRACT), 30)
    return tensorrt_opener(bundle, engine.removeprefix("tensorrt-"))


def answer(opener: Opener) -> None:
    """Open an engine and have three tiles answered."""
    with opener() as engine:
        ticket, _ = fill(engine, [0, 1, 2])
        engine.collect(ticket)  # type: ignore[arg-type]  # a Ticket


KINDS = ("unknown_class", "small_map", "few_tiles", "not_a_number")
ENGINES = ("onnxruntime", "openvino", "second-look", "time-limited")
HOSTILE = [
    *((engine, kind) for engine in ENGINES for kind in KINDS),
    # a plan's answers have one shape, which is compared with the contract when it is opened
    *((f"tensorrt-{memory}", kind) for memory in ("copied", "mapped") for kind in ("unknown_class", "not_a_number")),
    *(("simulated", kind) for kind in (*KINDS, "floats", "no_probability", "fails")),
    ("keras", "not_a_number"),
]


@pytest.mark.parametrize(("engine", "kind"), HOSTILE)
def test_a_hostile_answer_is_an_error(tmp_path: Path, engine: str, kind: str) -> None:
    """No engine hands on an unknown class, a map of another size, missing tiles or what NaN came to.

    An engine may also refuse such a graph while it is built or opened.
    """
    with pytest.raises((EngineError, ContractError)) as refused:
        answer(hostile_opener(engine, kind, tmp_path / "bundle"))
    assert "Traceback" not in str(refused.value)
    if kind in {"unknown_class", "not_a_number"}:
        assert isinstance(refused.value, WrongAnswerError), refused.value
