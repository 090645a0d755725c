"""The differences of a second bundle: a row for each picture, sums, and a page of those that differ most."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from edge.recipes.comparing import ClassChange, Compared, Diff, differing_defects, summed
from edge.records import Verdict
from edge.reinspecting.judging import JudgedPicture, defect_row
from edge.reinspecting.shards import Row, defect_type, row_schema
from edge.reinspecting.storage import load_arrow

MOST_SHOWN = 50


def against_schema() -> Any:
    """Return the columns of a result of the second station: those of any result, and what differs."""
    arrow = load_arrow()
    schema = row_schema()
    more = [
        arrow.field("former_verdict", arrow.string(), nullable=False),
        arrow.field("former_reason", arrow.string()),
        arrow.field("former_coverage", arrow.float64()),
        arrow.field("gained", arrow.list_(defect_type())),
        arrow.field("lost", arrow.list_(defect_type())),
        arrow.field("differs", arrow.bool_(), nullable=False),
    ]
    return arrow.schema([*schema, *more])


def against_row(former: JudgedPicture, new: JudgedPicture) -> Row:
    """Return the second station's row of a picture. One that either could not read tells nothing of defects."""
    one, other = former.seen.outcome.measurement, new.seen.outcome.measurement
    gained, lost = ((), ()) if one is None or other is None else differing_defects(one.defects, other.defects)
    return new.row | {
        "former_verdict": former.row["verdict"],
        "former_reason": former.row["reason"],
        "former_coverage": former.row["coverage"],
        "gained": [defect_row(each) for each in gained],
        "lost": [defect_row(each) for each in lost],
        "differs": former.row["verdict"] != new.row["verdict"] or bool(gained or lost),
    }


def summed_up(rows: Iterable[Row], most: int = MOST_SHOWN) -> tuple[Diff, list[Row]]:
    """Return what the second station's rows come to, and those of the pictures that differ most, the most first."""
    diff = Diff()
    worst: list[tuple[tuple[bool, int, float], int, Row]] = []
    for number, row in enumerate(rows):
        compared = Compared(Verdict(row["former_verdict"]), Verdict(row["verdict"]), _classes(row))
        diff = diff.plus(compared)
        if row["differs"]:
            heapq.heappush(worst, (_weight(row), -number, row))
            if len(worst) > most:
                heapq.heappop(worst)
    return diff, [row for _, _, row in sorted(worst, key=lambda each: each[:2], reverse=True)]


def _weight(row: Row) -> tuple[bool, int, float]:
    count = len(row["gained"]) + len(row["lost"])
    return row["former_verdict"] != row["verdict"], count, abs((row["coverage"] or 0) - (row["former_coverage"] or 0))


def _classes(row: Row) -> dict[str, ClassChange]:
    found: dict[str, ClassChange] = {}
    for key in ("gained", "lost"):
        for defect in row[key]:
            found = summed(found, {defect["class"]: replace(ClassChange(), **{key: 1})})
    return found


def differing_columns() -> Sequence[str]:
    """Return the columns that `summed_up` and a page need."""
    told = ("picture", "verdict", "reason", "coverage", "gained", "lost", "differs")
    return (*told, "former_verdict", "former_reason", "former_coverage")
