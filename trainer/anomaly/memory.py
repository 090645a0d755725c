"""The memory of good parts: whitened features, and the few of them that stand for all. Pure arithmetic in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import DatasetError
from edge.records import Float32, Float64

# Noise would be blown up where good parts hardly differ: this share of the largest variance is added to each.
_FLOOR = 1e-2
# Copies of one cell lie next to each other: no mean distance counts as less than this share of the median one.
_LEAST_SHARE = 0.1
_AT_ONCE = 256


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


def learn_whitening(features: Float32, components: int, floor: float = _FLOOR) -> Whitening:
    """Learn a whitening from float32 [N, F] features of good parts. Raises DatasetError for too few.

    `floor`: this share of the largest variance is added to each.
    """
    if len(features) < 2:
        raise DatasetError("The good pictures give no features to learn from; expected at least one whole tile")
    mean = features.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov((features - mean).T.astype(np.float64)))
    order = np.argsort(-values)[:components]
    spread: Float64 = np.sqrt(np.maximum(values[order], 0) + floor * values[order[0]])
    return Whitening(mean.astype(np.float32), (axes[:, order] / spread).astype(np.float32))


@dataclass(frozen=True)
class Memory:
    """Whitened features of good parts, float32 [M, D], and how the squared distance to each is weighed, float32 [M].

    A weight is sqrt(D) over the mean distance of that vector to the good cells next to it. So an odd place of good
    parts has more room about it than one that all of them show. All 1: nothing is weighed.
    """

    points: Float32
    weights: Float32


def remember(
    points: Float32, count: int, neighbours: int, rng: np.random.Generator, before: Memory | None = None
) -> Memory:
    """Choose a memory of `count` from float32 [N, D], and from the memory `before`, whose vectors keep their weights.

    `neighbours`: so many good cells next to a vector weigh it; 0 = none is weighed.
    """
    old = 0 if before is None else len(before.points)
    every = points if before is None else np.concatenate([before.points, points])
    chosen = k_centre_places(every, count, rng)
    memory = every[chosen]
    weights: Float32 = np.ones(len(memory), np.float32)
    if neighbours:
        weights = nearness(memory, every, neighbours)
        if before is not None:
            weights[chosen < old] = before.weights[chosen[chosen < old]]
    return Memory(memory, weights)


def nearness(memory: Float32, points: Float32, neighbours: int) -> Float32:
    """Return sqrt(D) over the mean distance of each of float32 [M, D] to the nearest others of [N, D]; float32 [M]."""
    count = min(neighbours, len(points) - 1)
    if count < 1:
        return np.ones(len(memory), np.float32)
    squares, answers = np.einsum("nd,nd->n", points, points), []
    for first in range(0, len(memory), _AT_ONCE):
        some = memory[first : first + _AT_ONCE]
        apart = np.einsum("nd,nd->n", some, some)[:, None] + squares - 2 * (some @ points.T)
        nearest = np.sort(np.partition(apart, count, axis=1)[:, : count + 1], axis=1)[:, 1:]  # the first is itself
        answers.append(np.sqrt(np.maximum(nearest, 0)).mean(axis=1))
    mean = np.concatenate(answers)
    least = _LEAST_SHARE * float(np.median(mean)) + 1e-6
    return np.asarray(np.sqrt(memory.shape[1]) / np.maximum(mean, least), np.float32)


def k_centre_places(points: Float32, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose `count` places of the points, float32 [N, D], none of which is far from all chosen ones.

    The algorithm is greedy (Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985). The next point
    is the farthest from those chosen. It is at most twice as far as the best choice would leave any.
    """
    if len(points) <= count:
        return np.arange(len(points))
    squares = np.einsum("nd,nd->n", points, points)
    chosen = [int(rng.integers(len(points)))]
    nearest = np.full(len(points), np.inf, np.float32)
    for _ in range(count - 1):
        last = chosen[-1]
        np.minimum(nearest, squares + squares[last] - 2 * (points @ points[last]), out=nearest)
        chosen.append(int(nearest.argmax()))
    return np.asarray(chosen, np.int64)


def distances(points: Float32, memory: Float32) -> Float32:
    """Return the distance of each of float32 [N, D] to the nearest of float32 [M, D]; float32 [N]."""
    nearest = (memory * memory).sum(axis=1) - 2 * (points @ memory.T)
    squares = nearest.min(axis=1) + np.einsum("nd,nd->n", points, points)
    return np.asarray(np.sqrt(np.maximum(squares, 0)), np.float32)
