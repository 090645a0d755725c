"""The alarm manager against a model of its own, through restarts, reboots and clocks that jump.

The past is known from the journal alone. It is folded again by rules written down here. It must give each alarm's state
that the desk says. `LINEWATCH_ALARM_EXAMPLES` says how many runs of 50 steps are made.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge.alarms import AlarmManager, By, Condition, Moment, Shelving, recall, remember
from edge.records import AlarmEvent, CameraFault, DeliveryState
from tests.edge.alarms.making import NOON, S, occurrences, seen
from tests.edge.alarms.making import rule as alarm_rule

EXAMPLES = int(os.environ.get("LINEWATCH_ALARM_EXAMPLES", "300"))
STEPS = 50

RULES = {
    one.id: one
    for one in (
        alarm_rule(id="plain"),
        alarm_rule(id="slow", on_delay_ms=1500, off_delay_ms=2500, max_shelve_s=20),
        alarm_rule(id="latching", latch=True, re_alarm_ms=4000),
        alarm_rule(id="silent", needs_ack=False, frames={"at_least": 2, "of": 3}),
        alarm_rule(id="camera", measure="camera", camera=["lost", "blind"], max_shelve_s=60),
        alarm_rule(id="follower", raise_at=0.8, clear_below=0.6, suppressed_by=["latching"], latch=True),
        alarm_rule(id="queue", measure="queue_age_ms", raise_at=1000, clear_below=500, re_alarm_ms=9000),
        alarm_rule(id="flood", measure="raises", within_s=30, raise_at=6, clear_below=3, needs_ack=False),
    )
}
ALARMS = sorted(RULES)
OPERATORS = ("anna", "bert")


@dataclass
class Told:
    """One alarm as its journal tells it, and nothing else."""

    active: bool = False
    acked: bool = True
    latched: bool = False
    shelf: str = "unshelved"
    suppressed: bool = False
    occurrence: str | None = None
    raised_ids: list[str] = field(default_factory=list)

    def follow(self, event: AlarmEvent, *, latch: bool, needs_ack: bool) -> None:
        """Take one row of the journal; a row that cannot follow on the ones before it is a lost transition."""
        match event.transition:
            case "raised":
                assert not self.active, "raised twice"
                assert event.occurrence_id is not None
                assert event.occurrence_id not in self.raised_ids, "an occurrence has its id for itself"
                self.raised_ids.append(event.occurrence_id)
                self.active, self.latched, self.occurrence = True, False, event.occurrence_id
                self.acked = not needs_ack or self.suppressed  # nobody need see a suppressed one
            case "cleared":
                assert self.active, "cleared though it was not active"
                self.active, self.latched = False, latch
            case "acknowledged":
                assert not self.acked, "acknowledged twice"
                self.acked = True
            case "re_alarmed":
                assert self.active
                self.acked = not needs_ack
            case "reset":
                assert self.latched
                self.latched = False
            case "shelved":
                self.shelf = "one_shot" if "until it returns" in event.detail else "timed"
            case "unshelved":
                assert self.shelf != "unshelved"
                self.shelf = "unshelved"
            case "suppressed" | "unsuppressed":
                assert self.suppressed != (event.transition == "suppressed")
                self.suppressed = not self.suppressed
            case other:
                raise AssertionError(other)
        assert event.occurrence_id == self.occurrence

    @property
    def condition(self) -> Condition:
        """The state of the standard that this amounts to."""
        if self.active:
            return Condition.ACKNOWLEDGED if self.acked else Condition.ACTIVE
        if self.latched:
            return Condition.LATCHED_ACKNOWLEDGED if self.acked else Condition.LATCHED
        return Condition.NORMAL if self.acked else Condition.RETURNED


class AlarmMachine(RuleBasedStateMachine):
    """A line's alarms, its disk, its clocks, and people."""

    @initialize()
    def start(self) -> None:
        """Begin with an empty disk at noon."""
        self.now_ns, self.wall, self.boot = 100 * S, NOON, "boot-1"
        self.named = occurrences()
        self.disk: dict[str, str] = {}
        self.told = {name: Told() for name in ALARMS}
        self.journal: list[AlarmEvent] = []
        # for each shelf: how long it has truly lasted, and whether a reboot or a set clock made that unknowable
        self.shelved_s: dict[str, float] = {}
        self.doubtful: set[str] = set()
        self.desk = self._opened()

    def _opened(self) -> AlarmManager:
        desk = AlarmManager(list(RULES.values()), OPERATORS, self.named)
        for name, body in self.disk.items():
            kept = recall(RULES[name], body, self._moment())
            assert kept is not None
            desk.put_back(name, kept[0], in_flood=kept[1])
        self._write(desk, desk.begin(self.now_ns))
        return desk

    def _moment(self) -> Moment:
        return Moment(self.now_ns, self.wall, self.boot)

    def _write(self, desk: AlarmManager, events: tuple[AlarmEvent, ...]) -> None:
        """Commit as the keeper does: each transition, and how its alarm stands."""
        for event in events:
            self.journal.append(event)
            of = RULES[event.alarm]
            self.told[event.alarm].follow(event, latch=of.latch, needs_ack=of.needs_ack)
            if event.transition == "shelved":
                self.shelved_s.setdefault(event.alarm, 0.0)
            if event.transition == "unshelved":
                self.shelved_s.pop(event.alarm, None)
                self.doubtful.discard(event.alarm)
        for name in {event.alarm for event in events} | desk.changed():
            self.disk[name] = remember(desk.states[name], self._moment(), in_flood=desk.in_flood(name))

    def _pass(self, seconds: float) -> None:
        self.now_ns += round(seconds * S)
        self.wall += timedelta(seconds=seconds)
        for name in self.shelved_s:
            self.shelved_s[name] += seconds

    @rule(
        wait_s=st.floats(0, 3),
        coverage=st.sampled_from([0.0, 0.1, 0.4, 0.55, 0.7, 0.9, None]),
        fault=st.none() | st.sampled_from(CameraFault),
    )
    def frame(self, wait_s: float, coverage: float | None, fault: CameraFault | None) -> None:
        """Give it a frame, good, bad or unreadable."""
        self._pass(wait_s)
        before = {name: state.suppressed_by for name, state in self.desk.states.items()}
        events = self.desk.look_at(seen(coverage, fault), self.now_ns)
        self._write(self.desk, events)
        if coverage is None or fault is not None:
            for name in ("plain", "slow", "latching", "silent", "follower"):
                assert not [e for e in events if e.alarm == name and e.transition in {"raised", "cleared"}], (
                    "what was not seen moves nothing"
                )
        for event in events:
            if event.transition == "raised" and self.desk.states[event.alarm].suppressed_by:
                assert not event.shown, before  # told of, and not shown

    @rule(wait_s=st.sampled_from([0.1, 1.0, 10.0, 30.0, 3600.0]), queue_s=st.sampled_from([0.0, 0.7, 2.0]))
    def time_passes(self, wait_s: float, queue_s: float) -> None:
        """No frame comes for a while."""
        self._pass(wait_s)
        self._write(self.desk, self.desk.tick(DeliveryState(oldest_s=queue_s), self.now_ns))

    @rule(alarm=st.sampled_from(ALARMS), user=st.sampled_from([*OPERATORS, "mallory"]), data=st.data())
    def acknowledge(self, alarm: str, user: str, data: Any) -> None:
        """Somebody acknowledges an occurrence: the present one, an old one, or one that never was."""
        told = self.told[alarm]
        occurrence = data.draw(st.sampled_from([*told.raised_ids[-3:], "never"]))
        before = self.desk.states[alarm]
        outcome, _, events = self.desk.acknowledge(occurrence, By(user, "", self.now_ns))
        expected = "ok"
        if user not in OPERATORS:
            expected = "not_authorised"
        elif occurrence != told.occurrence:
            expected = "unknown_occurrence"
        elif told.acked:
            expected = "already_acked"
        assert outcome == expected
        self._write(self.desk, events)
        assert (self.desk.states[alarm].condition is before.condition) == (expected != "ok")
        if expected == "ok":
            assert self.desk.acknowledge(occurrence, By(user, "", self.now_ns))[0] == "already_acked"

    @rule(alarm=st.sampled_from(["latching", "follower", "plain"]), old=st.booleans())
    def reset(self, alarm: str, old: bool) -> None:
        """Somebody resets a latched alarm, or one that is not."""
        told = self.told[alarm]
        occurrence = "never" if old else told.occurrence or "never"
        outcome, _, events = self.desk.reset(occurrence, By("anna", "", self.now_ns))
        if occurrence == "never":
            assert outcome == "unknown_occurrence"
        else:
            assert outcome == ("ok" if told.latched else "not_latched")
        self._write(self.desk, events)

    @rule(alarm=st.sampled_from(ALARMS), for_s=st.sampled_from([None, 1, 15, 20, 21, 60, 3600, 28_800, 30_000]))
    def shelve(self, alarm: str, for_s: int | None) -> None:
        """Somebody puts an alarm aside, for as long as it may be, or longer."""
        outcome, _, events = self.desk.shelve(alarm, for_s, By("bert", "", self.now_ns))
        if for_s is not None and for_s > RULES[alarm].max_shelve_s:
            assert outcome == "out_of_range"
        elif alarm not in self.shelved_s:
            assert outcome == "ok"
        self._write(self.desk, events)

    @rule(alarm=st.sampled_from(ALARMS))
    def unshelve(self, alarm: str) -> None:
        """Somebody takes an alarm back."""
        outcome, _, events = self.desk.unshelve(alarm, By("bert", "", self.now_ns))
        # asked at the very moment when a shelf ends, it ends by itself
        assert outcome in ({"ok", "not_shelved"} if alarm in self.shelved_s else {"not_shelved"})
        self._write(self.desk, events)
        assert self.told[alarm].shelf == "unshelved"

    @rule(wait_s=st.sampled_from([0.0, 0.5, 25.0, 7200.0]))
    def restart(self, wait_s: float) -> None:
        """Kill the process and start it again within the same boot."""
        self._pass(wait_s)
        self.desk = self._opened()

    @rule(wait_s=st.sampled_from([10.0, 90.0, 40_000.0]), to=st.sampled_from(["right", "hour back", "hour on", "1970"]))
    def reboot(self, wait_s: float, to: str) -> None:
        """Switch the device off for a while; its wall clock may be anything afterwards."""
        self._pass(wait_s)
        self.boot, self.now_ns = f"{self.boot}+", 5 * S
        self._set_clock(to)
        self.doubtful |= set(self.shelved_s)
        self.desk = self._opened()
        for name, state in self.desk.states.items():
            if state.shelf is not None:
                assert state.shelf.until_ns - self.now_ns <= RULES[name].max_shelve_s * S

    @rule(to=st.sampled_from(["right", "hour back", "hour on", "1970"]))
    def clock_steps(self, to: str) -> None:
        """Set the wall clock while the line runs; nothing may notice."""
        before = dict(self.desk.states)
        self._set_clock(to)
        self._write(self.desk, self.desk.look_at(seen(None), self.now_ns))
        for name, state in self.desk.states.items():
            shelf = before[name].shelf
            if before[name].shelving is Shelving.TIMED and shelf is not None and shelf.until_ns > self.now_ns:
                assert state.shelf == shelf

    def _set_clock(self, to: str) -> None:
        self.wall = {
            "right": NOON + timedelta(hours=1),
            "hour back": self.wall - timedelta(hours=1),
            "hour on": self.wall + timedelta(hours=1),
            "1970": datetime(1970, 1, 1, tzinfo=NOON.tzinfo),
        }[to]

    @precondition(lambda self: hasattr(self, "desk"))
    @invariant()
    def the_journal_tells_all(self) -> None:
        """Folded again, the journal gives the very states of the desk: no transition was lost, none invented."""
        for name, told in self.told.items():
            state = self.desk.states[name]
            assert state.condition is told.condition, name
            assert state.active == told.active
            assert state.occurrence_id == told.occurrence
            assert state.shelving.value == told.shelf
            assert bool(state.suppressed_by) == told.suppressed

    @precondition(lambda self: hasattr(self, "desk"))
    @invariant()
    def nothing_is_shelved_for_longer_than_it_may_be(self) -> None:
        """Count what a shelf has lasted and what is left; only a reboot may make it unknowable, never endless."""
        for name, lasted_s in self.shelved_s.items():
            state = self.desk.states[name]
            assert state.shelf is not None
            if self.now_ns < state.shelf.until_ns and name not in self.doubtful:
                assert lasted_s <= RULES[name].max_shelve_s + 1e-6
            left_s = (state.shelf.until_ns - self.now_ns) / S
            assert left_s <= RULES[name].max_shelve_s
            if name not in self.doubtful:  # its past and its rest, however often it was shelved anew
                assert lasted_s + left_s <= RULES[name].max_shelve_s + 1e-6

    @precondition(lambda self: hasattr(self, "desk"))
    @invariant()
    def what_is_put_aside_is_not_shown(self) -> None:
        """Show the operator what is not normal and not put aside, and nothing else."""
        for name in ALARMS:
            state = self.desk.states[name]
            if self.desk.shown(name):
                assert state.condition is not Condition.NORMAL
                assert not state.aside
            standing = self.desk.standing(name, self.now_ns)
            assert (standing is not None) == (
                state.condition is not Condition.NORMAL or state.shelving.value != "unshelved"
            )


TestAlarmMachine = AlarmMachine.TestCase
TestAlarmMachine.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck)
)
