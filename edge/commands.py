"""What a line may be told over MQTT, and what it answers. A command is read here and obeyed by the loop.

A command is a plain JSON body at `cmd/<name>` with the MQTT 5 property message expiry, and with a response topic if an
answer is wanted. What a broker had retained is nobody's command of now, and is dropped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from edge.records import Received
from edge.yaml_settings import StrictModel

MAX_WAITING = 100
MAX_EXPIRY_S = 60

Outcome = Literal["ok", "already_acked", "unknown_occurrence", "unknown_command", "invalid"]


class Acknowledge(StrictModel):
    """Body of `cmd/ack`: somebody has seen this occurrence of an alarm. It is the same said twice."""

    schema_name: Annotated[Literal["linewatch/command-ack/1"], Field(alias="schema")]
    occurrence_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    user: Annotated[str, Field(min_length=1, max_length=100)]
    comment: Annotated[str, Field(max_length=500)]


COMMANDS: dict[str, type[Acknowledge]] = {"ack": Acknowledge}


@dataclass(frozen=True)
class Answer:
    """What became of a command, for who gave it. `detail` is for people."""

    command: str
    outcome: Outcome
    detail: str
    response_topic: str
    correlation: bytes | None


@dataclass(frozen=True)
class Command:
    """One command that holds: `body` is what is to be done, None where `problem` says why it cannot be."""

    name: str
    body: Acknowledge | None
    outcome: Outcome
    problem: str
    response_topic: str | None
    correlation: bytes | None

    def answer(self, outcome: Outcome, detail: str) -> Answer | None:
        """Return the answer, or None where none was asked for."""
        if self.response_topic is None:
            return None
        return Answer(self.name, outcome, detail, self.response_topic, self.correlation)


def read_command(received: Received, root: str) -> Command | None:
    """Return the command that a message gives to the line whose topics begin with `root`; None for a retained one.

    An answer never goes below `root`: nobody may have the line write a result or an alarm that is none.
    """
    if received.retained:
        return None
    name = received.topic.removeprefix(f"{root}/cmd/")
    wanted = received.response_topic
    where = None if wanted is None or wanted == root or wanted.startswith((f"{root}/", "$")) else wanted
    body, outcome, problem = _body(name, received)
    return Command(name, body, outcome, problem, where, received.correlation)


def _body(name: str, received: Received) -> tuple[Acknowledge | None, Outcome, str]:
    if name not in COMMANDS:
        return None, "unknown_command", f"expected one of {', '.join(COMMANDS)}, received {name!r}"
    if received.expiry_s is None or received.expiry_s > MAX_EXPIRY_S:
        told = "none" if received.expiry_s is None else f"{received.expiry_s} s"
        return None, "invalid", f"expected a message expiry of at most {MAX_EXPIRY_S} s, received {told}"
    try:
        return COMMANDS[name].model_validate_json(received.payload), "ok", ""
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(part) for part in wrong["loc"]) or "the body"
        return None, "invalid", f"{where}: {wrong['msg']}"


class Inbox:
    """Commands between the thread that hears them and the loop that obeys. At most MAX_WAITING wait; more are dropped.

    What has waited for longer than its expiry is dropped too: who gave it has given it up.
    """

    def __init__(self, root: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._monotonic_s = monotonic_s
        self._waiting: deque[tuple[float, Command]] = deque()
        self._lock = threading.Lock()
        self.dropped = 0

    def put(self, received: Received) -> None:
        """Accept a message from any thread."""
        command = read_command(received, self._root)
        if command is None:
            return
        until_s = self._monotonic_s() + min(received.expiry_s or MAX_EXPIRY_S, MAX_EXPIRY_S)
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                self.dropped += 1
            else:
                self._waiting.append((until_s, command))

    def take(self) -> list[Command]:
        """Return what waits and still holds, in order."""
        if not self._waiting:  # most turns; reading a length needs no lock
            return []
        now_s = self._monotonic_s()
        with self._lock:
            taken = [command for until_s, command in self._waiting if now_s <= until_s]
            self.dropped += len(self._waiting) - len(taken)
            self._waiting.clear()
        return taken
