"""Four machines, real peers of the libraries: of Modbus TCP and OPC UA each one that is asked, and one that asks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from asyncua import Client, ua
from pymodbus.client import ModbusTcpClient

from edge.outputs.opcua import NAMESPACE
from tests.brokers import HOST, free_port, listens, wait_for
from tests.edge.outputs.opcua_plc import PlcServer
from tests.edge.outputs.plc import Plc

NUMBERS = ("count", "id", "belt", "product")


class Peer(Protocol):
    """A machine with the station's signals by their names. `machine`: the settings of the link to it."""

    machine: dict[str, Any]

    def at(self, name: str) -> str:
        """Return where a signal is, as the settings say it."""
        ...

    def get(self, name: str) -> int:
        """Read what the station says."""
        ...

    def put(self, name: str, value: int) -> None:
        """Say something to the station."""
        ...


class _Places:
    """The places of a Modbus machine's signals: outputs from 0 on, inputs from 20 on."""

    def __init__(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        self._number = {name: place for place, name in enumerate(outputs)}
        self._number |= {name: 20 + place for place, name in enumerate(inputs)}

    def at(self, name: str) -> str:
        """Return where a signal is."""
        return f"{'register' if name in NUMBERS else 'coil'} {self._number[name]}"


class ModbusAsked(_Places):
    """A PLC that the station asks."""

    def __init__(self, plc: Plc, outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        super().__init__(outputs, inputs)
        self._plc = plc
        self.machine = {"link": "modbus", "modbus": {"host": HOST, "port": plc.port, "timeout_ms": 10_000}}

    def get(self, name: str) -> int:
        """Read a coil or register."""
        read = self._plc.register if name in NUMBERS else self._plc.coil
        return int(read(self._number[name]))

    def put(self, name: str, value: int) -> None:
        """Set a coil or register."""
        if name in NUMBERS:
            self._plc.set_register(self._number[name], value)
        else:
            self._plc.set_coil(self._number[name], bool(value))


class ModbusAsks(_Places):
    """A PLC that asks the station."""

    def __init__(self, outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> None:
        super().__init__(outputs, inputs)
        port = free_port()
        self._plc = ModbusTcpClient(HOST, port=port, timeout=60)
        own = {"role": "server", "host": HOST, "port": port, "silent_ms": 60_000}
        self.machine = {"link": "modbus", "modbus": own}

    def get(self, name: str) -> int:
        """Ask for a coil or register."""
        if name in NUMBERS:
            return int(self._plc.read_holding_registers(self._number[name], count=1, device_id=1).registers[0])
        return int(self._plc.read_coils(self._number[name], count=1, device_id=1).bits[0])

    def put(self, name: str, value: int) -> None:
        """Write a coil or register of the station."""
        if name in NUMBERS:
            assert not self._plc.write_register(self._number[name], value, device_id=1).isError()
        else:
            assert not self._plc.write_coil(self._number[name], bool(value), device_id=1).isError()

    def leave(self) -> None:
        """Let go of the station."""
        self._plc.close()


class OpcUaAsked:
    """An OPC UA server that the station asks."""

    def __init__(self, plc: PlcServer) -> None:
        self._plc = plc
        self.machine = {"link": "opcua", "opcua": {"url": plc.url, "security": "none", "timeout_ms": 20_000}}

    def at(self, name: str) -> str:
        """Return the id of a node."""
        return f"ns=2;s={name}"

    def get(self, name: str) -> int:
        """Read a node."""
        return int(self._plc.value(name))

    def put(self, name: str, value: int) -> None:
        """Set a node."""
        self._plc.put(name, value if name in NUMBERS else bool(value))


class OpcUaAsks:
    """An OPC UA client that asks the station."""

    def __init__(self) -> None:
        self._port = free_port()
        self._url = f"opc.tcp://{HOST}:{self._port}"
        own = {"role": "server", "url": self._url, "security": "none", "silent_ms": 60_000}
        self.machine = {"link": "opcua", "opcua": own}
        self._loop = asyncio.new_event_loop()
        self._client: Client | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def at(self, name: str) -> str:
        """Return the name of a node."""
        return name

    def get(self, name: str) -> int:
        """Read a node of the station, once that takes connections."""
        wait_for(lambda: self._client is not None or listens(self._port))
        return int(self._do(self._get(name)))

    def put(self, name: str, value: int) -> None:
        """Write a node of the station."""
        self._do(self._put(name, value))

    def leave(self) -> None:
        """Let go of the station."""
        if self._client is not None:
            self._do(self._client.disconnect())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def _do(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(120)

    async def _node(self, name: str) -> Any:
        while self._client is None:
            client = Client(self._url, timeout=60)
            try:
                await client.connect()
            except OSError:  # the station does not listen yet
                await asyncio.sleep(0.2)
                continue
            self._client, self._space = client, await client.get_namespace_index(NAMESPACE)
        return self._client.get_node(ua.NodeId(name, self._space))

    async def _get(self, name: str) -> Any:
        return await (await self._node(name)).read_value()

    async def _put(self, name: str, value: int) -> None:
        node = await self._node(name)
        kind = await node.read_data_type_as_variant_type()
        await node.write_value(ua.DataValue(ua.Variant(bool(value) if kind.name == "Boolean" else value, kind)))


PEERS = ("Modbus, asked", "Modbus, asks", "OPC UA, asked", "OPC UA, asks")


@contextmanager
def peer_of(kind: str, outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> Iterator[Peer]:
    """Switch on one of `PEERS`, for signals of these names."""
    if kind == "Modbus, asked":
        with Plc() as plc:
            yield ModbusAsked(plc, outputs, inputs)
    elif kind == "Modbus, asks":
        asks = ModbusAsks(outputs, inputs)
        try:
            yield asks
        finally:
            asks.leave()
    elif kind == "OPC UA, asked":
        kinds = {name: ua.VariantType.UInt32 if name in NUMBERS else ua.VariantType.Boolean for name in outputs}
        kinds |= {name: ua.VariantType.UInt32 if name in NUMBERS else ua.VariantType.Boolean for name in inputs}
        with PlcServer(kinds=kinds) as server:
            yield OpcUaAsked(server)
    else:
        client = OpcUaAsks()
        try:
            yield client
        finally:
            client.leave()
