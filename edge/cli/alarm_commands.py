"""`linewatch alarms | ack | reset | shelve | unshelve`: a line's alarms from the shell of its device.

The line that runs is asked for what is shown, else its store is read. The line that runs is told of what is to be done,
through the socket beside its store.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from edge.cli.asking import AsJson, Config, alarm_rows, local, output, settings_of
from edge.cli.telling import Comment, User, tell_line, who
from edge.errors import CommandError

_Occurrence = Annotated[
    str,
    typer.Argument(metavar="ALARM|OCCURRENCE", help="an alarm, meaning its present occurrence, or an occurrence id"),
]
_Alarm = Annotated[str, typer.Argument(metavar="ALARM", help="the alarm's id")]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_to(app: typer.Typer) -> None:
    """Add the commands about alarms to the `linewatch` command."""
    app.command(epilog="Example: `linewatch alarms config/line.yaml`")(alarms)
    app.command(epilog='Example: `linewatch ack config/line.yaml scratched -m "belt wiped"`')(ack)
    app.command(epilog="Example: `linewatch reset config/line.yaml scratched`")(reset)
    app.command(epilog='Example: `linewatch shelve config/line.yaml dirty --for 30m -m "cleaning"`')(shelve)
    app.command(epilog="Example: `linewatch unshelve config/line.yaml dirty`")(unshelve)


def alarms(
    config: Config,
    every: Annotated[bool, typer.Option("--all", help="also those that are normal")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how the line's alarms stand. The line that runs is asked, else its file."""
    rows = [row for row in alarm_rows(settings_of(config)) if every or row["state"] != "normal" or row["aside"]]
    if as_json:
        output.print_json(data=rows)
        return
    table = Table("alarm", "state", "priority", "since", "value", "put aside", "acknowledged by", "what to do")
    for row in rows:
        style = "" if row["state"] == "normal" else "bold red" if row["shown"] else "dim"
        table.add_row(
            row["alarm"],
            Text(row["state"], style=style),
            row["priority"],
            local(row["since"]),
            "" if row["value"] is None else f"{row['value']:g}",
            row["aside"],
            row["user"] or "",
            row["text"],
        )
    output.print(table if rows else "no alarm stands")


def ack(config: Config, occurrence: _Occurrence, user: User = None, comment: Comment = "") -> None:
    """Acknowledge an alarm: somebody has seen it. Said twice it is the same."""
    tell_line(
        config, "ack", {"occurrence_id": _occurrence_id(config, occurrence), "user": who(user), "comment": comment}
    )


def reset(config: Config, occurrence: _Occurrence, user: User = None, comment: Comment = "") -> None:
    """Let a latched alarm go whose cause is gone."""
    tell_line(
        config, "reset", {"occurrence_id": _occurrence_id(config, occurrence), "user": who(user), "comment": comment}
    )


def shelve(
    config: Config,
    alarm: _Alarm,
    lasting: Annotated[str | None, typer.Option("--for", metavar="TIME", help="so long: 90s, 30m, 8h")] = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="until it next returns to normal")] = False,
    user: User = None,
    comment: Comment = "",
) -> None:
    """Put an alarm aside for a time, at most its max_shelve_s. It goes on working, and the journal goes on."""
    if (lasting is None) != once:
        raise typer.BadParameter("expected either --for with a time such as 30m, or --once")
    duration_s = None if lasting is None else _seconds(lasting)
    body = {"alarm": alarm, "kind": "one_shot" if once else "timed", "duration_s": duration_s}
    tell_line(config, "shelve", body | {"user": who(user), "comment": comment})


def unshelve(config: Config, alarm: _Alarm, user: User = None, comment: Comment = "") -> None:
    """Take an alarm back from its shelf."""
    tell_line(config, "unshelve", {"alarm": alarm, "user": who(user), "comment": comment})


def _occurrence_id(config: Path, named: str) -> str:
    """Return an occurrence's id as it was given, or that of an alarm's present occurrence. Raises CommandError."""
    if _UUID.fullmatch(named):
        return named
    rows = {row["alarm"]: row for row in alarm_rows(settings_of(config))}
    if named not in rows:
        raise CommandError(f"No alarm {named}: expected one of {', '.join(rows)}, or the id of an occurrence")
    occurrence_id = rows[named]["occurrence_id"]
    if occurrence_id is None:
        raise CommandError(f"The alarm {named} was never raised, so there is nothing to say of it")
    return str(occurrence_id)


def _seconds(text: str) -> int:
    parts = re.fullmatch(r"([1-9]\d{0,7})([smhd]?)", text)
    if parts is None:
        raise typer.BadParameter(f"--for: expected a time such as 90s, 30m, 8h or 1d, received {text}")
    return int(parts[1]) * _UNITS_S[parts[2]]
