"""Which events have not come: against plain sets, and with the bounds that keep a station from being asked for ever."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.dashboard.completeness import ASKED_AT_ONCE, BACK_AT_MOST, LATE_AFTER_S, TRIES, Completeness, Stretches

RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda pair: (pair[0], sum(pair))))


@given(RANGES, st.integers(1, 70), st.integers(1, 70))
def test_stretches_are_a_set_of_numbers(added: list[tuple[int, int]], first: int, last: int) -> None:
    """What is in them, what is missing and how many there are is as with a plain set; neighbours are one stretch."""
    plain: set[int] = set()
    found = Stretches()
    for begin, end in added:
        found.add(begin, end)
        plain |= set(range(begin, end + 1))
    assert {number for number in range(80) if number in found} == plain
    missing = {number for begin, end in found.missing(first, last) for number in range(begin, end + 1)}
    assert missing == set(range(first, last + 1)) - plain
    assert found.count(first, last) == len(plain & set(range(first, last + 1)))
    told = list(found)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(told))


def test_what_did_not_come_is_asked_for_and_then_complete() -> None:
    """A gap is asked for once it is late, not before, and no more when it has come."""
    state = Completeness.begin(1)
    for number in (1, 2, 5):
        state.take(number)
    state.hear(5, 0.0)
    assert state.wish(LATE_AFTER_S - 1) is None
    assert state.wish(LATE_AFTER_S) == (3, 4)
    assert state.wish(LATE_AFTER_S + 1) is None
    told = state.told()
    assert (told.came, told.expected, told.holes) == (3, 5, 1)
    state.take(3)
    state.take(4)
    assert state.wish(1_000.0) is None
    assert (state.told().came, state.told().holes) == (5, 0)


def test_a_station_is_not_asked_for_ever() -> None:
    """After so many tries, each later than the one before, a hole stays a hole, and is still shown as one."""
    state = Completeness(1, 0)
    state.hear(3, 0.0)
    asked = [now_s for now_s in range(0, 100_000, 5) if state.wish(float(now_s)) is not None]
    assert len(asked) == TRIES
    assert asked[2] - asked[1] > asked[1] - asked[0]
    assert state.told().holes == 1


def test_a_wish_is_no_longer_than_a_station_takes() -> None:
    """A long hole is asked for in pieces, and of a long past no more than is bearable."""
    state = Completeness.begin(1_000_000)
    assert state.first == 1_000_000 - BACK_AT_MOST + 1
    state.hear(1_000_000, 0.0)
    now_s, pieces = LATE_AFTER_S, []
    while (wish := state.wish(now_s)) is not None:
        pieces.append(wish)
        state.came.add(*wish)
    assert all(last - first < ASKED_AT_ONCE for first, last in pieces)
    assert (pieces[0][0], pieces[-1][1]) == (state.first, 1_000_000)
    assert len(pieces) == BACK_AT_MOST // ASKED_AT_ONCE


def test_who_forges_numbers_fills_no_memory() -> None:
    """Numbers with holes between them are refused once there are absurdly many stretches."""
    state = Completeness.begin(1)
    for number in range(1, 60_000, 2):
        if state.is_new(number):
            state.take(number)
    assert len(state.came) == 10_000
