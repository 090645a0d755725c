"""Photograph the operator's pages into docs/screens: a real broker, the demo's real station, a real browser.

Run: make screenshots. It needs mosquitto and Chromium.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.proof.setting import HOST, Broker, wait_for
from edge.app import StandIns, Watchers, run_station
from edge.bundle import load_bundle
from edge.cli.demo import BUNDLE, FPS, DemoStation, demo_cameras, demo_settings
from edge.cli.demo_dashboard import DemoPages, demo_pages, with_evidence
from edge.commands.socket import tell
from edge.dashboard.users import UserFile, hashed
from edge.observers.direct import DirectObserver
from edge.outputs.settings import MachineSettings, OutputRule
from edge.records import Verdict
from edge.records.decided import Decided, DecidedPart
from edge.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = "/usr/bin/chromium"
PARTS, NG_PARTS = 30, 6  # before anything is photographed
DESK, WALL, PHONE = (1280, 800), (1920, 1080), (390, 844)


@dataclass(frozen=True)
class Screen:
    """One picture. `whole`: the whole page, also what is below the edge."""

    name: str
    path: str
    size: tuple[int, int] = DESK
    theme: str = "light"
    whole: bool = False


SCREENS = (
    Screen("wall", "/wall", WALL, "dark"),
    Screen("station", "/"),
    Screen("station-phone", "/", PHONE, "dark"),
    Screen("rejects", "/rejects"),
    Screen("reject", "", whole=True),
    Screen("alarms", "/alarms"),
    Screen("alarm-performance", "/alarm-performance?period=8h", whole=True),
    Screen("shift", "/shift", whole=True),
    Screen("what-if", "/what-if", whole=True),
    Screen("signals", "/signals", whole=True),
    Screen("health", "/health", whole=True),
)
_WITHIN_MS = 120_000
ENGINEER = "erik"
MACHINE = MachineSettings(link="simulated", tolerance_ms=500)
_RULES: dict[str, dict[str, Any]] = {
    "good": {"rule": "ok"},
    "bad": {"rule": "ng"},
    "unread": {"rule": "no_read"},
    "count": {"rule": "result_counter"},
    "gate": {"rule": "pulse", "verdicts": ("ng", "no_read"), "after_ms": 1500, "width_ms": 80},
    "lamp": {"rule": "alarm", "priorities": ("high",)},
    "ready": {"rule": "ready"},
    "alive": {"rule": "heartbeat"},
}
OUTPUTS = {name: OutputRule.model_validate({"at": name, **rule}) for name, rule in _RULES.items()}


class Count:
    """Counts of what the station has decided so far."""

    def __init__(self) -> None:
        self.parts = self.ng = 0

    def __call__(self, decided: Decided | DecidedPart) -> None:
        """Count a part."""
        if isinstance(decided, DecidedPart):
            self.parts += 1
            self.ng += decided.part.judgement.verdict is Verdict.NG


def station_settings(port: int, folder: Path) -> Settings:
    """Return the demo's settings, as a line that has a name."""
    settings = with_evidence(demo_settings(HOST, port), folder)
    named = {"enterprise": "acme", "site": "ulm", "area": "glass", "line": "l1", "cell": "c1", "device": "station-1"}
    return settings.model_copy(
        update={"line": settings.line.model_copy(update=named), "machine": MACHINE, "outputs": OUTPUTS}
    )


@contextmanager
def running(settings: Settings, folder: Path) -> Iterator[Count]:
    """Run the demo's station until left."""
    stop, count = threading.Event(), Count()
    station = DemoStation(demo_cameras(7, FPS, 0))
    how: dict[str, Any] = {
        "store": folder / "outbox.db",
        "live": True,
        "instead": StandIns(cameras=station.cameras, trigger=station.trigger),
        "watchers": Watchers([DirectObserver(count)], lambda _: None),
    }
    thread = threading.Thread(target=run_station, args=(settings, load_bundle(BUNDLE), stop), kwargs=how)
    thread.start()
    try:
        yield count
    finally:
        stop.set()
        thread.join()


def operate(page: Page, url: str) -> str:
    """Do what an operator does: judge two rejects, acknowledge an alarm, shelve another. Return a reject's address."""
    page.goto(f"{url}rejects?verdict=NG")
    page.locator("ol.film a").first.click()
    first = page.url
    for word in ("right", "false_reject"):
        page.locator(f"form.judge input[value={word}]").check()
        page.locator("form.judge button.primary").click()
        page.wait_for_load_state()
    for act, comment in (("ack", "rollers wiped"), ("shelve", "until the next break")):
        open_act(page, url, act)
        page.fill("#comment", comment)
        page.click("form.login button")
        expect(page.get_by_role("status").first).to_contain_text("the line answers")
    return first


def open_act(page: Page, url: str, act: str) -> None:
    """Open the form for an alarm; one that has changed meanwhile has none any more, and another is taken."""
    for _ in range(20):
        page.goto(f"{url}alarms")
        link = page.locator(f"article:not(.aside) a[href*='act={act}']").first
        link.wait_for(timeout=60_000)
        page.goto(f"{url.removesuffix('/')}{link.get_attribute('href')}")
        if page.locator("#comment").count():
            return
    raise SystemExit(f"no alarm could be opened to {act} it")


def what_if_address(page: Page, url: str) -> str:
    """Return an address that asks for a more tolerant limit of the first class that was seen."""
    page.goto(f"{url}what-if?recipe=display")
    field = page.locator("input[name^='then.'][name$='.max_coverage']").first
    field.fill("0.5")
    page.locator(f"[name='{(field.get_attribute('name') or '').replace('max_coverage', 'max_count')}']").fill("")
    page.click("form.wide button.primary")  # the demo's settings are in no file, so its limits are typed in
    page.wait_for_load_state()
    return page.url


def photograph(page: Page, screen: Screen, address: str, out: Path) -> None:
    """Write one picture."""
    page.set_viewport_size({"width": screen.size[0], "height": screen.size[1]})
    page.emulate_media(color_scheme="dark" if screen.theme == "dark" else "light")
    page.goto(address)
    page.wait_for_load_state()
    page.wait_for_timeout(1500)  # pictures and charts
    page.screenshot(path=out / f"{screen.name}.png", full_page=screen.whole)
    print(f"{out / f'{screen.name}.png'}")


def add_engineer(folder: Path) -> str:
    """Add somebody who may see the signals, and return the password."""
    password = secrets.token_urlsafe(16)
    UserFile(folder / "dashboard-users.json").save({ENGINEER: hashed(ENGINEER, "engineer", password)})
    return password


def open_signals(page: Page, pages: DemoPages, folder: Path, password: str) -> None:
    """Take inspection out, so that outputs can be switched by hand, and log in as an engineer."""
    body = {"action": "on", "minutes": 5, "reason": "new gate", "user": ENGINEER}
    outcome, detail = tell(folder / "outbox.db", "bypass", {"schema": "linewatch/command-bypass/1", **body})
    if outcome != "ok":
        raise SystemExit(f"the bypass was answered {outcome}: {detail}")
    page.goto(f"{pages.url}login?back=/signals")
    page.fill("#name", ENGINEER)
    page.fill("#password", password)
    page.click("form.login button")
    page.get_by_role("link", name="Switch by hand: gate").wait_for()


def new_page(browser: Browser) -> Page:
    """Open a page of a browser that has no memory; a busy machine is given time."""
    page = browser.new_context(viewport={"width": DESK[0], "height": DESK[1]}, locale="en-GB").new_page()
    page.set_default_timeout(_WITHIN_MS)
    return page


def photograph_all(pages: DemoPages, folder: Path, password: str, wanted: Sequence[Screen], out: Path) -> None:
    """Log in by the link, operate, and write the pictures; that of the signals last, for it needs a bypass."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        others = [screen for screen in wanted if screen.name != "signals"]
        if others:
            page = new_page(browser)
            page.goto(pages.link)
            special = {"reject": operate(page, pages.url), "what-if": what_if_address(page, pages.url)}
            for screen in others:
                photograph(page, screen, special.get(screen.name, f"{pages.url.removesuffix('/')}{screen.path}"), out)
        for screen in wanted:
            if screen.name == "signals":
                page = new_page(browser)
                open_signals(page, pages, folder, password)
                photograph(page, screen, f"{pages.url}signals", out)
        browser.close()


def main() -> None:
    """Photograph every screen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screens", help="write *.png into this folder")
    names = [screen.name for screen in SCREENS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help="these alone")
    given = parser.parse_args()
    out, wanted = given.out, [screen for screen in SCREENS if screen.name in given.only]
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, Broker() as broker:
        folder = Path(name)
        settings, password = station_settings(broker.port, folder), add_engineer(folder)
        with demo_pages(settings, folder) as pages, running(settings, folder) as count:
            if given.only != ["signals"]:
                wait_for(lambda: count.parts >= PARTS and count.ng >= NG_PARTS, "parts to photograph", 300)
            photograph_all(pages, folder, password, wanted, out)


if __name__ == "__main__":
    main()
