"""A server that a PLC reads the outputs from and writes the inputs to, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from typing_extensions import Self

from edge.errors import SettingsError
from edge.outputs.link import Heard, Link
from edge.outputs.link_settings import ModbusSettings
from edge.outputs.modbus import Places, number_of, vendor
from edge.records.outputs import Level, OutputEvent, OutputRestored

_OPENS_WITHIN_S = 10.0
# The table of a request, by its function code (MODBUS Application Protocol V1.1b3, 6).
_READS = {1: "coil", 2: "discrete", 3: "register", 4: "input", 23: "register"}
_WRITES = {5: "coil", 15: "coil", 6: "register", 16: "register", 22: "register", 23: "register"}


class _Memory:
    """The memory that the PLC reads and writes. A read of several places is of one moment."""

    def __init__(self, unit: int, places: Places, asked: Callable[[], None], written: Callable[[], None]) -> None:
        self._unit = unit
        self._asked = asked
        self._written = written
        self._errors = vendor("exceptions")
        self._codes = vendor("constants").ExcCodes
        self._writable = {
            (place.table, place.number + k)
            for name, place in places.inputs.items()
            for k in range(places.words.get(name, 1))
        }
        outputs = {(place.table, place.number) for place in places.outputs.values()}
        self.held: dict[tuple[str, int], int] = dict.fromkeys([*outputs, *self._writable], 0)
        # gaps between places may be read along with them
        self._ranges = {
            table: range(min(numbers), max(numbers) + 1)
            for table in ("coil", "discrete", "register", "input")
            if (numbers := [number for name, number in self.held if name == table])
        }

    def device_ids(self) -> list[int]:
        """Return the only unit; part of what pymodbus asks of a store."""
        return [self._unit]

    async def async_getValues(self, device_id: int, func_code: int, address: int, count: int = 1) -> Any:  # noqa: N802 - the name is pymodbus's
        """Return what places hold, or an exception code."""
        self._check(device_id)
        table = _READS.get(func_code) or _WRITES.get(func_code, "")
        known = self._ranges.get(table, range(0))
        if address not in known or address + count - 1 not in known:
            return self._codes.ILLEGAL_ADDRESS
        self._asked()
        held = dict(self.held)  # as it is at this moment
        values = [held.get((table, address + k), 0) for k in range(count)]
        return [bool(value) for value in values] if table in {"coil", "discrete"} else values

    async def async_setValues(  # noqa: N802 - the name is pymodbus's
        self, device_id: int, func_code: int, address: int, values: list[int] | list[bool]
    ) -> Any:
        """Let the PLC write inputs, and nothing else; return None, or an exception code."""
        self._check(device_id)
        places = [(_WRITES.get(func_code, ""), address + k) for k in range(len(values))]
        if not self._writable.issuperset(places):
            return self._codes.ILLEGAL_ADDRESS
        self._asked()
        self.held.update(zip(places, map(int, values), strict=True))
        self._written()
        return None

    def _check(self, device_id: int) -> None:
        if device_id != self._unit:
            raise self._errors.NoSuchIdException("no such unit")


class ModbusServer(Link):
    """The outputs as places that a PLC, which is the client, reads when it likes.

    `heard` is told of the inputs whenever the PLC writes them, and again and again, in this link's thread. Entering
    raises SettingsError where it cannot listen.
    """

    def __init__(
        self,
        settings: ModbusSettings,
        places: Places,
        heard: Heard = lambda _: None,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__("modbus server", heard, monotonic_ns)
        self._settings = settings
        self._places = places
        self._memory = _Memory(settings.unit, places, self._was_asked, self._tell_inputs)
        self._asked_ns: int | None = None
        self._reached: bool | None = None
        self._opened = threading.Event()
        self._error: str | None = None

    def __enter__(self) -> Self:
        self._asked_ns = self._monotonic_ns()
        super().__enter__()
        self._opened.wait(_OPENS_WITHIN_S)
        if self._error is not None:
            raise SettingsError(self._error)
        return self

    def set(self, levels: Mapping[str, Level], by_ns: int | None = None) -> None:
        """Let the PLC read levels from now on: all of them, or none yet."""
        if self._late(levels, by_ns, switched=False):
            return
        places = self._places.outputs
        new = {
            (places[name].table, places[name].number): number_of(places[name], level) for name, level in levels.items()
        }
        self._memory.held.update(new)  # one call of the interpreter: a read finds all of it, or nothing yet

    def events(self) -> list[OutputEvent]:
        """Return what happened since last asked."""
        now_ns = self._monotonic_ns()
        silent = self._asked_ns is None or now_ns - self._asked_ns > self._settings.silent_ms * 1_000_000
        if silent and self._reached is not False:
            self._reached = False
            told = f"no PLC has asked unit {self._settings.unit} at {self._where} for {self._settings.silent_ms} ms"
            self._lost(f"{told}. Check its power, its cable, and the address and unit that it asks")
        elif not silent and self._reached is not True:
            self._reached = True
            self._happened.append(OutputRestored(now_ns))
        return super().events()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except (OSError, RuntimeError) as error:
            self._error = self._error or f"key machine.modbus: cannot listen at {self._where}: {error}"
        finally:
            self._opened.set()

    async def _serve(self) -> None:
        simulator, server = vendor("simulator"), vendor("server")
        device = simulator.SimDevice(
            id=self._settings.unit, simdata=[simulator.SimData(0, datatype=simulator.DataType.REGISTERS)]
        )
        listening = server.ModbusTcpServer(device, address=(self._settings.host, self._settings.port))
        listening.context = self._memory
        try:
            await listening.serve_forever(background=True)
        except RuntimeError:
            self._error = (
                f"key machine.modbus.port: expected a port to listen at, received {self._where}, which is in use, "
                "not of this device, or not allowed to this user. Ports below 1024 need a right of their own"
            )
            return
        self._opened.set()
        while not self._stop.is_set():
            await asyncio.sleep(self._settings.poll_ms / 1000)
            if self._reached:
                self._tell_inputs()
        await listening.shutdown()

    def _was_asked(self) -> None:
        self._asked_ns = self._monotonic_ns()

    def _tell_inputs(self) -> None:
        if self._places.inputs:
            self._heard(self._places.reading(self._monotonic_ns(), dict(self._memory.held)))

    @property
    def _where(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"
