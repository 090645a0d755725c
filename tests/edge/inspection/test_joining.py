from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drawn_shapes import SCRATCH
from edge.inspection.joining import Joining
from edge.inspection.limits import Limit, judge
from edge.inspection.measuring import Sight, measure, region
from edge.inspection.scale import UniformScale
from edge.inspection.settings import InspectSettings
from edge.opencv import cv2
from edge.records import DefectMap, Measurement, Transform, UInt8, Verdict

HERE = Transform.identity()


def dashes(*lines: tuple[int, int, int, int]) -> UInt8:
    """Draw bright lines from (x, y) to (x, y), 4 px wide, on a dark ground."""
    picture = np.full((140, 300), 50, np.uint8)
    for x0, y0, x1, y1 in lines:
        cv2.line(picture, (x0, y0), (x1, y1), 200, 4)
    return picture


def seen(picture: UInt8, joining: Joining | None) -> Measurement:
    """Measure at 0.1 mm per px."""
    classes = (picture > 120).view(np.uint8)
    whole = region(classes.shape, None, HERE)
    sight = Sight(picture, joining=joining)
    return measure(DefectMap(classes, classes), SCRATCH, whole, HERE, UniformScale(0.1), sight=sight)[0]


SIX = dashes(*((20 + 45 * n, 60, 45 + 45 * n, 60) for n in range(6)))


def test_six_dashes_of_one_scratch_are_one_scratch() -> None:
    """Six dashes with gaps of 2 mm are one defect of 25 mm at 2.5 mm, else six."""
    apart, whole = seen(SIX, None), seen(SIX, Joining(2.5, 20))
    assert [len(apart.defects), len(whole.defects)] == [6, 1]
    (scratch,) = whole.defects
    assert scratch.pieces == 6
    assert whole.classes["scratch"].count == 1
    assert scratch.length_mm == pytest.approx(25.0, rel=0.03)
    assert scratch.area_px == pytest.approx(sum(defect.area_px for defect in apart.defects))
    assert whole.coverage == apart.coverage
    assert scratch.bbox[2] > 245
    limit = {"scratch": Limit(max_length_mm=10)}
    assert judge(apart, limit).verdict is Verdict.OK
    assert judge(whole, limit).verdict is Verdict.NG


@pytest.mark.parametrize(
    ("lines", "gap_mm"),
    [
        ([(20, 40, 80, 40), (100, 40, 160, 40)], 1.0),  # the gap is wider
        ([(20, 40, 80, 40), (90, 60, 90, 120)], 4.0),  # the next turns away
        ([(20, 40, 80, 40), (20, 60, 80, 60)], 4.0),  # beside each other
        ([(20, 40, 80, 40), (90, 58, 150, 58)], 4.0),  # in step, but to the side
    ],
)
def test_what_is_no_dash_of_it_stays_apart(lines: list[tuple[int, int, int, int]], gap_mm: float) -> None:
    """Only ends that face each other, over a gap that is small enough, are of one scratch."""
    assert len(seen(dashes(*lines), Joining(gap_mm, 20)).defects) == 2


def test_a_bend_is_joined_within_the_angle() -> None:
    """A scratch that turns by 15 degrees at its gap is one within 30 degrees, and two within 5."""
    bent = dashes((20, 60, 90, 60), (100, 61, 165, 78))
    assert len(seen(bent, Joining(2.0, 30)).defects) == 1
    assert len(seen(bent, Joining(2.0, 5)).defects) == 2


def test_joining_in_millimetres_needs_a_scale() -> None:
    """Without mm_per_px a gap in mm means nothing, and the settings are refused; 0 joins nothing."""
    with pytest.raises(ValueError, match="expected mm_per_px or calibration, since join_gap_mm is in millimetres"):
        InspectSettings(join_gap_mm=1.0)
    assert InspectSettings().joining is None
    assert InspectSettings(join_gap_mm=1.0, mm_per_px=0.1).joining == Joining(1.0, 20.0)
