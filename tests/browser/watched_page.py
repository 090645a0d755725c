"""A page of a real browser that fails its test on whatever goes wrong in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

AXE = Path(__file__).parent / "vendor" / "axe-4.14.1.min.js"
SIZES = {"wall": (1920, 1080), "station": (1280, 800), "phone": (390, 844)}
THEMES = ("light", "dark")


class Faults:
    """Faults of a page: console errors, exceptions, failed requests, requests to anybody else.

    A test that cuts the network says so by `allow`, with the words of its console errors and failed requests.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._allowed: list[str] = []
        self.found: list[str] = []

    def allow(self, pattern: str) -> None:
        """Let faults pass that match."""
        self._allowed.append(pattern)

    def watch(self, page: Page) -> None:
        """Note what goes wrong from now on."""
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._note(f"exception: {error}"))
        page.on("requestfailed", self._failed)
        page.on("request", self._request)
        page.on(
            "response", lambda answer: self._note(f"{answer.status} {answer.url}") if answer.status >= 400 else None
        )

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._note(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        # a page that is left ends its stream, and a picture that a newer one replaced is not waited for
        if request.failure != "net::ERR_ABORTED":
            self._note(f"failed: {request.url} {request.failure}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((self._url, "data:")):
            self._note(f"foreign: {request.url}")

    def _note(self, fault: str) -> None:
        if not any(re.search(pattern, fault) for pattern in self._allowed):
            self.found.append(fault)


@contextmanager
def watched_page(browser: Browser, url: str, size: str = "station", **how: Any) -> Iterator[tuple[Page, Faults]]:
    """Give a page of a browser without memory, and fail at the end if anything went wrong in it."""
    width, height = SIZES[size]
    context: BrowserContext = browser.new_context(viewport={"width": width, "height": height}, **how)
    context.set_default_timeout(120_000)
    faults = Faults(url)
    page = context.new_page()
    faults.watch(page)
    try:
        yield page, faults
    finally:
        context.close()
    assert not faults.found, faults.found


def serious_findings(page: Page) -> list[str]:
    """Return what axe-core finds that is serious or critical, with the element."""
    # a script that the page's own policy would forbid is put in by the debugger
    page.evaluate(AXE.read_text(encoding="utf-8") + "\n;0")
    told = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{found['id']}: {node['html'][:120]} {node['any'][0]['message'] if node['any'] else ''}"
        for found in told["violations"]
        if found["impact"] in {"serious", "critical"}
        for node in found["nodes"]
    ]
