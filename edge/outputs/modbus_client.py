"""A client that writes the outputs to a PLC and reads the inputs from it, in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.outputs.modbus import Heard, Places, runs_of, vendor
from edge.outputs.modbus_settings import ModbusSettings
from edge.outputs.pending import Batch, Pending
from edge.records.outputs import Level, OutputEvent, OutputLate, OutputLost, OutputRestored
from edge.wording import counted

_ENDS_WITHIN_S = 2.0
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


class ModbusClient:
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
        self._settings = settings
        self._places = places
        self._heard = heard
        self._monotonic_ns = monotonic_ns
        self._vendor = vendor("client")
        self._errors = vendor("exceptions")
        self._pending = Pending()
        self._shown: dict[str, Level] = {}
        self._happened: deque[OutputEvent] = deque(maxlen=1_000)
        self._reached: bool | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modbus client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what waits, which is the safe levels, and let go."""
        self._stop.set()
        self._pending.some.set()
        self._thread.join(_ENDS_WITHIN_S + self._settings.timeout_ms / 1000)

    def set(self, levels: Mapping[str, Level], by_ns: int | None = None) -> None:
        """Set levels at the PLC, in their order."""
        self._pending.put(levels, by_ns)

    def events(self) -> list[OutputEvent]:
        """Return what happened since last asked."""
        told = []
        while self._happened:
            told.append(self._happened.popleft())
        return told

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
        refresh_s, poll_s = time.monotonic() + _REFRESH_S, self._settings.poll_ms / 1000
        while True:
            stops = self._stop.is_set()
            for batch in self._pending.take():
                self._batch(client, batch)
            if stops:
                return
            if time.monotonic() >= refresh_s:
                refresh_s = time.monotonic() + _REFRESH_S
                self._write(client, dict(self._shown))
            self._read(client)
            self._pending.some.wait(poll_s)

    def _fold(self) -> None:
        """Take up what waited while nobody was there: levels alone, for a pulse's time is over."""
        for levels, by_ns in self._pending.take():
            if by_ns is None:
                self._show(levels)
            else:
                self._late(levels, by_ns, self._monotonic_ns(), switched=False)

    def _batch(self, client: Any, batch: Batch) -> None:
        levels, by_ns = batch
        now_ns = self._monotonic_ns()
        if by_ns is not None and now_ns > by_ns:
            self._late(levels, by_ns, now_ns, switched=False)
            return
        self._show(levels)
        self._write(client, levels)
        now_ns = self._monotonic_ns()
        if by_ns is not None and now_ns > by_ns:
            self._late(levels, by_ns, now_ns, switched=True)

    def _show(self, levels: Mapping[str, Level]) -> None:
        """Note what the PLC is to hold; what comes later stands behind, as the counter behind what it counts."""
        for name, level in levels.items():
            self._shown.pop(name, None)
            self._shown[name] = level

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

    def _late(self, levels: dict[str, Level], by_ns: int, now_ns: int, *, switched: bool) -> None:
        self._happened.extend(OutputLate(now_ns, name, now_ns - by_ns, switched) for name in levels)

    def _lost(self, detail: str) -> None:
        self._reached = False
        self._happened.append(OutputLost(self._monotonic_ns(), detail))

    def _back(self) -> None:
        if self._reached is not True:
            self._happened.append(OutputRestored(self._monotonic_ns()))
        self._reached = True

    @property
    def _where(self) -> str:
        return f"Modbus {self._settings.host}:{self._settings.port}"
