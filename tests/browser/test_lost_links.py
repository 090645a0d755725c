"""Every loss is seen on the page: the broker, the cable, the station, the eye of who looks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from edge.dashboard.serving import dashboard
from edge.dashboard.settings import DashboardSettings, HistorySettings, ListenSettings
from edge.dashboard.users import UserFile
from edge.publishers.broker_settings import BrokerSettings
from tests.brokers import Mosquitto, Subscriber, free_port, wait_for
from tests.browser.cable import Cable
from tests.browser.conftest import Plant, add_users, quiet_plant, station_plant
from tests.browser.tabs import Tabs
from tests.browser.watched_page import watched_page
from tests.edge.dashboard.stations import PLACE, ROOT, envelope, part

Quiet = tuple[Plant, Subscriber]


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Quiet]:
    """Give a plant whose station is online and has judged one part."""
    with quiet_plant(tmp_path) as (plant, voice):
        speak(voice, 1)
        yield plant, voice


def speak(voice: Subscriber, number: int, verdict: str = "OK") -> None:
    """Say that the station is online, and what it judged."""
    voice.publish(f"{ROOT}/status", envelope({"status": "online", "reason": "inspecting"}), retain=True)
    now = datetime.now(timezone.utc)
    voice.publish(f"{ROOT}/event/result", envelope(part(number, verdict, at=now), number, now))


def verdict(page: Page, word: str) -> None:
    """Expect a verdict to be shown."""
    expect(page.locator(".verdict")).to_contain_text(word)


def test_a_killed_broker_is_seen_and_its_return_too(browser: Browser, quiet: Quiet) -> None:
    """NO BROKER and an unknown verdict, never OK; the page shows the broker's return once the station speaks."""
    plant, voice = quiet
    with watched_page(browser, plant.url) as (page, _):
        page.goto(plant.url)
        verdict(page, "OK")
        plant.broker.kill9()
        expect(page.get_by_text("NO BROKER").first).to_be_visible()
        verdict(page, "UNKNOWN")
        expect(page.locator(".verdict-OK")).to_have_count(0)
        plant.broker.start()
        wait_for(lambda: plant.dashboard.collector.listening)
        speak(voice, 2, "NG")
        verdict(page, "NG")


def test_a_cut_cable_is_seen_and_after_it_the_present(browser: Browser, quiet: Quiet) -> None:
    """No connection ends, nothing comes: the page says that it is old, greys out, and later shows what is then."""
    plant, voice = quiet
    port = int(plant.url.rpartition(":")[2])
    with Cable(port) as cable:
        url = f"http://127.0.0.1:{cable.port}"
        with watched_page(browser, url) as (page, faults):
            page.goto(url)
            verdict(page, "OK")
            expect(page.locator("#link")).to_be_hidden()
            cable.cut()
            faults.allow("ERR_|signal timed out|Failed to fetch|htmx:sse:error")
            expect(page.locator("#link")).to_be_visible()
            assert page.evaluate("document.body.classList.contains('lost')")
            speak(voice, 2, "NG")
            cable.mend()
            expect(page.locator("#link")).to_be_hidden()
            expect(page.locator(".rejects")).to_contain_text("phone-000002")
            speak(voice, 3, "NG")
            verdict(page, "NG")


def test_a_killed_station_is_seen(browser: Browser, tmp_path: Path) -> None:
    """The broker publishes the Will of a real station that was killed: the page says OFFLINE, on the wall too."""
    with station_plant(tmp_path, users=False) as plant, watched_page(browser, plant.url) as (page, _):
        page.goto(plant.url)
        expect(page.locator(".verdict-OK, .verdict-NG").first).to_be_visible()
        assert plant.station is not None
        plant.station.kill()
        expect(page.get_by_text("OFFLINE").first).to_be_visible()
        verdict(page, "UNKNOWN")
        page.goto(f"{plant.url}/wall")
        expect(page.get_by_text("UNREACHABLE")).to_be_visible()


def test_a_hidden_tab_costs_nothing_and_shows_the_present_when_looked_at(quiet: Quiet) -> None:
    """Hidden, it holds no stream; looked at again, it shows what is then, at once and without being loaded anew."""
    plant, voice = quiet
    pages = plant.dashboard.pages
    with Tabs() as tabs:
        tabs.open(plant.url)
        wait_for(lambda: tabs.of_first("document.querySelector('.verdict')?.textContent.trim()") == "OK")
        wait_for(lambda: pages.streams == 1)
        tabs.of_first("window.stays = true")
        tabs.look_elsewhere()
        wait_for(lambda: tabs.of_first("document.visibilityState") == "hidden")
        wait_for(lambda: pages.streams == 0)
        speak(voice, 2, "NG")
        wait_for(lambda: plant.dashboard.site.picture_of(PLACE)["complete"].came == 2)
        tabs.look_at_first()
        wait_for(lambda: tabs.of_first("document.querySelector('.verdict').textContent.trim()") == "NG")
        assert tabs.of_first("window.stays") is True
        wait_for(lambda: tabs.of_first("document.getElementById('link').hidden") is True)


def test_the_first_paint_needs_no_script(browser: Browser, quiet: Quiet) -> None:
    """Without JavaScript the page shows verdict and counts, and says of which moment they are."""
    plant, _ = quiet
    with watched_page(browser, plant.url, java_script_enabled=False) as (page, _):
        wait_for(lambda: plant.dashboard.site.knows(PLACE))
        wait_for(lambda: plant.dashboard.site.picture_of(PLACE)["complete"].came == 1)
        plant.dashboard.site.history.flush()
        page.goto(plant.url)
        verdict(page, "OK")
        assert "Without JavaScript this page shows how it was at" in page.content()


def test_who_is_no_longer_logged_in_is_asked_to(browser: Browser, tmp_path: Path) -> None:
    """A user who was removed, and a dashboard that was started anew: the open page leads to the log-in by itself."""
    add_users(tmp_path / "users.json")
    settings = DashboardSettings(
        broker=BrokerSettings(port=free_port()),  # nobody is there, and need not be
        sites=("acme",),
        listen=ListenSettings(port=free_port()),
        users=tmp_path / "users.json",
        history=HistorySettings(path=tmp_path / "history.db"),
    )
    url = f"http://127.0.0.1:{settings.listen.port}"
    with watched_page(browser, url) as (page, faults):
        with dashboard(settings) as served:
            plant = Plant(Mosquitto(tmp_path), served, None)
            plant.log_in(page, "vera")
            page.goto(f"{url}/wall")
            wait_for(lambda: served.pages.streams == 1)
            users = dict(UserFile(settings.users).users())
            UserFile(settings.users).save({name: user for name, user in users.items() if name != "vera"})
            page.wait_for_url(f"{url}/login?back=/wall")
            UserFile(settings.users).save(users)
            plant.log_in(page, "vera")
            page.goto(f"{url}/wall")
            faults.allow("ERR_|Failed to fetch|network error|htmx:sse:error|401")
        with dashboard(settings):
            page.wait_for_url(f"{url}/login?back=/wall")
