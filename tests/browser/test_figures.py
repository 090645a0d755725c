"""Shift and what if in a real browser: a table that is downloaded, and limits that are typed and sent by Enter."""

from __future__ import annotations

import csv

from playwright.sync_api import Browser, expect

from tests.brokers import wait_for
from tests.browser.conftest import PLACE, Plant
from tests.browser.watched_page import watched_page


def counted(plant: Plant) -> int:
    """Return how many NG results the history has."""
    return int(plant.dashboard.site.history.value("SELECT count(*) FROM result WHERE verdict = 'NG'"))


def test_limits_that_are_typed_are_judged_by_enter(browser: Browser, plant: Plant) -> None:
    """Enter in a field judges again and keeps what was typed; the address can be kept."""
    wait_for(lambda: counted(plant) > 0)
    with watched_page(browser, plant.url) as (page, _):
        plant.log_in(page)
        page.goto(f"{plant.url}/what-if")
        field = page.locator("input[name^='then.'][name$='.max_coverage']").first
        field.fill("12.5")
        field.press("Enter")
        expect(page.locator("#answer")).to_be_visible()
        expect(field).to_have_value("12.5")
        assert "judge=1" in page.url
        page.reload()
        expect(page.locator("#answer")).to_be_visible()
        page.get_by_role("button", name="Choose").click()
        expect(page.locator("#answer")).to_have_count(0)


def test_the_table_of_a_shift_is_downloaded(browser: Browser, plant: Plant) -> None:
    """It has as many NG as the page says, or those that came meanwhile too."""
    wait_for(lambda: counted(plant) > 0)
    with watched_page(browser, plant.url) as (page, _):
        plant.log_in(page)
        page.goto(f"{plant.url}/shift/{PLACE}")
        before = counted(plant)
        with page.expect_download() as got:
            page.get_by_role("link", name="Table (CSV)").click()
        with got.value.path().open(newline="") as file:
            rows = list(csv.DictReader(file))
        (ng,) = [row["value"] for row in rows if (row["section"], row["figure"], row["item"]) == ("total", "ng", "")]
        assert before <= int(ng)
        wait_for(lambda: int(ng) <= counted(plant))
