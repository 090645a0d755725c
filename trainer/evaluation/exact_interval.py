"""The exact interval of a share where nothing erred, or all did (Clopper and Pearson 1934)."""

from __future__ import annotations

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2


def largest_share(pieces: int) -> float:
    """Return the share, 0-1, that none of so many pieces leaves possible: (1 - p)^n = `TAIL`; 1 for no piece."""
    return 1.0 if pieces == 0 else float(1 - TAIL ** (1 / pieces))
