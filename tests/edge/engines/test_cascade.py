"""A fast engine and a cascade: what rounding could decide is answered exactly, what is plain is not asked again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from converters.graph.onnx_from_keras import add_head
from edge.bundle import load_bundle
from edge.engines.autotune import tiles_per_s
from edge.engines.cascade import AREA_MARGIN, THRESHOLD_MARGIN, CascadeEngine, levels_at, settle
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.inspection.golden import golden_tiles
from edge.pictures import read_picture
from edge.preparing import prepare
from edge.records import Float32, UInt8
from tests.bright_bundle import TILE, write_bright_bundle, write_bright_cells
from tests.conftest import ROOT

SMALLEST_PX = 20
SIDE_PX = 60
EVERY_PX = 10  # one blob per square of this side, so that none touches another
ROW_PX = 9
CLASSES = 2
SHIPPED = ROOT / "edge" / "bundles" / "simulated-glass"


def corner(place: int) -> tuple[int, int]:
    """Return top and left of a blob's square: four in a row, none at the tile's ends."""
    row, column = divmod(place, 4)
    return (1 + row) * EVERY_PX, (1 + column) * EVERY_PX


@dataclass(frozen=True)
class Part:
    """Rows of nine pixels of one probability, and the one that a fast engine has for it."""

    rows: int
    exact: float
    fast: float


@dataclass(frozen=True)
class Blob:
    """Two parts, one below the other, both of one class."""

    class_id: int
    parts: tuple[Part, Part]

    def draw(self, classes: UInt8, scores: UInt8, place: int, lowest: float, *, fast: bool) -> None:
        """Write what an engine answers where the blob is: the parts whose probability reaches the `lowest`."""
        top, left = corner(place)
        for part in self.parts:
            probability = part.fast if fast else part.exact
            if probability >= lowest:
                at = np.s_[top : top + part.rows, left : left + ROW_PX]
                classes[at], scores[at] = self.class_id, round(probability * 255)
            top += part.rows

    def area_px(self, threshold: float) -> int:
        """Count the pixels that reach the threshold."""
        return sum(part.rows * ROW_PX for part in self.parts if part.exact >= threshold)


@st.composite
def blobs(draw: st.DrawFn) -> tuple[float, list[Blob]]:
    """Draw a threshold, and blobs of any size and probability whose fast ones are off by less than the margin."""
    threshold = draw(st.floats(0.2, 0.9))

    def part() -> Part:
        exact = draw(st.floats(0.05, 1.0).filter(lambda value: abs(value - threshold) > 1 / 255))
        off = draw(st.floats(-0.9, 0.9)) * THRESHOLD_MARGIN * threshold
        return Part(draw(st.integers(0, 4)), exact, min(max(exact + min(off, (1 - exact) / 2), 0.0), 1.0))

    count = draw(st.integers(0, 8))
    return threshold, [Blob(draw(st.integers(1, CLASSES)), (part(), part())) for _ in range(count)]


@given(blobs())
def test_rounding_within_the_margin_never_decides(drawn: tuple[float, list[Blob]]) -> None:
    """The same defects are kept as by the exact engine if each probability is off by less than the margin.

    By arithmetic: a defect is kept if 20 px of it or more reach the threshold. A probability is told in 255ths, so none
    is drawn at the very threshold.
    """
    threshold, each = drawn
    fast = np.zeros((2, SIDE_PX, SIDE_PX), np.uint8)
    exact = np.zeros_like(fast)
    for place, blob in enumerate(each):
        blob.draw(fast[0], fast[1], place, threshold * (1 - THRESHOLD_MARGIN), fast=True)
        blob.draw(exact[0], exact[1], place, threshold, fast=False)
    doubtful = settle(fast[0], fast[1], levels_at([threshold] * CLASSES), [SMALLEST_PX] * CLASSES)
    answer = exact if doubtful else fast
    np.testing.assert_array_equal(answer[0] > 0, answer[1] > 0)
    for place, blob in enumerate(each):
        top, left = corner(place)
        square = answer[0, top : top + EVERY_PX, left : left + EVERY_PX]
        kept = int((square == blob.class_id).sum()) >= SMALLEST_PX
        assert kept == (blob.area_px(threshold) >= SMALLEST_PX)


def test_what_is_plain_is_not_asked_again() -> None:
    """A clean tile, a large sure defect, even at the tile's end, and a far too small one are undoubted."""
    levels, smallest = levels_at([0.5]), [float(SMALLEST_PX)]
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
        ("an answer without a probability", 1, 2, 3),
    ],
)
def test_what_rounding_could_decide_is_asked_again(why: str, height: int, width: int, score: int) -> None:
    """In doubt is what is near the threshold or the smallest area, or has no probability that would be answered."""
    classes = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    classes[20 : 20 + height, 20 : 20 + width] = 1
    scores = np.where(classes > 0, score, 0).astype(np.uint8)
    assert settle(classes, scores, levels_at([0.5]), [SMALLEST_PX]), why


def test_what_goes_on_beyond_the_tile_is_asked_again() -> None:
    """Six pixels at a tile's end, sure or faint, may be part of a large defect. In its middle they are a speck."""
    for start, doubtful in ((0, True), (1, False), (SIDE_PX - 2, True), (SIDE_PX - 3, False)):
        for turned in (False, True):
            classes = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
            classes[start : start + 2, 20:23] = 1
            if turned:
                classes = np.ascontiguousarray(classes.T)
            for score in (250, 120):
                assert settle(classes.copy(), classes * score, levels_at([0.5]), [SMALLEST_PX]) == doubtful


@pytest.mark.parametrize(("top", "height"), [(30, 4), (SIDE_PX - 2, 2)])
def test_a_piece_apart_is_asked_about_beside_a_plain_defect(top: int, height: int) -> None:
    """20 px, or 10 at the tile's end, tied to a sure defect by a faint bridge may stand alone."""
    scores = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    scores[10:20, 10:20] = 250
    scores[20:top, 12] = 120  # below the threshold of 128, above the lowered one of 114
    assert not settle((scores > 0).astype(np.uint8), scores.copy(), levels_at([0.5]), [SMALLEST_PX])
    scores[top : top + height, 10:15] = 250
    assert settle((scores > 0).astype(np.uint8), scores, levels_at([0.5]), [SMALLEST_PX])


def test_what_another_class_could_claim_is_asked_about() -> None:
    """With thresholds of 0.2 and 0.2 a probability of 0.5 is far above its own.

    It may be the other's as well.
    """
    classes = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    classes[20:30, 20:30] = 1
    for probability, one_class, two_classes in ((0.5, False, True), (0.6, False, False), (0.21, True, True)):
        scores = (classes * round(probability * 255)).astype(np.uint8)
        assert settle(classes.copy(), scores.copy(), levels_at([0.2]), [SMALLEST_PX]) == one_class
        assert settle(classes.copy(), scores.copy(), levels_at([0.2, 0.2]), [SMALLEST_PX] * 2) == two_classes


def test_certainty_is_sure_at_any_threshold() -> None:
    """A large defect of probability 1 is no doubt at a threshold of 0.95, and one of 0.96 is."""
    classes = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    classes[20:30, 20:30] = 1
    for score, doubtful in ((255, False), (245, True)):
        assert settle(classes.copy(), classes * score, levels_at([0.95]), [SMALLEST_PX]) == doubtful


def test_one_answer_per_tile_is_sure_where_its_probability_is() -> None:
    """A classifier's single cell stands for more than the smallest area: sure or in doubt by its probability alone."""
    for score, doubtful in ((250, False), (130, True), (126, True)):
        classes, scores = np.ones((1, 1), np.uint8), np.full((1, 1), score, np.uint8)
        assert settle(classes, scores, levels_at([0.5]), [0.01]) == doubtful


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
    """Tiles in doubt get the exact engine's maps to the last bit. One that is plain is the fast engine's own answer.

    A threshold of 0.48; the fast engine has fifteenths: 0.467 is the last below it, 0.533 the first above.
    """
    exact = write_bright_bundle(tmp_path / "exact")
    contract = exact.contract(4)
    fast = rounding_model(tmp_path / "fast", 15)
    tiles = np.zeros((4, TILE, TILE, 1), np.uint8)
    tiles[0, 4:9, 4:9] = 128  # 0.502, a defect for both; rounded to 0.533, surely one
    tiles[1, 4:9, 4:9] = 202  # 0.792, a defect for both; rounded to 0.8
    tiles[1, 3, 4:9] = 120  # 0.471, none for either; rounded to 0.467
    tiles[2, 4:9, 4:9] = 125  # 0.490, a defect; rounded to 0.467, none for the fast engine
    thresholds: Float32 = np.array([0.48], np.float32)
    engine = CascadeEngine(OnnxRuntimeEngine(fast, contract), OnnxRuntimeEngine(exact.onnx_path, contract), [16])
    with engine, OnnxRuntimeEngine(fast, contract) as alone:
        for used in (engine, alone):
            batch = used.buffer()
            batch.tiles[:] = tiles
            maps = used.collect(used.submit(batch, 4, thresholds))
            found = [int(np.count_nonzero(answer)) for answer in maps.classes]
            assert found == ([25, 25, 25, 0] if used is engine else [25, 25, 0, 0])
            assert maps.scores[1].max() == round(0.8 * 255)
            assert maps.scores[2].max() == (125 if used is engine else 0)
            np.testing.assert_array_equal(maps.scores > 0, maps.classes > 0)
    assert (engine.answered, engine.asked_again) == (4, 1)


def test_smallest_areas_are_counted_in_cells(tmp_path: Path) -> None:
    """A cell of 64 x 64 px is as large as a smallest area of 4,096 px: a bright tile is surely kept."""
    bundle = write_bright_cells(tmp_path / "cells")
    contract = bundle.contract(1)
    engines = [OnnxRuntimeEngine(bundle.onnx_path, contract) for _ in range(2)]
    with CascadeEngine(engines[0], engines[1], [TILE * TILE]) as engine:
        batch = engine.buffer()
        batch.tiles[:] = 250
        assert engine.collect(engine.submit(batch, 1, np.array([0.5], np.float32))).classes.item() == 1
        assert (engine.answered, engine.asked_again) == (1, 0)


def test_engines_are_measured_on_the_tiles_that_are_given(tmp_path: Path) -> None:
    """Of tiles of which every second is in doubt, half are asked again while speed is measured: a line's own share."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    contract = bundle.contract(2)
    tiles = np.zeros((2, TILE, TILE, 1), np.uint8)
    tiles[1, 4:9, 4:9] = 128
    model = bundle.onnx_path
    with CascadeEngine(OnnxRuntimeEngine(model, contract), OnnxRuntimeEngine(model, contract), [16]) as engine:
        assert tiles_per_s(engine, np.array([0.5], np.float32), tiles, seconds=0.01) > 0
        assert engine.asked_again * 2 == engine.answered > 0


def test_golden_tiles_are_those_of_the_prepared_golden_frames() -> None:
    """The first tile of each golden frame is the upper left corner of its prepared picture. All are of the contract."""
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
