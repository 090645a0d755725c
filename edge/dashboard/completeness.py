"""A station's events that have come, those that have not, and those to ask for again. Pure: time is an argument."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

ASKED_AT_ONCE = 10_000  # numbers in one wish; a station takes no more
BACK_AT_MOST = 50_000  # numbers before the first contact that are asked for
LATE_AFTER_S = 10.0  # alarms overtake results
TRIES = 3
_FIRST_WAIT_S = 20.0
_COME_PER_S = 200.0  # slower than a station sends again
_STRETCHES_AT_MOST = 10_000  # a station leaves few gaps; who forges numbers leaves many
_LOOKED_BACK, _STEP_S = 64, 1.0  # a station that speaks of its numbers all the time is remembered long enough too


class Stretches:
    """Whole numbers as stretches of neighbours, first and last, in order."""

    def __init__(self, stretches: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(stretches):
            self.add(first, last)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def __len__(self) -> int:
        return len(self._firsts)

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number <= self._lasts[place]

    def add(self, first: int, last: int) -> None:
        """Put a stretch in, and join it with its neighbours."""
        low = bisect_right(self._firsts, first) - 1
        if low < 0 or self._lasts[low] < first - 1:
            low += 1
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first, last = min(first, self._firsts[low]), max(last, self._lasts[high - 1])
        self._firsts[low:high], self._lasts[low:high] = [first], [last]

    def count(self, first: int, last: int) -> int:
        """Return how many numbers of a range are in it."""
        return max(0, last - first + 1) - sum(end - begin + 1 for begin, end in self.missing(first, last))

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """Return the stretches of a range that are not in it."""
        found, begin = [], first
        for place in range(max(0, bisect_right(self._firsts, first) - 1), len(self._firsts)):
            if self._firsts[place] > last:
                break
            if self._firsts[place] > begin:
                found.append((begin, self._firsts[place] - 1))
            begin = max(begin, self._lasts[place] + 1)
        if begin <= last:
            found.append((begin, last))
        return found


@dataclass
class _Asked:
    """The questions about one piece: how often in vain, when again, and how many were missing at the last time."""

    tries: int
    again_s: float
    missing: int


@dataclass(frozen=True)
class Complete:
    """The completeness of one epoch: `came` of `expected` events; `holes`: how many stretches are missing."""

    came: int
    expected: int
    holes: int


class Completeness:
    """The events of one epoch. `first`: the first number that is wanted; `committed`: the highest there is."""

    def __init__(self, first: int, committed: int, came: Iterable[tuple[int, int]] = ()) -> None:
        self.first, self.committed = first, committed
        self.came = Stretches(came)
        self.given_up = Stretches()
        self._heard: deque[tuple[float, int]] = deque(maxlen=_LOOKED_BACK)
        self._asked: dict[int, _Asked] = {}

    @staticmethod
    def begin(committed: int) -> Completeness:
        """Return that of an epoch which is met for the first time."""
        return Completeness(max(1, committed - BACK_AT_MOST + 1), committed)

    def is_new(self, number: int) -> bool:
        """Tell whether an event has not come before, and can be one of this epoch."""
        return number not in self.came and len(self.came) < _STRETCHES_AT_MOST

    def take(self, number: int) -> None:
        """Note that an event has come."""
        self.came.add(number, number)
        self.first = min(self.first, number)
        self.committed = max(self.committed, number)

    def hear(self, committed: int, now_s: float) -> None:
        """Note that the station has committed events up to this number."""
        self.committed = max(self.committed, committed)
        last_s, last = self._heard[-1] if self._heard else (now_s - _STEP_S, 0)
        if committed != last and now_s - last_s >= _STEP_S:
            self._heard.append((now_s, committed))

    def wish(self, now_s: float) -> tuple[int, int] | None:
        """Return the range to ask for now, and count it as asked for; None where nothing is due.

        Numbers are asked for in pieces that lie still, the newest first. So a piece whose events are on their way is
        not asked for anew. A piece that a station has not got does not stand before the others.
        """
        due = max((number for at_s, number in self._heard if now_s - at_s >= LATE_AFTER_S), default=0)
        for piece, stretches in self._pieces(due):
            missing = sum(last - first + 1 for first, last in stretches)
            asked = self._asked.setdefault(piece, _Asked(0, now_s, missing))
            if now_s < asked.again_s:
                continue
            if asked.missing != missing:  # some have come since, or are missing anew
                asked.tries, asked.missing = 0, missing
            if asked.tries >= TRIES:
                for first, last in stretches:
                    self.given_up.add(first, last)
                del self._asked[piece]
                continue
            asked.tries += 1
            asked.again_s = now_s + _FIRST_WAIT_S * 4 ** (asked.tries - 1) + missing / _COME_PER_S
            return stretches[0][0], stretches[-1][1]
        return None

    def _pieces(self, due: int) -> list[tuple[int, list[tuple[int, int]]]]:
        """Return what is missing up to a number and was not given up, by piece, the newest first."""
        found: dict[int, list[tuple[int, int]]] = {}
        for begin, end in self.came.missing(self.first, due):
            for hole_first, last in self.given_up.missing(begin, end):
                first = hole_first
                while first <= last:
                    piece = first // ASKED_AT_ONCE
                    until = min(last, (piece + 1) * ASKED_AT_ONCE - 1)
                    found.setdefault(piece, []).append((first, until))
                    first = until + 1
        return sorted(found.items(), reverse=True)

    def give_up(self, first: int, last: int) -> None:
        """Note that the station has not got these any more."""
        for begin, end in self.came.missing(first, last):
            self.given_up.add(begin, end)

    def told(self) -> Complete:
        """Return how complete it is."""
        expected = max(0, self.committed - self.first + 1)
        missing = self.came.missing(self.first, self.committed)
        return Complete(expected - sum(end - begin + 1 for begin, end in missing), expected, len(missing))
