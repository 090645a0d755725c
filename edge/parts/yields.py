"""Yield of parts, with its interval. Pure arithmetic."""

from __future__ import annotations

from math import sqrt

_Z = 1.959963984540054  # the 97.5th percentile of the standard normal distribution: 95 % lie within ± this


def yield_of(ok: int, ng: int) -> float | None:
    """Return OK ÷ (OK + NG), or None where no part was judged. NO_READ is in neither: nobody knows what it was.

    >>> yield_of(98, 2)
    0.98
    """
    return ok / (ok + ng) if ok + ng else None


def wilson_interval(successes: int, trials: int) -> tuple[float, float] | None:
    """Return Wilson's 95 % interval of a share (Wilson 1927, doi:10.2307/2276774), or None without trials.

    >>> [round(side, 4) for side in wilson_interval(98, 100)]
    [0.93, 0.9945]
    """
    if not trials:
        return None
    share, z2 = successes / trials, _Z**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z / (1 + z2 / trials) * sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return low, high
