"""`linewatch recipe`: which recipe a running station is in, and changing it, from the device's shell."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge.cli.asking import AsJson, Config, ask_line, output, settings_of
from edge.cli.console import errors
from edge.cli.telling import Comment, User, tell_line, who
from edge.cli.terminal import warn
from edge.errors import CommandError

_LOOK_EVERY_S = 0.1


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch recipe config/station.yaml phone-b`")(recipe)


def recipe(
    config: Config,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="the recipe; left out: list them")] = None,
    *,
    user: User = None,
    comment: Comment = "",
    wait_s: Annotated[float, typer.Option("--wait-s", min=0, help="seconds for it to come into force; 0 = none")] = 120,
    as_json: AsJson = False,
) -> None:
    """Change the recipe of the station that runs, between two parts. Or list the recipes, with the one in force.

    The recipe is loaded beside the running one. A recipe that cannot be loaded leaves the running one in force.
    """
    settings = settings_of(config)
    if name is None:
        _show(settings, as_json=as_json)
        return
    before = _ask(settings.store.path)
    last = max((answer["number"] for answer in before["answers"]), default=0)
    body = {"recipe": name, "user": who(user), "comment": comment}
    if tell_line(config, "recipe", body) == "accepted" and wait_s:
        _wait(settings.store.path, name, last, wait_s)


def _ask(store: Path) -> dict[str, Any]:
    answer = ask_line(store, "recipes")
    if answer.told is None:
        raise CommandError(answer.why_not)
    told: dict[str, Any] = answer.told
    return told


def _wait(store: Path, name: str, last: int, wait_s: float) -> None:
    """Wait for what becomes of a wish for a recipe. `last`: number of the last wish that had ended before."""
    until_s = time.monotonic() + wait_s
    while True:
        told = _ask(store)
        answers = [one for one in told["answers"] if one["number"] > last and one["recipe"] == name]
        if answers and answers[0]["outcome"] == "ok":
            output.print(f"ok: {answers[0]['detail']}")
            return
        if answers:
            raise CommandError(
                f"The recipe {name} did not come into force: {answers[0]['outcome']}, {_why(answers[0])}"
            )
        if time.monotonic() >= until_s:
            raise CommandError(
                f"The recipe {name} is not in force after {wait_s:g} s; {told['recipe']} is. It still comes: see "
                "linewatch recipe, or the journal"
            )
        time.sleep(_LOOK_EVERY_S)


def _why(answer: dict[str, Any]) -> str:
    return str(answer["detail"]) or "without a reason"


def _show(settings: Any, *, as_json: bool) -> None:
    answer = ask_line(settings.store.path, "recipes")
    rows = [
        {
            "recipe": name,
            "state": _state(name, answer.told),
            "views": list(recipe.views),
            "part_id_prefixes": list(recipe.part_id_prefixes),
        }
        for name, recipe in settings.station_recipes.items()
    ]
    if answer.told is None:
        warn(errors, f"this is what the settings say, not a line that runs. {answer.why_not}")
    if as_json:
        output.print_json(data=rows)
        return
    table = Table("recipe", "state", "views", "part ids begin with")
    for row in rows:
        table.add_row(row["recipe"], row["state"], ", ".join(row["views"]), ", ".join(row["part_id_prefixes"]))
    output.print(table)


def _state(name: str, told: dict[str, Any] | None) -> str:
    if told is None:
        return "unknown"
    if name == told["recipe"]:
        return "in force" if told["not_judged"] is None else f"parts are NO_READ: {told['not_judged']}"
    if name in told["loading"]:
        return "is being loaded"
    return "wished for" if name == told["wish"] else ""
