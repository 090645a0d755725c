"""Figures of a run: lags, loss, memory over time, and whether the bounds hold. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LAG_P99_S = 1.0
GROWTH = 1.1  # of memory, its last quarter against its second
JUDGED_FROM = 100_000  # delivered messages; before that a process still fills its caches


@dataclass(frozen=True)
class Outage:
    """The broker was killed, was there again, and everything had caught up; monotonic clock, ns."""

    killed_ns: int
    started_ns: int
    caught_up_ns: int


@dataclass(frozen=True)
class Sample:
    """Processor time and memory of a process at a moment. `cpu_s`: since its start; `resident_mb`: now."""

    at_ns: int
    cpu_s: float
    resident_mb: float


def share(values: Sequence[float], part: float) -> float | None:
    """Return the value that `part` (0-1) of all do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else None


def since(raised: Mapping[str, int], from_ns: int, until_ns: int = 0) -> dict[str, int]:
    """Return the alarms that were raised from a moment on, and before another; 0 = without an end."""
    return {name: at_ns for name, at_ns in raised.items() if from_ns <= at_ns and (not until_ns or at_ns < until_ns)}


def lags(
    raised: Mapping[str, int], shown: Mapping[str, int], outages: Sequence[Outage]
) -> tuple[list[float], list[float], int]:
    """Return lags in s: of alarms that met a broker, and of those of an outage; and how many were never shown.

    An alarm is of an outage on two conditions. It was raised before everything had caught up, and was not shown before
    the kill. It may be over before the broker is there again, and then no page shows it: it is in the history. So
    `never shown` counts the alarms that met a broker alone.
    """
    usual: list[float] = []
    late: list[float] = []
    never = 0
    for occurrence, raised_ns in raised.items():
        shown_ns = shown.get(occurrence)
        of_outage = _of_outage(raised_ns, shown_ns, outages)
        if shown_ns is None:
            never += not of_outage
        else:
            (late if of_outage else usual).append(max(0.0, (shown_ns - raised_ns) / 1e9))
    return usual, late, never


def beside(raised: Mapping[str, int], shown: Mapping[str, int], outages: Sequence[Outage]) -> dict[str, int]:
    """Return the alarms that are of no outage; see `lags`."""
    return {name: at_ns for name, at_ns in raised.items() if not _of_outage(at_ns, shown.get(name), outages)}


def _of_outage(raised_ns: int, shown_ns: int | None, outages: Sequence[Outage]) -> bool:
    return any(
        raised_ns <= outage.caught_up_ns
        and (shown_ns is None or shown_ns >= outage.killed_ns)
        and raised_ns >= outage.killed_ns - 1_000_000_000
        for outage in outages
    )


def slowest(raised: Mapping[str, int], shown: Mapping[str, int], began_ns: int) -> list[dict[str, float]]:
    """Return the five alarms that came last to the page: their lag, and when they were raised in the run, s."""
    found = [(shown[name] - at_ns, at_ns) for name, at_ns in raised.items() if name in shown]
    return [
        {"lag_s": round(lag_ns / 1e9, 3), "at_s": round((at_ns - began_ns) / 1e9, 1)}
        for lag_ns, at_ns in sorted(found, reverse=True)[:5]
    ]


def used(samples: Sequence[Sample], processes: int = 1, since_ns: int = 0) -> dict[str, Any]:
    """Return processor (1 = one core) and memory of a process.

    `growth`: last quarter ÷ second quarter of the time since a moment, such as that when all had caught up. A broker
    does not give back to the system what it took for a queue.
    """
    if len(samples) < 2:
        return {"cores": None, "resident_mb": None, "growth": None, "processes": processes}
    first, last = samples[0], samples[-1]
    settled = [sample.resident_mb for sample in samples if sample.at_ns >= since_ns] or [last.resident_mb]
    quarter = max(1, len(settled) // 4)
    former = statistics.median(settled[quarter : 2 * quarter] or settled)
    latter = statistics.median(settled[-quarter:])
    return {
        "cores": round((last.cpu_s - first.cpu_s) / max(1e-9, (last.at_ns - first.at_ns) / 1e9), 3),
        "resident_mb": round(latter, 1),
        "peak_mb": round(max(sample.resident_mb for sample in samples), 1),
        "growth": round(latter / max(0.1, former), 3),
        "processes": processes,
    }


def broken_bounds(told: Mapping[str, Any]) -> list[str]:
    """Return the bounds that do not hold, each in words."""
    broken = []
    if told["lost"]:
        broken.append(f"{told['lost']} messages lost, expected 0")
    if told["lag_p99_s"] is None or told["lag_p99_s"] > LAG_P99_S:
        broken.append(f"lag p99 of an alarm is {told['lag_p99_s']} s, expected at most {LAG_P99_S:g} s")
    if told["never_shown"]:
        broken.append(f"{told['never_shown']} alarms were never shown, expected 0")
    if any(outage["catch_up_s"] is None for outage in told["outages"]):
        broken.append("not everything had caught up after the broker was back")
    if told["messages"] >= JUDGED_FROM:
        broken += [
            f"memory of {name} grew by {told[name]['growth']:g}, expected at most {GROWTH:g}"
            for name in ("broker", "dashboard", "stations_used")
            if (told[name]["growth"] or 0) > GROWTH
        ]
    return broken
