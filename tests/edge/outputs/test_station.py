"""A station whose verdicts reach a machine, in their order, and whose alarms say when they do not."""

from __future__ import annotations

from pathlib import Path

from edge.outputs.simulated import SimulatedMachine
from edge.records import Verdict
from tests.brokers import wait_for
from tests.edge.outputs.machine_line import running, settings_of

OUTPUTS = {
    "good": {"rule": "ok", "at": "good"},
    "bad": {"rule": "ng", "at": "bad"},
    "unread": {"rule": "no_read", "at": "unread"},
    "count": {"rule": "result_counter", "at": "count"},
    "alive": {"rule": "heartbeat", "at": "alive"},
    "ready": {"rule": "ready", "at": "ready"},
    "busy": {"rule": "busy", "at": "busy"},
    "lamp": {"rule": "alarm", "at": "lamp", "alarms": ["output-lost"]},
    "gate": {"rule": "pulse", "at": "gate", "verdicts": ["ng"], "after_ms": 1500, "width_ms": 30},
}
MACHINE = {"link": "simulated", "tolerance_ms": 1000}


def test_each_verdict_reaches_the_machine(tmp_path: Path) -> None:
    """The machine reads the station's decision at each rise of the counter; the end leaves nothing up."""
    settings = settings_of(tmp_path / "a.db", defective=0.4, machine=MACHINE, outputs=OUTPUTS)
    machine = SimulatedMachine()
    with running(settings, tmp_path / "a.db", machine) as (_, verdicts):
        wait_for(lambda: len(verdicts) >= 20)
        wait_for(lambda: machine.levels["ready"] is True)
        wait_for(lambda: any(one.signal == "gate" and one.level is True for one in tuple(machine.seen)))
    read, seen = [], dict.fromkeys(("good", "bad", "unread"), False)
    for one in machine.seen:
        if one.signal in seen:
            seen[one.signal] = bool(one.level)
        elif one.signal == "count" and one.level:
            read.append(tuple(seen.values()))
    wanted = [(each is Verdict.OK, each is Verdict.NG, each is Verdict.NO_READ) for each in verdicts]
    assert {Verdict.OK, Verdict.NG} <= set(verdicts)
    assert read[:20] == wanted[:20]
    assert any(one.signal == "busy" and one.level is True for one in machine.seen)
    assert [name for name, level in machine.levels.items() if level is True] == []


def test_a_lost_machine_is_an_alarm_and_the_line_goes_on(tmp_path: Path) -> None:
    """Parts are judged while it is away; the alarm ends when it is back."""
    settings = settings_of(tmp_path / "a.db", machine=MACHINE, outputs=OUTPUTS)
    machine = SimulatedMachine()
    with running(settings, tmp_path / "a.db", machine) as (opened, verdicts):
        wait_for(lambda: machine.levels.get("ready") is True)
        manager = opened.decider.recorder.alarms.manager
        machine.cut()
        wait_for(lambda: manager.shown("output-lost"))
        before = len(verdicts)
        wait_for(lambda: len(verdicts) >= before + 3)
        machine.join()
        wait_for(lambda: manager.states["output-lost"].condition.value == "returned")
