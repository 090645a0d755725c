"""All stations that are heard, as they stand now. The collector writes, the pages read; a lock is between them."""

from __future__ import annotations

import logging
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from edge.dashboard.completeness import Complete, Completeness
from edge.dashboard.heard_commands import command_row
from edge.dashboard.history import History
from edge.dashboard.reading import (
    EVENT_BYTES_AT_MOST,
    alarm_row,
    committed_of,
    place_and_topic,
    result_row,
)
from edge.dashboard.records import CountersRow, EpochRow, JournalRow
from edge.dashboard.settings import DashboardSettings
from edge.printable import as_json
from edge.rates import Rate
from edge.records import Connected, Crowded, Received, SessionLost, Unheard
from edge.watching.watched import Watched, envelope_of

_log = logging.getLogger(__name__)

STATIONS_AT_MOST = 200
EPOCHS_AT_MOST = 50  # of one station while this runs: a store is seldom made anew
PICTURE_BYTES_AT_MOST = 262_144
PICTURE_STALE_S = 10.0
PICTURES_FOR_S = 30.0  # after a page has asked for pictures of a station; an open one asks every 2 s
# A station sends what it is asked for at up to 1,000 events a second. The messages of many come one after the other.
_ASKED_PER_S, _ASKED_AT_ONCE = 1_000, 5_000
_COUNTERS_EVERY_MS = 60_000
USER = "dashboard"  # the user behind requests for missing events
# Commands of others that are noted: more would fill the journal with what nobody reads.
_COMMANDS_PER_S, _COMMANDS_AT_ONCE = 20, 100
_JPEG = b"\xff\xd8\xff"


def utc_now() -> datetime:
    """Return the time by the clock on the wall."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Picture:
    """The last picture that a station showed, a JPEG. `at_ns`: when it came, on our monotonic clock."""

    jpeg: bytes
    at_ns: int
    number: int


class _Station:
    """The knowledge of one station."""

    def __init__(self, place: str, settings: DashboardSettings) -> None:
        address = "{}:{}".format(*settings.broker.address)
        self.place, self.root = place, f"{place}/inspect/v1"
        self.watched = Watched(self.root, address, round(settings.stale_s * 1e9))
        self.picture: Picture | None = None
        self.pictures = 0
        self.epoch: str | None = None
        self.state = ""
        self.counted_ms = 0
        self.skipped: Counter[str] = Counter()
        self.alarm_changes = 0


class Site:
    """The stations of the settings. `broker_trouble`: why the broker is not there, in words; None = it is there.

    Methods named `take…` and `connected`, `lost` are the collector's; all others may be called by any thread.
    """

    def __init__(
        self,
        settings: DashboardSettings,
        history: History,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], datetime] = utc_now,
    ) -> None:
        self.settings, self.history = settings, history
        self.monotonic_ns, self.wall = monotonic_ns, wall
        self.started = wall()
        self.broker_trouble: str | None = "not connected yet"
        self.skipped: Counter[str] = Counter()
        self.heard = 0
        self._commands = Rate(_COMMANDS_PER_S, _COMMANDS_AT_ONCE)
        self._asks = Rate(_ASKED_PER_S, _ASKED_AT_ONCE, lambda: self.monotonic_ns() / 1e9)
        self._asked_last = ""
        self._looked_at_ns: dict[str, int] = {}  # stations whose pictures somebody wants to see, and when they said so
        self._connected_ns: int | None = None
        self._unheard: dict[str, str] = {}
        self._lock = threading.RLock()
        self._stations: dict[str, _Station] = {}
        self._alarm_changes = 0
        self._complete: dict[tuple[str, str], Completeness] = history.completeness()
        for site in settings.sites:
            if site.count("/") == 4 and "+" not in site:  # a station that must be there
                self._stations[site] = _Station(site, settings)

    @property
    def now_ms(self) -> int:
        """Now by the wall clock, ms since 1970."""
        return round(self.wall().timestamp() * 1000)

    # --- the collector's words

    def take(self, event: Connected | SessionLost | Received | Crowded | Unheard) -> None:
        """Take what the broker's connection gave."""
        now_ns = self.monotonic_ns()
        with self._lock:
            if isinstance(event, Received):
                self._message(event, now_ns)
            elif isinstance(event, Connected):
                _log.info("The broker at %s is there", "{}:{}".format(*self.settings.broker.address))
                self.broker_trouble, self._connected_ns = None, now_ns
                self._unheard.clear()
                for station in self._stations.values():
                    station.watched.connected(now_ns)
            elif isinstance(event, SessionLost):
                if event.reason != self.broker_trouble:
                    _log.warning("No broker: %s", event.reason)
                self.broker_trouble, self._connected_ns = event.reason, None
                for station in self._stations.values():
                    station.watched.lost(event.reason)
            elif isinstance(event, Crowded):
                self.skipped["too many at once"] += event.count
            else:
                self._unheard[event.topic] = event.reason

    def _message(self, received: Received, now_ns: int) -> None:
        self.heard += 1
        found = place_and_topic(received.topic)
        if found is None:
            self.skipped["no station's topic"] += 1
            return
        place, topic = found
        kind = topic.partition("/")[0]
        if kind in {"cmd", "answer"}:  # commands of others to a station, and its answers
            self._heard_command(place, topic, received)
            return
        station = self._stations.get(place)
        if station is None:
            if len(self._stations) >= STATIONS_AT_MOST:
                self.skipped["too many stations"] += 1
                return
            station = self._stations[place] = _Station(place, self.settings)
            if self._connected_ns is not None:
                station.watched.connected(self._connected_ns)
        if kind == "image":
            self._picture(station, received, now_ns)
        elif len(received.payload) > EVENT_BYTES_AT_MOST:
            station.skipped["too large"] += 1
        elif topic in {"status", "birth", "seq"} or kind in {"state", "alarm", "event"}:
            self._told(station, topic, received, now_ns)
            if kind in {"status", "alarm"}:
                station.alarm_changes += 1
                self._alarm_changes += 1
        else:
            station.skipped["unknown topic"] += 1

    def _heard_command(self, place: str, topic: str, received: Received) -> None:
        """Note a command that somebody else gives to a station that is known."""
        kind, _, name = topic.partition("/")
        if kind != "cmd" or place not in self._stations:
            return
        row = command_row(place, name, received, self.now_ms, USER)
        if row is None:
            return
        if self._commands.take():
            self.history.put(row)
        else:
            self.skipped["too many commands"] += 1

    def _picture(self, station: _Station, received: Received, now_ns: int) -> None:
        if received.retained or not received.payload.startswith(_JPEG) or len(received.payload) > PICTURE_BYTES_AT_MOST:
            station.skipped["no picture"] += bool(received.payload)
            return
        if station.place not in self._looked_at_ns:
            return  # it was on its way when nobody wanted it any more
        before = station.picture
        if before is None or now_ns - before.at_ns >= PICTURE_STALE_S * 1e9:
            station.alarm_changes += 1  # a page that has none is drawn at once
        station.pictures += 1
        station.picture = Picture(received.payload, now_ns, station.pictures)

    def _told(self, station: _Station, topic: str, received: Received, now_ns: int) -> None:
        envelope = envelope_of(received.payload)
        if topic.startswith("event/"):
            if received.retained or envelope is None:
                station.skipped["not understood"] += 1
                return
            if self._event(station, topic, envelope, resent=received.resent):
                station.watched.hear(received, envelope, now_ns)
            return
        station.watched.hear(received, envelope, now_ns)
        if envelope is None:
            return
        if topic == "seq" and not received.retained:
            self._committed(station, envelope)
        elif topic == "state/counters":
            at_ms = self.now_ms
            if at_ms - station.counted_ms >= _COUNTERS_EVERY_MS:
                station.counted_ms = at_ms
                self.history.put(CountersRow(station.place, at_ms, as_json(envelope["body"])))

    def _event(self, station: _Station, topic: str, envelope: Mapping[str, Any], *, resent: bool) -> bool:
        """Have an event written down; whether it is new."""
        row = (result_row if topic == "event/result" else alarm_row)(station.place, envelope, self.wall())
        if row is None or topic not in {"event/result", "event/alarm"}:
            station.skipped["not understood"] += 1
            return False
        known = self._of_epoch(station, row.epoch, row.seq)
        if known is None or not known.is_new(row.seq):
            station.skipped["came before" if known else "too many epochs"] += 1
            return False
        if not self.history.put(row):
            return False  # its number stays missing, and is asked for again
        known.take(row.seq)
        if not resent:
            station.epoch = row.epoch
        return True

    def _committed(self, station: _Station, envelope: Mapping[str, Any]) -> None:
        told = committed_of(envelope)
        if told is None:
            station.skipped["not understood"] += 1
            return
        epoch, committed = told
        known = self._of_epoch(station, epoch, committed)
        if known is not None:
            station.epoch = epoch
            known.hear(committed, self.monotonic_ns() / 1e9)

    def _of_epoch(self, station: _Station, epoch: str, number: int) -> Completeness | None:
        known = self._complete.get((station.place, epoch))
        if known is None:
            if sum(place == station.place for place, _ in self._complete) >= EPOCHS_AT_MOST:
                return None
            known = self._complete[station.place, epoch] = Completeness.begin(number)
            self.history.put(EpochRow(station.place, epoch, known.first, known.committed))
        return known

    def wishes(self) -> list[tuple[str, str, int, int]]:
        """Return what is to be asked for again now: place, epoch, first and last number.

        Stations take turns: no more is asked for at a time than is taken beside what happens now.
        """
        now_ns = self.monotonic_ns()
        found = []
        with self._lock:
            places = sorted(self._stations)
            begin = bisect_right(places, self._asked_last)
            for place in (*places[begin:], *places[:begin]):
                station = self._stations[place]
                known = self._complete.get((place, station.epoch or ""))
                if known is None or station.watched.state(now_ns)[0] != "online":
                    continue
                if self._asks.left < 1:
                    break
                wish = known.wish(now_ns / 1e9)
                if wish is not None:
                    self._asks.owe(wish[1] - wish[0] + 1)
                    self._asked_last = place
                    found.append((place, str(station.epoch), *wish))
        return found

    def give_up(self, place: str, epoch: str, first: int, last: int) -> None:
        """Note that a station has not got these events any more."""
        with self._lock:
            if (known := self._complete.get((place, epoch))) is not None:
                known.give_up(first, last)

    def note_changes(self) -> None:
        """Write down which stations changed their state since the last call."""
        now_ms, now_ns = self.now_ms, self.monotonic_ns()
        with self._lock:
            for station in self._stations.values():
                state, why = station.watched.state(now_ns)
                if state != station.state and station.state:
                    self.history.put(JournalRow(station.place, now_ms, "station", "", state, station.state, why))
                station.state = state

    def pictures_wanted(self) -> list[str]:
        """Return the stations whose pictures somebody looks at; those of others are let go."""
        now_ns = self.monotonic_ns()
        with self._lock:
            over = [place for place, at_ns in self._looked_at_ns.items() if now_ns - at_ns > PICTURES_FOR_S * 1e9]
            for place in over:
                del self._looked_at_ns[place]
                self._stations[place].picture = None
            return list(self._looked_at_ns)

    # --- the pages' readings

    def places(self) -> list[str]:
        """Return the stations that are known, by their five levels, in order."""
        with self._lock:
            return sorted(self._stations)

    def knows(self, place: str) -> bool:
        """Tell whether a station is known."""
        with self._lock:
            return place in self._stations

    def state_of(self, place: str) -> str:
        """Return the state of a station: `online`, `offline` …; `unknown` for one that is not known."""
        with self._lock:
            station = self._stations.get(place)
            return "unknown" if station is None else station.watched.state(self.monotonic_ns())[0]

    def standing(self, place: str) -> dict[str, Any]:
        """Return the state of a station and its alarms, as in `picture_of`. Raises KeyError for one not known."""
        with self._lock:
            return self._stations[place].watched.standing(self.monotonic_ns(), self.wall())

    def look_at(self, place: str) -> None:
        """Have pictures of a station come for PICTURES_FOR_S, for somebody wants to see them. Raises KeyError."""
        with self._lock:
            self._looked_at_ns[self._stations[place].place] = self.monotonic_ns()

    def picture_of(self, place: str) -> dict[str, Any]:
        """Return how a station stands now, as Watched tells it. Raises KeyError for one that is not known.

        `place`, `complete` (Complete), `ignored` (messages that were counted and not believed, by reason) and
        `picture_number`, `picture_s_ago` (of `picture_bytes`) are added.
        """
        with self._lock:
            return self._picture_of(self._stations[place])

    def _picture_of(self, station: _Station) -> dict[str, Any]:
        now_ns = self.monotonic_ns()
        told = station.watched.picture(now_ns, self.wall())
        known = self._complete.get((station.place, station.epoch or ""))
        shown = station.picture
        return {
            **told,
            "place": station.place,
            "complete": Complete(0, 0, 0) if known is None else known.told(),
            "ignored": dict(station.skipped + Counter(told["skipped"])),
            "picture_number": None if shown is None else shown.number,
            "picture_s_ago": None if shown is None else round((now_ns - shown.at_ns) / 1e9, 1),
        }

    def alarm_changes(self, place: str | None = None) -> int:
        """Return a number that rises when an alarm or the status is told: of a station, or None = of any.

        That of a station rises as well when it shows a picture after a while without one.
        """
        station = None if place is None else self._stations.get(place)
        return self._alarm_changes if station is None else station.alarm_changes

    def birth(self, place: str) -> Mapping[str, Any]:
        """Return what a station said of itself when it came: alarms, recipes, cameras; not to be trusted in kind."""
        with self._lock:
            return self._stations[place].watched.told("birth")

    def told(self, place: str, topic: str) -> Mapping[str, Any]:
        """Return the body that is retained at a topic of a station, as `state/health`; {} where none is known."""
        with self._lock:
            return self._stations[place].watched.told(topic)

    def told_s_ago(self, place: str, topic: str) -> float | None:
        """Return how long ago a topic was told live, in s; None where it was not."""
        with self._lock:
            return self._stations[place].watched.told_s_ago(topic, self.monotonic_ns())

    def picture_bytes(self, place: str) -> Picture | None:
        """Return the last picture of a station; None where it showed none since this runs."""
        with self._lock:
            station = self._stations.get(place)
            return None if station is None else station.picture

    def unheard(self) -> dict[str, str]:
        """Return the topics that the broker does not let us hear, and why."""
        with self._lock:
            return dict(self._unheard)
