"""The part of marked defects in the distance: a logistic regression on the same features. Pure arithmetic in numpy.

Let f be the whitened features of a cell, d its distance and t the threshold. Both distances are smoothed over
neighbours alike. The graph answers p = r / (r + 1) for

    r = (d / t)^2 exp(h),    h = w f + b, held between -ln 4 and ln 4

So look-alikes of marked defects are up to twice as far off. Look-alikes of false alarms are half as far. A distance of
more than twice the threshold is flagged whatever the head says. A defect that nobody has seen is not argued away. A
head of drawn defects (drawn_head.py) adds to h within the same bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.records import Float32, Float64, UInt8

# The most that h may do to the squared distance, as a logarithm.
MOST = float(np.log(4))
# Of a cell at least this share is marked for it to be defective. A line of 0.8 px across it is enough. That is the
# same share of a cell of 16 px, and 0.025 of one of 32 px.
_MARKED = 0.05
_ACROSS_PX = 0.8
_RIDGE = 0.01  # on the mean loss: holds weights where few cells say little
_STEPS = 30


@dataclass(frozen=True)
class Head:
    """A logit of each cell: `weights` float32 [D] on whitened features, and `bias`. All zero changes nothing."""

    weights: Float32
    bias: float

    @classmethod
    def none(cls, components: int) -> Head:
        """Return the head that changes nothing."""
        return cls(np.zeros(components, np.float32), 0.0)

    @property
    def says_something(self) -> bool:
        """Tell whether it changes anything."""
        return bool(self.weights.any() or self.bias)


def learn_head(good: Float32, defective: Float32) -> Head:
    """Learn from whitened cells, float32 [N, D] and [M, D], both kinds weighing alike; none where one has no cell.

    Newton's method on the logistic loss with a ridge; cells of both kinds weigh half of it each.
    """
    components = good.shape[1]
    if not len(good) or not len(defective):
        return Head.none(components)
    cells = np.concatenate([good, defective]).astype(np.float64)
    cells = np.concatenate([cells, np.ones((len(cells), 1))], axis=1)
    truth = np.repeat([0.0, 1.0], [len(good), len(defective)])
    weight = np.repeat([0.5 / len(good), 0.5 / len(defective)], [len(good), len(defective)])
    ridge = _RIDGE * np.eye(components + 1)
    ridge[-1, -1] = 1e-6
    found: Float64 = np.zeros(components + 1)
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-np.clip(cells @ found, -30, 30)))
        slope = cells.T @ (weight * (p - truth)) + ridge @ found
        curve = (cells * (weight * p * (1 - p))[:, None]).T @ cells + ridge
        change = np.linalg.solve(curve, slope)
        found -= change / max(1.0, float(np.abs(change).max()))  # far from the end Newton's steps are too long
        if np.abs(change).max() < 1e-6:
            break
    return Head(found[:-1].astype(np.float32), float(found[-1]))


@dataclass(frozen=True)
class MarkedCells:
    """The cells of one picture, whitened, float32 [n, D] each: those that are good for sure, and the marked ones."""

    good: Float32
    defective: Float32


def split_cells(cells: Float32, truth: UInt8, cell_px: int) -> MarkedCells:
    """Split whitened cells, float32 [h, w, D], by the mask of their picture, uint8 [H, W]: 0 good, 1 marked.

    Cells that see a marked one among their neighbours are neither: features are means over 3 x 3 cells. So is a cell
    with another value, which is not judged, and one beyond the picture.
    """
    rows, columns = cells.shape[:2]
    padded = np.full((rows * cell_px, columns * cell_px), 255, np.uint8)
    high, wide = min(truth.shape[0], padded.shape[0]), min(truth.shape[1], padded.shape[1])
    padded[:high, :wide] = truth[:high, :wide]
    blocks = padded.reshape(rows, cell_px, columns, cell_px)
    marked = (blocks == 1).mean(axis=(1, 3)) >= min(_MARKED, _ACROSS_PX / cell_px)
    clean = (blocks == 0).all(axis=(1, 3))
    near = np.pad(~clean, 1)
    seen = np.any([near[y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=0)
    return MarkedCells(cells[~seen], cells[marked])
