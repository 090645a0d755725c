"""Tells the broker once a second how the signals between station and machine stand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

EVERY_S = 1.0
LISTED = 60  # signals of each direction: some 18 kB
_PLACE_AT_MOST = 60  # characters


class SignalReports:
    """Called on every turn of the loop. `told` says how the signals stand, `say` takes that for the broker."""

    def __init__(
        self,
        told: Callable[[], dict[str, Any]],
        say: Callable[[dict[str, Any]], None],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._told = told
        self._say = say
        self._monotonic_s = monotonic_s
        self._next_s = monotonic_s()

    def turn(self) -> None:
        """Say how they stand, if a second has passed; missed seconds are not made up for."""
        now_s = self._monotonic_s()
        if now_s >= self._next_s:
            self._next_s = now_s + EVERY_S
            self._say(bounded(self._told()))


def bounded(told: dict[str, Any]) -> dict[str, Any]:
    """Return what is told with the first LISTED signals of each direction; `omitted` counts the others."""
    listed = {
        way: [{**row, "at": row["at"][:_PLACE_AT_MOST]} for row in told[way][:LISTED]] for way in ("outputs", "inputs")
    }
    omitted = sum(len(told[way]) - len(rows) for way, rows in listed.items())
    return {**told, **listed, "omitted": omitted}
