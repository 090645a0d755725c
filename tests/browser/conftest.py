"""A browser, a broker, a station and a dashboard, all real."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from edge.dashboard.serving import Dashboard, dashboard
from edge.dashboard.settings import DashboardSettings, HistorySettings, ListenSettings, load_dashboard_settings
from edge.dashboard.users import UserFile, hashed
from edge.publishers.broker_settings import BrokerSettings
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.station.test_run import running, write_line

CHROMIUM = "/usr/bin/chromium"
PASSWORD = "not a good one"  # noqa: S105 - of users that a test makes
PLACE = "enterprise/site/area/line/cell"
# Of a station that is not there to fall silent: a busy machine may let it wait.
STALE_S = 3600.0

expect.set_options(timeout=120_000)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Give Debian's Chromium, headless. Its driver has an event loop, which must end before other tests begin."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@dataclass(frozen=True)
class Plant:
    """A broker, a dashboard that hears it, and a station where there is one."""

    broker: Mosquitto
    dashboard: Dashboard
    station: subprocess.Popen[str] | None

    @property
    def url(self) -> str:
        """The address, without the slash at its end."""
        return self.dashboard.url.removesuffix("/")

    def log_in(self, page: Page, name: str = "anna") -> None:
        """Log in by the page, and come back to the first one."""
        page.goto(f"{self.url}/login")
        page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.click("form.login button")
        page.wait_for_url(f"{self.url}/")


def add_users(path: Path) -> None:
    """Write a user of each role."""
    roles = {"vera": "viewer", "anna": "operator", "erik": "engineer", "adam": "admin"}
    UserFile(path).save({name: hashed(name, role, PASSWORD) for name, role in roles.items()})  # type: ignore[arg-type]


@contextmanager
def station_plant(folder: Path, *, users: bool) -> Iterator[Plant]:
    """Run a broker, a real station whose alarm stays, and a dashboard beside them."""
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder))
        config = write_line(folder, broker.port)
        config.write_text(config.read_text().replace("raise_at: 1,", "raise_at: 1, off_delay_ms: 600000,"))
        if users:
            add_users(folder / "dashboard-users.json")
        settings = load_dashboard_settings(config)
        settings = settings.model_copy(update={"listen": ListenSettings(port=0), "stale_s": STALE_S})
        served = stack.enter_context(dashboard(settings))
        station = stack.enter_context(running(config))
        wait_for(lambda: any(row["shown"] for row in served.site.picture_of(PLACE)["alarms"]))
        yield Plant(broker, served, station)


@contextmanager
def quiet_plant(folder: Path, *, sites: tuple[str, ...] = ("+",)) -> Iterator[tuple[Plant, Subscriber]]:
    """Run a broker and a dashboard without any station; the test speaks for stations itself."""
    with Mosquitto(folder) as broker, Subscriber(broker.port, "none/of/ours") as voice:
        settings = DashboardSettings(
            broker=BrokerSettings(port=broker.port),
            sites=sites,
            listen=ListenSettings(port=0),
            stale_s=STALE_S,
            users=folder / "users.json",
            history=HistorySettings(path=folder / "history.db"),
        )
        with dashboard(settings) as served:
            wait_for(lambda: served.collector.listening)
            yield Plant(broker, served, None), voice


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """Give a plant with a station, and users of each role; of one module."""
    with station_plant(tmp_path_factory.mktemp("plant"), users=True) as found:
        yield found
