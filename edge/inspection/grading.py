"""Measurement → grade and what a part of that grade is worth, by a table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field

from edge.bundle import Name
from edge.inspection.limits import Limit, judge
from edge.records import Grade, Measurement, Verdict
from edge.yaml_settings import StrictModel


class GradeRow(StrictModel):
    """One row of the table, from the best grade down: what a part of this grade may show, and what it is worth.

    `value_factor`: the share of the full price. `max_coverage`: fraction of the inspected region that is defective, of
    all classes together. `max_count`: defects of all classes together. `limits`: by class, as for the verdict: a class
    without an entry tolerates no defect. The last row has no limits: it takes what no other does.
    """

    name: Name
    value_factor: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
    max_coverage: Annotated[float, Field(ge=0, le=1)] | None = None
    max_count: Annotated[int, Field(ge=0)] | None = None
    limits: dict[str, Limit] | None = None

    @property
    def needs_calibration(self) -> bool:
        """True where any of its limits is in millimetres."""
        return any(limit.needs_calibration for limit in (self.limits or {}).values())

    @property
    def takes_all(self) -> bool:
        """True where it has no limit at all."""
        return (self.max_coverage, self.max_count, self.limits) == (None, None, None)

    def admits(self, measurement: Measurement) -> bool:
        """Tell whether a part that shows this is of this grade, or a better one."""
        if self.max_coverage is not None and measurement.coverage > self.max_coverage:
            return False
        if self.max_count is not None and len(measurement.defects) > self.max_count:
            return False
        return self.limits is None or judge(measurement, self.limits).verdict is Verdict.OK


def grade(measurement: Measurement, table: Sequence[GradeRow]) -> Grade | None:
    """Return the first grade whose limits the part keeps; None without a table."""
    for row in table:
        if row.admits(measurement):
            return Grade(row.name, row.value_factor)
    return None


@dataclass
class GradeCounts:
    """The number of parts of each grade; `value_factors`: the sum of their shares of the price."""

    counts: dict[str, int] = field(default_factory=dict)
    value_factors: float = 0.0

    def add(self, grade: Grade | None) -> None:
        """Count one part; one without a grade is none."""
        if grade is not None:
            self.counts[grade.name] = self.counts.get(grade.name, 0) + 1
            self.value_factors += grade.value_factor

    @property
    def value_factor_mean(self) -> float | None:
        """The graded parts' share of the price on average; None without any."""
        graded = sum(self.counts.values())
        return self.value_factors / graded if graded else None

    def __str__(self) -> str:
        if self.value_factor_mean is None:
            return ""
        told = ", ".join(f"{name} {count}" for name, count in self.counts.items())
        return f"grades: {told}, worth {self.value_factor_mean:.3f} of the full price on average"


def problem_of(table: Sequence[GradeRow]) -> str:
    """Say what is wrong with a table of grades, or nothing."""
    names = [row.name for row in table]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        return f"expected grades with names of their own, received twice: {', '.join(twice)}"
    for row in table[:-1]:
        if row.takes_all:
            return f"expected limits for the grade {row.name}, which takes every part from the grades below it"
    if table and not table[-1].takes_all:
        return (
            f"expected no limits for the last grade, {table[-1].name}, so that every part has a grade; "
            "add a last row such as {name: scrap, value_factor: 0}"
        )
    factors = [row.value_factor for row in table]
    if factors != sorted(factors, reverse=True):
        return f"expected grades from the best down, with falling value_factor, received {factors}"
    return ""
