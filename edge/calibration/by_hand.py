"""A scale from what people measured themselves: points whose place is known, or known lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from edge.calibration.fitting import Fit, Sighting, fit_lens_and_plane
from edge.calibration.mapping import Lens, PlaneScale
from edge.errors import TargetError
from edge.records import Float64

POINTS_AT_LEAST = 4
POINTS_AT_MOST = 1000
LENGTHS_AT_LEAST = 2
_LENGTH_PX = 20.0  # of a shorter one a pixel at either end is too much
_FLAT = 0.01  # limits of flat points and of alike directions, beyond which they tell nothing
_UNLIKE = 0.25
_STRETCH = 2.5  # a camera that is tilted by 66°


@dataclass(frozen=True)
class KnownLength:
    """Two points of the picture, (x, y) px, and how far from each other they are on the part, mm."""

    start_px: tuple[float, float]
    end_px: tuple[float, float]
    length_mm: float

    @property
    def across_px(self) -> Float64:
        """From its start to its end, float64 [2] px."""
        across: Float64 = np.subtract(self.end_px, self.start_px)
        return across

    @property
    def text(self) -> str:
        """Tell how the command line names it."""
        numbers = ",".join(f"{each:g}" for each in (*self.start_px, *self.end_px))
        return f"{numbers}={self.length_mm:g}"


def fit_points(known: Sighting, size_px: tuple[int, int], error_px: float) -> Fit:
    """Return the plane on which known points lie where they were seen. Raises TargetError.

    Four points tell no residual; `error_px`, how well a point was picked, stands in for it.
    """
    _check_points(known, size_px)
    try:
        fit = fit_lens_and_plane([known], size_px)
    except ValueError as error:
        raise TargetError(f"points: {error}. Look at the order of the points") from error
    residual_px = max(fit.residual_px, error_px) if len(known.px) == POINTS_AT_LEAST else fit.residual_px
    return replace(fit, residual_px=residual_px)


def _check_points(known: Sighting, size_px: tuple[int, int]) -> None:
    if not POINTS_AT_LEAST <= len(known.px) <= POINTS_AT_MOST:
        raise TargetError(
            f"points: expected {POINTS_AT_LEAST} to {POINTS_AT_MOST} of them, received {len(known.px)}. Give each with "
            "--point X,Y=X_MM,Y_MM"
        )
    for place, (x, y) in enumerate(known.px.tolist(), start=1):
        if not (0 <= x <= size_px[0] and 0 <= y <= size_px[1]):
            raise TargetError(
                f"point {place}: {x:g},{y:g} px does not lie in the picture of {size_px[0]} x {size_px[1]} px"
            )
    for (one, _), (other, _) in combinations(enumerate(known.px[:100]), 2):
        for unit, places, least in (("px", known.px, 1.0), ("mm", known.mm, 1e-6)):
            if np.linalg.norm(places[one] - places[other]) < least:
                raise TargetError(
                    f"points {one + 1} and {other + 1} are one point in {unit}: expected {POINTS_AT_LEAST} or more "
                    "that differ in both"
                )
    for unit, places in (("picture", known.px), ("plane", known.mm)):
        if in_a_row := _in_a_row(places):
            raise TargetError(
                f"points {in_a_row} lie in a row in the {unit}: they tell no plane. Take points near the four corners "
                "of what is inspected, no three of them on one line"
            )


def _in_a_row(points: Float64) -> str:
    """Name three of four points that lie in a row, or say that all do.

    Nothing where they tell a plane.
    """
    if len(points) > POINTS_AT_LEAST:
        sizes = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        return f"1 to {len(points)}" if sizes[1] < _FLAT * sizes[0] else ""
    for three in combinations(range(len(points)), 3):
        a, b, c = points[list(three)]
        longest = max(np.linalg.norm(b - a), np.linalg.norm(c - a), np.linalg.norm(c - b))
        height = abs((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) / longest
        if height < 2 * _FLAT * longest:
            return ", ".join(str(place + 1) for place in three)
    return ""


def fit_lengths(lengths: Sequence[KnownLength], size_px: tuple[int, int], error_px: float) -> Fit:
    """Return the size of a pixel along x and along y from known lengths in different directions. Raises TargetError.

    (dx · mm per px along x)² + (dy · mm per px along y)² = length². It holds for a camera that looks straight down, or
    from afar tilted about the picture's x or y axis. `error_px`: how well an end was picked.
    """
    _check_lengths(lengths, size_px)
    across = np.array([each.across_px for each in lengths])
    far_px = np.linalg.norm(across, axis=1)
    known_mm = np.array([each.length_mm for each in lengths])
    shares = (across / far_px[:, None]) ** 2
    squares = np.linalg.lstsq(shares, (known_mm / far_px) ** 2, rcond=None)[0]
    if (squares <= 0).any() or max(squares) / min(squares) > _STRETCH**2:
        raise TargetError(
            "lengths: they contradict each other, for a pixel would be "
            f"{'of no size' if (squares <= 0).any() else f'{np.sqrt(max(squares) / min(squares)):.1f} times longer'} "
            "in one direction. Look at the ends and at the mm of each"
        )
    along_x, along_y = (float(each) for each in np.sqrt(squares))
    wrong_px = (np.sqrt(shares @ squares) * far_px - known_mm) / np.sqrt(shares @ squares)
    free = len(lengths) - LENGTHS_AT_LEAST
    residual_px = float(np.sqrt((wrong_px**2).sum() / free)) if free else 0.0
    residual_px = max(residual_px, error_px * float(np.sqrt(2)))
    lens = Lens(size_px)
    side = lens.half_diagonal_px
    plane = (along_x * side, 0.0, 0.0, 0.0, along_y * side, 0.0, 0.0, 0.0, 1.0)
    scale = PlaneScale(lens, plane, residual_px * float(np.sqrt(along_x * along_y)))
    return Fit(scale, residual_px, float(np.abs(wrong_px).max()), ())


def _check_lengths(lengths: Sequence[KnownLength], size_px: tuple[int, int]) -> None:
    if len(lengths) < LENGTHS_AT_LEAST:
        raise TargetError(
            f"lengths: expected two or more in different directions, received {len(lengths)}. Give each with "
            "--length X1,Y1,X2,Y2=MM"
        )
    for place, each in enumerate(lengths, start=1):
        ends = np.array([each.start_px, each.end_px])
        if (ends < 0).any() or (ends > np.array(size_px)).any():
            raise TargetError(
                f"length {place}: {each.text} does not lie in the picture of {size_px[0]} x {size_px[1]} px"
            )
        if np.linalg.norm(each.across_px) < _LENGTH_PX or each.length_mm <= 0:
            raise TargetError(
                f"length {place}: expected {_LENGTH_PX:g} px or more and a length above 0 mm, received {each.text}"
            )
    across = np.array([each.across_px for each in lengths])
    along_x = (across[:, 0] / np.linalg.norm(across, axis=1)) ** 2
    if along_x.max() - along_x.min() < _UNLIKE:
        raise TargetError(
            "lengths: they lie in one direction, or are each other's mirror images, and tell nothing of the other one. "
            "Take one along the picture's rows and one along its columns"
        )
