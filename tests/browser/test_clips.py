"""A clip of an alarm in a real browser: listed, and played under the strict policy."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser

from edge.dashboard.serving import dashboard
from edge.dashboard.settings import DashboardSettings, HistorySettings, ListenSettings
from edge.publishers.broker_settings import BrokerSettings
from tests.brokers import free_port, wait_for
from tests.browser.watched_page import serious_findings, watched_page
from tests.edge.dashboard.stations import PLACE
from tests.edge.dashboard.test_clips_page import FRAMES, NAME, keep_clip


def test_a_clip_is_found_and_played(browser: Browser, tmp_path: Path) -> None:
    """From the list to the page that plays it: pictures of the camera's size, and nothing serious for axe."""
    keep_clip(tmp_path / "kept")
    settings = DashboardSettings(
        broker=BrokerSettings(port=free_port()),
        sites=(PLACE,),
        listen=ListenSettings(port=0),
        users=tmp_path / "users.json",
        history=HistorySettings(path=tmp_path / "history.db"),
        evidence={PLACE: str(tmp_path / "kept")},
    )
    height, width = FRAMES[0].pixels.shape
    with dashboard(settings) as served, watched_page(browser, served.url.removesuffix("/"), "phone") as (page, _):
        page.goto(f"{served.url}clips")
        assert serious_findings(page) == []
        page.get_by_role("link", name="Watch: scratches, top").click(no_wait_after=True)
        page.wait_for_url(f"**/clips/{NAME}/top?**", wait_until="domcontentloaded")
        size = "(image => [image.naturalHeight, image.naturalWidth])(document.querySelector('.picture img'))"
        wait_for(lambda: page.evaluate(size) == [height, width])
        assert serious_findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
