"""The messages of a line about itself, at intervals: health, counters, the highest committed event number."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from edge.messages.writer import CameraHealth, Counters, Health, MessageWriter
from edge.outbox import Outbox, Sender
from edge.settings import ReportSettings
from edge.station.view import ViewNow


class Reporter:
    """Called on every turn of the loop; offers what is due to the sender, which drops all but the latest."""

    def __init__(
        self,
        settings: ReportSettings,
        *,
        messages: MessageWriter,
        outbox: Outbox,
        sender: Sender,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._settings = settings
        self._messages = messages
        self._outbox = outbox
        self._sender = sender
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
            self._sender.offer(self._messages.health(self._health(cameras, now_ns)))
            self._sender.offer(self._messages.counters(counts()))

    def _health(self, cameras: Sequence[ViewNow], now_ns: int) -> Health:
        stored = self._outbox.counts()
        elapsed_s = (now_ns - self._told_at_ns) / 1e9
        self._told_at_ns = now_ns
        return Health(
            cameras={camera.name: self._camera(camera, elapsed_s) for camera in cameras},
            connected=self._sender.connected,
            outbox_pending=stored.pending + stored.waiting,
            outbox_dead_letters=stored.dead_letters,
            outbox_trouble=self._outbox.trouble,
            broker_trouble=self._sender.trouble,
        )

    def _camera(self, camera: ViewNow, elapsed_s: float) -> CameraHealth:
        came = camera.frames - self._told_frames.get(camera.name, 0)
        self._told_frames[camera.name] = camera.frames
        return CameraHealth(
            condition=camera.state.condition.value if camera.state else "running",
            detail=camera.state.detail if camera.state else "",
            frames_per_s=came / elapsed_s if elapsed_s else 0.0,
            age_ms=camera.age_ms,
            dropped=camera.dropped,
        )
