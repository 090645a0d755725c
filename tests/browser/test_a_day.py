"""A day of messages, replayed fast: server and page stay as small as they were."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.brokers import Mosquitto, Subscriber, free_port, wait_for
from tests.browser.watched_page import watched_page
from tests.conftest import ROOT as TREE
from tests.edge.dashboard.stations import OCCURRENCE, PLACE, ROOT, alarm, envelope, part

PARTS = 86_400  # one in a second
CHUNK = 400
AHEAD = 1_000
SERVER_GROWS_MB = 30
PAGE_GROWS_MB = 4
JPEG = b"\xff\xd8\xff" + b"x" * 20_000


def replay(voice: Subscriber, history: Path, first: int, last: int) -> None:
    """Publish results, an alarm that comes and goes each minute, and pictures; never far ahead of what is written."""
    begins = datetime.now(timezone.utc) - timedelta(seconds=PARTS)
    for number in range(first, last + 1):
        at = begins + timedelta(seconds=number)
        verdict = "NG" if number % 10 == 0 else "OK"
        voice._client.publish(f"{ROOT}/event/result", envelope(part(number, verdict, at=at), number, at), 1)
        if number % 60 == 0:
            body = alarm("active" if number % 120 else "acknowledged", occurrence_id=OCCURRENCE)
            voice._client.publish(f"{ROOT}/alarm/scratches", envelope(body, None, at), 1)
        if number % CHUNK == 0:
            voice.publish(f"{ROOT}/image/last", JPEG)
            voice.publish(f"{ROOT}/status", envelope({"status": "online", "reason": "inspecting"}), retain=True)
            voice.publish(f"{ROOT}/seq", envelope({"committed": number}))
            wait_for(lambda number=number: written(history) >= number - AHEAD)  # type: ignore[misc] # mypy#15459


def written(history: Path) -> int:
    """Return the highest number that the history has."""
    with sqlite3.connect(f"{history.as_uri()}?mode=ro", uri=True) as db:
        found = db.execute("SELECT max(seq) FROM result").fetchone()[0] or 0
    db.close()
    return int(found)


def heap_mb(page: Page) -> float:
    """Return what the page's scripts hold once everything that can go is gone."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return float(used) / 1e6


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_day_of_messages_leaves_server_and_page_as_small_as_they_were(browser: Browser, tmp_path: Path) -> None:
    """From a quarter of the day on neither grows, every event is there, and the page shows the last one."""
    history, port = tmp_path / "history.db", free_port()
    with Mosquitto(tmp_path, config="max_queued_messages 0\n") as broker, Subscriber(broker.port, "none") as voice:
        config = tmp_path / "dashboard.yaml"
        config.write_text(
            f"sites: [acme]\nbroker: {{port: {broker.port}}}\nhistory: {{path: history.db}}\nusers: u.json\n"
        )
        command = [sys.executable, "-m", "edge", "dashboard", str(config), "--port", str(port)]
        with subprocess.Popen(command, cwd=TREE, stderr=subprocess.PIPE, text=True) as server:
            try:
                assert server.stderr is not None
                while "Ctrl-C ends it" not in server.stderr.readline():
                    pass
                url = f"http://127.0.0.1:{port}"
                with watched_page(browser, url) as (page, _):
                    replay(voice, history, 1, PARTS // 4)
                    page.goto(f"{url}/station/{PLACE}")
                    expect(page.locator(".verdict").first).to_be_visible()
                    replay(voice, history, PARTS // 4 + 1, PARTS // 2)
                    process = psutil.Process(server.pid)
                    server_mb, page_mb = process.memory_info().rss / 1e6, heap_mb(page)
                    nodes = page.evaluate("document.getElementsByTagName('*').length")
                    replay(voice, history, PARTS // 2 + 1, PARTS)
                    expect(page.get_by_text(f"{PARTS:,} of {PARTS:,} events are here.")).to_be_visible(timeout=60_000)
                    expect(page.locator(".now")).to_contain_text(f"phone-{PARTS:06d}")
                    grown = (process.memory_info().rss / 1e6 - server_mb, heap_mb(page) - page_mb)
                    print(f"server {server_mb:.0f} MB {grown[0]:+.1f}, page {page_mb:.1f} MB {grown[1]:+.1f}")  # noqa: T201
                    assert grown[0] < SERVER_GROWS_MB
                    assert grown[1] < PAGE_GROWS_MB
                    assert page.evaluate("document.getElementsByTagName('*').length") < nodes + 100
            finally:
                server.kill()
