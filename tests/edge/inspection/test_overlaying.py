"""Overlays: what is clean stays as it was, what is not is tinted by arithmetic."""

from __future__ import annotations

import numpy as np

from edge.inspection.overlaying import as_bgr, overlay, write_on
from edge.records import UInt8


def test_only_the_pixels_of_a_class_change_and_by_the_opacity() -> None:
    """100 at 40 % of (200, 50, 0) becomes 140, 80, 60 inside, the outline the colour itself; the rest stays."""
    pixels: UInt8 = np.full((20, 30), 100, np.uint8)
    classes: UInt8 = np.zeros((20, 30), np.uint8)
    classes[5:12, 6:16] = 2
    shown = overlay(pixels, classes, {1: (1, 2, 3), 2: (200, 50, 0)}, opacity=0.4)
    # 100 * 0.6 + 200 * 0.4 = 140, 100 * 0.6 + 50 * 0.4 = 80, 100 * 0.6 = 60, in blue, green, red order
    assert shown[8, 10].tolist() == [60, 80, 140]
    assert shown[5, 6].tolist() == [0, 50, 200]
    assert (shown[classes == 0] == 100).all()
    assert (pixels == 100).all()


def test_any_picture_becomes_one_that_can_be_drawn_on() -> None:
    """Grey of two or three dimensions and BGR come out as BGR; drawing on it leaves the picture alone."""
    for shape in ((4, 60), (4, 60, 1), (4, 60, 3)):
        pixels: UInt8 = np.zeros(shape, np.uint8)
        canvas = as_bgr(pixels)
        assert canvas.shape == (4, 60, 3)
        write_on(canvas, "grün", (0, 4))
        assert canvas.any()
        assert not pixels.any()


def test_no_unit_becomes_a_question_mark() -> None:
    """OpenCV has no raised 2: `mm²` is drawn as `mm2`, and not as `mm?`."""
    drawn = []
    for text in ("5 mm²", "5 mm2", "5 mm?"):
        canvas: UInt8 = np.zeros((20, 90, 3), np.uint8)
        write_on(canvas, text, (2, 15))
        drawn.append(canvas)
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
