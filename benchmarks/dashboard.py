"""`python -m benchmarks.dashboard`: how long the server takes for each page over a long history; JSON.

The history has so many parts in one shift, an alarm for every hundredth, and a station that is online. Each page is
asked for several times over a real connection. Of each the slowest counts, after one that warms up. `cpu` is what a
page costs whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from edge.dashboard.history import History
from edge.dashboard.reading import alarm_row, result_row
from edge.dashboard.records import Row
from edge.dashboard.screens import NAV
from edge.dashboard.serving import dashboard
from edge.dashboard.settings import DashboardSettings, HistorySettings, ListenSettings
from edge.publishers.broker_settings import BrokerSettings

PLACE = "acme/ulm/glass/l1/c1"
EPOCH = "4dbf8f4e-9d35-4a6e-8f3b-6f9c2a1f0e55"
PARTS = 100_000
LIMIT_MS = 300
MORE = (f"/coverage/{PLACE}", "/rejects?verdict=NG", "/alarms")
_CLASSES = ("scratch", "stain", "chip")


def envelope(body: dict[str, Any], seq: int, at: datetime) -> dict[str, Any]:
    """Return a message as a station writes it."""
    return {"epoch": EPOCH, "seq": seq, "ts": at.isoformat(), "recipe": "phone", "body": body}


def part(number: int, at: datetime) -> dict[str, Any]:
    """Return a part with three views: each tenth NG, each fiftieth NO_READ; a few more with a defect within limits."""
    verdict = "NO_READ" if number % 50 == 0 else "NG" if number % 10 == 0 else "OK"
    coverage = None if verdict == "NO_READ" else 0.0001 * (number % 37)
    classes = {
        name: {"coverage": 0.0001 * seen, "count": int(seen)}
        for place, name in enumerate(_CLASSES)
        for seen in [number % 3 == place and (verdict == "NG" or number % 23 == 0)]
    }
    view: dict[str, Any] = {"coverage": coverage, "classes": classes, "defects": [], "reason": None}
    return {
        "part_id": f"phone-{number:06d}",
        "part_number": number,
        "recipe": "phone" if number < PARTS // 2 else "tablet",
        "closed_at": at.isoformat(),
        "verdict": verdict,
        "reason": f"top: {_CLASSES[number % 3]}: 1 defect, at most 0 allowed" if verdict == "NG" else None,
        "grade": {"name": "AB"[number % 2], "value_factor": 1.0 - 0.3 * (number % 2)},
        "challenge": False,
        "views": dict.fromkeys(("top", "side", "back"), view),
        "missing_views": [],
        "evidence_id": None,
    }


def fill(path: Path, parts: int) -> float:
    """Write a history of so many parts, evenly over the last 8 hours; return how long that took, in s."""
    begun_s, now = time.perf_counter(), datetime.now(timezone.utc)
    step = timedelta(hours=8) / parts
    with History(path, 90, 10_000) as history:
        seq = 0
        for number in range(1, parts + 1):
            at = now - step * (parts - number)
            rows: list[Row | None] = [result_row(PLACE, envelope(part(number, at), seq := seq + 1, at), now)]
            if number % 100 == 0:
                body = {
                    "alarm": f"alarm-{number % 7}",
                    "transition": ("raised", "acknowledged", "cleared")[number // 100 % 3],
                    "state": "active",
                    "occurrence_id": EPOCH,
                    "priority": "high",
                    "shown": True,
                }
                rows.append(alarm_row(PLACE, envelope(body, seq := seq + 1, at), now))
            for row in rows:
                if row is None:
                    raise AssertionError("a row that no station would write")
                while not history.put(row):
                    time.sleep(0.05)
        history.flush(600)
    return time.perf_counter() - begun_s


def asked_ms(url: str, times: int) -> dict[str, float]:
    """Return how long a page takes, in ms: the fastest, the slowest, and the processor's time of one."""
    found, cpu_s = [], 0.0
    for place in range(times + 1):
        begun_s = time.perf_counter()
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own
            answer.read()
        found.append((time.perf_counter() - begun_s) * 1000)
        if place == 0:
            cpu_s = time.process_time()
    cpu_ms = (time.process_time() - cpu_s) * 1000 / times
    return {
        name: round(ms, 1) for name, ms in (("fastest", min(found[1:])), ("slowest", max(found[1:])), ("cpu", cpu_ms))
    }


def measured(folder: Path, parts: int, times: int) -> dict[str, Any]:
    """Return the figures of all pages."""
    settings = DashboardSettings(
        broker=BrokerSettings(port=1),  # nobody is there: the pages show the history
        sites=(PLACE,),
        listen=ListenSettings(port=0),
        users=folder / "users.json",
        history=HistorySettings(path=folder / "history.db", megabytes=10_000),
    )
    fill_s = fill(settings.history.path, parts)
    with dashboard(settings) as served:
        url = served.url.removesuffix("/")
        pages = {path: asked_ms(url + path, times) for path in dict.fromkeys([*(entry.path for entry in NAV), *MORE])}
    slowest = max(told["slowest"] for told in pages.values())
    return {
        "parts": parts,
        "history_mb": round(settings.history.path.stat().st_size / 1e6, 1),
        "written_per_s": round(parts / fill_s),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "limit_ms": LIMIT_MS,
        "pages_ms": pages,
        "slowest_ms": slowest,
        "within_limit": slowest <= LIMIT_MS,
    }


def main() -> None:
    """Print the figures as JSON; exit code 1 where a page took longer than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=PARTS, help="parts in the history")
    parser.add_argument("--times", type=int, default=5, help="how often each page is asked for")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dashboard-") as folder:
        told = measured(Path(folder), options.parts, options.times)
    text = json.dumps(told, indent=2)
    print(text)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n", encoding="utf-8")
    sys.exit(0 if told["within_limit"] else 1)


if __name__ == "__main__":
    main()
