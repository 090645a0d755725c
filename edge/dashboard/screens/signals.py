"""Signals, for engineers: what station and machine tell each other now, and an output that is switched by hand."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.dashboard.answers import Answers, Said
from edge.dashboard.pages import Pages, field, to, user_of, visitor_of
from edge.dashboard.signals import Signals, signals_of
from edge.dashboard.users import Role

ROLE: Role = "engineer"
SECONDS = (1, 2, 5, 10)


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Signals(pages)
    return [
        Route("/signals", screen.page),
        Route("/signals/hand-test", screen.asking),
        Route("/signals/hand-test", screen.switch, methods=["POST"]),
        Route("/signals/{place:path}", screen.page),
        Route("/live/signals/{place:path}", screen.live),
    ]


class _Signals:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._answers = Answers()

    def _may_look(self, request: Request) -> None:
        """Raise HTTPException 403 for who may not."""
        if self._pages.access.has_users and not visitor_of(request).may(ROLE):
            raise HTTPException(403, "role")

    def page(self, request: Request) -> HTMLResponse:
        self._may_look(request)
        said = self._answers.of(request)
        return self._pages.station_page(request, "signals.html", lambda place: {"said": said, **self._values(place)})

    def live(self, request: Request) -> StreamingResponse:
        self._may_look(request)
        return self._pages.station_live(request, "signals.live.html", self._values)

    def _now(self, place: str) -> Signals | None:
        site = self._pages.site
        believable = bool(site.picture_of(place)["believable"])
        return signals_of(
            site.told(place, "state/signals"), site.told_s_ago(place, "state/signals"), believable=believable
        )

    def _values(self, place: str) -> dict[str, Any]:
        return {"told": self._pages.site.picture_of(place), "signals": self._now(place)}

    def asking(self, request: Request) -> HTMLResponse:
        """Warn, and ask whether nobody is at the machine."""
        self._may_look(request)
        return self._ask(request, self._pages.place(request), request.query_params.get("signal", ""))

    def _ask(self, request: Request, place: str, name: str, status: int = 200) -> HTMLResponse:
        now = self._now(place)
        signal = None if now is None else now.output(name)
        if now is None or signal is None:
            raise HTTPException(404, "no such signal")
        values = {"place": place, "signal": signal, "signals": now, "lengths": SECONDS, "unconfirmed": status != 200}
        return self._pages.page(request, "signal_test.html", status, **values)

    async def switch(self, request: Request) -> Response:
        """Give the command, and show what the line answered."""
        form = await self._pages.form(request, ROLE)
        place, name, seconds = (field(form, key) for key in ("place", "signal", "seconds"))
        if not self._pages.site.knows(place) or seconds not in {str(each) for each in SECONDS} or not name:
            raise HTTPException(404, "no such command")
        if field(form, "nobody_is_there") != "yes":
            return self._ask(request, place, name, 400)
        body = {"signal": name, "seconds": float(seconds), "comment": field(form, "comment")}
        answer = await self._pages.tell(request, place, "hand-test", body)
        key = self._answers.keep(Said(user_of(request), place, name, "hand-test", answer))
        return to(f"/signals/{quote(place)}?{urlencode({'answer': key})}")
