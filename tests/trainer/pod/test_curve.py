"""The hit/miss curve against scikit-learn's and against a search over all curves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from edge.records import Float64
from trainer.pod.curve import Bools, fit_curve


def sample(seed: int, count: int, *, a50: float = 20.0, slope: float = 4.0) -> tuple[Float64, Bools]:
    """Draw defects of 5 to 130 px and which of them were found."""
    g = np.random.default_rng(seed)
    sizes = np.exp(g.uniform(math.log(5), math.log(130), count))
    return sizes, g.random(count) < 1 / (1 + np.exp(-slope * np.log(sizes / a50)))


def ln_likelihood(intercept: float, slope: float, sizes: Float64, found: Bools) -> float:
    """Return the ln likelihood of what was found."""
    chance = np.clip(1 / (1 + np.exp(-(intercept + slope * np.log(sizes)))), 1e-12, 1 - 1e-12)
    return float(np.log(np.where(found, chance, 1 - chance)).sum())


@pytest.mark.parametrize(("seed", "count"), [(1, 40), (2, 120), (3, 400)])
def test_the_curve_is_that_of_another_library(seed: int, count: int) -> None:
    """Intercept, slope and a90 agree with scikit-learn's logistic regression without a penalty."""
    sizes, found = sample(seed, count)
    other = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000).fit(np.log(sizes)[:, None], found)
    intercept, slope = float(other.intercept_[0]), float(other.coef_[0, 0])
    curve = fit_curve(sizes, found)
    assert curve.intercept == pytest.approx(intercept, rel=1e-4)
    assert curve.slope == pytest.approx(slope, rel=1e-4)
    assert curve.a90 == pytest.approx(math.exp((math.log(9) - intercept) / slope), rel=1e-4)
    assert curve.a50 == pytest.approx(math.exp(-intercept / slope), rel=1e-4)


@pytest.mark.parametrize(("seed", "count"), [(1, 60), (5, 150)])
def test_the_bound_is_the_largest_a90_of_all_likely_curves(seed: int, count: int) -> None:
    """No curve whose likelihood lies within the bound has a larger a90, and one has this one (general optimiser)."""
    sizes, found = sample(seed, count)
    curve = fit_curve(sizes, found)
    assert curve.intercept is not None
    assert curve.slope is not None
    assert curve.a90_95 is not None
    least = ln_likelihood(curve.intercept, curve.slope, sizes, found) - 3.841458820694124 / 2

    def ln_a90(curve_of: Float64) -> float:
        return float((math.log(9) - curve_of[0]) / curve_of[1])

    searched = minimize(
        lambda at: -ln_a90(at),
        np.array([curve.intercept, curve.slope]),
        method="SLSQP",
        constraints={"type": "ineq", "fun": lambda at: ln_likelihood(at[0], at[1], sizes, found) - least},
    )
    assert searched.success
    assert curve.a90_95 == pytest.approx(math.exp(-searched.fun), rel=1e-3)


def test_a_clean_step_has_a_bound() -> None:
    """With all larger ones found and all smaller ones missed, a90 is the least found, its bound a bit larger."""
    sizes = np.arange(1.0, 61.0)
    curve = fit_curve(sizes, sizes > 20)
    assert (curve.a90, curve.slope, curve.reason) == (21.0, None, None)
    # a step at x misses k sizes of at least x - 20 each with a chance of at most 0.1: by hand, steeper than any slope
    assert curve.a90_95 is not None
    assert 21 < curve.a90_95 < 26


def test_a_step_through_a_tie_has_a_bound_too() -> None:
    """The size at which some are found and some are not may be the same one."""
    sizes = np.repeat([10.0, 20.0, 40.0], 12)
    found = np.array([False] * 12 + [True, False] * 6 + [True] * 12)
    curve = fit_curve(sizes, found)
    assert curve.a90 is not None
    assert curve.a90_95 is not None
    assert 20 <= curve.a90 < curve.a90_95 <= 40


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (np.ones(30, np.bool_), "all 30 were found, from 10 px on"),
        (np.zeros(30, np.bool_), "none of 30 was found, up to 39 px"),
        (np.arange(30) < 15, "larger ones are not found more often: 15 of 30"),
        (np.arange(30) % 2 == 0, "90%"),
    ],
)
def test_what_has_no_curve_says_why(found: Bools, words: str) -> None:
    """Without hits, without misses, and where size does not help, there is a reason in the place of a size."""
    curve = fit_curve(np.arange(10.0, 40.0), found)
    assert curve.a90 is None or curve.a90_95 is None
    assert curve.a90_95 is None
    assert curve.reason is not None
    assert words in curve.reason or "not found more often" in curve.reason


@pytest.mark.parametrize(("judged", "missed"), [(100, 2), (1000, 20), (40, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_no_size_is_smaller_than_the_smallest_that_was_judged(judged: int, missed: int, seed: int) -> None:
    """Of nearly all that were found a90 lies below them: it is not told from the curve, and its bound is among them."""
    sizes = np.geomspace(6, 128, judged)
    found = np.ones(judged, np.bool_)
    found[np.random.default_rng(seed).choice(judged // 2, missed, replace=False)] = False
    curve = fit_curve(sizes, found)
    told = [size for size in (curve.a50, curve.a90, curve.a90_95) if size is not None]
    assert all(6 <= size <= 128 for size in told)
    if curve.a90 is None:
        assert curve.lies_below
        assert f"{judged - missed} of {judged} were found, from 6 px on: it lies below" in (curve.reason or "")
    # misses among the largest alone: size does not help, and yet nearly all are found
    upside_down = fit_curve(sizes, found[::-1])
    assert upside_down.lies_below
    assert "larger ones are not found more often" in (upside_down.reason or "")
    assert not fit_curve(sizes, np.arange(judged) < judged // 2).lies_below


def test_few_defects_have_no_curve() -> None:
    """Nine defects are too few, and none is none."""
    assert "too few" in (fit_curve(np.arange(1.0, 10.0), np.arange(9) > 4).reason or "")
    assert fit_curve(np.zeros(0), np.zeros(0, np.bool_)).reason == "none was judged"


def test_more_defects_bring_the_bound_closer() -> None:
    """The bound of many defects lies closer to a90 than that of few."""
    few, many = fit_curve(*sample(4, 60)), fit_curve(*sample(4, 600))
    assert few.a90 is not None
    assert few.a90_95 is not None
    assert many.a90 is not None
    assert many.a90_95 is not None
    assert many.a90_95 / many.a90 < few.a90_95 / few.a90
