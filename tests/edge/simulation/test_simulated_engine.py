from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.inspection.inference import Inference
from edge.records import DefectMap, Frame, GraphContract, PreparedFrame, Transform, UInt8
from edge.simulation.engine import SimulatedEngine

TILE = 16
THRESHOLDS = [0.5, 0.5, 0.5]


def answer(
    truth: UInt8, classes: tuple[str, ...] = ("scratch", "stain", "chip"), thresholds: list[float] | None = None
) -> DefectMap:
    """Send a black frame through tiling and the engine, whose truth it is, and stitch what comes back."""
    contract = GraphContract(TILE, TILE, 1, 1, 1, classes, max_batch=3)
    pixels = np.zeros((*truth.shape, 1), np.uint8)
    frame = Frame("c", 5, pixels, 0, datetime.now(timezone.utc))
    truths = {5: truth}
    with SimulatedEngine(contract, lambda _, index: truths[index]) as engine:
        inference = Inference(engine, thresholds or THRESHOLDS[: len(classes)], overlap_px=4)
        (job,) = inference.begin([PreparedFrame(frame, pixels, Transform.identity())])
        return inference.finish(job)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 50), width=st.integers(1, 50), seed=st.integers(0, 100))
def test_what_comes_out_of_a_line_is_the_truth(height: int, width: int, seed: int) -> None:
    """For frames of any size, even below a tile's, the stitched map is the truth, its score 255."""
    truth = np.random.default_rng(seed).integers(0, 4, (height, width), np.uint8)
    found = answer(truth)
    np.testing.assert_array_equal(found.classes, truth)
    np.testing.assert_array_equal(found.scores, np.where(truth > 0, 255, 0))


def test_classes_are_matched_by_name() -> None:
    """A model that calls a chip 1, a scratch 2 and a stain 3 is answered in its own numbers."""
    truth = np.array([[0, 1, 2, 3]], np.uint8)  # clean, scratch, stain, chip
    assert answer(truth, ("chip", "scratch", "stain")).classes.tolist() == [[0, 2, 3, 1]]


def test_a_class_that_the_model_lacks_is_clean() -> None:
    """A model of scratches alone is answered with scratches alone."""
    found = answer(np.array([[0, 1, 2, 3]], np.uint8), ("scratch",))
    assert found.classes.tolist() == [[0, 1, 0, 0]]
    assert found.scores.tolist() == [[0, 255, 0, 0]]


def test_a_threshold_out_of_reach_silences_its_class() -> None:
    """No probability comes up to a threshold above 1, so that class is not answered and the others are."""
    found = answer(np.array([[0, 1, 2, 3]], np.uint8), thresholds=[0.5, 1.5, 0.5])
    assert found.classes.tolist() == [[0, 1, 0, 3]]


@pytest.mark.parametrize("tiles_per_s", [0.0, 1e6])
def test_the_set_speed_changes_no_answer(tiles_per_s: float) -> None:
    """Slow or at once, tickets are answered with what was submitted."""
    contract = GraphContract(TILE, TILE, 1, 1, 1, ("scratch",), max_batch=2)
    truth = np.zeros((TILE, 2 * TILE), np.uint8)
    truth[3, 20] = 1
    pixels = np.zeros((*truth.shape, 1), np.uint8)
    frame = PreparedFrame(Frame("c", 0, pixels, 0, datetime.now(timezone.utc)), pixels, Transform.identity())
    with SimulatedEngine(contract, lambda *_: truth, tiles_per_s) as engine:
        inference = Inference(engine, [0.5], overlap_px=0)
        for job in [*inference.begin([frame, frame]), *inference.begin([frame])]:
            np.testing.assert_array_equal(inference.finish(job).classes, truth)
