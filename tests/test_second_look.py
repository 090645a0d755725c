"""A fast engine and a second look: what rounding could decide is answered exactly, what is plain is not asked again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from converters.onnx_from_keras import add_head
from edge.bundle import load_bundle
from edge.cameras.images import read_picture
from edge.checking import golden_tiles
from edge.engines.choosing import tiles_per_s
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.second_look import AREA_MARGIN, THRESHOLD_MARGIN, Levels, SecondLookEngine, settle
from edge.preparing import prepare
from edge.records import Float32, UInt8
from tests.bright_bundle import TILE, write_bright_bundle
from tests.conftest import ROOT

SMALLEST_PX = 20
SIDE_PX = 60
EVERY_PX = 10  # one blob per square of this side, so that none touches another
CLASSES = 2
SHIPPED = ROOT / "edge" / "bundles" / "simulated-glass"


@dataclass(frozen=True)
class Blob:
    """Rows of a square filled one after another: `area_px` pixels of one probability, and what a fast engine has."""

    area_px: int
    class_id: int
    exact: float
    fast: float

    def draw(self, classes: UInt8, scores: UInt8, place: int, probability: float, threshold: float) -> None:
        """Write what an engine answers where the blob is, if its probability reaches the threshold."""
        if probability < threshold:
            return
        row, column = divmod(place, SIDE_PX // EVERY_PX)
        for pixel in range(self.area_px):
            y, x = divmod(pixel, EVERY_PX - 1)
            at = row * EVERY_PX + y, column * EVERY_PX + x
            classes[at], scores[at] = self.class_id, round(probability * 255)


@st.composite
def blobs(draw: st.DrawFn) -> tuple[float, list[Blob]]:
    """Draw a threshold, and blobs of any size and probability whose fast one is off by less than the margin."""
    threshold = draw(st.floats(0.2, 0.9))
    found = []
    for _ in range(draw(st.integers(0, 8))):
        exact = draw(st.floats(0.05, 1.0))
        off = draw(st.floats(-0.9, 0.9)) * THRESHOLD_MARGIN * threshold
        fast = min(max(exact + min(off, (1 - exact) / 2), 0.0), 1.0)
        found.append(Blob(draw(st.integers(1, 80)), draw(st.integers(1, CLASSES)), exact, fast))
    return threshold, found


def kept(classes: UInt8, each: list[Blob]) -> list[bool]:
    """Say of each blob whether a line would report it: counted pixel by pixel, in its own square."""
    answers = []
    for place, blob in enumerate(each):
        row, column = divmod(place, SIDE_PX // EVERY_PX)
        square = classes[row * EVERY_PX : (row + 1) * EVERY_PX, column * EVERY_PX : (column + 1) * EVERY_PX]
        answers.append(int((square == blob.class_id).sum()) >= SMALLEST_PX)
    return answers


@given(blobs())
def test_rounding_within_the_margin_never_decides(drawn: tuple[float, list[Blob]]) -> None:
    """Where each defect's probability is off by less than the margin, the same defects are kept as by the exact engine.

    By arithmetic: a defect is kept if its probability reaches the threshold and it has 20 px.
    """
    threshold, each = drawn
    fast = np.zeros((2, SIDE_PX, SIDE_PX), np.uint8)
    exact = np.zeros_like(fast)
    for place, blob in enumerate(each):
        blob.draw(fast[0], fast[1], place, blob.fast, threshold * (1 - THRESHOLD_MARGIN))
        blob.draw(exact[0], exact[1], place, blob.exact, threshold)
    doubtful = settle(fast[0], fast[1], [Levels.at(threshold)] * CLASSES, [SMALLEST_PX] * CLASSES)
    answer = exact if doubtful else fast
    # a probability is told in 255ths, and one at the very threshold may be on either side of it
    told = [blob for blob in each if abs(blob.exact - threshold) > 1 / 255]
    right = [blob.exact >= threshold and blob.area_px >= SMALLEST_PX for blob in each]
    for blob, found, expected in zip(each, kept(answer[0], each), right, strict=True):
        assert found == expected or blob not in told


def test_what_is_plain_is_not_asked_again() -> None:
    """There is no doubt about a clean tile, a large sure defect, one at the tile's end too, and a far too small one."""
    levels, smallest = [Levels.at(0.5)], [float(SMALLEST_PX)]
    for top, left, height, width in ((0, 0, 0, 0), (20, 20, 8, 8), (20, 20, 2, 3), (0, 20, 8, 8)):
        classes = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        classes[top : top + height, left : left + width] = 1
        before = classes.copy()
        assert not settle(classes, classes * 200, levels, smallest)
        np.testing.assert_array_equal(classes, before)


@pytest.mark.parametrize(
    ("why", "height", "width", "score"),
    [
        ("a score at the threshold", 8, 8, 129),
        ("a score just below the threshold", 8, 8, 126),
        ("an area just below the smallest", 1, round(SMALLEST_PX / (1 + AREA_MARGIN)) + 1, 250),
        ("an area just above the smallest", 1, SMALLEST_PX + 1, 250),
        ("an answer without a probability", 8, 8, 3),
    ],
)
def test_what_rounding_could_decide_is_asked_again(why: str, height: int, width: int, score: int) -> None:
    """In doubt is what is near the threshold or the smallest area, or has no probability that would be answered."""
    classes = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    classes[20 : 20 + height, 20 : 20 + width] = 1
    scores = np.where(classes > 0, score, 0).astype(np.uint8)
    assert settle(classes, scores, [Levels.at(0.5)], [SMALLEST_PX]), why


def test_what_goes_on_beyond_the_tile_is_asked_again() -> None:
    """Six sure pixels at a tile's end may be part of a large defect; in its middle they are a speck."""
    for top, doubtful in ((0, True), (1, False), (SIDE_PX - 2, True), (SIDE_PX - 3, False)):
        classes = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        classes[top : top + 2, 20:23] = 1
        assert settle(classes, classes * 250, [Levels.at(0.5)], [SMALLEST_PX]) == doubtful


def test_one_answer_per_tile_is_sure_where_its_probability_is() -> None:
    """A classifier's single cell stands for more than the smallest area: sure or in doubt by its probability alone."""
    for score, doubtful in ((250, False), (130, True), (126, True)):
        classes, scores = np.ones((1, 1), np.uint8), np.full((1, 1), score, np.uint8)
        assert settle(classes, scores, [Levels.at(0.5)], [0.01]) == doubtful


def rounding_model(path: Path, steps: float) -> Path:
    """Write the bright bundle's model, probability = pixel / 255, rounded to `steps` steps: a fast engine's loss."""
    bundle = write_bright_bundle(path)
    net = helper.make_graph(
        [
            helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
            helper.make_node("Round", ["scaled"], ["rounded"]),
            helper.make_node("Div", ["rounded", "steps"], ["answer"]),
        ],
        "rounding",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", TILE, TILE, 1])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", TILE, TILE, 1])],
        [
            helper.make_tensor("scale", TensorProto.FLOAT, [], [steps / 255]),
            helper.make_tensor("steps", TensorProto.FLOAT, [], [steps]),
        ],
    )
    bundle.onnx_path.write_bytes(add_head(net, bundle.contract(3)).SerializeToString())
    return bundle.onnx_path


def test_two_engines_answer_as_the_exact_one_does(tmp_path: Path) -> None:
    """Tiles in doubt get the exact engine's maps to the last bit; one that is plain is the fast engine's own answer."""
    exact = write_bright_bundle(tmp_path / "exact")
    contract = exact.contract(3)
    fast = rounding_model(tmp_path / "fast", 100)
    tiles = np.zeros((3, TILE, TILE, 1), np.uint8)
    tiles[0, 4:9, 4:9] = 127  # 0.498, rounded to 0.50: a defect for the fast engine only
    tiles[1, 4:9, 4:9] = 201  # 0.788, rounded to 0.79: one for both
    tiles[2, 4:9, 4:9] = 128  # 0.502, rounded to 0.50: at the threshold
    thresholds: Float32 = np.array([0.5], np.float32)
    engine = SecondLookEngine(OnnxRuntimeEngine(fast, contract), OnnxRuntimeEngine(exact.onnx_path, contract), [16])
    with engine, OnnxRuntimeEngine(fast, contract) as alone:
        for used in (engine, alone):
            batch = used.buffer()
            batch.tiles[:] = tiles
            maps = used.collect(used.submit(batch, 3, thresholds))
            found = [int(np.count_nonzero(answer)) for answer in maps.classes]
            assert found == ([0, 25, 25] if used is engine else [25, 25, 25])
            assert maps.scores[1].max() == round(0.79 * 255)
            assert used is alone or maps.scores[2].max() == 128
    assert (engine.answered, engine.asked_again) == (3, 2)


def test_engines_are_measured_on_the_tiles_that_are_given(tmp_path: Path) -> None:
    """Of tiles of which every second is in doubt, half are asked again while speed is measured: a line's own share."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    contract = bundle.contract(2)
    tiles = np.zeros((2, TILE, TILE, 1), np.uint8)
    tiles[1, 4:9, 4:9] = 128
    model = bundle.onnx_path
    with SecondLookEngine(OnnxRuntimeEngine(model, contract), OnnxRuntimeEngine(model, contract), [16]) as engine:
        assert tiles_per_s(engine, np.array([0.5], np.float32), tiles, seconds=0.01) > 0
        assert engine.asked_again * 2 == engine.answered > 0


def test_golden_tiles_are_those_of_the_prepared_golden_frames() -> None:
    """The first tile of each golden frame is the upper left corner of its prepared picture; all are of the contract."""
    bundle = load_bundle(SHIPPED)
    tiles = golden_tiles(bundle)
    prepared = [
        prepare(read_picture(bundle.path / golden.image), bundle.manifest.preparing, 1)[0]
        for golden in bundle.manifest.golden
    ]
    # 640 x 480 px by tiles of 256 px that overlap by 32 px or more: three columns, two rows
    assert tiles.shape == (6 * len(prepared), 256, 256, 1)
    for number, picture in enumerate(prepared):
        np.testing.assert_array_equal(tiles[6 * number], picture[:256, :256].reshape(256, 256, 1))
