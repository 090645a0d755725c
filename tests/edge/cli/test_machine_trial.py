"""The machine in `linewatch check`: reached and left, without a signal."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from edge.cli.machine_trial import try_machine
from edge.errors import SettingsError
from tests.brokers import HOST, free_port
from tests.edge.outputs.machine_line import settings_of

OUTPUTS = {"bad": {"rule": "ng", "at": "coil 1", "safe": True}}


def test_a_plc_that_listens_is_told_and_left_alone(tmp_path: Path) -> None:
    """Not a byte comes to it."""
    with socket.create_server((HOST, 0)) as plc:
        port = plc.getsockname()[1]
        machine = {"link": "modbus", "modbus": {"host": HOST, "port": port}}
        told = try_machine(settings_of(tmp_path / "a.db", machine=machine, outputs=OUTPUTS))
        connection, _ = plc.accept()
        with connection:
            assert connection.recv(1000) == b""
    assert f"{HOST}:{port}, unit 1 listens; 1 signal" in told


def test_a_plc_that_does_not_listen_is_told(tmp_path: Path) -> None:
    """With its address, and with what a station would do."""
    port = free_port()
    machine = {"link": "modbus", "modbus": {"host": HOST, "port": port}}
    with pytest.raises(SettingsError, match=rf"{HOST}:{port}, unit 1: expected a machine that listens"):
        try_machine(settings_of(tmp_path / "a.db", machine=machine, outputs=OUTPUTS))


def test_what_waits_for_the_machine_is_not_tried(tmp_path: Path) -> None:
    """A server, and the device's own lines, are there once a station runs."""
    machine = {"link": "modbus", "modbus": {"role": "server", "port": free_port()}}
    assert "not tried" in try_machine(settings_of(tmp_path / "a.db", machine=machine, outputs=OUTPUTS))
