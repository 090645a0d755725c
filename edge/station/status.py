"""What the line says of itself at intervals: health, counters, and the highest committed event number."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.messages.writer import Counters, Health, MessageWriter
from edge.outbox import Outbox, Sender
from edge.protocols import Camera
from edge.records import CameraState
from edge.settings import ReportSettings


class Reporter:
    """Called on every turn of the loop; offers what is due to the sender, which drops all but the latest."""

    def __init__(
        self,
        settings: ReportSettings,
        *,
        messages: MessageWriter,
        camera: Camera,
        outbox: Outbox,
        sender: Sender,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._settings = settings
        self._messages = messages
        self._camera = camera
        self._outbox = outbox
        self._sender = sender
        self._monotonic_ns = monotonic_ns
        self._health_at_ns = self._sequence_at_ns = monotonic_ns()
        self._told_frames = 0
        self._told_at_ns = monotonic_ns()

    def report_if_due(self, counts: Counters, state: CameraState | None, age_ms: float | None) -> None:
        """Offer the messages whose interval has passed. `state`: why no frame comes, None while frames come."""
        now_ns = self._monotonic_ns()
        if now_ns >= self._sequence_at_ns:
            self._sequence_at_ns = now_ns + round(self._settings.sequence_every_s * 1e9)
            self._sender.offer(self._messages.sequence(self._outbox.committed))
        if now_ns >= self._health_at_ns:
            self._health_at_ns = now_ns + round(self._settings.health_every_s * 1e9)
            self._sender.offer(self._messages.health(self._health(counts, state, age_ms, now_ns)))
            self._sender.offer(self._messages.counters(counts))

    def _health(self, counts: Counters, state: CameraState | None, age_ms: float | None, now_ns: int) -> Health:
        stored = self._outbox.counts()
        elapsed_s = (now_ns - self._told_at_ns) / 1e9
        frames_per_s = (counts.frames - self._told_frames) / elapsed_s if elapsed_s else 0.0
        self._told_frames, self._told_at_ns = counts.frames, now_ns
        return Health(
            camera=self._camera.name,
            camera_condition=state.condition.value if state else "running",
            camera_detail=state.detail if state else "",
            frames_per_s=frames_per_s,
            age_ms=age_ms,
            connected=self._sender.connected,
            outbox_pending=stored.pending + stored.waiting,
            outbox_parked=stored.parked,
            outbox_trouble=self._outbox.trouble,
            broker_trouble=self._sender.trouble,
        )
