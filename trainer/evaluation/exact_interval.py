"""The exact interval of a share (Clopper and Pearson 1934): its upper end."""

from __future__ import annotations

import math

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2


def largest_share(pieces: int) -> float:
    """Return the share, 0-1, that none of so many pieces leaves possible: (1 - p)^n = `TAIL`; 1 for no piece."""
    return 1.0 if pieces == 0 else float(1 - TAIL ** (1 / pieces))


def largest_share_of(errors: int, pieces: int) -> float:
    """Return the share, 0-1, that `errors` among `pieces` leave possible: P(at most so many | p) = `TAIL`.

    The upper end of the exact interval, found by halving; 1 where all erred.
    """
    if errors >= pieces:
        return 1.0
    low, high = errors / pieces, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        at_most = sum(math.comb(pieces, k) * middle**k * (1 - middle) ** (pieces - k) for k in range(errors + 1))
        low, high = (middle, high) if at_most > TAIL else (low, middle)
    return high
