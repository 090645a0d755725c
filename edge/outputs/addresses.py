"""Where a signal is at the machine: `coil 3`, `register 10`, or the name of a simulated signal."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MODBUS = re.compile(r"(coil|discrete|register|input) (0|[1-9][0-9]{0,4})")
_LAST = 65_535


@dataclass(frozen=True)
class Address:
    """One place at a machine. `table`: of Modbus, coil, discrete, register or input; `any` takes every level."""

    table: str
    number: int
    name: str = ""

    @property
    def bit(self) -> bool:
        """Whether it holds a bit, and no number."""
        return self.table in {"coil", "discrete"}

    def fits_output(self, *, number: bool) -> bool:
        """Tell whether a signal of a kind can go there."""
        return not (number and self.bit)

    @property
    def wanted(self) -> str:
        """What was expected where a signal does not fit."""
        return "a register for a number"

    def __str__(self) -> str:
        """Return it as the settings say it."""
        return self.name or f"{self.table} {self.number}"


def address_of(link: str, text: str) -> Address:
    """Read an address as a link names places. Raises ValueError with what was expected and received."""
    if link == "simulated":
        return Address("any", 0, text)
    found = _MODBUS.fullmatch(text)
    if found is None or int(found[2]) > _LAST:
        raise ValueError(f"expected coil, discrete, register or input with a number up to {_LAST}, received {text!r}")
    return Address(found[1], int(found[2]))
