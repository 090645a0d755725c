"""The `linewatch` command: each verb has a file of its own beside this one."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from edge import __version__
from edge.allocating import keep_freed_memory
from edge.cli import (
    alarm_commands,
    backup_command,
    bench_engine_command,
    calibrate_command,
    cameras_command,
    check_command,
    dashboard_command,
    demo_command,
    evidence_command,
    inspect_command,
    intervention_commands,
    journal_command,
    learn_belt_command,
    learn_quality_command,
    recipe_command,
    record_command,
    reinspect_command,
    reload_command,
    replay_command,
    report_command,
    run_command,
    signals_command,
    simulate_command,
    status_command,
    watch_command,
    zones_command,
)
from edge.cli.console import VersionOption, output, run_app
from edge.cli.terminal import let_no_character_end_a_command
from edge.logs import log_as, log_on_stderr, native_lines_caught
from edge.stopping import let_sighup_through

app = typer.Typer(
    name="linewatch",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=(
        "Surface inspection for a production line: camera to coverage, defects and alarms over MQTT.\n\n"
        "Exit codes: 0 done, 2 wrong command line, 3 settings, 4 bundle, 5 camera or recording, 6 inference, "
        "7 something is not installed, 8 disk, 9 broker, 12 a picture is NG (inspect), 13 no line runs that could "
        "obey, or it refused, 14 the journal was altered, 15 a comparison found changes (replay), "
        "16 a calibration drifted, 130 interrupted, 141 nobody reads the output."
    ),
)

for _verbs in (
    run_command,
    replay_command,
    record_command,
    check_command,
    cameras_command,
    learn_belt_command,
    learn_quality_command,
    zones_command,
    calibrate_command,
    inspect_command,
    reinspect_command,
    bench_engine_command,
    demo_command,
    simulate_command,
    alarm_commands,
    intervention_commands,
    journal_command,
    evidence_command,
    backup_command,
    recipe_command,
    reload_command,
    report_command,
    signals_command,
    status_command,
    watch_command,
    dashboard_command,
):
    _verbs.add_to(app)


class LogFormat(str, Enum):
    """The form of the log."""

    TEXT = "text"
    JSON = "json"


@app.callback()
def _options(
    context: typer.Context,
    _version: VersionOption = False,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", envvar="LINEWATCH_LOG_FORMAT", help="how the log is written to stderr")
    ] = LogFormat.TEXT,
) -> None:
    log_as(log_format.value)
    if context.invoked_subcommand != run_command.NAME:  # a line takes SIGHUP as a wish, anything else ends
        let_sighup_through()


@app.command()
def version() -> None:
    """Print the version."""
    output.print(__version__)


def main() -> None:
    """Run the command; our errors end it with a message and their exit code."""
    keep_freed_memory()
    let_no_character_end_a_command()
    with log_on_stderr(), native_lines_caught():
        run_app(app)


if __name__ == "__main__":
    main()
