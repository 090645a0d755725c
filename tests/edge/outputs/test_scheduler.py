"""The thread that sets signals: pulses at their time, safe levels at each end, and a heartbeat while the loop moves."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.outputs.by_hand import HandTest, HandTestEnds
from edge.outputs.scheduler import OutputScheduler, RecipeChanged
from edge.outputs.simulated import SimulatedMachine
from edge.records import Verdict
from edge.records.outputs import PartSignal, StationSignal
from tests.brokers import wait_for
from tests.edge.outputs.test_rules import RULES

MS, TOLERANCE_MS = 1_000_000, 60_000


def scheduler(machine: SimulatedMachine, loop_ns: Callable[[], int | None] = time.monotonic_ns) -> OutputScheduler:
    """Return a scheduler whose loop moves, unless told otherwise; a busy machine may let it wait."""
    return OutputScheduler(machine, RULES, loop_ns, tolerance_ns=TOLERANCE_MS * MS)


def part_at(verdict: Verdict, opened_ns: int) -> PartSignal:
    """Return a part."""
    return PartSignal("p", verdict, opened_ns, opened_ns)


def test_the_bad_part_s_pulse_comes_once_and_ends() -> None:
    """100 ms after its opening the gate goes up, and goes down again. The bit was up before the counter rose."""
    with SimulatedMachine() as machine, scheduler(machine) as own:
        wait_for(lambda: own.safe == "")
        opened = time.monotonic_ns()
        own.tell(part_at(Verdict.NG, opened))
        wait_for(lambda: sum(one.signal == "gate" for one in machine.seen) == 3)
        down, up, end = [one for one in machine.seen if one.signal == "gate"]
        assert (down.level, up.level, end.level) == (False, True, False)
        assert up.at_ns >= opened + 100 * MS
        assert end.at_ns >= opened + 150 * MS
        order = [one.signal for one in machine.seen if one.signal in {"bad", "count"} and one.level]
        assert order == ["bad", "count"]
        assert own.counts.pulses == 1


def test_a_pulse_whose_time_is_over_is_dropped_counted_and_told() -> None:
    """A part that was decided long after it had passed the gate opens no gate for the part behind it."""
    with SimulatedMachine() as machine, scheduler(machine) as own:
        wait_for(lambda: own.safe == "")
        own.tell(part_at(Verdict.NG, time.monotonic_ns() - 2 * TOLERANCE_MS * MS))
        wait_for(lambda: own.counts.late == 1)
        assert not any(one.signal == "gate" and one.level for one in machine.seen)
        assert "a pulse of gate was dropped" in (own.troubles.late or "")


def test_a_link_that_is_too_slow_drops_the_pulse() -> None:
    """A pulse that would reach the machine too late is left out there, and told too."""
    with SimulatedMachine() as machine, scheduler(machine) as own:
        wait_for(lambda: own.safe == "")
        machine.slow_ns = 2 * TOLERANCE_MS * MS
        own.tell(part_at(Verdict.NG, time.monotonic_ns()))
        wait_for(lambda: own.counts.late == 1)
        assert not any(one.signal == "gate" and one.level for one in machine.seen)
        assert own.counts.pulses == 0


def test_a_standing_loop_stops_the_heart_and_makes_safe() -> None:
    """2 s after its last mark the levels are the safe ones, and no beat comes. All goes on once it moves again."""
    stands_at: list[int | None] = [None]

    def loop_ns() -> int:
        return time.monotonic_ns() if stands_at[0] is None else stands_at[0]

    with SimulatedMachine() as machine, scheduler(machine, loop_ns) as own:
        own.tell(StationSignal(ready=True))
        wait_for(lambda: machine.levels["ready"] is True)
        own.tell(part_at(Verdict.OK, 0))
        wait_for(lambda: machine.levels["good"] is True)
        stands_at[0] = time.monotonic_ns()
        wait_for(lambda: [machine.levels[name] for name in ("ready", "stop", "good")] == [False, True, False])
        safe_at = machine.seen[-1].at_ns
        beats = [one.at_ns for one in machine.seen if one.signal == "alive"]
        assert max(beats) - stands_at[0] <= 10_000 * MS  # eight seconds for a busy machine
        time.sleep(0.7)
        assert [one.at_ns for one in machine.seen if one.signal == "alive"] == beats
        assert safe_at - stands_at[0] >= 2_000 * MS
        stands_at[0] = None
        wait_for(lambda: machine.levels["ready"] is True)
        assert machine.levels["good"] is False  # that part has gone
        wait_for(lambda: sum(one.signal == "alive" for one in machine.seen) > len(beats))


def test_a_lost_link_is_told_and_comes_back_safe() -> None:
    """Pulses are dropped and told while the link is away. Afterwards the bits say nothing of a part that has gone."""
    with SimulatedMachine() as machine, scheduler(machine) as own:
        own.tell(StationSignal(ready=True))
        wait_for(lambda: machine.levels["ready"] is True)
        own.tell(part_at(Verdict.NG, time.monotonic_ns()))
        wait_for(lambda: machine.levels["bad"] is True)
        machine.cut()
        wait_for(lambda: own.troubles.lost is not None)
        own.tell(part_at(Verdict.NG, time.monotonic_ns()))
        wait_for(lambda: own.counts.crowded_out + own.counts.pulses == 2)
        assert own.counts.crowded_out >= 1  # a busy machine may have had time for the first pulse
        machine.join()
        wait_for(lambda: own.troubles.lost is None and machine.levels["ready"] is True)
        wait_for(lambda: machine.levels["count"] == 2)
        assert machine.levels["bad"] is False
        assert own.counts.losses == 1


def test_the_end_and_a_change_of_recipe_make_safe() -> None:
    """Nothing is left up that the safe levels say is down."""
    with SimulatedMachine() as machine:
        with scheduler(machine) as own:
            assert set(machine.levels) == set(RULES)
            own.tell(StationSignal(ready=True, alarms=frozenset({("a", "high")})))
            own.tell(part_at(Verdict.NG, time.monotonic_ns()))
            wait_for(lambda: machine.levels["bad"] is True and machine.levels["lamp"] is True)
            own.tell(RecipeChanged())
            wait_for(lambda: machine.levels["bad"] is False)
            own.tell(part_at(Verdict.NG, time.monotonic_ns()))
            wait_for(lambda: machine.levels["bad"] is True)
        assert [name for name, level in machine.levels.items() if level is True] == ["stop"]


def by_hand(seconds: float) -> HandTest:
    """Return a wish to switch the lamp."""
    return HandTest("lamp", True, "erik", time.monotonic_ns() + round(seconds * 1e9))


def test_what_is_switched_by_hand_goes_back_by_itself() -> None:
    """The lamp goes up and down again, and then the station's own levels are shown."""
    with SimulatedMachine() as machine, scheduler(machine) as own:
        own.tell(StationSignal(ready=True))
        wait_for(lambda: machine.levels["ready"] is True)
        own.tell(by_hand(0.3))
        wait_for(lambda: sum(one.signal == "ready" and one.level is True for one in machine.seen) == 2)
        seen = [(one.signal, one.level) for one in machine.seen if one.signal in {"lamp", "ready"}]
        assert seen[-4:] == [("ready", False), ("lamp", True), ("ready", True), ("lamp", False)] or seen[-4:] == [
            ("ready", False), ("lamp", True), ("lamp", False), ("ready", True)
        ]  # fmt: skip
        assert own.hand_test is None


def test_a_lost_machine_a_recipe_and_a_standing_loop_end_what_is_switched_by_hand() -> None:
    """None of them leaves the lamp up, long before its own time is over."""
    stands_at: list[int | None] = [None]

    def loop_ns() -> int:
        return time.monotonic_ns() if stands_at[0] is None else stands_at[0]

    with SimulatedMachine() as machine, scheduler(machine, loop_ns) as own:

        def switch() -> None:
            wait_for(lambda: own.safe == "")
            own.tell(by_hand(600))
            wait_for(lambda: machine.levels["lamp"] is True)

        switch()
        own.tell(HandTestEnds())
        wait_for(lambda: machine.levels["lamp"] is False)
        switch()
        own.tell(RecipeChanged())
        wait_for(lambda: machine.levels["lamp"] is False)
        switch()
        machine.cut()
        wait_for(lambda: own.troubles.lost is not None and own.levels["lamp"] is False)
        machine.join()
        switch()
        stands_at[0] = 1
        wait_for(lambda: machine.levels["lamp"] is False)
        assert own.hand_test is None
