"""The station's metrics, health and live pictures: what is read from where, and who serves it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from edge.commands.requests import Inbox
from edge.messages.writer import Health, MessageWriter, health_body
from edge.monitoring.judging import Check, judged_health, judged_station, ready
from edge.monitoring.server import MonitoringServer, Page, json_page
from edge.monitoring.settings import MonitoringSettings
from edge.observers.live_picture import LivePictures
from edge.observers.queued import QueuedObserver
from edge.outbox import Outbox, Sender
from edge.protocols import Observer
from edge.records import DefectClass
from edge.settings import Settings
from edge.station.announcements import Announcements
from edge.station.decider import Decider
from edge.station.looks import counters
from edge.station.status import HealthReader
from edge.station.watchdog import Heartbeats

if TYPE_CHECKING:
    from edge.observers.metrics import Reading

# A room that has not moved for so long stands still; systemd's watchdog waits as long.
STALLED_S = 60.0
# So long the last picture and coverage of a camera may stand beyond its max_age_ms.
_GRACE_S = 2.0
_NORMAL = "normal"


class StationNow:
    """Reads how a station is, from any thread. `decider`: None until the station is open."""

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        inbox: Inbox,
        messages: MessageWriter,
        *,
        announcements: Announcements,
        health: HealthReader,
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._inbox = inbox
        self._messages = messages
        self._announcements = announcements
        self._health = health
        self.decider: Decider | None = None
        self.observers: Sequence[QueuedObserver[Any]] = ()
        self.viewers: Callable[[], int] = lambda: 0

    def health(self) -> Health:
        """Return how the station is just now."""
        cameras = [] if self.decider is None else self.decider.cameras
        return self._health.read(cameras, {}, time.monotonic_ns())

    def checks(self) -> list[Check]:
        """Judge how it is just now."""
        status, detail = self._announcements.said()
        return [
            judged_station(status, detail, bypassed="bypass" in self.standing()),
            *judged_health(health_body(self.health())),
        ]

    def standing(self) -> frozenset[str]:
        """Name the alarms that are not normal."""
        records = {record.alarm: record.body for record in self._outbox.alarm_records() if not record.of_station}
        known = {rule.id for rule in self._announcements.rules}
        return frozenset(alarm for alarm, body in records.items() if alarm in known and _stands(body))

    def reading(self) -> Reading:
        """Return what is told at a scrape."""
        from edge.observers.metrics import Reading

        decider, in_force = self.decider, self._messages.in_force
        return Reading(
            ready=ready(self.checks()),
            recipe=in_force.recipe,
            health=self.health(),
            counters=None if decider is None else counters(decider, self._outbox, self._sender, self._inbox),
            frames={} if decider is None else {view.name: view.frames for view in decider.cameras},
            alarms=[(rule.id, rule.priority) for rule in self._announcements.rules],
            standing=self.standing(),
            raised={} if decider is None else dict(decider.counts.raised_by),
            models={name: (model.name, model.version) for name, model in in_force.models.items()},
            oldest_s=self._sender.delivery.oldest_s,
            viewers=self.viewers(),
            dropped={observer.name: observer.dropped for observer in self.observers},
        )


def _stands(body: str) -> bool:
    """Tell whether a record is of an alarm that is not normal; one that cannot be read may be."""
    try:
        kept = json.loads(body)
        return bool(kept) and kept["condition"] != _NORMAL
    except (ValueError, KeyError, TypeError):
        return True


class Monitoring:
    """Serves a station's metrics, health and live pictures. `watchers`: who is to be offered what is decided."""

    def __init__(self, now: StationNow, watchers: Sequence[Observer], server: MonitoringServer) -> None:
        self.now = now
        self.watchers = watchers
        self.server = server

    def opened(self, decider: Decider, observers: Sequence[Observer]) -> None:
        """Take note that the station is open."""
        self.now.observers = [one for one in observers if isinstance(one, QueuedObserver)]
        self.now.decider = decider


@contextmanager
def open_monitoring(
    settings: Settings,
    wanted: MonitoringSettings,
    now: StationNow,
    progress: Heartbeats,
    classes: Mapping[str, Sequence[DefectClass]],
) -> Iterator[Monitoring]:
    """Serve from now on, also while the station starts."""
    from edge.observers.metrics import CONTENT_TYPE, StationMetrics

    stale_s = {name: camera.max_age_ms / 1000 + _GRACE_S for name, camera in settings.station_cameras.items()}
    metrics = StationMetrics(now.reading, stale_s)
    with ExitStack() as scope:
        live = scope.enter_context(
            LivePictures(stale_s, classes, pictures_per_s=wanted.pictures_per_s, most=wanted.viewers)
        )
        now.viewers = lambda: live.watchers
        pages = {
            "/": lambda: _index(settings),
            "/metrics": lambda: Page(200, CONTENT_TYPE, metrics.text()),
            "/healthz": lambda: _healthz(progress),
            "/readyz": lambda: _readyz(now.checks()),
        }
        server = scope.enter_context(MonitoringServer(wanted.listen, wanted.port, pages, live.watch))
        yield Monitoring(now, [metrics, live], server)


def _index(settings: Settings) -> Page:
    live = [f"/live/{name}.mjpg" for name in settings.station_cameras]
    return json_page(200, {"pages": ["/metrics", "/healthz", "/readyz", *live]})


def _healthz(progress: Heartbeats) -> Page:
    """Tell whether every thread of the station moves: if not, a restart may help."""
    stalled = progress.stalled(STALLED_S)
    reasons = [f"{room} has not moved for {STALLED_S:g} s" for room in stalled]
    return json_page(503 if stalled else 200, {"healthy": not stalled, "reasons": reasons})


def _readyz(checks: Sequence[Check]) -> Page:
    """Tell whether the station does its work, and why not."""
    is_ready = ready(checks)
    told: dict[str, Any] = {
        "ready": is_ready,
        "reasons": [_sentence(check) for check in checks if check.level != "ok"],
        "checks": [check.as_json() for check in checks],
    }
    return json_page(200 if is_ready else 503, told)


def _sentence(check: Check) -> str:
    name = f" {check.name}" if check.name else ""
    return f"{check.level}: {check.subject}{name}: {check.reason}"
