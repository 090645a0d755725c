"""A site without a broker: messages as a station writes them, given to the collector's side by hand."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from edge.dashboard.app import make_app
from edge.dashboard.collector import Collector
from edge.dashboard.history import History
from edge.dashboard.settings import DashboardSettings, HistorySettings
from edge.dashboard.site import Site
from edge.dashboard.users import Access, UserFile
from edge.records import Connected, Received

PLACE = "acme/ulm/glass/l1/c1"
ROOT = f"{PLACE}/inspect/v1"
EPOCH = "4dbf8f4e-9d35-4a6e-8f3b-6f9c2a1f0e55"
NOW = datetime(2026, 1, 31, 12, 0, tzinfo=timezone.utc)
OCCURRENCE = "57093987-2e9c-5b16-8841-be8d02c70574"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000_000

    def monotonic_ns(self) -> int:
        """Return the steady time."""
        return self.ns

    def wall(self) -> datetime:
        """Return the time on the wall, which goes with it."""
        return NOW + timedelta(seconds=(self.ns - 1_000_000_000_000) / 1e9)

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.ns += round(seconds * 1e9)


def envelope(body: dict[str, Any], seq: int | None = None, at: datetime = NOW, epoch: str = EPOCH) -> bytes:
    """Return a message's payload."""
    told = {
        "schema": "linewatch/envelope/1",
        "id": str(uuid.uuid4()),
        "seq": seq,
        "epoch": epoch,
        "boot_id": EPOCH,
        "ts": at.isoformat().replace("+00:00", "Z"),
        "mono_ns": 1_000,
        "clock_synced": True,
        "device": "jetson-1",
        "recipe": "phone",
        "model_sha256": "ab" * 32,
        "body": body,
    }
    return json.dumps(told).encode()


def message(
    topic: str, body: dict[str, Any], seq: int | None = None, *, retained: bool = False, **how: Any
) -> Received:
    """Return a message of the station as the broker hands it on."""
    return Received(f"{ROOT}/{topic}", envelope(body, seq, **how), retained)


def part(number: int, verdict: str = "OK", coverage: float | None = 0.0004, **more: Any) -> dict[str, Any]:
    """Return the body of a result about a part."""
    at = more.pop("at", NOW)
    return {
        "schema": "linewatch/part/2",
        "part_id": f"phone-{number:06d}",
        "part_number": number,
        "recipe": "phone",
        "opened_at": at.isoformat(),
        "closed_at": at.isoformat(),
        "verdict": verdict,
        "reason": "top: scratch: 1 defect, at most 0 allowed" if verdict == "NG" else None,
        "grade": {"name": "A", "value_factor": 1.0},
        "challenge": False,
        "views": {
            "top": {
                "coverage": None if verdict == "NO_READ" else coverage,
                "classes": {"scratch": {"coverage": coverage, "count": int(verdict == "NG")}},
                "reason": None,
            }
        },
        "missing_views": [],
        "evidence_id": None,
        **more,
    }


def alarm(state: str = "active", **more: Any) -> dict[str, Any]:
    """Return the body of a retained alarm."""
    return {
        "schema": "linewatch/alarm-state/1",
        "alarm": "scratches",
        "state": state,
        "occurrence_id": OCCURRENCE,
        "priority": "high",
        "at_ns": 500,
        "value": 0.002,
        "limit": 0.001,
        "text": "Check the belt for grit",
        "user": None,
        "comment": None,
        "shown": True,
        "shelf": None,
        "suppressed_by": [],
        "out_of_service": False,
        "chattering": False,
        "raises_last_minute": 1,
        "members": None,
        **more,
    }


class Bench:
    """A site, its history and a browser, with no broker behind them."""

    def __init__(self, folder: Path, history: History, clock: Clock, **settings: Any) -> None:
        self.clock, self.history = clock, history
        told = {"sites": ("acme/ulm",), "users": folder / "users.json", **settings}
        self.settings = DashboardSettings(history=HistorySettings(path=history.path), **told)
        self.site = Site(self.settings, history, clock.monotonic_ns, clock.wall)
        self.users = UserFile(self.settings.users)
        self.access = Access(self.users, lambda: clock.ns / 1e9)
        app, self.pages = make_app(self.site, Collector(self.settings, self.site), self.access)
        self.browser = TestClient(app, "http://localhost", follow_redirects=False)

    def hear(self, *messages: Received) -> None:
        """Give messages to the site, and wait until they are in the history."""
        for each in messages:
            self.site.take(each)
        self.history.flush()

    def online(self) -> None:
        """Have the broker connected, and the station say that it is there."""
        self.site.take(Connected(session_present=False))
        self.hear(message("status", {"schema": "linewatch/status/1", "status": "online", "reason": "inspecting"}))


@contextmanager
def bench(folder: Path, **settings: Any) -> Iterator[Bench]:
    """Give a bench whose station has said nothing yet."""
    clock = Clock()
    with History(folder / "history.db", 90, 1_000, lambda: clock.wall().timestamp()) as history:
        yield Bench(folder, history, clock, **settings)
