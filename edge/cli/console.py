"""The tools of every verb: consoles, settings and bundle, signals, progress, and the end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.rich_utils import rich_format_error

from edge import __version__
from edge.cli.terminal import Terminal, lines
from edge.cli.terminal import warn as warn_on
from edge.errors import LinewatchError, SettingsError, StoreError
from edge.printable import printable
from edge.stopping import end_process, heard_by_long_work, let_sighup_through
from edge.wording import counted

INTERRUPTED = 130
READER_GONE = 128 + signal.SIGPIPE
# typer brings click's errors under a name that depends on its version
_UsageError: Any = typer.BadParameter.__bases__[0]

errors = Terminal(stderr=True)
output = Terminal()

ConfigArgument = Annotated[Path, typer.Argument(help="the line's settings, YAML; see config/line.yaml", readable=False)]
BundleOption = Annotated[Path | None, typer.Option("--bundle", help="a bundle, in place of the settings' own")]


def _tell_version(asked: bool) -> None:
    if asked:
        output.print(__version__)
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="print the version and end")
]


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into a clean stop; a second one ends the process as usual."""
    stop = threading.Event()

    def ask(number: int, _frame: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with heard_by_long_work(stop.is_set):
            yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def warn(text: str) -> None:
    """Print a warning of one line."""
    warn_on(errors, text)


def load_station(config: Path, bundle: Path | None) -> tuple[Any, Any]:
    """Read the settings and the bundles that they, or the command line, name; the bundles by their path.

    Raises SettingsError, also for a limit, grade or alarm of a class that a bundle lacks.
    """
    from edge.settings import load_bundles, load_settings, require_bundle, require_known_classes

    settings = load_settings(config)
    if bundle is not None or not settings.recipes:
        settings = settings.with_bundle(require_bundle(settings, bundle))
    bundles = load_bundles(settings)
    require_known_classes(settings, bundles, config)
    return settings, bundles


def require_kept(outbox: Any) -> None:
    """Raise StoreError where a line came to its end and lost what it had accepted. `outbox`: its counts."""
    if outbox.lost or outbox.unwritable:
        raise StoreError(
            f"{counted(outbox.lost, 'message')} and entries of the journal are lost, which the disk did not "
            f"take before the line "
            f"ended; {outbox.unwritable} could not be written at all and are set aside in the store. Expected a disk "
            "with room that this user may write: free some space before the next start, and see the log"
        )


def warn_of_secrets(settings: Any, config: Path) -> None:
    """Say where the broker's messages, or the secrets in the settings, may be read by others."""
    from edge.settings import readable_secrets

    served = settings.monitoring
    open_to_all = None if served is None else served.open_warning
    for warning in (settings.broker.plaintext_warning, readable_secrets(settings, config), open_to_all):
        if warning is not None:
            warn(warning)


@contextmanager
def reload_on_sighup() -> Iterator[Any]:
    """Turn SIGHUP, which would end the process, into a wish (Reload) to read certificates and passwords again.

    One that came while the command was imported is such a wish too.
    """
    from edge.publishers.network import Reload

    reload = Reload()
    before = signal.signal(signal.SIGHUP, lambda *_: reload.set())
    let_sighup_through()
    try:
        yield reload
    finally:
        signal.signal(signal.SIGHUP, before)


def units_of(settings: Any, counts: Any) -> str:
    """Say how many parts and frames came.

    Say, too, how many frames were NG and of no part; no result tells of them.
    """
    frames = counted(counts.frames, "frame")
    if not settings.parts.exist:
        return frames
    stray = f" ({counted(counts.stray_ng, 'NG frame')} of no part)" if counts.stray_ng else ""
    return f"{counted(counts.parts, 'part')} in {frames}{stray}"


def grades_of(grades: Any) -> str:
    """Say how many were of which grade, before what else is said; nothing without grades."""
    return f"{grades}; " if grades.counts else ""


@contextmanager
def progress_bar(total: Callable[[], int], what: str = "frames") -> Iterator[Callable[[], None]]:
    """Show what is done of `total()`, which is known once the recording is open; nothing where nobody watches."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda: progress.update(task, advance=1, total=total() or None)


def run_app(command: typer.Typer) -> None:
    """Run a command line: nothing ends in a traceback, and no thread that hangs in foreign code in SIGABRT.

    A Ctrl-C or SIGHUP while the process ends is not heard. So it ends with the code that it had.
    """
    try:
        _run_app(command)
    except SystemExit as leaving:
        time_limit = sys.modules.get("edge.engines.time_limit")  # not imported only to be asked
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        end_process(code, at_once=time_limit is not None and time_limit.hanging())
        raise


def _run_app(command: typer.Typer) -> None:
    try:
        _require_time_zone()
        code = command(standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer makes this of a Ctrl-C, without a word
            errors.print("interrupted")
        sys.exit(code)
    except BrokenPipeError:  # the reader of our output has enough
        _forget_output()
        sys.exit(READER_GONE)
    except OSError as error:
        where = f": {error.filename}" if error.filename is not None else ""
        _forget_output()
        errors.print(lines(f"error: the system says: {error.strerror or error}{where}", style="red"))
        sys.exit(StoreError.exit_code)
    except _UsageError as error:
        error.message = printable(error.message)  # it may quote a name that the shell found in a folder
        rich_format_error(error)
        sys.exit(error.exit_code)
    except LinewatchError as error:
        errors.print(lines(*f"error: {error}".split("\n"), style="red"))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        errors.print("interrupted")
        sys.exit(INTERRUPTED)


def _require_time_zone() -> None:
    """Raise SettingsError for a TZ in which no time could be told: POSIX allows a day and more, Python does not."""
    try:
        for moment in (datetime(2000, 1, 1), datetime(2000, 7, 1)):  # noqa: DTZ001 - as local time
            moment.astimezone()
    except ValueError as error:
        raise SettingsError(
            f"The time zone TZ={os.environ.get('TZ', '')} cannot be used: it is a day or more from UTC. Expected one "
            "such as Europe/Berlin"
        ) from error


def _forget_output() -> None:
    """Let what is still to be printed go nowhere, or Python would complain of it at its very end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
