"""`linewatch run`: live cameras, until stopped."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import typer

from edge.cli.console import (
    BundleOption,
    ConfigArgument,
    errors,
    grades_of,
    load_station,
    reload_on_sighup,
    require_kept,
    stop_on_signals,
    units_of,
    warn_of_secrets,
)
from edge.errors import EngineHangsError, SourceError
from edge.logs import log_as
from edge.wording import counted

NAME = "run"


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(NAME, epilog="Example: `linewatch run config/line.yaml`")(run)


def run(config: ConfigArgument, bundle: BundleOption = None) -> None:
    """Inspect with live cameras until stopped: results and alarms go to the broker, through the outbox.

    In a terminal a panel shows how the line stands; elsewhere the log says it once a minute. SIGHUP has the broker's
    certificates and password read again; a connection is only given up for one that they make. `linewatch reload` has
    models and settings read again.
    """
    # before anything that takes time: a stop while it starts is one too, and SIGHUP is a wish from the first moment on
    with stop_on_signals() as stop, reload_on_sighup() as reload:
        _run(config, bundle, stop, reload)


def _run(config: Path, bundle: Path | None, stop: threading.Event, reload: Any) -> None:
    from edge.app import Watchers, run_station
    from edge.cli.line_view import introduced, watching

    settings, loaded = load_station(config, bundle)
    if settings.logs == "json":
        log_as("json")
    warn_of_secrets(settings, config)
    with watching(errors, introduced(settings, loaded)) as glances:
        store = settings.store.path
        watchers = Watchers(glances=glances)
        result = run_station(
            settings,
            loaded,
            stop,
            store=store,
            live=True,
            reload=reload,
            read=lambda: load_station(config, bundle),
            watchers=watchers,
        )
    counts, outbox = result.counts, result.outbox
    gone = outbox.dropped + outbox.alarms_dropped
    dropped = f"; {gone} had no room and were dropped" if gone else ""
    ended = "stopped" if stop.is_set() else "ended"
    errors.print(
        f"{ended} after {units_of(settings, counts)}: {counts.ok} OK, {counts.ng} NG, {counts.no_read} NO_READ; "
        f"{grades_of(counts.grades)}{counted(outbox.pending, 'message waits', 'messages wait')} in the outbox{dropped}"
    )
    require_kept(outbox)
    if result.engine_hangs:
        raise EngineHangsError(
            "The engine had not answered when the line was stopped, and was left behind. Look at the driver and at the "
            "reasons of the last results"
        )
    if not stop.is_set() and counts.ended_early:
        raise SourceError(counts.ended_early)
