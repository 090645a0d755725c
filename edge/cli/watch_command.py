"""`linewatch watch`: shows a running station live, from what it says over MQTT alone."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from edge.cli.asking import output, settings_of
from edge.cli.console import ConfigArgument, stop_on_signals, warn
from edge.errors import CommandError, PublishError
from edge.records import Connected, Crowded, Received, SessionLost, Unheard

_TURN_S = 0.1
_LINE_EVERY_S = 10.0
_TOPICS = ("status", "state/+", "alarm/+", "seq")
_EVENTS = ("event/result", "event/alarm")
_STALE_AT_LEAST_S = 10.0
_REPORTS_MISSED = 3
_STATUS_WITHIN_S = 3.0
_QUIET_S = 0.3
_EVENTS_HELP = "hear results as well; the broker then counts them as taken by somebody"
_STALE_HELP = "seconds of silence after which nothing is believed; else by the settings"


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch watch config/line.yaml`")(watch)


def watch(
    config: ConfigArgument,
    *,
    once: Annotated[bool, typer.Option("--once", help="print how it stands now, and end")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, one line each time")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="go on trying a broker that cannot be reached")] = False,
    events: Annotated[bool, typer.Option("--events/--no-events", help=_EVENTS_HELP)] = True,
    stale_s: Annotated[float | None, typer.Option("--stale-s", min=1, max=86_400, help=_STALE_HELP)] = None,
    username: Annotated[str | None, typer.Option("--username", help="account at the broker, else the line's")] = None,
    password_file: Annotated[Path | None, typer.Option("--password-file", help="file with its password")] = None,
    client_id: Annotated[str | None, typer.Option("--client-id", help="id at the broker, else one of its own")] = None,
) -> None:
    """Show a running station: state, cameras, verdicts, last result, alarms, broker. It hears MQTT and says nothing.

    In a terminal a panel lives; in a pipe a line comes every ten seconds. Ctrl-C ends it, with exit code 0. Exit code
    9: the broker cannot be reached. With --once: 0 the station is online now; 13 it is not, or nobody can know.
    """
    from edge.publishers.subscriber import Subscriber
    from edge.watching.watched import Watched

    settings = settings_of(config)
    root, broker = settings.line.root, _account(settings.broker, username, password_file)
    if broker.plaintext_warning is not None:
        warn(broker.plaintext_warning)
    report = settings.report
    silence_s = stale_s or max(_STALE_AT_LEAST_S, _REPORTS_MISSED * min(report.health_every_s, report.sequence_every_s))
    watched = Watched(root, "{}:{}".format(*broker.address), round(silence_s * 1e9), hears_events=events)
    topics = [f"{root}/{topic}" for topic in (*(_EVENTS if events else ()), *_TOPICS)]
    with stop_on_signals() as stop, Subscriber(broker, topics, client_id) as heard:
        turn = _Turn(watched, heard, wait=wait)
        if once:
            _once(turn, stop, silence_s, as_json=as_json)
        else:
            _follow(turn, stop, as_json=as_json)


def _account(broker: Any, username: str | None, password_file: Path | None) -> Any:
    """Return the settings' broker with another account, where one is given."""
    if username is None:
        if password_file is not None:
            raise typer.BadParameter("--password-file: expected --username beside it, received none")
        return broker
    return broker.model_copy(update={"username": username, "password": None, "password_file": password_file})


class _Turn:
    """Takes what was heard since the last turn. Raises PublishError where the broker was never there and none waits."""

    def __init__(self, watched: Any, heard: Any, *, wait: bool) -> None:
        self.watched, self._heard, self._wait = watched, heard, wait
        self.was_there = False
        self.moved_s = time.monotonic()

    @property
    def listening(self) -> bool:
        """True once the broker has answered what is to be heard."""
        return bool(self._heard.listening)

    def __call__(self) -> None:
        now_ns = time.monotonic_ns()
        for event in self._heard.events():
            self.moved_s = time.monotonic()
            if isinstance(event, Received):
                self.watched.take(event, now_ns)
            elif isinstance(event, Connected):
                self.was_there = True
                self.watched.connected(now_ns)
            elif isinstance(event, SessionLost):
                if not self.was_there and not self._wait:
                    raise PublishError(f"{event.reason}. Start the broker, or wait for it with --wait")
                self.watched.lost(event.reason)
            elif isinstance(event, Crowded):
                self.watched.crowded(event.count)
            elif isinstance(event, Unheard):
                self.watched.unheard(event.topic, event.reason)

    def picture(self) -> dict[str, Any]:
        """Return how the station stands now."""
        told: dict[str, Any] = self.watched.picture(time.monotonic_ns(), datetime.now(timezone.utc))
        return told


def _once(turn: _Turn, stop: threading.Event, silence_s: float, *, as_json: bool) -> None:
    """Print how the station stands as soon as that is known. Raises CommandError unless it is online."""
    from edge.cli.watch_view import headline, panel

    listening_s: float | None = None
    while not stop.is_set():
        turn()
        now_s = time.monotonic()
        listening_s = now_s if turn.listening and listening_s is None else listening_s
        if listening_s is not None and _known(turn, now_s, listening_s, silence_s):
            break
        stop.wait(_TURN_S)
    picture = turn.picture()
    if as_json:
        output.print_json(data=picture)
    else:
        output.print(panel(picture))
    if picture["state"] != "online":
        raise CommandError(f"The station {picture['root']} is not online: {headline(picture)}")


def _known(turn: _Turn, now_s: float, listening_s: float, silence_s: float) -> bool:
    """Tell whether no more need be waited for: a station that is to be online must say something now."""
    if now_s - turn.moved_s < _QUIET_S and now_s - listening_s < _STATUS_WITHIN_S:
        return False
    if not turn.watched.has_status():
        return now_s - listening_s >= _STATUS_WITHIN_S
    settled = turn.picture()["state"] in {"offline", "unknown", "stale"}
    return settled or turn.watched.is_live or now_s - listening_s >= silence_s


def _follow(turn: _Turn, stop: threading.Event, *, as_json: bool) -> None:
    """Show how the station stands until stopped."""
    with _shown(as_json=as_json) as show:
        while not stop.is_set():
            turn()
            show(turn)
            stop.wait(_TURN_S)


@contextmanager
def _shown(*, as_json: bool) -> Iterator[Callable[[_Turn], None]]:
    from edge.cli.watch_view import line, panel
    from edge.printable import as_json as compact

    if output.is_terminal and not as_json:
        with Live(console=output, refresh_per_second=4) as live:
            yield lambda turn: live.update(panel(turn.picture()))
        return
    next_s = time.monotonic() + 1.0  # retained messages have come by then

    def tell(turn: _Turn) -> None:
        nonlocal next_s
        if time.monotonic() < next_s:
            return
        next_s = time.monotonic() + _LINE_EVERY_S
        if as_json:
            output.print_json(compact(turn.picture()))
        else:
            output.print(line(turn.picture()))
        sys.stdout.flush()

    yield tell
