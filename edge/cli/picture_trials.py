"""The trials of `linewatch check` upon a camera's frame: is it good enough, and where do part and zones lie in it."""

from __future__ import annotations

import numpy as np

from edge.bundle import Bundle
from edge.cli.device_trials import Warned
from edge.cli.trials import CameraTrial
from edge.errors import ProductNotFoundError, SettingsError
from edge.inspection.golden import golden_frame
from edge.inspection.zoning import Zoning
from edge.preparing import prepare_and_locate
from edge.quality.learning import open_gate
from edge.records import DefectMap, Frame, PartBox, UInt8
from edge.settings import Settings
from edge.wording import counted


def has_places(settings: Settings) -> bool:
    """Tell whether a view's settings say where to look."""
    inspect = settings.inspect
    return any((inspect.part, inspect.zones, inspect.ignore, inspect.region))


def try_quality(settings: Settings, camera: CameraTrial) -> str:
    """Say whether the camera's frame is good enough by what was learned. Raises SettingsError where nothing was."""
    gate = open_gate(settings.camera.quality)
    if gate is None:
        return "not looked at"
    if camera.frame is None:
        return Warned("what was learned can be read; no frame to look at")
    pixels = camera.frame.pixels
    if misfit := gate.misfit(pixels):
        raise SettingsError(f"key camera.quality: {misfit}")
    flaw = gate.look(pixels)
    return "the camera's frame is good enough" if flaw is None else Warned(f"not now: {flaw.reason}")


def try_places(settings: Settings, bundle: Bundle, camera: CameraTrial) -> str:
    """Say where part and zones lie in the camera's frame. Raises SettingsError where they do not lie in it."""
    frame = camera.frame or golden_frame(bundle)
    if frame is None:
        return Warned("no frame to look at")
    try:
        shown, part = _placed(settings, bundle, frame)
    except ProductNotFoundError as error:
        return Warned(f"this frame shows no part, and would be NO_READ: {error}")
    told = [] if part is None else ["the part of {:.0f} x {:.0f} px is found".format(*part.size_px)]
    return ", ".join(
        [*told, f"{counted(len(settings.inspect.zones), 'zone')} within it", f"{shown:,} px are inspected"]
    )


def _placed(settings: Settings, bundle: Bundle, frame: Frame) -> tuple[int, PartBox | None]:
    inspect, manifest = settings.inspect, bundle.manifest
    prepared, to_frame, by_bundle = prepare_and_locate(frame.pixels, manifest.preparing, manifest.channels)
    part = by_bundle if inspect.part is None or inspect.part.find == "bundle" else inspect.part.look(frame.pixels)
    part = None if inspect.part is None else part
    clean: UInt8 = np.zeros(prepared.shape[:2], np.uint8)
    size_px = (frame.pixels.shape[1], frame.pixels.shape[0])
    placed = Zoning(inspect, inspect.scale).place(DefectMap(clean, clean), to_frame, size_px, part)
    if placed.problem:
        raise SettingsError(f"key inspect: {placed.problem}. Every frame like this one would be NO_READ")
    return round(placed.inspected.cells * to_frame.area_scale), part
