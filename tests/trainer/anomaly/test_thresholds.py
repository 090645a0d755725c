"""The threshold of a false-alarm budget, and what so many good parts can prove."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from trainer.anomaly.thresholds import deal_groups, noted, within_budget
from trainer.evaluation.exact_interval import largest_share, largest_share_of
from trainer.evaluation.ranking import found_at_false_alarms, picture_auroc


@given(
    scores=st.lists(st.floats(0.1, 100), min_size=2, max_size=80, unique=True),
    budget=st.floats(0.005, 0.4),
)
def test_no_more_good_parts_are_flagged_than_the_budget_allows(scores: list[float], budget: float) -> None:
    """And a threshold a hundredth lower than the next score would flag more than that."""
    found = within_budget(scores, budget)
    flagged = sum(score >= found.distance for score in scores)
    assert flagged <= found.flagged <= budget * len(scores)
    assert sum(score >= found.distance / 1.002 for score in scores) > found.flagged


def test_the_sentence_says_what_cannot_be_proven() -> None:
    """None of 60 proves less than 6 % (0.025 = (1 - p)^60).

    That is no proof of the 5 % that were asked for.
    """
    told = within_budget(np.linspace(1, 2, 60).tolist(), 0.01)
    assert told.flagged == 0
    assert "0 of 60 good parts" in told.sentence
    assert "at most 6.0%" in told.sentence


@pytest.mark.parametrize(("errors", "pieces"), [(0, 60), (1, 31), (3, 60), (16, 320)])
def test_the_exact_interval_is_that_of_the_beta_distribution(errors: int, pieces: int) -> None:
    """Clopper and Pearson's upper end, as scipy has it."""
    assert largest_share_of(errors, pieces) == pytest.approx(beta.ppf(0.975, errors + 1, pieces - errors), abs=1e-9)
    assert largest_share_of(pieces, pieces) == 1
    if not errors:
        assert largest_share(pieces) == pytest.approx(largest_share_of(0, pieces), abs=1e-9)


def test_no_group_is_parted_and_no_fold_is_empty() -> None:
    """Pictures of one piece are in one fold; with fewer pieces than folds there are fewer folds."""
    rng = np.random.default_rng(0)
    dealt = deal_groups([f"piece{number // 3}" for number in range(30)], 4, rng)
    assert sorted(dealt) == sorted({f"piece{number}" for number in range(10)})
    assert sorted(np.bincount(list(dealt.values()))) == [2, 2, 3, 3]
    assert sorted(deal_groups(["a", "b"], 4, rng).values()) == [0, 1]


@given(
    good=st.lists(st.integers(0, 6), min_size=1, max_size=12), bad=st.lists(st.integers(0, 6), min_size=1, max_size=12)
)
def test_auroc_and_found_are_what_counting_says(good: list[int], bad: list[int]) -> None:
    """The share of pairs that are in order, ties half; the most that a threshold finds within each budget."""
    pairs = [(b > g) + (b == g) / 2 for g in good for b in bad]
    assert picture_auroc(good, bad) == pytest.approx(np.mean(pairs))
    told = found_at_false_alarms(good, bad)
    assert told is not None
    for share in (0.0, 0.05, 0.1):
        most = max(
            np.mean([b >= t for b in bad]) for t in [*range(8)] if np.mean([g >= t for g in good]) <= share + 1e-12
        )
        assert told[f"{share:g}"] == pytest.approx(most)
    assert picture_auroc(good, []) is None
    assert found_at_false_alarms([], bad) is None


def test_what_a_line_compares_with_are_good_parts_that_pass() -> None:
    """As shares of the threshold, without those that it flags; few parts tell of none."""
    scores = [*np.linspace(2, 8, 38).tolist(), 30.0, 40.0]
    threshold = within_budget(scores, 0.05)
    kept = noted(scores, threshold)
    assert kept["held_out"] == [round(score, 5) for score in scores]
    reference = kept["reference"]
    assert (reference["parts"], threshold.flagged) == (38, 2)
    assert reference["median"] == pytest.approx(5 / 8, rel=0.002)  # the threshold lies just above 8
    assert 0 < reference["low"] < reference["median"] < reference["high"] < 1
    assert noted(scores[:12], within_budget(scores[:12], 0.05))["reference"] is None
