"""Obeys commands, notes in the journal what became of each, and answers by the way it came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edge.commands.requests import COMMANDS, Command, CommandOutcome
from edge.messages.writer import MessageWriter
from edge.outbox import Outbox
from edge.records import Message
from edge.station.alarm_service import AlarmService

# Obeys a command at a moment of the station's clock: says what became of it, or None where it answers later itself.
Obey = Callable[[Command, int], tuple[CommandOutcome, str] | None]


def _unknown(command: Command, now_ns: int) -> tuple[CommandOutcome, str]:
    del now_ns
    return "unknown_command", f"this line does not know {command.name}"


class CommandDesk:
    """Gives each command to who obeys it. `take`: what came since last asked. `answer` takes what is answered by MQTT.

    `obey`: who obeys what is not about alarms, by the command's name.
    """

    def __init__(
        self,
        take: Callable[[], Sequence[Command]],
        answer: Callable[[Message], None],
        alarms: AlarmService,
        messages: MessageWriter,
        outbox: Outbox,
    ) -> None:
        self._take = take
        self._answer = answer
        self._alarms = alarms
        self._messages = messages
        self._outbox = outbox
        self.obey: dict[str, Obey] = dict.fromkeys(COMMANDS, _unknown)
        # those that must hear, by the command's name, that one was not obeyed, and why
        self.refused: dict[str, Callable[[str], None]] = {}

    def add(self, obey: Mapping[str, Obey]) -> None:
        """Let these obey the commands of these names."""
        self.obey |= obey

    def turn(self, now_ns: int) -> None:
        """Obey everything that came."""
        for command in self._take():
            self._one(command, now_ns)

    def give(self, command: Command, now_ns: int) -> None:
        """Obey a command that came another way."""
        self._one(command, now_ns)

    def _one(self, command: Command, now_ns: int) -> None:
        came_to: tuple[CommandOutcome, str] | None = command.outcome, command.problem
        with self._outbox.together():
            if command.body is not None:
                came_to = self._alarms.obey(command, now_ns) or self.obey[command.name](command, now_ns)
            if came_to is None:
                return
            if command.name != "part" or came_to[0] != "ok":  # parts come and go all day
                self._alarms.audit(command, *came_to)
        if came_to[0] != "ok" and command.name in self.refused:
            self.refused[command.name]("; ".join(word for word in came_to if word))
        self.reply(command, *came_to)

    def answer_later(self, command: Command, outcome: CommandOutcome, detail: str) -> None:
        """Note and tell what became of a command that was not answered at once."""
        self._alarms.audit(command, outcome, detail)
        self.reply(command, outcome, detail)

    def reply(self, command: Command, outcome: CommandOutcome, detail: str) -> None:
        """Tell who gave a command what became of it."""
        if command.reply is not None:
            command.reply(outcome, detail)
        answer = command.answer(outcome, detail)
        if answer is not None:
            self._answer(self._messages.answer(answer))
