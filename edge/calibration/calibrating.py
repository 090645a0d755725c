"""From pictures of a target, or from measurements by hand, to a calibration to trust; or why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from edge.calibration.finding import Found
from edge.calibration.fitting import Fit, Sighting, fit_lens_and_plane
from edge.calibration.record import Calibration, CameraIdentity, SeenPoint, told_by, with_residual
from edge.calibration.targets import Target
from edge.errors import TargetError

RESIDUAL_PX = 1.0
# So many points tell a plane and no residual. The scale may change so much where they were picked a little elsewhere.
_FOUR, _UNSURE = 4, 0.1
_MM_PER_PX = (1e-5, 1000.0)


@dataclass(frozen=True)
class Origin:
    """Of which camera a calibration is, and when it was made, UTC."""

    camera: CameraIdentity
    at: datetime

    @property
    def made_at(self) -> str:
        """The moment, to the second."""
        return self.at.isoformat(timespec="seconds")


def calibrate_by_target(
    target: Target,
    found: Sequence[Found],
    size_px: tuple[int, int],
    origin: Origin,
    residual_px: float = RESIDUAL_PX,
) -> Calibration:
    """Return the calibration that a target in one or more pictures of `size_px` tells: the plane is the first one's.

    `residual_px`: above it nothing is believed. Raises TargetError.
    """
    try:
        fit = fit_lens_and_plane([each.sighting for each in found], size_px)
    except ValueError as error:
        raise TargetError(f"{target.spec}: {error}. Take another picture of it") from error
    if not fit.residual_px <= residual_px:
        raise TargetError(
            f"{target.spec}: its points lie {fit.residual_px:.2f} px from where a flat target's would (worst "
            f"{fit.worst_px:.2f} px); expected {residual_px:g} px or less. Lay the target flat, focus, hold it still, "
            "and take more pictures with it in other places and tilts, if the lens bends strongly"
        )
    points = [point for number, each in enumerate(found, start=1) for point in _points(each.sighting, number)]
    return _trusted(
        Calibration(
            origin.camera,
            fit.scale,
            fit.residual_px,
            fit.worst_px,
            origin.made_at,
            target.spec,
            len(found),
            tuple(points),
            fit.fitted,
            turned_deg=found[0].turned_deg,
        ),
        found[0].sighting,
    )


def calibrate_by_points(fit: Fit, known: Sighting, how: str, origin: Origin, assumed_px: float | None) -> Calibration:
    """Return the calibration of what was measured by hand: `how` is `points` or `lengths`. Raises TargetError.

    `assumed_px`: how well it was picked, where it tells no residual of its own.
    """
    points = tuple(_points(known, 1))
    made = Calibration(
        origin.camera,
        fit.scale,
        fit.residual_px,
        fit.worst_px,
        origin.made_at,
        how,
        1,
        points,
        fit.fitted,
        assumed_px,
    )
    if assumed_px is None and fit.residual_px > 10:
        raise TargetError(
            f"{how}: they contradict each other by {fit.residual_px:.1f} px (worst {fit.worst_px:.1f} px); expected 10 "
            "px or less. Look at the mm of each, and whether all lie on one plane"
        )
    trusted = _trusted(made, known)
    if how == "points" and assumed_px is not None and len(known.px) == _FOUR:
        _check_sure(made, known, assumed_px)
    return trusted


def _check_sure(made: Calibration, known: Sighting, error_px: float) -> None:
    """Refuse four points of which one, picked a little elsewhere, would tell quite another scale. Raises TargetError.

    It would by `error_px`; three points nearly in a row do so, and points that are close together.
    """
    at = [known.px.mean(axis=0), *known.px]
    told = np.array([made.scale.mm_per_px_at(point) for point in at])
    squares = np.zeros(len(at))
    for place in range(2 * _FOUR):
        elsewhere = known.px.copy()
        elsewhere.reshape(-1)[place] += error_px
        try:
            other = fit_lens_and_plane([Sighting(elsewhere, known.mm)], made.size_px).scale
        except ValueError:
            squares += np.inf
            break
        squares += (np.array([other.mm_per_px_at(point) for point in at]) / told - 1) ** 2
    unsure = float(np.sqrt(squares.max()))
    if not unsure <= _UNSURE:
        raise TargetError(
            f"points: picked {error_px:g} px elsewhere they would tell a pixel that is {min(unsure, 9.99):.0%} larger "
            f"or smaller; expected {_UNSURE:.0%} or less. Take points near the four corners of what is inspected, no "
            "three of them nearly on one line"
        )


def _points(sighting: Sighting, number: int) -> list[SeenPoint]:
    rows = np.round(np.column_stack([sighting.px, sighting.mm]), 4).tolist()
    return [SeenPoint(number, *row) for row in rows]


def _trusted(made: Calibration, first: Sighting) -> Calibration:
    """Return a calibration with its residual in mm. Raises TargetError where its plane cannot be measured on."""
    made = replace(made, scale=told_by(made.scale, made.points))
    width, height = made.size_px
    border = np.array([[x * width / 4, y * height / 4] for x in range(5) for y in range(5)])
    straight = made.scale.lens.straight(made.scale.lens.normal(border))
    sides = np.column_stack([straight, np.ones(len(straight))]) @ np.array(made.scale.plane[6:])
    if not (np.isfinite(sides).all() and (np.sign(sides) == np.sign(sides[0])).all()):
        raise TargetError(
            f"{made.target}: the plane's horizon would lie in the picture. Look at the order of the points, or tilt "
            "the camera less"
        )
    sizes = [made.scale.mm_per_px_at(point) for point in border]
    if not (_MM_PER_PX[0] <= min(sizes) and max(sizes) <= _MM_PER_PX[1]):
        raise TargetError(f"{made.target}: a pixel would be {min(sizes):.3g} to {max(sizes):.3g} mm. Look at the sizes")
    if made.target == "lengths":
        return made
    if made.assumed_px is not None:
        return replace(made, scale=with_residual(made.scale, made.assumed_px * made.mm_per_px))
    wrong_mm = made.scale.points_mm(first.px) - first.mm
    count = 2 * len(first.px)
    free = max(1.0, count - 8 - len(made.fitted))
    return replace(made, scale=with_residual(made.scale, float(np.sqrt((wrong_mm**2).sum() * 2 / free))))
