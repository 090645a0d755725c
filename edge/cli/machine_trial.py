"""The trial of the machine in `linewatch check`: its package, its certificates, and whether it listens."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlparse

from edge.app.machine import link_name, make_output
from edge.errors import SettingsError
from edge.wording import counted

_WITHIN_S = 3.0


def try_machine(settings: Any) -> str:
    """Reach the machine and leave; no signal is switched. Raises SettingsError or DependencyError."""
    make_output(settings)
    name, address = link_name(settings), _address(settings.machine)
    signals = counted(len(settings.outputs) + len(settings.inputs), "signal")
    if address is None:
        return f"{name}, {signals}; it is not tried before a station runs"
    try:
        socket.create_connection(address, _WITHIN_S).close()
    except OSError as error:
        raise SettingsError(
            f"{name}: expected a machine that listens, received {error.strerror or error}. A station starts all the "
            "same, and raises output-lost. Check its power, its cable and the address"
        ) from error
    return f"{name} listens; {signals}. Switch each by hand before the first part: linewatch outputs … test"


def _address(machine: Any) -> tuple[str, int] | None:
    """Return where the machine listens; None where the station does, or where it is the device's own."""
    if machine.modbus is not None and machine.modbus.role == "client":
        return machine.modbus.host, machine.modbus.port
    if machine.opcua is not None and machine.opcua.role == "client":
        url = urlparse(machine.opcua.url)
        return url.hostname or "", url.port or 4840
    return None
