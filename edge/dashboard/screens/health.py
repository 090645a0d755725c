"""The screen Health: what to fix first. Each thing is ok, in a warning, in error or unknown, with its reason."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route

from edge.dashboard.health import level_of, rows_of
from edge.dashboard.pages import Pages


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Health(pages)
    return [
        Route("/health", screen.page),
        Route("/health/{place:path}", screen.page),
        Route("/live/health/{place:path}", screen.live),
    ]


class _Health:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def page(self, request: Request) -> HTMLResponse:
        return self._pages.station_page(request, "health.html", self._values)

    def live(self, request: Request) -> StreamingResponse:
        return self._pages.station_live(request, "health.live.html", self._values)

    def _values(self, place: str) -> dict[str, Any]:
        site = self._pages.site
        told = {each: site.picture_of(each) for each in site.places()}
        rows = {each: rows_of(told[each], site.told(each, "state/health"), site.birth(each)) for each in told}
        return {
            "told": told[place],
            "rows": rows[place],
            "levels": {each: level_of(found) for each, found in rows.items()},
            "skipped": {**site.skipped, **told[place]["ignored"]},
            "unheard": site.unheard(),
            "dropped": self._pages.history.dropped,
        }
