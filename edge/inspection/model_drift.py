"""Drift of today's parts from those that a model of good parts was taught. Pure; time is an argument.

A part's score is its distance from the taught ones, as a share of the distance that flags a part. Passed parts score
below 1. The median of the last ones is compared with the middle half of held-out good parts. Those were not in the fit.

Assume that the reference has the true quartiles. A steady line then leaves it by chance with a probability of at most
`2 P(Bin(n, 1/4) >= n / 2)` a look. n is the scores of the window; 1.3e-7 for 100. No distribution is assumed: the
bounds of the reference are order statistics that lie beyond the true quartiles with 97.5 % confidence each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median
from typing import Annotated, Any

from pydantic import Field

from edge.yaml_settings import StrictModel

# The confidence that each bound of a reference lies beyond the true quartile.
_SURE = 0.975
_HIGHEST = 254.5 / 255  # a score of 255 may stand for any larger distance


class ModelDriftSettings(StrictModel):
    """Settings for comparing a view's passed parts with those that its model was taught.

    `every_s`: at most so often one passed part is looked at again. `window`: so many of the last ones are compared.
    """

    every_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 5.0
    window: Annotated[int, Field(ge=20, le=1000)] = 100


@dataclass(frozen=True)
class Reference:
    """The scores of good parts: their `median`, and the bounds of their middle half, with `parts` they are told of."""

    low: float
    median: float
    high: float
    parts: int


@dataclass(frozen=True)
class DriftState:
    """The state of one view's passed parts. `reference`: None while the line's own first parts are gathered.

    `scores`: of the last ones, oldest first. `looked_ns`: when the last of them was captured. `since_ns`: from when on
    they look otherwise, None while they do not.
    """

    reference: Reference | None = None
    scores: tuple[float, ...] = ()
    looked_ns: int | None = None
    since_ns: int | None = None

    @property
    def drifted(self) -> bool:
        """Tell whether passed parts look other than those that were taught."""
        return self.since_ns is not None

    @property
    def now(self) -> float | None:
        """The median of the last scores, None without any."""
        return median(self.scores) if self.scores else None


def score_of(level: int) -> float:
    """Return the score behind the largest answer of a picture, 0-255: d / t, where p = d^2 / (d^2 + t^2)."""
    probability = min(level / 255, _HIGHEST)
    return math.sqrt(probability / (1 - probability))


@lru_cache(maxsize=64)
def _rank(parts: int) -> int | None:
    """Return which of so many ascending scores lies above the upper quartile that surely, counted from 0; None = none.

    The k-th smallest lies below the quartile where at least k of the parts do: P(Bin(parts, 3/4) >= k).
    """
    beyond = 0.0
    for count in range(parts, -1, -1):
        beyond += math.comb(parts, count) * 3**count / 4**parts
        if beyond > 1 - _SURE:
            return count if count < parts else None
    return None


def reference_of(scores: Sequence[float]) -> Reference | None:
    """Return the reference that the scores of passed good parts make; None where they are too few (under 13)."""
    place = _rank(len(scores))
    if place is None:
        return None
    ranked = sorted(scores)
    return Reference(ranked[-1 - place], median(ranked), ranked[place], len(ranked))


def reference_in(training: Mapping[str, Any]) -> Reference | None:
    """Return the reference that a fit noted in its manifest's `training`; None where there is none to be believed."""
    noted = training.get("good_parts")
    noted = noted.get("reference") if isinstance(noted, Mapping) else None
    if not isinstance(noted, Mapping):
        return None
    values = [noted.get(key) for key in ("low", "median", "high", "parts")]
    if not all(isinstance(value, int | float) and math.isfinite(value) and value >= 0 for value in values):
        return None
    low, middle, high, parts = (float(value) for value in values if value is not None)
    return Reference(low, middle, high, int(parts)) if low <= middle <= high else None


def due(looked_ns: int | None, captured_ns: int, settings: ModelDriftSettings) -> bool:
    """Tell whether a part that was captured then is to be looked at again; `looked_ns`: when the last one was."""
    return looked_ns is None or captured_ns - looked_ns >= settings.every_s * 1e9


def step(state: DriftState, score: float, captured_ns: int, settings: ModelDriftSettings) -> DriftState:
    """Take in the score of one passed part.

    Without a reference the first `window` parts make one. Parts look otherwise once the median of the whole window lies
    outside of the reference. That ends when it is back in the inner half of the reference.
    """
    scores = (*state.scores, score)[-settings.window :]
    state = replace(state, scores=scores, looked_ns=captured_ns)
    if len(scores) < settings.window:
        return state
    reference = state.reference
    if reference is None:
        return replace(state, reference=reference_of(scores), scores=())
    low, high = reference.low, reference.high
    if state.drifted:
        low, high = (low + reference.median) / 2, (high + reference.median) / 2
    if low <= median(scores) <= high:
        return replace(state, since_ns=None)
    return state if state.drifted else replace(state, since_ns=captured_ns)


def told(view: str, state: DriftState) -> str | None:
    """Say what is other than it was, None while nothing is."""
    if state.since_ns is None or state.reference is None or state.now is None:
        return None
    reference = state.reference
    way = "farther from" if state.now > reference.median else "nearer to"
    return (
        f"{view}: passed parts are {way} what was taught: the median of their scores is {state.now:.2f}, expected "
        f"{reference.low:.2f} to {reference.high:.2f} as of {reference.parts} good parts; 1 flags a part"
    )
