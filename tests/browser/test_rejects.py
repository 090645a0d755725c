"""Rejects and Try a picture in a real browser beside a real station: looked at, judged and tried by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from edge.app.trials import PictureTrials
from edge.dashboard.serving import dashboard
from edge.dashboard.settings import ListenSettings, load_dashboard_settings
from edge.evidence.judging import Judgements
from tests.brokers import Mosquitto, wait_for
from tests.browser.conftest import PLACE, STALE_S, Plant, add_users
from tests.browser.watched_page import THEMES, serious_findings, watched_page
from tests.edge.station.test_run import running, write_line


@dataclass(frozen=True)
class KeptPlant(Plant):
    """A plant whose station keeps evidence, in a folder."""

    folder: Path = Path()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptPlant]:
    """Run a broker, a station that keeps its rejects, and a dashboard beside them that has seen two."""
    folder = tmp_path_factory.mktemp("kept")
    with Mosquitto(folder) as broker:
        config = write_line(folder, broker.port)
        config.write_text(f"{config.read_text()}\nevidence: {{folder: evidence, min_free_gb: 0, pictures: png}}\n")
        add_users(folder / "dashboard-users.json")
        settings = load_dashboard_settings(config)
        settings = settings.model_copy(update={"listen": ListenSettings(port=0), "stale_s": STALE_S})
        with PictureTrials(config) as tries, dashboard(settings, tries) as served, running(config):
            history = served.site.history
            wait_for(lambda: (history.value("SELECT count(*) FROM result WHERE verdict = 'NG'") or 0) >= 2)
            wait_for(lambda: len(list((folder / "evidence").glob("2*/*/record.json"))) >= 2)
            yield KeptPlant(broker, served, None, folder)


def picture_width(page: Page, selector: str) -> int:
    """Return how wide a picture of the page is, once it has come; 0 = it never does."""
    page.wait_for_function("selector => document.querySelector(selector)?.complete", arg=selector)
    width: int = page.evaluate("selector => document.querySelector(selector).naturalWidth", selector)
    return width


def test_a_reject_is_found_looked_at_and_judged_by_keyboard(browser: Browser, kept: KeptPlant) -> None:
    """From the filmstrip to the next reject no mouse is needed. The judgement is in the file beside the pictures."""
    with watched_page(browser, kept.url) as (page, _):
        kept.log_in(page)
        page.goto(f"{kept.url}/rejects")
        assert picture_width(page, ".film img") > 0
        page.locator(".film a").last.focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**/rejects/*?**")
        expect(page.locator("h1")).to_contain_text("NG")
        assert picture_width(page, ".zoom img") == page.locator(".zoom img").bounding_box()["width"] == 150
        page.keyboard.press("c")
        page.wait_for_url("**show=clean**")
        assert picture_width(page, ".zoom img") == 150
        page.keyboard.press("z")
        expect(page.locator(".zoom.whole")).to_have_count(1)
        first = page.url
        page.keyboard.press("ArrowLeft")
        page.wait_for_url(lambda url: url != first)
        page.keyboard.press("2")
        expect(page.locator("input[value='false_reject']")).to_be_checked()
        page.locator("input[name='comment']").focus()
        page.keyboard.type("dust <b>")
        with page.expect_navigation():  # or the next page would come in the way of what is sent
            page.keyboard.press("Enter")
        kept.dashboard.site.history.flush()
        page.goto(f"{kept.url}/rejects?said=false_reject")
        expect(page.locator(".film-said")).to_have_text("false reject · anna")
    (line,) = Judgements(kept.folder / "evidence").lines()
    assert (line["judgement"], line["user"], line["comment"]) == ("false_reject", "anna", "dust <b>")
    row = kept.dashboard.site.history.rows("SELECT user, outcome FROM journal WHERE kind = 'judged'")[0]
    assert tuple(row) == ("anna", "false_reject")
    assert kept.dashboard.site.places() == [PLACE]


@pytest.mark.parametrize("theme", THEMES)
def test_pages_of_one_reject_and_of_what_was_tried_can_be_read(browser: Browser, kept: KeptPlant, theme: str) -> None:
    """On a phone and a desk: nothing wider than the screen, no serious finding, the picture stands in the page."""
    sent = sorted((kept.folder / "parts").glob("*.png"))[:2]
    for size in ("phone", "station"):
        with watched_page(browser, kept.url, size, color_scheme=theme) as (page, _):
            kept.log_in(page)
            page.goto(f"{kept.url}/rejects")
            page.locator(".film a").first.click()
            page.wait_for_url("**/rejects/*?**")
            look_at(page)
            page.goto(f"{kept.url}/try")
            page.set_input_files("#pictures", [str(path) for path in sent])
            page.click("form.drop button")
            page.wait_for_url("**/try/*")
            assert picture_width(page, ".tried img") == 150
            expect(page.locator(".verdict-NG")).to_have_count(1)
            expect(page.locator(".verdict-OK")).to_have_count(1)
            look_at(page)


def look_at(page: Page) -> None:
    """Look for what is wider than the screen, and for what axe finds."""
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, page.url
    assert serious_findings(page) == [], page.url


def test_a_dropped_file_is_sent_at_once(browser: Browser, kept: KeptPlant, tmp_path: Path) -> None:
    """Dropping a file on the page is enough; one that is no picture is told as NO_READ."""
    del tmp_path
    with watched_page(browser, kept.url) as (page, _):
        kept.log_in(page)
        page.goto(f"{kept.url}/try")
        page.evaluate(
            """() => {
              const data = new DataTransfer();
              data.items.add(new File(["no picture"], "dropped.png", {type: "image/png"}));
              document.getElementById("drop").dispatchEvent(
                new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
            }"""
        )
        page.wait_for_url("**/try/*")
        expect(page.locator(".verdict-NO_READ")).to_have_count(1)
        expect(page.get_by_role("heading", name="dropped.png")).to_be_visible()
