"""Yield and its interval, against another library."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from edge.parts.yields import wilson_interval, yield_of


def test_no_read_parts_are_in_no_yield() -> None:
    """98 OK and 2 NG are 98 %, however many could not be read. Without a judged part there is no yield."""
    assert yield_of(98, 2) == pytest.approx(0.98)
    assert yield_of(0, 0) is None
    assert wilson_interval(0, 0) is None


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilson_s(case: tuple[int, int]) -> None:
    """SciPy's Wilson interval is the same for every count."""
    ours = wilson_interval(*case)
    theirs = binomtest(*case).proportion_ci(0.95, method="wilson")
    assert ours is not None
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_published_one(successes: int, trials: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17: 857-872, table I: the score interval to four digits."""
    ours = wilson_interval(successes, trials)
    assert ours is not None
    assert tuple(round(side, 4) for side in ours) == (low, high)
