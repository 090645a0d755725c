"""A client that writes outputs to a PLC and reads inputs from it, in a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from edge.outputs.link import Heard, Link
from edge.outputs.link_settings import ModbusSettings
from edge.outputs.modbus import Places, runs_of, vendor
from edge.outputs.pending import Batch
from edge.records.outputs import Level, OutputRestored
from edge.wording import counted

# So often every level is written again: a PLC that was switched off and on may have forgotten them.
_REFRESH_S = 1.0
_EXCEPTIONS = {
    1: "it does not know that request",
    2: "it has no such address",
    3: "it does not take that value",
    4: "it failed",
    5: "it needs more time",
    6: "it is busy",
    10: "the gateway has no way to that unit",
    11: "the unit behind the gateway does not answer",
}
_WORDS = {"coil": "coil", "discrete": "discrete input", "register": "holding register", "input": "input register"}


class _LinkError(Exception):
    """The PLC is not reached, or does not do what it is asked; with what happened."""


class ModbusClient(Link):
    """The outputs at a PLC, which is the server. `heard` is told of each reading of the inputs, in this link's thread.

    Its absence, late answers, exception codes and another unit are told as events; it is tried again without end.
    """

    def __init__(
        self,
        settings: ModbusSettings,
        places: Places,
        heard: Heard = lambda _: None,
        *,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__("modbus client", heard, monotonic_ns)
        self._settings = settings
        self._places = places
        self._vendor = vendor("client")
        self._errors = vendor("exceptions")
        self._reached: bool | None = None
        self._again: list[str] = []  # signals that are still to be written again
        self._again_s = 0.0

    def _run(self) -> None:
        while not self._stop.is_set():
            client = self._vendor.ModbusTcpClient(
                self._settings.host, port=self._settings.port, timeout=self._settings.timeout_ms / 1000, retries=0
            )
            try:
                self._serve(client)
            except _LinkError as error:
                self._lost(str(error))
            except (self._errors.ModbusException, OSError) as error:
                self._lost(f"{self._where}: {error}")
            finally:
                client.close()
            if not self._stop.is_set():
                self._stop.wait(self._settings.retry_ms / 1000)

    def _serve(self, client: Any) -> None:
        if not client.connect():
            raise _LinkError(
                f"{self._where}: expected a PLC that listens, received no connection. Check its power, its cable, "
                "machine.modbus.host and port"
            )
        self._fold()
        self._write(client, dict(self._shown))
        self._read(client)
        self._back()
        self._again_s, poll_s = time.monotonic() + _REFRESH_S, self._settings.poll_ms / 1000
        while True:
            stops = self._stop.is_set()
            for batch in self._pending.take():
                self._batch(client, batch)
            if stops:
                return
            self._refresh(client)
            self._read(client)
            self._pending.some.wait(poll_s)

    def _refresh(self, client: Any) -> None:
        """Write some levels again: one request in each turn, so that what is due waits for one alone."""
        if not self._again and time.monotonic() >= self._again_s:
            self._again_s, self._again = time.monotonic() + _REFRESH_S, list(self._shown)
        if self._again:
            run = next(runs_of([(name, self._shown[name]) for name in self._again], self._places.outputs))
            names, self._again = self._again[: len(run[1])], self._again[len(run[1]) :]
            self._write(client, {name: self._shown[name] for name in names})

    def _batch(self, client: Any, batch: Batch) -> None:
        levels, by_ns = batch
        if self._late(levels, by_ns, switched=False):
            return
        self._show(levels)
        self._write(client, levels)
        self._late(levels, by_ns, switched=True)

    def _write(self, client: Any, levels: dict[str, Level]) -> None:
        unit = self._settings.unit
        for place, values in runs_of(list(levels.items()), self._places.outputs):
            if place.bit:
                answer = client.write_coils(place.number, [bool(value) for value in values], device_id=unit)
            else:
                answer = client.write_registers(place.number, values, device_id=unit)
            self._look(answer, f"to write {_WORDS[place.table]} {place.number}")

    def _read(self, client: Any) -> None:
        held: dict[tuple[str, int], int] = {}
        ask = {
            "coil": client.read_coils,
            "discrete": client.read_discrete_inputs,
            "register": client.read_holding_registers,
            "input": client.read_input_registers,
        }
        runs = self._places.read()
        if not runs:
            return
        at_ns = self._monotonic_ns()
        for table, first, count in runs:
            answer = ask[table](first, count=count, device_id=self._settings.unit)
            self._look(answer, f"to read {_WORDS[table]} {first}")
            values = (answer.bits if table in {"coil", "discrete"} else answer.registers)[:count]
            if len(values) < count:
                raise _LinkError(
                    f"{self._where}: expected {counted(count, 'value')} from {_WORDS[table]} {first} on, received less"
                )
            held |= {(table, first + k): int(value) for k, value in enumerate(values)}
        self._heard(self._places.reading(at_ns, held))

    def _look(self, answer: Any, what: str) -> None:
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            told = _EXCEPTIONS.get(code, "it says no more")
            raise _LinkError(
                f"{self._where}, unit {self._settings.unit}: expected {what}, received exception {code}: {told}. "
                "Check the places in outputs and inputs, and machine.modbus.unit"
            )

    def _lost(self, detail: str) -> None:
        self._reached = False
        super()._lost(detail)

    def _back(self) -> None:
        if self._reached is not True:
            self._happened.append(OutputRestored(self._monotonic_ns()))
        self._reached = True

    @property
    def _where(self) -> str:
        return f"Modbus {self._settings.host}:{self._settings.port}"
