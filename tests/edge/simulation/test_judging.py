from __future__ import annotations

import numpy as np

from benchmarks.simulated import ANGLES, Tally, straight_pictures
from edge.records import UInt8
from edge.simulation.defects import CHIP, SCRATCH


def with_square(class_id: int, side: int, at: int = 10) -> UInt8:
    """Draw a map of 100 x 100 px with one square of a class."""
    drawn = np.zeros((100, 100), np.uint8)
    drawn[at : at + side, at : at + side] = class_id
    return drawn


def test_frames_are_counted_by_class_and_place() -> None:
    """Found: the class at its place. Another class there, or the class elsewhere, is missed, but not passed."""
    tally, nothing, scratch = Tally(), np.zeros((100, 100), np.uint8), with_square(SCRATCH, 10)
    assert tally.add(scratch, scratch, 30) == (True, True)
    assert tally.add(scratch, with_square(CHIP, 10), 30) == (True, False)
    assert tally.add(scratch, with_square(SCRATCH, 10, at=50), 30) == (True, False)
    assert tally.add(scratch, nothing, 30) == (True, False)
    assert tally.add(nothing, nothing, 30) == (False, False)
    assert tally.add(nothing, scratch, 30) == (False, True)
    tally.add(with_square(SCRATCH, 5), nothing, 30)  # 25 px: shown too little to count, and not clean either
    assert (tally.defective, tally.found, tally.passed, tally.clean, tally.flagged) == (4, 1, 1, 2, 1)
    assert (tally.shown["scratch"], tally.missed["scratch"]) == (4, 3)


def test_a_straight_picture_has_one_scratch_along_its_angle() -> None:
    """The bounding box of the truth is flat at 0°, upright at 90°."""
    assert {0, 3, 45, 90} <= set(ANGLES)
    for angle, upright in ((0, False), (90, True)):
        for _, truth in straight_pictures(angle, 3, faint=True):
            assert set(np.unique(truth)) == {0, SCRATCH}
            ys, xs = np.nonzero(truth)
            assert (np.ptp(ys) > 5 * np.ptp(xs)) if upright else (np.ptp(xs) > 5 * np.ptp(ys))
