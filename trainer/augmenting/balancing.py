"""The centres of crops: classes balanced by weight, and most crops near a defect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.records import UInt8


class BalancedPlaces:
    """Draws a picture, by its index, and a place in it.

    A share of the places, `defect_share`, is at a pixel of a defect: its class is drawn by weight, its picture evenly
    among those that show the class. The others lie anywhere in any picture. `truths`: uint8 [H, W] of class ids per
    picture. `class_weights`: in id order, 1…K. `places_of`: (index, class id) → the class's pixels in that picture as
    indices into its flattened truth, intp [N]. By default they are those of its id.
    """

    def __init__(
        self,
        truths: Sequence[UInt8],
        class_weights: Sequence[float],
        defect_share: float,
        places_of: Callable[[int, int], NDArray[np.intp]] | None = None,
    ) -> None:
        self._shapes = [truth.shape for truth in truths]
        self._defect_share = defect_share
        find = places_of or (lambda index, class_id: np.flatnonzero(truths[index] == class_id))
        self._places: list[list[tuple[int, NDArray[np.intp]]]] = []
        for class_id in range(1, len(class_weights) + 1):
            own = [(index, find(index, class_id)) for index in range(len(truths))]
            self._places.append([(index, places) for index, places in own if len(places)])
        weights = np.array([weight if own else 0.0 for weight, own in zip(class_weights, self._places, strict=True)])
        self._weights = weights / weights.sum() if weights.sum() else None

    def draw(self, generator: np.random.Generator) -> tuple[int, tuple[int, int]]:
        """Return a picture's index and a place (x, y) in it, in pixels."""
        if self._weights is not None and generator.random() < self._defect_share:
            own = self._places[generator.choice(len(self._weights), p=self._weights)]
            index, places = own[generator.integers(len(own))]
            y, x = divmod(int(places[generator.integers(len(places))]), self._shapes[index][1])
        else:
            index = int(generator.integers(len(self._shapes)))
            y, x = (int(generator.integers(side)) for side in self._shapes[index])
        return index, (x, y)
