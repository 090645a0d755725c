"""The intervals of figures over pictures: how often they hold the truth, and that few pictures say little."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from trainer.evaluation.ranking import UNRANKED, auroc_interval, found_intervals, picture_auroc, ranked_pictures


@pytest.mark.parametrize(("area", "good", "bad"), [(0.7, 25, 40), (0.85, 40, 15), (0.97, 60, 30)])
def test_the_interval_of_an_area_holds_the_true_one_in_most_draws(area: float, good: int, bad: int) -> None:
    """Two normal distributions a known distance apart: 93 to 99 % of 400 draws hold the area that they have."""
    rng = np.random.default_rng(0)
    shift = norm.ppf(area) * np.sqrt(2)
    held = 0
    for _ in range(400):
        found = picture_auroc(rng.normal(0, 1, good).tolist(), rng.normal(shift, 1, bad).tolist())
        assert found is not None
        low, high = auroc_interval(found, good, bad)
        assert 0 < low <= found <= high <= 1
        held += low <= area <= high
    assert 0.93 <= held / 400 <= 0.99


def test_a_perfect_area_of_few_pictures_is_not_sure() -> None:
    """With ten pictures of each kind 0.8 is possible still, with a thousand hardly anything below 1."""
    low, high = auroc_interval(1.0, 10, 10)
    assert (high, low < 0.85) == (1.0, True)
    assert auroc_interval(1.0, 1000, 1000)[0] > 0.995


def test_the_interval_of_a_share_is_the_exact_one() -> None:
    """Scipy's, of Clopper and Pearson."""
    told = found_intervals({"0.05": 0.75, "0.1": 1.0, "0": 0.0}, 32)
    for key, hits in (("0.05", 24), ("0.1", 32), ("0", 0)):
        exact = binomtest(hits, 32).proportion_ci(0.95, "exact")
        assert told[key] == pytest.approx([exact.low, exact.high], abs=1e-9)


def test_without_pictures_of_both_kinds_nothing_is_said() -> None:
    """Neither figures nor intervals."""
    assert ranked_pictures([0.1, 0.2], []) == UNRANKED == ranked_pictures([], [0.5])
    assert set(ranked_pictures([0.1], [0.5])) == set(UNRANKED)
