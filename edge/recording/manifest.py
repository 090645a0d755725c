"""A recording: one folder with `recording.json`, the settings without secrets, and a folder for each camera.

`recording.json` is written before the first frame and once more at the end. A recording without an end was cut off:
its clips hold what was recorded up to there.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from edge.bundle import Name
from edge.errors import SourceError
from edge.files import write_text
from edge.printable import as_json
from edge.recording.clips import PICTURES, ROWS
from edge.strict_json import read_json
from edge.wording import counted
from edge.yaml_settings import StrictModel

MANIFEST = "recording.json"
SETTINGS = "settings.json"
TRIGGER = "trigger.jsonl"
FORMAT = "linewatch/recording/1"
_Count = Annotated[int, Field(ge=0)]


class CameraEnd(StrictModel):
    """The end of one camera: `dropped`, frames that nobody recorded; `unreadable`, those that could not be read.

    `missed`, `differences`: what it told of itself, see CameraFacts; all other settings it has as they were asked for.
    """

    model_config = ConfigDict(strict=False)

    frames: _Count
    unreadable: _Count
    dropped: _Count
    segments: _Count
    missed: _Count = 0
    differences: tuple[str, ...] = ()


class Ending(StrictModel):
    """The end of a recording: when, why, and what each camera came to. `bytes`: of all clips."""

    model_config = ConfigDict(strict=False)

    at: datetime
    reason: str
    bytes: _Count
    cameras: dict[str, CameraEnd]


class RecordedCameraEntry(StrictModel):
    """One camera: its settings without secrets, as they were asked for."""

    settings: dict[str, Any]


class RecordingManifest(StrictModel):
    """The content of `recording.json`. `settings_sha256`: as results, births and the journal have it."""

    model_config = ConfigDict(strict=False)

    format: Literal["linewatch/recording/1"]
    started_at: datetime
    versions: dict[str, str]
    settings_sha256: str
    bundles: dict[str, dict[str, Any]] = Field(default_factory=dict)
    cameras: Annotated[dict[Name, RecordedCameraEntry], Field(min_length=1, max_length=64)]
    ended: Ending | None = None


def is_recording(path: Path) -> bool:
    """Tell whether a folder is a recording, whole or not."""
    return (path / MANIFEST).is_file()


def write_manifest(folder: Path, manifest: RecordingManifest) -> None:
    """Write `recording.json`, whole or not at all. Raises StoreError."""
    write_text(folder / MANIFEST, as_json(manifest.model_dump(mode="json"), indent=2) + "\n")


def read_manifest(folder: Path) -> RecordingManifest:
    """Read `recording.json`. Raises SourceError for what `linewatch record` did not write."""
    path = folder / MANIFEST
    try:
        return RecordingManifest.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"]) or "the file"
        told = f"key {where}: {first['msg']}"
        raise SourceError(
            f"{path} is not what `linewatch record` of this version wrote: {told}. Do not edit it; record again"
        ) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SourceError(f"{path} cannot be read: {why}. The recording was altered or is damaged") from error


def clips_of(folder: Path, camera: str) -> list[Path]:
    """Return the clips of one camera in their order, without suffix. Raises SourceError where one is missing."""
    place = folder / camera
    try:
        names = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    except OSError as error:
        raise SourceError(f"{place} cannot be read: {error.strerror or error}. Look at its rights") from error
    clips = sorted({Path(name).stem for name in names if name.endswith((PICTURES, ROWS))})
    expected = [f"{number:04d}" for number in range(1, len(clips) + 1)]
    for name in clips:
        for suffix in (PICTURES, ROWS):
            if name + suffix not in names:
                raise SourceError(f"{place / (name + suffix)} is missing: the recording is not whole. Copy it again")
    if clips != expected:
        raise SourceError(
            f"{place} holds the clips {', '.join(clips)}; expected {', '.join(expected)}. One was taken out or put in: "
            "copy the recording again"
        )
    return [place / name for name in clips]


def require_fitting(folder: Path, manifest: RecordingManifest, counts: Mapping[str, tuple[int, int]]) -> None:
    """Compare how many clips and rows each camera has with what the end says. Raises SourceError where they differ."""
    if manifest.ended is None:
        return
    for name, (segments, rows) in counts.items():
        end = manifest.ended.cameras.get(name)
        if end is None or (end.segments, end.frames + end.unreadable) != (segments, rows):
            told = "nothing"
            if end is not None:
                told = f"{counted(end.segments, 'clip')} with {counted(end.frames + end.unreadable, 'frame')}"
            raise SourceError(
                f"{folder / MANIFEST} tells of {told} of the camera {name}, and there are {segments} with {rows}. The "
                "recording was altered or is not whole: copy it again"
            )
