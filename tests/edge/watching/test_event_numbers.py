"""Numbers of events: what has not come is told, in whatever order the rest comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.watching.event_numbers import EventNumbers

S = 1_000_000_000


@given(st.permutations(range(1, 31)), st.sets(st.integers(2, 30)))
def test_what_never_comes_is_missing_and_nothing_else(order: list[int], lost: set[int]) -> None:
    """Thirty events in any order, some lost, the first heard first: exactly the lost below the last are missing."""
    numbers = EventNumbers()
    numbers.take("e", 1, 0)
    come = [number for number in order if number != 1 and number not in lost]
    for number in come:
        assert numbers.take("e", number, 0)
        assert not numbers.take("e", number, 0)  # the same again is not new
    missing = {n for first, last in numbers.missing(20 * S, 10 * S) for n in range(first, last + 1)}
    assert missing == {number for number in lost if number < max([1, *come])}


def test_a_gap_counts_after_a_while_and_a_late_event_closes_it() -> None:
    """Alarms overtake results: 5 before 3 and 4 is no loss for ten seconds; 3 comes late, 4 never."""
    numbers = EventNumbers()
    for number in (1, 2, 5):
        numbers.take("e", number, 0)
    assert numbers.missing(9 * S, 10 * S) == []
    assert numbers.take("e", 3, 9 * S)
    assert numbers.missing(10 * S, 10 * S) == [(4, 4)]


def test_a_lost_tail_is_told_by_what_was_committed() -> None:
    """The station says that 7 events are committed; 5 came; after ten seconds 6 and 7 are missing."""
    numbers = EventNumbers()
    numbers.take("e", 5, 0)
    numbers.committed("e", 7, S)
    assert numbers.missing(10 * S, 10 * S) == []
    assert numbers.missing(11 * S, 10 * S) == [(6, 7)]
    numbers.take("e", 6, 12 * S)
    numbers.take("e", 7, 12 * S)
    assert numbers.missing(99 * S, 10 * S) == []


def test_a_new_store_begins_anew() -> None:
    """Another epoch counts from 1 again: nothing of it is missing, and that it began is counted."""
    numbers = EventNumbers()
    numbers.take("one", 500, 0)
    numbers.take("two", 1, 0)
    assert (numbers.missing(99 * S, 0), numbers.last, numbers.epochs) == ([], 1, 1)


def test_before_the_first_only_what_is_sent_again_is_old() -> None:
    """An event below the first that was heard is new, unless the station says that it sends it again."""
    numbers = EventNumbers()
    numbers.take("e", 100, 0)
    assert numbers.take("e", 99, 0)
    assert not numbers.take("e", 98, 0, resent=True)


def test_gaps_are_bounded() -> None:
    """Of 10,000 gaps 200 are remembered; of the rest the numbers are counted."""
    numbers = EventNumbers()
    for number in range(1, 20_003, 2):
        numbers.take("e", number, 0)
    missing = numbers.missing(S, 0)
    assert (len(missing), numbers.forgotten) == (200, 10_000 - 200)
