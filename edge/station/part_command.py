"""`cmd/part`: somebody says when a part begins and ends."""

from __future__ import annotations

from collections.abc import Collection

from edge.commands.requests import Command, CommandOutcome, OpenOrClosePart
from edge.parts.triggers import ToldTrigger, Trigger
from edge.records.parts import PartClosed, PartOpened


class PartTeller:
    """Tells the station's trigger what a command says of parts. `recipes`: that a part may be of."""

    def __init__(self, trigger: Trigger | None, recipes: Collection[str]) -> None:
        self._trigger = trigger
        self.recipes = recipes

    def refused(self, why: str) -> None:
        """Tell the trigger that a command of parts was not obeyed."""
        if isinstance(self._trigger, ToldTrigger):
            self._trigger.refuse(f"a message about a part was not taken: {why}")

    def __call__(self, command: Command, now_ns: int) -> tuple[CommandOutcome, str]:
        """Obey the command, as of the moment at which it came."""
        body = command.body
        assert isinstance(body, OpenOrClosePart)  # noqa: S101 - the desk gives each its own
        if not isinstance(self._trigger, ToldTrigger):
            return "no_parts", "expected parts.trigger: mqtt in the settings; this station's parts come otherwise"
        if body.recipe is not None and body.recipe not in self.recipes:
            return "invalid", f"recipe: expected one of {', '.join(self.recipes)}, received {body.recipe!r}"
        at_ns = min(command.at_ns or now_ns, now_ns)
        opens = body.action == "open"
        event = PartOpened(at_ns, body.part_id, body.recipe) if opens else PartClosed(at_ns, body.part_id)
        if not self._trigger.tell(event):
            return "crowded_out", "too many openings and closings wait; send fewer in a second"
        return "ok", ""
