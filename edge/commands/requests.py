"""What a line may be told, and what it answers. A command is read here and obeyed by the loop.

Over MQTT a command is a plain JSON body at `cmd/<name>` with the MQTT 5 property message expiry, and with a response
topic if an answer is wanted; from the device's own shell it comes through a socket (`command_socket.py`). Whatever came
is handed to the loop, which notes in the journal what became of it: obeyed, refused, or too late.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from edge.records import AlarmOutcome, Received
from edge.yaml_settings import StrictModel

MAX_WAITING = 100
MAX_EXPIRY_S = 60
MAX_BYTES = 16_384
MAX_REPLAYED = 10_000  # events that one command may ask for
MAX_SEQ = 2**63 - 1  # the store numbers no further

CommandOutcome = Literal[
    AlarmOutcome,
    "unknown_epoch",
    "some_missing",
    "unknown_command",
    "invalid",
    "retained",
    "expired",
    "crowded_out",
]

_Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
_AlarmId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
_User = Annotated[str, Field(min_length=1, max_length=100)]
_Comment = Annotated[str, Field(max_length=500)]


class Acknowledge(StrictModel):
    """Body of `cmd/ack`: somebody has seen this occurrence of an alarm. It is the same said twice."""

    schema_name: Annotated[Literal["linewatch/command-ack/1"], Field(alias="schema")]
    occurrence_id: _Uuid
    user: _User
    comment: _Comment


class Reset(StrictModel):
    """Body of `cmd/reset`: let a latched alarm go whose cause is gone."""

    schema_name: Annotated[Literal["linewatch/command-reset/1"], Field(alias="schema")]
    occurrence_id: _Uuid
    user: _User
    comment: _Comment


class Shelve(StrictModel):
    """Body of `cmd/shelve`: put an alarm aside, `timed` for `duration_s`, or `one_shot` until it next returns."""

    schema_name: Annotated[Literal["linewatch/command-shelve/1"], Field(alias="schema")]
    alarm: _AlarmId
    kind: Literal["one_shot", "timed"]
    duration_s: Annotated[int, Field(ge=1, le=604_800)] | None
    user: _User
    comment: _Comment

    @model_validator(mode="after")
    def _a_time_needs_a_length(self) -> Shelve:
        if (self.kind == "timed") != (self.duration_s is not None):
            raise ValueError("expected duration_s for the kind timed, and null for one_shot")
        return self


class Unshelve(StrictModel):
    """Body of `cmd/unshelve`: take an alarm back from its shelf."""

    schema_name: Annotated[Literal["linewatch/command-unshelve/1"], Field(alias="schema")]
    alarm: _AlarmId
    user: _User
    comment: _Comment


class Replay(StrictModel):
    """Body of `cmd/replay`: the events of these numbers are wanted once more."""

    schema_name: Annotated[Literal["linewatch/command-replay/1"], Field(alias="schema")]
    epoch: _Uuid
    from_seq: Annotated[int, Field(ge=1, le=MAX_SEQ)]
    to_seq: Annotated[int, Field(ge=1, le=MAX_SEQ)]
    user: _User
    comment: _Comment

    @model_validator(mode="after")
    def _a_range_of_bearable_length(self) -> Replay:
        if not 0 <= self.to_seq - self.from_seq < MAX_REPLAYED:
            raise ValueError(f"expected to_seq from from_seq on, and at most {MAX_REPLAYED} numbers")
        return self


# Every command that a line knows, by the last level of its topic; its body is told by schemas/command-<name>.json.
COMMANDS: dict[str, type[StrictModel]] = {
    "ack": Acknowledge,
    "shelve": Shelve,
    "unshelve": Unshelve,
    "reset": Reset,
    "replay": Replay,
}


@dataclass(frozen=True)
class Answer:
    """What became of a command, for who gave it. `detail` is for people."""

    command: str
    outcome: CommandOutcome
    detail: str
    response_topic: str
    correlation: bytes | None


@dataclass(frozen=True)
class Command:
    """One command: `body` is what is to be done, None where `problem` says why it cannot be.

    `source`: the way by which it came. `reply` takes its answer where that way is not MQTT. `account`: who gave it, as
    the system says; nothing where only the broker could know.
    """

    name: str
    body: StrictModel | None
    outcome: CommandOutcome
    problem: str
    response_topic: str | None
    correlation: bytes | None
    source: Literal["mqtt", "shell"] = "mqtt"
    reply: Callable[[CommandOutcome, str], None] | None = field(default=None, compare=False)
    account: str = ""

    def answer(self, outcome: CommandOutcome, detail: str) -> Answer | None:
        """Return the answer, or None where none was asked for."""
        if self.response_topic is None:
            return None
        return Answer(self.name, outcome, detail, self.response_topic, self.correlation)

    def refused(self, outcome: CommandOutcome, problem: str) -> Command:
        """Return this command as one that is not obeyed."""
        return replace(self, body=None, outcome=outcome, problem=problem)


def read_command(received: Received, root: str) -> Command:
    """Return the command that a message gives to the line whose topics begin with `root`.

    What a broker had retained is nobody's command of now: it is refused without an answer, since it would come again at
    every connection. An answer never goes below `root`: nobody may have the line write an alarm that is none.
    """
    name = received.topic.removeprefix(f"{root}/cmd/")
    wanted = received.response_topic
    where = None if wanted is None or wanted == root or wanted.startswith((f"{root}/", "$")) else wanted
    if received.retained:
        return Command(name, None, "retained", "a retained command is not obeyed", None, None)
    body, outcome, problem = _body(name, received)
    return Command(name, body, outcome, problem, where, received.correlation)


def _body(name: str, received: Received) -> tuple[StrictModel | None, CommandOutcome, str]:
    if name not in COMMANDS:
        return None, "unknown_command", f"expected one of {', '.join(COMMANDS)}, received {name[:100]!r}"
    if received.expiry_s is None or received.expiry_s > MAX_EXPIRY_S:
        told = "none" if received.expiry_s is None else f"{received.expiry_s} s"
        return None, "invalid", f"expected a message expiry of at most {MAX_EXPIRY_S} s, received {told}"
    if len(received.payload) > MAX_BYTES:
        return None, "invalid", f"the body: expected at most {MAX_BYTES} bytes, received {len(received.payload)}"
    try:
        return COMMANDS[name].model_validate_json(received.payload), "ok", ""
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(str(part) for part in wrong["loc"]) or "the body"
        return None, "invalid", f"{where}: {wrong['msg']}"


class Inbox:
    """Commands between the threads that hear them and the loop that obeys. At most MAX_WAITING wait.

    What has waited for longer than its expiry is not obeyed: who gave it has given it up. Nor is what found no room.
    Both come out as refused, so that the loop can note them; of what found no room only the number is kept.
    """

    def __init__(self, root: str, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._monotonic_s = monotonic_s
        self._waiting: deque[tuple[float, Command]] = deque()
        self._crowded_out = 0
        self._lock = threading.Lock()
        self.dropped = 0

    def put(
        self,
        received: Received,
        reply: Callable[[CommandOutcome, str], None] | None = None,
        account: str = "",
    ) -> None:
        """Accept a message from any thread. With `reply` it is from `account` of the device, which is so answered."""
        command = read_command(received, self._root)
        if reply is not None:
            command = replace(command, source="shell", reply=reply, account=account)
        until_s = self._monotonic_s() + min(received.expiry_s or MAX_EXPIRY_S, MAX_EXPIRY_S)
        with self._lock:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append((until_s, command))
                return
            self.dropped += 1
            self._crowded_out += 1
        if reply is not None:
            reply("crowded_out", f"{MAX_WAITING} commands wait")

    def take(self) -> list[Command]:
        """Return what waited, in order."""
        if not self._waiting:  # most turns; reading a length needs no lock
            return []
        now_s = self._monotonic_s()
        with self._lock:
            waited, self._waiting = self._waiting, deque()
            crowded_out, self._crowded_out = self._crowded_out, 0
        taken = []
        for until_s, command in waited:
            late = now_s > until_s
            self.dropped += late
            taken.append(command.refused("expired", "it waited for longer than its expiry") if late else command)
        if crowded_out:
            told = f"{crowded_out} commands came while {MAX_WAITING} waited"
            taken.append(Command("", None, "crowded_out", told, None, None))
        return taken
