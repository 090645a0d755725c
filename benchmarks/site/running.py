"""One run: stations, broker and dashboard for so many minutes, a kill of the broker, and what it all came to."""

from __future__ import annotations

import os
import queue
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.proof.setting import ProofError
from benchmarks.site.figures import LAG_P99_S, Outage, Sample, beside, broken_bounds, lags, share, since, slowest, used
from benchmarks.site.screen import Screen
from benchmarks.site.setting import PASSWORD, USER, BrokerCount, SiteBroker, SiteDashboard, StationHost, sample

_SAMPLED_EVERY_S = 2.0
_OPENS_WITHIN_S = 300.0
_CATCHES_UP_WITHIN_S = 900.0
_SETTLES_S = 5.0  # of parts, before lags count: every station was heard
_FAST_AT_MOST_S = 4 * 3600.0


@dataclass(frozen=True)
class Asked:
    """Settings of a run. `kills`: how often the broker is killed, evenly over the time; `away_s`: for how long.

    `messages`: after its time more parts pass, at most `fast_parts_per_s` of each station, until the broker has
    delivered so many. 0 = they do not.
    """

    stations: int
    minutes: float
    parts_per_s: float = 1.0
    ng: float = 0.02
    kills: int = 1
    away_s: float = 10.0
    picture_kb: float = 30.0
    processes: int = 4
    messages: int = 0
    fast_parts_per_s: float = 5.0


@dataclass
class _Heard:
    """Reports of the stations' processes. `told`: the answer of each to a wish, by its word."""

    raised: dict[str, int] = field(default_factory=dict)
    now: dict[int, dict[str, Any]] = field(default_factory=dict)
    told: dict[str, dict[int, list[dict[str, Any]]]] = field(default_factory=dict)
    late_s: list[float] = field(default_factory=list)
    ready: set[int] = field(default_factory=set)

    def take(self, number: int, said: dict[str, Any]) -> None:
        """Take one thing that a process said."""
        for word, what in said.items():
            if word == "raised":
                self.raised[what[0]] = what[1]
            elif word == "now":
                self.now[number] = what
                self.late_s += [what["late_s"]] if "late_s" in what else []
            elif word == "ready":
                self.ready.add(number)
            elif word == "gone":
                self.now[number] = {**self.now.get(number, {}), "gone": True}
            else:
                self.told.setdefault(word, {})[number] = what

    def sum(self, name: str) -> int:
        """Return the sum of what they say of themselves."""
        return sum(int(each.get(name, 0)) for each in self.now.values())


class Run:
    """A site that runs. `progress` is told the share that is done, 0-1, and what goes on, in words."""

    def __init__(self, asked: Asked, folder: Path, progress: Callable[[float, str], None]) -> None:
        self._asked, self._folder, self._progress = asked, folder, progress
        self._queue: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()
        self._heard = _Heard()
        self._hosts: list[StationHost] = []
        self._samples: dict[str, list[Sample]] = {"broker": [], "dashboard": [], "stations": []}
        self._broker_cpu_s = 0.0  # of brokers that were killed
        self._sampled_s, self._began_ns, self._fast_ns = 0.0, 0, 0
        self._lasted_s = self._fast_s = 0.0
        self._windows: list[Outage] = []
        self._loads: list[float] = []
        self._outages: list[dict[str, Any]] = []

    def measure(self) -> dict[str, Any]:
        """Run, and return the figures. Raises ProofError where the site does not come about."""
        asked = self._asked
        with ExitStack() as scope:
            self._broker = SiteBroker(self._folder)
            scope.enter_context(self._broker)
            self._dashboard = SiteDashboard(self._folder, self._broker.port)
            scope.enter_context(self._dashboard)
            self._count = scope.enter_context(BrokerCount(self._broker.port))
            self._screen = scope.enter_context(Screen(self._dashboard.port, USER, PASSWORD))
            self._open(scope)
            began_s, self._began_ns = time.monotonic(), time.monotonic_ns()
            ends_s = began_s + asked.minutes * 60
            kills = [began_s + asked.minutes * 60 * (at + 1) / (asked.kills + 1) for at in range(asked.kills)]
            while (now_s := time.monotonic()) < ends_s:
                self._turn((now_s - began_s) / (ends_s - began_s), "parts pass")
                if kills and now_s >= kills[0]:
                    kills.pop(0)
                    self._windows.append(self._kill((now_s - began_s) / (ends_s - began_s)))
            self._lasted_s = time.monotonic() - began_s
            if self._count.delivered < asked.messages:
                self._fast()
            return self._came_to(self._drained())

    def _fast(self) -> None:
        """Have as many parts made as are delivered, until the broker has delivered what was asked for."""
        began_s, before = time.monotonic(), self._count.delivered
        self._fast_ns = time.monotonic_ns()
        for host in self._hosts:
            host.wish("fast")
        wanted = self._asked.messages - before
        while (left := self._asked.messages - self._count.delivered) > 0:
            self._turn(1 - left / wanted, f"as fast as they are delivered, {left} to go")
            if time.monotonic() - began_s > _FAST_AT_MOST_S:
                raise ProofError(f"{left} messages were not delivered in {_FAST_AT_MOST_S / 3600:g} hours")
        self._fast_s = time.monotonic() - began_s

    def _open(self, scope: ExitStack) -> None:
        asked, left, first = self._asked, self._asked.stations, 0
        processes = min(asked.processes, asked.stations)
        for number in range(processes):
            count = -(-left // (processes - number))
            arguments = (
                *(self._broker.port, self._folder, first, count),
                *(asked.parts_per_s, asked.ng, round(asked.picture_kb * 1000), asked.fast_parts_per_s),
            )
            self._hosts.append(scope.enter_context(StationHost(number, arguments, self._queue)))
            first, left = first + count, left - count
        self._until(lambda: len(self._heard.ready) == processes, "the stations open", _OPENS_WITHIN_S)
        self._until(lambda: self._heard.sum("connected") == asked.stations, "the stations connect", _OPENS_WITHIN_S)
        self._until(lambda: self._screen.opened > 0, "the page of alarms opens", _OPENS_WITHIN_S)
        for host in self._hosts:
            host.wish("go")
        settled_s = time.monotonic() + _SETTLES_S
        self._until(lambda: time.monotonic() >= settled_s, "the first parts pass", _OPENS_WITHIN_S)

    def _turn(self, done: float, what: str) -> None:
        """Hear what was said, and note what is used."""
        now_s = time.monotonic()
        while True:
            try:
                number, said = self._queue.get(timeout=0.2)
            except queue.Empty:
                break
            self._heard.take(number, said)
            if said.get("gone"):
                raise ProofError(f"the stations of process {number} ended: {self._hosts[number].last_words()}")
            if time.monotonic() - now_s > 0.2:
                break
        counts = f"{self._count.delivered} messages, {self._heard.sum('committed')} events"
        self._progress(done, f"{what}; {counts}, {self._heard.sum('waiting')} wait")
        if now_s - self._sampled_s >= _SAMPLED_EVERY_S:
            self._sampled_s = now_s
            self._sample()

    def _sample(self) -> None:
        now_ns = time.monotonic_ns()
        self._loads.append(os.getloadavg()[0])
        one = None if self._broker.pid is None else sample(self._broker.pid, now_ns)
        if one is not None:
            self._samples["broker"].append(Sample(now_ns, one.cpu_s + self._broker_cpu_s, one.resident_mb))
        if (two := sample(self._dashboard.pid, now_ns)) is not None:
            self._samples["dashboard"].append(two)
        hosts = [found for host in self._hosts if (found := sample(host.pid, now_ns)) is not None]
        if len(hosts) == len(self._hosts) and hosts:
            total = Sample(now_ns, sum(each.cpu_s for each in hosts), sum(each.resident_mb for each in hosts))
            self._samples["stations"].append(total)

    def _until(self, condition: Callable[[], bool], what: str, within_s: float, done: float = 0.0) -> bool:
        """Wait, hearing on. Raises ProofError where it does not come about."""
        began_s = time.monotonic()
        while not condition():
            self._turn(done, what)
            if time.monotonic() - began_s > within_s:
                raise ProofError(f"waited {within_s:g} s in vain: {what}")
        return True

    def _ask(self, word: str) -> list[dict[str, Any]]:
        """Ask every station for what it committed."""
        self._heard.told.pop(word, None)
        for host in self._hosts:
            host.wish(word)
        self._until(lambda: len(self._heard.told.get(word, {})) == len(self._hosts), f"answers to {word}", 300.0)
        return [station for stations in self._heard.told[word].values() for station in stations]

    def _kill(self, done: float) -> Outage:
        """Kill the broker, start it again, and wait until every event is in the history that was committed by then."""
        self._sample()
        if self._samples["broker"]:
            self._broker_cpu_s = self._samples["broker"][-1].cpu_s
        killed_ns = time.monotonic_ns()
        self._broker.kill()
        away_until_s = time.monotonic() + self._asked.away_s
        while time.monotonic() < away_until_s:
            self._turn(done, "the broker is away")
        self._broker.start()
        started_ns = time.monotonic_ns()
        committed = {station["epoch"]: station["committed"] for station in self._ask("mark")}
        caught_up_ns = started_ns
        try:
            self._until(
                lambda: self._heard.sum("connected") == self._asked.stations and self._missing(committed) == 0,
                "the stations catch up",
                _CATCHES_UP_WITHIN_S,
                done,
            )
            caught_up_ns = time.monotonic_ns()
            catch_up_s: float | None = round((caught_up_ns - started_ns) / 1e9, 1)
        except ProofError:
            catch_up_s = None
        self._outages.append(
            {
                "at_s": round((killed_ns - self._began_ns) / 1e9, 1),
                "away_s": self._asked.away_s,
                "catch_up_s": catch_up_s,
            }
        )
        return Outage(killed_ns, started_ns, caught_up_ns)

    def _missing(self, committed: dict[str, int]) -> int:
        """Return how many events up to these numbers are not in the history."""
        came = self._dashboard.came()
        return sum(
            number - sum(max(0, min(last, number) - first + 1) for first, last in came.get(epoch, ()))
            for epoch, number in committed.items()
        )

    def _drained(self) -> list[dict[str, Any]]:
        """Have no more parts made, wait until all is delivered, and return what each station committed."""
        for host in self._hosts:
            host.wish("stop")
        began_s = time.monotonic()
        while True:
            stations = self._ask("told")
            committed = {station["epoch"]: station["committed"] for station in stations}
            still = any(station["waiting"] for station in stations)
            if not still and self._missing(committed) == 0:
                # the alarms that stand end after their time, and are events too
                again = self._ask("told")
                if all(station["committed"] == committed[station["epoch"]] for station in again) and (
                    time.monotonic() - began_s > 8
                ):
                    return again
            if time.monotonic() - began_s > _CATCHES_UP_WITHIN_S:
                return stations
            self._turn(1.0, "the last messages are delivered")

    def _came_to(self, stations: Sequence[dict[str, Any]]) -> dict[str, Any]:
        rows, shown = self._dashboard.rows(), dict(self._screen.shown)
        events = sum(station["committed"] for station in stations)
        lost = sum(max(0, station["committed"] - rows.get(station["epoch"], 0)) for station in stations)
        settled_ns = self._fast_ns or (self._windows[-1].caught_up_ns if self._windows else 0)
        raised = since(self._heard.raised, self._began_ns, self._fast_ns)
        usual, late, never = lags(raised, shown, self._windows)
        told = {
            **{name: value for name, value in vars(self._asked).items() if name != "messages"},
            "lasted_s": round(self._lasted_s + self._fast_s, 1),
            "parts": sum(station["parts"] for station in stations),
            "events": events,
            "messages": self._count.delivered,
            "published": self._count.received,
            "messages_per_s": round(self._count.delivered / (self._lasted_s + self._fast_s), 1),
            "fast": self._of_fast(shown),
            "lost": lost,
            "dropped": sum(station["dropped"] for station in stations),
            "resent": sum(station["resent"] for station in stations),
            "alarms": len(raised),
            "never_shown": never,
            "lag_p50_s": _rounded(share(usual, 0.5)),
            "lag_p99_s": _rounded(share(usual, 0.99)),
            "lag_max_s": _rounded(max(usual, default=None)),
            "lag_limit_s": LAG_P99_S,
            "slowest": slowest(beside(raised, shown, self._windows), shown, self._began_ns),
            "outages": [
                {**outage, "alarms": len(late), "lag_max_s": _rounded(max(late, default=None))}
                for outage in self._outages
            ],
            "history_bytes_per_event": round(self._dashboard.history_bytes() / max(1, events)),
            "page_updates": self._screen.updates,
            "page_kb": round(self._screen.bytes / max(1, self._screen.updates) / 1000, 1),
            "broker": used(self._samples["broker"], since_ns=settled_ns),
            "dashboard": used(self._samples["dashboard"], since_ns=settled_ns),
            "stations_used": used(self._samples["stations"], len(self._hosts), settled_ns),
            "late_s": _rounded(share(self._heard.late_s, 0.99)),
            "machine_cores": os.cpu_count(),
            "load": {"median": round(statistics.median(self._loads), 1), "max": round(max(self._loads), 1)},
        }
        told["broken"] = broken_bounds(told)
        return told

    def _of_fast(self, shown: dict[str, int]) -> dict[str, Any] | None:
        """Return how long the fast phase lasted, and its lags, for which there is no bound; None without one."""
        if not self._fast_ns:
            return None
        usual, _, never = lags(since(self._heard.raised, self._fast_ns), shown, ())
        return {
            "lasted_s": round(self._fast_s, 1),
            "lag_p50_s": _rounded(share(usual, 0.5)),
            "lag_p99_s": _rounded(share(usual, 0.99)),
            "never_shown": never,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
