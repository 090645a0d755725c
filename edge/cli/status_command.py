"""`linewatch status`: why a line says what it says, how old its picture is, who listens, and what waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from edge.cli.asking import AsJson, Config, alarm_rows, ask_line, from_file, local, output, settings_of
from edge.errors import CommandError
from edge.printable import printable
from edge.wording import counted

_COLOURS = {"OK": "bold green", "NG": "bold red", "NO_READ": "bold yellow"}


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch status config/line.yaml`")(status)


def status(config: Config, as_json: AsJson = False) -> None:
    """Show how a line stands: why the last frame is NG, how old the picture is, who listens, and what waits.

    The line itself is asked, also when its disk is full or its loop is stuck. Exit code 13: no line runs, or it does
    not answer; then what its file tells is shown.
    """
    settings = settings_of(config)
    answer = ask_line(settings.store.path, "status")
    told = answer.told if answer.told is not None else _of_file(settings, answer.why_not)
    told["alarms"] = [row for row in alarm_rows(settings, quiet=answer.told is None) if row["shown"]]
    if as_json:
        output.print_json(data=told)
    else:
        table = Table.grid(padding=(0, 2))
        for name, text in _lines(told):
            table.add_row(name, text)
        output.print(table)
    if answer.told is None:
        raise CommandError(answer.why_not)


def _of_file(settings: Any, why_not: str) -> dict[str, Any]:
    with from_file(settings.store.path, why_not) as reader:
        pending, dead_letters, oldest_s = reader.waiting()
        ends = [row.entry for row in reader.journal_rows(20, part="station") if row.entry.kind in {"started", "ended"}]
    return {
        "running": False,
        "why_not": why_not,
        "waiting": {"pending": pending, "dead_letters": dead_letters, "oldest_since_s": oldest_s},
        "last": {"kind": ends[-1].kind, "at": ends[-1].at.isoformat(), "detail": ends[-1].detail} if ends else None,
    }


def _lines(told: dict[str, Any]) -> Iterator[tuple[str, str | Text]]:
    """Yield what is shown: what it is about, and words."""
    waiting = told["waiting"]
    if told["running"]:
        yield "line", f"{told['root']}, device {told['device']}, recipe {told['recipe']}"
        yield "process", f"linewatch {told['software']}, pid {told['pid']}, since {local(told['started_at'])}"
        for name, model in told["models"].items():
            which = f"{name}: " if len(told["models"]) > 1 else ""
            yield "model", f"{which}{model['name']} {model['version']}"
        yield "state", f"{told['status']}: {told['reason']}"
        yield from _of_picture(told)
        yield from _of_broker(told["broker"])
        yield (
            "waiting",
            (
                f"{waiting['in_memory']} in memory, {waiting['pending']} on disk for the broker, the oldest for "
                f"{waiting['oldest_s']:g} s; {counted(waiting['dead_letters'], 'dead letter')}"
            ),
        )
        for name in ("disk", "replaced", "could_not_be_written"):
            if waiting[name]:
                yield name.replace("_", " "), waiting[name]
        for name in ("dropped", "alarms_dropped", "records_dropped"):
            if waiting[name]:
                yield name.replace("_", " "), f"{waiting[name]} for want of room"
    else:
        yield "line", "does not run, or does not answer"
        last = told["last"]
        if last:
            yield last["kind"], f"{local(last['at'])}: {last['detail']}"
        yield "waiting", f"{waiting['pending']} for the broker, {counted(waiting['dead_letters'], 'dead letter')}"
    for row in told["alarms"]:
        words = f"{row['alarm']}, {row['state']} since {local(row['since'])}, {row['priority']}: {row['text']}"
        yield "alarm", Text(printable(words), style="red")
    if not told["alarms"]:
        yield "alarm", "none stands"


def _of_picture(told: dict[str, Any]) -> Iterator[tuple[str, str | Text]]:
    verdict = told["verdict"]
    for name in dict.fromkeys([verdict, "NG", "NO_READ"]):
        seen = told["last"].get(name)
        if seen is not None:
            words = f"{name}{': ' + seen['reason'] if seen['reason'] else ''} ({_which(seen)})"
            yield ("verdict" if name == verdict else "last " + name), Text(printable(words), style=_COLOURS[name])
    if verdict is None:
        yield "verdict", "none yet"
    for name, camera in told["cameras"].items():
        age = camera["picture_age_ms"]
        shown = "there is none" if age is None else f"{age:.0f} ms old; NO_READ from {camera['max_age_ms']} ms on"
        yield "picture", f"{name}: {shown}" if len(told["cameras"]) > 1 else shown
        yield "camera", f"{name}: {camera['condition']} {camera['detail']}".rstrip()
        if any(camera[key] for key in ("dropped", "missed", "unreadable")):
            told_of = (
                f"{camera['dropped']} not judged, {camera['missed']} never came, {camera['unreadable']} unreadable"
            )
            yield "frames", f"{name}: {told_of}"
        yield from (("setting", Text(f"{name}: {printable(each)}", style="yellow")) for each in camera["differences"])
    counts = told["last_minute"]
    told_of = ", ".join(f"{counts.get(name, 0)} {name}" for name in _COLOURS)
    yield "last minute", f"{told_of} {told['counts']}"


def _which(seen: dict[str, Any]) -> str:
    parts = [f"{seen['s_ago']:g} s ago"]
    if seen["part_id"] is not None:
        parts.insert(0, f"part {seen['part_id']}")
    if seen["frame"] is not None:
        parts.insert(0, f"frame {seen['frame']}" + (f" {seen['name']}" if seen["name"] else ""))
    if seen["coverage"] is not None:
        parts.append(f"coverage {seen['coverage']:.4%}")
    return ", ".join([*parts, *(f"{count} {name}" for name, count in seen["defects"].items())])


def _of_broker(broker: dict[str, Any]) -> Iterator[tuple[str, str]]:
    trouble = f": {broker['trouble']}" if broker["trouble"] else ""
    yield "broker", f"{broker['address']}, {'connected' if broker['connected'] else 'not connected'}{trouble}"
    for topic, heard in broker["topics"].items():
        listens = "somebody listens" if heard["somebody_listens"] else "nobody listens"
        yield "", f"{topic}: {listens}, {heard['told_s_ago']:g} s ago"
    if broker["no_consumer"]:
        yield "", broker["no_consumer"]
