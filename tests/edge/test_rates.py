"""Bounds on how often something is done, by a clock that stands until it is moved."""

from __future__ import annotations

from edge.rates import Rate, TurnRate


def test_no_more_than_the_burst_and_then_the_rate() -> None:
    """Ten at once; none is left then. Half a second at four a second brings two, and an hour no more than ten."""
    now_s = [0.0]
    rate = Rate(4.0, 10, lambda: now_s[0])
    assert [rate.take() for _ in range(11)] == [True] * 10 + [False]
    now_s[0] = 0.5
    assert rate.left == 2
    now_s[0] = 3600.0
    assert rate.left == 10


def test_what_is_owed_comes_back_first() -> None:
    """Six more than were left are owed: at four a second nothing is left for 1.5 s, and one after 1.75 s."""
    now_s = [0.0]
    rate = Rate(4.0, 10, lambda: now_s[0])
    rate.owe(16)
    assert rate.left <= 0
    now_s[0] = 1.5
    assert not rate.take()
    now_s[0] = 1.75
    assert rate.take()


def test_room_that_comes_back_within_a_turn_is_for_the_next_one() -> None:
    """A turn that used its room up has none left, however long it lasts: the next turn begins with the urgent ones."""
    now_s = [0.0]
    turns = TurnRate(Rate(4.0, 10, lambda: now_s[0]))
    assert turns.left == 0
    turns.begin()
    assert turns.left == 10
    turns.take(10)
    now_s[0] = 60.0
    assert turns.left == 0
    turns.begin()
    assert turns.left == 10
