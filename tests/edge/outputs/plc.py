"""PLCs of pymodbus on loopback, in both roles: a server that a station asks, and a client that asks a station."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from typing_extensions import Self

from tests.brokers import HOST, free_port

COILS, REGISTERS = 64, 64
WRITES = {5, 6, 15, 16}


class _Server(ModbusTcpServer):
    """A server that remembers its connections, also those that it is just being given when it ends."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.connections: list[Any] = []

    def callback_new_connection(self) -> Any:
        """Take a connection."""
        self.connections.append(super().callback_new_connection())
        return self.connections[-1]


class Plc:
    """A PLC that is asked. `writes`: what it was told, in order: moment, function code, address, values.

    `answers_after_s`: how late it answers. `refuses`: an exception code that it answers with. `unit`: its number.
    """

    def __init__(self, port: int = 0, unit: int = 1) -> None:
        self.port = port or free_port()
        self.unit = unit
        self.answers_after_s = 0.0
        self.refuses: ExcCodes | None = None
        self.writes: list[tuple[int, int, int, list[int]]] = []
        self.watching: Callable[[], None] | None = None
        self._server: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Switch it on: everything is 0."""
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(60)

    def stop(self) -> None:
        """Switch it off."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(60)
        self._server = self._thread = None

    def coil(self, number: int) -> bool:
        """Return a coil."""
        return bool(self._get(1, number))

    def register(self, number: int) -> int:
        """Return a holding register."""
        return int(self._get(3, number))

    def set_coil(self, number: int, up: bool) -> None:
        """Set a coil itself, as a PLC's program does."""
        self._ask(self._server.context.async_setValues(self.unit, 5, number, [up]))

    def set_register(self, number: int, value: int) -> None:
        """Set a holding register itself."""
        self._ask(self._server.context.async_setValues(self.unit, 6, number, [value]))

    def set_discrete(self, number: int, up: bool) -> None:
        """Set a discrete input, as its wiring does."""
        self._ask(self._server.context.async_setValues(self.unit, 2, number, [up]))

    def set_input(self, number: int, value: int) -> None:
        """Set an input register, as its wiring does."""
        self._ask(self._server.context.async_setValues(self.unit, 4, number, [value]))

    def flood(self, coil: int, register: int, seconds: float) -> int:
        """Let a coil rise and fall a thousand times in each second, counted in a register. Return how often it rose."""
        return int(self._ask(self._flood(coil, register, seconds)))

    async def _flood(self, coil: int, register: int, seconds: float) -> int:
        put, began_s, times = self._server.context.async_setValues, time.monotonic(), 0
        while time.monotonic() < began_s + seconds:
            times += 1
            await put(self.unit, 6, register, [times])
            await put(self.unit, 5, coil, [True])
            await asyncio.sleep(0.0005)
            await put(self.unit, 5, coil, [False])
            await asyncio.sleep(max(0.0, began_s + times / 1000 - time.monotonic()))
        return times

    def _get(self, code: int, number: int) -> Any:
        return self._ask(self._server.context.async_getValues(self.unit, code, number, 1))[0]

    def _ask(self, coroutine: Any) -> Any:
        assert self._loop is not None
        asked: Future[Any] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return asked.result(60)

    async def _run(self, ready: threading.Event) -> None:
        bits = [SimData(0, values=[False] * COILS, datatype=DataType.BITS)]
        numbers = [SimData(0, count=REGISTERS, datatype=DataType.REGISTERS)]
        device = SimDevice(self.unit, simdata=(bits, bits, numbers, numbers), action=self._asked)
        self._loop = asyncio.get_running_loop()
        self._server = _Server(device, address=(HOST, self.port))
        await self._server.serve_forever(background=True)
        self._over = asyncio.Event()
        ready.set()
        await self._over.wait()
        await self._let_go()

    async def _let_go(self) -> None:
        """Close the port and every connection at once, also those that are accepted meanwhile."""
        transports = [one.transport for one in self._server.connections]
        await self._server.shutdown()
        for _ in range(10):
            for transport in [*transports, *(one.transport for one in self._server.connections)]:
                if transport is not None:
                    transport.abort()
            await asyncio.sleep(0.02)

    async def _asked(
        self, code: int, start: int, address: int, count: int, registers: list[int], values: list[int] | None
    ) -> ExcCodes | None:
        del start, count, registers
        if self.answers_after_s:
            await asyncio.sleep(self.answers_after_s)
        if self.refuses is not None:
            return self.refuses
        if values is not None and code in WRITES:
            self.writes.append((time.monotonic_ns(), code, address, [int(value) for value in values]))
        return None

    def history(self, code: int, number: int) -> list[tuple[int, int]]:
        """Return each change of a place that the station wrote: moment and value."""
        codes = {5, 15} if code == 1 else {6, 16}
        told: list[tuple[int, int]] = []
        for at_ns, written, address, values in list(self.writes):
            if written in codes and address <= number < address + len(values):
                value = values[number - address]
                if not told or told[-1][1] != value:
                    told.append((at_ns, value))
        return told
