"""`linewatch evidence`: the kept pictures of a station, listed, exported, judged and verified."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from edge.cli.asking import AsJson, Config, local, output, settings_of
from edge.cli.console import errors, progress_bar
from edge.cli.telling import Comment, User, who
from edge.cli.terminal import warn
from edge.errors import SettingsError
from edge.wording import counted

_SHOWN, _ALL = 50, 1_000_000
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}


class Action(str, Enum):
    """One action on the evidence."""

    LIST = "list"
    EXPORT = "export"
    JUDGE = "judge"
    VERIFY = "verify"


class Verdicts(str, Enum):
    """The verdicts."""

    OK = "OK"
    NG = "NG"
    NO_READ = "NO_READ"


class Opinion(str, Enum):
    """A person's word on a verdict."""

    RIGHT = "right"
    FALSE_REJECT = "false_reject"
    MISSED = "missed"
    UNSURE = "unsure"


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch evidence config/line.yaml export --since 24h --verdict NG`")(evidence)


def evidence(
    config: Config,
    action: Annotated[Action, typer.Argument(help="what to do")],
    names: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="these alone; for judge")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="from then on: 24h, 7d, or a local time as 2026-11-30T06:00")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="up to then, written as --since")] = None,
    verdict: Annotated[list[Verdicts] | None, typer.Option("--verdict", help="only this; may be repeated")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="only of this recipe")] = None,
    part: Annotated[str | None, typer.Option("--part", help="only of this part id")] = None,
    judged: Annotated[
        bool | None, typer.Option("--judged/--unjudged", help="only what a person has judged, or nobody has")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="so many at most [list: 50]")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="the zip to write [default: evidence-TIME.zip]")] = None,
    opinion: Annotated[Opinion | None, typer.Option("--as", help="what you judge it to be")] = None,
    class_name: Annotated[str | None, typer.Option("--class", help="which defect it is, or was missed")] = None,
    user: User = None,
    comment: Comment = "",
    as_json: AsJson = False,
) -> None:
    """List the kept pictures, newest first; export them as a zip; judge some by their ids; verify them.

    The zip has a manifest with the SHA-256 of each file, models, recipe and judgements.
    `linewatch-train import evidence` makes a dataset of it. Missing or altered evidence is told, and never exported.
    Exit code 14: verify found such.
    """
    from edge.evidence.index import Sought
    from edge.evidence.reading import EvidenceReader

    folder = settings_of(config).evidence.folder
    if folder is None:
        raise SettingsError(f"{config}: no evidence is kept. Expected the key evidence.folder, received none")
    now = datetime.now(timezone.utc)
    sought = Sought(
        since=_moment("--since", since, now),
        until=_moment("--until", until, now),
        verdicts=tuple(one.value for one in verdict or ()),
        recipe=recipe,
        part_id=part,
        judged=judged,
    )
    if (action is Action.JUDGE) != bool(opinion) or (action is not Action.JUDGE and names):
        raise typer.BadParameter("judge: expected ids and --as; the other actions expect neither")
    with EvidenceReader(folder) as reader:
        if action is Action.LIST:
            _list(reader.find(sought, limit or _SHOWN), reader.count(sought), as_json=as_json)
        elif action is Action.EXPORT:
            path = out or Path(f"evidence-{now.astimezone():%Y%m%dT%H%M%S}.zip")
            _export(reader, reader.find(sought, limit or _ALL), path, now, who(user))
        elif action is Action.JUDGE and opinion is not None:
            _judge(reader, names or [], opinion, class_name, (who(user), comment))
        else:
            _verify(reader, reader.find(sought, limit or _ALL))


def _moment(option: str, text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        if (found := re.fullmatch(r"([0-9]{1,6})([mhd])", text)) is not None:
            return now - timedelta(seconds=int(found[1]) * _UNITS_S[found[2]])
        return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{option}: expected a time as 24h, 7d or 2026-11-30T06:00, received {text!r:.80}"
        ) from error


def _list(rows: list[dict[str, Any]], total: int, *, as_json: bool) -> None:
    if as_json:
        output.print_json(data=[{"id": row.pop("name"), **row} for row in rows])
        return
    table = Table("kept", "id", "part", "verdict", "recipe", "reason", "why", "judged")
    for row in rows:
        judged = "" if row["judgement"] is None else f"{row['judgement']} by {row['user']}"
        first = (local(row["at"]), row["name"], row["part_id"], row["verdict"], row["recipe"])
        table.add_row(*first, row["reason"] or "", row["why"], judged)
    output.print(table if rows else "no evidence")
    if total > len(rows):
        output.print(f"{total - len(rows)} more; --limit shows them")


def _export(reader: Any, rows: list[dict[str, Any]], path: Path, now: datetime, user: str) -> None:
    from edge.evidence.exporting import export

    with progress_bar(lambda: len(rows)) as advance:
        done = export(reader, rows, path, now=now, user=user, each=advance)
    for told in done.wrong:
        warn(errors, told)
    output.print(f"{counted(done.results, 'result')}, {done.bytes / 1e6:.1f} MB: {path}")
    if left := len(rows) - done.results:
        output.print(f"{counted(left, 'result')} left out, see above")


def _judge(reader: Any, names: list[str], opinion: Opinion, class_name: str | None, said: tuple[str, str]) -> None:
    from edge.evidence.judging import Judgement

    if not names:
        raise typer.BadParameter("judge: expected the ids of evidence, received none")
    for name in names:
        user, comment = said
        try:
            reader.judge(Judgement(name, opinion.value, datetime.now(timezone.utc), user, class_name, comment))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    output.print(f"{counted(len(names), 'result')} judged {opinion.value}")


def _verify(reader: Any, rows: list[dict[str, Any]]) -> None:
    from edge.errors import JournalError

    lines = sum(1 for _ in reader.journal())
    wrong = [told for row in rows for told in _wrong_of(reader, row["name"])]
    if wrong:
        raise JournalError(
            f"{counted(len(wrong), 'file')} of the evidence cannot be had as it was kept. Compare it with an export or "
            "a backup",
            *wrong[:20],
        )
    chain = counted(lines, "judgement or export", "judgements and exports")
    output.print(f"{counted(len(rows), 'result')} as kept; {chain} in a whole chain")


def _wrong_of(reader: Any, name: str) -> list[str]:
    from edge.errors import StoreError

    try:
        wrong: list[str] = reader.files(name)[2]
    except StoreError as error:
        return [str(error)]
    return wrong
