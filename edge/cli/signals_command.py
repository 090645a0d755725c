"""`linewatch signals` and `linewatch outputs`: signals of station and machine, seen and tried by hand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge.cli.asking import AsJson, Config, ask_line, output, settings_of
from edge.cli.console import errors
from edge.cli.terminal import warn
from edge.errors import CommandError, SettingsError
from edge.printable import printable
from edge.wording import command, counted

_SHOWN_EVERY_S = 0.5
_REACHES_WITHIN_S = 5.0


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the `linewatch` command."""
    app.command(epilog="Example: `linewatch signals config/line.yaml --once`")(signals)
    app.command(epilog="Example: `linewatch outputs config/line.yaml test`")(outputs)


def signals(
    config: Config,
    once: Annotated[bool, typer.Option("--once", help="print them once, and end")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the signals of the station that runs, live, until Ctrl-C: their levels, why they are safe, what was late."""
    settings = settings_of(config)
    if once or as_json:
        told = _ask(settings)
        if as_json:
            output.print_json(data=told)
        else:
            output.print(_table(told))
        return
    with Live(_table(_ask(settings)), console=output, refresh_per_second=4) as live:
        while True:
            time.sleep(_SHOWN_EVERY_S)
            live.update(_table(_ask(settings)))


def outputs(
    config: Config,
    action: Annotated[Literal["test"], typer.Argument(help="switch each signal by hand")],
    *,
    signal: Annotated[list[str] | None, typer.Option("--signal", help="this one alone; may be given again")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=60, help="for how long each is up")] = 1.0,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask whether the machine is safe")] = False,
) -> None:
    """Switch each output by hand, one after another, while no station runs; and set the safe levels at the end.

    Gates move and lines stop: nobody may be at the machine.
    """
    del action
    settings = settings_of(config)
    names = _chosen(settings, signal or [])
    if ask_line(settings.store.path, "status").told is not None:
        raise CommandError(
            f"The station of {config} runs, and its signals are its own. Expected no station that runs; end it first, "
            f"or look at them: {command('linewatch', 'signals', config)}"
        )
    warn(errors, f"this moves the machine: {counted(len(names), 'signal')} will be switched ({', '.join(names)})")
    if not yes and not typer.confirm("Is the machine safe, and nobody at it?"):
        raise CommandError("Nothing was switched: expected yes, received no")
    _switch(settings, names, seconds)


def _ask(settings: Any) -> dict[str, Any]:
    answer = ask_line(settings.store.path, "signals")
    if answer.told is None:
        raise CommandError(answer.why_not)
    if answer.told["link"] is None:
        raise SettingsError("This station has no machine: expected the section machine in its settings")
    told: dict[str, Any] = answer.told
    return told


def _chosen(settings: Any, wanted: list[str]) -> list[str]:
    if settings.machine is None or not settings.outputs:
        raise SettingsError(
            "Expected the sections machine and outputs in the settings, received none: nothing to switch"
        )
    if unknown := [name for name in wanted if name not in settings.outputs]:
        raise SettingsError(f"--signal: expected some of {', '.join(settings.outputs)}, received {unknown[0]!r}")
    return wanted or list(settings.outputs)


def _switch(settings: Any, names: list[str], seconds: float) -> None:
    from edge.app.machine import link_name, make_output
    from edge.outputs.by_hand import level_of
    from edge.outputs.rules import begin

    safe = dict(begin(settings.outputs)[1])
    link = make_output(settings)
    link.set(safe)
    with link:
        _reach(link, link_name(settings))
        try:
            for name in names:
                rule = settings.outputs[name]
                level = level_of(rule)
                output.print(Text.assemble(printable(f"{name} ({rule.rule}, {rule.at}): "), (str(level), "bold")))
                link.set({name: level})
                time.sleep(seconds)
                link.set({name: safe[name]})
                _tell_loss(link)
        finally:
            link.set(safe)
    output.print(f"{counted(len(names), 'signal')} switched; the safe levels are set")


def _reach(link: Any, name: str) -> None:
    """Wait until the machine is reached. Raises CommandError with the reason."""
    from edge.outputs.simulated import SimulatedMachine
    from edge.records.outputs import OutputLost, OutputRestored

    until_s = time.monotonic() + _REACHES_WITHIN_S
    why = "nothing was heard of it"
    while not isinstance(link, SimulatedMachine):
        for event in link.events():
            if isinstance(event, OutputRestored):
                return
            if isinstance(event, OutputLost):
                why = event.detail
        if time.monotonic() > until_s:
            raise CommandError(f"{name} is not reached: {why}. Nothing was switched")
        time.sleep(0.02)


def _tell_loss(link: Any) -> None:
    from edge.records.outputs import OutputLost

    lost = [event.detail for event in link.events() if isinstance(event, OutputLost)]
    if lost:
        raise CommandError(f"The machine was lost meanwhile: {lost[-1]}. Look at how its signals stand")


def _table(told: Mapping[str, Any]) -> Table:
    """Show the signals of both directions, and above them how the link stands."""
    state = (
        Text("reached", style="green") if not told["lost"] else Text(f"LOST: {printable(told['lost'])}", style="red")
    )
    title = Text.assemble(f"{printable(told['link'])}: ", state)
    if told["safe"]:
        title.append(f"\nsafe levels: {told['safe']}")
    if told["late"]:
        title.append(f"\n{printable(told['late'])}", style="red")
    counts = told["counts"]
    caption = (
        f"{counted(counts['parts'], 'part')}, {counted(counts['pulses'], 'pulse')}, {counts['late']} late, "
        f"{counts['crowded_out']} without room, {counted(counts['losses'], 'loss', 'losses')}"
    )
    table = Table("", "signal", "rule", "at", "level", title=title, caption=caption, title_justify="left")
    for way, rows in (("out", told["outputs"]), ("in", told["inputs"])):
        for row in rows:
            shown = "unknown" if row["level"] is None else _level(row["level"])
            table.add_row(way, printable(row["signal"]), row["rule"], printable(row["at"]), shown)
    return table


def _level(level: bool | float | str) -> str:
    if isinstance(level, str):
        return printable(level)
    return ("up" if level else "down") if isinstance(level, bool) else f"{level:g}"
