"""Repeats, said once and then counted: lines of the log, of a library, reasons of an alarm."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Occurrence ids, addresses in memory, numbers: what differs between two lines that say the same.
_DIFFERS = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b0x[0-9a-fA-F]+\b|\d+(?:\.\d+)?")
_COMPARED_CHARACTERS = 300


def likeness(text: str) -> str:
    """Return what two lines have in common that say the same of another event, frame or moment.

    >>> likeness("frame 17 is 2.5 s old") == likeness("frame 18 is 31 s old")
    True
    """
    return _DIFFERS.sub("#", text[:_COMPARED_CHARACTERS])


@dataclass
class _Kind(Generic[T]):
    """One thing that is said: since when it is counted, how often, and what was said last, and in which turn."""

    since_s: float
    count: int
    last: T
    turn: int = 0


class Repeats(Generic[T]):
    """Decides what is told at once and what is counted. Pure but for its own memory: time is an argument.

    The first of a kind is told. More of it within `every_s` seconds are counted, and the count is told when they are
    over. More than `kinds_at_most` kinds at a time are counted together.
    """

    def __init__(self, every_s: float = 60.0, kinds_at_most: int = 100) -> None:
        self.every_s = every_s
        self._kinds_at_most = kinds_at_most
        self._kinds: dict[Hashable, _Kind[T]] = {}
        self._turns = 0

    def told(self, kind: Hashable, what: T, now_s: float) -> bool:
        """Tell whether `what` is to be told now; otherwise it is counted."""
        self._turns += 1
        known = self._kinds.get(kind)
        if known is None and len(self._kinds) >= self._kinds_at_most:
            kind, known = None, self._kinds.setdefault(None, _Kind(now_s, 0, what))
        if known is None:
            self._kinds[kind] = _Kind(now_s, 0, what)
            return True
        known.count, known.last, known.turn = known.count + 1, what, self._turns
        return False

    def due(self, now_s: float, *, all_of_it: bool = False) -> list[tuple[int, T, float]]:
        """Return what was counted and is to be told now: how often, what was said last, in how many seconds.

        The last line told comes last, so that it tells how things stand.
        """
        over = [
            (kind, known) for kind, known in self._kinds.items() if all_of_it or now_s - known.since_s >= self.every_s
        ]
        found = []
        for kind, known in sorted(over, key=lambda entry: entry[1].turn):
            if not known.count:
                del self._kinds[kind]
                continue
            found.append((known.count, known.last, now_s - known.since_s))
            known.since_s, known.count = now_s, 0
        return found
