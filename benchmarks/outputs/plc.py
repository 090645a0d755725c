"""`python -m benchmarks.outputs.plc LINK PORT`: a PLC in a process of its own, which notes when each signal comes.

It ends with its standard input, and then writes down what came: moment, signal, level. Its clock is the station's.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.outputs.priority import go_first

HOST = "127.0.0.1"
# Signal, by its place: of Modbus table and number, of OPC UA the node's id and type.
COILS = {0: "good", 1: "bad", 2: "unread", 3: "gate"}
REGISTERS = {0: "count", 1: "alive"}
NODES = {**dict.fromkeys(COILS.values(), "Boolean"), **dict.fromkeys(REGISTERS.values(), "UInt16")}
Came = list[tuple[int, str, int]]


async def _until_told() -> None:
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def modbus(port: int) -> Came:
    """Be a Modbus server until the end of the input."""
    serving: Any = importlib.import_module("pymodbus.server")
    simulating: Any = importlib.import_module("pymodbus.simulator")
    came: Came = []

    async def note(code: int, _start: int, address: int, _count: int, _held: list[int], values: Any) -> None:
        if values is None:
            return
        at_ns, names = time.monotonic_ns(), COILS if code in {5, 15} else REGISTERS
        came.extend((at_ns, names[address + k], int(value)) for k, value in enumerate(values))

    bits = [simulating.SimData(0, values=[False] * 16, datatype=simulating.DataType.BITS)]
    numbers = [simulating.SimData(0, count=16, datatype=simulating.DataType.REGISTERS)]
    device = simulating.SimDevice(1, simdata=(bits, bits, numbers, numbers), action=note)
    server = serving.ModbusTcpServer(device, address=(HOST, port))
    await server.serve_forever(background=True)
    await _until_told()
    await server.shutdown()
    return came


async def opcua(port: int, certificate: Path) -> Came:
    """Be an OPC UA server, signed and encrypted, until the end of the input."""
    asyncua: Any = importlib.import_module("asyncua")
    ua: Any = importlib.import_module("asyncua.ua")
    before: Any = importlib.import_module("asyncua.common.callback").CallbackType.PreWrite
    server, came = asyncua.Server(), Came()
    await server.init()
    server.set_endpoint(f"opc.tcp://{HOST}:{port}")
    await server.load_certificate(certificate)
    await server.load_private_key(certificate.with_suffix(".key"), format="pem")
    server.set_security_policy([ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt])
    space = await server.register_namespace("urn:bench")
    for name, kind in NODES.items():
        kind_of = getattr(ua.VariantType, kind)
        node = await server.nodes.objects.add_variable(
            ua.NodeId(name, space), f"{space}:{name}", False if kind == "Boolean" else 0, kind_of
        )
        await node.set_writable()

    def note(event: Any, _dispatcher: Any) -> None:
        if not event.is_external:  # the server's own clock
            return
        at_ns = time.monotonic_ns()
        for one in event.request_params.NodesToWrite:
            came.append((at_ns, str(one.NodeId.Identifier), int(one.Value.Value.Value)))

    async with server:
        server.subscribe_server_callback(before, note)
        await _until_told()
    return came


def main(words: Sequence[str]) -> None:
    """Be the PLC of a link at a port.

    It is another computer, so it goes before what runs here, where it may.
    """
    go_first()
    link, port, *more = words
    came = asyncio.run(modbus(int(port)) if link == "modbus" else opcua(int(port), Path(more[0])))
    print(json.dumps(came), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
