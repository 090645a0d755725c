"""Messages that need not survive a restart: announcements, of which the latest counts, and answers."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from edge.records import Message

ANSWERS_AT_MOST = 200  # that wait; a caller that asks for more gets none, and is counted
ANSWER = "answer"  # the kind of message


class Offers:
    """Two queues between the threads that say something and the sender: of announcements the latest of each topic.

    Answers each count, in their order; one that waited for longer than its expiry is not given any more. `dropped`
    counts those, and what found no room.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._said: OrderedDict[str, Message] = OrderedDict()
        self._answers: deque[tuple[float, Message]] = deque()
        self._lock = threading.Lock()
        self.dropped = 0

    def put(self, message: Message) -> None:
        """Accept a message from any thread."""
        with self._lock:
            self._put(message)

    def put_all(self, said: Callable[[], Sequence[Message]]) -> list[Message]:
        """Ask for messages and accept them at once: what others offer meanwhile is newer, and must not be replaced."""
        with self._lock:
            messages = list(said())
            for message in messages:
                self._put(message)
            return messages

    def _put(self, message: Message) -> None:
        if message.kind != ANSWER:
            self._said.pop(message.topic, None)
            self._said[message.topic] = message
        elif len(self._answers) < ANSWERS_AT_MOST:
            self._answers.append((self._monotonic_s() + (message.expiry_s or ANSWERS_AT_MOST), message))
        else:
            self.dropped += 1

    def put_back(self, message: Message) -> None:
        """Take back what was on its way when the connection broke, unless there is something newer."""
        with self._lock:
            if message.kind == ANSWER:
                self._answers.appendleft((self._monotonic_s() + (message.expiry_s or ANSWERS_AT_MOST), message))
            elif message.topic not in self._said:
                self._said[message.topic] = message
                self._said.move_to_end(message.topic, last=False)

    def topics(self) -> list[str]:
        """Return the topics of the announcements that wait, in order."""
        with self._lock:
            return list(self._said)

    def said(self, topic: str) -> Message | None:
        """Return the announcement that waits for a topic."""
        with self._lock:
            return self._said.get(topic)

    def forget(self, topic: str, message: Message | None = None) -> None:
        """Remove what waits for a topic; with `message`, only if it is this one."""
        with self._lock:
            if message is None or self._said.get(topic) is message:
                self._said.pop(topic, None)

    def answer(self) -> Message | None:
        """Return the next answer, which stays until it is `given`."""
        with self._lock:
            while self._answers and self._answers[0][0] < self._monotonic_s():
                self._answers.popleft()
                self.dropped += 1
            return self._answers[0][1] if self._answers else None

    def given(self, message: Message) -> None:
        """Remove an answer."""
        with self._lock:
            if self._answers and self._answers[0][1] is message:
                self._answers.popleft()

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return bool(self._said or self._answers)
