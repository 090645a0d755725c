"""The messages of a line about itself, at intervals: health, counters, the highest committed event number."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edge.messages.writer import CameraHealth, Counters, DeviceHealth, Health, MessageWriter
from edge.outbox import Outbox, Sender
from edge.records.health import DeviceNow, EngineNow, ModelDriftNow
from edge.settings import ReportSettings
from edge.station.view import ViewNow

# A look at the device is believed for so long: a disk that hangs tells nothing more.
_DEVICE_BELIEVED_S = 15.0


class HealthReader:
    """Reads how a station is, from any thread.

    `engines`, `device`, `drift` of each view's model: what tells of them, once there is something.
    """

    def __init__(self, outbox: Outbox, sender: Sender) -> None:
        self._outbox = outbox
        self._sender = sender
        self.engines: Callable[[], Sequence[EngineNow]] = tuple
        self.device: Callable[[], DeviceNow | None] = lambda: None
        self.drift: Callable[[], Mapping[str, ModelDriftNow]] = dict

    def read(self, cameras: Sequence[ViewNow], rates: Mapping[str, float], now_ns: int) -> Health:
        """Return how it is. `rates`: frames per second of each camera, by its name."""
        stored, drift = self._outbox.counts(), self.drift()
        return Health(
            cameras={
                camera.name: replace(
                    _camera(camera, rates.get(camera.name, 0.0), now_ns), model_drift=drift.get(camera.name)
                )
                for camera in cameras
            },
            connected=self._sender.connected,
            outbox_pending=stored.pending + stored.waiting,
            outbox_dead_letters=stored.dead_letters,
            outbox_trouble=self._outbox.trouble,
            broker_trouble=self._sender.trouble,
            engines=tuple(self.engines()),
            device=_device(self.device(), now_ns),
        )


def _camera(camera: ViewNow, frames_per_s: float, now_ns: int) -> CameraHealth:
    return CameraHealth(
        condition=camera.state.condition.value if camera.state else "running",
        detail=camera.state.detail if camera.state else "",
        frames_per_s=frames_per_s,
        age_ms=camera.age_ms,
        dropped=camera.dropped,
        max_age_ms=camera.max_age_ms,
        last_frame_s=None if camera.seen_ns is None else max(0.0, (now_ns - camera.seen_ns) / 1e9),
        ready=camera.ready,
        fault=None if camera.fault is None else camera.fault.value,
        missed=camera.facts.missed,
        unreadable=camera.facts.unreadable,
        differences=camera.facts.differences,
    )


def _device(device: DeviceNow | None, now_ns: int) -> DeviceHealth:
    if device is None or now_ns - device.at_ns > _DEVICE_BELIEVED_S * 1e9:
        return DeviceHealth()
    jumped = device.jumped_ns
    return DeviceHealth(
        device.free_bytes,
        device.size_bytes,
        device.clock_synced,
        device.clock_jumps,
        None if jumped is None else max(0.0, (now_ns - jumped) / 1e9),
    )


class Reporter:
    """Called on every turn of the loop; offers what is due to the sender, which drops all but the latest."""

    def __init__(
        self,
        settings: ReportSettings,
        *,
        messages: MessageWriter,
        outbox: Outbox,
        sender: Sender,
        health: HealthReader | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._settings = settings
        self._messages = messages
        self._outbox = outbox
        self._sender = sender
        self._health = health or HealthReader(outbox, sender)
        self._monotonic_ns = monotonic_ns
        self._health_at_ns = self._sequence_at_ns = monotonic_ns()
        self._told_frames: dict[str, int] = {}
        self._told_at_ns = monotonic_ns()

    def report_if_due(self, counts: Callable[[], Counters], cameras: Sequence[ViewNow]) -> None:
        """Offer the messages whose interval has passed. `counts` is only asked when they are due."""
        now_ns = self._monotonic_ns()
        if now_ns >= self._sequence_at_ns:
            self._sequence_at_ns = now_ns + round(self._settings.sequence_every_s * 1e9)
            self._sender.offer(self._messages.sequence(self._outbox.committed))
        if now_ns >= self._health_at_ns:
            self._health_at_ns = now_ns + round(self._settings.health_every_s * 1e9)
            self._sender.offer(self._messages.health(self._health.read(cameras, self._rates(cameras, now_ns), now_ns)))
            self._sender.offer(self._messages.counters(counts()))

    def _rates(self, cameras: Sequence[ViewNow], now_ns: int) -> dict[str, float]:
        """Return the frames per second that came of each camera since the last time."""
        elapsed_s = (now_ns - self._told_at_ns) / 1e9
        came = {camera.name: camera.frames - self._told_frames.get(camera.name, 0) for camera in cameras}
        self._told_at_ns = now_ns
        self._told_frames = {camera.name: camera.frames for camera in cameras}
        return {name: frames / elapsed_s if elapsed_s else 0.0 for name, frames in came.items()}
