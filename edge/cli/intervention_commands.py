"""`linewatch challenge | bypass | reset-counters`: what a person tells a line that judges, in the device's shell."""

from __future__ import annotations

from typing import Annotated

import typer

from edge.cli.asking import Config
from edge.cli.telling import Comment, User, tell_line, who


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the `linewatch` command."""
    app.command(epilog="Example: `linewatch challenge config/line.yaml --parts 5`")(challenge)
    app.command(epilog='Example: `linewatch bypass config/line.yaml --on --reason "lens cleaned" --minutes 30`')(bypass)
    app.command("reset-counters", epilog='Example: `linewatch reset-counters config/line.yaml -m "order 4711"`')(
        reset_counters
    )


def challenge(
    config: Config,
    *,
    parts: Annotated[int | None, typer.Option("--parts", min=1, help="known bad parts; else challenge.parts")] = None,
    within_s: Annotated[int | None, typer.Option("--within-s", min=10, help="seconds; else challenge.within_s")] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="end the challenge that runs")] = False,
    user: User = None,
    comment: Comment = "",
) -> None:
    """Begin a challenge: the next parts are known to be bad, and all must be NG. They count nowhere.

    A part that is not NG raises the alarm `challenge-missed`; the journal has the result.
    """
    if cancel and (parts, within_s) != (None, None):
        raise typer.BadParameter("--cancel: expected neither --parts nor --within-s beside it")
    body = {"action": "cancel" if cancel else "begin", "parts": parts, "within_s": within_s}
    tell_line(config, "challenge", body | {"user": who(user), "comment": comment})


def bypass(
    config: Config,
    *,
    on: Annotated[bool, typer.Option("--on", help="take inspection out")] = False,
    off: Annotated[bool, typer.Option("--off", help="put inspection back")] = False,
    reason: Annotated[str, typer.Option("--reason", help="why; it stands in every result")] = "",
    minutes: Annotated[int | None, typer.Option("--minutes", min=1, max=480, help="for how long, at most 8 h")] = None,
    user: User = None,
) -> None:
    """Take inspection out for a reason and a time, or put it back. Every result is NO_READ meanwhile.

    The alarm `bypass` stands for so long. It ends by itself at its time, also over a restart of the line.
    """
    if on == off:
        raise typer.BadParameter("expected either --on or --off")
    if on and (minutes is None or not reason.strip()):
        raise typer.BadParameter("--on: expected --reason and --minutes beside it")
    if off and minutes is not None:
        raise typer.BadParameter("--off: expected no --minutes beside it")
    body = {"action": "on" if on else "off", "minutes": minutes, "reason": reason, "user": who(user)}
    tell_line(config, "bypass", body)


def reset_counters(config: Config, *, user: User = None, comment: Comment = "") -> None:
    """Begin to count at 0: parts, verdicts and grades since the start. Shifts, yield and reports go on.

    A machine's own count is the signal `result_counter`, which goes on too. The journal has what had been counted.
    """
    tell_line(config, "reset-counters", {"user": who(user), "comment": comment})
