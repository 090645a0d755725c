"""Refused commands in the journal: the first of each kind as they are, a flood of them as a number. Pure."""

from __future__ import annotations

TOLD = 10  # of one kind in full, within …
WITHIN_NS = 10_000_000_000


class Refusals:
    """Counts refusals by kind: the way by which they came, and their outcome."""

    def __init__(self) -> None:
        self._since_ns: dict[tuple[str, str], int] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def told(self, kind: tuple[str, str], now_ns: int) -> bool:
        """Count a refusal; tell whether it is to be noted in full. Ask for what is `due` before."""
        self._since_ns.setdefault(kind, now_ns)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return self._counts[kind] <= TOLD

    def due(self, now_ns: int, *, all_of_it: bool = False) -> list[tuple[tuple[str, str], int]]:
        """Return each kind whose time is over, with the number that was not noted in full; it is counted anew."""
        over = [kind for kind, since in self._since_ns.items() if all_of_it or now_ns - since >= WITHIN_NS]
        found = []
        for kind in over:
            del self._since_ns[kind]
            more = self._counts.pop(kind) - TOLD
            if more > 0:
                found.append((kind, more))
        return found
