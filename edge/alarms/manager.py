"""Every alarm of a line: which suppresses which, what is a flood, what chatters, and what survives a restart.

Still pure but for its own memory: time, and what names an occurrence, are arguments.
`edge/station/alarm_service.py` writes down what is decided here.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter

from edge.alarms.conditions import (
    concerns,
    delivery_measure_of,
    delivery_why_of,
    measure_of,
    measure_of_part,
    measure_of_trigger,
    station_measure_of,
    station_why_of,
    why_of,
)
from edge.alarms.model import (
    AlarmState,
    By,
    Obeyed,
    acknowledge,
    end,
    pass_time,
    reset,
    serve,
    shelve,
    step,
    suppress,
    unshelve,
)
from edge.alarms.rules import FLOOD_WITHIN_S, OF_DELIVERY, OF_LINE, OF_PARTS, AlarmRule, suppressors
from edge.alarms.states import Condition, Service, Shelving
from edge.records import AlarmEvent, AlarmOutcome, AlarmStanding, DeliveryState, FrameResult, StandingShelf
from edge.records.interventions import StationTroubles
from edge.records.parts import PartResult, TriggerTrouble

CHATTERING_RAISES = 3  # within CHATTERING_WITHIN_NS, after the usual alarm management practice
CHATTERING_WITHIN_NS = 60_000_000_000
WHY_CHARACTERS = 500
# A flood of more raisings is counted no further.
_RAISES_AT_MOST = 2_000
# The flood alarm's count is told anew at most this often.
_MEMBERS_EVERY_NS = 1_000_000_000

Decision = tuple[AlarmOutcome, str, tuple[AlarmEvent, ...]]


class AlarmManager:
    """Every alarm of a line with its state.

    `rules` come in any order; those that suppress others are looked at before them. `operators`: who may acknowledge,
    shelve, unshelve and reset; empty = everybody.
    """

    def __init__(
        self,
        rules: Sequence[AlarmRule],
        operators: Sequence[str] = (),
        new_occurrence: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._suppressed_by = {rule.id: suppressors(rule, rules) for rule in rules}
        by_id = {rule.id: rule for rule in rules}
        known = {name: [other for other in by if other in by_id] for name, by in self._suppressed_by.items()}
        self._rules = {name: by_id[name] for name in TopologicalSorter(known).static_order()}
        self.rules = tuple(rules)
        self.states: dict[str, AlarmState] = {name: AlarmState() for name in self._rules}
        self.chattered = 0
        # the reason of each alarm that stands, as last seen; none where nothing gives one
        self.why: dict[str, str] = {}
        self._operators = frozenset(operators)
        self._new_occurrence = new_occurrence
        self._raised_ns: dict[str, deque[int]] = {name: deque(maxlen=100) for name in self._rules}
        self._chattering: set[str] = set()
        self._flooding_ns: deque[int] = deque(maxlen=_RAISES_AT_MOST)
        self._longest_flood_ns = max((_window_ns(rule) for rule in rules if rule.measure == "raises"), default=0)
        self._flooded: set[str] = set()
        self._members = 0
        self._members_told = (0, 0)
        self._changed: set[str] = set()

    def look_at(self, result: FrameResult | PartResult | TriggerTrouble, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Step the alarms that a frame, a part or a trigger's fault concerns; return the transitions, in order."""
        events: list[AlarmEvent] = []
        for rule in self._rules.values():
            known = concerns(rule, result)
            value = _value_of(rule, result) if known else None
            self._look(rule, value, now_ns, events, known=known, why=why_of(rule, result) if known else "")
        self._look_at_floods(now_ns, events)
        return tuple(events)

    def tick(self, delivery: DeliveryState, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Step the alarms that are not about frames, and end what time ends; return the transitions, in order."""
        events: list[AlarmEvent] = []
        for rule in self._rules.values():
            about_delivery = rule.measure in OF_DELIVERY
            value = delivery_measure_of(rule, delivery) if about_delivery else None
            why = delivery_why_of(rule, delivery) if about_delivery else ""
            self._look(rule, value, now_ns, events, known=about_delivery, why=why)
        self._look_at_floods(now_ns, events)
        return tuple(events)

    def look_at_station(self, troubles: StationTroubles, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Step the alarms that are about the inspection itself, and return the transitions, in order."""
        events: list[AlarmEvent] = []
        for rule in self._rules.values():
            known = rule.measure == "station"
            value = station_measure_of(rule, troubles) if known else None
            why = station_why_of(rule, troubles) if known else ""
            self._look(rule, value, now_ns, events, known=known, why=why)
        self._look_at_floods(now_ns, events)
        return tuple(events)

    def begin(self, now_ns: int) -> tuple[AlarmEvent, ...]:
        """Take alarms out of service, and back, as the rules now say, and end shelves whose time is over."""
        events: list[AlarmEvent] = []
        for rule in self._rules.values():
            self._take(rule, *serve(rule, self.states[rule.id], now_ns), events)
            self._look(rule, None, now_ns, events, known=False)
        return tuple(events)

    def _look(
        self,
        rule: AlarmRule,
        value: float | None,
        now_ns: int,
        events: list[AlarmEvent],
        *,
        known: bool,
        why: str = "",
    ) -> None:
        state, others = self.states[rule.id], self._suppressed_by[rule.id]
        by = tuple(name for name in others if self._suppresses(name)) if others else ()
        if not known and not state.active and state.shelf is None and by == state.suppressed_by:
            self._note_chattering(rule.id, now_ns)  # nearly always: nothing is told, and no time runs
            return
        # an alarm over together with its cause stays suppressed to its end
        suppressed_first = bool(by) or not self.states[rule.id].active
        if suppressed_first:
            self._take(rule, *suppress(rule, self.states[rule.id], by, now_ns), events)
        self._take(rule, *pass_time(rule, self.states[rule.id], now_ns), events)
        if known:
            state, happened = step(rule, self.states[rule.id], value, now_ns, self._new_occurrence)
            self._take(rule, state, tuple(_because(event, why) for event in happened), events)
            self._note_why(rule.id, why)
        if not suppressed_first:
            self._take(rule, *suppress(rule, self.states[rule.id], by, now_ns), events)
        self._note_chattering(rule.id, now_ns)

    def _note_why(self, alarm: str, why: str) -> None:
        if not self.states[alarm].active:
            self.why.pop(alarm, None)
        elif why:
            self.why[alarm] = why

    def _suppresses(self, name: str) -> bool:
        """Tell whether an alarm suppresses others: it stands, and the operator sees it. One put aside hides none."""
        state = self.states.get(name)
        return state is not None and state.active and not self._put_aside_by_people(state)

    @staticmethod
    def _put_aside_by_people(state: AlarmState) -> bool:
        return state.shelving is not Shelving.UNSHELVED or state.service is Service.OUT_OF_SERVICE

    def _take(
        self, rule: AlarmRule, state: AlarmState, happened: tuple[AlarmEvent, ...], events: list[AlarmEvent]
    ) -> None:
        """Keep a state and note its events, as members of a flood where there is one."""
        if not happened:  # nearly always
            self.states[rule.id] = state
            return
        was_shown = self.shown(rule.id)
        self.states[rule.id] = state
        for event in happened:
            in_flood = False
            if event.transition == "raised":
                self._raised_ns[rule.id].append(event.at_ns)
                self._note_chattering(rule.id, event.at_ns)
                in_flood = event.shown and self._of_a_flood(rule, event.at_ns, events)
                if in_flood and not was_shown:
                    self._flooded.add(rule.id)
            if state.condition is Condition.NORMAL:
                self._flooded.discard(rule.id)
            events.append(replace(event, shown=self.shown(rule.id) and not in_flood))

    def _of_a_flood(self, rule: AlarmRule, now_ns: int, events: list[AlarmEvent]) -> bool:
        """Count a raising and tell whether the flood alarm stands for it, which is raised first if need be."""
        if rule.measure == "raises":
            return False
        self._flooding_ns.append(now_ns)
        self._look_at_floods(now_ns, events)
        about_line = rule.measure in OF_LINE and rule.id not in self._chattering
        if about_line or not self.flooded:
            return False
        self._members += 1
        return True

    @property
    def flooded(self) -> bool:
        """True while a flood of alarms is shown as one."""
        return any(
            rule.measure == "raises" and self.states[name].active and not self._put_aside_by_people(self.states[name])
            for name, rule in self._rules.items()
        )

    def _look_at_floods(self, now_ns: int, events: list[AlarmEvent]) -> None:
        """Step the alarms about alarms, and show what a flood hid once it is over."""
        while self._flooding_ns and self._flooding_ns[0] <= now_ns - self._longest_flood_ns:
            self._flooding_ns.popleft()
        for rule in self._rules.values():
            if rule.measure == "raises":
                window_ns = _window_ns(rule)
                raises = len(self._flooding_ns)
                if window_ns != self._longest_flood_ns:
                    raises = sum(at_ns > now_ns - window_ns for at_ns in self._flooding_ns)
                state, happened = step(rule, self.states[rule.id], float(raises), now_ns, self._new_occurrence)
                if any(event.transition == "raised" for event in happened):
                    self._members = 0
                self._take(rule, state, happened, events)
        if not self.flooded and self._flooded:
            self._changed |= self._flooded
            self._flooded.clear()
        told, told_ns = self._members_told
        if self._members != told and now_ns - told_ns >= _MEMBERS_EVERY_NS:
            self._members_told = (self._members, now_ns)
            self._changed |= {name for name, rule in self._rules.items() if rule.measure == "raises"}

    def _note_chattering(self, name: str, now_ns: int) -> None:
        raised_ns = self._raised_ns[name]
        while raised_ns and raised_ns[0] <= now_ns - CHATTERING_WITHIN_NS:
            raised_ns.popleft()
        chattering = len(raised_ns) >= CHATTERING_RAISES
        if chattering != (name in self._chattering):
            self._changed.add(name)
            self.chattered += chattering
            (self._chattering.add if chattering else self._chattering.discard)(name)

    def acknowledge(self, occurrence_id: str, by: By) -> Decision:
        """Acknowledge the occurrence that this id names."""
        return self._of_occurrence(occurrence_id, by, acknowledge)

    def reset(self, occurrence_id: str, by: By) -> Decision:
        """Reset the latched alarm whose occurrence this id names."""
        return self._of_occurrence(occurrence_id, by, reset)

    def shelve(self, alarm: str, duration_s: float | None, by: By) -> Decision:
        """Put an alarm aside for a time, or with None until it returns to normal."""
        return self._obey(alarm, by, lambda rule, state: shelve(rule, state, duration_s, by))

    def unshelve(self, alarm: str, by: By) -> Decision:
        """Take an alarm back from its shelf."""
        return self._obey(alarm, by, lambda rule, state: unshelve(rule, state, by))

    def _of_occurrence(
        self, occurrence_id: str, by: By, act: Callable[[AlarmRule, AlarmState, str, By], Obeyed]
    ) -> Decision:
        of = next((name for name, state in self.states.items() if state.occurrence_id == occurrence_id), None)
        if of is None and self._may(by):
            return "unknown_occurrence", "no alarm is in an occurrence of this id", ()
        return self._obey(of or "", by, lambda rule, state: act(rule, state, occurrence_id, by))

    def _may(self, by: By) -> bool:
        return not self._operators or by.user in self._operators

    def _obey(self, alarm: str, by: By, act: Callable[[AlarmRule, AlarmState], Obeyed]) -> Decision:
        if not self._may(by):
            return "not_authorised", f"{by.user!r} is not among the operators", ()
        rule = self._rules.get(alarm)
        if rule is None:
            return "unknown_alarm", f"expected one of {', '.join(self._rules)}, received {alarm!r}", ()
        events: list[AlarmEvent] = []
        # a shelf whose time is over is over, whoever asks first
        self._take(rule, *pass_time(rule, self.states[alarm], by.at_ns), events)
        state, outcome, detail, happened = act(rule, self.states[alarm])
        self._take(rule, state, happened, events)
        return outcome, detail, tuple(events)

    def shown(self, alarm: str) -> bool:
        """Tell whether an operator is to see this alarm: something is to be seen, and nothing hides it."""
        state = self.states[alarm]
        return state.condition is not Condition.NORMAL and not state.aside and alarm not in self._flooded

    def standing(self, alarm: str, now_ns: int) -> AlarmStanding | None:
        """Tell how an alarm stands; None for one that is normal, and neither shelved nor out of service."""
        rule, state = self._rules[alarm], self.states[alarm]
        if state.condition is Condition.NORMAL and not self._put_aside_by_people(state):
            return None
        shelf = state.shelf
        return AlarmStanding(
            alarm=alarm,
            state=state.condition.value,
            occurrence_id=state.occurrence_id,
            priority=rule.priority,
            at_ns=state.since_ns,
            value=state.value,
            limit=state.limit,
            text=rule.text,
            user=state.user,
            comment=state.comment,
            shown=self.shown(alarm),
            shelf=None
            if shelf is None
            else StandingShelf(
                "one_shot" if state.shelving is Shelving.ONE_SHOT else "timed",
                max(0, shelf.until_ns - now_ns),
                shelf.user,
                shelf.comment,
            ),
            suppressed_by=state.suppressed_by,
            out_of_service=state.service is Service.OUT_OF_SERVICE,
            chattering=alarm in self._chattering,
            raises_last_minute=len(self._raised_ns[alarm]),
            members=self._members if rule.measure == "raises" else None,
        )

    def changed(self) -> set[str]:
        """Return the alarms that stand otherwise than was told, though no transition says so; once."""
        changed, self._changed = self._changed, set()
        return changed

    @property
    def active(self) -> list[str]:
        """The ids of the alarms whose cause stands."""
        return [rule.id for rule in self.rules if self.states[rule.id].active]

    @property
    def shown_alarms(self) -> list[str]:
        """The ids of the alarms that an operator is to see."""
        return [rule.id for rule in self.rules if self.shown(rule.id)]

    def end_surfaces(self, now_ns: int, why: str) -> tuple[AlarmEvent, ...]:
        """Let go of every alarm about surfaces and parts, since what they were about is inspected no longer."""
        events: list[AlarmEvent] = []
        for rule in self._rules.values():
            if rule.measure not in OF_PARTS:
                continue
            state, happened = end(rule, self.states[rule.id], now_ns)
            self._take(rule, state, tuple(replace(event, detail=why) for event in happened), events)
        return tuple(events)

    def put_back(self, alarm: str, state: AlarmState, *, in_flood: bool) -> None:
        """Take up an alarm as a former run of the line left it."""
        self.states[alarm] = state
        if in_flood:
            self._flooded.add(alarm)

    def in_flood(self, alarm: str) -> bool:
        """Tell whether a flood hides this alarm."""
        return alarm in self._flooded


def _because(event: AlarmEvent, why: str) -> AlarmEvent:
    """Say with a raising why."""
    return replace(event, detail=why[:WHY_CHARACTERS]) if why and event.transition == "raised" else event


def _value_of(rule: AlarmRule, result: FrameResult | PartResult | TriggerTrouble) -> float | None:
    if isinstance(result, FrameResult):
        return measure_of(rule, result)
    if rule.measure == "trigger" or isinstance(result, TriggerTrouble):
        return measure_of_trigger(result)
    return measure_of_part(rule, result)


def _window_ns(rule: AlarmRule) -> int:
    return (FLOOD_WITHIN_S if rule.within_s is None else rule.within_s) * 1_000_000_000
