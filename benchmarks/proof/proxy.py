"""A proxy between line and broker that fails as networks do: it cuts, goes half-open, delays, refuses."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any

from typing_extensions import Self

from .setting import HOST, free_port

FAULTS = ("cut", "half-open", "delay", "refuse")
_BYTES = 65_536


class FaultProxy:
    """Forwards `port` to `to_port` on loopback, in a thread of its own."""

    def __init__(self, to_port: int) -> None:
        self.port = free_port()
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._connections: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._delay_s = 0.0
        self._refuses = False

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fail(self, fault: str, seconds: float) -> None:
        """Have one fault for so long; it returns when the fault is over."""
        if fault == "cut":
            self._do(self._cut())
        elif fault == "half-open":  # both sides believe in a connection on which nothing comes
            self._do(self._half_open(seconds))
        elif fault == "delay":
            self._do(self._slow(seconds))
        else:
            self._do(self._refuse(seconds))

    def refuse(self, *, on: bool) -> None:
        """Refuse every connection from now on, and cut those that stand; or accept them again."""
        self._refuses = on
        if on:
            self._do(self._cut())

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result()

    async def _open(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._serve, HOST, self.port)

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _cut(self) -> None:
        for writer in list(self._connections):
            writer.transport.abort()

    async def _half_open(self, seconds: float) -> None:
        self._flows.clear()
        await asyncio.sleep(seconds)
        await self._cut()
        self._flows.set()

    async def _slow(self, seconds: float) -> None:
        self._delay_s = 0.2
        await asyncio.sleep(seconds)
        self._delay_s = 0.0

    async def _refuse(self, seconds: float) -> None:
        self._refuses = True
        await self._cut()
        await asyncio.sleep(seconds)
        self._refuses = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            to_reader, to_writer = await asyncio.open_connection(HOST, self._to_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, to_writer}
        self._connections |= both
        await asyncio.gather(self._carry(reader, to_writer), self._carry(to_reader, writer))
        self._connections -= both

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_BYTES):
                await self._flows.wait()
                if self._delay_s:
                    await asyncio.sleep(self._delay_s * random.random())
                writer.write(data)
                await writer.drain()
        writer.close()
