"""Asking the line that runs, else its file: the common part of `alarms`, `journal` and `status`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.cli.console import errors
from edge.cli.terminal import Terminal, warn
from edge.errors import CommandError, StoreError

# in a pipe a table is as wide as it must be
output = Terminal(width=None if sys.stdout and sys.stdout.isatty() else 300)

# readable: whoever reads the file says why it cannot be read, with exit code 3
Config = Annotated[Path, typer.Argument(help="the line's settings, YAML; they say where its store is", readable=False)]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON in place of a table")]


def settings_of(config: Path) -> Any:
    """Read the settings."""
    from edge.settings import load_settings

    return load_settings(config)


@dataclass(frozen=True)
class Told:
    """The answer of a line, or None and why it told nothing."""

    told: Any
    why_not: str = ""


def ask_line(store: Path, question: str, body: Mapping[str, Any] | None = None) -> Told:
    """Ask the line that runs on this store."""
    from edge.commands.socket import ask

    try:
        return Told(ask(store, question, dict(body or {})))
    except CommandError as error:
        return Told(None, str(error))


@contextmanager
def from_file(store: Path, why_not: str, *, quiet: bool = False) -> Iterator[Any]:
    """Open the file in the line's place, and say so if it was not said. Raises StoreError."""
    from edge.outbox import OutboxReader

    with OutboxReader(store) as reader:
        if not quiet:
            warn(errors, f"this is what the file {store} says, not a line that runs. {why_not}")
        yield reader


def alarm_rows(settings: Any, *, quiet: bool = False) -> list[dict[str, Any]]:
    """Return how each alarm of a line stands: those of the line that runs, else those of the settings, by the file."""
    from edge.alarms import alarm_rules

    answer = ask_line(settings.store.path, "alarms")
    if answer.told is not None:
        if answer.told["disk"]:
            warn(errors, f"{answer.told['disk']}; this is what the line has in memory")
        records, rules = answer.told["records"], answer.told["rules"]
    else:
        with from_file(settings.store.path, answer.why_not, quiet=quiet) as reader:
            records = {record.alarm: record.body for record in reader.alarm_records()}
        rules = [vars(rule) for rule in alarm_rules(settings.alarms)]
    return [_alarm_row(rule, _kept(settings.store.path, rule["id"], records.get(rule["id"]))) for rule in rules]


def _kept(store: Path, alarm: str, body: str | None) -> dict[str, Any]:
    """Return what is remembered of an alarm. Raises StoreError for a record that no line writes."""
    from edge.alarms.states import Condition

    if body is None:
        return {}
    try:
        kept: dict[str, Any] = json.loads(body)
        if not kept and isinstance(kept, dict | None):
            return {}
        Condition(kept["condition"])
        local(kept["since"])
        _alarm_row({"id": alarm, "priority": "", "text": ""}, kept)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"The record of the alarm {alarm} in {store} was altered: expected how it stands, received {body!r:.80}. "
            "How it stands is not known; start the line, which begins it anew"
        ) from error
    return kept


def _alarm_row(rule: Mapping[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    state, shelf = kept.get("condition", "normal"), kept.get("shelf")
    aside = []
    if shelf:
        until = f"until {local(shelf['until'])}"
        lasting = f"until it returns, at most {until}" if kept["shelving"] == "one_shot" else until
        aside.append(f"shelved {lasting} by {shelf['user']}")
    if kept.get("out_of_service"):
        aside.append("out of service")
    if state != "normal" and kept.get("suppressed_by"):
        aside.append(f"suppressed by {', '.join(kept['suppressed_by'])}")
    if state != "normal" and kept.get("in_flood"):
        aside.append("in a flood")
    return {
        "alarm": rule["id"],
        "state": state,
        "priority": rule["priority"],
        "occurrence_id": kept.get("occurrence_id"),
        "since": kept["since"] if state != "normal" else None,
        "value": kept.get("value") if state != "normal" else None,
        "limit": kept.get("limit") if state != "normal" else None,
        "user": kept.get("user") if state != "normal" else None,
        "comment": kept.get("comment") if state != "normal" else None,
        "shown": state != "normal" and not aside,
        "aside": "; ".join(aside),
        "shelf": shelf,
        "text": rule["text"],
    }


def local(moment: str | None) -> str:
    """Write a time of the journal as this device's clock on the wall shows it."""
    return "" if moment is None else datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
