"""`linewatch reinspect`: an archive of kept pictures, judged again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.cli.console import (
    INTERRUPTED,
    BundleOption,
    load_station,
    output,
    progress_bar,
    stop_on_signals,
    warn,
)
from edge.cli.inspect_command import only_bundle
from edge.errors import SettingsError
from edge.wording import counted

FAILED, UNREAD = 6, 5


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch reinspect archive --bundle my-bundle --out results`")(reinspect)


def reinspect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="a folder, recordings, an evidence export, a CSV or Parquet list of paths, or an address: s3://…",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="the folder of results; what it has already is not judged again")],
    bundle: BundleOption = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="a station's settings, in place of --bundle: several views", readable=False),
    ] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="of the settings' recipes, this one")] = None,
    mm_per_px: Annotated[
        float | None, typer.Option("--mm-per-px", max=1000, help="size of a pixel on the part, mm")
    ] = None,
    maps: Annotated[bool, typer.Option("--maps", help="also write each picture's defect map, as PNG")] = False,
) -> None:
    """Judge kept pictures again, each exactly once, and write a row of Parquet for each.

    A start that was killed goes on where it stopped: give the same command again. See docs/archives.md.

    The exit code: 0 every picture has a verdict, 5 some could not be read, 6 inference failed on some; all of them have
    their rows.
    """
    from edge.reinspecting.reinspection import Asked, OneEngine, station_of
    from edge.reinspecting.reinspection import reinspect as judge_again

    settings, bundles = _station(bundle, config, recipe, mm_per_px)
    asked = Asked(source, out, station_of(settings, bundles), None, maps, strict_views=config is not None)
    with stop_on_signals() as stop:
        outcome = judge_again(asked, OneEngine(), stop, warn, _progress)
    _end(outcome, out, stopped=stop.is_set())


def _station(bundle: Path | None, config: Path | None, recipe: str | None, mm_per_px: float | None) -> tuple[Any, Any]:
    """Return settings of one recipe, and its bundles. Raises LinewatchError."""
    from edge.bundle import load_bundle
    from edge.settings import Settings, require_bundle

    if mm_per_px is not None and not mm_per_px > 0:
        raise typer.BadParameter(f"--mm-per-px: expected a size above 0 mm, received {mm_per_px}")
    if config is None:
        if recipe is not None:
            raise typer.BadParameter("--recipe: expected --config beside it, whose recipe it is; received none")
        path = require_bundle(Settings(), bundle or only_bundle(Path())).resolve()
        settings = Settings().with_bundle(path)
        if mm_per_px is not None:
            inspect = settings.inspect.model_copy(update={"mm_per_px": mm_per_px})
            settings = settings.model_copy(update={"inspect": inspect})
        return settings, {path: load_bundle(path)}
    if mm_per_px is not None:
        raise typer.BadParameter("--mm-per-px: the settings of --config tell the scale of each view; leave it out")
    settings, bundles = load_station(config, bundle)
    if recipe is not None:
        if recipe not in settings.station_recipes:
            raise SettingsError(f"--recipe: expected one of {', '.join(settings.station_recipes)}, received {recipe!r}")
        settings = settings.model_copy(update={"recipe": recipe}) if settings.recipes else settings
    return settings, bundles


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], object]]:
    with progress_bar(lambda: total, "pictures") as advance:
        yield advance


def _end(outcome: Any, out: Path, *, stopped: bool) -> None:
    """Say what it came to, and end with the code that tells it."""
    counts = outcome.counts
    output.print(
        f"{counted(counts['pictures'], 'picture')}: {counts['OK']} OK, {counts['NG']} NG, {counts['NO_READ']} NO_READ; "
        f"{outcome.made} judged now, {outcome.earlier} before; results: {out}"
    )
    if stopped and outcome.left:
        warn(f"stopped: {counted(outcome.left, 'picture is', 'pictures are')} left. The same command goes on with them")
        raise typer.Exit(INTERRUPTED)
    if outcome.failed:
        warn(f"inference failed on {counted(outcome.failed, 'picture')}: NO_READ in the results")
        raise typer.Exit(FAILED)
    if counts["NO_READ"]:
        raise typer.Exit(UNREAD)
