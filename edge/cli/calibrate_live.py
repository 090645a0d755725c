"""A calibration target before the settings' own camera: frames are looked at until enough show it well."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import typer

from edge.app import make_camera
from edge.calibration.finding import Found, find_target
from edge.calibration.targets import Target
from edge.cli.console import errors, stop_on_signals
from edge.errors import SourceError, TargetError
from edge.records import CameraCondition, Frame, UInt8
from edge.settings import CameraSettings
from edge.station.watchdog import Heartbeats
from edge.wording import counted

_NONE_FOR_S = 15.0
_FOR_S = 120.0
_MOVED = 0.08  # of the half diagonal; a picture of the same pose tells nothing new of the lens


def first_frame(camera: CameraSettings, depth_bits: int | None) -> UInt8:
    """Return one frame of a camera, uint8 [H, W] or [H, W, 3]. Raises SourceError."""
    return next(_frames(camera, depth_bits))


def sighted(
    camera: CameraSettings,
    depth_bits: int | None,
    target: Target,
    count: int,
    tell: Callable[[str], object] = errors.print,
) -> tuple[tuple[int, int], list[Found]]:
    """Return the frames' width and height, and `count` sightings of a target; the first is of the parts' plane.

    Raises SourceError, and TargetError with the last frame's trouble where the target does not come in two minutes.
    """
    found: list[Found] = []
    told, size, ends_s = "", None, time.monotonic() + _FOR_S
    tell(f"looking for {target.spec}: lay it where parts lie")
    for pixels in _frames(camera, depth_bits):
        own = (int(pixels.shape[1]), int(pixels.shape[0]))
        if size not in {None, own}:
            raise SourceError(f"{camera.name} changed its pictures from {size} to {own} px while it was calibrated")
        size = own
        late = time.monotonic() > ends_s
        try:
            one = find_target(target, pixels, thorough=late)
        except TargetError as error:
            if late:
                raise
            told = _once(tell, told, str(error))
            continue
        if found and not _elsewhere(one, found, float(np.hypot(*own)) / 2):
            if late:
                raise TargetError(
                    f"{target.spec}: {len(found)} of {counted(count, 'picture')}; it was not moved any more"
                )
            told = _once(tell, told, "seen; now tilt it, or move it to another corner of the picture")
            continue
        found.append(one)
        advice = f"; {one.advice}" if one.advice else ""
        told = _once(tell, told, f"picture {len(found)} of {count}: the target fills {one.share:.0%}{advice}")
        if len(found) == count:
            return own, found
    raise TargetError(f"{target.spec}: {camera.name} showed it in {len(found)} of {counted(count, 'picture')}. {told}")


def _once(tell: Callable[[str], object], told: str, text: str) -> str:
    if text != told:
        tell(text)
    return text


def _elsewhere(one: Found, others: list[Found], half_diagonal_px: float) -> bool:
    """Tell whether a target is seen in another pose than before."""
    return all(
        one.sighting.px.shape != other.sighting.px.shape
        or float(np.abs(one.sighting.px - other.sighting.px).max()) > _MOVED * half_diagonal_px
        for other in others
    )


def _frames(camera: CameraSettings, depth_bits: int | None) -> Iterator[UInt8]:
    """Yield a camera's frames until it ends or is silent. Raises SourceError where none came."""
    why, some, ends_s = "it says nothing", False, time.monotonic() + _NONE_FOR_S
    with ExitStack() as scope:
        stop = scope.enter_context(stop_on_signals())
        source: Any = scope.enter_context(make_camera(camera, Heartbeats(), depth_bits))
        while time.monotonic() < ends_s:
            if stop.is_set():
                raise typer.Abort
            item = source.read(0.5)
            if isinstance(item, Frame):
                some, ends_s = True, time.monotonic() + _NONE_FOR_S
                yield item.pixels
                continue
            why = item.detail or item.condition.value
            if item.condition is CameraCondition.END_OF_STREAM:
                break
    if not some:
        raise SourceError(f"The camera {camera.name} gave no frame: {why}. Check its source, its cable and its power")
