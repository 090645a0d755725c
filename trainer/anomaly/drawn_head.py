"""The head that tells drawn defects: its weights, and the tiles that it learns from. Records in numpy.

It looks at stages 3, 5, 6 and 7 of the encoder in cells of 16 px: one convolution of each stage, summed, and two of
3 x 3 cells. Its logit, times the recipe's `weight`, is added to the logarithm of the squared distance; head.py has the
bounds.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.records import Float32

# The stages that the head looks at. Of each 2 x 2 features of stage 3 are one cell.
TAPS = (3, 5, 6, 7)
CELL_PX = 16
DEEP_PX = 32  # of stages 6 and 7


@dataclass(frozen=True)
class DrawnHead:
    """A small network on the encoder's features; its answer is added to ln d^2 of a cell of 16 px.

    `taps`: the kernel of each stage of `TAPS`, float32 [2, 2, 40, W] and [1, 1, F, W], whose answers are summed.
    `bias`: float32 [W] of that sum. `layers`: kernel and bias of each convolution after it, float32 [h, w, in, out] and
    [out]; the last one has one channel.
    """

    taps: tuple[Float32, ...]
    bias: Float32
    layers: tuple[tuple[Float32, Float32], ...]


@dataclass(frozen=True)
class DrawnTiles:
    """Whitened features of tiles, of good parts as they are and drawn into, kept in halves.

    `near`: float16 [N, h, w, F], in cells of 16 px; `deep`: float16 [N, h / 2, w / 2, G]. `marked`: float32 [N, h, w],
    which share of a cell was drawn into; -1 = it is ignored. `pictures`: int [N], whose good picture it is. `axes`,
    `means`: of each stage's whitening, float32 [F, D] and [F].
    """

    near: NDArray[np.float16]
    deep: NDArray[np.float16]
    marked: Float32
    pictures: NDArray[np.int64]
    axes: tuple[Float32, ...]
    means: tuple[Float32, ...]

    def of(self, pictures: Collection[int]) -> NDArray[np.int64]:
        """Return which tiles are of these pictures."""
        return np.flatnonzero(np.isin(self.pictures, list(pictures)))

    @property
    def defective(self) -> NDArray[np.bool_]:
        """Tell of each tile whether a defect was drawn into it that can be seen, bool [N]."""
        return np.asarray(self.marked.reshape(len(self.marked), -1).max(axis=1) > SHOWN, bool)


# A cell of which at least this share was drawn into is defective; one with less is neither.
SHOWN = 0.08
