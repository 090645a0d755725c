"""Writes down what the alarm manager decides: message, retained state, journal and record of an alarm, in one commit.

It also obeys commands about alarms, and the journal notes what became of each. A line that starts again puts everything
as it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from edge.alarms import AlarmManager, AlarmRule, By, Decision, recall, remember
from edge.alarms.manager import WHY_CHARACTERS
from edge.commands.requests import Acknowledge, Command, CommandOutcome, Reset, Shelve, Unshelve
from edge.messages.writer import InForce, MessageWriter
from edge.outbox import Outbox
from edge.records import AlarmEvent, AlarmRecord, DeliveryState, FrameResult, JournalEntry, Message
from edge.records.interventions import StationTroubles
from edge.records.outputs import MachineTroubles
from edge.records.parts import PartResult, TriggerTrouble
from edge.repeats import likeness
from edge.station.refusals import WITHIN_NS, Refusals

_log = logging.getLogger(__name__)

_REASONS_AT_MOST = 10
# These answers are no refusal, and are noted each time.
_OBEYED = frozenset({"ok", "already_acked", "some_missing"})
# A record of an alarm that is no more.
_FORGOTTEN = "null"


class AlarmService:
    """The alarms of one line, on disk and at the broker as the alarm manager has them."""

    def __init__(self, manager: AlarmManager, messages: MessageWriter, outbox: Outbox) -> None:
        self.manager = manager
        self._messages = messages
        self._outbox = outbox
        self._refusals = Refusals()
        self._troubles = StationTroubles()
        # of each alarm that stands: its occurrence, and what was told of why
        self._reasons: dict[str, tuple[str | None, set[str]]] = {}

    def begin(self, now_ns: int, *, live: bool = True) -> None:
        """Take up each alarm as a former run left it, and tell the broker how each stands.

        An alarm that the settings no longer have is forgotten, and its retained state emptied. A record that cannot be
        read is as none, and the log and the journal say so. A recording, which is not `live`, has no former run, and
        tells of transitions only.
        """
        if live:
            self._take_up(now_ns)
        self._write(self.manager.begin(now_ns), now_ns)

    def _take_up(self, now_ns: int) -> None:
        rules = {rule.id: rule for rule in self.manager.rules}
        moment = self._messages.moment(now_ns)
        states: list[Message] = []
        records: list[AlarmRecord] = []
        journal: list[JournalEntry] = []
        for record in self._outbox.alarm_records():
            if record.of_station:
                continue
            rule = rules.get(record.alarm)
            if rule is None:
                if record.body != _FORGOTTEN:
                    states.append(self._messages.alarm_state(record.alarm, None, None))
                    records.append(AlarmRecord(record.alarm, _FORGOTTEN))
                    told = "the settings have no such alarm any more"
                    journal.append(self._messages.journal_entry("forgotten", alarm=record.alarm, detail=told))
                continue
            try:
                kept = recall(rule, record.body, moment)
            except ValueError as error:
                _log.warning("The state of the alarm %s is begun anew: %s", record.alarm, error)
                journal.append(self._messages.journal_entry("unreadable", alarm=record.alarm, detail=str(error)[:500]))
                continue
            if kept is not None:
                state, in_flood = kept
                self.manager.put_back(record.alarm, state, in_flood=in_flood)
        states += [self._state(rule, now_ns) for rule in self.manager.rules]
        self._outbox.put(None, *states, alarms=records, journal=journal)

    def look_at(self, inspection: FrameResult | PartResult | TriggerTrouble, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Step the alarms that a result concerns; the transitions are in the outbox when this returns."""
        events = self.manager.look_at(inspection, now_ns)
        by = None if isinstance(inspection, TriggerTrouble) else self._messages.judged_by(inspection)
        self._write(events, now_ns, by)
        self._write_reasons()
        self.note_refusals(now_ns)
        return events

    def recipe_changed(self, now_ns: int, why: str = "recipe changed") -> tuple[AlarmEvent, ...]:
        """End the alarms about surfaces: they were about parts of another recipe, or judged by another model."""
        events = self.manager.end_surfaces(now_ns, why)
        self._write(events, now_ns)
        return events

    def tick(self, delivery: DeliveryState, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Step the alarms about the line itself, and end what time ends."""
        events = self.manager.tick(delivery, now_ns)
        self._write(events, now_ns)
        self._write_reasons()
        return events

    def look_at_station(self, troubles: StationTroubles, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Step the alarms about the inspection itself; the transitions are in the outbox when this returns."""
        own = self._troubles
        self._troubles = replace(
            troubles,
            recipe_failed=own.recipe_failed,
            reload_failed=own.reload_failed,
            evidence_unkept=own.evidence_unkept,
            model_drift=own.model_drift,
            output_lost=own.output_lost,
            output_late=own.output_late,
        )
        return self._look_at_station(now_ns)

    def recipe_failed(self, why: str | None, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Raise the alarm that a recipe could not be loaded, or end it where `why` is None."""
        if why is None and self._troubles.recipe_failed is None:
            return ()
        self._troubles = replace(self._troubles, recipe_failed=why)
        return self._look_at_station(now_ns)

    def evidence_unkept(self, why: str | None, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Raise the alarm that pictures of results could not be kept, or end it where `why` is None."""
        if why == self._troubles.evidence_unkept:
            return ()
        self._troubles = replace(self._troubles, evidence_unkept=why)
        return self._look_at_station(now_ns)

    def model_drift(self, why: str | None, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Raise the alarm that passed parts look other than those that were taught, or end it where `why` is None."""
        if why == self._troubles.model_drift:
            return ()
        self._troubles = replace(self._troubles, model_drift=why)
        return self._look_at_station(now_ns)

    def reload_failed(self, why: str | None, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Raise the alarm that the station went back to its former models, or end it where `why` is None."""
        if why is None and self._troubles.reload_failed is None:
            return ()
        self._troubles = replace(self._troubles, reload_failed=why)
        return self._look_at_station(now_ns)

    def look_at_machine(self, troubles: MachineTroubles, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Raise or end the alarms about signals to the machine."""
        if (troubles.lost, troubles.late) == (self._troubles.output_lost, self._troubles.output_late):
            return ()
        self._troubles = replace(self._troubles, output_lost=troubles.lost, output_late=troubles.late)
        return self._look_at_station(now_ns)

    def _look_at_station(self, now_ns: int) -> tuple[AlarmEvent, ...]:
        events = self.manager.look_at_station(self._troubles, now_ns)
        self._write(events, now_ns)
        self._write_reasons()
        return events

    def _write_reasons(self) -> None:
        """Note in the journal when an alarm stands for another reason than it was raised for.

        A camera that is looked for is silent first, and only later known to refuse us. The same words with other
        numbers are no other reason; an occurrence has at most _REASONS_AT_MOST of them.
        """
        for alarm, why in self.manager.why.items():
            occurrence_id = self.manager.states[alarm].occurrence_id
            known_of, known = self._reasons.get(alarm, (None, set()))
            if known_of != occurrence_id:
                self._reasons[alarm] = (occurrence_id, {likeness(why)})
            elif likeness(why) not in known and len(known) < _REASONS_AT_MOST:
                known.add(likeness(why))
                told = why[:WHY_CHARACTERS]
                entry = self._messages.journal_entry("reason", alarm=alarm, occurrence_id=occurrence_id, detail=told)
                self._outbox.put(None, journal=[entry])

    def obey(self, command: Command, now_ns: int) -> tuple[CommandOutcome, str] | None:
        """Obey a command about alarms; None where it is about something else."""
        body = command.body
        decision: Decision
        if isinstance(body, Acknowledge):
            decision = self.manager.acknowledge(body.occurrence_id, By(body.user, body.comment, now_ns))
        elif isinstance(body, Reset):
            decision = self.manager.reset(body.occurrence_id, By(body.user, body.comment, now_ns))
        elif isinstance(body, Shelve):
            decision = self.manager.shelve(body.alarm, body.duration_s, By(body.user, body.comment, now_ns))
        elif isinstance(body, Unshelve):
            decision = self.manager.unshelve(body.alarm, By(body.user, body.comment, now_ns))
        else:
            return None
        outcome, detail, events = decision
        self._write(events, now_ns)
        return outcome, detail

    def audit(self, command: Command, outcome: CommandOutcome, detail: str) -> None:
        """Note in the journal that a command came, by which way, of whom, and what became of it.

        Of a flood of refusals the first are noted, and then how many more there were.
        """
        if outcome not in _OBEYED:
            now_ns = time.monotonic_ns()
            self.note_refusals(now_ns)
            if not self._refusals.told((command.source, outcome), now_ns):
                return
        body = command.body
        told = f"{command.name} by {command.source}: {outcome}" + (f": {detail}" if detail else "")
        if command.unanswered:
            told = f"{told[:300]}; {command.unanswered}"
        entry = self._messages.journal_entry(
            "command",
            alarm=getattr(body, "alarm", ""),
            occurrence_id=getattr(body, "occurrence_id", None),
            user=getattr(body, "user", ""),
            comment=getattr(body, "comment", ""),
            detail=told[:500],
            account=command.account,
        )
        self._outbox.put(None, journal=[entry])

    def note_refusals(self, now_ns: int, *, all_of_it: bool = False) -> None:
        """Note in the journal how many refusals were not noted one by one, where their time is over."""
        entries = [
            self._messages.journal_entry(
                "command", detail=f"{count} more by {source} within {WITHIN_NS // 1_000_000_000} s: {outcome}"
            )
            for (source, outcome), count in self._refusals.due(now_ns, all_of_it=all_of_it)
        ]
        if entries:
            self._outbox.put(None, journal=entries)

    def _write(self, events: Sequence[AlarmEvent], now_ns: int, by: InForce | None = None) -> None:
        for event in events:
            seq = self._outbox.reserve()
            self._outbox.put(
                seq,
                self._messages.alarm(event, seq, by),
                self._state_of(event.alarm, now_ns, seq, by),
                alarms=[self._record(event.alarm, now_ns)],
                journal=[self._entry(event)],
            )
        for alarm in sorted(self.manager.changed()):
            self._outbox.put(None, self._state_of(alarm, now_ns, None), alarms=[self._record(alarm, now_ns)])

    def _state(self, rule: AlarmRule, now_ns: int) -> Message:
        return self._state_of(rule.id, now_ns, None)

    def _state_of(self, alarm: str, now_ns: int, seq: int | None, by: InForce | None = None) -> Message:
        return self._messages.alarm_state(alarm, self.manager.standing(alarm, now_ns), seq, by)

    def _record(self, alarm: str, now_ns: int) -> AlarmRecord:
        state, in_flood = self.manager.states[alarm], self.manager.in_flood(alarm)
        return AlarmRecord(alarm, remember(state, self._messages.moment(now_ns), in_flood=in_flood))

    def _entry(self, event: AlarmEvent) -> JournalEntry:
        told = [event.detail] if event.detail else []
        if event.value is not None and event.limit is not None:
            told.append(f"{event.value:g} against {event.limit:g}")
        if not event.shown and event.state != "normal":
            told.append("not shown")
        return self._messages.journal_entry(
            event.transition,
            alarm=event.alarm,
            occurrence_id=event.occurrence_id,
            user=event.user or "",
            comment=event.comment or "",
            detail="; ".join(told),
        )
