"""From the scores of good parts that were held out to a threshold, and what so many parts can prove. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge.inspection.model_drift import reference_of
from edge.wording import counted
from trainer.evaluation.exact_interval import largest_share, largest_share_of

# A threshold at a score would flag or pass that very part by the last bit.
_ABOVE = 1.001


@dataclass(frozen=True)
class BudgetThreshold:
    """A distance from which parts are flagged, and how many of the good parts that were held out it flags."""

    distance: float
    flagged: int
    parts: int

    @property
    def sentence(self) -> str:
        """Say what the threshold was chosen on, and what that many parts can prove."""
        most = largest_share(self.parts) if not self.flagged else largest_share_of(self.flagged, self.parts)
        return (
            f"{self.flagged} of {counted(self.parts, 'good part')} held out would be flagged; so few can prove that at "
            f"most {most:.1%} of the line's good parts are (95 %)"
        )


def within_budget(scores: Sequence[float], false_alarms: float) -> BudgetThreshold:
    """Return the lowest threshold that flags at most the share `false_alarms` of the good parts' scores.

    `scores`: the largest distance within each good part, judged by what other parts taught.
    """
    ranked = np.sort(np.asarray(scores, np.float64))[::-1]
    flagged = min(int(false_alarms * len(ranked)), len(ranked) - 1)
    return BudgetThreshold(float(ranked[flagged]) * _ABOVE, flagged, len(ranked))


def noted(held_out: Sequence[float], threshold: BudgetThreshold) -> dict[str, Any]:
    """Return what a manifest keeps of a threshold: the scores that chose it, and what passed parts look like.

    `reference`: what a running line compares its passed parts with, as shares of the threshold; None for few parts.
    """
    passed = [score / threshold.distance for score in held_out if score < threshold.distance]
    reference = reference_of(passed)
    return {
        "distance": threshold.distance,
        "held_out": [round(float(score), 5) for score in held_out],
        "proves": threshold.sentence,
        "reference": None if reference is None else asdict(reference),
    }


def deal_groups(groups: Sequence[str], folds: int, rng: np.random.Generator) -> dict[str, int]:
    """Deal groups to folds of nearly the same number, by chance; to fewer folds where there are fewer groups."""
    names = sorted(set(groups))
    order = rng.permutation(len(names))
    return {names[place]: number % folds for number, place in enumerate(order)}
