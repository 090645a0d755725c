"""A target's points in a picture, to a small part of a pixel.

Else the reason, and what to do. Points count from the picture's corner, as everywhere in Linewatch; OpenCV counts from
the middle of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.calibration.charuco import board_of
from edge.calibration.fitting import Sighting
from edge.calibration.targets import Target
from edge.errors import TargetError
from edge.opencv import cv2
from edge.records import Float64, UInt8

_SEARCH_PX = 1800  # a larger picture is searched small; its points are found in the whole one
_LEAST_SHARE = 0.03  # of the picture; of a smaller target the rest of the picture would be a guess
_WELL = 0.25
_COVERED = 1.35  # so many times as large as its points is what a target covers with its margin
_CHARUCO_SHARE = 0.75  # of its corners; its markers say which ones are there
_WHITE, _BLACK = 250, 25
_MOSTLY, _NEARLY_ALL = 0.5, 0.85
_DICTIONARIES = ("4X4_1000", "5X5_1000", "6X6_1000", "7X7_1000")


@dataclass(frozen=True)
class Found:
    """A target in a picture. `share`: of the picture that its points span, 0-1.

    `turned_deg`: by how much it lies turned, clockwise as seen; None where the target looks the same turned by half.
    """

    sighting: Sighting
    share: float
    turned_deg: float | None = None

    @property
    def advice(self) -> str:
        """Say what would make a better picture; or nothing."""
        if self.share < _WELL:
            return (
                f"the target fills {self.share:.0%} of the picture; bring it closer or take a larger one, "
                f"for {_WELL:.0%} or more"
            )
        return ""


def find_target(target: Target, pixels: UInt8, *, thorough: bool = True) -> Found:
    """Find a target in uint8 [H, W] or BGR [H, W, 3]. Raises TargetError with what is wrong and what to do.

    Not `thorough`: at once, as for a live picture. Then a target that is hard to find is neither found nor explained.
    """
    grey = pixels if pixels.ndim == 2 else pixels[..., 0] if pixels.shape[2] == 1 else None
    grey = np.ascontiguousarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY) if grey is None else grey)
    if target.kind == "charuco":
        found = _charuco(target, grey)
    else:
        points = _chessboard(target, grey, thorough) if target.kind == "chessboard" else _circles(target, grey)
        if points is None:
            raise TargetError(_why_not(target, grey) if thorough else _light_or(target, grey, "it was not found"))
        _check_one_alone(target, grey, points)
        found = _looked_at(Sighting(_upright(points, target), target.points_mm), grey, None)
    if found.share < _LEAST_SHARE:
        raise TargetError(
            f"{target.spec} fills only {found.share:.1%} of the picture; expected {_LEAST_SHARE:.0%} or more. "
            f"{found.advice.partition('; ')[2].capitalize()}"
        )
    return found


def _check_one_alone(target: Target, grey: UInt8, points: Float64) -> None:
    """Refuse a picture that shows the target twice: only one of them may lie on the plane. Raises TargetError."""
    hull = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2)
    middle = hull.mean(axis=0)
    around = (middle + _COVERED * (hull - middle)).astype(np.int32)
    rest = cv2.fillConvexPoly(grey.copy(), around, int(np.median(grey)))
    size = (target.columns, target.rows)
    again = _corners_in(rest, size, 0) if target.kind == "chessboard" else _circles(target, rest)
    if again is not None:
        raise TargetError(
            f"the picture shows {target.spec} twice; expected it once, for one of them may lie above the other. Take "
            "one away"
        )


def _looked_at(sighting: Sighting, grey: UInt8, turned_deg: float | None) -> Found:
    hull = cv2.convexHull(sighting.px.astype(np.float32))
    return Found(sighting, float(cv2.contourArea(hull)) / grey.size, turned_deg)


def _small(grey: UInt8) -> tuple[UInt8, int]:
    """Return a picture to search in, and how many pixels of the whole make one of its, along each side."""
    step = -(-max(grey.shape) // _SEARCH_PX)
    if step == 1:
        return grey, 1
    size = (grey.shape[1] // step, grey.shape[0] // step)
    return cv2.resize(grey[: size[1] * step, : size[0] * step], size, interpolation=cv2.INTER_AREA), step


def _corners_in(grey: UInt8, size: tuple[int, int], flags: int) -> tuple[Float64, tuple[int, int]] | None:
    """Find a chessboard's corners, float64 [N, 2] px from the corner of the picture, and its columns and rows."""
    small, step = _small(grey)
    found, corners, meta = cv2.findChessboardCornersSBWithMeta(small, size, flags | cv2.CALIB_CB_NORMALIZE_IMAGE)
    if not found:
        return None
    shape = meta.shape[:2] if flags & cv2.CALIB_CB_LARGER else (size[1], size[0])
    points = (corners.reshape(-1, 2).astype(np.float64) + 0.5) * step
    return points, (int(shape[1]), int(shape[0]))


def _chessboard(target: Target, grey: UInt8, thorough: bool) -> Float64 | None:
    size = (target.columns, target.rows)
    found = _corners_in(grey, size, cv2.CALIB_CB_ACCURACY)
    if found is None and thorough:
        found = _corners_in(grey, size, cv2.CALIB_CB_ACCURACY | cv2.CALIB_CB_EXHAUSTIVE)
    if found is None:
        return None
    return _refined(grey, found[0], _spacing(found[0], target.columns) / 4)


def _spacing(points: Float64, columns: int) -> float:
    """Return the smallest distance of neighbours in a grid, px."""
    grid = points.reshape(-1, columns, 2)
    along, down = np.diff(grid, axis=1), np.diff(grid, axis=0)
    return float(min(np.linalg.norm(along, axis=2).min(), np.linalg.norm(down, axis=2).min()))


def _refined(grey: UInt8, points: Float64, reach_px: float) -> Float64:
    """Move corners to where the gradients around them say they are (Förstner 1987), float64 [N, 2] px."""
    reach = int(np.clip(reach_px, 2, 15))
    if reach_px < 2:
        return points
    ends = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-4)
    begun = (points - 0.5).astype(np.float32).reshape(-1, 1, 2)
    moved: Float64 = cv2.cornerSubPix(grey, begun, (reach, reach), (-1, -1), ends).reshape(-1, 2).astype(np.float64)
    return moved + 0.5


def _circles(target: Target, grey: UInt8) -> Float64 | None:
    size = (target.columns, target.rows)
    kind = cv2.CALIB_CB_SYMMETRIC_GRID if target.kind == "circles" else cv2.CALIB_CB_ASYMMETRIC_GRID
    small, step = _small(grey)
    for pixels in (small, 255 - small):  # dark circles on light ground, and light ones on dark ground
        for flags in (kind, kind | cv2.CALIB_CB_CLUSTERING):
            found, centres = cv2.findCirclesGrid(pixels, size, flags=flags, blobDetector=_blobs(small))
            if found:
                points: Float64 = (centres.reshape(-1, 2).astype(np.float64) + 0.5) * step
                _check_no_more(target, points, _centres(pixels) * step)
                return points
    return None


def _centres(grey: UInt8) -> Float64:
    """Return the middles of the dark round blobs in a picture, float64 [N, 2] px from its corner."""
    blobs = _blobs(grey).detect(grey)
    return np.array([each.pt for each in blobs], np.float64).reshape(-1, 2) + 0.5


def _check_no_more(target: Target, points: Float64, blobs: Float64) -> None:
    """Refuse a grid that goes on beyond what was asked for. Raises TargetError."""
    hull = cv2.convexHull(points.astype(np.float32))
    near_px = 1.3 * float(np.sort(np.linalg.norm(points - points[0], axis=1))[1])
    beyond = [blob for blob in blobs.tolist() if -near_px < cv2.pointPolygonTest(hull, (blob[0], blob[1]), True) < -1]
    if len(beyond) >= min(target.columns, target.rows) // 2 + 1:
        raise TargetError(
            f"the grid in the picture goes on: {len(beyond)} more circles lie beside the {len(points)} of "
            f"{target.spec}. Count its columns and rows again"
        )


def _blobs(grey: UInt8) -> Any:
    wanted = cv2.SimpleBlobDetector_Params()
    wanted.minArea, wanted.maxArea = 20.0, grey.size / 20
    wanted.minThreshold, wanted.maxThreshold, wanted.thresholdStep = 20, 235, 8
    wanted.minDistBetweenBlobs = 3.0
    return cv2.SimpleBlobDetector_create(wanted)


def _upright(points: Float64, target: Target) -> Float64:
    """Order a grid's points so that its rows run to the right, or down, and its columns clockwise of them.

    A chessboard or a grid of circles looks the same turned by half and mirrored; neither changes a length.
    """
    if target.kind == "acircles":
        return points
    grid = points.reshape(target.rows, target.columns, 2)
    along, down = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
    if along[0] * down[1] - along[1] * down[0] < 0:
        grid = grid[::-1]
    along = grid[0, -1] - grid[0, 0]
    if along[int(np.argmax(np.abs(along)))] < 0:
        grid = grid[::-1, ::-1]
    return np.ascontiguousarray(grid).reshape(-1, 2)


def _charuco(target: Target, grey: UInt8) -> Found:
    board = board_of(target)
    detector = cv2.aruco.CharucoDetector(board)
    corners, ids, _, markers = detector.detectBoard(grey)
    if markers is not None and len(np.unique(markers)) < len(markers) - 2:
        raise TargetError(
            f"the picture shows markers of {target.spec} twice; expected one board. Take the other one away, and what "
            "mirrors it"
        )
    count, wanted = 0 if ids is None else len(ids), len(target.points_mm)
    if count < _CHARUCO_SHARE * wanted:
        raise TargetError(_why_no_charuco(target, grey, count, 0 if markers is None else len(markers)))
    seen = corners.reshape(-1, 2).astype(np.float64) + 0.5
    own = target.points_mm[ids.ravel()]
    fitted, _ = cv2.estimateAffine2D(own.astype(np.float32), seen.astype(np.float32))
    px_per_mm = float(np.sqrt(abs(np.linalg.det(fitted[:, :2]))))
    assert target.marker_mm is not None  # noqa: S101 - a ChArUco board has markers
    seen = _refined(grey, seen, min((target.size_mm - target.marker_mm) / 2, target.size_mm / 4) * px_per_mm)
    turned = float(np.degrees(np.arctan2(fitted[1, 0], fitted[0, 0])))
    return _looked_at(Sighting(seen, own), grey, turned)


def _why_no_charuco(target: Target, grey: UInt8, corners: int, markers: int) -> str:
    wanted = len(target.points_mm)
    detector = cv2.aruco.CharucoDetector(board_of(target))
    flipped = detector.detectBoard(np.ascontiguousarray(grey[:, ::-1]))[1]
    if flipped is not None and len(flipped) > corners:
        return (
            f"{target.spec} is seen mirrored. Take the picture without a mirror, or set the camera's mirroring off: "
            "the line must see parts as the picture shows the target"
        )
    if corners or markers:
        return (
            f"{target.spec}: {corners} of its {wanted} corners were found, and {markers} markers; expected "
            f"{_CHARUCO_SHARE:.0%} or more of the corners. Bring the whole target into the picture, lay it flat, and "
            "compare the counts and sizes with the target's print"
        )
    for name in _DICTIONARIES:
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{name}"))
        ids = cv2.aruco.ArucoDetector(dictionary).detectMarkers(grey)[1]
        if name[:3] != str(target.dictionary)[:3] and ids is not None and len(ids) > 3:
            return (
                f"{target.spec}: the picture shows {len(ids)} markers of {name.partition('_')[0]}. Name the dictionary "
                f"that was printed, such as :{name.partition('_')[0]}_50"
            )
    return _light_or(target, grey, "no marker of it was found")


def _why_not(target: Target, grey: UInt8) -> str:
    """Say why a chessboard or a grid of circles was not found."""
    if max(_white_and_black(grey)) > _NEARLY_ALL:
        return _light_or(target, grey, "it was not found")
    if target.kind != "chessboard":
        small = _small(grey)[0]
        count = max(len(_centres(small)), len(_centres(255 - small)))
        told = f"{count} round blobs were seen, and it has {target.columns * target.rows} circles"
        return _light_or(target, grey, told)
    found = _corners_in(grey, (3, 3), cv2.CALIB_CB_LARGER)
    if found is None:
        return _light_or(target, grey, "no chessboard was found")
    return _why_another_count(target, grey, *found)


def _why_another_count(target: Target, grey: UInt8, points: Float64, seen: tuple[int, int]) -> str:
    """Say what it may mean that another chessboard is seen than the one that was asked for."""
    (columns, rows), wanted = seen, (target.columns, target.rows)
    if sorted(seen) == sorted(wanted):
        return _light_or(target, grey, f"its {columns} x {rows} corners are seen, but not clearly enough")
    told = f"the picture shows {columns} x {rows} inner corners of a chessboard, and {target.spec} has "
    told += f"{target.columns} x {target.rows}. "
    if sorted(seen) == sorted((target.columns - 1, target.rows - 1)):
        told += f"{target.columns} x {target.rows} squares have {target.columns - 1} x {target.rows - 1} inner corners"
        return f"{told}: if that was meant, say {_renamed(target, seen)}. Else bring the whole target into the picture"
    near = points.min(axis=0) - 1.5 * _spacing(points, columns), points.max(axis=0) + 1.5 * _spacing(points, columns)
    if (near[0] < 0).any() or (near[1] > np.array(grey.shape[::-1])).any():
        return f"{told}It reaches to the picture's border: bring the whole target into the picture, with a white margin"
    return f"{told}Say {_renamed(target, seen)} if that is the target; else show all of it, uncovered"


def _renamed(target: Target, seen: tuple[int, int]) -> str:
    return f"chessboard:{max(seen)}x{min(seen)}:{target.size_mm:g}mm"


def _white_and_black(grey: UInt8) -> tuple[float, float]:
    """Return which share of a picture is as white, and as black, as can be."""
    return float((grey >= _WHITE).mean()), float((grey <= _BLACK).mean())


def _light_or(target: Target, grey: UInt8, what: str) -> str:
    """Say that the picture is too bright or too dark, where it is.

    Else say what was found and what to look at.
    """
    white, black = _white_and_black(grey)
    if white > _MOSTLY:
        return f"{target.spec}: {what}; {white:.0%} of the picture are white, overexposed. Shorten the exposure"
    if black > _MOSTLY:
        return f"{target.spec}: {what}; {black:.0%} of the picture are black. Lengthen the exposure, or add light"
    return (
        f"{target.spec}: {what}. Show the whole target flat and sharp, its face to the camera, with a white margin "
        "around it, and no glare or shadow on it; compare the counts with its print"
    )
