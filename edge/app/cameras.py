"""The cameras of a station, and what opens and closes its parts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cached_property, partial
from pathlib import Path

from edge.bundle import Bundle
from edge.cameras.capture import CapturedCamera, CaptureLimits, PictureSource
from edge.cameras.genicam import GenicamSource
from edge.cameras.genicam_devices import require_aravis
from edge.cameras.images import ImagesCamera
from edge.cameras.looping import LoopingCamera
from edge.cameras.network import NetworkStream
from edge.cameras.opencv import OpenCvSource, require_gstreamer
from edge.cameras.pacing import PacedCamera
from edge.cameras.recordings import recorded_camera
from edge.cameras.watched_folder import KnownFiles, WatchedFolder
from edge.errors import SettingsError, SourceError
from edge.parts.belt import read_belt
from edge.parts.presence import PresenceRules
from edge.parts.triggers import CameraTrigger, PresenceTrigger, ToldTrigger, Trigger
from edge.pictures import SUFFIXES, as_text
from edge.protocols import Camera
from edge.quality.learning import open_gate
from edge.records import UInt8
from edge.settings import CameraSettings, LiveKind, Settings
from edge.simulation.belt import SimulatedBelt, SimulatedTrigger, check_one_belt
from edge.simulation.camera import SimulatedCamera
from edge.simulation.engine import Truth
from edge.station.view import ViewRules
from edge.station.watchdog import Heartbeats

NO_BARRIER = (
    "key parts.trigger: software is the light barrier of simulated cameras; expected presence, camera, mqtt or machine "
    "for other cameras, or --parts with a recording"
)
# Frames that may wait of a camera each of whose frames is judged.
_EVERY_KEPT = 64


def make_camera(
    settings: CameraSettings, progress: Heartbeats, depth_bits: int | None = None, belt: SimulatedBelt | None = None
) -> Camera:
    """Return the settings' camera for a live line, not yet opened: a recording plays as if it were live.

    `depth_bits`: how many bits of levels of 16 count, where that is known. `belt`: beneath simulated cameras that see
    the same parts. A camera with a thread of its own marks its `progress`. Raises SettingsError without a source.
    """
    kind = settings.resolved_kind()
    if kind == "simulated":
        return SimulatedCamera(settings.name, settings.simulated, belt=belt)
    if settings.source is None and kind != "genicam":
        raise SettingsError(
            "key camera.source: expected a device, file, folder, RTSP URL, GStreamer pipeline or `simulated`; "
            "received nothing"
        )
    if kind == "images" or kind == "file":  # noqa: PLR1714 - mypy narrows the kind by this
        play = partial(
            make_recording,
            settings.name,
            Path(str(settings.source)),
            depth_bits,
            settings.expected_px,
            fps=settings.fps or 1.0,
        )
        recording = LoopingCamera(settings.name, play) if settings.loop else play()
        return PacedCamera(recording, as_live=True, drops=not settings.takes_every)
    if kind == "gstreamer":
        require_gstreamer(settings.name)
    if kind == "genicam":
        require_aravis(settings.name)
    limits = CaptureLimits(
        settings.max_age_ms,
        settings.expected_px,
        keeps=_EVERY_KEPT if settings.takes_every else 1,
        waits=kind == "watched_folder" and settings.takes_every,
        triggered=settings.triggered,
    )
    make = partial(_live_source, settings, kind, depth_bits, KnownFiles())
    return CapturedCamera(settings.name, make, live=True, limits=limits, alive=progress.mark(f"camera {settings.name}"))


def _live_source(settings: CameraSettings, kind: LiveKind, depth_bits: int | None, known: KnownFiles) -> PictureSource:
    source, age_ms, clock = str(settings.source), settings.max_age_ms, settings.compare_clocks
    every = settings.takes_every
    if kind == "watched_folder":
        return WatchedFolder(Path(source), settings.files, known, depth_bits=depth_bits, clock=clock)
    if kind == "genicam":
        return GenicamSource(
            str(settings.genicam_id),
            device=settings.device,
            max_age_ms=age_ms,
            clock=clock,
            depth_bits=depth_bits,
            every=every,
        )
    if kind == "rtsp":
        return NetworkStream(source, max_age_ms=age_ms, clock=clock, depth_bits=depth_bits, every=every)
    return OpenCvSource(kind, source, max_age_ms=age_ms, device=settings.device, clock=clock, depth_bits=depth_bits)


def make_recording(
    name: str,
    path: Path,
    depth_bits: int | None = None,
    expected_px: tuple[int, int] | None = None,
    *,
    fps: float = 1.0,
) -> ImagesCamera | CapturedCamera:
    """Return the camera that plays a folder, a picture or a video. Raises SourceError if there is nothing at `path`.

    `depth_bits`: how many bits of pictures of 16 count, where that is known. `expected_px`: width and height that a
    video's pictures must have; without it, those of the first one. `fps`: the pace of pictures in a folder.
    """
    try:
        if not path.exists():
            raise SourceError(
                f"Nothing at {as_text(str(path))}: expected a video, a picture, or a folder with pictures"
            )
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        raise SourceError(f"{as_text(str(path))} cannot be read: {told}. Look at its name and its rights") from error
    if is_folder or path.suffix.lower() in SUFFIXES:
        return ImagesCamera(name, path, _made_at(path), depth_bits=depth_bits, fps=fps)
    return recorded_camera(name, path, size_px=expected_px, depth_bits=depth_bits, started_at=_made_at(path))


def _made_at(path: Path) -> datetime | None:
    """Return when a recording was last changed, UTC. So each replay gives a frame the same time of capture."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    except (OSError, OverflowError, ValueError):
        return None


class Sources:
    """The cameras of a station, not opened, and its trigger. `cameras`, `trigger` stand in for the settings' own.

    Simulated cameras of one station see one belt. Raises SettingsError where they do not fit together, or where the
    trigger needs what the station has not.
    """

    def __init__(
        self,
        settings: Settings,
        bundles: Mapping[Path | None, Bundle],
        progress: Heartbeats,
        cameras: Mapping[str, Camera] | None = None,
        trigger: Trigger | None = None,
    ) -> None:
        self._settings = settings
        self._own = settings.station_cameras
        self._given = trigger
        self._belt_trigger: Trigger | None = None
        self.cameras = dict(cameras) if cameras is not None else self._made(bundles, progress)

    def _made(self, bundles: Mapping[Path | None, Bundle], progress: Heartbeats) -> dict[str, Camera]:
        simulated = {name: each for name, each in self._own.items() if each.resolved_kind() == "simulated"}
        check_one_belt({name: each.simulated for name, each in simulated.items()})
        belt = None
        if len(simulated) > 1 or (simulated and self._settings.parts.trigger == "software"):
            first = next(iter(simulated.values())).simulated
            belt = SimulatedBelt(first.fps, list(simulated))
            self._belt_trigger = SimulatedTrigger(belt, first, recipes=len(self._settings.station_recipes) > 1)
        return {name: make_camera(each, progress, self._depth(name, bundles), belt) for name, each in self._own.items()}

    def _depth(self, camera: str, bundles: Mapping[Path | None, Bundle]) -> int | None:
        """Return how many bits of 16 count: by the settings, or else as the bundles of the camera's views agree."""
        own = self._own[camera]
        views = [recipe.views[camera] for recipe in self._settings.station_recipes.values() if camera in recipe.views]
        depths = {own.depth(bundles[view.bundle]) for view in views if view.bundle in bundles}
        if len(depths) > 1:
            told = ", ".join(str(depth) for depth in sorted(depths, key=str))
            raise SettingsError(
                f"key cameras.{camera}.depth_bits: expected how many bits of a picture's 16 count, for the bundles of "
                f"its views differ ({told})"
            )
        return depths.pop() if depths else own.depth_bits

    def truth(self, camera: str, frame: int) -> UInt8:
        """Return the true class map of a simulated camera's frame, uint8 [H, W]. Raises SettingsError for another."""
        for each in self.cameras.values():
            if each.name == camera and isinstance(each, SimulatedCamera):
                return each.truth(frame)
        raise SettingsError("key engine.backend: the simulated engine answers only for the simulated camera")

    @property
    def truths(self) -> Truth | None:
        """Return the truth of every camera's frames; None where one of them is not simulated."""
        return self.truth if all(isinstance(each, SimulatedCamera) for each in self.cameras.values()) else None

    def rules(self, camera: str, *, live: bool) -> ViewRules:
        """Return how a camera is believed."""
        own, presence = self._own[camera], self._settings.parts.presence
        looked_at = self._settings.parts.trigger == "presence" and presence.view in {None, camera}
        return ViewRules(
            max_age_ms=own.max_age_ms,
            live=live,
            triggered=own.triggered,
            opens_parts=self._settings.parts.trigger == "camera" and len(self._own) == 1,
            watch=own.watched(live=live),
            belt=read_belt(presence.belt) if looked_at and presence.belt is not None else None,
            quality=open_gate(own.quality),
        )

    @cached_property
    def trigger(self) -> Trigger | None:
        """Tell what opens and closes parts; None where each frame has a verdict of its own."""
        parts = self._settings.parts
        if self._given is not None or not parts.exist:
            return self._given
        if parts.trigger == "presence":
            view = parts.presence.view or next(iter(self._own))
            return PresenceTrigger(view, PresenceRules(parts.presence.on_frames, parts.presence.off_frames))
        if parts.trigger == "camera":
            return CameraTrigger(list(self._own), parts.frames, parts.together_ms * 1_000_000)
        if parts.trigger in {"mqtt", "machine"}:
            return ToldTrigger()
        if self._belt_trigger is None:
            raise SettingsError(NO_BARRIER)
        return self._belt_trigger
