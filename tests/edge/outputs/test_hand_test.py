"""An output is switched by hand at a station that runs: when it may be, and what the broker is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.app.station import OpenStation
from edge.commands.socket import tell
from edge.outbox.reader import OutboxReader
from edge.outputs.simulated import SimulatedMachine
from edge.publishers.memory import MemoryPublisher
from edge.records import Verdict
from tests.brokers import HOST, wait_for
from tests.edge.messages.test_messages import VALIDATORS
from tests.edge.outputs.machine_line import PARTS, running, settings_of
from tests.edge.outputs.plc import Plc
from tests.edge.outputs.test_station import MACHINE, OUTPUTS

RUNS = 9  # the coil by which the machine says that its line runs


def switch(folder: Path, signal: str = "gate", user: str = "erik") -> str:
    """Switch an output by hand, and return what the station answers."""
    body = {"signal": signal, "seconds": 10.0, "user": user, "comment": "new valve"}
    return tell(folder / "a.db", "hand-test", {"schema": "linewatch/command-hand-test/1", **body})[0]


def bypass(folder: Path, action: str) -> str:
    """Take inspection out, or put it back."""
    body = {"action": action, "minutes": 5 if action == "on" else None, "reason": "valve", "user": "erik"}
    return tell(folder / "a.db", "bypass", {"schema": "linewatch/command-bypass/1", **body})[0]


@contextmanager
def station(
    folder: Path, publisher: MemoryPublisher | None = None, **more: Any
) -> Iterator[tuple[OpenStation, SimulatedMachine]]:
    """Run a station whose simulated machine is ready."""
    settings = settings_of(folder / "a.db", defective=0.0, machine=MACHINE, outputs=OUTPUTS, **more)
    machine = SimulatedMachine()
    with running(settings, folder / "a.db", machine, publisher=publisher) as (opened, _):
        wait_for(lambda: machine.levels.get("ready") is True)
        yield opened, machine


def test_it_is_switched_only_while_inspection_is_out(tmp_path: Path) -> None:
    """Refused on a line that runs. In a bypass the gate goes up, no OK is shown, and the end of the bypass ends it."""
    with station(tmp_path) as (_, machine):
        # a busy machine may make the loop stand, and the levels safe: then it is asked again
        wait_for(lambda: switch(tmp_path) == "line_runs")
        assert bypass(tmp_path, "on") == "ok"
        begun = len(machine.seen)
        wait_for(lambda: switch(tmp_path) == "ok" and any(one.signal == "gate" and one.level for one in machine.seen))
        seen = list(machine.seen)[: _of(machine, "gate") + 1]
        last = {one.signal: one.level for one in seen}
        assert (last["good"], last["ready"], last["gate"]) == (False, False, True)
        assert len(seen) > begun
        assert bypass(tmp_path, "off") == "ok"
        wait_for(lambda: machine.levels["gate"] is False and machine.levels["ready"] is True)
    with OutboxReader(tmp_path / "a.db") as reader:
        rows = [row.entry for row in reader.journal_rows(500) if row.entry.detail.startswith("hand-test")]
    assert {(entry.user, entry.comment) for entry in rows} == {("erik", "new valve")}
    assert [entry.detail for entry in rows][-1].endswith("gate (pulse, gate) is up for 10 s")


def _of(machine: SimulatedMachine, signal: str) -> int:
    """Return at which place of what was seen a signal first went up."""
    return next(place for place, one in enumerate(machine.seen) if one.signal == signal and one.level)


def test_what_cannot_be_switched_is_refused_by_name(tmp_path: Path) -> None:
    """An unknown output, the bit that says OK, the heartbeat, somebody who may not, and a machine that is away."""
    with station(tmp_path, operators=["erik"]) as (opened, machine):
        assert bypass(tmp_path, "on") == "ok"
        assert switch(tmp_path, "nobody") == "unknown_signal"
        assert switch(tmp_path, "good") == "not_by_hand"
        assert switch(tmp_path, "alive") == "not_by_hand"
        assert switch(tmp_path, user="vera") == "not_authorised"
        machine.cut()
        wait_for(lambda: opened.machine.told()["lost"])
        assert switch(tmp_path) == "not_by_hand"
        assert machine.levels["gate"] is False


def test_the_broker_is_told_each_second_by_the_schema(tmp_path: Path) -> None:
    """Levels, ages, link and counts come at state/signals, not retained, whatever the machine does."""
    publisher = MemoryPublisher(keep=100_000)

    def heard() -> list[dict[str, Any]]:
        sent = [each for each in list(publisher.messages) if each.kind == "signals"]
        return [json.loads(each.payload)["body"] for each in sent]

    with station(tmp_path, publisher) as (_, machine):
        wait_for(lambda: len(heard()) >= 2)
        machine.cut()
        wait_for(lambda: heard()[-1]["lost"])
    for body in heard():
        VALIDATORS["signals"].validate(body)
    assert heard()[-1]["lost"] == "the simulated machine was cut off"
    assert [row["signal"] for row in heard()[0]["outputs"]] == list(OUTPUTS)


def test_a_line_that_stands_may_be_switched_and_its_start_ends_it(tmp_path: Path) -> None:
    """The machine's own word that its line stands is enough; the moment it runs the output goes back."""
    with Plc() as plc:
        settings = settings_of(
            tmp_path / "a.db",
            defective=0.0,
            machine={"link": "modbus", "modbus": {"host": HOST, "port": plc.port, "timeout_ms": 10_000}},
            outputs={"lamp": {"rule": "alarm", "at": "coil 0", "alarms": ["output-late"]}},
            inputs={"runs": {"rule": "running", "at": f"coil {RUNS}"}, "barrier": {"rule": "part", "at": "coil 20"}},
            parts={"trigger": "machine", **PARTS},
        )
        with running(settings, tmp_path / "a.db") as (opened, verdicts):
            wait_for(lambda: opened.machine.told()["hand_test"]["refused"] is None)
            wait_for(lambda: switch(tmp_path, "lamp") == "ok" and plc.coil(0))
            plc.set_coil(RUNS, True)
            wait_for(lambda: not plc.coil(0))
            wait_for(lambda: switch(tmp_path, "lamp") == "line_runs")
            assert Verdict.OK not in verdicts
