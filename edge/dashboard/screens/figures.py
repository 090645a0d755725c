"""The strip at the head of each page of figures: of when they are, and whether the station is heard just now."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from edge.dashboard.pages import Pages

STALE_S = 60.0


def routes(pages: Pages) -> list[Route]:
    """Return the routes of the strip."""
    return [Route("/live/figures/{place:path}", _Strip(pages).live)]


class _Strip:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def live(self, request: Request) -> StreamingResponse:
        place = self._pages.place(request)
        told = request.query_params.get("of", "")
        of_ms = int(told) if told.isascii() and told.isdecimal() and len(told) <= 15 else 0
        moves = request.query_params.get("moves") == "1"
        return self._pages.live(request, "figures.live.html", lambda: strip(self._pages, place, of_ms, moves=moves))


def strip(pages: Pages, place: str, of_ms: int, *, moves: bool) -> dict[str, Any]:
    """Return the values of the strip. `of_ms`: when figures were reckoned; `moves`: whether they change with time."""
    link = pages.site.picture_of(place)
    age_s = max(0.0, pages.site.wall().timestamp() - of_ms / 1000)
    return {"link": link, "of_ms": of_ms, "figures_age_s": age_s, "figures_stale": moves and age_s > STALE_S}
