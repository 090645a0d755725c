from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters.comparison.comparing import Comparison, FoundDefects, compare_maps
from edge.records import DefectClass, DefectMap

CLASSES = tuple(DefectClass(i, name, "major", (255, 0, 0), 0.5, 0) for i, name in ((1, "scratch"), (2, "stain")))


def answer(rows: list[str], score: int = 200) -> FoundDefects:
    """Write a map as text: one digit per pixel, `.` is clean; every defective pixel has the same score."""
    classes = np.array([[0 if c == "." else int(c) for c in row] for row in rows], np.uint8)
    return FoundDefects(DefectMap(classes, np.where(classes > 0, score, 0).astype(np.uint8)), classes)


def _compare(before: FoundDefects, after: FoundDefects) -> Comparison:
    return compare_maps(before, after, CLASSES, tiles=1)


def test_equal_maps_differ_in_nothing() -> None:
    """Two equal maps have no changed pixel, no defect lost or gained, no difference of scores, and no failure."""
    rows = ["11..", "...2", "...2"]
    found = _compare(answer(rows), answer(rows))
    assert found == Comparison(1, 1, 12, 0, 2, {"scratch": 0, "stain": 0}, {"scratch": 0, "stain": 0}, 0.0)
    assert found.failures(0.0) == []


def test_a_defect_is_lost_where_nothing_of_its_class_overlaps() -> None:
    """The scratch at the left vanishes: 2 of 12 pixels change and one scratch is lost; the other stays."""
    found = _compare(answer(["1..1", "1..1", "...."]), answer(["...1", "...1", "...."]))
    assert (found.changed_pixels, found.pixels, found.defects) == (2, 12, 2)
    assert (found.lost, found.gained) == ({"scratch": 1, "stain": 0}, {"scratch": 0, "stain": 0})
    assert found.failures(1.0) == ["1 scratch defect lost, none allowed"]


def test_a_defect_of_another_class_is_one_lost_and_one_gained() -> None:
    """A scratch that becomes a stain is a lost scratch and a gained stain, though the pixels are the same."""
    found = _compare(answer(["11.."]), answer(["22.."]))
    assert (found.lost, found.gained) == ({"scratch": 1, "stain": 0}, {"scratch": 0, "stain": 1})


def test_a_defect_that_grows_moves_or_breaks_is_still_found() -> None:
    """One scratch that turns into two, each overlapping it, is neither lost nor gained: 1 of 5 pixels changed."""
    found = _compare(answer(["11111"]), answer(["11.11"]))
    assert (found.changed_pixels, found.total_lost, found.total_gained) == (1, 0, 0)
    assert found.changed_share == pytest.approx(0.2)
    assert found.failures(0.2) == []
    assert found.failures(0.1) == ["1 of 5 pixels (20.0000%) have another class, at most 10.0000% allowed"]


def test_diagonal_neighbours_are_one_defect() -> None:
    """Defects are 8-connected: a diagonal scratch of which one pixel remains is not lost."""
    found = _compare(answer(["1..", ".1.", "..1"]), answer(["...", ".1.", "..."]))
    assert (found.defects, found.total_lost) == (1, 0)


def test_specks_count_as_pixels_but_not_as_defects() -> None:
    """A speck that only one model has changes a pixel; it is no defect lost, since measuring had wiped it."""
    speck, clean = answer(["1..."]), answer(["...."])
    found = _compare(FoundDefects(speck.found, clean.kept), clean)
    assert (found.changed_pixels, found.total_lost) == (1, 0)


def test_score_difference_is_taken_where_the_class_is_the_same() -> None:
    """Scores 200 and 203 differ by 3/255; the pixel that became clean, 200 against 0, is a changed pixel instead."""
    found = _compare(answer(["11"], 200), answer(["1."], 203))
    assert found.largest_score_difference == pytest.approx(3 / 255)


def test_comparisons_add_up() -> None:
    """Counts add, the largest difference is the larger: 1 of 4 and 2 of 4 pixels are 3 of 8."""
    one = _compare(answer(["1.11"], 100), answer(["..11"], 101))
    two = _compare(answer(["22.."], 100), answer(["...."], 100))
    both = one.plus(two)
    figures: dict[str, Any] = both.as_dict()
    assert (both.pictures, both.tiles, both.changed_share) == (2, 2, pytest.approx(3 / 8))
    assert figures["lost"] == {"scratch": 1, "stain": 1}
    assert figures["largest_score_difference"] == pytest.approx(1 / 255)
