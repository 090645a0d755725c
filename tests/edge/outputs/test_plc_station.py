"""A station whose parts, wishes and belt come from a PLC: a server of pymodbus on loopback."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.outbox.reader import OutboxReader
from edge.records import Verdict
from edge.records.parts import TriggerFault
from edge.settings import SHIPPED_BUNDLE, Settings
from tests.brokers import HOST, wait_for
from tests.edge.outputs.machine_line import MAX_AGE_MS, PARTS, SIMULATED, running, settings_of
from tests.edge.outputs.plc import Plc

READY, BUSY, DONE, GOOD, BAD, GATE = range(6)
TRIGGER, ACK, ZERO = 20, 21, 22
COUNT, ID, RECIPE, ENCODER = 0, 30, 32, 33
OUTPUTS = {
    "ready": {"rule": "ready", "at": f"coil {READY}"},
    "busy": {"rule": "busy", "at": f"coil {BUSY}"},
    "done": {"rule": "done", "at": f"coil {DONE}"},
    "good": {"rule": "ok", "at": f"coil {GOOD}"},
    "bad": {"rule": "ng", "at": f"coil {BAD}"},
    "count": {"rule": "result_counter", "at": f"register {COUNT}"},
}
MODBUS = {"host": HOST, "timeout_ms": 10_000}
INPUTS = {
    "trigger": {"rule": "part", "at": f"coil {TRIGGER}", "mode": "handshake", "part_ms": 1000},
    "id": {"rule": "part_id", "at": f"register {ID}", "words": 2},
    "ack": {"rule": "acknowledge", "at": f"coil {ACK}"},
    "zero": {"rule": "reset_counters", "at": f"coil {ZERO}"},
}


@pytest.fixture
def plc() -> Iterator[Plc]:
    """Switch a PLC on."""
    with Plc() as plc:
        yield plc


def beside(plc: Plc, store: Path, **more: Any) -> Settings:
    """Return the settings of a station beside a PLC."""
    given = {
        "machine": {"link": "modbus", "modbus": MODBUS | {"port": plc.port}, "tolerance_ms": 1000},
        "outputs": OUTPUTS,
        "inputs": INPUTS,
        "parts": {"trigger": "machine", **PARTS},
    }
    return settings_of(store, defective=0.0, **(given | more))


def shake(plc: Plc, part_id: int) -> None:
    """Have one part inspected, as a PLC does: each step waits for the one before."""
    wait_for(lambda: plc.coil(READY) and not plc.coil(DONE))
    plc.set_register(ID + 1, part_id)
    plc.set_coil(TRIGGER, True)
    wait_for(lambda: plc.coil(BUSY))
    wait_for(lambda: plc.coil(DONE))
    assert not plc.coil(BUSY)
    assert plc.coil(GOOD) != plc.coil(BAD)
    plc.set_coil(TRIGGER, False)
    wait_for(lambda: not plc.coil(DONE))


def test_a_handshake_inspects_part_after_part(plc: Plc, tmp_path: Path) -> None:
    """Ready, trigger, busy, done: each part has its id and its verdict before done."""
    ids: list[str] = []
    with running(beside(plc, tmp_path / "a.db"), tmp_path / "a.db", ids=ids) as (_, verdicts):
        for number in (501, 502, 503):
            shake(plc, number)
        wait_for(lambda: len(verdicts) == 3)
        assert verdicts == [Verdict.OK] * 3
        assert plc.register(COUNT) == 3
        assert ids == ["501", "502", "503"]


def test_a_trigger_before_done_is_an_alarm(plc: Plc, tmp_path: Path) -> None:
    """A second trigger while the first part is judged opens nothing, is counted, and raises trigger-fault."""
    inputs = INPUTS | {"trigger": INPUTS["trigger"] | {"part_ms": 3000}}
    with running(beside(plc, tmp_path / "a.db", inputs=inputs), tmp_path / "a.db") as (opened, _):
        wait_for(lambda: plc.coil(READY))
        plc.set_coil(TRIGGER, True)
        wait_for(lambda: plc.coil(BUSY))

        def told() -> bool:
            plc.set_coil(TRIGGER, not plc.coil(TRIGGER))  # again, if it was not seen in between
            return opened.decider.recorder.alarms.manager.shown("trigger-fault")

        wait_for(told)
        assert opened.decider.counts.trigger_faults >= 1
    with OutboxReader(tmp_path / "a.db") as reader:
        details = [row.entry.detail for row in reader.journal_rows(100) if row.entry.kind == "trigger"]
    assert {detail.split(":")[0] for detail in details} == {TriggerFault.NOT_READY.value}


def test_the_plc_acknowledges_and_resets(plc: Plc, tmp_path: Path) -> None:
    """The shown alarm is acknowledged by the user plc, the counters begin at 0, and the journal has both."""
    with running(beside(plc, tmp_path / "a.db"), tmp_path / "a.db") as (opened, _):
        shake(plc, 7)
        manager, counts = opened.decider.recorder.alarms.manager, opened.decider.counts
        wait_for(lambda: not plc.coil(ACK))
        plc.stop()
        wait_for(lambda: manager.shown("output-lost"))
        plc.start()
        wait_for(lambda: manager.states["output-lost"].condition.value == "returned")
        wait_for(lambda: plc.coil(READY))
        plc.set_coil(ACK, True)
        wait_for(lambda: manager.states["output-lost"].condition.value == "normal")
        assert counts.parts == 1
        plc.set_coil(ZERO, True)
        wait_for(lambda: counts.parts == 0)
    with OutboxReader(tmp_path / "a.db") as reader:
        commands = [row.entry for row in reader.journal_rows(200) if row.entry.kind == "command"]
    assert {entry.user for entry in commands} == {"plc"}
    assert {entry.detail.split(":")[0] for entry in commands} == {"ack by plc", "reset-counters by plc"}


def test_the_plc_changes_the_recipe(plc: Plc, tmp_path: Path) -> None:
    """A number wishes for a recipe by its name; one that stands for none is refused, and noted."""
    view = {"bundle": str(SHIPPED_BUNDLE)}
    recipes = {name: {"views": {"camera": view}} for name in ("glass", "phone")}
    settings = Settings.model_validate_json(
        beside(plc, tmp_path / "a.db").model_dump_json(
            exclude={"bundle", "inspect", "recipe", "camera"}, exclude_unset=True
        )
    )
    given = settings.model_dump(mode="json", exclude_unset=True)
    given |= {
        "cameras": {"camera": {"source": "simulated", "simulated": SIMULATED, "max_age_ms": MAX_AGE_MS}},
        "recipes": recipes,
        "recipe": "glass",
        "inputs": {**INPUTS, "wish": {"rule": "recipe", "at": f"register {RECIPE}", "names": ["glass", "phone"]}},
    }
    settings = Settings.model_validate_json(json.dumps(given))
    with running(settings, tmp_path / "a.db") as (opened, _):
        wait_for(lambda: plc.coil(READY))
        plc.set_register(RECIPE, 2)
        wait_for(lambda: opened.decider.in_force == "phone")
        wait_for(lambda: plc.coil(READY))
        plc.set_register(RECIPE, 5)
        with OutboxReader(tmp_path / "a.db") as reader:
            wait_for(lambda: any("unknown_recipe" in row.entry.detail for row in reader.journal_rows(200)))
        assert opened.decider.in_force == "phone"


def test_a_pulse_follows_the_belt(plc: Plc, tmp_path: Path) -> None:
    """After so many counts of the encoder the gate opens; while the belt stands it waits."""
    outputs = {
        **OUTPUTS,
        "gate": {"rule": "pulse", "at": f"coil {GATE}", "verdicts": ["ok"], "after_counts": 1000, "width_ms": 60},
    }
    inputs = {**INPUTS, "belt": {"rule": "encoder", "at": f"register {ENCODER}"}}
    plc.set_register(ENCODER, 65_000)
    settings = beside(plc, tmp_path / "a.db", outputs=outputs, inputs=inputs)
    with running(settings, tmp_path / "a.db") as (_, verdicts):
        shake(plc, 1)
        plc.set_register(ENCODER, (65_000 + 900) % 65_536)
        wait_for(lambda: verdicts == [Verdict.OK])
        time.sleep(0.5)  # a pulse that came too soon would come now
        assert not any(value for _, value in plc.history(1, GATE))
        plc.set_register(ENCODER, (65_000 + 1001) % 65_536)
        wait_for(lambda: any(value for _, value in plc.history(1, GATE)))
        wait_for(lambda: not plc.coil(GATE))
