"""A few frames of one of the settings' cameras, for the verbs that learn what it sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from edge.cli.console import stop_on_signals
from edge.errors import SettingsError, SourceError

_NONE_FOR_S = 15.0


def region_of(text: str | None) -> tuple[int, int, int, int] | None:
    """Return what --region says: x, y, width, height in px; None without it. Raises BadParameter."""
    if text is None:
        return None
    sides = [side.strip() for side in text.split(",")]
    if len(sides) != 4 or not all(side.isascii() and side.isdecimal() and len(side) <= 5 for side in sides):
        raise typer.BadParameter(f"--region: expected X,Y,W,H in px, such as 256,0,128,480; received {text}")
    x, y, w, h = (int(side) for side in sides)
    return x, y, w, h


def frames_of(
    settings: Any, bundles: Any, name: str, count: int, source: Path | None, *, shows: str = "part"
) -> list[Any]:
    """Return `count` frames, uint8 [H, W, 3], of a camera, or all of a shorter recording.

    `source`: a recording, in place of the camera. `shows`: what a frame that is dark or frozen does not show. Raises
    SettingsError, SourceError.
    """
    from edge.app import make_camera, make_recording
    from edge.cameras.camera_watch import CameraWatch, blind
    from edge.station.watchdog import Heartbeats

    own = settings.station_cameras
    if name not in own:
        raise SettingsError(f"Expected a camera of {', '.join(own)}; received {name!r}")
    camera = own[name]
    recipe = next(each for each, entry in settings.station_recipes.items() if name in entry.views)
    depth = camera.depth(bundles[settings.of_view(name, recipe).bundle])
    recorded = source or (Path(str(camera.source)) if camera.resolved_kind() in {"file", "images"} else None)
    if recorded is not None:
        alone = camera.watched_files()
        recording = make_recording(name, recorded, depth, camera.expected_px)
        return _read(recording, count, lambda frame: blind(alone, frame.pixels), shows)
    return _read(make_camera(camera, Heartbeats(), depth), count, CameraWatch(camera.watched(live=True)).look, shows)


def _read(camera: Any, count: int, distrusts: Any, shows: str) -> list[Any]:
    import time

    from edge.records import CameraCondition, Frame

    seen: list[Any] = []
    why, ends_s = "it says nothing", time.monotonic() + _NONE_FOR_S
    with stop_on_signals() as stop, camera:
        while len(seen) < count and time.monotonic() < ends_s:
            if stop.is_set():
                raise typer.Abort
            item = camera.read(0.5)
            if not isinstance(item, Frame):
                why = item.detail or item.condition.value
                if item.condition is CameraCondition.END_OF_STREAM:
                    break
                continue
            if (distrust := distrusts(item)) is not None:
                raise SourceError(f"frame {len(seen) + 1} of {camera.name} shows no {shows}: {distrust.reason}")
            seen.append(item.pixels)
            ends_s = time.monotonic() + _NONE_FOR_S
    if not seen:
        raise SourceError(f"The camera {camera.name} gave no frame: {why}. Check its source, its cable and its power")
    return seen
