"""Scripts that come late: the page still gets its stream."""

from __future__ import annotations

import time

from playwright.sync_api import Browser, Route

from tests.browser.conftest import Plant
from tests.browser.watched_page import watched_page


def test_a_script_that_comes_late_costs_no_stream(browser: Browser, plant: Plant) -> None:
    """The extension for streams arrives a second after htmx; the link is there all the same."""

    def late(route: Route) -> None:
        time.sleep(1)
        route.continue_()

    with watched_page(browser, plant.url) as (page, _):
        page.route("**/hx-sse-*", late)
        plant.log_in(page)
        with page.expect_response("**/live/alarms"):
            page.goto(f"{plant.url}/alarms")
