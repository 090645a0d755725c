"""`linewatch replay`: a recording, through the very same pipeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
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
from edge.cli.given_recordings import Given, given_recordings, trigger_of
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
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", help="a second bundle, or second settings: what they judge otherwise", readable=False
        ),
    ] = None,
    diff: Annotated[Path | None, typer.Option("--diff", help="write what differs here, as JSON")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="write a page of what differs here, with pictures")
    ] = None,
    fail_on_change: Annotated[
        bool, typer.Option("--fail-on-change", help="end with 15 where anything differs or was not compared")
    ] = False,
) -> None:
    """Take recordings through the very same pipeline, in their own time, with a store of its own.

    Several recordings play as one station: their frames are merged by time, and two replays tell the same. With
    --against a second station judges the very same frames in the same pass. Each line of the events then says under
    `against` what it makes of it.
    """
    from edge.cli.against import CHANGED, Against, Asked, require_same_pixels, second_station
    from edge.observers.replay_files import MapsFolder

    if against is None and (diff is not None or html is not None or fail_on_change):
        raise typer.BadParameter("--diff, --html, --fail-on-change: expected --against beside them, received none")
    settings, bundles = _for_replay(load_station(config, bundle), evidence)
    other = None
    if against is not None:
        second = _for_replay(second_station(against, config, bundle, settings, bundles), None)
        require_same_pixels(settings, bundles, *second)
        other = Against(Asked(against, diff, html), (settings, bundles, config), second)
    if evidence is not None and evidence.is_dir() and any(evidence.iterdir()):
        raise SettingsError(
            f"--evidence: expected a folder that is empty or absent, received {evidence}, which holds something. Two "
            "replays name their evidence alike"
        )
    if publish:
        warn_of_secrets(settings, config)
    given = given_recordings(settings, bundles, recordings, cameras)
    started_s = time.monotonic()
    with stop_on_signals() as stop:
        folder = MapsFolder(maps, list(given.cameras)) if maps else None
        replayed = _Replay(settings, bundles, given, parts, events, paced=pace is Pace.REAL, publish=publish)
        result = replayed.run(stop, folder, other)
    counts, seconds = result.counts, time.monotonic() - started_s
    output.print(
        f"{units_of(settings, counts)} in {seconds:.1f} s ({counts.tiles / seconds:.1f} tiles/s): {counts.ok} OK, "
        f"{counts.ng} NG, {counts.no_read} NO_READ; alarms: {counts.alarms_raised} raised, "
        f"{counts.alarms_cleared} cleared; {grades_of(counts.grades)}results: {events}"
    )
    if other is not None:
        other.tell()
    _end(settings, result, events, interrupted=stop.is_set())
    if other is not None and fail_on_change and other.comparison.changed:
        raise typer.Exit(CHANGED)


def _for_replay(station: tuple[Any, Any], evidence: Path | None) -> tuple[Any, Any]:
    """Return a station as it is replayed: the simulated engine answers for the simulated camera alone."""
    settings, bundles = station
    updated = {
        "engine": settings.engine.without_simulation(),
        "evidence": settings.evidence.model_copy(update={"folder": evidence}),
    }
    return settings.model_copy(update=updated), bundles


@dataclass(frozen=True)
class _Replay:
    """One replay: its sources, and its way."""

    settings: Any
    bundles: Any
    given: Given
    parts: Path | None
    events: Path
    paced: bool
    publish: bool

    def run(self, stop: threading.Event, maps: Any, against: Any | None) -> Any:
        """Judge all frames and write what was decided; `against`: the second station that judges them too."""
        from edge.app import StandIns, Watchers, run_station
        from edge.cameras.pacing import PacedCamera
        from edge.files import scratch_folder
        from edge.observers.direct import DirectObserver
        from edge.observers.replay_files import EventsFile, ReplayFiles
        from edge.publishers.memory import MemoryPublisher
        from edge.replaying.pairs import FORMER

        own = self.given.cameras
        cameras = {name: PacedCamera(each) for name, each in own.items()} if self.paced else dict(own)
        with ExitStack() as scope:
            scratch = scope.enter_context(scratch_folder("linewatch-replay-"))
            file = scope.enter_context(EventsFile(self.events))
            advance = scope.enter_context(progress_bar(lambda: sum(each.total for each in own.values())))
            observers: list[Any] = [ReplayFiles(file if against is None else None, maps)]
            with ExitStack() as beside:
                if against is not None:
                    cameras, others = against.shared(cameras)
                    observers.append(DirectObserver(against.pairs.watch(FORMER)))
                    observers.append(DirectObserver(lambda _: against.take(file.write)))
                    trigger = trigger_of(against.second, self.parts, self.given.recording)
                    beside.enter_context(against.running(others, trigger, scratch / "second.db", stop))
                observers.append(DirectObserver(lambda decided: _each_frame(decided, advance)))
                result = run_station(
                    self.settings,
                    self.bundles,
                    stop,
                    store=scratch / "outbox.db",
                    live=False,
                    instead=StandIns(
                        cameras=cameras,
                        trigger=trigger_of(self.settings, self.parts, self.given.recording),
                        publisher=None if self.publish else MemoryPublisher(),
                    ),
                    watchers=Watchers(observers),
                )
            if against is not None:
                against.take(file.write, all_of_it=True)
        return result


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
