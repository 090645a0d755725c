"""`linewatch journal`: what happened on a line and who did it, shown, verified and exported."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from rich.table import Table

from edge.cli.asking import AsJson, Config, ask_line, from_file, local, output, settings_of
from edge.cli.console import errors
from edge.cli.terminal import warn
from edge.errors import JournalError, StoreError
from edge.printable import as_json, csv_cell
from edge.wording import counted

_SHOWN = 50
_TOLD = ("place", "part", "number", "at", "kind", "alarm", "occurrence_id", "user", "account", "comment", "detail")
_COLUMNS = (*_TOLD, "boot_id", "monotonic_ns", "hash")


class JournalPart(str, Enum):
    """The parts of the journal."""

    ALARMS = "alarms"
    COMMANDS = "commands"
    STATION = "station"


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch journal config/line.yaml --alarm scratched --limit 20`")(journal)


def journal(
    config: Config,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, max=1_000_000, help="so many of the last entries [default: 50]"),
    ] = None,
    alarm: Annotated[str | None, typer.Option("--alarm", help="only those of one alarm")] = None,
    part: Annotated[JournalPart | None, typer.Option("--part", help="only those of one part")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="follow its chain of hashes; exit code 14 if broken")
    ] = False,
    export: Annotated[
        Path | None, typer.Option("--export", help="write all entries, or --limit, to a .csv or .jsonl file")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the last entries of the journal, oldest first: alarms, commands, and what the station did itself.

    Its parts are alarms, commands (obeyed and refused) and station (starts, ends, settings, bundles). The line that
    runs is asked first, which knows what is not on disk yet; else its file. Exit code 14: the chain of hashes is
    broken.
    """
    if verify and (alarm or part or limit or export or as_json):
        raise typer.BadParameter("--verify: expected no other option beside it; the whole journal is verified")
    if export is not None and export.suffix not in {".csv", ".jsonl"}:
        raise typer.BadParameter(f"--export: expected a file .csv or .jsonl, received {export}")
    settings = settings_of(config)
    store, of = settings.store.path, part and part.value
    if verify:
        _verify(store)
        return
    if export is not None:
        count = _export(store, export, limit, alarm, of)
        output.print(f"{counted(count, 'entry', 'entries')}: {export}")
        return
    entries = _entries(store, limit or _SHOWN, alarm, of)
    if as_json:
        output.print_json(data=entries)
        return
    table = Table("when", "what", "alarm", "occurrence", "by", "account", "comment", "detail")
    for entry in entries:
        occurrence = (entry["occurrence_id"] or "")[:8]
        words = (entry["kind"], entry["alarm"], occurrence, entry["user"], entry["account"], entry["comment"])
        detail = entry["detail"] if entry["place"] is not None else f"{entry['detail']} (not on disk yet)"
        table.add_row(local(entry["at"]), *words, detail)
    output.print(table if entries else "the journal is empty")


def _entries(store: Path, limit: int, alarm: str | None, part: str | None) -> list[dict[str, Any]]:
    """Return the last entries, oldest first: of the line and beyond its answer of the file, or of the file alone."""
    from edge.station.live_status import row_as_json

    asked = {"limit": limit, "alarm": alarm, "part": part}
    answer = ask_line(store, "journal", asked)
    if answer.told is None:
        with from_file(store, answer.why_not) as reader:
            return [row_as_json(row) for row in reader.journal_rows(limit, alarm, part)]
    _warn_of_disk(answer.told)
    rows: list[dict[str, Any]] = answer.told["rows"]
    while rows and len(rows) < limit:
        page = ask_line(store, "journal", asked | {"limit": limit - len(rows), "before": rows[0]["place"]})
        if page.told is None or not page.told["rows"]:
            break
        rows = page.told["rows"] + rows
    return [*rows, *answer.told["unwritten"]][-limit:]


def _warn_of_disk(told: dict[str, Any]) -> None:
    for trouble in (told["problem"], told["disk"]):
        if trouble:
            warn(errors, trouble)


def _verify(store: Path) -> None:
    from edge.outbox import OutboxReader

    with OutboxReader(store) as reader:
        links, wrong = reader.verify_journal()
    for part, link in sorted(links.items()):
        output.print(f"{part}: rows {link.first} to {link.last}, the last with the hash {link.hash}")
    if wrong:
        raise JournalError(
            f"The journal in {store} was altered, for its chain of hashes is broken. Keep the file, and compare it "
            "with an export or a backup",
            *wrong,
        )
    output.print("every row is as it was written" if links else "the journal is empty")


def _export(store: Path, path: Path, limit: int | None, alarm: str | None, part: str | None) -> int:
    """Write entries to a file, which is whole or absent; return how many."""
    from edge.files import replacing
    from edge.outbox import OutboxReader
    from edge.station.live_status import row_as_json

    answer = ask_line(store, "journal", {"limit": 1, "alarm": alarm, "part": part})
    unwritten = answer.told["unwritten"] if answer.told is not None else []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with OutboxReader(store) as reader, replacing(path) as unfinished:
            rows = reader.journal_rows(limit, alarm, part) if limit else reader.every_journal_row(alarm, part)
            told: Iterator[dict[str, Any]] = (row_as_json(row) for row in rows)
            with unfinished.open("w", encoding="utf-8", newline="") as file:
                return _write(path.suffix, file, told, unwritten)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}. Name another file") from error


def _write(suffix: str, file: IO[str], *parts: Iterable[dict[str, Any]]) -> int:
    count = 0
    writer = csv.writer(file, lineterminator="\n")
    if suffix == ".csv":
        writer.writerow(_COLUMNS)
    for part in parts:
        for entry in part:
            count += 1
            if suffix == ".csv":
                writer.writerow([csv_cell(entry[name]) for name in _COLUMNS])
            else:
                file.write(as_json(entry) + "\n")
    return count
