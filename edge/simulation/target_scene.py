"""Pictures of a calibration target, or of anything flat, as a camera with a known lens and tilt sees it.

The camera is OpenCV's: a pinhole with a focal length in px, and radial distortion k1 and k2 that counts in focal
lengths. The plane's point (0, 0) mm is in the picture's centre. The plane is tilted about the picture's y axis. Nothing
here is shared with what finds targets and fits lenses, so that it can be the truth of tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge.calibration.printing import circle_mm
from edge.calibration.targets import Target
from edge.opencv import cv2
from edge.records import Float64, UInt8

Paint = Callable[[Float64, Float64], Float64]
_SAMPLES = 4  # of a pixel, along each side
_PAPER, _INK, _TABLE = 215.0, 30.0, 120.0


@dataclass(frozen=True)
class PinholeCamera:
    """A camera above a plane: `mm_per_px` at the picture's centre, across the tilt's direction.

    `size_px`: width, height. `tilt_deg`: of the plane about the picture's y axis; `turn_deg`: of the plane about the
    camera's axis. `k1`, `k2`: as OpenCV counts them. `focal_px`: None = as long as the picture is wide.
    """

    size_px: tuple[int, int] = (1280, 960)
    mm_per_px: float = 0.1
    tilt_deg: float = 0.0
    turn_deg: float = 0.0
    k1: float = 0.0
    k2: float = 0.0
    focal_px: float | None = None

    @property
    def _focal(self) -> float:
        return self.focal_px or float(self.size_px[0])

    @property
    def _pose(self) -> Float64:
        """From the plane (x, y, 1 in mm) to the camera's axes, float64 [3, 3]."""
        tilt, turn = math.radians(self.tilt_deg), math.radians(self.turn_deg)
        about_y = np.array([[math.cos(tilt), 0, math.sin(tilt)], [0, 1, 0], [-math.sin(tilt), 0, math.cos(tilt)]])
        about_z = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
        turned = about_y @ about_z
        return np.column_stack([turned[:, 0], turned[:, 1], [0, 0, self.mm_per_px * self._focal]])

    def seen(self, points_mm: Float64) -> Float64:
        """Return where points of the plane, float64 [N, 2] mm, are seen, float64 [N, 2] px."""
        along, across, away = self._pose @ np.column_stack([points_mm, np.ones(len(points_mm))]).T
        x, y = along / away, across / away
        bent = 1 + self.k1 * (x * x + y * y) + self.k2 * (x * x + y * y) ** 2
        return np.column_stack([x * bent, y * bent]) * self._focal + np.array(self.size_px) / 2

    def looked_at(self, points_px: Float64) -> Float64:
        """Return the plane's points, float64 [N, 2] mm, that are seen at float64 [N, 2] px; the inverse of `seen`."""
        rays = (points_px - np.array(self.size_px) / 2) / self._focal
        far = np.hypot(*rays.T)
        near = far.copy()
        for _ in range(12):  # Newton's method: the radius before the lens bent it
            wrong = near * (1 + self.k1 * near**2 + self.k2 * near**4) - far
            near -= wrong / (1 + 3 * self.k1 * near**2 + 5 * self.k2 * near**4)
        straight = rays * (near / np.maximum(far, 1e-12))[:, None]
        x, y, w = np.linalg.inv(self._pose) @ np.column_stack([straight, np.ones(len(rays))]).T
        return np.column_stack([x / w, y / w])

    def picture(self, paint: Paint, *, noise: float = 0.0, seed: int = 0) -> UInt8:
        """Return what the camera sees, grey uint8 [H, W]. `paint` gives grey levels of the plane at x and y in mm."""
        width, height = self.size_px
        y, x = np.mgrid[:height, :width] + 0.5
        on_plane = self.looked_at(np.column_stack([x.ravel(), y.ravel()])).reshape(height, width, 2)
        down, right = (np.asarray(np.gradient(on_plane, axis=axis), np.float64) for axis in (0, 1))
        levels: Float64 = np.zeros(height * width)
        for each in range(_SAMPLES**2):
            row, column = divmod(each, _SAMPLES)
            # no two on one line, or an edge along the picture's columns would jump by a quarter of a pixel
            y_off = (row + (column + 0.5) / _SAMPLES) / _SAMPLES - 0.5
            x_off = (column + (row + 0.5) / _SAMPLES) / _SAMPLES - 0.5
            points = (on_plane + y_off * down + x_off * right).reshape(-1, 2)
            levels += paint(points[:, 0], points[:, 1])
        seen: Float64 = cv2.GaussianBlur(levels.reshape(height, width) / _SAMPLES**2, (0, 0), 0.7)  # of the lens
        if noise:
            seen = seen + np.random.default_rng(seed).normal(0, noise, seen.shape)
        pixels: UInt8 = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
        return pixels


def painted(target: Target, *, mirrored: bool = False) -> Paint:
    """Return the paint of a target on white paper, its middle at (0, 0) mm."""
    paints = {"chessboard": _chessboard, "charuco": _charuco, "circles": _circles, "acircles": _circles}
    middle = (target.points_mm.min(axis=0) + target.points_mm.max(axis=0)) / 2
    own = paints[target.kind](target)
    return lambda x, y: own((-x if mirrored else x) + middle[0], y + middle[1])


def _paper(target: Target, x: Float64, y: Float64, beyond_mm: float) -> Float64:
    last = target.points_mm.max(axis=0)
    on = (x > -beyond_mm) & (x < last[0] + beyond_mm) & (y > -beyond_mm) & (y < last[1] + beyond_mm)
    return np.where(on, _PAPER, _TABLE)


def _chessboard(target: Target) -> Paint:
    columns, rows = target.squares

    def paint(x: Float64, y: Float64) -> Float64:
        column, row = np.floor(x / target.size_mm) + 1, np.floor(y / target.size_mm) + 1
        board = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        return np.where(board & ((column + row) % 2 == 0), _INK, _paper(target, x, y, 2 * target.size_mm))

    return paint


def _circles(target: Target) -> Paint:
    asymmetric, size = target.kind == "acircles", target.size_mm

    def paint(x: Float64, y: Float64) -> Float64:
        row = np.clip(np.rint(y / size), 0, target.rows - 1)
        shift, step = (row % 2, 2) if asymmetric else (np.zeros_like(row), 1)
        column = np.clip(np.rint((x / size - shift) / step), 0, target.columns - 1)
        away = np.hypot(x - (column * step + shift) * size, y - row * size)
        return np.where(away < circle_mm(target) / 2, _INK, _paper(target, x, y, 1.5 * size))

    return paint


def _charuco(target: Target) -> Paint:
    from edge.calibration.charuco import board_of

    px_per_mm = 80 / target.size_mm
    columns, rows = target.squares
    drawn = board_of(target).generateImage((columns * 80, rows * 80), marginSize=0, borderBits=1)

    def paint(x: Float64, y: Float64) -> Float64:
        column, row = (np.floor((each + target.size_mm) * px_per_mm).astype(np.int64) for each in (x, y))
        board = (column >= 0) & (column < drawn.shape[1]) & (row >= 0) & (row < drawn.shape[0])
        levels = _paper(target, x, y, 2 * target.size_mm)
        ink = np.zeros(board.shape, bool)
        ink[board] = drawn[row[board], column[board]] < 128
        levels[board] = _PAPER
        return np.where(ink, _INK, levels)

    return paint
