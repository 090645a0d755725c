"""The lens and the planes that explain where a target's points were seen: least squares over all pictures at once.

Each picture has a homography of its own, and all share one lens, so no focal length is needed. Of lenses with ever
more parameters that is taken which the Bayesian information criterion prefers (Schwarz 1978): one picture tells no more
than it can. Minimised with Levenberg and Marquardt's method (Marquardt 1963).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from edge.calibration.mapping import Lens, PlaneScale, projected
from edge.records import Float64

_ROUNDS = 60
_STEP = 1e-6
# The fitted numbers of the lens, simplest first. The centre and the tangential ones need several pictures.
_OF_ONE = ((), ("k1",), ("k1", "k2"))
_OF_SEVERAL = (*_OF_ONE, ("k1", "k2", "x", "y"), ("k1", "k2", "x", "y", "p1", "p2"))
SEVERAL = 3
# Without points beyond this share of the half diagonal k2 would be a guess about the picture's corners.
_FAR = 0.6
_CLEARLY = 10.0  # by so much must the criterion be better before a lens with more parameters is believed
_LARGEST = 2.0  # of k1 and k2, in half diagonals; beyond it no lens bends


@dataclass(frozen=True)
class Sighting:
    """The points of a target as they were seen in one picture: `px` and `mm`, float64 [N, 2] each."""

    px: Float64
    mm: Float64


@dataclass(frozen=True)
class Fit:
    """The scale and lens that explain the sightings.

    `scale`: of the first picture's plane. `residual_px`: root mean square distance, corrected for what was fitted, over
    all pictures. `worst_px`: the largest one. `fitted`: the numbers of the lens that were.
    """

    scale: PlaneScale
    residual_px: float
    worst_px: float
    fitted: tuple[str, ...]


def fit_lens_and_plane(sightings: Sequence[Sighting], size_px: tuple[int, int]) -> Fit:
    """Fit one lens to all sightings, and the plane to the first one. Raises ValueError where none can be fitted."""
    problem = _Problem(sightings, Lens(size_px))
    reach = max(float(np.linalg.norm(each, axis=1).max()) for each in problem.seen)
    best: tuple[float, _Solution] | None = None
    for names in _OF_SEVERAL if len(sightings) >= SEVERAL else _OF_ONE:
        if "k2" in names and reach < _FAR:
            continue
        solution = problem.solved(names, best[1].values if best else None)
        criterion = problem.criterion(solution)
        if not np.isfinite(criterion):
            continue
        if best is None or (criterion < best[0] - _CLEARLY and _holds(problem.lens(solution))):
            best = (criterion, solution)
    if best is None:
        raise ValueError("the points lie so that no plane explains them")
    return problem.fit(best[1])


def _holds(lens: Lens) -> bool:
    """Tell whether a lens is one: it folds no part of the picture over, and its centre is in the middle of it."""
    width, height = lens.size_px
    border = np.array([[x * width / 8, y * height / 8] for x in range(9) for y in range(9)])
    straight = lens.straight(lens.normal(border))
    return bool(
        np.isfinite(straight).all() and max(abs(lens.k1), abs(lens.k2)) <= _LARGEST and np.hypot(lens.x, lens.y) <= 0.25
    )


@dataclass(frozen=True)
class _Solution:
    """`names` of the lens's numbers, then `values`: theirs, and eight for each picture; `errors` float64 [2 N]."""

    names: tuple[str, ...]
    values: Float64
    errors: Float64


class _Problem:
    """The sightings in half diagonals and in target's units of about 1, and what is to be minimised."""

    def __init__(self, sightings: Sequence[Sighting], lens: Lens) -> None:
        self._lens = lens
        self.seen = [lens.normal(each.px) for each in sightings]
        self._middles = [each.mm.mean(axis=0) for each in sightings]
        self._sides = [float(np.abs(each.mm - each.mm.mean(axis=0)).max()) or 1.0 for each in sightings]
        self._flat = [
            (each.mm - middle) / side for each, middle, side in zip(sightings, self._middles, self._sides, strict=True)
        ]

    def lens(self, solution: _Solution) -> Lens:
        """Return the lens of a solution."""
        return self._with(solution.names, solution.values)

    def _with(self, names: tuple[str, ...], values: Float64) -> Lens:
        return Lens(self._lens.size_px, **dict(zip(names, map(float, values), strict=False)))

    def solved(self, names: tuple[str, ...], before: Float64 | None) -> _Solution:
        """Minimise over the named numbers of the lens and all planes; begin at a simpler lens's values, if any."""
        own = 8 * len(self.seen)
        if before is None:
            planes = np.concatenate([_homography(flat, seen) for flat, seen in zip(self._flat, self.seen, strict=True)])
            values = np.concatenate([np.zeros(len(names)), planes])
        else:
            shared = len(before) - own
            values = np.concatenate([before[:shared], np.zeros(len(names) - shared), before[shared:]])
        errors, damping = self._errors(names, values), 1e-3
        for _ in range(_ROUNDS):
            slopes = self._slopes(names, values, errors)
            normal, downhill = slopes.T @ slopes, slopes.T @ errors
            tried = values - np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-12), downhill)
            with np.errstate(all="ignore"):
                after = self._errors(names, tried)
            gain = float(errors @ errors) - float(after @ after)
            if not gain > 0:
                damping *= 10
                if damping > 1e6:
                    break
                continue
            done = gain < 1e-12 * float(errors @ errors)
            values, errors, damping = tried, after, damping / 10
            if done:
                break
        return _Solution(names, values, errors)

    def _errors(self, names: tuple[str, ...], values: Float64) -> Float64:
        lens = self._with(names, values)
        planes = values[len(names) :].reshape(-1, 8)
        return np.concatenate([self._errors_of(place, lens, plane) for place, plane in enumerate(planes)])

    def _errors_of(self, place: int, lens: Lens, plane: Float64) -> Float64:
        straight = projected(np.append(plane, 1.0).reshape(3, 3), self._flat[place])
        return (lens.distorted(straight) - self.seen[place]).ravel()

    def _slopes(self, names: tuple[str, ...], values: Float64, errors: Float64) -> Float64:
        """Return how the errors change with the values, float64 [2 N, parameters]; a plane moves its own picture."""
        slopes = np.zeros((len(errors), len(values)))
        for column in range(len(names)):
            slopes[:, column] = (self._errors(names, _moved(values, column)) - errors) / _STEP
        lens, row = self._with(names, values), 0
        for place, seen in enumerate(self.seen):
            rows, first = slice(row, row + 2 * len(seen)), len(names) + 8 * place
            for column in range(first, first + 8):
                plane = _moved(values, column)[first : first + 8]
                slopes[rows, column] = (self._errors_of(place, lens, plane) - errors[rows]) / _STEP
            row = rows.stop
        return slopes

    def criterion(self, solution: _Solution) -> float:
        """Return the Bayesian information criterion: lower is better."""
        count = len(solution.errors)
        squares = float(solution.errors @ solution.errors)
        floor = count * (0.002 / self._lens.half_diagonal_px) ** 2  # nobody finds a point better than 0.002 px
        return count * float(np.log(max(squares, floor) / count)) + len(solution.values) * float(np.log(count))

    def fit(self, solution: _Solution) -> Fit:
        """Return what was found, in px and mm."""
        side_px = self._lens.half_diagonal_px
        lens = self.lens(solution)
        plane = np.append(solution.values[len(solution.names) :][:8], 1.0).reshape(3, 3)
        to_flat = np.linalg.inv(plane)
        middle, side = self._middles[0], self._sides[0]
        to_mm = np.array([[side, 0, middle[0]], [0, side, middle[1]], [0, 0, 1.0]]) @ to_flat
        to_mm /= to_mm[2, 2]
        scale = PlaneScale(lens, tuple(float(each) for each in to_mm.ravel()), 0.0)
        distances = np.hypot(*solution.errors.reshape(-1, 2).T) * side_px
        free = max(1, len(solution.errors) - len(solution.values))
        residual_px = float(np.sqrt((distances**2).sum() * 2 / free)) if len(distances) > 4 else 0.0
        return Fit(scale, residual_px, float(distances.max()), solution.names)


def _moved(values: Float64, column: int) -> Float64:
    moved = values.copy()
    moved[column] += _STEP
    return moved


def _homography(flat: Float64, seen: Float64) -> Float64:
    """Return the eight numbers of the homography from `flat` to `seen` by the direct linear transform.

    Hartley and Zisserman, Multiple View Geometry, algorithm 4.1. Raises ValueError for points that tell none.
    """
    rows = []
    for (x, y), (u, v) in zip(flat, seen, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    solved, _, rank, _ = np.linalg.lstsq(np.array(rows), seen.ravel(), rcond=1e-9)
    if rank < 8:
        raise ValueError("the points lie so that no plane explains them")
    return np.asarray(solved, np.float64)


_ALL = {each.name for each in fields(Lens)}
assert all(set(names) <= _ALL for names in _OF_SEVERAL)  # noqa: S101 - a name that is none would be ignored
