"""From a picture's pixels to millimetres on a plane: a lens that bends rays, then a plane that may be tilted.

The lens is that of Brown and Conrady ("Decentering distortion of lenses", 1966) without a focal length. Its radius
counts in half diagonals of the picture, so a single picture can tell `k1`. A focal length f in px gives OpenCV's
coefficients: k1 (f / half diagonal)², k2 (f / half diagonal)⁴.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edge.records import Float64

_ROUNDS = 30
# A lens is unsure by so many times the square of its bending, times the half diagonals beyond the target. Measured.
_FARTHER = 6.0
_CLOSE = 1e-9  # half diagonals: a millionth of a pixel


@dataclass(frozen=True)
class Lens:
    """The lens of a picture of `size_px` (width, height), by how it bends rays.

    `k1`, `k2`: radial; `p1`, `p2`: tangential; `x`, `y`: how far the distortion's centre is from the picture's, in half
    diagonals as all lengths in here.
    """

    size_px: tuple[int, int]
    k1: float = 0.0
    k2: float = 0.0
    x: float = 0.0
    y: float = 0.0
    p1: float = 0.0
    p2: float = 0.0

    @property
    def half_diagonal_px(self) -> float:
        """From the picture's centre to its corner, px."""
        return float(np.hypot(*self.size_px)) / 2

    @property
    def bends(self) -> bool:
        """False for a lens without any distortion."""
        return any((self.k1, self.k2, self.p1, self.p2))

    def normal(self, points_px: Float64) -> Float64:
        """Return float64 [N, 2] px as half diagonals from the picture's centre."""
        points: Float64 = (points_px - np.array(self.size_px) / 2) / self.half_diagonal_px
        return points

    def px(self, points: Float64) -> Float64:
        """Return float64 [N, 2] in half diagonals from the centre as px; the inverse of `normal`."""
        return points * self.half_diagonal_px + np.array(self.size_px) / 2

    def distorted(self, points: Float64) -> Float64:
        """Return where a lens without distortion's points, float64 [N, 2], are seen; all in half diagonals."""
        if not self.bends:
            return points
        centre = np.array([self.x, self.y])
        x, y = (points - centre).T
        r2 = x * x + y * y
        radial = 1 + r2 * (self.k1 + r2 * self.k2)
        bent = [
            x * radial + 2 * self.p1 * x * y + self.p2 * (r2 + 2 * x * x),
            y * radial + self.p1 * (r2 + 2 * y * y) + 2 * self.p2 * x * y,
        ]
        seen: Float64 = np.column_stack(bent) + centre
        return seen

    def straight(self, seen: Float64) -> Float64:
        """Return where points would be seen without distortion, float64 [N, 2]: Newton's method on `distorted`.

        A point that no ray can have come from, beyond where the lens folds the picture over, is NaN.
        """
        if not self.bends:
            return seen
        points = seen.copy()
        with np.errstate(all="ignore"):
            for _ in range(_ROUNDS):
                wrong = self.distorted(points) - seen
                if np.abs(wrong).max(initial=0.0) < _CLOSE:
                    break
                points -= np.einsum("nij,nj->ni", self._inverse_slopes(points), wrong)
            lost = ~(np.abs(self.distorted(points) - seen).max(axis=1) < 1e-6) | ~(self._turns(points) > 0)
        points[lost] = np.nan
        return points

    def _slopes(self, points: Float64) -> Float64:
        """Return how `distorted` changes with its points, float64 [N, 2, 2]."""
        x, y = (points - np.array([self.x, self.y])).T
        r2 = x * x + y * y
        radial, slope = 1 + r2 * (self.k1 + r2 * self.k2), 2 * (self.k1 + 2 * self.k2 * r2)
        across = slope * x * y + 2 * self.p1 * x + 2 * self.p2 * y
        return np.array(
            [
                [radial + slope * x * x + 2 * self.p1 * y + 6 * self.p2 * x, across],
                [across, radial + slope * y * y + 6 * self.p1 * y + 2 * self.p2 * x],
            ]
        ).transpose(2, 0, 1)

    def _turns(self, points: Float64) -> Float64:
        slopes = self._slopes(points)
        turns: Float64 = slopes[:, 0, 0] * slopes[:, 1, 1] - slopes[:, 0, 1] * slopes[:, 1, 0]
        return turns

    def _inverse_slopes(self, points: Float64) -> Float64:
        (a, b), (c, d) = self._slopes(points).transpose(1, 2, 0)
        inverse: Float64 = (np.array([[d, -b], [-c, a]]) / (a * d - b * c)).transpose(2, 0, 1)
        return inverse


@dataclass(frozen=True)
class PlaneScale:
    """A calibrated camera over a plane: the `Scale` of a view.

    `plane`: 3 x 3, row by row, from points of the straightened picture (half diagonals, homogeneous) to mm.
    `residual_mm`: root mean square of a point's error on the plane, mm. `told_to`: so far from the picture's centre the
    target's points tell the lens, half diagonals.
    """

    lens: Lens
    plane: tuple[float, ...]
    residual_mm: float
    told_to: float = float("inf")

    @cached_property
    def _matrix(self) -> Float64:
        return np.array(self.plane, np.float64).reshape(3, 3)

    def points_mm(self, points_px: Float64) -> Float64:
        """Return the plane's points, float64 [N, 2] in mm, of points of the camera's picture, float64 [N, 2] in px."""
        straight = self.lens.straight(self.lens.normal(np.asarray(points_px, np.float64).reshape(-1, 2)))
        return projected(self._matrix, straight)

    def points_px(self, points_mm: Float64) -> Float64:
        """Return where points of the plane are seen, float64 [N, 2] px; the inverse of `points_mm`."""
        to_picture = np.asarray(np.linalg.inv(self._matrix), np.float64)
        straight = projected(to_picture, np.asarray(points_mm, np.float64).reshape(-1, 2))
        return self.lens.px(self.lens.distorted(straight))

    def slopes_at(self, point_px: Float64) -> Float64:
        """Return how mm on the plane change with px at a point, float64 [2, 2]: columns for px along x and along y."""
        x, y = np.asarray(point_px, np.float64).ravel()
        around = np.array([[x - 0.5, y], [x + 0.5, y], [x, y - 0.5], [x, y + 0.5]])
        left, right, above, below = self.points_mm(around)
        return np.column_stack([right - left, below - above])

    def mm_per_px_at(self, point_px: Float64) -> float:
        """Return the side, in mm, of the pixel at float64 [2] px: the root of the area that it covers on the plane."""
        return float(np.sqrt(abs(np.linalg.det(self.slopes_at(point_px)))))

    def unsure_at(self, points_px: Float64) -> Float64:
        """Return a length's standard uncertainty by the lens at points, float64 [N, 2] px, as shares of it [N].

        Two usual models of a lens differ farther out than the target's points, by the square of its bending.
        """
        if not self.lens.bends:
            return np.zeros(len(points_px))
        beyond = np.maximum((self.lens.normal(points_px) ** 2).sum(axis=1) - self.told_to**2, 0.0)
        shares: Float64 = _FARTHER * (abs(self.lens.k1) + abs(self.lens.k2)) ** 2 * beyond
        return shares


def projected(matrix: Float64, points: Float64) -> Float64:
    """Map float64 [N, 2] by a homography, float64 [3, 3]."""
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    result: Float64 = mapped[:, :2] / mapped[:, 2:]
    return result
