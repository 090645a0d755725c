"""`linewatch reload`: a running station reads its settings and bundles again, from the device's shell."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from edge.cli.asking import AsJson, Config, ask_line, output, settings_of
from edge.cli.console import errors
from edge.cli.telling import Comment, User, tell_line, who
from edge.errors import BundleError, CommandError, EngineError, LinewatchError, SettingsError
from edge.wording import counted

_LOOK_EVERY_S = 0.1
_PHASES = {
    "idle": "done",
    "reading": "reading, opening the engines, replaying the golden frames",
    "shadow": "shadow run",
    "switching": "waiting for a gap between parts",
    "watching": "in force, and watched",
    "returning": "going back",
}
_ERRORS: dict[int, type[LinewatchError]] = {each.exit_code: each for each in (SettingsError, BundleError, EngineError)}


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(
        epilog=(
            "Examples: `linewatch reload config/station.yaml --user anna -m 'model of May'`, "
            "`linewatch reload config/station.yaml --shadow-parts 0`, "
            "`linewatch reload config/station.yaml --cancel`\n\n"
            "Exit codes: 0 in force, 3 the settings were refused, 4 a bundle was refused, 6 an engine could not be "
            "opened, 13 no line runs, it refused, or it went back to the former models."
        )
    )(reload)


def reload(
    config: Config,
    *,
    user: User = None,
    comment: Comment = "",
    shadow_parts: Annotated[
        int | None,
        typer.Option(
            "--shadow-parts", min=0, help="parts that the new model judges beside the running one first; 0 = none"
        ),
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="give up the reload that is under way, and go back")] = False,
    wait_s: Annotated[float, typer.Option("--wait-s", min=0, help="seconds to wait for its end; 0 = none")] = 3600,
    as_json: AsJson = False,
) -> None:
    """Have the station that runs read its settings and its bundles again, and change to them between two parts.

    A new model is opened beside the running ones and judges the next parts beside them (shadow run). Then it takes
    their place, and is watched. The station goes back by itself if it fails, is too slow, or disagrees too much: see
    the section `reload` of the settings. Settings that are wrong, or change what cannot change, are refused whole.
    """
    store = settings_of(config).store.path
    body: dict[str, Any] = {"action": "cancel" if cancel else "begin", "shadow_parts": None if cancel else shadow_parts}
    last = 0 if cancel else max((answer["number"] for answer in _ask(store)["answers"]), default=0)
    if cancel and shadow_parts is not None:
        raise typer.BadParameter("expected --shadow-parts or --cancel, received both")
    outcome = tell_line(config, "reload", body | {"user": who(user), "comment": comment}, quiet=as_json)
    if outcome == "accepted" and wait_s:
        _end(_wait(store, last, wait_s), as_json=as_json)


def _ask(store: Path) -> dict[str, Any]:
    answer = ask_line(store, "reloading")
    if answer.told is None:
        raise CommandError(answer.why_not)
    told: dict[str, Any] = answer.told
    return told


def _wait(store: Path, last: int, wait_s: float) -> dict[str, Any]:
    """Show how it goes on, and return the answer to it. `last`: number of the last reload that had ended before."""
    until_s = time.monotonic() + wait_s
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("", total=None)
        while True:
            told = _ask(store)
            answers = [one for one in told["answers"] if one["number"] > last]
            if answers:
                first: dict[str, Any] = answers[0]
                return first
            done, of = _how_far(told)
            progress.update(task, description=_PHASES.get(told["phase"], told["phase"]), completed=done, total=of)
            if time.monotonic() >= until_s:
                far = f", {done} of {counted(of, 'part')}" if of else ""
                raise CommandError(
                    f"The reload has not come to its end after {wait_s:g} s: {_PHASES.get(told['phase'])}{far}. It "
                    "goes on: see the journal, or end it with --cancel"
                )
            time.sleep(_LOOK_EVERY_S)


def _how_far(told: dict[str, Any]) -> tuple[int, int | None]:
    if told["phase"] == "shadow":
        return told["compared"], told["shadow_parts"]
    if told["phase"] == "watching":
        return told["watched"], told["watch_parts"]
    return 0, None


def _end(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print what became of it, or raise the error that it came to."""
    if as_json:
        output.print_json(data=answer)
    if answer["outcome"] == "ok":
        if not as_json:
            output.print(f"ok: {answer['detail']}")
        return
    error = _ERRORS.get(answer["exit_code"], CommandError)
    raise error(f"The station keeps its former models and settings: {answer['outcome']}, {answer['detail']}")
