"""The view of `linewatch run`: a panel that lives in a terminal, one line a minute anywhere else."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge.cli.terminal import Terminal
from edge.printable import printable
from edge.redacting import redacted
from edge.station.glance import Glance, LastMinute, Minute, told
from edge.wording import counted

_log = logging.getLogger("edge.line")
_MINUTE_NS = 60_000_000_000


def introduced(settings: Any, bundles: Any) -> list[tuple[str, str]]:
    """Say what a station is made of, without its secrets: cameras, models, engine, broker, store."""
    engine, broker = settings.engine, settings.broker
    host, port = broker.address
    models = {id(bundle): bundle for bundle in bundles.values()}.values()
    parts = settings.parts
    return [
        *(
            ("camera", f"{camera.name}: {redacted(camera.shown_source)} ({camera.resolved_kind()})")
            for camera in settings.station_cameras.values()
        ),
        *([("parts", f"opened by {parts.trigger}")] if parts.exist else []),
        *([("recipe", f"{settings.first_recipe} of {len(settings.recipes)}")] if settings.recipes else []),
        *(("model", _model(bundle)) for bundle in models),
        ("engine", f"{engine.backend}, precision {engine.precision}, {counted(engine.batch, 'tile')} at once"),
        ("broker", f"{host}:{port}{', TLS' if broker.tls else ''}"),
        ("store", str(settings.store.path)),
    ]


def _model(bundle: Any) -> str:
    manifest = bundle.manifest
    return f"{manifest.name} {manifest.version}: {', '.join(entry.name for entry in bundle.classes)}"


@contextmanager
def watching(console: Terminal, about: list[tuple[str, str]]) -> Iterator[Callable[[Glance], None]]:
    """Show glances of a line on a terminal, or tell one a minute to the log; give what takes them."""
    if not console.is_terminal:
        _log.info("%s", "; ".join(f"{name} {what}" for name, what in about))
        yield _EachMinute()
        return
    panel = _Panel(about)
    with Live(panel, console=console, refresh_per_second=2):
        yield panel.take


class _EachMinute:
    """Tells the log once a minute how the line stands."""

    def __init__(self) -> None:
        self._minute = LastMinute()
        self._next_ns: int | None = None

    def __call__(self, glance: Glance) -> None:
        minute = self._minute.of(glance)
        if self._next_ns is None:
            self._next_ns = glance.at_ns + _MINUTE_NS
        elif glance.at_ns >= self._next_ns:
            self._next_ns = glance.at_ns + _MINUTE_NS
            _log.info("%s", told(glance, minute))


class _Panel:
    """The panel of a line: what it is made of, and how it stands."""

    def __init__(self, about: list[tuple[str, str]]) -> None:
        self._about = about
        self._minutes = LastMinute()
        self._shown: tuple[Glance, Minute] | None = None

    def take(self, glance: Glance) -> None:
        """Show another glance from now on."""
        self._shown = glance, self._minutes.of(glance)

    def __rich__(self) -> Table:
        """Return the panel."""
        table = Table.grid(padding=(0, 2))
        for name, what in self._about:
            table.add_row(Text(name, style="dim"), Text(printable(what)))
        if self._shown is None:
            table.add_row(Text("now", style="dim"), Text("starting"))
            return table
        for name, text in _rows(*self._shown):
            table.add_row(Text(name, style="dim"), text)
        return table


def _rows(glance: Glance, minute: Minute) -> Iterator[tuple[str, Text]]:
    parts = "" if glance.parts is None else f"{counted(glance.parts, 'part')}; "
    rate = Text(f"{parts}{minute.frames_per_s:.1f} frames/s, {glance.frames} so far, {glance.dropped} dropped")
    yield "frames", rate if not glance.camera else Text(printable(glance.camera), style="bold yellow")
    age = "none yet" if glance.age_ms is None else f"{glance.age_ms:.0f} ms old"
    yield "picture", Text(age)
    yield (
        "verdicts",
        Text.assemble(
            f"{minute.verdicts_per_minute:.0f} a minute: ",
            (f"{minute.ok} OK", "green"),
            ", ",
            (f"{minute.ng} NG", "red"),
            ", ",
            (f"{minute.no_read} NO_READ", "yellow"),
            f" in {minute.seconds:.0f} s",
        ),
    )
    there = Text("connected", style="green") if glance.connected else Text(printable(glance.broker or "not there yet"))
    yield "delivery", Text.assemble(there, f", {counted(glance.waiting, 'message waits', 'messages wait')}")
    for alarm, text in glance.alarms:
        yield "ALARM", Text(printable(f"{alarm}: {text}"), style="bold white on red")
    if not glance.alarms:
        yield "alarms", Text("none")
