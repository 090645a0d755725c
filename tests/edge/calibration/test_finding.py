"""A target's points are found where the camera's own geometry has them.

Else the reason is said, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge.calibration.finding import find_target
from edge.calibration.targets import parse_target
from edge.errors import TargetError
from edge.records import UInt8
from tests.edge.calibration.scenes import CHESSBOARD, SIZE, camera, found, picture

CHARUCO = "charuco:9x6:10mm:7mm"
KINDS = [CHESSBOARD, CHARUCO, "circles:9x6:10mm", "acircles:4x9:7mm"]


@pytest.mark.parametrize("spec", KINDS)
@pytest.mark.parametrize("turn_deg", [0, 75])
def test_points_are_found_to_a_small_part_of_a_pixel(spec: str, turn_deg: float) -> None:
    """Each is within 0.2 px of the pinhole's and lens's place, at a tilt and any turn of the target."""
    seen_by = camera(tilt_deg=20, k1=-0.15, turn_deg=turn_deg, mm_per_px=0.36)
    seen = found(spec, seen_by).sighting
    known = parse_target(spec).points_mm
    middle = (known.min(axis=0) + known.max(axis=0)) / 2
    # a chessboard and grids of circles look the same turned by half: either is right
    far = [np.linalg.norm(seen.px - seen_by.seen(sign * (seen.mm - middle)), axis=1).max() for sign in (1, -1)]
    assert min(far) < 0.2


def test_a_charuco_board_tells_how_it_is_turned() -> None:
    """Its markers say that it lies upside down; a chessboard cannot."""
    turned = found(CHARUCO, camera(turn_deg=180)).turned_deg
    assert turned is not None
    assert abs(turned) == pytest.approx(180, abs=1)
    assert found(CHESSBOARD, camera(turn_deg=180)).turned_deg is None


def test_a_small_target_is_told_to_come_closer() -> None:
    """The share of the picture is said, and what to do."""
    assert "fills 1" in found(seen_by=camera(mm_per_px=0.45)).advice
    assert not found().advice


def brightened(pixels: UInt8) -> UInt8:
    """Overexpose a picture until nothing but white is left."""
    return np.clip(pixels.astype(np.int64) * 9, 0, 255).astype(np.uint8)


def moved_out(pixels: UInt8) -> UInt8:
    """Move the target to the left, half out of the picture."""
    return np.hstack([pixels[:, SIZE[0] // 2 :], np.full((SIZE[1], SIZE[0] // 2), 120, np.uint8)])


BAD: list[tuple[str, str, Callable[[UInt8], UInt8] | None, str]] = [
    ("chessboard:8x5:10mm", CHESSBOARD, None, "9 x 6 squares have 8 x 5 inner corners"),
    (CHESSBOARD, "chessboard:7x6:10mm", None, "shows 9 x 6 inner corners"),
    (CHESSBOARD, CHESSBOARD, moved_out, "bring the whole target into the picture"),
    (CHARUCO, CHARUCO, moved_out, "of its 40 corners were found"),
    ("circles:9x6:10mm", "circles:9x6:10mm", moved_out, "round blobs were seen, and it has 54"),
    ("circles:9x6:10mm", "circles:8x6:10mm", None, "the grid in the picture goes on"),
    (CHESSBOARD, CHESSBOARD, brightened, "overexposed"),
    (CHESSBOARD, CHESSBOARD, lambda pixels: np.full_like(pixels, 4), "black. Lengthen the exposure"),
    (CHARUCO, CHARUCO, lambda pixels: np.ascontiguousarray(pixels[:, ::-1]), "seen mirrored"),
    ("charuco:9x6:10mm:7mm:5X5_50", CHARUCO, None, "markers of 5X5"),
    (CHESSBOARD, CHESSBOARD, lambda pixels: np.full_like(pixels, 128), "no chessboard was found"),
]


@pytest.mark.parametrize(("shown", "asked", "spoil", "told"), BAD)
def test_what_is_wrong_is_said(shown: str, asked: str, spoil: Callable[[UInt8], UInt8] | None, told: str) -> None:
    """A wrong count, half a target, too much light or none, a mirror, other markers: each by its own words."""
    pixels = picture(shown)
    with pytest.raises(TargetError, match=told):
        find_target(parse_target(asked), spoil(pixels) if spoil else pixels)


@pytest.mark.parametrize("spec", [CHESSBOARD, CHARUCO, "circles:9x6:10mm", "acircles:4x11:7mm"])
def test_a_target_that_is_seen_twice_is_refused(spec: str) -> None:
    """Nobody could tell which of the two lies where parts do; another target beside it does not matter."""
    with pytest.raises(TargetError, match="twice"):
        find_target(parse_target(spec), np.hstack([picture(spec), picture(spec)]))
    other = "chessboard:7x5:10mm"
    beside = find_target(parse_target(spec), np.hstack([picture(spec), picture(other)]))
    assert len(beside.sighting.px) == len(parse_target(spec).points_mm)


def test_a_target_that_is_far_away_is_refused() -> None:
    """From 3 % of the picture on its rest would be a guess."""
    with pytest.raises(TargetError, match="expected 3% or more"):
        find_target(parse_target(CHESSBOARD), picture(seen_by=camera(mm_per_px=1.4)))


def test_colours_do_not_matter() -> None:
    """A BGR picture of the same gives the same points."""
    grey = picture()
    one = find_target(parse_target(CHESSBOARD), grey)
    other = find_target(parse_target(CHESSBOARD), np.dstack([grey] * 3))
    assert np.abs(one.sighting.px - other.sighting.px).max() < 0.02
