"""The size that a message may have for this broker: as it announces, and as it was seen to refuse."""

from __future__ import annotations

from edge.records import Message
from edge.wording import counted

LARGEST_PICTURE = 200_000  # bytes
SMALLEST_PICTURE = 2_000  # bytes; below this nothing can be seen
_AROUND = 300  # bytes of a packet beside topic and payload: its properties
_BROKEN_BEFORE = 2  # connections broken over messages larger than any that was taken, before size is held to blame


def size_of(message: Message) -> int:
    """Return what counts of a message's size, bytes."""
    return len(message.topic.encode()) + len(message.payload)


class SizeLimits:
    """Learns from refusals (`refused`), from broken connections (`broke`) and from what was `taken`."""

    def __init__(self) -> None:
        self.announced: int | None = None
        self.forget()

    def forget(self) -> None:
        """Believe in nothing that was learned: a broker may have been set up anew."""
        self._refused: int | None = None
        self._broken: list[int] = []
        self._taken = 0
        self._picture = LARGEST_PICTURE
        self._picture_unsure = False

    def refused(self, message: Message) -> None:
        """Note that the broker called a message too large."""
        size = size_of(message)
        if size > self._taken:  # else it is not for the size alone
            self._refused = size if self._refused is None else min(self._refused, size)
        self._picture = min(self._picture, max(self._taken, 3 * size // 4))
        self._picture_unsure = True

    def broke(self, message: Message) -> None:
        """Note that the broker ended the connection over a message, which may be for its size."""
        size = size_of(message)
        if size > self._taken:
            self._broken.append(size)

    def too_large_picture(self, message: Message) -> None:
        """Note that the broker ended the connection over a picture."""
        self._picture = min(self._picture, max(self._taken, size_of(message) // 4))
        self._picture_unsure = True

    def taken(self, message: Message) -> None:
        """Note that the broker acknowledged a message."""
        self._taken = max(self._taken, size_of(message))
        if self._refused is not None and self._taken >= self._refused:
            self._refused = None
        if message.kind == "picture":
            self._picture_unsure = False

    def too_large(self, message: Message) -> str | None:
        """Say why a message need not be tried; None where it may be taken."""
        size = size_of(message)
        if self._refused is not None and size >= self._refused:
            return f"{counted(size, 'byte')}, and the broker refused {self._refused} as too large"
        broken = sorted(size for size in self._broken if size > self._taken)
        if len(broken) >= _BROKEN_BEFORE and size >= broken[0] and not message.urgent:
            return (
                f"{counted(size, 'byte')}, and the broker ended the connection over {broken[0]}, but took {self._taken}"
            )
        return None

    @property
    def picture(self) -> int:
        """The number of bytes that a picture may have; 0 where none is worth sending. Of any thread."""
        largest = self._picture
        if self.announced is not None:
            largest = min(largest, self.announced - _AROUND)
        if self._refused is not None:
            largest = min(largest, self._refused - _AROUND)
        return largest if largest >= SMALLEST_PICTURE else 0

    @property
    def picture_unsure(self) -> bool:
        """True if the next picture is to be acknowledged. At QoS 0 a broker drops a too large one and says nothing."""
        return self._picture_unsure
