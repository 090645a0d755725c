"""A newcomer's first two minutes: `linewatch demo`, its link, the first alarm and the first reject."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.brokers import wait_for
from tests.browser.watched_page import watched_page
from tests.conftest import ROOT


@contextmanager
def demo(folder: Path) -> Iterator[tuple[str, str]]:
    """Run the demo in a pipe, and give the address of its pages and the link."""
    told = folder / "told.txt"
    with told.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "edge", "demo"], stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, text=True
        )
        try:
            wait_for(lambda: address(told) or process.poll() is not None)
            found = address(told)
            assert found is not None, told.read_text()
            yield found[1], found[2]
        finally:
            process.terminate()
            process.wait(120)
    assert "Traceback" not in told.read_text()


def address(told: Path) -> re.Match[str] | None:
    """Return the address and the link that the demo printed, once it has."""
    return re.search(r"(http://127\.0\.0\.1:\d+)(/enter/\S+)\n", told.read_text())


def shows_a_reject(page: Page, url: str) -> bool:
    """Tell whether the page of rejects shows one with its picture."""
    page.goto(f"{url}/rejects")
    shown = page.locator("ol.film img").first
    return shown.count() == 1 and bool(shown.evaluate("image => image.decode().then(() => true, () => false)"))


def test_a_newcomer_acknowledges_the_first_alarm_and_sees_the_first_reject(browser: Browser, tmp_path: Path) -> None:
    """By the printed link alone: no password, no setting. The link opens once."""
    with demo(tmp_path) as (url, link), watched_page(browser, url) as (page, faults):
        page.goto(f"{url}{link}")
        expect(page.locator("header .user")).to_contain_text("demo-operator")
        page.goto(f"{url}/alarms")
        button = page.get_by_role("button", name="Acknowledge").first
        button.wait_for()
        button.click()
        expect(page.get_by_role("status").first).to_contain_text("the line answers")
        page.goto(f"{url}/")
        reject = page.locator("section.rejects li").first
        reject.wait_for()
        expect(reject).to_contain_text(re.compile("defect|coverage"))
        faults.allow("404")  # its pictures are written soon after its result
        wait_for(lambda: shows_a_reject(page, url))
        faults.allow("403")
        answer = page.goto(f"{url}{link}")
        assert answer is not None
        assert answer.status == 403
