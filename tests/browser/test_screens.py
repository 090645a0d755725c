"""Every screen, in two themes and at three sizes, in a real browser beside a real station."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from edge.dashboard.screens import NAV
from tests.browser.conftest import Plant
from tests.browser.watched_page import SIZES, THEMES, serious_findings, watched_page


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", SIZES)
def test_every_screen_fits_and_can_be_read(browser: Browser, plant: Plant, size: str, theme: str) -> None:
    """No error, no foreign request, nothing wider than the screen; no serious finding of axe in either theme."""
    with watched_page(browser, plant.url, size, color_scheme=theme) as (page, _):
        plant.log_in(page, "erik")  # an engineer sees them all
        for entry in NAV:
            page.goto(f"{plant.url}{entry.path}")
            page.wait_for_function("!document.querySelector('[hx-sse\\\\:connect]')?.matches(':empty')")
            wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider <= 0, entry
            if size == "station":  # axe takes its time, and colours and names are the same at each size
                assert serious_findings(page) == [], entry
