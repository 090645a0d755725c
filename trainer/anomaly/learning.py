"""Learn from good pictures: a memory of their features, or statistics of each place, in two or three passes.

Memory stays flat: of each picture a few cells are kept, or sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.errors import DatasetError
from edge.records import Float32, Float64
from trainer.anomaly.drawn_head import DrawnHead
from trainer.anomaly.gathering import TileRunner, in_other_light, known_cells, load_prepared, some_cells
from trainer.anomaly.head import Head
from trainer.anomaly.memory import Memory, Places, Whitening, learn_whitening, remember
from trainer.datasets.dataset import Entry
from trainer.datasets.masks import IGNORED
from trainer.recipe.good_parts_settings import GoodPartsRecipe

# Of a place that hardly varied in the few parts seen: this share of the variance over all places is added.
_FLOOR = 0.05
Watch = Callable[[Iterable[Entry], str], Iterable[Entry]]


@dataclass(frozen=True)
class Learned:
    """The knowledge of a scorer: whitening, and memory, or the places of a part in a fixture.

    `head`: what marked defects add; None = nothing. `drawn`: what was learned from drawn ones; None = nothing.
    """

    whitening: Whitening
    known: Memory | Places
    head: Head | None = None
    drawn: DrawnHead | None = None


@dataclass(frozen=True)
class Samples:
    """Cells that were drawn from good pictures, float32 [n, F] each, and the fold of each picture."""

    cells: Sequence[Float32]
    folds: Sequence[int]

    def without(self, fold: int | None) -> Float32:
        """Join the cells of all folds but one; of all where it is None."""
        return np.concatenate([own for own, of in zip(self.cells, self.folds, strict=True) if of != fold])


def gather(
    good: Sequence[Entry],
    fold_of: Sequence[int],
    runner: TileRunner,
    *,
    recipe: GoodPartsRecipe,
    rng: np.random.Generator,
    watch: Watch,
) -> Samples:
    """Draw cells from every good picture and its copies in other light; about `recipe.samples` in all."""
    each = max(1, recipe.samples // (len(good) * (1 + recipe.copies.count)))
    cells = []
    for entry in watch(good, "learning"):
        picture = load_prepared(entry, recipe)
        own = []
        for pixels in in_other_light(picture.pixels, recipe.copies, rng):
            answered = runner.run(pixels)
            own.append(some_cells(answered, each, rng, known_cells(picture.truth, answered.shape)))
        cells.append(np.concatenate(own))
    return Samples(cells, fold_of)


def learn_memory(samples: Samples, fold: int | None, recipe: GoodPartsRecipe, rng: np.random.Generator) -> Learned:
    """Learn whitening and memory from all samples but those of a fold."""
    own = samples.without(fold)
    whitening = learn_whitening(own, recipe.components)
    return Learned(whitening, remember(whitening.of(own), recipe.memory, recipe.neighbours, rng))


class PlaceSums:
    """Sums over whitened cells of parts in a fixture, by fold."""

    def __init__(self, whitening: Whitening, folds: int) -> None:
        self.whitening = whitening
        self._count = np.zeros(folds)
        self._sums: list[Float64 | None] = [None] * folds
        self._squares: list[Float64 | None] = [None] * folds

    def add(self, cells: Float32, fold: int, path: Any) -> None:
        """Add one picture's cells, float32 [h, w, F]. Raises DatasetError where it is of another size."""
        own = self.whitening.of(cells).astype(np.float64)
        for sums, value in ((self._sums, own), (self._squares, own * own)):
            before = sums[fold]
            known = next((one for one in sums if one is not None), None)
            if known is not None and known.shape != value.shape:
                raise DatasetError(
                    f"{path}: expected pictures of one size for placed parts, received cells of "
                    f"{value.shape[:2]} beside {known.shape[:2]}. Add a resize step to the recipe's preparing"
                )
            sums[fold] = value if before is None else before + value
        self._count[fold] += 1

    def places(self, without: int | None) -> Places:
        """Return mean and variance of each place over all folds but one."""
        kept = [fold for fold in range(len(self._count)) if fold != without and self._count[fold]]
        count = float(sum(self._count[fold] for fold in kept))
        mean = sum(self._sums[fold] for fold in kept) / count  # type: ignore[misc] # each kept fold has sums
        squares = sum(self._squares[fold] for fold in kept) / count  # type: ignore[misc] # likewise
        variance = np.maximum(np.asarray(squares) - np.asarray(mean) ** 2, 0)
        floor = _FLOOR * float(variance.mean()) + 1e-6
        return Places(np.asarray(mean, np.float32), np.asarray(variance + floor, np.float32))


def gather_places(
    good: Sequence[Entry],
    fold_of: Sequence[int],
    runner: TileRunner,
    *,
    recipe: GoodPartsRecipe,
    whitening: Whitening,
    watch: Watch,
) -> PlaceSums:
    """Sum over every good picture. Raises DatasetError where a picture is not exactly one tile."""
    sums = PlaceSums(whitening, max(fold_of) + 1)
    for entry, fold in zip(watch(good, "learning places"), fold_of, strict=True):
        picture = load_prepared(entry, recipe)
        pixels = picture.pixels
        if (picture.truth == IGNORED).any():
            raise DatasetError(
                f"{entry.path}: expected no ignore_mask for placed parts, of which every place is learned. Take out "
                "placed, or the picture"
            )
        if pixels.shape[:2] != (recipe.tile.height, recipe.tile.width):
            raise DatasetError(
                f"{entry.path}: expected {recipe.tile.width} x {recipe.tile.height} px once prepared, the size of the "
                f"tile, since the parts are placed; received {pixels.shape[1]} x {pixels.shape[0]}. Add a resize step "
                "to the recipe's preparing, or take out placed"
            )
        sums.add(runner.run(pixels), fold, entry.path)
    return sums
