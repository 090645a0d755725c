"""`linewatch reinspect`: an archive of kept pictures, judged again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

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
    against: Annotated[
        Path | None,
        typer.Option("--against", help="a second bundle, or settings: what it judges otherwise", readable=False),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS|local", help="on a Ray cluster: HOST:PORT of its head, or local"),
    ] = None,
    engines: Annotated[
        int | None,
        typer.Option("--engines", min=1, max=10_000, help="at once, with --ray; else as many as there is room for"),
    ] = None,
    cpus_per_engine: Annotated[
        float, typer.Option("--cpus-per-engine", min=0.1, max=1024, help="of each engine, with --ray")
    ] = 1.0,
    gpus_per_engine: Annotated[
        float, typer.Option("--gpus-per-engine", min=0, max=64, help="of each engine, with --ray")
    ] = 0.0,
) -> None:
    """Judge kept pictures again, each exactly once, and write a row of Parquet for each.

    A start that was killed goes on where it stopped: give the same command again. See docs/archives.md.

    The exit code: 0 every picture has a verdict; 5 some could not be read; 6 inference failed on some. All of them have
    their rows.
    """
    from edge.reinspecting.reinspection import Asked, station_of
    from edge.reinspecting.reinspection import reinspect as judge_again

    settings, bundles = _station(bundle, config, recipe, mm_per_px)
    second = None if against is None else station_of(*_second(against, config, bundle, settings, bundles))
    asked = Asked(source, out, station_of(settings, bundles), second, maps, strict_views=config is not None)
    with stop_on_signals() as stop, _road(ray, engines, cpus_per_engine, gpus_per_engine) as road:
        outcome = judge_again(asked, road, stop, warn, _progress)
    _end(outcome, out, stopped=stop.is_set())


@contextmanager
def _road(ray: str | None, engines: int | None, cpus: float, gpus: float) -> Iterator[Any]:
    """Yield what works at the shards."""
    if ray is None:
        if engines is not None or cpus != 1.0 or gpus:
            raise typer.BadParameter("--engines, --cpus-per-engine, --gpus-per-engine: expected --ray beside them")
        from edge.reinspecting.reinspection import OneEngine

        yield OneEngine()
        return
    from edge.reinspecting.on_ray import Pool, RayRoad

    with RayRoad(ray, Pool(engines, cpus, gpus)) as road:
        yield road


def _second(against: Path, config: Path | None, bundle: Path | None, settings: Any, bundles: Any) -> tuple[Any, Any]:
    """Return settings and bundles of the second station, which sees the same pixels. Raises LinewatchError."""
    from edge.cli.against import require_same_pixels, second_station

    given = against.resolve() if against.is_dir() else against
    second, loaded = second_station(given, config or Path("--against"), bundle, settings, bundles)
    require_same_pixels(settings, bundles, second, loaded)
    return second, loaded


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
    if parts := outcome.parts:
        told = ", ".join(f"{parts[verdict]} {verdict}" for verdict in ("OK", "NG", "NO_READ") if verdict in parts)
        output.print(f"{counted(sum(parts.values()), 'part')}: {told}")
    if outcome.diff is not None:
        _tell_diff(outcome.diff, out)
    if stopped and outcome.left:
        warn(f"stopped: {counted(outcome.left, 'picture is', 'pictures are')} left. The same command goes on with them")
        raise typer.Exit(INTERRUPTED)
    if outcome.failed:
        warn(f"inference failed on {counted(outcome.failed, 'picture')}: NO_READ in the results")
        raise typer.Exit(FAILED)
    if counts["NO_READ"]:
        raise typer.Exit(UNREAD)


def _tell_diff(diff: Any, out: Path) -> None:
    """Print which verdicts change, and which defects are gained and lost."""
    changes = Table("former verdict", "new verdict", "pictures")
    for (old, new), count in sorted(diff.verdicts.items(), key=lambda entry: (-entry[1], entry[0])):
        changes.add_row(old.value, new.value, str(count))
    classes = Table("class", "gained", "lost")
    for name, change in sorted(diff.classes.items()):
        classes.add_row(name, str(change.gained), str(change.lost))
    for table in (changes, classes):
        if table.row_count:
            output.print(table)
    output.print(f"against: {diff.told('picture')}; the pictures that differ most: {out / 'against.html'}")
