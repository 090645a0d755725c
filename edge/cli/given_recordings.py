"""The recordings that play each camera, and what opens and closes their parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.cli.console import warn
from edge.errors import SettingsError

Play = Callable[[str], Any]  # a camera of this name, from a recording


@dataclass(frozen=True)
class Given:
    """The players of each camera of the settings, not opened. `recording`: that of `linewatch record`, if it is one."""

    cameras: dict[str, Any]
    recording: Any | None = None


def given_recordings(settings: Any, bundles: Any, paths: list[Path], named: str | None) -> Given:
    """Return what plays each camera's recording, by the camera's name. Raises SettingsError where they do not fit."""
    from edge.recording.playing import load_recording, recording_of

    names = None if named is None else [name.strip() for name in named.split(",")]
    whole = None
    if len(paths) == 1 and (found := recording_of(paths[0])) is not None and found[1] is None:
        whole = load_recording(found[0])
        played = _of_whole(settings, whole, names)
    else:
        played = _one_for_each(settings, bundles, paths, names)
    if unknown := [name for name in played if name not in settings.station_cameras]:
        raise SettingsError(
            f"--cameras: expected some of {', '.join(settings.station_cameras)}, received {', '.join(unknown)}"
        )
    require_views(settings, list(played))
    return Given({name: play(name) for name, play in played.items()}, whole)


def require_views(settings: Any, names: list[str]) -> None:
    """Raise SettingsError where a view of the first recipe has no recording."""
    if missing := [name for name in settings.station_recipes[settings.first_recipe].views if name not in names]:
        raise SettingsError(
            f"Expected recordings of all cameras of the recipe {settings.first_recipe}; missing: {', '.join(missing)}"
        )


def _of_whole(settings: Any, recording: Any, names: list[str] | None) -> dict[str, Play]:
    """Return what plays the cameras of a recording that `linewatch record` wrote: by their own names, if they can."""
    held, own = list(recording.manifest.cameras), list(settings.station_cameras)
    if len(held) == 1 and len(names or own) == 1:  # under any name
        return {(names or own)[0]: _playing(settings, recording, held[0])}
    if names is None:
        names = [name for name in held if name in own]
        if left := [name for name in held if name not in own]:
            warn(f"the recording's cameras {', '.join(left)} are not in the settings, and are not played")
    if unknown := [name for name in names if name not in held]:
        raise SettingsError(
            f"--cameras: expected some of the recording's cameras, {', '.join(held)}, received {', '.join(unknown)}"
        )
    return {name: _playing(settings, recording, name) for name in names}


def _playing(settings: Any, recording: Any, camera: str) -> Play:
    from edge.recording.playing import RecordedCamera

    own = settings.station_cameras
    return lambda name: RecordedCamera(name, recording, camera, own[name].expected_px)


def _one_for_each(settings: Any, bundles: Any, paths: list[Path], names: list[str] | None) -> dict[str, Play]:
    """Return what plays each of several recordings, or one video, picture or folder."""
    own = settings.station_cameras
    if names is None and len(own) > 1 and len(paths) != len(own):
        raise SettingsError(f"Expected a recording for each of {', '.join(own)}, received {len(paths)}. Name --cameras")
    names = names or list(own)
    if len(names) != len(paths) or len(set(names)) != len(names):
        raise SettingsError(
            f"--cameras: expected a camera for each recording, received {len(paths)} recordings and {', '.join(names)}"
        )
    return {name: _one(settings, bundles, path) for name, path in zip(names, paths, strict=True)}


def _one(settings: Any, bundles: Any, path: Path) -> Play:
    from edge.app import make_recording
    from edge.recording.playing import load_recording, recording_of

    if (found := recording_of(path)) is not None:
        recording = load_recording(found[0])
        held = list(recording.manifest.cameras)
        if (found[1] is None and len(held) > 1) or (found[1] is not None and found[1] not in held):
            raise SettingsError(
                f"{path}: expected the recording of one camera, received one of {', '.join(held)}. Name the recording "
                f"alone, or {found[0]}/{held[0]}"
            )
        return _playing(settings, recording, found[1] or held[0])

    def play(name: str) -> Any:
        own, one = settings.station_cameras[name], settings.of_view(name)
        return make_recording(name, path, own.depth(bundles[one.bundle]), own.expected_px, fps=own.fps or 1.0)

    return play


def trigger_of(settings: Any, parts: Path | None, recording: Any | None) -> Any:
    """Return what opens and closes the parts of a recording; None for the settings' own. Raises SettingsError."""
    from edge.parts.triggers import ToldTrigger
    from edge.recording.playing import read_trigger
    from edge.simulation.recording import read_parts, trigger_events

    if parts is None:
        if settings.parts.trigger not in {"mqtt", "software", "machine"}:
            return None
        recorded = None if recording is None else read_trigger(recording)
        if recorded is None and settings.parts.trigger != "machine":
            raise SettingsError(
                f"Expected --parts, a table of when parts were opened and closed: a recording has no trigger "
                f"{settings.parts.trigger}; received none. Name the table, or another parts.trigger"
            )
        return recorded
    if not settings.parts.exist:
        raise SettingsError("--parts: expected settings with parts, received parts.trigger: every_frame")
    trigger, several = ToldTrigger(), len(settings.station_recipes) > 1
    table = read_parts(parts)
    if not table:
        raise SettingsError(f"{parts}: expected when parts were opened and closed, received a table without any part")
    products = {part.product for part in table if part.product}
    if several and (unknown := sorted(products - set(settings.station_recipes))):
        raise SettingsError(
            f"{parts}: expected as product one of the recipes {', '.join(settings.station_recipes)}, received "
            f"{', '.join(unknown)}"
        )
    for event in trigger_events(table, recipes=several):
        if not trigger.tell(event):
            raise SettingsError(f"{parts} has more parts than can wait at once; expected at most 5000. Divide it")
    return trigger
