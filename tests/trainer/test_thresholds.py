from __future__ import annotations

import numpy as np

from edge.records import UInt8
from trainer.thresholds import fit_class, own_probability


def picture(*blobs: tuple[int, int, int]) -> UInt8:
    """Draw squares (place, side, probability x 255) in a row."""
    pixels = np.zeros((40, 200), np.uint8)
    for place, side, value in blobs:
        pixels[5 : 5 + side, place : place + side] = value
    return pixels


def test_the_threshold_parts_defects_from_what_only_looks_like_them() -> None:
    """True defects at 0.8 and false ones at 0.5 of the same size: the threshold lies between, with no error left."""
    truth, clean = picture((20, 10, 1)) > 0, picture() > 0
    fitted = fit_class([picture((20, 10, 204), (90, 10, 128)), picture((60, 10, 128))], [truth, clean])
    assert 0.5 < fitted.threshold <= 0.8
    assert (fitted.missed, fitted.false, fitted.shown) == (0, 0, 1)


def test_the_smallest_area_parts_defects_from_specks() -> None:
    """Specks of 9 px as probable as a true defect of 400 px: the area lies between them, away from both."""
    truth, clean = picture((20, 20, 1)) > 0, picture() > 0
    fitted = fit_class([picture((20, 20, 230), (90, 3, 230)), picture((60, 3, 230))], [truth, clean])
    assert 9 < fitted.min_area_px < 400
    assert 16 < fitted.min_area_px < 256
    assert (fitted.missed, fitted.false) == (0, 0)


def test_a_class_that_is_never_right_says_so() -> None:
    """Where no threshold helps, the pictures that remain missed are told."""
    truth = picture((20, 10, 1)) > 0
    fitted = fit_class([picture((90, 10, 230))], [truth])
    assert (fitted.missed, fitted.shown) == (1, 1)


def test_only_the_leading_class_of_a_pixel_counts() -> None:
    """A class that is not the most probable at a pixel has no say there."""
    probabilities = np.array([[[0.6, 0.3], [0.2, 0.4]]], np.float32)
    assert own_probability(probabilities).tolist() == [[[153, 0], [0, 102]]]
