"""`linewatch signals` and `linewatch outputs`: seen while a station runs, switched by hand while none does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.outbox.reader import OutboxReader
from tests.brokers import Mosquitto, free_port, wait_for
from tests.conftest import ROOT
from tests.edge.outputs.plc import Plc
from tests.edge.outputs.test_modbus_line import COUNT, GATE, NG, READY, write_line
from tests.edge.station.test_run import running


def linewatch(*words: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "edge", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, input=typed, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def plc() -> Iterator[Plc]:
    """Switch a PLC on."""
    with Plc() as plc:
        yield plc


def test_the_signals_of_a_running_station_are_shown(plc: Plc, tmp_path: Path) -> None:
    """Each with its place and level; meanwhile the counters begin at 0, and nobody switches signals by hand."""
    with Mosquitto(tmp_path) as broker:
        config = write_line(tmp_path, plc, broker)
        with running(config):
            wait_for(lambda: plc.register(COUNT) >= 3 and plc.coil(READY))
            wait_for(lambda: _is_well(json.loads(linewatch("signals", config, "--json").stdout)))
            shown = linewatch("signals", config, "--once").stdout
            assert "reached" in shown
            assert f"coil {READY}" in shown
            done = linewatch("reset-counters", config, "--user", "anna", "-m", "order 4711")
            assert (done.returncode, "had been counted" in done.stdout) == (0, True)
            with OutboxReader(tmp_path / "outbox.db") as reader:
                details = [row.entry.detail for row in reader.journal_rows(200) if row.entry.user == "anna"]
            assert [detail.split(":")[0] for detail in details] == ["reset-counters by shell"]
            assert plc.register(COUNT) >= 3
            refused = linewatch("outputs", config, "test", "--yes")
    assert refused.returncode == 13
    assert "its signals are its own" in refused.stderr


def _is_well(told: dict[str, Any]) -> bool:
    """Tell whether a station is ready, its PLC is there, and three parts have passed."""
    ready = {row["signal"]: row["level"] for row in told["outputs"]}["ready"] is True
    return ready and told["lost"] is None and told["counts"]["parts"] >= 3


def test_each_output_is_switched_by_hand(plc: Plc, tmp_path: Path) -> None:
    """One after another, each up and down again; the warning comes first, and no switches nothing."""
    with Mosquitto(tmp_path) as broker:
        config = write_line(tmp_path, plc, broker)
    refused = linewatch("outputs", config, "test", typed="n\n")
    assert refused.returncode == 13
    assert "moves the machine" in refused.stderr
    assert not any(any(values) for _, _, _, values in plc.writes)
    done = linewatch("outputs", config, "test", "--yes", "--seconds", 0.2)
    assert done.returncode == 0, done.stderr
    for coil in (NG, GATE, READY):
        assert [value for _, value in plc.history(1, coil)] == [0, 1, 0]
    one = linewatch("outputs", config, "test", "--yes", "--seconds", 0.2, "--signal", "bad")
    assert one.returncode == 0
    assert [value for _, value in plc.history(1, NG)] == [0, 1, 0, 1, 0]
    assert [value for _, value in plc.history(1, GATE)] == [0, 1, 0]


def test_what_cannot_be_switched_is_told(tmp_path: Path) -> None:
    """No PLC, no such signal, no outputs, no station: each with its reason and exit code."""
    with Mosquitto(tmp_path) as broker, Plc() as plc:
        config = write_line(tmp_path, plc, broker)
        plc.port = free_port()
    absent = linewatch("outputs", config, "test", "--yes")
    assert (absent.returncode, "Nothing was switched" in absent.stderr) == (13, True)
    unknown = linewatch("outputs", config, "test", "--yes", "--signal", "horn")
    assert (unknown.returncode, "'horn'" in unknown.stderr) == (3, True)
    assert linewatch("signals", config, "--once").returncode == 13
    (tmp_path / "none.yaml").write_text("bundle: b\nstore: {path: none.db}\n")
    assert linewatch("outputs", tmp_path / "none.yaml", "test", "--yes").returncode == 3
