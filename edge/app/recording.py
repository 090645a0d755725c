"""The record of a station: its cameras, its trigger where a recording can have one, and its settings."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic_ns
from typing import Any

import edge
from edge.app.cameras import Sources
from edge.bundle import Bundle
from edge.cameras.decoding import load_av
from edge.opencv import cv2
from edge.protocols import Camera
from edge.recipes.loaded import model_of
from edge.recording.manifest import FORMAT, RecordedCameraEntry, RecordingManifest
from edge.records.parts import TriggerEvent
from edge.redacting import HIDDEN, redacted
from edge.settings import Settings, fingerprint
from edge.station.watchdog import Heartbeats

# These have one owner: while a line runs they are the line's.
ONE_OWNER = frozenset({"device", "gstreamer", "genicam", "watched_folder"})
_SECRET = ("password", "secret", "token", "passphrase")


def recorded_sources(
    settings: Settings, bundles: Mapping[Path | None, Bundle], names: Collection[str]
) -> tuple[dict[str, Camera], Callable[[], list[TriggerEvent]] | None]:
    """Return the cameras to record, not opened, and what tells of parts; None where only the machine knows of them."""
    asked = {name: camera for name, camera in settings.cameras.items() if name in names}
    sources = Sources(settings.model_copy(update={"cameras": asked}), bundles, Heartbeats())
    trigger = sources.trigger if settings.parts.trigger == "software" else None
    return sources.cameras, None if trigger is None else lambda: list(trigger.events(monotonic_ns()))


def begin_manifest(
    settings: Settings, bundles: Mapping[Path | None, Bundle], names: Collection[str]
) -> RecordingManifest:
    """Say what is recorded, with what, and by which settings, without a secret."""
    av = load_av()
    told = settings_without_secrets(settings)
    cameras = told["cameras"] or {settings.camera.name: told["camera"]}
    models = {
        f"{recipe}/{view}": asdict(model_of(bundles[entry.bundle]))
        for recipe, each in settings.station_recipes.items()
        for view, entry in each.views.items()
        if entry.bundle in bundles
    }
    return RecordingManifest(
        format=FORMAT,
        started_at=datetime.now(timezone.utc),
        versions={
            "linewatch": edge.__version__,
            "python": platform.python_version(),
            "av": av.__version__,
            "opencv": cv2.__version__,
        },
        settings_sha256=fingerprint(settings),
        bundles=models,
        cameras={name: RecordedCameraEntry(settings=cameras[name]) for name in names},
    )


def settings_without_secrets(settings: Settings) -> dict[str, Any]:
    """Return what the settings come to, as JSON has it; each password, token and address with one is hidden."""
    hidden: dict[str, Any] = _hidden(settings.model_dump(mode="json"))
    return hidden


def _hidden(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _hidden(each, str(name)) for name, each in value.items()}
    if isinstance(value, list):
        return [_hidden(each, key) for each in value]
    if not isinstance(value, str):
        return value
    return HIDDEN if any(word in key for word in _SECRET) and not key.endswith("_file") else redacted(value)
