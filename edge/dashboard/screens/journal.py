"""The screen Journal: what happened and who did it, with filters in the address, and as CSV."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route

from edge.dashboard.journal import PAGE, WHAT, Place, Wanted, What, as_csv, entries, is_moment, missing, moment_ms
from edge.dashboard.pages import Pages

_ASKED = ("place", "what", "user", "subject", "from", "to")
_TEXT_AT_MOST = 200


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Journal(pages)
    return [Route("/journal", screen.page), Route("/journal.csv", screen.export)]


class _Journal:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def page(self, request: Request) -> HTMLResponse:
        wanted, asked, wrong = self._wanted(request)
        found = [] if wrong else entries(self._pages.history, wanted, _before(request), PAGE + 1)
        shown, older = found[:PAGE], len(found) > PAGE
        link = urlencode({name: value for name, value in asked.items() if value})
        values: dict[str, Any] = {
            "asked": asked,
            "wrong": wrong,
            "kinds": WHAT,
            "entries": shown,
            "link": link,
            "older": urlencode({"before": ".".join(map(str, shown[-1].key))}) if older else "",
            "begun": _before(request) is not None,
            "missing": self._missing(wanted.place) if wanted.place else None,
        }
        return self._pages.page(request, "journal.html", 400 if wrong else 200, **values)

    def _missing(self, place: str) -> list[str]:
        """Return the stretches of numbers that have not come, as they are written."""
        found = missing(self._pages.history, place)
        return [f"{first}" if first == last else f"{first}-{last}" for first, last in found]

    def export(self, request: Request) -> StreamingResponse | HTMLResponse:
        wanted, _, wrong = self._wanted(request)
        if wrong:
            return self.page(request)
        headers = {"Content-Disposition": 'attachment; filename="journal.csv"'}
        return StreamingResponse(as_csv(self._pages.history, wanted), 200, headers, "text/csv; charset=utf-8")

    def _wanted(self, request: Request) -> tuple[Wanted, dict[str, str], str]:
        """Return what an address asks for, the words in it, and which of them is no time."""
        asked = {name: request.query_params.get(name, "")[:_TEXT_AT_MOST] for name in _ASKED}
        what: What = next((each for each in WHAT if each == asked["what"]), "")
        zone = self._pages.site.settings.shift_plan.zone
        wrong = next((asked[name] for name in ("from", "to") if not is_moment(asked[name], zone)), "")
        if wrong:
            return Wanted(), asked, wrong
        place = asked["place"] if self._pages.site.knows(asked["place"]) else ""
        begins_ms, ends_ms = (moment_ms(asked[name], zone) for name in ("from", "to"))
        wanted = Wanted(place, what, asked["user"], asked["subject"], begins_ms, ends_ms)
        return wanted, {**asked, "place": place, "what": what}, ""


def _before(request: Request) -> Place | None:
    """Read where a page begins; an unknown place in the order begins at the newest."""
    parts = request.query_params.get("before", "").split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in parts):
        return None
    at_ms, table, row = map(int, parts)
    return at_ms, table, row
