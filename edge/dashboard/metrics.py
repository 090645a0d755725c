"""The metrics of the web process, read when somebody asks. Labels are stations that are known, and words of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from edge import __version__
from edge.dashboard.site import Site

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATES = ("online", "starting", "waiting", "stale", "offline", "unknown", "no_broker")


class DashboardMetrics:
    """Writes how a web process is, and what it knows of its stations. `streams`: how many pages are open."""

    def __init__(self, site: Site, streams: Callable[[], int]) -> None:
        self._site = site
        self._streams = streams
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield what is read at the scrape."""
        site, history = self._site, self._site.history
        info = GaugeMetricFamily("linewatch_dashboard_build_info", "The software, as a label", labels=["version"])
        info.add_metric([__version__], 1)
        yield info
        yield _gauge("start_time_seconds", "When it started, seconds since 1970", site.started.timestamp())
        yield _gauge("broker_connected", "1 if the broker is there", site.broker_trouble is None)
        yield _gauge("history_writable", "1 if the history is written", history.trouble is None)
        yield _counter("history_dropped", "Rows that found no room", history.dropped)
        yield _counter("messages", "Messages that came", site.heard)
        yield _gauge("pages_open", "Pages that are open and told of changes", self._streams())
        yield from self._stations()

    def _stations(self) -> Iterator[Metric]:
        state = _family("station_state", "1 for the state that the station is in", "station", "state")
        expected = _family("events_expected", "Events that the station has committed", "station")
        missing = _family("events_missing", "Those of them that have not come", "station")
        ignored = CounterMetricFamily(
            "linewatch_dashboard_messages_ignored", "Messages that were not believed", labels=["station"]
        )
        for place in self._site.places():
            told = self._site.picture_of(place)
            for each in _STATES:
                state.add_metric([place, each], told["state"] == each)
            complete = told["complete"]
            expected.add_metric([place], complete.expected)
            missing.add_metric([place], complete.expected - complete.came)
            ignored.add_metric([place], sum(told["ignored"].values()))
        ignored.add_metric([""], sum(self._site.skipped.values()))
        yield from (state, expected, missing, ignored)


def _family(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"linewatch_dashboard_{name}", what, labels=list(labels))


def _gauge(name: str, what: str, value: float | bool) -> GaugeMetricFamily:
    gauge = _family(name, what)
    gauge.add_metric([], float(value))
    return gauge


def _counter(name: str, what: str, value: float) -> CounterMetricFamily:
    counter = CounterMetricFamily(f"linewatch_dashboard_{name}", what)
    counter.add_metric([], value)
    return counter
