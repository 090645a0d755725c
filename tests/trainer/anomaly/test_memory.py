"""Whitening, the memory and its distances, against numpy, scipy and exhaustive search."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from edge.errors import DatasetError
from trainer.anomaly.learning import PlaceSums
from trainer.anomaly.memory import Memory, k_centre_places, learn_whitening, nearness, remember


def test_whitened_features_have_mean_0_and_hardly_differ_in_spread() -> None:
    """Components that vary as the largest do have variance 1, less the floor of a hundredth: 1 / 1.01."""
    rng = np.random.default_rng(1)
    features = (rng.normal(size=(4000, 6)) * [9, 5, 3, 1, 0.5, 0] + 7).astype(np.float32)
    whitened = learn_whitening(features, 6).of(features)
    assert np.allclose(whitened.mean(axis=0), 0, atol=1e-3)
    covariance = np.cov(whitened.T)
    assert np.allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-3)
    assert covariance[0, 0] == pytest.approx(1 / 1.01, abs=1e-3)
    # (3 / 9)^2 of the largest variance, with the floor: 1/9 / (1/9 + 1/100)
    assert covariance[2, 2] == pytest.approx((1 / 9) / (1 / 9 + 0.01), abs=0.05)


def test_too_few_features_are_refused() -> None:
    """One cell has no spread."""
    with pytest.raises(DatasetError, match="no features"):
        learn_whitening(np.zeros((1, 4), np.float32), 2)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 4))
def test_no_point_is_more_than_twice_as_far_as_the_best_choice_would_leave_it(seed: int, count: int) -> None:
    """Gonzalez's bound, against every choice of centres."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(9, 3)).astype(np.float32)
    chosen = points[k_centre_places(points, count, rng)]

    def farthest(centres: np.ndarray) -> float:
        return float(cdist(points, centres).min(axis=1).max())

    best = min(farthest(points[list(places)]) for places in itertools.combinations(range(9), count))
    assert len(chosen) == count
    assert farthest(chosen) <= 2 * best + 1e-4


def test_a_memory_never_grows_beyond_its_size() -> None:
    """It has its size, however many points there are, and all of them where there are fewer."""
    rng = np.random.default_rng(0)
    assert len(k_centre_places(rng.normal(size=(500, 4)).astype(np.float32), 16, rng)) == 16
    assert len(k_centre_places(rng.normal(size=(5, 4)).astype(np.float32), 16, rng)) == 5


def test_places_have_the_mean_and_variance_of_the_other_folds() -> None:
    """Sums by fold come to what numpy says of the pictures together, with the floor of a twentieth."""
    rng = np.random.default_rng(3)
    whitening = learn_whitening(rng.normal(size=(200, 5)).astype(np.float32), 3)
    pictures = rng.normal(size=(6, 2, 4, 5)).astype(np.float32)
    sums = PlaceSums(whitening, 3)
    for place, cells in enumerate(pictures):
        sums.add(cells, place % 3, "a.png")
    own = whitening.of(pictures[[0, 1, 3, 4]])
    places = sums.places(without=2)
    assert np.allclose(places.mean, own.mean(axis=0), atol=1e-5)
    variance = own.var(axis=0)
    assert np.allclose(places.variance, variance + 0.05 * variance.mean(), atol=1e-4)
    with pytest.raises(DatasetError, match="one size"):
        sums.add(pictures[0, :1], 0, "b.png")


def test_a_memory_with_few_cells_next_to_it_weighs_less() -> None:
    """A weight is sqrt(D) over the mean distance to the nearest others, by search; copies give no endless one."""
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(0, 0.1, (300, 4)), rng.normal(5, 2, (40, 4))]).astype(np.float32)
    memory = points[::7]
    weights = nearness(memory, points, 5)
    apart = np.sort(np.linalg.norm(points[:, None].astype(np.float64) - memory[None], axis=2), axis=0)
    assert weights == pytest.approx(2 / apart[1:6].mean(axis=0), rel=1e-2)
    assert weights[-1] < weights[0]
    assert np.isfinite(nearness(np.ones((3, 4), np.float32), np.ones((9, 4), np.float32), 5)).all()
    assert nearness(points[:1], points[:1], 5).tolist() == [1]


def test_what_is_remembered_keeps_its_weight() -> None:
    """Of a memory that grows, vectors that stay keep theirs; without neighbours all are 1."""
    rng = np.random.default_rng(4)
    before = Memory(rng.normal(0, 1, (12, 3)).astype(np.float32), rng.uniform(0.5, 2, 12).astype(np.float32))
    new = rng.normal(3, 1, (60, 3)).astype(np.float32)
    after = remember(new, 40, 5, rng, before)
    assert after.points.shape == (40, 3)
    kept = [
        (one == before.points).all(axis=1).argmax() for one in after.points if (one == before.points).all(axis=1).any()
    ]
    assert kept
    for place in kept:
        own = (after.points == before.points[place]).all(axis=1)
        assert after.weights[own].tolist() == [before.weights[place]]
    assert (remember(new, 40, 0, rng).weights == 1).all()
    assert (remember(new, 40, 0, rng, Memory(before.points, np.ones(12, np.float32))).weights == 1).all()
