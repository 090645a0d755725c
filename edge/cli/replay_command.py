"""`linewatch replay`: a recording, through the very same pipeline."""

from __future__ import annotations

import time
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.cli.console import (
    INTERRUPTED,
    BundleOption,
    grades_of,
    load_line,
    output,
    progress_bar,
    require_kept,
    stop_on_signals,
    warn_of_secrets,
)
from edge.errors import EngineError, PublishError, SourceError
from edge.wording import counted


class Pace(str, Enum):
    """How fast a recording is replayed."""

    MAX = "max"
    REAL = "real"


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(
        epilog="Example: `linewatch replay line.mp4 --bundle my-bundle --config config/line.yaml --events events.jsonl`"
    )(replay)


def replay(
    recording: Annotated[Path, typer.Argument(metavar="VIDEO|FOLDER", help="a video, a picture, or a folder of them")],
    config: Annotated[Path, typer.Option("--config", help="the line's settings, YAML")],
    events: Annotated[Path, typer.Option("--events", help="write one result per line of JSON here")],
    bundle: BundleOption = None,
    maps: Annotated[Path | None, typer.Option("--maps", help="write each frame's defect map here, as PNG")] = None,
    pace: Annotated[Pace, typer.Option("--pace", help="as fast as it can, or at the recording's own speed")] = Pace.MAX,
    publish: Annotated[
        bool,
        typer.Option(
            "--publish", help="also send to the settings' broker, as the line; without it nothing leaves the machine"
        ),
    ] = False,
) -> None:
    """Take a recording through the very same pipeline, in the recording's own time, with a store of its own."""
    from edge.app import make_recording, run_line
    from edge.cameras.pacing import PacedCamera
    from edge.files import scratch_folder
    from edge.observers.replay_files import EventsFile, MapsFolder
    from edge.publishers.memory import MemoryPublisher

    settings, loaded = load_line(config, bundle)
    if publish:
        warn_of_secrets(settings, config)
    camera = make_recording(settings.camera.name, recording, settings.camera.depth(loaded), settings.camera.expected_px)
    started_s = time.monotonic()
    with ExitStack() as scope:
        store = scope.enter_context(scratch_folder("linewatch-replay-")) / "outbox.db"
        file = scope.enter_context(EventsFile(events))
        folder = MapsFolder(maps) if maps else None
        advance = scope.enter_context(progress_bar(lambda: camera.total))
        stop = scope.enter_context(stop_on_signals())

        def keep(decided: Any) -> None:
            file.write(decided.body)
            if folder and decided.defect_map is not None and decided.inspection.frame is not None:
                folder.write(decided.inspection.frame, decided.defect_map.classes_per_pixel())
            advance()

        result = run_line(
            settings,
            loaded,
            stop,
            store=store,
            live=False,
            camera=PacedCamera(camera) if pace is Pace.REAL else camera,
            publisher=None if publish else MemoryPublisher(),
            watchers=[keep],
        )
    counts, seconds = result.counts, time.monotonic() - started_s
    output.print(
        f"{counted(counts.frames, 'frame')} in {seconds:.1f} s ({counts.tiles / seconds:.1f} tiles/s): {counts.ok} OK, "
        f"{counts.ng} NG, {counts.no_read} NO_READ; alarms: {counts.alarms_raised} raised, "
        f"{counts.alarms_cleared} cleared; {grades_of(counts.grades)}results: {events}"
    )
    require_kept(result.outbox)
    if stop.is_set():
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
    if left := result.outbox.pending + result.outbox.parked:
        raise PublishError(
            f"{counted(left, 'message')} did not reach the broker at "
            f"{settings.broker.address[0]}:{settings.broker.address[1]}; the results are in {events}. "
            "Start the broker and replay again"
        )
