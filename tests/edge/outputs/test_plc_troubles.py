"""A PLC that does everything wrong, beside a station on the simulated line: alarms, safe levels, and verdicts go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymodbus.constants import ExcCodes

from edge.app.station import OpenStation
from edge.outbox.reader import OutboxReader
from edge.records import Verdict
from edge.settings import Settings
from tests.brokers import HOST, wait_for
from tests.edge.outputs.machine_line import PARTS, running, settings_of
from tests.edge.outputs.plc import Plc

GOOD, BAD, UNREAD, READY, STOP = range(5)
TRIGGER, RUNS = 20, 21
COUNT, ALIVE, NUMBER = 0, 1, 30
OUTPUTS = {
    "good": {"rule": "ok", "at": f"coil {GOOD}"},
    "bad": {"rule": "ng", "at": f"coil {BAD}"},
    "unread": {"rule": "no_read", "at": f"coil {UNREAD}"},
    "ready": {"rule": "ready", "at": f"coil {READY}"},
    "stop": {"rule": "alarm", "at": f"coil {STOP}", "alarms": ["camera-lost"], "safe": True},
    "count": {"rule": "result_counter", "at": f"register {COUNT}"},
    "alive": {"rule": "heartbeat", "at": f"register {ALIVE}"},
}


def beside(plc: Plc, store: Path, timeout_ms: int = 10_000, **more: Any) -> Settings:
    """Return the settings of a station beside a PLC that it asks."""
    link = {"host": HOST, "port": plc.port, "timeout_ms": timeout_ms, "retry_ms": 100, "poll_ms": 2}
    machine = {"link": "modbus", "modbus": link, "tolerance_ms": 1000}
    return settings_of(store, **{"machine": machine, "outputs": OUTPUTS, **more})


def goes(unit: int) -> Callable[[Plc], None]:
    """Return what switches a PLC off and on again with another unit."""

    def change(plc: Plc) -> None:
        plc.stop()
        plc.unit = unit
        plc.start()

    return change


def answers(after_s: float = 0.0, refuses: ExcCodes | None = None) -> Callable[[Plc], None]:
    """Return what makes a PLC late, or has it refuse."""

    def change(plc: Plc) -> None:
        plc.answers_after_s, plc.refuses = after_s, refuses

    return change


# The trouble, its remedy, and the alarm's words.
TROUBLES: dict[str, tuple[Callable[[Plc], None], Callable[[Plc], None], str]] = {
    "it goes": (Plc.stop, Plc.start, ""),
    "it answers late": (answers(after_s=1.0), answers(), ""),
    "it has no such registers": (answers(refuses=ExcCodes.ILLEGAL_ADDRESS), answers(), "it has no such address"),
    "it takes no such value": (answers(refuses=ExcCodes.ILLEGAL_VALUE), answers(), "it does not take that value"),
    "it fails": (answers(refuses=ExcCodes.DEVICE_FAILURE), answers(), "it failed"),
    "it is another unit": (goes(9), goes(1), ""),
}


def test_whatever_a_plc_does_the_line_goes_on(tmp_path: Path) -> None:
    """Absent at the start, then each trouble: output-lost with its reason, safe levels, verdicts; then it is back."""
    plc = Plc()
    with running(beside(plc, tmp_path / "a.db", 200), tmp_path / "a.db") as (opened, verdicts):
        manager = opened.decider.recorder.alarms.manager

        def lost() -> bool:
            return bool(manager.shown("output-lost")) and opened.machine.told()["lost"] is not None

        def back() -> bool:
            return opened.machine.told()["safe"] == "" and plc.coil(READY)

        wait_for(lambda: lost() and len(verdicts) >= 3)
        assert "expected a PLC that listens" in opened.machine.told()["lost"]
        plc.start()
        wait_for(back)
        for trouble, mend, why in TROUBLES.values():
            trouble(plc)
            wait_for(lambda: lost() and opened.machine.told()["safe"])
            wait_for(lambda: why in (opened.machine.told()["lost"] or ""))  # noqa: B023
            levels = {row["signal"]: row["level"] for row in opened.machine.told()["outputs"]}
            assert [levels[name] for name in ("good", "bad", "unread", "ready", "stop")] == [False] * 4 + [True]
            before = len(verdicts)
            wait_for(lambda: len(verdicts) > before)  # noqa: B023 - called within its turn of the loop
            mend(plc)
            wait_for(back)
            count = plc.register(COUNT)
            wait_for(lambda: plc.register(COUNT) > count)  # noqa: B023 - called within its turn of the loop
    plc.stop()


@contextmanager
def triggered(plc: Plc, folder: Path, inputs: dict[str, Any]) -> Iterator[tuple[OpenStation, list[Verdict]]]:
    """Run a station whose parts come from this PLC, and wait until it is ready."""
    settings = beside(plc, folder / "a.db", inputs=inputs, parts={"trigger": "machine", **PARTS})
    with running(settings, folder / "a.db") as told:
        wait_for(lambda: plc.coil(READY))
        yield told


def faults(folder: Path) -> set[str]:
    """Return the kinds of trigger faults in the journal."""
    with OutboxReader(folder / "a.db") as reader:
        return {row.entry.detail.split(":")[0] for row in reader.journal_rows(500) if row.entry.kind == "trigger"}


def test_a_thousand_triggers_a_second_are_an_alarm_and_the_line_goes_on(tmp_path: Path) -> None:
    """A trigger too fast or not seen is counted and told. A part that comes in its time is judged as ever."""
    trigger = {"rule": "part", "at": f"coil {TRIGGER}", "mode": "edge", "part_ms": 200, "min_gap_ms": 2000}
    inputs = {"part": trigger, "number": {"rule": "part_count", "at": f"register {NUMBER}"}}
    with Plc() as plc, triggered(plc, tmp_path, inputs) as (opened, verdicts):
        assert plc.flood(TRIGGER, NUMBER, seconds=2.5) > 2
        before = len(verdicts)

        def judged() -> bool:
            plc.set_coil(TRIGGER, True)
            time.sleep(0.2)
            plc.set_coil(TRIGGER, False)
            return len(verdicts) > before

        wait_for(judged)
        wait_for(lambda: {"too_fast", "lost"} <= faults(tmp_path))
        assert opened.decider.counts.trigger_faults >= 2
        assert opened.decider.recorder.alarms.manager.shown("trigger-fault")


def test_a_bouncing_barrier_opens_one_part_and_a_running_line_without_parts_is_told(tmp_path: Path) -> None:
    """The bit is up while the part is there. A standing line is expected to bring nothing, a running one is."""
    inputs = {
        "part": {"rule": "part", "at": f"coil {TRIGGER}", "debounce_ms": 500},
        "runs": {"rule": "running", "at": f"coil {RUNS}", "parts_within_ms": 1500},
    }
    with Plc() as plc, triggered(plc, tmp_path, inputs) as (opened, verdicts):
        plc.flood(TRIGGER, NUMBER, seconds=0.02)  # bounces, and ends down
        plc.set_coil(TRIGGER, True)
        wait_for(lambda: opened.decider.parts is not None and opened.decider.parts.open == 1)
        plc.set_coil(TRIGGER, False)
        wait_for(lambda: len(verdicts) == 1)
        assert faults(tmp_path) == set()
        plc.set_coil(RUNS, True)
        wait_for(lambda: "lost" in faults(tmp_path))
        assert len(verdicts) == 1
        assert opened.decider.recorder.alarms.manager.shown("trigger-fault")


def test_a_trigger_that_comes_twice_or_stays_is_told(tmp_path: Path) -> None:
    """Twice for one count of the PLC is doubled; a handshake that is not taken back is not released."""
    shaking = {"rule": "part", "at": f"coil {TRIGGER}", "mode": "handshake", "part_ms": 200, "release_ms": 100}
    inputs = {"part": shaking, "number": {"rule": "part_count", "at": f"register {NUMBER}"}}
    outputs = {**OUTPUTS, "busy": {"rule": "busy", "at": "coil 5"}, "done": {"rule": "done", "at": "coil 6"}}
    plc = Plc()
    settings = beside(plc, tmp_path / "a.db", inputs=inputs, outputs=outputs, parts={"trigger": "machine", **PARTS})
    with plc, running(settings, tmp_path / "a.db") as (_, verdicts):
        wait_for(lambda: plc.coil(READY))
        plc.set_coil(TRIGGER, True)  # and the count stands
        wait_for(lambda: "not_released" in faults(tmp_path))
        assert "doubled" in faults(tmp_path)
        assert len(verdicts) == 1
        plc.set_coil(TRIGGER, False)
        wait_for(lambda: not plc.coil(6))


def test_a_step_of_the_clock_is_nothing_to_signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour on, and two back: no loss, no late pulse, the heart beats and the counts go on."""
    gate = {"rule": "pulse", "at": "coil 5", "verdicts": ["ok", "ng", "no_read"], "after_ms": 1500, "width_ms": 20}
    real, step_s = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + step_s[0])
    with Plc() as plc:
        settings = beside(plc, tmp_path / "a.db", outputs={**OUTPUTS, "gate": gate})
        with running(settings, tmp_path / "a.db") as (opened, _):
            wait_for(lambda: plc.register(COUNT) >= 3)
            for step_s[0] in (3600.0, -3600.0):
                count, beat = plc.register(COUNT), plc.register(ALIVE)
                wait_for(lambda: plc.register(COUNT) >= count + 3 and plc.register(ALIVE) != beat)  # noqa: B023
            pulses = sum(value for _, value in plc.history(1, 5))
            wait_for(lambda: sum(value for _, value in plc.history(1, 5)) > pulses)
            counts = opened.machine.told()["counts"]
            assert (counts["losses"], counts["crowded_out"]) == (0, 0)
