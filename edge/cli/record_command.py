"""`linewatch record`: what the cameras give, kept pixel by pixel, to be replayed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from edge.cli.console import INTERRUPTED, ConfigArgument, errors, output, stop_on_signals, warn
from edge.errors import CommandError, SettingsError, SourceError, StoreError
from edge.wording import counted

_GB = 1_000_000_000


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch record config/line.yaml --seconds 60 --out recording`")(record)


def record(
    config: ConfigArgument,
    out: Annotated[Path, typer.Option("--out", help="the recording: a folder that is empty or absent")],
    camera: Annotated[
        list[str] | None, typer.Option("--camera", help="of the settings' cameras, this one; may be given again")
    ] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="end after so long")] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, help="end after so many frames of each camera")
    ] = None,
    max_gb: Annotated[float | None, typer.Option("--max-gb", min=0.001, help="end when the clips hold so much")] = None,
    keep_free_gb: Annotated[
        float, typer.Option("--keep-free-gb", min=0, help="end before less than this of the disk is free")
    ] = 1.0,
    segment_minutes: Annotated[
        float, typer.Option("--segment-minutes", min=0.001, max=1440, help="how long one clip is at most")
    ] = 10.0,
) -> None:
    """Keep the cameras' frames, without loss, each with its time, until Ctrl-C or as long as is asked.

    The line must not run on the same cameras: a USB or GenICam camera has one owner. Replaying the recording gives the
    very same pixels. The recording is readable whatever ends it. A disk that is too slow costs frames, which are
    counted.

    Exit codes: 0 recorded, 5 a camera gave nothing or ended early, 8 the disk is full, 130 stopped before its time.
    """
    from edge.app.recording import begin_manifest, recorded_sources, settings_without_secrets
    from edge.files import write_text
    from edge.printable import as_json
    from edge.recording.manifest import SETTINGS
    from edge.recording.recorder import RecordingLimits
    from edge.recording.recorder import record as record_cameras

    if seconds is not None and frames is not None:
        raise typer.BadParameter("--seconds, --frames: expected one of them, received both")
    settings, bundles = _station(config)
    names = _cameras(settings, camera)
    _require_free(settings, names)
    _require_empty(out)
    limits = RecordingLimits(
        seconds,
        frames,
        most_bytes=None if max_gb is None else round(max_gb * _GB),
        keep_free_bytes=round(keep_free_gb * _GB),
        segment_s=segment_minutes * 60,
    )
    cameras, trigger = recorded_sources(settings, bundles, names)
    if settings.parts.trigger in {"mqtt", "machine"}:
        warn(f"parts.trigger is {settings.parts.trigger}, which is not recorded: a replay needs a table of --parts")
    manifest = begin_manifest(settings, bundles, names)
    write_text(out / SETTINGS, as_json(settings_without_secrets(settings), indent=2) + "\n")
    with stop_on_signals() as stop, _progress() as each_turn:
        recorded = record_cameras(cameras, out, manifest, limits, stop, trigger=trigger, each_turn=each_turn)
    _tell(recorded, out)
    _end(recorded, out, stop, endless=seconds is None and frames is None)


def _station(config: Path) -> tuple[Any, Any]:
    """Read the settings and, where they name any, their bundles: these say how many bits of deep pictures count."""
    from edge.settings import load_bundles, load_settings

    settings = load_settings(config)
    return settings, load_bundles(settings)


def _cameras(settings: Any, asked: list[str] | None) -> list[str]:
    own = list(settings.station_cameras)
    if asked is None:
        return own
    if unknown := [name for name in asked if name not in own]:
        raise SettingsError(f"--camera: expected some of {', '.join(own)}, received {', '.join(unknown)}")
    return [name for name in own if name in asked]


def _require_free(settings: Any, names: list[str]) -> None:
    """Raise SourceError where a line runs on these settings, and has cameras that can be opened only once."""
    from edge.app.recording import ONE_OWNER
    from edge.commands.socket import ask

    owned = [name for name in names if settings.station_cameras[name].resolved_kind() in ONE_OWNER]
    if not owned:
        return
    try:
        ask(settings.store.path, "status")
    except CommandError:
        return  # no line runs, or it is another user's: then the camera itself says that it is taken
    raise SourceError(
        f"The line runs and has {', '.join(owned)}, which can be opened only once. Stop the line, or record other "
        "cameras with --camera"
    )


def _require_empty(out: Path) -> None:
    try:
        taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        raise StoreError(f"--out: {out} cannot be read: {told}. Name another place") from error
    if taken:
        raise StoreError(f"--out: expected a folder that is empty or absent, received {out}. Name another one")


@contextmanager
def _progress() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show how the recording stands in one line, where somebody watches."""
    columns = (TextColumn("recording"), TimeElapsedColumn(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("recording", total=None, told="")
        yield lambda now: progress.update(task, told=_told(now))


def _told(cameras: Mapping[str, Any]) -> str:
    each = "; ".join(f"{name}: {_of_camera(now)}" for name, now in cameras.items())
    return f"{each}; {sum(now.bytes for now in cameras.values()) / _GB:.2f} GB"


def _of_camera(now: Any) -> str:
    told = counted(now.frames, "frame")
    if now.unreadable:
        told += f", {now.unreadable} unreadable"
    if now.dropped:
        told += f", {now.dropped} dropped"
    return f"{told}, lost" if now.lost else told


def _tell(recorded: Any, out: Path) -> None:
    output.print(f"{_told(recorded.cameras)}; {recorded.reason}; the recording is {out}")
    dropped = sum(now.dropped for now in recorded.cameras.values())
    if dropped:
        warn(f"{counted(dropped, 'frame')} dropped: the camera, the disk or this processor was too slow for all")


def _end(recorded: Any, out: Path, stop: threading.Event, *, endless: bool) -> None:
    """Raise what the recording comes to, where that is not all well."""
    if recorded.full:
        raise StoreError(f"{recorded.full}. What was recorded up to there is in {out}; free some space")
    if recorded.trouble:
        raise SourceError(f"{recorded.trouble}. What was recorded up to there is in {out}")
    if stop.is_set() and not endless:
        raise typer.Exit(INTERRUPTED)
    silent = [
        f"{name} ({now.lost})" if now.lost else name
        for name, now in recorded.cameras.items()
        if not now.frames and not now.unreadable
    ]
    if silent:
        raise SourceError(f"No frame came from {', '.join(silent)}. Try it with `linewatch check`")
