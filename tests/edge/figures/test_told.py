"""The bodies of results count as the station's own ledger counts what they are made of."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.figures.shift_report import figures_of
from edge.figures.told import counts_of, deltas_of_told, told_part
from edge.messages.writer import part_body, result_body
from edge.parts.ledger import deltas_of
from edge.records import FrameResult, Verdict
from edge.records.models import ModelIdentity
from tests.edge.station.shift_store import BEGINS, EARLY, EVERY, PARTS, part

MODEL = ModelIdentity("glass", "1.0.0", "ab" * 32)


def body(number: int, *, challenge: bool = False) -> dict[str, Any]:
    """Return the body of a part as it went over the wire."""
    told: dict[str, Any] = json.loads(
        json.dumps(part_body(part(number), opened_at=BEGINS + number * EVERY, challenge=challenge))
    )
    return told


def frame(number: int) -> FrameResult | None:
    """Return the worst frame of a part, as one that stands for itself."""
    return part(number).views["top"].worst


def test_a_shift_from_its_messages_is_the_shift_of_the_ledger() -> None:
    """Eight hours of parts: yield, classes, grades, value, missed triggers, for each of two recipes."""
    told = [told_part(body(number), BEGINS + number * EVERY, "none") for number in range(PARTS)]
    deltas = [delta for each in told if each is not None for delta in deltas_of_told(each, EARLY)]
    ledger = [delta for number in range(PARTS) for delta in deltas_of(part(number), EARLY, part(number).recipe or "")]
    assert figures_of(deltas) == figures_of(ledger)
    assert figures_of(deltas).parts == PARTS
    by_recipe = [figures_of(each for each in deltas if each.recipe == name).parts for name in ("phone-a", "phone-b")]
    assert by_recipe == [1000, 440]


def test_frames_that_stand_for_themselves_count_as_the_ledger_counts_them() -> None:
    """And a look for a frame that did not come is no part."""
    for number in range(200):
        if (one := frame(number)) is None:
            continue
        told = told_part(json.loads(json.dumps(result_body(one, MODEL))), BEGINS, "phone-a")
        assert told is not None
        assert list(deltas_of_told(told, EARLY)) == list(deltas_of(one, EARLY, "phone-a"))
    silent = {**result_body(one, MODEL), "frame": None} if one is not None else {}
    assert told_part(silent, BEGINS, "phone-a") is None


def test_a_part_of_a_challenge_counts_nowhere() -> None:
    """It is known to be bad."""
    told = told_part(body(7, challenge=True), BEGINS, "")
    assert told is not None
    assert (told.verdict, counts_of(told)) == (Verdict.NG, {})


def test_the_coverage_of_a_part_is_that_of_its_worst_view() -> None:
    """And None, never 0, where nothing was measured."""
    seen = body(7)
    seen["views"]["side"] = {**seen["views"]["top"], "coverage": 0.5}
    told = told_part(seen, BEGINS, "")
    assert told is not None
    assert told.coverage == 0.5
    unread = told_part(body(499), BEGINS, "")
    assert unread is not None
    assert (unread.verdict, unread.coverage, unread.unseen) == (Verdict.NO_READ, None, True)


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
        assert all(isinstance(name, str) and by >= 0 for name, by in counts_of(read).items())
        assert read.coverage is None or 0 <= read.coverage <= 1


@pytest.mark.parametrize("bad", [{}, {"views": {}}, {"views": []}, {"frame": 1}])
def test_what_is_no_result_is_refused(bad: dict[str, Any]) -> None:
    """With a word about what was expected."""
    with pytest.raises(ValueError, match="expected"):
        told_part(bad, BEGINS + timedelta(0), "r")
