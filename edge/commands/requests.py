"""The commands that a line takes, and its answers. A command is read here and obeyed by the loop.

Over MQTT a command is a plain JSON body at `cmd/<name>` with the MQTT 5 property message expiry. It has a response
topic if an answer is wanted. From the device's own shell it comes through a socket (`socket.py`). Every command is
handed to the loop, which notes its outcome in the journal: obeyed, refused, or too late.
"""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from edge.rates import Rate
from edge.records import AlarmOutcome, Crowded, Received
from edge.strict_json import parse_json
from edge.wording import counted
from edge.yaml_settings import StrictModel

MAX_WAITING = 100
PER_S = 50  # commands from the broker, on average; MAX_WAITING at once
RESENDS_PER_S, RESENDS_AT_ONCE = 1, 10
PARTS_PER_S = 400  # openings and closings: 200 parts; as many at once
MAX_PARTS_WAITING = 1_000
UNSEEN = "unseen"  # in the place of the name of commands that were thrown away unseen
TOLD_EVERY_S = 10.0  # crowded-out commands are told together
MAX_DETAIL = 500
MAX_ANSWER_TOPIC = 200  # characters
MAX_ANSWER_LEVELS = 20
MAX_CORRELATION = 1_024  # bytes
MAX_EXPIRY_S = 60
MAX_BYTES = 16_384
MAX_RESENT = 10_000  # events that one command may ask for
MAX_CHALLENGE_PARTS = 1_000
MIN_CHALLENGE_S, MAX_CHALLENGE_S = 10, 86_400
MAX_BYPASS_MINUTES = 480
MAX_SHADOW_PARTS = 10_000
MIN_HAND_TEST_S, MAX_HAND_TEST_S = 0.1, 10.0
MAX_SEQ = 2**63 - 1  # the store numbers no further

CommandOutcome = Literal[
    AlarmOutcome,
    "already_running",
    "not_running",
    "no_parts",
    "bypassed",
    "not_bypassed",
    "unknown_recipe",
    "accepted",
    "superseded",
    "failed",
    "rolled_back",
    "cancelled",
    "unknown_signal",
    "line_runs",
    "not_by_hand",
    "unknown_epoch",
    "some_missing",
    "unknown_command",
    "invalid",
    "retained",
    "expired",
    "crowded_out",
]

_Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
_AlarmId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]


# Controls, spaces, formats and characters without a sign, as a class of a regular expression; the last line as
# characters. They are Unicode's categories C and Z, unassigned ones left out. The schemas hold the same patterns.
_UNSEEN = (
    "\\u0000-\\u0020\\u007f-\\u00a0\\u00ad\\u0600-\\u0605\\u061c\\u06dd\\u070f\\u0890\\u0891\\u08e2\\u1680\\u180e"
    "\\u2000-\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u3000\\ud800-\\uf8ff\\ufeff\\ufff9-\\ufffb\\ufffe\\uffff"
    "\U000110bd\U000110cd\U00013430-\U00013438\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f\U000f0000-\U0010fffd"
)
_HAS_A_SIGN = f"[^{_UNSEEN}]"
_PRINTABLE = f"^[^{_UNSEEN}]( *[^{_UNSEEN}])*$"
_has_a_sign, _is_printable = re.compile(_HAS_A_SIGN), re.compile(_PRINTABLE)


def _visible(user: str) -> str:
    if _has_a_sign.search(user) is None:
        raise ValueError("expected a name that can be seen")
    return user


_User = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_visible)]
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


class Resend(StrictModel):
    """Body of `cmd/resend`: the events of these numbers are wanted once more."""

    schema_name: Annotated[Literal["linewatch/command-resend/1"], Field(alias="schema")]
    epoch: _Uuid
    from_seq: Annotated[int, Field(ge=1, le=MAX_SEQ)]
    to_seq: Annotated[int, Field(ge=1, le=MAX_SEQ)]
    user: _User
    comment: _Comment

    @model_validator(mode="after")
    def _a_range_of_bearable_length(self) -> Resend:
        if not 0 <= self.to_seq - self.from_seq < MAX_RESENT:
            raise ValueError(f"expected to_seq from from_seq on, and at most {MAX_RESENT} numbers")
        return self


class Challenge(StrictModel):
    """Body of `cmd/challenge`: known bad parts go through next, and all must be NG; or `cancel` the one that runs.

    `parts`, `within_s`: None = as the settings say.
    """

    schema_name: Annotated[Literal["linewatch/command-challenge/1"], Field(alias="schema")]
    action: Literal["begin", "cancel"]
    parts: Annotated[int, Field(ge=1, le=MAX_CHALLENGE_PARTS)] | None
    within_s: Annotated[int, Field(ge=MIN_CHALLENGE_S, le=MAX_CHALLENGE_S)] | None
    user: _User
    comment: _Comment

    @model_validator(mode="after")
    def _cancelling_has_no_size(self) -> Challenge:
        if self.action == "cancel" and (self.parts, self.within_s) != (None, None):
            raise ValueError("expected parts and within_s null to cancel")
        return self


class SetBypass(StrictModel):
    """Body of `cmd/bypass`: take inspection out for `minutes`, for a `reason`; or put it back."""

    schema_name: Annotated[Literal["linewatch/command-bypass/1"], Field(alias="schema")]
    action: Literal["on", "off"]
    minutes: Annotated[int, Field(ge=1, le=MAX_BYPASS_MINUTES)] | None
    reason: _Comment
    user: _User

    @model_validator(mode="after")
    def _inspection_is_not_taken_out_for_nothing(self) -> SetBypass:
        if (self.action == "on") != (self.minutes is not None):
            raise ValueError("expected minutes for the action on, and null for off")
        if self.action == "on" and _has_a_sign.search(self.reason) is None:
            raise ValueError("expected a reason why inspection is taken out, received none")
        return self

    @property
    def comment(self) -> str:
        """The comment that the journal notes beside the command."""
        return self.reason


class OpenOrClosePart(StrictModel):
    """Body of `cmd/part`: a part begins, or ends. Without `part_id` the station numbers it, or ends the oldest.

    `recipe`: which product the part is; null = the one in force. Only an opening says so.
    """

    schema_name: Annotated[Literal["linewatch/command-part/1"], Field(alias="schema")]
    action: Literal["open", "close"]
    part_id: Annotated[str, Field(min_length=1, max_length=100)] | None
    recipe: _Name | None

    @model_validator(mode="after")
    def _only_an_opening_names_a_recipe(self) -> OpenOrClosePart:
        if self.action == "close" and self.recipe is not None:
            raise ValueError("expected recipe null for the action close")
        return self

    @field_validator("part_id")
    @classmethod
    def _an_id_can_be_printed(cls, part_id: str | None) -> str | None:
        if part_id is not None and _is_printable.fullmatch(part_id) is None:
            raise ValueError("expected characters that can be printed, and no space at either end")
        return part_id


class ResetCounters(StrictModel):
    """Body of `cmd/reset-counters`: what was counted since the start begins at 0. The ledger of shifts goes on."""

    schema_name: Annotated[Literal["linewatch/command-reset-counters/1"], Field(alias="schema")]
    user: _User
    comment: _Comment


class SwitchByHand(StrictModel):
    """Body of `cmd/hand-test`: an output is switched for some seconds, while the line stands or is bypassed."""

    schema_name: Annotated[Literal["linewatch/command-hand-test/1"], Field(alias="schema")]
    signal: _Name
    seconds: Annotated[float, Field(ge=MIN_HAND_TEST_S, le=MAX_HAND_TEST_S)]
    user: _User
    comment: _Comment


class ChangeRecipe(StrictModel):
    """Body of `cmd/recipe`: another recipe is to be in force. It is answered once it is, or cannot be."""

    schema_name: Annotated[Literal["linewatch/command-recipe/1"], Field(alias="schema")]
    recipe: _Name
    user: _User
    comment: _Comment


class ReloadFiles(StrictModel):
    """Body of `cmd/reload`: read the settings file and the bundles again (`begin`), or give that up (`cancel`).

    `shadow_parts`: in place of that of the settings. It is answered once it is done: taken, refused or rolled back.
    """

    schema_name: Annotated[Literal["linewatch/command-reload/1"], Field(alias="schema")]
    action: Literal["begin", "cancel"]
    shadow_parts: Annotated[int, Field(ge=0, le=MAX_SHADOW_PARTS)] | None
    user: _User
    comment: _Comment

    @model_validator(mode="after")
    def _only_a_beginning_has_parts(self) -> ReloadFiles:
        if self.action == "cancel" and self.shadow_parts is not None:
            raise ValueError("expected shadow_parts null for the action cancel")
        return self


# Every command that a line knows, by the last level of its topic; its body is told by schemas/command-<name>.json.
COMMANDS: dict[str, type[StrictModel]] = {
    "ack": Acknowledge,
    "shelve": Shelve,
    "unshelve": Unshelve,
    "reset": Reset,
    "resend": Resend,
    "challenge": Challenge,
    "bypass": SetBypass,
    "part": OpenOrClosePart,
    "recipe": ChangeRecipe,
    "reload": ReloadFiles,
    "reset-counters": ResetCounters,
    "hand-test": SwitchByHand,
}
RENAMED = {"replay": "resend"}  # commands by their earlier names


@dataclass(frozen=True)
class Answer:
    """The outcome of a command, for who gave it. `detail` is for people."""

    command: str
    outcome: CommandOutcome
    detail: str
    response_topic: str
    correlation: bytes | None


class CommandSettings(StrictModel):
    """The settings of answers. `answer_prefix`: the topics of answers begin with it; None = ROOT/answer/.

    It is nobody else's: a command can have the line publish anywhere below it.
    """

    answer_prefix: Annotated[str, Field(min_length=2, max_length=MAX_ANSWER_TOPIC - 20)] | None = None

    @field_validator("answer_prefix")
    @classmethod
    def _is_a_topic(cls, prefix: str | None) -> str | None:
        if prefix is None:
            return None
        if wrong := _illegal(prefix.removesuffix("/")) or _of_a_line(prefix.removesuffix("/")):
            raise ValueError(f"expected the beginning of a topic for answers alone, received {prefix!r}: {wrong}")
        return f"{prefix.removesuffix('/')}/"

    def prefix(self, root: str) -> str:
        """Return what the topics of a line's answers begin with. Raises ValueError for one above its own topics."""
        prefix = f"{root}/answer/" if self.answer_prefix is None else self.answer_prefix
        if f"{root}/".startswith(prefix):
            raise ValueError(
                f"key commands.answer_prefix: expected topics beside those of the line, received {prefix!r}, below "
                f"which {root} lies. Name one of its own, e.g. {root}/answer/"
            )
        return prefix


def _illegal(topic: str) -> str:
    """Say why a topic cannot be published to by every broker; or nothing."""
    levels = topic.split("/")
    if "+" in topic or "#" in topic or topic.startswith("$"):
        return "it has a wildcard, or is the broker's own"
    if not topic.isprintable() or not all(levels):
        return "it has an empty level, or a character that cannot be printed"
    if len(topic) > MAX_ANSWER_TOPIC or len(topic.encode(errors="replace")) > 4 * MAX_ANSWER_TOPIC:
        return f"it has {len(topic)} characters, at most {MAX_ANSWER_TOPIC} are answered"
    if len(levels) > MAX_ANSWER_LEVELS:
        return f"it has {counted(len(levels), 'level')}, at most {MAX_ANSWER_LEVELS} are answered"
    return ""


def _of_a_line(topic: str) -> str:
    """Say which of the topics of a line this is, of this one or of any other; or nothing."""
    levels = topic.split("/")
    for level, version, kind in zip(levels, levels[1:], [*levels[2:], ""], strict=False):
        if level == "inspect" and version == "v1" and kind != "answer":
            return "it belongs to a line's own messages"
    return ""


def why_unanswered(response_topic: str, correlation: bytes | None, prefix: str) -> str:
    """Say why nothing is published to a response topic; or nothing, where it may be."""
    if not response_topic.startswith(prefix):
        return f"answers go below {prefix} only"
    if wrong := _illegal(response_topic) or _of_a_line(response_topic):
        return wrong
    if correlation is not None and len(correlation) > MAX_CORRELATION:
        return f"its correlation data has {counted(len(correlation), 'byte')}, at most {MAX_CORRELATION} are given back"
    return ""


@dataclass(frozen=True)
class Command:
    """One command: `body` is what is to be done, None where `problem` says why it cannot be.

    `source`: the way by which it came. `reply` takes its answer where that way is not MQTT. `account`: who gave it, as
    the system says; nothing where only the broker could know. `unanswered`: why its answer goes nowhere, though one was
    wanted; else empty. `at_ns`: when it came, on the monotonic clock.
    """

    name: str
    body: StrictModel | None
    outcome: CommandOutcome
    problem: str
    response_topic: str | None
    correlation: bytes | None
    source: Literal["mqtt", "shell", "plc"] = "mqtt"
    reply: Callable[[CommandOutcome, str], None] | None = field(default=None, compare=False)
    account: str = ""
    unanswered: str = ""
    at_ns: int = 0

    def answer(self, outcome: CommandOutcome, detail: str) -> Answer | None:
        """Return the answer, or None where none was asked for."""
        if self.response_topic is None:
            return None
        return Answer(self.name, outcome, detail, self.response_topic, self.correlation)

    def refused(self, outcome: CommandOutcome, problem: str) -> Command:
        """Return this command as one that is not obeyed."""
        return replace(self, body=None, outcome=outcome, problem=problem)


def read_command(received: Received, root: str, prefix: str | None = None) -> Command:
    """Return the command that a message gives to the line whose topics begin with `root`.

    A retained message is nobody's command of now. It is refused without an answer, since it would come again at every
    connection. An answer goes below `prefix` only (ROOT/answer/ without one), to a topic that every broker takes. So
    nobody may have the line write an alarm that is none, speak for others, or be cut off.
    """
    name = received.topic.removeprefix(f"{root}/cmd/")
    wanted, correlation = received.response_topic, received.correlation
    if received.retained:
        return Command(name, None, "retained", "a retained command is not obeyed", None, None)
    body, outcome, problem = _body(name, received)
    problem = problem[:MAX_DETAIL]
    why = "" if wanted is None else why_unanswered(wanted, correlation, prefix or f"{root}/answer/")
    if why:
        told = f"not answered at {str(wanted)[:80]!a}: {why}"
        return Command(name, body, outcome, problem, None, None, unanswered=told)
    return Command(name, body, outcome, problem, wanted, correlation)


def _body(name: str, received: Received) -> tuple[StrictModel | None, CommandOutcome, str]:
    if name in RENAMED:
        return None, "unknown_command", f"cmd/{name} is called cmd/{RENAMED[name]} now; send it there"
    if name not in COMMANDS:
        return None, "unknown_command", f"expected one of {', '.join(COMMANDS)}, received {name[:100]!r}"
    if received.expiry_s is None or received.expiry_s > MAX_EXPIRY_S:
        told = "none" if received.expiry_s is None else f"{received.expiry_s} s"
        return None, "invalid", f"expected a message expiry of at most {MAX_EXPIRY_S} s, received {told}"
    if len(received.payload) > MAX_BYTES:
        return None, "invalid", f"the body: expected at most {MAX_BYTES} bytes, received {len(received.payload)}"
    try:
        body = COMMANDS[name].model_validate_json(received.payload)
        parse_json(received.payload)  # text that it lets pass is read in one way only
    except ValidationError as error:
        wrong = error.errors()[0]
        told = f"{'.'.join(str(part) for part in wrong['loc']) or 'the body'}: {wrong['msg']}"
    except ValueError as error:
        told = f"the body: {error}"
    else:
        return body, "ok", ""
    return None, "invalid", told


_Kind = Literal["shell", "command", "part", "unseen"]
_CROWDED_NAMES: dict[_Kind, str] = {"part": "part", "unseen": UNSEEN}


def _crowded(kind: _Kind, count: int) -> str:
    if kind == "part":
        what = counted(count, "opening or closing of a part", "openings and closings of parts")
        return f"{what} came while {MAX_PARTS_WAITING} waited, or faster than {PARTS_PER_S} in a second"
    if kind == "unseen":
        what = counted(count, "message")
        return f"{what} came faster than they could be looked at; openings and closings of parts may be among them"
    return (
        f"{counted(count, 'command')} came while {MAX_WAITING} waited, or faster than {PER_S} in a second "
        f"({RESENDS_PER_S} of them to send again)"
    )


class Inbox:
    """Commands between the threads that hear them and the loop that obeys.

    At most MAX_WAITING of those from the broker wait, and as many from the shell. From the broker at most PER_S are
    taken in a second, and RESENDS_PER_S wishes to send again. Openings and closings of parts have room and a rate of
    their own, MAX_PARTS_WAITING and PARTS_PER_S. A command that has waited for longer than its expiry is not obeyed:
    who gave it has given it up. Nor is one that found no room. Their number is kept. It comes out as one refused
    command now and then, so that the loop can note it. `dropped` counts both. `unanswered` counts the commands whose
    answer goes nowhere though one was wanted.
    """

    def __init__(
        self, root: str, monotonic_s: Callable[[], float] = time.monotonic, *, answer_prefix: str | None = None
    ) -> None:
        self._root = root
        self._answer_prefix = answer_prefix
        self._monotonic_s = monotonic_s
        self._waiting: deque[tuple[float, Command]] = deque()
        self._rate = Rate(PER_S, MAX_WAITING, monotonic_s)
        self._resends = Rate(RESENDS_PER_S, RESENDS_AT_ONCE, monotonic_s)
        self._parts = Rate(PARTS_PER_S, PARTS_PER_S, monotonic_s)
        self._room: Counter[_Kind] = Counter()
        self._crowded_out: Counter[_Kind] = Counter()
        self._told_at_s: dict[_Kind, float] = {}
        self._lock = threading.Lock()
        self.dropped = 0
        self.unanswered = 0

    def put(
        self,
        received: Received | Crowded,
        reply: Callable[[CommandOutcome, str], None] | None = None,
        account: str = "",
    ) -> None:
        """Accept a message from any thread. With `reply` it is from `account` of the device, which is so answered."""
        if isinstance(received, Crowded):
            self._crowd_out(received.count, "unseen")
            return
        part = received.topic == f"{self._root}/cmd/part"
        kind: _Kind = "shell" if reply is not None else "part" if part else "command"
        with self._lock:
            refused = self._why_not(received, kind)
        if refused:
            self._crowd_out(1, kind)
            if reply is not None:
                reply("crowded_out", refused)
            return
        command = read_command(received, self._root, self._answer_prefix)
        if reply is not None:
            command = replace(command, source="shell", reply=reply, account=account)
        now_s = self._monotonic_s()
        command = replace(command, at_ns=round(now_s * 1e9))
        until_s = now_s + min(received.expiry_s or MAX_EXPIRY_S, MAX_EXPIRY_S)
        with self._lock:
            self._waiting.append((until_s, command))
            self._room[kind] += 1
            self.unanswered += bool(command.unanswered)

    def _why_not(self, received: Received, kind: _Kind) -> str:
        """Say why a message finds no room; or nothing. It is not read for that, which would cost too much."""
        most = MAX_PARTS_WAITING if kind == "part" else MAX_WAITING
        if self._room[kind] >= most:
            return counted(most, "command waits", "commands wait")
        if kind == "shell":
            return ""
        if received.topic == f"{self._root}/cmd/resend" and not self._resends.take():
            return f"more than {RESENDS_PER_S} wish in a second to send again"
        if kind == "part":
            return "" if self._parts.take() else f"more than {PARTS_PER_S} openings and closings of parts in a second"
        return "" if self._rate.take() else f"more than {PER_S} commands in a second"

    def _crowd_out(self, count: int, kind: _Kind) -> None:
        with self._lock:
            self.dropped += count
            self._crowded_out[kind] += count

    def take(self) -> list[Command]:
        """Return what waited, in order."""
        if not self._waiting and not self._crowded_out:  # most turns; reading a length needs no lock
            return []
        now_s = self._monotonic_s()
        with self._lock:
            waited, self._waiting = self._waiting, deque()
            self._room.clear()
            crowded_out = self._crowded_now(now_s)
        taken = []
        for until_s, command in waited:
            late = now_s > until_s
            self.dropped += late
            taken.append(command.refused("expired", "it waited for longer than its expiry") if late else command)
        return taken + crowded_out

    def _crowded_now(self, now_s: float) -> list[Command]:
        """Return a refused command for each kind of which some were crowded out, unless that was told just before."""
        told = []
        due = [kind for kind in self._crowded_out if now_s - self._told_at_s.get(kind, -TOLD_EVERY_S) >= TOLD_EVERY_S]
        for kind in due:
            count = self._crowded_out.pop(kind)
            self._told_at_s[kind] = now_s
            told.append(Command(_CROWDED_NAMES.get(kind, ""), None, "crowded_out", _crowded(kind, count), None, None))
        return told
