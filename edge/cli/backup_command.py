"""`linewatch backup` and `linewatch restore`: what a station and its dashboard remember, to another device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge.cli.asking import output
from edge.cli.console import errors, warn
from edge.cli.telling import who
from edge.wording import command

Config = Annotated[Path, typer.Argument(help="a station's settings, or a file of the dashboard's own", readable=False)]
File = Annotated[Path, typer.Argument(help="the backup, a .zip")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the `linewatch` command."""
    app.command(epilog="Example: `linewatch backup config/line.yaml line.backup.zip`")(backup)
    app.command(epilog="Example: `linewatch restore line.backup.zip /etc/linewatch/line.yaml`")(restore)


def backup(
    config: Config,
    file: File,
    force: Annotated[bool, typer.Option("--force", help="replace a file that is there already")] = False,
) -> None:
    """Write store, journal, evidence index, history, users and settings into one file, while the line runs.

    Bundles, secrets in files of their own and pictures are not carried; it says so. The file holds the settings, and
    with them whatever secret stands there: only its owner may read it. Exit code 8: a part cannot be read, or the
    file not written.
    """
    from edge.backup.taking import take
    from edge.errors import StoreError

    if file.exists() and not force:
        raise StoreError(f"{file} is there already. Name another file, or replace it with --force")
    taken = take(config, file)
    for part in taken.manifest.parts:
        output.print(f"{part.name}: {part.size / 1e6:.1f} MB")
    for name, why in taken.manifest.absent.items():
        warn(f"{name} is not in it: {why}")
    for left in taken.manifest.not_carried:
        errors.print(f"not carried: {left}")
    output.print(f"{file}: {taken.size / 1e6:.1f} MB, sha256 {taken.sha256}")


def restore(
    file: File,
    config: Config,
    replace: Annotated[bool, typer.Option("--replace", help="move aside what is there already")] = False,
    sha256: Annotated[str | None, typer.Option("--sha256", help="what `linewatch backup` printed")] = None,
    user: Annotated[str | None, typer.Option("--user", help="who does so, for the journal; else of this shell")] = None,
) -> None:
    """Put a backup in place, whole or not at all: the settings to CONFIG, and all else to where they say.

    The station must not run, and the one that was backed up never again at the same topics. The store gets a new
    epoch. Exit code 8: the file is torn, altered or no backup, a later version wrote it, or a place is taken.
    """
    from edge.backup.restoring import restore as put_back

    done = put_back(file, config, replace=replace, sha256=sha256, user=who(user))
    for name, path in done.places.items():
        output.print(f"{name}: {path}")
    for path in done.aside:
        errors.print(f"moved aside: {path}")
    for name, why in done.absent.items():
        warn(f"{name} was not in the backup: {why}")
    for left in done.not_carried:
        warn(f"the settings name what a backup does not carry: {left}")
    told = "" if done.epoch is None else f"; the store begins the epoch {done.epoch}"
    output.print(f"restored as of {done.taken_at}{told}. See what is missing: {command('linewatch', 'check', config)}")
