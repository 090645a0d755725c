"""The screens Health and Journal, and the live picture, in a real browser beside a real station."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from edge.dashboard.serving import dashboard
from edge.dashboard.settings import ListenSettings, load_dashboard_settings
from tests.brokers import Mosquitto, free_port, wait_for
from tests.browser.conftest import PLACE, STALE_S, Plant, add_users
from tests.browser.watched_page import serious_findings, watched_page
from tests.edge.station.test_run import ALARM, running, write_line


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Run a broker, a station that serves live pictures, and a dashboard with users."""
    folder = tmp_path_factory.mktemp("plant")
    with Mosquitto(folder) as broker:
        config = write_line(folder, broker.port, f"{ALARM}monitoring: {{port: {free_port()}}}\n")
        add_users(folder / "dashboard-users.json")
        settings = load_dashboard_settings(config)
        settings = settings.model_copy(update={"listen": ListenSettings(port=0), "stale_s": STALE_S})
        with dashboard(settings) as served, running(config) as station:
            wait_for(lambda: served.site.told(PLACE, "state/health") if served.site.knows(PLACE) else None)
            yield Plant(broker, served, station)


def test_health_is_followed_while_it_changes(browser: Browser, plant: Plant) -> None:
    """The rows stand in the first paint, go on by themselves, and turn UNKNOWN once the broker is gone."""
    with watched_page(browser, plant.url, "station") as (page, _):
        plant.log_in(page)
        page.goto(f"{plant.url}/health")
        rows = page.locator("table tbody tr")
        assert rows.count() == 8
        table = page.locator("table")
        wait_for(lambda: "in use: onnxruntime fp32" in table.inner_text())
        assert serious_findings(page) == []
        before = table.inner_text()
        wait_for(lambda: table.inner_text() != before)
        plant.broker.stop()
        try:
            wait_for(lambda: set(rows.locator("td b").all_inner_texts()[:-1]) == {"UNKNOWN"})
            assert "in use" in table.inner_text()
        finally:
            plant.broker.start()


def test_the_journal_is_filtered_by_keyboard_and_saved(browser: Browser, plant: Plant) -> None:
    """A user typed and Enter pressed give an address to keep; the export has the same rows."""
    with watched_page(browser, plant.url, "station") as (page, _):
        plant.log_in(page)
        plant.dashboard.site.history.flush()
        page.goto(f"{plant.url}/journal")
        page.focus("input[name=user]")
        page.keyboard.type("anna")
        page.keyboard.press("Enter")
        page.wait_for_url("**user=anna**")
        shown = page.locator("table tbody tr").count()
        assert shown >= 1  # her log-in
        assert "log-in" in page.locator("table").inner_text()
        with page.expect_download() as saved:
            page.click("text=Export as CSV")
        rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text())))
        assert len(rows) == shown
        assert {row["user"] for row in rows} == {"anna"}


def test_a_live_picture_is_shown_under_the_strict_policy(browser: Browser, plant: Plant) -> None:
    """The page loads the stream from the dashboard alone, and shows pictures of the camera's size."""
    with watched_page(browser, plant.url, "station") as (page, _):
        plant.log_in(page)
        page.goto(f"{plant.url}/watch/camera/{PLACE}", wait_until="domcontentloaded")
        wait_for(lambda: page.evaluate("document.querySelector('.picture img').naturalWidth") == 150)
        assert serious_findings(page) == []
