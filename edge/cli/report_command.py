"""`linewatch report`: what a shift came to, printed, and written as HTML, CSV and JSON."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge.cli.asking import Config, settings_of
from edge.cli.terminal import Terminal

_WIDTH, _WORST_SHOWN, _BAR = 80, 10, 20
_output = Terminal(width=None if sys.stdout and sys.stdout.isatty() else _WIDTH, soft_wrap=False)


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch report config/line.yaml --shift last --html out/shift.html`")(report)


def report(
    config: Config,
    shift: Annotated[
        str, typer.Option("--shift", help="last (the last that ended), current, or its beginning: 2026-11-30T06:00")
    ] = "last",
    html: Annotated[Path | None, typer.Option("--html", help="write a page to this file")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="write a table to this file, one value in each row")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="write JSON to this file")] = None,
) -> None:
    """Show what a shift came to: parts, yield, classes, grades, worst parts, alarms, time, challenges and bypass.

    It reads the line's store, beside a line that runs too, and changes nothing. Exit code 8: the store has no such
    shift; the message lists those that it has.
    """
    from edge.figures.shift_report import is_moment, read_report
    from edge.outbox import OutboxReader

    if shift not in {"last", "current"} and not is_moment(shift):
        raise typer.BadParameter(f"--shift: expected last, current or a beginning as 2026-11-30T06:00, got {shift!r}")
    settings, now = settings_of(config), datetime.now(timezone.utc)
    with OutboxReader(settings.store.path) as reader:
        told = read_report(reader, settings.shift_plan, settings.line.root, shift, now)
    _print(told)
    _write(told, now, html, csv, json)


def _print(told: Any) -> None:
    from edge.figures.shift_blocks import blocks, heading

    _output.print(heading(told))
    _output.print(told.station)
    for block in blocks(told, worst_at_most=_WORST_SHOWN, reasons=False):
        _output.print("")
        if block.rows:
            _output.print(_table(block))
        else:
            _output.print(block.title)
        for note in block.notes:
            _output.print(note)


def _table(block: Any) -> Table:
    """Lay one table of the report out; its first header is its title."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for place, header in enumerate(block.headers):
        figures = place > 0 and not block.words
        table.add_column(block.title if not place else header, justify="right" if figures else "left", overflow="fold")
    if block.bars is not None:
        table.add_column("")
    for place, row in enumerate(block.rows):
        bar = [] if block.bars is None else ["#" * round(_BAR * block.bars[place])]
        table.add_row(*row, *bar)
    return table


def _write(told: Any, now: datetime, html: Path | None, csv: Path | None, json: Path | None) -> None:
    from edge.figures.shift_blocks import as_csv, as_html, as_object
    from edge.files import write_text
    from edge.printable import as_json

    for path, text in ((html, as_html(told, now)), (csv, as_csv(told)), (json, as_json(as_object(told), indent=2))):
        if path is not None:
            write_text(path, text if text.endswith("\n") else f"{text}\n")
            _output.print(f"written: {path}", soft_wrap=True)
