"""ChArUco boards, by OpenCV's aruco module: since 4.7 it is in every OpenCV."""

from __future__ import annotations

from typing import Any

from edge.calibration.targets import Target
from edge.errors import DependencyError
from edge.opencv import cv2


def require_aruco() -> None:
    """Raise DependencyError where this OpenCV has no ChArUco boards."""
    if not hasattr(getattr(cv2, "aruco", None), "CharucoDetector"):
        raise DependencyError(
            f"A ChArUco board needs OpenCV 4.7 or later, found {cv2.__version__}. Take a chessboard or circles here, "
            "or calibrate with --picture on a workstation"
        )


def board_of(target: Target) -> Any:
    """Return OpenCV's board of a ChArUco target. Raises DependencyError."""
    require_aruco()
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{target.dictionary}"))
    return cv2.aruco.CharucoBoard((target.columns, target.rows), target.size_mm, target.marker_mm, dictionary)
