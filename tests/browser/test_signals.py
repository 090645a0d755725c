"""An engineer switches an output by hand: from the browser to the machine, and the line's own answer back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from edge.commands.socket import tell
from edge.dashboard.serving import dashboard
from edge.dashboard.settings import ListenSettings, load_dashboard_settings
from tests.brokers import Mosquitto, wait_for
from tests.browser.conftest import PASSWORD, PLACE, STALE_S, Plant, add_users
from tests.browser.watched_page import serious_findings, watched_page
from tests.edge.station.test_run import running, write_line

MACHINE = (
    "machine: {link: simulated}\n"
    "outputs:\n"
    "  good: {rule: ok, at: good}\n"
    "  lamp: {rule: alarm, at: lamp, alarms: [output-late]}\n"
    "  alive: {rule: heartbeat, at: alive}\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the station's folder."""
    return tmp_path_factory.mktemp("signals")


@pytest.fixture(scope="module")
def plant(folder: Path) -> Iterator[Plant]:
    """Run a broker, a station with a simulated machine, and a dashboard with users."""
    with Mosquitto(folder) as broker:
        config = write_line(folder, broker.port, MACHINE)
        add_users(folder / "dashboard-users.json")
        given = {"listen": ListenSettings(port=0), "stale_s": STALE_S}
        settings = load_dashboard_settings(config).model_copy(update=given)
        with dashboard(settings) as served, running(config) as station:
            wait_for(lambda: served.site.knows(PLACE) and served.site.told(PLACE, "state/signals"))
            yield Plant(broker, served, station)


def bypass(folder: Path) -> None:
    """Take inspection out for an hour."""
    body = {"action": "on", "minutes": 60, "reason": "new lamp", "user": "anna"}
    assert tell(folder / "outbox.db", "bypass", {"schema": "linewatch/command-bypass/1", **body})[0] == "ok"


def switch_lamp(page: Page) -> None:
    """Open the form of the lamp, tick that nobody is there, and send it: by keyboard."""
    link = page.get_by_role("link", name="Switch by hand: lamp")
    expect(link).to_be_visible(timeout=60_000)
    assert serious_findings(page) == []
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/signals/hand-test?**")
    assert serious_findings(page) == []
    page.locator("#seconds").select_option("10")
    page.get_by_role("checkbox").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/signals/**answer=*")


def test_an_engineer_switches_a_lamp_by_keyboard_alone(browser: Browser, plant: Plant, folder: Path) -> None:
    """Not while the line runs. In a bypass, with the tick, the lamp is up, the answer stands, and it goes back."""
    with watched_page(browser, plant.url) as (page, _):
        page.goto(f"{plant.url}/login?back=/signals")
        page.locator("#name").focus()
        page.keyboard.type("erik")
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{plant.url}/signals")
        lamp = page.get_by_role("row").filter(has_text="lamp")
        expect(lamp).to_contain_text("down")
        expect(lamp).to_contain_text("not now")
        bypass(folder)
        for _ in range(20):  # a busy station may stand still for a moment, and says so
            switch_lamp(page)
            said = page.get_by_role("status").first.inner_text()
            if "done" in said:
                break
        assert "lamp: the line answers done" in " ".join(said.split())
        expect(page.get_by_role("row").filter(has_text="good")).to_contain_text("down")
        expect(page.locator(".by-hand")).to_have_count(0)
    plant.dashboard.site.history.flush()
    rows = plant.dashboard.site.history.rows("SELECT * FROM journal WHERE kind = 'command-hand-test'")
    assert (rows[-1]["user"], rows[-1]["subject"], rows[-1]["outcome"]) == ("erik", "lamp", "ok")
    assert "lamp (alarm, lamp) is up for 10 s" in rows[-1]["detail"]


@pytest.mark.parametrize(("size", "theme"), [("wall", "light"), ("station", "dark"), ("phone", "light")])
def test_list_and_form_fit_and_can_be_read(browser: Browser, plant: Plant, size: str, theme: str) -> None:
    """Nothing is wider than the screen, and axe finds nothing serious."""
    with watched_page(browser, plant.url, size, color_scheme=theme) as (page, _):
        plant.log_in(page, "erik")
        for path in ("/signals", "/signals/hand-test?signal=lamp"):
            page.goto(f"{plant.url}{path}")
            assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
            assert serious_findings(page) == []
