"""Challenge and bypass of one station: obeyed, noted in the journal, kept across restarts, and told as alarms."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from edge.commands import requests
from edge.commands.requests import Command, CommandOutcome
from edge.messages.writer import MessageWriter
from edge.outbox import Outbox
from edge.parts import bypass, challenge
from edge.parts.challenge import ChallengeSettings
from edge.parts.shifts import Shift, ShiftPlan
from edge.records import AlarmEvent, AlarmRecord, FrameResult
from edge.records.interventions import Noted, StationTroubles
from edge.records.parts import PartResult
from edge.station.alarm_service import AlarmService

_log = logging.getLogger(__name__)

BYPASS_RECORD, CHALLENGE_RECORD = "station/bypass", "station/challenge"
COMMANDS = ("challenge", "bypass")


class Interventions:
    """Challenges and bypasses of one station. The decider alone calls it, with the station's clock.

    `operators`: who may challenge and bypass; empty = everybody. `last_number`: of the part that was opened last, 0
    before the first; None where the station has no parts.
    """

    def __init__(
        self,
        settings: ChallengeSettings,
        plan: ShiftPlan,
        alarms: AlarmService,
        messages: MessageWriter,
        outbox: Outbox,
        *,
        operators: Sequence[str] = (),
        last_number: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._alarms = alarms
        self._messages = messages
        self._outbox = outbox
        self._operators = frozenset(operators)
        self._last_number = last_number
        self._challenges = challenge.Challenges()
        self._bypasses = bypass.Bypasses()
        self._shift: Shift | None = None
        self._began: datetime | None = None

    def begin(self, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Take up what a former run left, and return what it does to the alarms. Call it after the alarms' own begin.

        A record that cannot be read is as none, and the log and the journal say so.
        """
        moment = self._messages.moment(now_ns)
        self._began = moment.wall
        records = {record.alarm: record.body for record in self._outbox.alarm_records() if record.of_station}
        try:
            if body := records.get(BYPASS_RECORD):
                self._bypasses = bypass.recall(body, moment)
        except ValueError as error:
            self._unreadable("bypass", error)
        try:
            if body := records.get(CHALLENGE_RECORD):
                self._challenges, cut_off = challenge.recall(body)
                if cut_off:
                    self._keep(cut_off, CHALLENGE_RECORD, challenge.remember(self._challenges), changed=True)
        except ValueError as error:
            self._unreadable("challenge", error)
        return self.tick(now_ns)

    def obey(self, command: Command, now_ns: int) -> tuple[CommandOutcome, str]:
        """Obey `cmd/challenge` or `cmd/bypass`, and say what became of it."""
        body = command.body
        if not isinstance(body, requests.Challenge | requests.SetBypass):
            return "unknown_command", f"this line does not know {command.name}"
        if self._operators and body.user not in self._operators:
            return "not_authorised", f"{body.user!r} is not among the operators"
        outcome, detail = (
            self._challenge(body, now_ns) if isinstance(body, requests.Challenge) else self._bypass(body, now_ns)
        )
        self._look(now_ns)
        return outcome, detail

    def frame(self, result: FrameResult, now_ns: int) -> FrameResult:
        """Return a frame's result as it is told, before anything else is made of it: NO_READ in a bypass."""
        return bypass.mark_frame(self._bypasses, result, now_ns)

    def part(self, part: PartResult, now_ns: int) -> tuple[PartResult, bool, tuple[AlarmEvent, ...]]:
        """Return a part's result as it is told, whether it is a challenge's, and what it did to the alarms.

        A part of a challenge counts nowhere: not in counters, yield, the ledger of shifts, nor in alarms over parts.
        Call it within `outbox.together()`, with the part's message: what is missed is committed with the part.
        """
        part = bypass.mark_part(self._bypasses, part, now_ns)
        marked = self._step_challenge(part, now_ns).marked
        return part, marked, self._look(now_ns) if marked else ()

    def tick(self, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Let time pass: end what is over, take note of a new shift, and return what that does to the alarms."""
        wall = self._messages.moment(now_ns).wall
        if self._shift is None or not self._shift.begins <= wall < self._shift.ends:
            self._shift = self._plan.at(wall)
            since = max(self._shift.begins, self._began or wall)
            until_due = since + timedelta(seconds=self._settings.within_s) - wall
            due_ns = now_ns + until_due // timedelta(microseconds=1) * 1000
            self._step_challenge(challenge.ShiftBegan(self._plan.key(self._shift), due_ns), now_ns)
        self._step_bypass(None, now_ns)
        self._step_challenge(None, now_ns)
        return self._look(now_ns)

    def stop(self, now_ns: int) -> None:
        """Note that a challenge that runs ends with the station; a bypass goes on at the next start."""
        self._step_challenge(challenge.Stop(), now_ns)

    def bypassed(self, now_ns: int) -> str:
        """Say by whom and why inspection is out; or nothing."""
        one = bypass.active(self._bypasses, now_ns)
        return "" if one is None else bypass.reason_of(one)

    @property
    def challenged(self) -> bool:
        """True while a challenge runs."""
        return self._challenges.running is not None

    def _challenge(self, body: requests.Challenge, now_ns: int) -> tuple[CommandOutcome, str]:
        if body.action == "cancel":
            came = self._step_challenge(challenge.Cancel(body.user), now_ns)
            return came.outcome, came.detail
        if told := self.bypassed(now_ns):
            return "bypassed", f"{told}; put inspection back first"
        settings = self._settings
        parts, within_s = body.parts or settings.parts, body.within_s or settings.within_s
        begin = challenge.Begin(parts, within_s, body.user, body.comment, self._last_number())
        came = self._step_challenge(begin, now_ns)
        return came.outcome, came.detail

    def _bypass(self, body: requests.SetBypass, now_ns: int) -> tuple[CommandOutcome, str]:
        if body.action == "off":
            came = self._step_bypass(bypass.Off(body.user, body.reason), now_ns)
            return came.outcome, came.detail
        came = self._step_bypass(bypass.On((body.minutes or 0) * 60, body.user, body.reason), now_ns)
        if came.outcome == "ok":
            self._step_challenge(challenge.Cancel(body.user, bypassed=True), now_ns)
        return came.outcome, came.detail

    def _step_challenge(self, event: challenge.ChallengeEvent | None, now_ns: int) -> challenge.ChallengeStep:
        came = challenge.step(self._challenges, event, now_ns)
        before, self._challenges = self._challenges, came.state
        if before == came.state and not came.journal:
            return came
        kept = challenge.remember(came.state)
        self._keep(came.journal, CHALLENGE_RECORD, kept, changed=kept != challenge.remember(before))
        return came

    def _step_bypass(self, event: bypass.On | bypass.Off | None, now_ns: int) -> bypass.BypassStep:
        came = bypass.step(self._bypasses, event, now_ns)
        changed, self._bypasses = came.state.now != self._bypasses.now, came.state
        if changed or came.journal:
            body = bypass.remember(came.state, self._messages.moment(now_ns))
            self._keep(came.journal, BYPASS_RECORD, body, changed=changed)
        return came

    def _keep(self, noted: Sequence[Noted], record: str, body: str, *, changed: bool) -> None:
        """Commit what is noted and what must survive a restart, together."""
        journal = [
            self._messages.journal_entry(one.kind, user=one.user, comment=one.comment, detail=one.detail)
            for one in noted
        ]
        records = [AlarmRecord(record, body)] if changed else []
        if journal or records:
            self._outbox.put(None, alarms=records, journal=journal)

    def _look(self, now_ns: int) -> tuple[AlarmEvent, ...]:
        troubles = StationTroubles(
            bypassed=bypass.told(self._bypasses, self._messages.moment(now_ns)) or None,
            challenge_missed=self._challenges.missed or None,
            challenge_due=challenge.late(self._settings, self._challenges, now_ns) or None,
        )
        return self._alarms.look_at_station(troubles, now_ns)

    def _unreadable(self, what: str, error: ValueError) -> None:
        _log.warning("The record of the %s is begun anew: %s", what, error)
        entry = self._messages.journal_entry("unreadable", detail=f"{what}: {error}"[:500])
        self._outbox.put(None, journal=[entry])
