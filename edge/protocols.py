"""The seams: where frames come from, what answers tiles, where messages and signals go, and who watches.

Each of the first four is a context manager: entering opens the device, leaving releases it on every path. One suite of
tests (`tests/contracts/`) runs over every implementation, the simulated ones included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, runtime_checkable

from typing_extensions import Self

from edge.records import (
    Batch,
    CameraFacts,
    CameraState,
    Float32,
    Frame,
    GraphContract,
    Maps,
    Message,
    PublisherEvent,
    Ticket,
    Token,
)
from edge.records.decided import Decided, DecidedPart
from edge.records.outputs import Level, OutputEvent


class _Scoped(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Camera(_Scoped, Protocol):
    """A source of frames."""

    name: str

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame that the drop policy allows, or why there is none within `timeout_s`.

        Never raises for a device's trouble and never returns the same pixels twice. END_OF_STREAM is final. A file
        that cannot be opened at all raises SourceError on entering.
        """
        ...

    @property
    def dropped(self) -> int:
        """Tell how many captured frames were replaced by newer ones before anybody read them."""
        ...


@runtime_checkable
class TellsFacts(Protocol):
    """A camera that tells more of itself than its frames."""

    @property
    def facts(self) -> CameraFacts:
        """Return what the source says of itself now; from any thread."""
        ...


class Engine(_Scoped, Protocol):
    """An inference backend under the graph contract."""

    @property
    def contract(self) -> GraphContract:
        """Tile size, channels, frames, stride, classes and largest batch."""
        ...

    @property
    def at_once(self) -> int:
        """Tell how many batches may be under way at once, two or more."""
        ...

    def buffer(self) -> Batch:
        """Return a batch whose `tiles` may be written now; `refs` is empty. None of those under way is returned."""
        ...

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Start answering the first `count` tiles; `thresholds` is float32 [K]. Returns without waiting."""
        ...

    def collect(self, ticket: Ticket) -> Maps:
        """Wait for and return a ticket's maps. Raises EngineError with the vendor's words."""
        ...


class Publisher(_Scoped, Protocol):
    """A way to a broker, and back: what comes on the topics that it was made to hear is among its `events`.

    A message belongs to the connection on which it was sent: it is acknowledged or refused, or `SessionLost` says that
    neither is known, and then it is the sender's again.
    """

    def send(self, message: Message) -> Token:
        """Send a message, or raise PublishError: closed, full, or no broker. Does not wait for the broker."""
        ...

    def events(self) -> Iterator[PublisherEvent]:
        """Yield what has happened since the last call, without waiting."""
        ...

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called, from any thread, when something has happened; it must not wait."""
        ...


class Output(_Scoped, Protocol):
    """Signals to a machine. The latest levels wait while it is not reached; it is told all of them when it is back."""

    def set(self, levels: Mapping[str, Level], by_ns: int | None = None) -> None:
        """Set levels that belong together; the machine sees them in this order. Returns at once, and never raises.

        Of each signal the latest level wins. Levels that would reach the machine after `by_ns` are left out, and told.
        """
        ...

    def events(self) -> Sequence[OutputEvent]:
        """Return what happened since the last call, without waiting."""
        ...


class Observer(Protocol):
    """Sees what was decided. It may be dropped; it changes nothing."""

    def offer(self, decided: Decided | DecidedPart) -> None:
        """Take note of a frame or part. Returns at once, and never raises.

        Only what writes a replay's files may wait for the disk and raise StoreError, which ends the replay.
        """
        ...
