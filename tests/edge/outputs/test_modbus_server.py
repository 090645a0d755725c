"""The outputs as places that a PLC reads: a real client of pymodbus, with all that it may do wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pymodbus.client import ModbusTcpClient

from edge.errors import SettingsError
from edge.outputs.addresses import address_of
from edge.outputs.link_settings import ModbusSettings
from edge.outputs.modbus import Places
from edge.outputs.modbus_server import ModbusServer
from edge.records.outputs import OutputEvent, OutputLate, OutputLost, OutputRestored, Reading
from tests.brokers import HOST, free_port, wait_for

PLACES = Places(
    {"good": address_of("modbus", "discrete 0"), "bad": address_of("modbus", "discrete 1")}
    | {"count": address_of("modbus", "input 5"), "lamp": address_of("modbus", "coil 3")},
    {"part": address_of("modbus", "coil 20"), "id": address_of("modbus", "register 30")},
    {},
)


@contextmanager
def served(silent_ms: int = 3000) -> Iterator[tuple[ModbusServer, ModbusTcpClient, list[Reading]]]:
    """Yield a server, a client of it, and the readings of the inputs."""
    readings: list[Reading] = []
    port = free_port()
    settings = ModbusSettings(role="server", host=HOST, port=port, unit=3, silent_ms=silent_ms)
    with (
        ModbusServer(settings, PLACES, readings.append) as server,
        ModbusTcpClient(HOST, port=port, timeout=120, retries=0) as client,
    ):
        yield server, client, readings


def test_a_plc_reads_what_was_set() -> None:
    """Bits and numbers, each in its table."""
    with served() as (server, client, _):
        server.set({"good": False, "bad": True, "count": 77, "lamp": True})
        assert client.read_discrete_inputs(0, count=2, device_id=3).bits[:2] == [False, True]
        assert client.read_input_registers(5, count=1, device_id=3).registers == [77]
        assert client.read_coils(3, count=1, device_id=3).bits[0] is True


def test_a_plc_writes_inputs_and_nothing_else() -> None:
    """An output that a PLC wants to write is refused, and stays."""
    with served() as (server, client, readings):
        assert not client.write_coil(20, True, device_id=3).isError()
        assert not client.write_register(30, 12, device_id=3).isError()
        wait_for(lambda: readings and readings[-1].values == {"part": 1, "id": 12})
        assert client.write_coil(3, True, device_id=3).exception_code == 2
        assert client.write_registers(28, [1, 2, 3], device_id=3).exception_code == 2
        server.set({"lamp": False})
        assert client.read_coils(3, count=1, device_id=3).bits[0] is False


def test_wrong_places_and_units_are_refused() -> None:
    """Each with its exception code, and the server goes on."""
    with served() as (_, client, _):
        assert client.read_discrete_inputs(40, count=1, device_id=3).exception_code == 2
        assert client.read_holding_registers(0, count=1, device_id=3).exception_code == 2
        assert client.read_input_registers(5, count=1, device_id=4).exception_code == 11
        assert not client.read_input_registers(5, count=1, device_id=3).isError()


def test_a_plc_that_falls_silent_is_lost_and_comes_back() -> None:
    """Nobody asks: that is told, and so is the next question."""
    told: list[OutputEvent] = []
    with served(silent_ms=300) as (server, client, _):

        def has(kind: type[OutputEvent]) -> bool:
            told.extend(server.events())
            return any(isinstance(event, kind) for event in told)

        wait_for(lambda: has(OutputLost))
        lost = next(event for event in told if isinstance(event, OutputLost))
        assert "no PLC has asked unit 3" in lost.detail
        told.clear()
        client.read_input_registers(5, count=1, device_id=3)
        wait_for(lambda: has(OutputRestored))


def test_a_late_pulse_is_left_out() -> None:
    """A pulse that is due before now is not shown."""
    with served() as (server, client, _):
        server.set({"lamp": True}, 0)
        assert client.read_coils(3, count=1, device_id=3).bits[0] is False
        assert any(isinstance(event, OutputLate) and not event.switched for event in server.events())


def test_a_port_in_use_is_a_clear_error() -> None:
    """It names the key and the port."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(SettingsError, match=rf"key machine\.modbus\.port: .*{port}, which is in use"),
            ModbusServer(ModbusSettings(role="server", host=HOST, port=port), PLACES),
        ):
            pass


def test_garbage_does_not_end_the_server() -> None:
    """Bytes that are no request cost nobody anything."""
    with served() as (server, client, _), socket.create_connection((HOST, client.comm_params.port)) as raw:
        raw.sendall(b"\xff" * 300 + b"GET / HTTP/1.1\r\n\r\n")
        server.set({"count": 5})
        assert client.read_input_registers(5, count=1, device_id=3).registers == [5]
