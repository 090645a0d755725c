"""`linewatch replay`: a recording, through the very same pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.cli.console import (
    INTERRUPTED,
    BundleOption,
    grades_of,
    load_station,
    output,
    progress_bar,
    require_kept,
    stop_on_signals,
    units_of,
    warn_of_secrets,
)
from edge.cli.given_recordings import given_recordings, trigger_of
from edge.errors import EngineError, PublishError, SettingsError, SourceError
from edge.wording import counted


class Pace(str, Enum):
    """The speed at which a recording is replayed."""

    MAX = "max"
    REAL = "real"


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(
        epilog="Example: `linewatch replay line.mp4 --bundle my-bundle --config config/line.yaml --events events.jsonl`"
    )(replay)


def replay(
    recordings: Annotated[
        list[Path],
        typer.Argument(
            metavar="RECORDING...", help="a recording, a video, a picture, or a folder of them; one for each camera"
        ),
    ],
    config: Annotated[Path, typer.Option("--config", help="the station's settings, YAML", readable=False)],
    events: Annotated[Path, typer.Option("--events", help="write one result per line of JSON here")],
    bundle: BundleOption = None,
    cameras: Annotated[
        str | None, typer.Option("--cameras", help="whose recordings they are, in order: top,side")
    ] = None,
    parts: Annotated[
        Path | None,
        typer.Option("--parts", help="a table of when parts were opened and closed; see docs/simulation.md"),
    ] = None,
    maps: Annotated[Path | None, typer.Option("--maps", help="write each frame's defect map here, as PNG")] = None,
    evidence: Annotated[
        Path | None, typer.Option("--evidence", help="keep pictures here, as the settings' evidence says; else none")
    ] = None,
    pace: Annotated[Pace, typer.Option("--pace", help="as fast as it can, or at the recording's own speed")] = Pace.MAX,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish", help="also send to the settings' broker, as the line; without it nothing leaves the machine"
        ),
    ] = False,
) -> None:
    """Take recordings through the very same pipeline, in their own time, with a store of its own.

    Several recordings play as one station: their frames are merged by time, and two replays tell the same.
    """
    from edge.app import StandIns, Watchers, run_station
    from edge.cameras.pacing import PacedCamera
    from edge.files import scratch_folder
    from edge.observers.direct import DirectObserver
    from edge.observers.replay_files import EventsFile, MapsFolder, ReplayFiles
    from edge.publishers.memory import MemoryPublisher

    settings, bundles = load_station(config, bundle)
    # the simulated engine answers for the simulated camera alone
    settings = settings.model_copy(
        update={
            "engine": settings.engine.without_simulation(),
            "evidence": settings.evidence.model_copy(update={"folder": evidence}),
        }
    )
    if evidence is not None and evidence.is_dir() and any(evidence.iterdir()):
        raise SettingsError(
            f"--evidence: expected a folder that is empty or absent, received {evidence}, which holds something. Two "
            "replays name their evidence alike"
        )
    if publish:
        warn_of_secrets(settings, config)
    given = given_recordings(settings, bundles, recordings, cameras)
    sources = given.cameras
    started_s = time.monotonic()
    with ExitStack() as scope:
        store = scope.enter_context(scratch_folder("linewatch-replay-")) / "outbox.db"
        file = scope.enter_context(EventsFile(events))
        folder = MapsFolder(maps, list(sources)) if maps else None
        advance = scope.enter_context(progress_bar(lambda: sum(each.total for each in sources.values())))
        stop = scope.enter_context(stop_on_signals())
        result = run_station(
            settings,
            bundles,
            stop,
            store=store,
            live=False,
            instead=StandIns(
                cameras={n: PacedCamera(each) for n, each in sources.items()} if pace is Pace.REAL else sources,
                trigger=trigger_of(settings, parts, given.recording),
                publisher=None if publish else MemoryPublisher(),
            ),
            watchers=Watchers(
                [ReplayFiles(file, folder), DirectObserver(lambda decided: _each_frame(decided, advance))]
            ),
        )
    counts, seconds = result.counts, time.monotonic() - started_s
    output.print(
        f"{units_of(settings, counts)} in {seconds:.1f} s ({counts.tiles / seconds:.1f} tiles/s): {counts.ok} OK, "
        f"{counts.ng} NG, {counts.no_read} NO_READ; alarms: {counts.alarms_raised} raised, "
        f"{counts.alarms_cleared} cleared; {grades_of(counts.grades)}results: {events}"
    )
    _end(settings, result, events, interrupted=stop.is_set())


def _each_frame(decided: Any, advance: Callable[[], None]) -> None:
    if hasattr(decided, "inspection"):
        advance()


def _end(settings: Any, result: Any, events: Path, *, interrupted: bool) -> None:
    """Raise what the replay comes to, where that is not all well."""
    counts = result.counts
    require_kept(result.outbox)
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if counts.ended_early:
        raise SourceError(f"{counts.ended_early}. The results up to there are in {events}")
    if counts.unreadable:
        raise SourceError(
            f"{counted(counts.unreadable, 'picture')} could not be read: NO_READ in the results in {events}"
        )
    if counts.engine_errors:
        raise EngineError(
            f"inference failed on {counted(counts.engine_errors, 'frame')}: NO_READ in the results in {events}"
        )
    if left := result.outbox.pending + result.outbox.dead_letters:
        raise PublishError(
            f"{counted(left, 'message')} did not reach the broker at "
            f"{settings.broker.address[0]}:{settings.broker.address[1]}; the results are in {events}. "
            "Start the broker and replay again"
        )
