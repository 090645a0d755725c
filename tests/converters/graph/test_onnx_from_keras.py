from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from converters.graph.contract import check_graph
from converters.graph.onnx_from_keras import add_head, convert
from edge.errors import BundleError, ContractError
from edge.records import Float32, GraphContract, UInt8
from tests.converters.conftest import TILE, glass, slim_unet

NAMES = ("scratch", "stain", "chip")


def _contract(classes: int, channels: int = 1, size: int = TILE, stride: int = 1) -> GraphContract:
    return GraphContract(size, size, channels, 1, stride, NAMES[:classes], 4)


def _run(graph: bytes, tiles: UInt8, thresholds: Any) -> tuple[UInt8, UInt8]:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    inputs = {"tiles": tiles, "thresholds": np.asarray(thresholds, np.float32)}
    classes, scores = session.run(["classes", "scores"], inputs)
    return classes, scores


def _tiles_of(channels: int, count: int) -> UInt8:
    picture = glass(TILE, TILE * count, seed=5)[:, :, :channels]
    return np.stack(np.split(picture, count, axis=1))


# ------------------------------------------------------------------------------------------------ the head alone


def head_of(probabilities: Float32) -> bytes:
    """Build a graph whose net answers `probabilities`, float32 [h, w, K], whatever it is shown: 0 x pixels + them.

    A value that is not a number comes up while computing, as 0 / 0. A graph that holds one is refused.
    """
    unknown = np.isnan(probabilities)
    above, below = np.where(unknown, 0, probabilities), np.where(unknown, 0, 1)
    height, width, classes = probabilities.shape
    shape = ["N", height, width, classes]
    net = helper.make_graph(
        [
            helper.make_node("Mul", ["pixels", "zero"], ["none"]),
            helper.make_node("Add", ["none", "above"], ["moved"]),
            helper.make_node("Div", ["moved", "below"], ["answer"]),
        ],
        "net",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("above", TensorProto.FLOAT, probabilities.shape, above.ravel()),
            helper.make_tensor("below", TensorProto.FLOAT, probabilities.shape, below.ravel()),
        ],
    )
    wanted = GraphContract(height, width, classes, 1, 1, tuple(f"c{i}" for i in range(classes)), 4)
    graph = add_head(net, wanted).SerializeToString()
    check_graph(graph, wanted)
    return graph


def head(probabilities: Any, thresholds: Any) -> tuple[UInt8, UInt8]:
    """Take probabilities [h, w, K] through the head; return classes and scores, uint8 [h, w]."""
    given = np.asarray(probabilities, np.float32)
    classes, scores = _run(head_of(given), np.zeros((1, *given.shape), np.uint8), thresholds)
    return classes[0], scores[0]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_head_is_the_contract_s_formula(count: int) -> None:
    """The head gives the class of the largest p / t that is at least 1, and 255 p of it."""
    rng = np.random.default_rng(count)
    p = rng.random((20, 30, count), np.float32)
    t = rng.uniform(0.2, 0.9, count).astype(np.float32)
    classes, scores = head(p, t)
    for y, x in np.ndindex(20, 30):
        best = max(range(count), key=lambda k: p[y, x, k] / t[k])  # Python's max keeps the first of equals
        defective = p[y, x, best] >= t[best]
        assert classes[y, x] == (best + 1 if defective else 0)
        assert scores[y, x] == (round(float(p[y, x, best] * np.float32(255))) if defective else 0)


def test_a_tie_goes_to_the_lowest_class() -> None:
    """The lowest class id wins where p / t is equal (here 2, 2 and 1, 1), with its own score."""
    classes, scores = head([[[0.5, 0.75, 0.75], [0.25, 0.375, 0.0]]], [0.25, 0.375, 0.5])
    # 255 x 0.5 = 127.5, halves go to even: 128; 255 x 0.25 = 63.75 → 64
    assert classes.tolist() == [[1, 1]]
    assert scores.tolist() == [[128, 64]]


@given(st.floats(1 / 128, 127 / 128, width=32))
def test_a_single_class_is_decided_by_p_at_least_t(threshold: float) -> None:
    """The neighbours of the threshold among float32 fall on the right side of it, and the threshold itself is in."""
    t = np.float32(threshold)
    below, above = np.nextafter(t, np.float32(0)), np.nextafter(t, np.float32(1))
    classes, _ = head([[[below], [t], [above]]], [t])
    assert classes.tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_not_a_number_is_never_clean(count: int) -> None:
    """A broken net that answers NaN for all classes marks the pixel defective; its neighbour is judged as ever."""
    p = np.full((16, 40, count), 0.1, np.float32)
    p[:, ::3] = np.nan
    classes, _ = head(p, [0.5] * count)
    assert (classes[:, ::3] > 0).all()
    assert not classes[:, 1::3].any()


# -------------------------------------------------------------------------------------------------- whole models


@pytest.fixture(scope="module")
def converted(nets: dict[int, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[int, bytes]:
    """Convert each of the nets once."""
    folder = tmp_path_factory.mktemp("models")
    graphs = {}
    for classes, net in nets.items():
        net.save(folder / f"{classes}.keras")
        graphs[classes] = convert(folder / f"{classes}.keras", _contract(classes))
    return graphs


def agree(net: Any, graph: bytes, tiles: UInt8, thresholds: list[float]) -> None:
    """Compare a graph's answer with Keras's own probabilities, away from the thresholds' last digits."""
    p = np.asarray(net(tiles.astype(np.float32), training=False))
    ratios = p / np.array(thresholds, np.float32)
    best, best_ratio = ratios.argmax(axis=-1), ratios.max(axis=-1)
    expected = np.where(best_ratio >= 1, best + 1, 0)
    classes, scores = _run(graph, tiles, thresholds)
    two_largest = np.sort(np.concatenate([ratios, np.zeros_like(ratios[..., :1])], axis=-1), axis=-1)[..., -2:]
    # the pixel is clean where nothing reaches its threshold, whichever came nearest
    distinct = (best_ratio < 1) | (two_largest[..., 1] - two_largest[..., 0] > 1e-3)
    clear = (abs(best_ratio - 1) > 1e-3) & distinct
    assert clear.mean() > 0.95
    assert classes.shape == scores.shape == expected.shape
    assert (classes == expected)[clear].all()
    assert set(np.unique(expected)) == set(range(len(thresholds) + 1)), "the pictures must show every class"
    chosen = np.take_along_axis(p, best[..., None], axis=-1)[..., 0]
    assert abs(scores - np.where(expected > 0, chosen * 255, 0))[clear].max() <= 0.51


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_graph_answers_like_keras_for_any_batch(
    nets: dict[int, Any], converted: dict[int, bytes], classes: int, count: int
) -> None:
    """A graph gives Keras's classes and scores, for one class or several, for any number of tiles."""
    agree(nets[classes], converted[classes], _tiles_of(1, count), [0.3, 0.35, 0.4][:classes])


def test_colour_model(tmp_path: Path) -> None:
    """A model of three channels converts like one of one channel."""
    net = slim_unet(2, channels=3, seed=3)
    net.save(tmp_path / "colour.keras")
    graph = convert(tmp_path / "colour.keras", _contract(2, channels=3))
    check_graph(graph, _contract(2, channels=3))
    agree(net, graph, _tiles_of(3, 2), [0.3, 0.3])


def test_patch_classifier_is_a_segmenter_of_one_cell(tmp_path: Path) -> None:
    """A model that answers one cell per tile keeps the contract with a stride of the tile's size."""
    import keras

    keras.utils.set_random_seed(4)
    pixels = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(pixels)
    x = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    keras.Model(pixels, keras.layers.Conv2D(2, 1, activation="sigmoid")(x)).save(tmp_path / "m.keras")
    wanted = _contract(2, size=32, stride=32)
    graph = convert(tmp_path / "m.keras", wanted)
    check_graph(graph, wanted)
    classes, _ = _run(graph, np.zeros((5, 32, 32, 1), np.uint8), [0.4, 0.4])
    assert classes.shape == (5, 1, 1)


def test_thresholds_change_the_map_without_another_conversion(converted: dict[int, bytes]) -> None:
    """A higher threshold marks fewer pixels, all of them among those of the lower one; above 1 it marks none."""
    tiles = _tiles_of(1, 3)
    low, high, none = (_run(converted[1], tiles, [t])[0] > 0 for t in (0.2, 0.8, 1.01))
    assert 0 < high.sum() < low.sum()
    assert not (high & ~low).any()
    assert not none.any()


def test_same_model_gives_the_same_bytes(nets: dict[int, Any], converted: dict[int, bytes], tmp_path: Path) -> None:
    """Converting a file twice gives one graph, so that a hash says which model runs."""
    nets[3].save(tmp_path / "m.keras")
    assert convert(tmp_path / "m.keras", _contract(3)) == converted[3]


def test_graph_keeps_the_contract_and_no_transpositions(converted: dict[int, bytes]) -> None:
    """The written graph passes ONNX's full checker and our own; its body never turns channels last."""
    for classes, graph in converted.items():
        check_graph(graph, _contract(classes))
        model = onnx.load_model_from_string(graph)
        assert (model.opset_import[0].version, model.ir_version) == (17, 8)
        transposed = [node.name for node in model.graph.node if node.op_type == "Transpose"]
        assert not transposed, classes


def test_a_model_of_another_shape_is_refused(nets: dict[int, Any], tmp_path: Path) -> None:
    """A model that does not fit the manifest is a ContractError that names both shapes."""
    nets[3].save(tmp_path / "m.keras")
    with pytest.raises(ContractError, match=r"expected \(None, 64, 64, 1\) → \(None, 64, 64, 2\).*\(None, 64, 64, 3\)"):
        convert(tmp_path / "m.keras", _contract(2))


def test_a_file_that_keras_cannot_read_is_refused(tmp_path: Path) -> None:
    """A file that is no Keras model is a BundleError that names it."""
    path = tmp_path / "model.keras"
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(BundleError, match=r"cannot read .*model\.keras"):
        convert(path, _contract(1))


def test_a_model_that_carries_code_is_refused(tmp_path: Path) -> None:
    """A Lambda, which would run whatever a stranger put into the file, is never loaded."""
    import keras

    pixels = keras.Input((TILE, TILE, 1))
    keras.Model(pixels, keras.layers.Lambda(lambda x: x / 255)(pixels)).save(tmp_path / "m.keras")
    with pytest.raises(BundleError, match=r"(?i)lambda"):
        convert(tmp_path / "m.keras", _contract(1))
