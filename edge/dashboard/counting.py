"""The history's figures of one station: counts, last rejects, coverage over time. Challenges count nowhere."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.dashboard.history import History

BUCKETS = 180
_NEVER_MS = _NEVER_ROW = 2**62


@dataclass(frozen=True)
class Counts:
    """Results of a time, by verdict. `odd`: times that the device's clock could not be believed for."""

    ok: int = 0
    ng: int = 0
    no_read: int = 0
    odd: int = 0

    @property
    def judged(self) -> int:
        """OK and NG."""
        return self.ok + self.ng

    @property
    def all(self) -> int:
        """Every result."""
        return self.ok + self.ng + self.no_read

    @property
    def share_ok(self) -> float | None:
        """OK ÷ (OK + NG), None without any."""
        return self.ok / self.judged if self.judged else None


def counts(history: History, place: str, from_ms: int, to_ms: int, up_to: int = _NEVER_ROW) -> Counts:
    """Return the results of a station in a time, half-open. `up_to`: the last row that is looked at."""
    found = history.rows(
        "SELECT verdict, count(*) AS n FROM result WHERE station = (SELECT id FROM station WHERE place = ?) "
        "AND at_ms >= ? AND at_ms < ? AND challenge = 0 AND id <= ? GROUP BY verdict",
        *(place, from_ms, to_ms, up_to),
    )
    of = {row["verdict"]: row["n"] for row in found}
    return Counts(of.get("OK", 0), of.get("NG", 0), of.get("NO_READ", 0))


class _Tally:
    """Results of one station from a time on, by verdict, as of the row that was looked at last."""

    def __init__(self, found: Counts, counted_s: float) -> None:
        self.of: Counter[str] = Counter({"OK": found.ok, "NG": found.ng, "NO_READ": found.no_read})
        self.counted_s = counted_s


class Tallies:
    """Counts that all open pages share, of any thread. New events are added; nothing is counted a second time.

    A shift of a site has millions of rows, and its Wall is drawn every 2 s. So each new row is looked at once, for all
    stations together, at most once in KEPT_S. All is counted anew every ANEW_S, since rows leave the history too.
    """

    KEPT_S, ANEW_S = 1.5, 600.0
    _TIMES_AT_MOST = 4  # of a station: its shift, its last hour, and those that were just before

    def __init__(self, history: History, monotonic_ns: Callable[[], int]) -> None:
        self._history, self._monotonic_ns = history, monotonic_ns
        self._known: dict[str, dict[int, _Tally]] = {}
        self._last_row = 0
        self._written, self._looked_s = -1, 0.0
        self._lock = threading.Lock()

    def counts(self, place: str, from_ms: int) -> Counts:
        """Return the results of a station from a time on, as of now or of a moment ago."""
        now_s = self._monotonic_ns() / 1e9
        with self._lock:
            times = self._known.setdefault(place, {})
            self._look(now_s, at_once=from_ms not in times)
            tally = times.pop(from_ms, None)
            if tally is None or now_s - tally.counted_s >= self.ANEW_S:
                tally = _Tally(counts(self._history, place, from_ms, _NEVER_MS, up_to=self._last_row), now_s)
            times[from_ms] = tally  # the last of them is the one that was asked for last
            while len(times) > self._TIMES_AT_MOST:
                del times[next(iter(times))]
            return Counts(tally.of["OK"], tally.of["NG"], tally.of["NO_READ"])

    def _look(self, now_s: float, *, at_once: bool) -> None:
        """Add the rows that were written since the last look; not so soon after it, unless `at_once`."""
        written = self._history.commits
        if written == self._written or not (at_once or now_s - self._looked_s >= self.KEPT_S):
            return
        self._written, self._looked_s = written, now_s
        if not any(self._known.values()):
            self._last_row = self._history.value("SELECT max(id) FROM result") or 0
            return
        new = self._history.rows(
            "SELECT result.id, place, at_ms, verdict, challenge FROM result JOIN station ON station.id = station "
            "WHERE result.id > ? ORDER BY result.id",
            self._last_row,
        )
        for row in new:
            self._last_row = row["id"]
            for from_ms, tally in self._known.get(row["place"], {}).items():
                tally.of[row["verdict"]] += not row["challenge"] and row["at_ms"] >= from_ms


def last_results(history: History, place: str, verdict: str | None = None, limit: int = 10) -> list[dict[str, Any]]:
    """Return the newest results of a station, the newest first; `body` is what came."""
    which = "" if verdict is None else "AND verdict = ? "
    found = history.rows(
        "SELECT id, at_ms, seq, kind, part_id, verdict, reason, recipe, grade, coverage, challenge, evidence_id, body "  # noqa: S608 - our own words
        f"FROM result WHERE station = (SELECT id FROM station WHERE place = ?) {which}"
        "ORDER BY at_ms DESC, id DESC LIMIT ?",
        *(place, *(() if verdict is None else (verdict,)), limit),
    )
    return [{**dict(row), "body": json.loads(row["body"])} for row in found]


def coverage_series(
    history: History, place: str, from_ms: int, to_ms: int, buckets: int = BUCKETS
) -> dict[str, list[Any]]:
    """Return the largest coverage in each bucket of a time: `t` in s since 1970, `coverage` 0 to 1, None = none seen.

    A bucket without a result, or with NO_READ alone, has none: a hole stays a hole.
    """
    step_ms = max(1, -(-(to_ms - from_ms) // buckets))
    found = history.rows(
        "SELECT (at_ms - ?) / ? AS bucket, max(coverage) AS coverage FROM result "
        "WHERE station = (SELECT id FROM station WHERE place = ?) AND at_ms >= ? AND at_ms < ? AND challenge = 0 "
        "GROUP BY bucket",
        *(from_ms, step_ms, place, from_ms, to_ms),
    )
    of = {row["bucket"]: row["coverage"] for row in found}
    return {
        "t": [(from_ms + bucket * step_ms) / 1000 for bucket in range(buckets)],
        "coverage": [of.get(bucket) for bucket in range(buckets)],
    }


def newest_verdicts(history: History, place: str, limit: int) -> list[str]:
    """Return the verdicts of the newest results, the newest first."""
    found = history.rows(
        "SELECT verdict FROM result WHERE station = (SELECT id FROM station WHERE place = ?) AND challenge = 0 "
        "ORDER BY at_ms DESC, id DESC LIMIT ?",
        *(place, limit),
    )
    return [row["verdict"] for row in found]
