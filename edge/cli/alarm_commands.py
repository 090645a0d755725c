"""`linewatch alarms | journal | ack | reset | shelve | unshelve`: a line's alarms from the shell of its device.

What is shown is read from the store, beside a line that runs or without one; what is to be done is told to the line
that runs, through the socket beside its store.
"""

from __future__ import annotations

import getpass
import json
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from edge.cli.terminal import Terminal
from edge.errors import CommandError

# in a pipe a table is as wide as it must be
output = Terminal(width=None if sys.stdout and sys.stdout.isatty() else 300)

_Config = Annotated[Path, typer.Argument(help="the line's settings, YAML; they say where its store is")]
_Json = Annotated[bool, typer.Option("--json", help="print JSON in place of a table")]
_User = Annotated[str | None, typer.Option("--user", help="who says so; the user of this shell if not given")]
_Comment = Annotated[str, typer.Option("--comment", "-m", help="what is to be remembered of it, for the journal")]
_Occurrence = Annotated[
    str,
    typer.Argument(metavar="ALARM|OCCURRENCE", help="an alarm, meaning its present occurrence, or an occurrence id"),
]
_Alarm = Annotated[str, typer.Argument(metavar="ALARM", help="the alarm's id")]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DONE = frozenset({"ok", "already_acked"})


def add_to(app: typer.Typer) -> None:
    """Add the commands about alarms to the `linewatch` command."""
    app.command(epilog="Example: `linewatch alarms config/line.yaml`")(alarms)
    app.command(epilog="Example: `linewatch journal config/line.yaml --alarm scratched --limit 20`")(journal)
    app.command(epilog='Example: `linewatch ack config/line.yaml scratched -m "belt wiped"`')(ack)
    app.command(epilog="Example: `linewatch reset config/line.yaml scratched`")(reset)
    app.command(epilog='Example: `linewatch shelve config/line.yaml dirty --for 30m -m "cleaning"`')(shelve)
    app.command(epilog="Example: `linewatch unshelve config/line.yaml dirty`")(unshelve)


def alarms(
    config: _Config,
    every: Annotated[bool, typer.Option("--all", help="also those that are normal")] = False,
    as_json: _Json = False,
) -> None:
    """Show how the line's alarms stand, from its store; with and without a line that runs."""
    rows = [row for row in _alarm_rows(config) if every or row["state"] != "normal" or row["aside"]]
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
            _local(row["since"]),
            "" if row["value"] is None else f"{row['value']:g}",
            row["aside"],
            row["user"] or "",
            row["text"],
        )
    output.print(table if rows else "no alarm stands")


def journal(
    config: _Config,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="so many of the last entries")] = 50,
    alarm: Annotated[str | None, typer.Option("--alarm", help="only those of one alarm")] = None,
    as_json: _Json = False,
) -> None:
    """Show the last entries of the journal, oldest first: every transition of every alarm, and every command."""
    from edge.outbox import OutboxReader

    with OutboxReader(_settings(config).store.path) as reader:
        entries = reader.journal(limit, alarm)
    if as_json:
        fields = ("kind", "alarm", "occurrence_id", "user", "comment", "detail", "boot_id", "monotonic_ns")
        output.print_json(
            data=[{"at": entry.at.isoformat()} | {name: getattr(entry, name) for name in fields} for entry in entries]
        )
        return
    table = Table("when", "what", "alarm", "occurrence", "by", "comment", "detail")
    for entry in entries:
        occurrence = (entry.occurrence_id or "")[:8]
        words = (entry.kind, entry.alarm, occurrence, entry.user, entry.comment, entry.detail)
        table.add_row(_local(entry.at.isoformat()), *words)
    output.print(table if entries else "the journal is empty")


def ack(config: _Config, occurrence: _Occurrence, user: _User = None, comment: _Comment = "") -> None:
    """Acknowledge an alarm: somebody has seen it. Said twice it is the same."""
    _tell(config, "ack", {"occurrence_id": _occurrence_id(config, occurrence)}, user, comment)


def reset(config: _Config, occurrence: _Occurrence, user: _User = None, comment: _Comment = "") -> None:
    """Let a latched alarm go whose cause is gone."""
    _tell(config, "reset", {"occurrence_id": _occurrence_id(config, occurrence)}, user, comment)


def shelve(
    config: _Config,
    alarm: _Alarm,
    lasting: Annotated[str | None, typer.Option("--for", metavar="TIME", help="so long: 90s, 30m, 8h")] = None,
    *,
    once: Annotated[bool, typer.Option("--once", help="until it next returns to normal")] = False,
    user: _User = None,
    comment: _Comment = "",
) -> None:
    """Put an alarm aside for a time, at most its max_shelve_s. It goes on working, and the journal goes on."""
    if (lasting is None) != once:
        raise typer.BadParameter("expected either --for with a time such as 30m, or --once")
    duration_s = None if lasting is None else _seconds(lasting)
    body = {"alarm": alarm, "kind": "one_shot" if once else "timed", "duration_s": duration_s}
    _tell(config, "shelve", body, user, comment)


def unshelve(config: _Config, alarm: _Alarm, user: _User = None, comment: _Comment = "") -> None:
    """Take an alarm back from its shelf."""
    _tell(config, "unshelve", {"alarm": alarm}, user, comment)


def _settings(config: Path) -> Any:
    from edge.settings import load_settings

    return load_settings(config)


def _account() -> str:
    """Return the name of the account that this runs in."""
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:  # a container's user, which has none
        raise typer.BadParameter("expected --user: the account that this runs in has no name") from error


def _tell(config: Path, command: str, body: dict[str, Any], user: str | None, comment: str) -> None:
    from edge.commands.socket import tell

    who = {"user": user or _account(), "comment": comment}
    outcome, detail = tell(
        _settings(config).store.path, command, {"schema": f"linewatch/command-{command}/1", **body, **who}
    )
    if outcome not in _DONE:
        raise CommandError(f"The line refused to {command}: {outcome}" + (f", {detail}" if detail else ""))
    output.print(f"{outcome}: {detail}" if detail else outcome)


def _occurrence_id(config: Path, named: str) -> str:
    """Return an occurrence's id as it was given, or that of an alarm's present occurrence. Raises CommandError."""
    if _UUID.fullmatch(named):
        return named
    rows = {row["alarm"]: row for row in _alarm_rows(config)}
    if named not in rows:
        raise CommandError(f"No alarm {named}: expected one of {', '.join(rows)}, or the id of an occurrence")
    occurrence_id = rows[named]["occurrence_id"]
    if occurrence_id is None:
        raise CommandError(f"The alarm {named} was never raised, so there is nothing to say of it")
    return str(occurrence_id)


def _alarm_rows(config: Path) -> list[dict[str, Any]]:
    """Return each alarm of the settings with what the store remembers of it."""
    from edge.alarms import alarm_rules
    from edge.outbox import OutboxReader

    settings = _settings(config)
    with OutboxReader(settings.store.path) as reader:
        records = {record.alarm: json.loads(record.body) or {} for record in reader.alarm_records()}
    return [_alarm_row(rule, records.get(rule.id, {})) for rule in alarm_rules(settings.alarms)]


def _alarm_row(rule: Any, kept: dict[str, Any]) -> dict[str, Any]:
    state, shelf = kept.get("condition", "normal"), kept.get("shelf")
    aside = []
    if shelf:
        until = f"until {_local(shelf['until'])}"
        lasting = f"until it returns, at most {until}" if kept["shelving"] == "one_shot" else until
        aside.append(f"shelved {lasting} by {shelf['user']}")
    if kept.get("out_of_service"):
        aside.append("out of service")
    if state != "normal" and kept.get("suppressed_by"):
        aside.append(f"explained by {', '.join(kept['suppressed_by'])}")
    if state != "normal" and kept.get("in_flood"):
        aside.append("in a flood")
    return {
        "alarm": rule.id,
        "state": state,
        "priority": rule.priority,
        "occurrence_id": kept.get("occurrence_id"),
        "since": kept["since"] if state != "normal" else None,
        "value": kept.get("value") if state != "normal" else None,
        "limit": kept.get("limit") if state != "normal" else None,
        "user": kept.get("user") if state != "normal" else None,
        "comment": kept.get("comment") if state != "normal" else None,
        "shown": state != "normal" and not aside,
        "aside": "; ".join(aside),
        "shelf": shelf,
        "text": rule.text,
    }


def _seconds(text: str) -> int:
    parts = re.fullmatch(r"([1-9]\d{0,7})([smhd]?)", text)
    if parts is None:
        raise typer.BadParameter(f"--for: expected a time such as 90s, 30m, 8h or 1d, received {text}")
    return int(parts[1]) * _UNITS_S[parts[2]]


def _local(moment: str | None) -> str:
    """Write a time of the journal as this device's clock on the wall shows it."""
    return "" if moment is None else datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
