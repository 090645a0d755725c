"""Targets as cameras with a known lens and tilt see them, small enough to be found at once."""

from __future__ import annotations

from datetime import datetime, timezone
from functools import cache

import numpy as np

from edge.calibration.calibrating import Origin, calibrate_by_target
from edge.calibration.finding import Found, find_target
from edge.calibration.record import Calibration, CameraIdentity
from edge.calibration.targets import parse_target
from edge.records import UInt8
from edge.simulation.target_scene import PinholeCamera, painted

CHESSBOARD = "chessboard:9x6:10mm"
SIZE = (480, 360)
AT = datetime(2026, 11, 30, 6, 0, tzinfo=timezone.utc)
ORIGIN = Origin(CameraIdentity("top"), AT)


def camera(**how: float) -> PinholeCamera:
    """Return a camera over a target of 90 x 60 mm that fills half of its picture."""
    return PinholeCamera(SIZE, **{"mm_per_px": 0.27, **how})  # type: ignore[arg-type] - numbers all


@cache
def picture(spec: str = CHESSBOARD, seen_by: PinholeCamera | None = None, *, mirrored: bool = False) -> UInt8:
    """Return what a camera sees of a target, with some noise."""
    return (seen_by or camera()).picture(painted(parse_target(spec), mirrored=mirrored), noise=1.5)


@cache
def found(spec: str = CHESSBOARD, seen_by: PinholeCamera | None = None) -> Found:
    """Return a target as it is found in a camera's picture."""
    return find_target(parse_target(spec), picture(spec, seen_by))


@cache
def calibration(spec: str = CHESSBOARD, seen_by: PinholeCamera | None = None) -> Calibration:
    """Return what one picture of a target tells."""
    return calibrate_by_target(parse_target(spec), [found(spec, seen_by)], SIZE, ORIGIN)


def true_mm_per_px(seen_by: PinholeCamera, x: float, y: float) -> float:
    """Return the root of the area, mm², that a pixel covers, by the camera's own geometry."""
    around = np.array([[x + 0.5, y], [x - 0.5, y], [x, y + 0.5], [x, y - 0.5]])
    right, left, below, above = seen_by.looked_at(around)
    return float(np.sqrt(abs(np.linalg.det(np.column_stack([right - left, below - above])))))
