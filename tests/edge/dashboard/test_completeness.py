"""The events that have not come, against plain sets. Bounds keep a station from being asked for ever."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge.dashboard.completeness import ASKED_AT_ONCE, BACK_AT_MOST, LATE_AFTER_S, TRIES, Completeness, Stretches

RANGES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)).map(lambda pair: (pair[0], sum(pair))))


@given(RANGES, st.integers(1, 70), st.integers(1, 70))
def test_stretches_are_a_set_of_numbers(added: list[tuple[int, int]], first: int, last: int) -> None:
    """Members, missing numbers and counts are as with a plain set; neighbours are one stretch."""
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
    """After so many tries, each later than the one before, a hole stays a hole and is shown."""
    state = Completeness(1, 0)
    state.hear(3, 0.0)
    asked = [now_s for now_s in range(0, 100_000, 5) if state.wish(float(now_s)) is not None]
    assert len(asked) == TRIES
    assert asked[2] - asked[1] > asked[1] - asked[0]
    assert state.told().holes == 1


def test_a_wish_is_no_longer_than_a_station_takes() -> None:
    """A long hole is asked for in pieces, the newest first, and a long past only within bounds."""
    state = Completeness.begin(1_000_000)
    assert state.first == 1_000_000 - BACK_AT_MOST + 1
    state.hear(1_000_000, 0.0)
    now_s, pieces = LATE_AFTER_S, []
    while (wish := state.wish(now_s)) is not None:
        pieces.append(wish)
    assert all(last - first < ASKED_AT_ONCE for first, last in pieces)
    assert (pieces[-1][0], pieces[0][1]) == (state.first, 1_000_000)
    assert sum(last - first + 1 for first, last in pieces) == BACK_AT_MOST


def test_what_is_on_its_way_is_not_asked_for_anew() -> None:
    """No second wish is made for the events of a wish while they come one after the other."""
    state = Completeness(1, 5_000)
    state.hear(5_000, 0.0)
    assert state.wish(LATE_AFTER_S) == (1, 5_000)
    wishes = []
    for second in range(11, 16):
        for number in range((second - 11) * 1_000 + 1, (second - 10) * 1_000 + 1):
            state.take(number)
        wishes.append(state.wish(float(second)))
    assert wishes == [None] * 5
    assert state.told().came == 5_000


def test_what_a_station_has_not_got_stands_before_nothing() -> None:
    """The oldest events are gone for good. All others are asked for and come, and the hole is only that of the old."""
    state = Completeness(1, 30_000)
    state.hear(30_000, 0.0)
    for now_s in range(10, 5_000, 2):
        wish = state.wish(float(now_s))
        if wish is not None:
            for number in range(max(wish[0], 12_001), wish[1] + 1):
                state.take(number)
    assert list(state.came) == [(12_001, 30_000)]
    assert list(state.given_up) == [(1, 12_000)]
    assert state.told().holes == 1


def test_who_tells_its_numbers_all_the_time_is_asked_too() -> None:
    """A hundred words a second about the highest number do not push out those that are old enough."""
    state = Completeness(1, 0)
    found = []
    for tick in range(2_000):
        state.hear(tick + 1, tick / 100)
        found.append(state.wish(tick / 100))
    assert any(found)


def test_a_later_hole_beside_an_old_one_is_asked_for() -> None:
    """A new hole gets its tries, though something near it was given up."""
    state = Completeness(1, 10)
    for number in (1, 2, 4):
        state.take(number)
    state.hear(4, 0.0)
    while len(state.given_up) == 0:
        state.wish(1e9)
        state._heard[0] = (0.0, 4)
        for asked in state._asked.values():
            asked.again_s = 0.0
    state.take(6)
    state.hear(6, 2e9)
    assert state.wish(3e9) == (5, 5)


def test_who_forges_numbers_fills_no_memory() -> None:
    """Numbers with holes between them are refused once there are absurdly many stretches."""
    state = Completeness.begin(1)
    for number in range(1, 60_000, 2):
        if state.is_new(number):
            state.take(number)
    assert len(state.came) == 10_000
