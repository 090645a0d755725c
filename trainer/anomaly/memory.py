"""The memory of good parts: whitened features, and the few of them that stand for all. Pure arithmetic in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.errors import DatasetError
from edge.records import Float32, Float64

# Noise would be blown up where good parts hardly differ: this share of the largest variance is added to each.
_FLOOR = 1e-2


@dataclass(frozen=True)
class Whitening:
    """Features to components of mean 0 and variance 1 over the good parts: (f - mean) @ axes.

    `mean`: float32 [F]; `axes`: float32 [F, D], principal axes over their standard deviations.
    """

    mean: Float32
    axes: Float32

    def of(self, features: Float32) -> Float32:
        """Whiten float32 [..., F] to [..., D]."""
        return np.asarray((features - self.mean) @ self.axes, np.float32)


@dataclass(frozen=True)
class Places:
    """Of each cell of a part in a fixture: mean and variance of its features over the good parts, float32 [h, w, D]."""

    mean: Float32
    variance: Float32


def learn_whitening(features: Float32, components: int) -> Whitening:
    """Learn a whitening from float32 [N, F] features of good parts. Raises DatasetError for too few."""
    if len(features) < 2:
        raise DatasetError("The good pictures give no features to learn from; expected at least one whole tile")
    mean = features.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov((features - mean).T.astype(np.float64)))
    order = np.argsort(-values)[:components]
    spread: Float64 = np.sqrt(np.maximum(values[order], 0) + _FLOOR * values[order[0]])
    return Whitening(mean.astype(np.float32), (axes[:, order] / spread).astype(np.float32))


def k_centres(points: Float32, count: int, rng: np.random.Generator) -> Float32:
    """Choose `count` of the points, float32 [N, D], none of which is far from all chosen ones; [count, D] at most.

    The algorithm is greedy (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985). The next point
    is the farthest from those chosen. It is at most twice as far as the best choice would leave any.
    """
    if len(points) <= count:
        return points
    squares = np.einsum("nd,nd->n", points, points)
    chosen = [int(rng.integers(len(points)))]
    nearest = np.full(len(points), np.inf, np.float32)
    for _ in range(count - 1):
        last = chosen[-1]
        np.minimum(nearest, squares + squares[last] - 2 * (points @ points[last]), out=nearest)
        chosen.append(int(nearest.argmax()))
    return points[chosen]


def distances(points: Float32, memory: Float32) -> Float32:
    """Return the distance of each of float32 [N, D] to the nearest of float32 [M, D]; float32 [N]."""
    nearest = (memory * memory).sum(axis=1) - 2 * (points @ memory.T)
    squares = nearest.min(axis=1) + np.einsum("nd,nd->n", points, points)
    return np.asarray(np.sqrt(np.maximum(squares, 0)), np.float32)
