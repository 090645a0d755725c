"""`cmd/reset-counters`: what was counted since the start begins at 0."""

from __future__ import annotations

from collections.abc import Collection

from edge.commands.requests import Command, CommandOutcome, ResetCounters
from edge.station.counts import LineCounts
from edge.wording import counted


class CounterResetter:
    """Sets the counts of a run to 0; the ledger of shifts goes on. `operators`: who may; empty = everybody."""

    def __init__(self, counts: LineCounts, operators: Collection[str]) -> None:
        self._counts = counts
        self._operators = operators

    def __call__(self, command: Command, now_ns: int) -> tuple[CommandOutcome, str]:
        """Obey the command, and say what the counts were."""
        del now_ns
        body = command.body
        assert isinstance(body, ResetCounters)  # noqa: S101 - the desk gives each its own
        if self._operators and body.user not in self._operators:
            return "not_authorised", f"{body.user!r} is not among the operators"
        counts = self._counts
        judged = counts.ok + counts.ng + counts.no_read
        told = f"{counted(judged, 'result')} had been counted: {counts.ok} OK, {counts.ng} NG, {counts.no_read} NO_READ"
        counts.reset()
        return "ok", told
