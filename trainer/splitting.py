"""Which pictures are learned from, which choose among models, and which only judge: by group, stratified by class.

A group is one physical piece: a split that cut through it would judge a model on what it has learned.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from edge.errors import DatasetError
from trainer.datasets import Entry

Part = Literal["train", "validation", "test"]


def split(entries: Sequence[Entry], test: float, validation: float, seed: int) -> dict[str, Part]:
    """Assign each picture (by `image`) to a part; shares are of the groups of each combination of classes.

    `validation` is a share of what `test` leaves. Deterministic by `seed` and the groups' names. Raises DatasetError
    where a class would be learned from no picture, or could not be validated.
    """
    kinds: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        kinds[entry.group].update(entry.classes)
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for group in sorted(kinds):
        strata[tuple(sorted(kinds[group]))].append(group)
    parts: dict[str, Part] = {}
    generator = np.random.default_rng(seed)
    for _, groups in sorted(strata.items()):
        shuffled = [groups[place] for place in generator.permutation(len(groups))]
        held_out = round(test * len(shuffled))
        rest = len(shuffled) - held_out
        validating = min(max(1, round(validation * rest)), rest - 1) if rest > 1 else 0
        for place, group in enumerate(shuffled):
            parts[group] = "test" if place < held_out else "validation" if place < held_out + validating else "train"
    _check(entries, parts)
    return {entry.image: parts[entry.group] for entry in entries}


def _check(entries: Sequence[Entry], parts: dict[str, Part]) -> None:
    names = {name for entry in entries for name in entry.classes}
    needed: tuple[Part, ...] = ("train", "validation")
    for part in needed:
        present = {name for entry in entries if parts[entry.group] == part for name in entry.classes}
        if lacking := sorted(names - present):
            raise DatasetError(
                f"The split cannot be made: no group of {', '.join(lacking)} would be left to {part}. Expected at "
                "least two groups of each class beside those held out; give more pictures or lower split.test"
            )
