"""`linewatch demo`: a simulated line beside its truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edge.cli.console import output, stop_on_signals, warn
from edge.cli.dashboard_command import require_packages
from edge.errors import DependencyError


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch demo --headless --frames 240 --summary summary.json`")(demo)


def demo(
    headless: Annotated[bool, typer.Option("--headless", help="as fast as it can, without the panel")] = False,
    frames: Annotated[int, typer.Option("--frames", min=0, help="end by itself after so many frames; 0 = never")] = 0,
    summary: Annotated[Path | None, typer.Option("--summary", help="write what it came to here, as JSON")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="another seed, other parts")] = 7,
    dashboard: Annotated[
        bool | None, typer.Option("--dashboard/--no-dashboard", help="pages beside it; without --headless by default")
    ] = None,
) -> None:
    """Inspect a simulated station with the shipped model and a broker of its own, and compare with the truth.

    A terminal shows a panel that lives. A pipe, a log and --headless get a line every ten seconds. Ctrl-C ends it.
    Pages for the operator are served beside it: it says where, with a link that needs no password.
    """
    from edge.cli.demo import run_demo

    with stop_on_signals() as stop:
        pages = _has_pages(dashboard, headless=headless)
        result = run_demo(stop, headless=headless, frames=frames, seed=seed, console=output, pages=pages)
    if summary:
        from edge.files import write_text

        write_text(summary, json.dumps(result, indent=1) + "\n")
    output.print_json(data=result)


def _has_pages(asked: bool | None, *, headless: bool) -> bool:
    """Tell whether the pages are served. Raises DependencyError where they are asked for and their packages lack."""
    if asked is False or (asked is None and headless):
        return False
    try:
        require_packages()
    except DependencyError as error:
        if asked:
            raise
        warn(f"there are no pages for the operator beside this demo: {error}")
        return False
    return True
