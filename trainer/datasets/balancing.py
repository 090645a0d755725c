"""Deals units out to parts so that every label gets its share in each, with as few moves as possible.

Pure arithmetic for `splitting.py`: a unit has a place in [0, 1), a part is an interval of it. Units that stand in the
wrong number are moved or exchanged, those nearest to the other part first. A share within its tolerance is left alone:
the very best would reshuffle everything when one unit is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from edge.records import Float64

_KINDS_EXCHANGED = 48
_EXCHANGES_TRIED = 40

Int = NDArray[np.int64]


@dataclass(frozen=True)
class Aims:
    """The aims of P parts.

    `shares` float [P], summing to 1. `tolerance` float [F]: how far a feature's sum in a part may be from its share
    without counting. `least` int [P, K]: how many units with each of K classes a part must have, as far as can be.
    `importance` int [P]: the weight of a lacking one, against those lacking in other parts.
    """

    shares: Float64
    tolerance: Float64
    least: NDArray[np.int64]
    importance: NDArray[np.int64]


def deal(places: Float64, shows: Float64, features: Float64, aims: Aims) -> list[int]:
    """Return the part of each of U units.

    `places` is float [U] in [0, 1). `shows` is float [U, K] of 0 and 1, the classes of each unit. `features` is float
    [U, F], of which each part is to get its share. Lowered is first the lack, then the sum over parts and features of
    the squared excess over the tolerance. It ends at a local minimum over moves and exchanges.
    """
    dealer = _Dealer(places, shows, features, aims)
    for _ in range(10 * len(places) + 10):
        if not dealer.move() and not dealer.exchange():
            break
    return [int(part) for part in dealer.part]


class _Dealer:
    """The state: `part` int [U]. Units with the same features are of one kind; the possible is reckoned by kind."""

    def __init__(self, places: Float64, shows: Float64, features: Float64, aims: Aims) -> None:
        self._shows, self._aims = shows, aims
        self._parts = np.arange(len(aims.shares))
        both, first, kind = np.unique(np.hstack([features, shows]), axis=0, return_index=True, return_inverse=True)
        self._kind: Int = kind.reshape(-1)  # numpy 2.0 alone gives it another shape
        self._rows, self._row_shows = both[:, : features.shape[1]], shows[first]
        # the last part stands first: parts that are held out take from one side only when their share grows
        order = np.roll(self._parts, 1)
        borders = np.concatenate([[0.0], np.cumsum(aims.shares[order])])
        low, high = np.empty(len(order)), np.empty(len(order))
        low[order], high[order] = borders[:-1], borders[1:]
        # each unit's distance from each part, [U, P]
        self._far = np.maximum(np.maximum(low - places[:, None], places[:, None] - high), 0.0)
        self.part: Int = order[np.searchsorted(borders[1:-1], places, side="right")]
        self._wanted = aims.shares[:, None] * features.sum(axis=0)

    def _sums(self, values: Float64) -> Float64:
        """Sum rows [U, N] by part, [P, N]."""
        member = (self.part[:, None] == self._parts).astype(float)
        sums: Float64 = member.T @ values
        return sums

    def _deviation(self) -> Float64:
        deviation: Float64 = self._sums(self._rows[self._kind]) - self._wanted
        return deviation

    def _cost(self, deviation: Float64) -> Float64:
        """Sum the squared excess over the tolerance along the last axis, which is of features."""
        cost: Float64 = (np.maximum(np.abs(deviation) - self._aims.tolerance, 0) ** 2).sum(axis=-1)
        return cost

    def _changes(self, deviation: Float64) -> tuple[Float64, Float64]:
        """Return what taking each kind from a part, and giving it to a part, adds to the cost; both [R, P]."""
        now = self._cost(deviation)
        taken = np.stack([self._cost(own - self._rows) for own in deviation], axis=1) - now
        given = np.stack([self._cost(own + self._rows) for own in deviation], axis=1) - now
        return taken, given

    def move(self) -> bool:
        """Make the best single move, if one helps."""
        taken, given = self._changes(self._deviation())
        has, least, importance = self._sums(self._shows), self._aims.least, self._aims.importance[:, None]
        lost = self._row_shows @ ((has <= least) * importance).T
        gained = self._row_shows @ ((has < least) * importance).T
        units = np.arange(len(self.part))
        change = (taken[self._kind, self.part][:, None] + given[self._kind]).round(9)
        lack = lost[self._kind, self.part][:, None] - gained[self._kind]
        possible = (self._parts != self.part[:, None]) & (self._aims.shares > 0)
        if not possible.any():
            return False
        best = lack[possible].min()
        change = np.where(possible & (lack == best), change, np.inf)
        if best > 0 or (best == 0 and change.min() >= 0):
            return False
        nearest = np.where(change == change.min(), self._far, np.inf)
        unit, to = divmod(int(nearest.argmin()), len(self._parts))
        self.part[units[unit]] = to
        return True

    def exchange(self) -> bool:
        """Exchange the two units of different parts that lower the cost most, if that leaves no more lacking."""
        deviation, lacking = self._deviation(), self._lacking()
        if not self._cost(deviation).any():
            return False
        taken, given = self._changes(deviation)
        found: list[tuple[float, float, int, int]] = []
        for a, b in permutations(range(len(self._parts)), 2):
            if a < b:
                ours, theirs = self._nearest(a, b, taken, given), self._nearest(b, a, taken, given)
                passing = self._rows[self._kind[ours]][:, None] - self._rows[self._kind[theirs]][None, :]
                cost = self._cost(deviation[a] - passing) + self._cost(deviation[b] + passing)
                change = (cost - self._cost(deviation[a]) - self._cost(deviation[b])).round(9)
                far = self._far[ours, b][:, None] + self._far[theirs, a][None, :]
                found += [
                    (float(change[i, j]), float(far[i, j]), int(ours[i]), int(theirs[j]))
                    for i, j in np.argwhere(change < 0)
                ]
        for _, _, unit, other in sorted(found)[:_EXCHANGES_TRIED]:
            self.part[[unit, other]] = self.part[[other, unit]]
            if self._lacking() <= lacking:
                return True
            self.part[[unit, other]] = self.part[[other, unit]]
        return False

    def _lacking(self) -> float:
        lacking = np.maximum(self._aims.least - self._sums(self._shows), 0)
        return float((lacking * self._aims.importance[:, None]).sum())

    def _nearest(self, a: int, b: int, taken: Float64, given: Float64) -> Int:
        """Return of part `a` one unit of each kind, that nearest to part `b`; the kinds best moved, where many."""
        own = np.flatnonzero(self.part == a)
        own = own[np.argsort(self._far[own, b], kind="stable")]
        _, first = np.unique(self._kind[own], return_index=True)
        own = own[np.sort(first)]
        kinds = self._kind[own]
        return own[np.argsort(taken[kinds, a] + given[kinds, b], kind="stable")[:_KINDS_EXCHANGED]]
