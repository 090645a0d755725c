"""Telling the line that runs what to do, through the socket beside its store."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.cli.asking import output, settings_of
from edge.errors import CommandError

User = Annotated[str | None, typer.Option("--user", help="who says so; the user of this shell if not given")]
Comment = Annotated[str, typer.Option("--comment", "-m", help="what is to be remembered of it, for the journal")]

_DONE = frozenset({"ok", "already_acked", "accepted"})


def who(user: str | None) -> str:
    """Return who gives a command: the named user, or else that of this shell."""
    if user:
        return user
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container's user, which has none
        raise typer.BadParameter("expected --user: the account that this runs in has no name") from error


def tell_line(config: Path, command: str, body: dict[str, Any], *, quiet: bool = False) -> str:
    """Give a command to the line that runs, print what became of it unless `quiet`, and return the outcome.

    Raises CommandError where it refused.
    """
    from edge.commands.socket import tell

    store = settings_of(config).store.path
    outcome, detail = tell(store, command, {"schema": f"linewatch/command-{command}/1", **body})
    if outcome not in _DONE:
        raise CommandError(f"The line refused to {command}: {outcome}" + (f", {detail}" if detail else ""))
    if not quiet:
        output.print(f"{outcome}: {detail}" if detail else outcome)
    return outcome
