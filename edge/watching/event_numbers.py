"""The events of a station that have not come, told by their numbers. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

_GAPS_AT_MOST = 200


@dataclass
class _Gap:
    first: int
    last: int
    since_ns: int


class EventNumbers:
    """Follows the numbers of events within an epoch. Alarms overtake results, so a gap counts after a while only.

    `epochs`: how often a new store began. `forgotten`: numbers that had not come when too many gaps were remembered.
    """

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.last: int | None = None
        self.epochs = 0
        self.forgotten = 0
        self._first = 0
        self._gaps: list[_Gap] = []
        self._committed: list[tuple[int, int]] = []

    def take(self, epoch: str, number: int, now_ns: int, *, resent: bool = False) -> bool:
        """Note an event that has come; tell whether it is new, and not one that came before.

        `resent`: the station sends it again; from before the first that was heard it is then nothing new.
        """
        self._begin(epoch)
        if self.last is None:
            self._first = self.last = number
            return True
        if number > self.last:
            if number > self.last + 1:
                self._gaps.append(_Gap(self.last + 1, number - 1, now_ns))
            self.last = number
            self._bound()
            return True
        return not resent if number < self._first else self._fill(number)

    def committed(self, epoch: str, number: int, now_ns: int) -> None:
        """Note that the station has committed events up to this number."""
        self._begin(epoch)
        if self.last is None:
            self._first, self.last = number + 1, number
        elif number > self.last and (not self._committed or number > self._committed[-1][0]):
            self._committed = [*self._committed[-_GAPS_AT_MOST:], (number, now_ns)]

    def missing(self, now_ns: int, after_ns: int) -> list[tuple[int, int]]:
        """Return the ranges, first and last number, that have not come for so long since they should have."""
        found = [(gap.first, gap.last) for gap in self._gaps if now_ns - gap.since_ns >= after_ns]
        self._committed = [(number, at_ns) for number, at_ns in self._committed if number > (self.last or 0)]
        late = [number for number, at_ns in self._committed if now_ns - at_ns >= after_ns]
        if late and self.last is not None:
            found.append((self.last + 1, late[-1]))
        return found

    def forget(self) -> None:
        """Begin anew with the next event: some were not listened to."""
        self.last, self._gaps, self._committed = None, [], []

    def _begin(self, epoch: str) -> None:
        if epoch != self.epoch:
            self.epochs += self.epoch is not None
            self.epoch = epoch
            self.forget()

    def _fill(self, number: int) -> bool:
        for place, gap in enumerate(self._gaps):
            if gap.first <= number <= gap.last:
                left = [_Gap(gap.first, number - 1, gap.since_ns), _Gap(number + 1, gap.last, gap.since_ns)]
                self._gaps[place : place + 1] = [each for each in left if each.first <= each.last]
                self._bound()
                return True
        return False

    def _bound(self) -> None:
        while len(self._gaps) > _GAPS_AT_MOST:
            gone = self._gaps.pop(0)
            self.forgotten += gone.last - gone.first + 1
