"""`cmd/hand-test`: one output is switched by hand for some seconds, only while the line stands or is bypassed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Literal

from edge.commands.requests import Command, CommandOutcome, SwitchByHand
from edge.outputs.by_hand import Barred, HandTest, HandTestEnds, barred, level_of
from edge.outputs.scheduler import OutputScheduler
from edge.outputs.settings import OutputRule
from edge.station.machine_inputs import MachineInputs

Refused = Literal["line_runs", "machine_lost", "safe_levels"]
_WHY: Mapping[Refused | Barred, str] = {
    "line_runs": "the line runs, and inspection is not bypassed; stop the line, or take inspection out first",
    "machine_lost": "the machine is not reached",
    "safe_levels": "the signals are at their safe levels",
    "says_ok": "it would tell the machine OK of a part that nobody judged; end the station and use the shell",
    "beats_itself": "it changes by itself, as long as the station lives",
}


class HandTests:
    """Switches outputs by hand. The decider's thread alone calls it, but for `refused`, which any thread may ask.

    `operators`: who may; empty = everybody. `bypassed` says by whom inspection is out, or nothing.
    """

    def __init__(
        self,
        scheduler: OutputScheduler,
        inputs: MachineInputs,
        rules: Mapping[str, OutputRule],
        operators: Collection[str],
    ) -> None:
        self.bypassed: Callable[[], str] = lambda: ""
        self._scheduler = scheduler
        self._inputs = inputs
        self._rules = dict(rules)
        self._operators = frozenset(operators)
        self._open_parts = 0

    @property
    def refused(self) -> Refused | None:
        """Return why nothing can be switched by hand now; None where it can."""
        if self._scheduler.troubles.lost:
            return "machine_lost"
        if self._scheduler.safe and self._scheduler.hand_test is None:
            return "safe_levels"
        stands = self._inputs.line_stands and not self._open_parts
        return None if stands or self.bypassed() else "line_runs"

    def turn(self, open_parts: int) -> None:
        """End what is switched by hand where that may no longer be."""
        self._open_parts = open_parts
        if self._scheduler.hand_test is not None and self.refused is not None:
            self._scheduler.tell(HandTestEnds())

    def obey(self, command: Command, now_ns: int) -> tuple[CommandOutcome, str]:
        """Obey the command, and say at which level the signal is now."""
        del now_ns
        body = command.body
        assert isinstance(body, SwitchByHand)  # noqa: S101 - the desk gives each its own
        if self._operators and body.user not in self._operators:
            return "not_authorised", f"{body.user!r} is not among the operators"
        rule = self._rules.get(body.signal)
        if rule is None:
            return "unknown_signal", f"expected one of {', '.join(self._rules)}, received {body.signal!r}"[:500]
        if why := barred(rule):
            return "not_by_hand", f"{body.signal}: {_WHY[why]}"
        if (reason := self.refused) is not None:
            return ("line_runs" if reason == "line_runs" else "not_by_hand"), _WHY[reason]
        level, until_ns = level_of(rule), time.monotonic_ns() + round(body.seconds * 1e9)
        self._scheduler.tell(HandTest(body.signal, level, body.user, until_ns))
        shown = ("up" if level else "down") if isinstance(level, bool) else str(level)
        return "ok", f"{body.signal} ({rule.rule}, {rule.at}) is {shown} for {body.seconds:g} s"
