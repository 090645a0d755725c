"""The trials of `linewatch check` beside the model: store, secrets, broker, camera, and the speed of this machine."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.app import make_camera, make_limited_engine
from edge.app.cameras import NO_BARRIER
from edge.bundle import Bundle
from edge.cli.device_trials import Warned
from edge.errors import LinewatchError, SettingsError, SourceError, StoreError
from edge.inspection.golden import golden_frame
from edge.inspection.inference import FrameJob, Inference
from edge.inspection.inspector import Inspector
from edge.outbox import OutboxReader
from edge.parts.belt import read_belt
from edge.protocols import Camera, Engine, TellsFacts
from edge.publishers.trial import try_broker
from edge.records import CameraCondition, CameraFacts, CameraState, Frame
from edge.settings import Settings, effective_thresholds
from edge.station.watchdog import Heartbeats
from edge.wording import counted

_FIRST_FRAME_S = 15.0
_COUNT_S = 3.0
_MEASURE_S = 3.0
_FRAMES_AT_LEAST = 3


@dataclass(frozen=True)
class Trial:
    """One trial: its subject, its outcome, and the error that a line would meet, or None."""

    what: str
    found: str
    error: LinewatchError | None = None


def tried(what: str, trial: Callable[[], str]) -> Trial:
    """Try one thing; an error of ours is what was found."""
    try:
        return Trial(what, trial())
    except LinewatchError as error:
        return Trial(what, str(error), error)


def try_store(path: Path) -> str:
    """Say whether messages can be written where the settings want them; nothing of it changes. Raises StoreError."""
    if path.exists():
        with OutboxReader(path):
            found = "is a store"
    else:
        found = "will be made"
    folder = next(each for each in path.parents if each.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StoreError(
            f"{path}: {folder} takes no file: {error.strerror}. Expected a folder that this user may write; name "
            "another with the key store.path, or run this as the service's user: "
            "sudo -u linewatch /opt/linewatch/bin/linewatch check …"
        ) from error
    if path.exists() and not os.access(path, os.W_OK):
        raise StoreError(f"{path} cannot be written by this user. Run this as the service's user")
    free = shutil.disk_usage(folder).free
    return f"{path} {found}; {free / 1e9:.1f} GB free"


def try_secrets(settings: Settings) -> str:
    """Read the password and the certificates as a line does. Raises SettingsError."""
    broker = settings.broker
    password = broker.read_password()
    if broker.tls is not None:
        broker.tls.context()
    told = ["a password" if password is not None else "no password", "TLS files read" if broker.tls else "no TLS"]
    return ", ".join(told)


def try_to_connect(settings: Settings) -> str:
    """Connect to the broker and leave. Raises PublishError."""
    try_broker(settings.broker)
    host, port = settings.broker.address
    return f"{host}:{port} lets this device in"


def try_barrier(settings: Settings) -> str:
    """Say that the simulated light barrier has cameras. Raises SettingsError where none is simulated."""
    if not any(camera.resolved_kind() == "simulated" for camera in settings.station_cameras.values()):
        raise SettingsError(NO_BARRIER)
    return "the light barrier of the simulated belt"


def try_belt(path: Path) -> str:
    """Say what the learned belt is. Raises SettingsError where there is none."""
    belt = read_belt(path)
    (width, height), (x, y, w, h) = belt.size_px, belt.region
    return f"learned in {width} x {height} px, region {x},{y},{w},{h}"


@dataclass
class CameraTrial:
    """A camera's frames for a few seconds: the last one, and how many come in a second."""

    frame: Frame | None = None
    frames_per_s: float = 0.0

    def __call__(self, settings: Settings, bundle: Bundle) -> str:
        """Look at the camera. Raises SourceError, or SettingsError without a source."""
        files = settings.camera.files.model_copy(update={"after": "keep"})  # a try takes nothing away from a line
        camera = make_camera(
            settings.camera.model_copy(update={"files": files}), Heartbeats(), settings.camera.depth(bundle)
        )
        with camera:
            first = _first_frame(camera)
            last, count = first, 1
            ends_s = time.monotonic() + _COUNT_S
            left_out = camera.dropped
            while time.monotonic() < ends_s or count < 2:
                item = camera.read(0.5)
                if isinstance(item, Frame):
                    last, count = item, count + 1
                elif item.condition is CameraCondition.END_OF_STREAM or time.monotonic() > ends_s + _COUNT_S:
                    break
            count += camera.dropped - left_out
        self.frame = last
        seconds = (last.captured_ns - first.captured_ns) / 1e9
        self.frames_per_s = (count - 1) / seconds if seconds > 0 else 0.0
        height, width = last.pixels.shape[:2]
        told = f"{settings.camera.name}: {width} x {height} px, {self.frames_per_s:.1f} frames/s"
        return _with_facts(told, camera.facts) if isinstance(camera, TellsFacts) else told


def _with_facts(told: str, facts: CameraFacts) -> str:
    """Say what a camera tells of itself beside its frames; a warning where it did not take a setting."""
    for count, what in ((facts.missed, "never came"), (facts.unreadable, "could not be believed")):
        if count:
            told += f"; {counted(count, 'picture')} {what}"
    return Warned("; ".join([told, *facts.differences])) if facts.differences else told


def _first_frame(camera: Camera) -> Frame:
    ends_s = time.monotonic() + _FIRST_FRAME_S
    state: CameraState | None = None
    while time.monotonic() < ends_s:
        item = camera.read(0.5)
        if isinstance(item, Frame):
            return item
        if item.detail or state is None:
            state = item
        if item.condition is CameraCondition.END_OF_STREAM:
            break
    why = state.detail or state.condition.value if state else "it says nothing"
    raise SourceError(
        f"The camera {camera.name} gave no frame within {_FIRST_FRAME_S:g} s: {why}. Check the key camera.source, its "
        "cable and its power; is another program using it?"
    )


def try_view(settings: Settings, bundle: Bundle, camera: CameraTrial) -> str:
    """Measure how fast one view is inspected here. `settings`: of the view alone. Raises as `try_speed`."""
    frame = camera.frame or golden_frame(bundle)
    if frame is None:
        return "no frame to measure on"
    with make_limited_engine(settings.engine.without_simulation(), bundle) as engine:
        return try_speed(settings, bundle, engine, frame, camera.frames_per_s)


def try_speed(settings: Settings, bundle: Bundle, engine: Engine, frame: Frame, camera_frames_per_s: float) -> str:
    """Inspect a frame again and again as the line does, and set its rate beside the camera's and `max_age_ms`.

    `camera_frames_per_s` 0 = not known. Raises SettingsError where a frame takes longer than `max_age_ms` allows.
    """
    thresholds = effective_thresholds(settings.inspect, bundle)
    inspector = Inspector(Inference(engine, thresholds, bundle.manifest.tile.overlap_px), bundle, settings.inspect)
    times_ms = [_one(inspector, frame) for _ in range(_FRAMES_AT_LEAST)]
    frames_per_s = _rate(inspector, frame)
    takes_ms, allowed_ms = statistics.median(times_ms), settings.camera.max_age_ms
    found = f"{frames_per_s:.1f} frames/s here, {takes_ms:.0f} ms for one; max_age_ms allows {allowed_ms}"
    if takes_ms > allowed_ms:
        raise SettingsError(
            f"{found}: every frame would be NO_READ. Raise camera.max_age_ms, or take a faster engine, a smaller "
            "region or a smaller picture"
        )
    if not camera_frames_per_s:
        return found
    share = min(1.0, frames_per_s / camera_frames_per_s)
    kept = "every frame is inspected" if share >= 1 else f"about {1 - share:.0%} of the frames are left out"
    return f"{found}; the camera gives {camera_frames_per_s:.1f}: {kept}"


def _one(inspector: Inspector, frame: Frame) -> float:
    """Return how long one frame takes from its pixels to its verdict, in ms."""
    begun_s = time.perf_counter()
    job = inspector.begin(frame)
    if isinstance(job, FrameJob):
        inspector.finish(job)
    return (time.perf_counter() - begun_s) * 1000


def _rate(inspector: Inspector, frame: Frame) -> float:
    """Return frames per second with one frame begun while the last is answered, as a line does."""
    begun: FrameJob | None = None
    count, begun_s = 0, time.perf_counter()
    while time.perf_counter() - begun_s < _MEASURE_S or count < _FRAMES_AT_LEAST:
        job = inspector.begin(frame)
        if begun is not None:
            inspector.finish(begun)
        begun = job if isinstance(job, FrameJob) else None
        count += 1
    if begun is not None:
        inspector.finish(begun)
    return count / (time.perf_counter() - begun_s)
