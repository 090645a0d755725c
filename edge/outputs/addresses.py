"""The address of a signal at the machine: `coil 3`, `register 10`, or the name of a simulated signal."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MODBUS = re.compile(r"(coil|discrete|register|input) (0|[1-9][0-9]{0,4})")
_LINE = re.compile(r"line (0|[1-9][0-9]{0,3})")
_LAST = 65_535


@dataclass(frozen=True)
class Address:
    """One place at a machine. `table`: of Modbus, coil, discrete, register or input; of GPIO, line.

    `any` and a node of OPC UA take every level.
    """

    table: str
    number: int
    name: str = ""

    @property
    def bit(self) -> bool:
        """Tell whether it holds a bit, and no number."""
        return self.table in {"coil", "discrete", "line"}

    @property
    def takes_text(self) -> bool:
        """Tell whether it takes a text as well."""
        return self.table in {"any", "node"}

    def wrong_for_output(self, *, number: bool, client: bool) -> str:
        """Say what was expected where a signal does not fit; empty where it does. A client cannot write inputs."""
        if client and self.table in {"discrete", "input"}:
            return "a coil or register, for a client cannot write that"
        return "a register for a number" if number and self.bit else ""

    def wrong_for_input(self, *, number: bool, client: bool) -> str:
        """Say what was expected where an input does not fit; empty where it does. A PLC writes coils and registers."""
        if not client and self.table in {"discrete", "input"}:
            return "a coil or register, for a PLC cannot write that"
        if number:
            return "a register for a number" if self.bit else ""
        return "" if self.bit or self.takes_text else "a coil or discrete for a bit"

    def __str__(self) -> str:
        """Return it as the settings say it."""
        return self.name or f"{self.table} {self.number}"


def address_of(link: str, text: str) -> Address:
    """Read an address as a link names places. Raises ValueError with what was expected and received."""
    if link == "simulated":
        return Address("any", 0, text)
    if link == "opcua":
        if not text.isprintable() or text != text.strip():
            raise ValueError(f"expected the id or the name of a node, such as ns=2;s=Gate, received {text!r}")
        return Address("node", 0, text)
    if link == "gpio":
        line = _LINE.fullmatch(text)
        if line is None:
            raise ValueError(f"expected line with its number, such as line 17, received {text!r}")
        return Address("line", int(line[1]))
    found = _MODBUS.fullmatch(text)
    if found is None or int(found[2]) > _LAST:
        raise ValueError(f"expected coil, discrete, register or input with a number up to {_LAST}, received {text!r}")
    return Address(found[1], int(found[2]))
