"""The proof of docs/proof.md, as much of it as half a minute allows; the seed is printed where it fails."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.proof.kills import Count, Faults, survive


def test_no_committed_event_is_lost_to_kills_of_line_broker_and_network(tmp_path: Path) -> None:
    """A line killed three times, its broker once, its network twice: what was committed arrives, and nothing else."""
    seed = random.SystemRandom().randrange(10**6)
    told: list[str] = []
    count, summary = survive(
        tmp_path, Faults(lines=3, brokers=1, network=2, events=300), seed, asks=True, say=told.append
    )
    assert count.events >= 300
    assert count.good, f"seed {seed}: {count}; {summary}; {told}"


def test_the_judge_finds_each_kind_of_failure() -> None:
    """One lost, uncommitted, doubled or disordered event, one wrong alarm state, or a damaged file, is a failure."""
    assert Count(9, 1, 0, 0, 0, 0, 0, intact=True).good
    for place in range(5):
        wrong = [int(place == index) for index in range(5)]
        assert not Count(9, 1, *wrong, intact=True).good
    assert not Count(9, 1, 0, 0, 0, 0, 0, intact=False).good
