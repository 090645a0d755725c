"""The bodies of results are what they were made of, and any other body is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.figures.told import told_part
from edge.messages.writer import part_body, result_body
from edge.records import Verdict
from edge.records.models import ModelIdentity
from tests.edge.station.shift_store import BEGINS, EVERY, part

MODEL = ModelIdentity("glass", "1.0.0", "ab" * 32)


def body(number: int, *, challenge: bool = False) -> dict[str, Any]:
    """Return the body of a part as it went over the wire."""
    told: dict[str, Any] = json.loads(
        json.dumps(part_body(part(number), opened_at=BEGINS + number * EVERY, challenge=challenge))
    )
    return told


def test_a_part_is_told_as_it_was() -> None:
    """Its verdict, its recipe, what its view measured, and how many frames that was of."""
    told = told_part(body(7), BEGINS, "none")
    seen, worst = part(7), part(7).views["top"].worst
    assert told is not None
    assert worst is not None
    assert worst.measurement is not None
    assert (told.part_id, told.number, told.verdict, told.recipe) == ("P-7", 7, seen.judgement.verdict, "phone-a")
    view = told.views["top"]
    assert (view.frames, view.readable, view.ng, view.dropped, view.omitted) == (2, 2, 2, 0, 0)
    assert view.measurement is not None
    assert view.measurement.classes == worst.measurement.classes
    assert [defect.length_mm for defect in view.measurement.defects] == [
        defect.length_mm for defect in worst.measurement.defects
    ]


def test_a_frame_that_stands_for_itself_is_a_part_of_one_frame() -> None:
    """And a look for a frame that did not come is no part."""
    one = part(7).views["top"].worst
    assert one is not None
    told = told_part(json.loads(json.dumps(result_body(one, MODEL))), BEGINS, "phone-a")
    assert told is not None
    assert (told.verdict, told.recipe, list(told.views)) == (Verdict.NG, "phone-a", ["top"])
    assert (told.views["top"].frames, told.views["top"].ng) == (1, 1)
    assert told_part({**result_body(one, MODEL), "frame": None}, BEGINS, "phone-a") is None


def test_what_nobody_could_read_has_no_measurement() -> None:
    """None, never 0."""
    told = told_part(body(499), BEGINS, "")
    assert told is not None
    assert (told.verdict, told.views["top"].measurement, told.missing_views) == (Verdict.NO_READ, None, ("top",))


def test_a_part_of_a_challenge_says_so() -> None:
    """It is known to be bad, and counts nowhere."""
    told = told_part(body(7, challenge=True), BEGINS, "")
    assert told is not None
    assert told.challenge


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=3), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)  # fmt: skip


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """List the way to each value inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(way for key, each in inside for way in places(each, (*path, key)))]


@given(number=st.sampled_from([5, 7, 102]), data=st.data())
def test_a_body_that_no_station_writes_is_refused_and_never_breaks(number: int, data: st.DataObject) -> None:
    """Any one value replaced by any other: a record whose counts are counts, or ValueError."""
    told = body(number)
    way = data.draw(st.sampled_from(places(told)[1:]))
    holder: Any = told
    for key in way[:-1]:
        holder = holder[key]
    if data.draw(st.booleans()) and isinstance(holder, dict):
        del holder[way[-1]]
    else:
        holder[way[-1]] = data.draw(ODD)
    try:
        read = told_part(told, BEGINS, "r")
    except ValueError:
        return
    if read is not None:
        for view in read.views.values():
            assert min(view.frames, view.readable, view.ng, view.dropped, view.omitted) >= 0
            assert view.measurement is None or 0 <= view.measurement.coverage <= 1


@pytest.mark.parametrize("bad", [{}, {"views": {}}, {"views": []}, {"frame": 1}])
def test_what_is_no_result_is_refused(bad: dict[str, Any]) -> None:
    """With a word about what was expected."""
    with pytest.raises(ValueError, match="expected"):
        told_part(bad, BEGINS + timedelta(0), "r")
