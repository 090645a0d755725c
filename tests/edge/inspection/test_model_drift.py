"""Passed parts against those that were taught: the bounds, chance, shifts, hysteresis."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom

from edge.inspection.model_drift import (
    DriftState,
    ModelDriftSettings,
    Reference,
    due,
    reference_in,
    reference_of,
    score_of,
    step,
    told,
)

SECOND = 1_000_000_000
SETTINGS = ModelDriftSettings()
REFERENCE = Reference(0.5, 0.6, 0.7, 100)


def steps(state: DriftState, scores: list[float] | np.ndarray, settings: ModelDriftSettings = SETTINGS) -> DriftState:
    """Take in scores, one a second."""
    at_ns = 0 if state.looked_ns is None else state.looked_ns
    for number, score in enumerate(scores, start=1):
        state = step(state, float(score), at_ns + number * SECOND, settings)
    return state


@pytest.mark.parametrize("parts", [13, 14, 30, 61, 200, 1000])
def test_each_bound_lies_beyond_the_true_quartile_with_the_stated_confidence(parts: int) -> None:
    """Of evenly spread scores the k-th smallest is Beta(k, n + 1 - k): the nearest whose lower end is the quartile."""
    reference = reference_of([(number + 1) / (parts + 1) for number in range(parts)])
    assert reference is not None
    rank = round(reference.high * (parts + 1))
    assert beta.cdf(0.75, rank, parts + 1 - rank) <= 0.025 < beta.cdf(0.75, rank - 1, parts + 2 - rank)
    assert reference.low == pytest.approx(1 - reference.high)
    assert reference.parts == parts


def test_few_parts_make_no_reference() -> None:
    """The largest of 12 lies below the upper quartile in 3 % of cases, so that 12 tell of no bound."""
    assert reference_of([0.5] * 12) is None
    assert 0.75**12 > 0.025 >= 0.75**13


def test_a_steady_line_raises_no_alarm_for_more_than_a_year() -> None:
    """One look in 5 s, each by itself: 365 days of them come to less than one false alarm, whatever the scores."""
    chance = 2 * binom.sf(SETTINGS.window // 2 - 1, SETTINGS.window, 0.25)
    assert 365 * 86_400 / SETTINGS.every_s * chance < 1


@pytest.mark.parametrize("seed", range(4))
def test_scores_that_stay_as_they_were_do_not_drift(seed: int) -> None:
    """Skewed scores, with a reference of forty parts: none of 3,000 parts raises it."""
    rng = np.random.default_rng(seed)
    passed = [score for score in rng.lognormal(-0.5, 0.25, 60) if score < 1][:40]
    state = DriftState(reference_of(passed))
    for number, score in enumerate(score for score in rng.lognormal(-0.5, 0.25, 3000) if score < 1):
        state = step(state, float(score), number * SECOND, SETTINGS)
        assert not state.drifted


def test_a_shift_is_told_within_one_window_while_parts_still_pass() -> None:
    """A lamp fades until one part in six is flagged: by a window of further parts it is told, with both medians."""
    rng = np.random.default_rng(0)
    state = DriftState(reference_of(np.clip(rng.normal(0.6, 0.1, 200), 0, 0.99)))
    state = steps(state, rng.normal(0.6, 0.1, 200))
    assert told("top", state) is None
    state = steps(state, [score for score in rng.normal(0.9, 0.1, 120) if score < 1][:100])
    assert state.drifted
    words = told("top", state)
    assert words is not None
    assert words.startswith("top: passed parts are farther from what was taught: the median of their scores is 0.8")
    assert "200 good parts" in words


def test_scores_that_fall_are_told_as_well() -> None:
    """A lens out of focus hides what is on a part, defects too."""
    assert "nearer to" in str(told("top", steps(DriftState(REFERENCE), [0.4] * 100)))


def test_it_ends_in_the_inner_half_alone() -> None:
    """Raised above 0.7, it stays at 0.69 and ends at 0.64; at 0.69 it is not raised."""
    assert not steps(DriftState(REFERENCE), [0.69] * 200).drifted
    state = steps(DriftState(REFERENCE), [0.71] * 100)
    assert state.since_ns == 100 * SECOND
    state = steps(state, [0.69] * 100)
    assert state.since_ns == 100 * SECOND
    assert not steps(state, [0.64] * 100).drifted


def test_half_a_window_decides_nothing() -> None:
    """Half a window decides nothing, however far off the first parts are."""
    assert not steps(DriftState(REFERENCE), [0.99] * 99).drifted
    assert steps(DriftState(REFERENCE), [0.99] * 100).drifted


def test_without_a_reference_the_first_parts_are_it() -> None:
    """Later parts are compared with them."""
    rng = np.random.default_rng(1)
    state = steps(DriftState(), rng.normal(0.3, 0.02, 100))
    assert state.reference is not None
    assert (state.reference.parts, state.scores) == (100, ())
    state = steps(state, rng.normal(0.3, 0.02, 300))
    assert not state.drifted
    assert steps(state, rng.normal(0.35, 0.02, 100)).drifted


def test_a_score_is_the_distance_as_a_share_of_the_threshold() -> None:
    """The graph answers p = d^2 / (d^2 + t^2), rounded to 1 / 255."""
    for share in (0.2, 0.5, 0.9, 1.0, 2.0):
        level = round(255 * share**2 / (share**2 + 1))
        assert score_of(level) == pytest.approx(share, rel=0.03)
    assert np.isfinite(score_of(255))
    assert score_of(0) == 0


def test_parts_are_looked_at_at_most_so_often() -> None:
    """The first, and then one each five seconds of its own capture."""
    assert due(None, 7, SETTINGS)
    assert not due(0, 5 * SECOND - 1, SETTINGS)
    assert due(0, 5 * SECOND, SETTINGS)


@pytest.mark.parametrize(
    "noted",
    [
        None,
        {},
        {"low": 0.5, "median": 0.6, "high": "0.7", "parts": 20},
        {"low": 0.5, "median": 0.6, "high": float("nan"), "parts": 20},
        {"low": 0.7, "median": 0.6, "high": 0.8, "parts": 20},
        {"low": -1, "median": 0.6, "high": 0.8, "parts": 20},
        {"low": 0.5, "median": 0.6, "parts": 20},
        [0.5, 0.6, 0.7, 20],
    ],
)
def test_a_reference_that_cannot_be_is_none(noted: object) -> None:
    """A manifest's reference is believed where it is one."""
    assert reference_in({"good_parts": {"reference": noted}}) is None
    assert reference_in({"good_parts": noted}) is None
    told_well = {"low": 0.5, "median": 0.6, "high": 0.7, "parts": 100}
    assert reference_in({"good_parts": {"reference": told_well}}) == REFERENCE
