"""Counts for Prometheus: what was decided, and how the station is, read when somebody asks.

The station's own counts are read at a scrape, so they are exact and cost the loop nothing. Durations and coverage are
numbers that the loop notes, in some millionths of a second for a frame. Labels are cameras, alarms, priorities, models
and verdicts of the settings: never parts, occurrences or people.
"""

from __future__ import annotations

import platform
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

import edge
from edge.messages.writer import Counters, Health
from edge.records.decided import Decided, DecidedPart

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PRIORITIES = ("low", "medium", "high")
# s; a line's frames take from 5 ms to its max_age_ms, 1 s by default
_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class Reading:
    """A station's figures at a scrape. `health`, `counters`: None while it is starting.

    `frames`: that came, by camera. `alarms`: id and priority of each. `standing`: ids of those that are not normal.
    `raised`: how often each was raised. `models`: of each view, by name and version. `dropped`: by observer.
    """

    ready: bool
    recipe: str = ""
    health: Health | None = None
    counters: Counters | None = None
    frames: Mapping[str, int] = field(default_factory=dict)
    alarms: Sequence[tuple[str, str]] = ()
    standing: frozenset[str] = frozenset()
    raised: Mapping[str, int] = field(default_factory=dict)
    models: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    oldest_s: float = 0.0
    viewers: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


class _Camera:
    """The last sight of one camera, and the times of its frames; written by the station's loop alone."""

    def __init__(self, stale_s: float) -> None:
        self.stale_s = stale_s
        self.durations = [0] * (len(_BUCKETS) + 1)  # of each bucket, and above them all
        self.total_s = 0.0
        self.covered: tuple[float, float] | None = None  # coverage, and when it was seen


class StationMetrics:
    """Watches a station, and writes its metrics. `read`: called at each scrape, from the asking thread.

    `stale_s`: of each camera, how long its last coverage may stand.
    """

    def __init__(
        self,
        read: Callable[[], Reading],
        stale_s: Mapping[str, float],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._monotonic_s = monotonic_s
        self._started_s = time.time()
        self._of_camera = {name: _Camera(seconds) for name, seconds in stale_s.items()}
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def offer(self, decided: Decided | DecidedPart) -> None:
        """Note how long a frame took and what it covers: a number in a list, in the loop itself."""
        if isinstance(decided, DecidedPart):
            return
        result = decided.inspection
        camera = self._of_camera.get(result.view)
        if camera is None:
            return
        measured = result.measurement
        camera.covered = None if measured is None else (measured.coverage, self._monotonic_s())
        if result.age_ms is not None:
            seconds = result.age_ms / 1000
            camera.durations[bisect_left(_BUCKETS, seconds)] += 1
            camera.total_s += seconds

    def text(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Yield what is read at the scrape."""
        reading = self._read()
        yield from _about(reading, self._started_s)
        yield from _alarms(reading)
        if reading.counters is not None:
            yield from _counted(reading.counters, reading.frames)
        if reading.health is not None:
            yield from _cameras(reading.health)
            yield from _engines(reading.health)
            yield from _delivery(reading.health, reading.oldest_s)
            yield from _device(reading.health)
        yield self._durations()
        yield self._covered()

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(
            "linewatch_inspection_duration_seconds", "From the capture of a frame to its verdict", labels=["camera"]
        )
        for name, camera in self._of_camera.items():
            total_s, counts = camera.total_s, list(accumulate(camera.durations))
            limits = [*(f"{limit}" for limit in _BUCKETS), "+Inf"]
            family.add_metric([name], list(zip(limits, counts, strict=True)), total_s)
        return family

    def _covered(self) -> Metric:
        """Return the coverage of each camera's last frame; none of a frame that is old, or could not be read."""
        gauge = GaugeMetricFamily(
            "linewatch_coverage_ratio", "Defective share of the region in the last frame, 0 to 1", labels=["camera"]
        )
        now_s = self._monotonic_s()
        for name, camera in self._of_camera.items():
            covered = camera.covered
            if covered is not None and now_s - covered[1] <= camera.stale_s:
                gauge.add_metric([name], covered[0])
        return gauge


def _gauge(name: str, what: str, value: float | bool | None, **labels: str) -> GaugeMetricFamily:
    """Return a gauge of one value; of none where the value is None, which is unknown."""
    gauge = GaugeMetricFamily(f"linewatch_{name}", what, labels=list(labels))
    if value is not None:
        gauge.add_metric(list(labels.values()), float(value))
    return gauge


def _gauges(name: str, what: str, label: str, values: Mapping[str, float | bool | None]) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(f"linewatch_{name}", what, labels=[label])
    for key, value in values.items():
        if value is not None:
            gauge.add_metric([key], float(value))
    return gauge


def _counter(name: str, what: str, value: float) -> CounterMetricFamily:
    counter = CounterMetricFamily(f"linewatch_{name}", what)
    counter.add_metric([], value)
    return counter


def _counters(name: str, what: str, label: str, values: Mapping[str, float]) -> CounterMetricFamily:
    counter = CounterMetricFamily(f"linewatch_{name}", what, labels=[label])
    for key, value in values.items():
        counter.add_metric([key], value)
    return counter


def _about(reading: Reading, started_s: float) -> Iterator[Metric]:
    versions = {"version": edge.__version__, "python": platform.python_version()}
    yield _gauge("build_info", "The software, as labels", 1, **versions)
    yield _gauge("start_time_seconds", "When the station started, seconds since 1970", started_s)
    yield _gauge("ready", "1 if the station does its work (as /readyz says)", reading.ready)
    if reading.recipe:
        yield _gauge("recipe_info", "The recipe in force, as a label", 1, recipe=reading.recipe)
    models = GaugeMetricFamily(
        "linewatch_model_info", "The model of each view, as labels", labels=["camera", "model", "version"]
    )
    for camera, (model, version) in reading.models.items():
        models.add_metric([camera, model, version], 1)
    yield models
    yield _gauge("live_viewers", "Who watch live pictures", reading.viewers)
    what = "Results that an observer was too slow for"
    yield _counters("observer_dropped", what, "observer", reading.dropped)


def _alarms(reading: Reading) -> Iterator[Metric]:
    standing = dict.fromkeys(PRIORITIES, 0)
    each = GaugeMetricFamily("linewatch_alarm_standing", "1 if the alarm is not normal", labels=["alarm", "priority"])
    for alarm, priority in reading.alarms:
        stands = alarm in reading.standing
        each.add_metric([alarm, priority], stands)
        standing[priority] = standing.get(priority, 0) + stands
    yield _gauges("alarms_standing", "Alarms that are not normal", "priority", standing)
    yield each
    raised = {alarm: reading.raised.get(alarm, 0) for alarm, _ in reading.alarms}
    yield _counters("alarms_raised", "Raisings of each alarm since the start", "alarm", raised)


def _counted(counters: Counters, frames: Mapping[str, int]) -> Iterator[Metric]:
    verdicts = {"OK": counters.ok, "NG": counters.ng, "NO_READ": counters.no_read}
    yield _counters("results", "Verdicts: of parts, or of frames where no parts are told apart", "verdict", verdicts)
    yield _counter("parts", "Parts that were judged", counters.parts)
    yield _counters("frames", "Frames that came", "camera", frames)
    yield _counter("recipe_changes", "Changes of the recipe", counters.recipe_changes)
    yield _counter("trigger_faults", "Triggers that no part can follow", counters.trigger_faults)
    yield _counter("messages_acknowledged", "Messages that the broker took", counters.acknowledged)
    yield _counter("messages_resent", "Messages that were sent again", counters.resent)
    yield _counter("results_dropped", "Results that found no room in the outbox", counters.results_dropped)
    yield _counter("commands_refused", "Commands that were not read, since too many came", counters.commands_refused)
    yield _counter("broker_connections_lost", "Connections to the broker that broke", counters.connections_lost)
    yield _counter("foreign_messages", "Messages of others on the station's own topics", counters.foreign)


def _cameras(health: Health) -> Iterator[Metric]:
    cameras = health.cameras
    works = {name: one.ready and one.fault is None for name, one in cameras.items()}
    yield _gauges("camera_up", "1 if the camera gives frames that are believed", "camera", works)
    ages = {name: one.last_frame_s for name, one in cameras.items()}
    yield _gauges("frame_age_seconds", "Since the last frame of the camera came", "camera", ages)
    dropped = {name: one.dropped for name, one in cameras.items()}
    yield _counters("frames_dropped", "Frames that nobody judged", "camera", dropped)
    missed = {name: one.missed for name, one in cameras.items()}
    yield _counters("frames_missed", "Frames that the camera numbered or timed and that never came", "camera", missed)
    unreadable = {name: one.unreadable for name, one in cameras.items()}
    yield _counters("frames_unreadable", "Pictures that came and could not be believed", "camera", unreadable)
    differing = {name: len(one.differences) for name, one in cameras.items()}
    yield _gauges("camera_settings_differ", "Settings that the camera did not take", "camera", differing)
    scores = {name: one.model_drift.median for name, one in cameras.items() if one.model_drift is not None}
    yield _gauges("passed_score_median", "Distance of passed parts from what was taught; 1 flags", "camera", scores)


def _engines(health: Health) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "linewatch_engine_info", "The engine of each model, as labels", labels=["model", "asked", "in_use"]
    )
    for one in health.engines:
        info.add_metric([one.model, one.asked, one.in_use], 1)
    yield info
    yield _gauges("engine_hangs", "1 if the engine does not answer", "model", _by_model(health, "hangs"))
    yield _counters("batches", "Batches of the engine since it was opened", "model", _by_model(health, "batches"))
    yield _counters("batch_tiles", "Tiles in these batches", "model", _by_model(health, "tiles"))
    yield _counters("batches_full", "Full ones of these batches", "model", _by_model(health, "full"))


def _by_model(health: Health, name: str) -> dict[str, Any]:
    """Return one figure of each engine; of two bundles that are called alike, the sum."""
    found: dict[str, Any] = {}
    for one in health.engines:
        found[one.model] = found.get(one.model, 0) + getattr(one, name)
    return found


def _delivery(health: Health, oldest_s: float) -> Iterator[Metric]:
    yield _gauge("broker_connected", "1 if the broker is there", health.connected)
    yield _gauge("outbox_pending", "Messages that the broker has not acknowledged", health.outbox_pending)
    yield _gauge("outbox_oldest_seconds", "For how long the oldest of them has waited", oldest_s)
    yield _gauge("outbox_dead_letters", "Messages that the broker refused", health.outbox_dead_letters)
    yield _gauge("outbox_writable", "1 if the disk takes messages", health.outbox_trouble is None)


def _device(health: Health) -> Iterator[Metric]:
    device = health.device
    yield _gauge("disk_free_bytes", "Room on the disk of the store", device.free_bytes)
    yield _gauge("disk_size_bytes", "Size of the disk of the store", device.size_bytes)
    yield _gauge("clock_synchronized", "1 if the clock on the wall follows a reference", device.clock_synced)
    yield _counter("clock_jumps", "Jumps of the clock on the wall since the start", device.clock_jumps)
