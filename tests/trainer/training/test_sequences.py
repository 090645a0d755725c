from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from edge.errors import DatasetError
from edge.inspection.tiling import plan
from edge.records import GraphContract, UInt8
from tests.trainer.painted import STILL
from trainer.datasets.dataset import Entry, Picture
from trainer.evaluation.keras_engine import KerasEngine
from trainer.recipe.settings import AugmentationSettings, SamplingSettings, SequenceSettings
from trainer.training.sequences import (
    SequenceSampler,
    belt_transforms,
    cut_sequence,
    recorded_sequences,
    usual_velocity,
    whole_frames,
)

IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def picture(name: str = "a", group: str = "g", size: tuple[int, int] = (40, 60), seed: int = 0) -> Picture:
    """Draw noise with a square of class 1 in it."""
    pixels: UInt8 = np.random.default_rng(seed).integers(0, 200, (*size, 1)).astype(np.uint8)
    truth = np.zeros(size, np.uint8)
    truth[15:25, 20:30] = 1
    return Picture(Entry(name, Path(name), (), group), pixels, truth)


def test_a_belt_moves_what_is_on_it() -> None:
    """With v = (3, 1) the last frame's point (x, y) was at (x - 3, y - 1) in the one before."""
    one = picture()
    corner = np.array([[1.0, 0.0, 10.0], [0.0, 1.0, 8.0]])
    frames, truth = cut_sequence((one,) * 3, corner, np.array([3.0, 1.0]), 16)
    np.testing.assert_array_equal(truth, one.truth[8:24, 10:26])
    np.testing.assert_array_equal(frames[2], one.pixels[8:24, 10:26])
    np.testing.assert_array_equal(frames[1][:-1, :-3], frames[2][1:, 3:])
    np.testing.assert_array_equal(frames[0][:-2, :-6], frames[2][2:, 6:])


def test_the_last_transform_is_the_crops_own() -> None:
    """Oldest first, and a still belt gives the same crop throughout."""
    moved = belt_transforms(IDENTITY, 3, np.array([2.0, -1.0]))
    assert [tuple(t[:, 2]) for t in moved] == [(4.0, -2.0), (2.0, -1.0), (0.0, 0.0)]
    assert all((t == IDENTITY).all() for t in belt_transforms(IDENTITY, 3, np.zeros(2)))


def test_a_recording_gives_each_picture_with_those_before_it() -> None:
    """Groups of 4 and 2 pictures, 3 frames: two sequences of the first, in order, none of the second."""
    pictures = [picture(f"{group}{i}", group) for group, count in (("a", 4), ("b", 2)) for i in range(count)]
    sequences = recorded_sequences(pictures, 3)
    assert [[p.entry.image for p in sequence] for sequence in sequences] == [["a0", "a1", "a2"], ["a1", "a2", "a3"]]


def test_what_is_no_recording_is_refused() -> None:
    """Groups that are too short, and pictures of different sizes, are named before training."""
    with pytest.raises(DatasetError, match="No group has 3 successive pictures"):
        recorded_sequences([picture("a"), picture("b")], 3)
    with pytest.raises(DatasetError, match=r"group 'g' differ in size, up to b"):
        recorded_sequences([picture("a"), picture("b", size=(40, 64))], 2)


def sampler(pictures: list[Picture], augmentation: AugmentationSettings, **sequence: Any) -> SequenceSampler:
    """Make a sampler of three frames."""
    sampling = SamplingSettings(crop_px=32, batch=4, defect_share=1.0)
    settings = SequenceSettings.model_validate(sequence)
    return SequenceSampler(pictures, [1.0], sampling, augmentation, sequence=settings, frames=3)


def test_batches_of_sequences_are_drawn_near_defects() -> None:
    """[B, T, S, S, C] and the last frames' truth; every crop shows the defect; the same seed draws the same."""
    one = sampler([picture()], AugmentationSettings(), shift_px=[2, 4])
    pixels, truth = one.batch(np.random.default_rng(5))
    assert (pixels.shape, truth.shape) == ((4, 3, 32, 32, 1), (4, 32, 32))
    assert (pixels.dtype, truth.dtype) == (np.float32, np.uint8)
    assert (pixels >= 0).all()
    assert (pixels <= 255).all()
    assert truth.any(axis=(1, 2)).sum() >= 3  # a large shift may move it out
    again = one.batch(np.random.default_rng(5))
    np.testing.assert_array_equal(pixels, again[0])


def test_light_is_the_same_in_all_frames_and_noise_is_not() -> None:
    """On an even picture frames agree without noise, at whatever contrast, and differ with it."""
    even = replace(picture(), pixels=np.full((40, 60, 1), 90, np.uint8))
    lit = sampler([even], STILL.model_copy(update={"contrast": 1.5, "brightness": 10.0}))
    pixels, _ = lit.batch(np.random.default_rng(1))
    assert (pixels == pixels[:, :1]).all()
    assert len({float(crop[0, 0, 0, 0]) for crop in pixels}) == 4
    noisy = sampler([even], STILL.model_copy(update={"noise": 5.0}))
    pixels, _ = noisy.batch(np.random.default_rng(1))
    assert (pixels[:, 0] != pixels[:, 1]).any()


def test_recorded_frames_are_not_moved() -> None:
    """A recording moves by itself: the crop of each frame is at the same place of its own picture."""
    pictures = [picture(f"{i}", seed=i) for i in range(3)]
    pixels, truth = sampler(pictures, STILL, recording=True).batch(np.random.default_rng(2))
    found = 0
    for crops, true in zip(pixels, truth, strict=True):
        for y, x in np.ndindex(9, 29):  # crops that reach over the edge are at none of these places
            here = slice(y, y + 32), slice(x, x + 32)
            if (pictures[2].pixels[here] == crops[2]).all():
                found += 1
                np.testing.assert_array_equal(crops[0], pictures[0].pixels[here])
                np.testing.assert_array_equal(crops[1], pictures[1].pixels[here])
                np.testing.assert_array_equal(true, pictures[2].truth[here])
    assert found


def test_whole_frames_are_stitched_from_all_frames_of_each_tile() -> None:
    """A model that answers the difference of its last two frames gives that difference, at every pixel of a picture."""
    settings = SequenceSettings(shift_px=(2.0, 4.0), direction_degrees=0.0)
    one = picture(size=(40, 70))
    frames = whole_frames((one, one), settings)
    np.testing.assert_array_equal(frames[1], one.pixels)
    np.testing.assert_array_equal(usual_velocity(settings), [3.0, 0.0])
    np.testing.assert_array_equal(frames[0][:, :-3], one.pixels[:, 3:])
    tiles = keras.Input((2, 32, 32, 1))
    model = keras.Model(tiles, keras.ops.abs(tiles[:, 1] - tiles[:, 0]) / 255)
    contract = GraphContract(32, 32, 1, 2, 1, ("a",), 4)
    with KerasEngine(model, contract) as engine:
        stitched = engine.stitched_probabilities(frames[1], plan(40, 70, (32, 32), 8), frames[:1])
    expected = np.abs(frames[1].astype(np.float32) - frames[0]) / 255
    np.testing.assert_allclose(stitched, expected, atol=1e-6)


def test_a_shift_is_given_from_least_to_most() -> None:
    """The other way round is a mistake."""
    with pytest.raises(ValueError, match=r"expected shift_px as \[at least, at most\], received \[8.0, 2.0\]"):
        SequenceSettings(shift_px=(8.0, 2.0))
