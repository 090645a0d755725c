"""The watcher of pages would notice: each kind of fault fails the test in which it happens."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.watched_page import Faults, serious_findings, watched_page

NOBODY = "http://127.0.0.1:1"


def run_until_a_fault(page: Page, faults: Faults, script: str) -> None:
    """Run a script in a page, and wait for what goes wrong in it."""
    page.evaluate(script)
    while not faults.found:
        page.wait_for_timeout(20)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("console.error('a fault of ours')", "console: a fault of ours"),
        ("setTimeout(() => { throw new Error('thrown') }, 0)", "exception: thrown"),
        ("fetch('http://127.0.0.2:1/x').catch(() => 0)", "foreign: http://127.0.0.2:1/x"),
        ("fetch('http://127.0.0.1:1/x').catch(() => 0)", "failed: http://127.0.0.1:1/x"),
    ],
)
def test_a_fault_fails_its_test(browser: Browser, script: str, told: str) -> None:
    """A console error, an exception, a request to somebody else, and one that fails."""
    with pytest.raises(AssertionError, match=told), watched_page(browser, NOBODY) as (page, faults):
        run_until_a_fault(page, faults, script)


def test_axe_finds_what_is_wrong(browser: Browser) -> None:
    """A button without a name and text that cannot be read are serious."""
    with watched_page(browser, NOBODY) as (page, _):
        page.set_content(
            "<html lang=en><title>t</title><main><button></button><p style='color:#ccc'>pale</p></main></html>"
        )
        found = serious_findings(page)
    assert sorted(each.partition(":")[0] for each in found) == ["button-name", "color-contrast"]
