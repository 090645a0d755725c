"""Wall: every station of the site, to be read at 5 to 10 m. Go there, or not."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route

from edge.dashboard.alarm_board import cards, most_urgent
from edge.dashboard.counting import newest_verdicts
from edge.dashboard.pages import Pages
from edge.dashboard.standing import STREAK, standing

_HOUR_MS, _STEP_MS = 3_600_000, 60_000
SHAPES = {"running": "OK", "ng_streak": "NG", "no_read": "NO_READ", "unreachable": "unreachable", "unknown": "unknown"}


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Wall(pages)
    return [Route("/wall", screen.page), Route("/live/wall", screen.live)]


class _Wall:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def page(self, request: Request) -> HTMLResponse:
        return self._pages.page(request, "wall.html", **self._values())

    def live(self, request: Request) -> StreamingResponse:
        return self._pages.live(request, "wall.live.html", self._values)

    def _values(self) -> dict[str, Any]:
        site = self._pages.site
        now = site.wall()
        now_ms = round(now.timestamp() * 1000) + 1
        begins_ms = round(site.settings.shift_plan.at(now).begins.timestamp() * 1000)
        return {"tiles": [self._tile(place, now_ms, begins_ms) for place in site.places()], "now_ms": now_ms}

    def _tile(self, place: str, now_ms: int, begins_ms: int) -> dict[str, Any]:
        site, history, tallies = self._pages.site, self._pages.history, self._pages.tallies
        told = site.picture_of(place)
        kind = standing(told, newest_verdicts(history, place, STREAK))
        return {
            "place": place,
            "told": told,
            "kind": kind,
            "shape": SHAPES[kind],
            "hour": tallies.counts(place, max(begins_ms, now_ms // _STEP_MS * _STEP_MS - _HOUR_MS)),
            "shift": tallies.counts(place, begins_ms),
            "alarm": most_urgent(cards(place, told, site.birth(place))),
        }
