"""Grades: the first row whose limits a part keeps, and tables that make no sense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edge.inspection.grading import GradeRow, grade
from edge.inspection.settings import InspectSettings
from edge.records import ClassMeasure, Defect, Grade, Measurement

TABLE: list[dict[str, Any]] = [
    {"name": "A", "value_factor": 1, "limits": {}},
    {
        "name": "B",
        "value_factor": 0.7,
        "max_count": 3,
        "limits": {"scratch": {"max_length_mm": 5}, "stain": {"max_count": 1}},
    },
    {"name": "C", "value_factor": 0.4, "max_coverage": 0.01},
    {"name": "scrap", "value_factor": 0},
]


def table(*rows: dict[str, Any]) -> tuple[GradeRow, ...]:
    """Return a table as the settings read it."""
    return InspectSettings.model_validate({"mm_per_px": 0.1, "grades": list(rows)}).grades


def shows(coverage: float = 0.001, *defects: tuple[str, float]) -> Measurement:
    """Measure a part with defects (class, length in mm)."""
    made = tuple(Defect(1, name, 0.9, 10, (0, 0, 1, 1), 1, 1, 1.0, length, 1) for name, length in defects)
    classes = {
        name: ClassMeasure(coverage if any(defect.class_name == name for defect in made) else 0.0, count)
        for name in ("scratch", "stain", "chip")
        for count in [sum(defect.class_name == name for defect in made)]
    }
    return Measurement(coverage if made else 0.0, None, 1e6, classes, made)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (shows(), Grade("A", 1)),
        (shows(0.001, ("scratch", 5.0)), Grade("B", 0.7)),
        (shows(0.001, ("scratch", 5.1)), Grade("C", 0.4)),  # too long for B; C looks at coverage alone
        (shows(0.001, ("stain", 1.0), ("stain", 1.0)), Grade("C", 0.4)),  # two stains, one allowed
        (shows(0.001, *[("scratch", 1.0)] * 4), Grade("C", 0.4)),  # four defects, three allowed
        (shows(0.001, ("chip", 0.1)), Grade("C", 0.4)),  # nobody thought of chips, so B tolerates none
        (shows(0.0101, ("scratch", 1.0)), Grade("B", 0.7)),
        (shows(0.0101, ("scratch", 9.0)), Grade("scrap", 0)),
        (shows(0.01, ("scratch", 9.0)), Grade("C", 0.4)),
    ],
)
def test_a_part_has_the_first_grade_whose_limits_it_keeps(part: Measurement, expected: Grade) -> None:
    """Each kind of limit decides at its edge, and the last row takes what no other does."""
    assert grade(part, table(*TABLE)) == expected


def test_without_a_table_there_is_no_grade() -> None:
    """A line that grades nothing says so."""
    assert grade(shows(), ()) is None


@given(st.floats(0, 1), st.lists(st.tuples(st.sampled_from(["scratch", "stain", "chip"]), st.floats(0.1, 20))))
def test_a_worse_part_has_no_better_grade(coverage: float, defects: list[tuple[str, float]]) -> None:
    """Every part has a grade, and another defect, or more coverage, never makes it worth more."""
    rows = table(*TABLE)
    one = grade(shows(coverage, *defects), rows)
    worse = grade(shows(min(1.0, coverage + 0.01), *defects, ("scratch", 10.0)), rows)
    assert one is not None
    assert worse is not None
    assert worse.value_factor <= one.value_factor


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([*TABLE[:3]], "expected no limits for the last grade, C"),
        ([TABLE[0], TABLE[0], TABLE[3]], "received twice: A"),
        ([TABLE[3], TABLE[0], TABLE[3] | {"name": "D"}], "expected limits for the grade scrap"),
        ([TABLE[0] | {"value_factor": 0.1}, *TABLE[1:]], "with falling value_factor, received"),
        ([TABLE[0] | {"value_factor": -1}, TABLE[3]], "greater than or equal to 0"),
        ([TABLE[0] | {"max_cuont": 1}, TABLE[3]], "Extra inputs"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(rows: list[dict[str, Any]], expected: str) -> None:
    """Each mistake is named when the settings are read."""
    with pytest.raises(ValidationError, match=expected):
        table(*rows)


def test_millimetres_need_a_calibration() -> None:
    """A grade by mm without mm_per_px would take every part for the best."""
    with pytest.raises(
        ValidationError, match="expected mm_per_px or calibration, since the limits of the grade B are in millimetres"
    ):
        InspectSettings.model_validate({"grades": TABLE})


def test_a_measurement_is_left_as_it_was() -> None:
    """Grading changes nothing of what was measured."""
    part = shows(0.001, ("scratch", 5.0))
    before = replace(part)
    grade(part, table(*TABLE))
    assert part == before
