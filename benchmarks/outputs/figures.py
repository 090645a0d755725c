"""Compare the decisions of a station with the signals that came to the machine."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

# ms; the most that Linewatch may add after the verdict to the count's arrival, of 99 in 100 parts.
ADDED_P99_MS = {"modbus": 10.0, "opcua": 20.0}
PULSE_MS = 5.0
AFTER_MS = 1500.0
FROM = {
    "added after the verdict": "decided_ns",
    "from the last frame": "seen_ns",
    "from the trigger's end": "closed_ns",
    "from the trigger": "opened_ns",
}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return how many there are, their median, 99th percentile (nearest rank) and the worst; None without any."""
    ordered = sorted(values)
    if not ordered:
        return {"count": 0, "p50": None, "p99": None, "worst": None}
    rank = max(0, -(-99 * len(ordered) // 100) - 1)
    return {
        "count": len(ordered),
        "p50": round(statistics.median(ordered), 2),
        "p99": round(ordered[rank], 2),
        "worst": round(ordered[-1], 2),
    }


def latencies(parts: Sequence[Mapping[str, Any]], came: Mapping[int, int], first: int = 1) -> dict[str, Any]:
    """Return from where to the arrival of the count how long it took, ms. `first`: the count of the first part."""
    pairs = [(part, came[count]) for count, part in enumerate(parts, first) if count in came]
    told = {
        name: spread([(at_ns - part[key]) / 1e6 for part, at_ns in pairs if part[key] is not None])
        for name, key in FROM.items()
    }
    return {**told, "parts": len(parts), "counts that never came": len(parts) - len(pairs)}


def pulses(parts: Sequence[Mapping[str, Any]], rises: Sequence[int], signals: Mapping[str, int]) -> dict[str, Any]:
    """Return how far each pulse was from its time, ms, and how many were neither in time nor told."""
    due = [part["opened_ns"] + AFTER_MS * 1e6 for part in parts]
    last_ns = max(due, default=0) + 50e6
    off = [abs(min((rise - one for one in due), key=abs)) / 1e6 for rise in rises if due and rise <= last_ns]
    late = sum(error > PULSE_MS for error in off)
    missing = max(0, len(due) - len(off))
    told = signals["late"] + signals["crowded_out"]
    return {
        "off its time": spread(off),
        "later than 5 ms": late,
        "that never came": missing,
        "told as late or dropped": told,
        "not told": max(0, late + missing - told),
    }


def judged(
    link: str,
    phases: Mapping[str, tuple[int, int]],
    claimed: int,
    told: Mapping[str, Any],
    came: Sequence[Sequence[Any]],
) -> dict[str, Any]:
    """Return all figures of one run. `phases`: the first part of each and the one behind its last, from 0.

    `claimed`: so many parts make the figure that is claimed.
    """
    counts: dict[int, int] = {}
    rises = []
    up = 0
    for at_ns, signal, level in came:
        if signal == "count" and level:
            counts.setdefault(level, at_ns)
        elif signal == "gate":
            if level and not up:
                rises.append(at_ns)
            up = level
    parts = told["parts"]
    whole = latencies(parts[:claimed], counts)
    pulsed = pulses(parts, rises, told["signals"])
    p99 = whole["added after the verdict"]["p99"]
    return {
        "latency": {
            "all of it": whole,
            **{name: latencies(parts[begin:end], counts, begin + 1) for name, (begin, end) in phases.items()},
        },
        "pulses": pulsed,
        "signals": told["signals"],
        "target_added_p99_ms": ADDED_P99_MS[link],
        "reached": p99 is not None and p99 <= ADDED_P99_MS[link] and not pulsed["not told"],
    }
