"""The numbers that a sender tells of what was refused, dropped or sent again."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class SenderCounts:
    """The numbers of messages that were refused, dropped or sent again since the start.

    `answers_dropped` for want of room or time. `announcements_dropped`: not taken by the broker. `resent`: rows that a
    broker had taken before. `connections_lost`. `taken_over`: by another client with this line's id. `foreign`:
    messages of others on the line's own topics.
    """

    answers_dropped: int = 0
    announcements_dropped: int = 0
    resent: int = 0
    connections_lost: int = 0
    taken_over: int = 0
    foreign: int = 0


class Tally:
    """Counts up. One thread adds; any thread reads `counts`."""

    def __init__(self) -> None:
        self.counts = SenderCounts()

    def add(self, **by: int) -> None:
        """Add to the counts of these names."""
        self.counts = replace(self.counts, **{name: getattr(self.counts, name) + change for name, change in by.items()})
