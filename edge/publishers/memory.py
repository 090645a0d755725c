"""A publisher without a broker: keeps the last messages and answers as it is told. For replays, demos and tests."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType

from typing_extensions import Self

from edge.errors import PublishError
from edge.records import Acknowledged, Connected, Message, PublisherEvent, Received, Refused, SessionLost, Token

NOT_AUTHORISED = 0x87


class MemoryPublisher:
    """Acknowledges at once and keeps the last `keep` messages and every topic's retained one.

    `refuses` tells which messages are refused. It takes none while `away`.
    """

    def __init__(
        self, *, keep: int = 1000, away: bool = False, refuses: Callable[[Message], bool] = lambda _: False
    ) -> None:
        self.messages: deque[Message] = deque(maxlen=keep)
        self.retained: dict[str, Message] = {}
        self.refuses = refuses
        self._away = away
        self._open = False
        self._numbers = itertools.count(1)
        self._events: deque[PublisherEvent] = deque()
        self._lock = threading.Lock()
        self._listener: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        self._open = True
        self._happened(SessionLost("the broker is away") if self._away else Connected(session_present=False))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False

    def send(self, message: Message) -> Token:
        """Deliver a message. Raises PublishError without a broker, and when closed."""
        with self._lock:
            if not self._open:
                raise PublishError("The publisher is closed; open it with `with` before sending")
            if self._away:
                raise PublishError(f"{message.topic} was not sent: no broker. Send it again when it is connected")
            token = Token(next(self._numbers))
            self._happened(self._answer(token, message))
            return token

    def events(self) -> Iterator[PublisherEvent]:
        """Yield what has happened since the last call."""
        while self._events:
            yield self._events.popleft()

    def listen(self, listener: Callable[[], None]) -> None:
        """Have `listener` called when something has happened."""
        self._listener = listener

    def _happened(self, event: PublisherEvent) -> None:
        self._events.append(event)
        self._listener()

    def go_away(self, reason: str = "the broker went away") -> None:
        """Be without a broker from now on."""
        with self._lock:
            self._away = True
            self._happened(SessionLost(reason))

    def come_back(self, *, session_present: bool = False) -> None:
        """Have a broker again; one without the session has also forgotten what it retained."""
        with self._lock:
            self._away = False
            if not session_present:
                self.retained.clear()
            self._happened(Connected(session_present))

    def hear(self, received: Received) -> None:
        """Have the line hear a message, as if somebody had published it."""
        self._happened(received)

    def _answer(self, token: Token, message: Message) -> Acknowledged | Refused:
        if self.refuses(message):
            return Refused(token, NOT_AUTHORISED, "Not authorized")
        self.messages.append(message)
        if message.retain:
            self.retained[message.topic] = message
            if not message.payload:
                del self.retained[message.topic]
        return Acknowledged(token)
