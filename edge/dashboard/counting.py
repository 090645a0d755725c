"""What the history comes to for one station: counts, the last rejects, coverage over time. Challenges count nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.dashboard.history import History

BUCKETS = 180


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


def counts(history: History, place: str, from_ms: int, to_ms: int) -> Counts:
    """Return the results of a station in a time, half-open."""
    found = history.rows(
        "SELECT verdict, count(*) AS n FROM result WHERE station = (SELECT id FROM station WHERE place = ?) "
        "AND at_ms >= ? AND at_ms < ? AND challenge = 0 GROUP BY verdict",
        *(place, from_ms, to_ms),
    )
    of = {row["verdict"]: row["n"] for row in found}
    return Counts(of.get("OK", 0), of.get("NG", 0), of.get("NO_READ", 0))


class Tallies:
    """Counts that all open pages share: asked of the history once in KEPT_S, not once for each page. Of any thread."""

    KEPT_S, _AT_MOST = 1.5, 2_000

    def __init__(self, history: History, monotonic_ns: Callable[[], int]) -> None:
        self._history, self._monotonic_ns = history, monotonic_ns
        self._known: dict[tuple[str, int], tuple[int, int, Counts]] = {}

    def counts(self, place: str, from_ms: int, to_ms: int) -> Counts:
        """Return the results of a station from a time on, as of now or of a moment ago."""
        now_ns = self._monotonic_ns()
        known = self._known.get((place, from_ms))
        written = self._history.commits
        if known is not None and (known[1] == written or now_ns - known[0] < self.KEPT_S * 1e9):
            return known[2]
        found = counts(self._history, place, from_ms, to_ms)
        if len(self._known) >= self._AT_MOST:
            self._known.clear()
        self._known[place, from_ms] = (now_ns, written, found)
        return found


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
