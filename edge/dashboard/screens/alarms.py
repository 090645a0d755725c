"""Alarms: what stands or was not acknowledged, what to do, and the line's own answer to a command. Read at 1 m."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.dashboard.alarm_board import AlarmCard, cards, rules_of, shelf_lengths_s
from edge.dashboard.answers import Answers, Said
from edge.dashboard.pages import Pages, field, to, user_of

ACTS = ("ack", "reset", "shelve", "unshelve")
ONE_SHOT = "one_shot"


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Alarms(pages)
    return [
        Route("/alarms", screen.page),
        Route("/live/alarms", screen.live),
        Route("/alarms/act", screen.asking),
        Route("/alarms/act", screen.act, methods=["POST"]),
    ]


class _Alarms:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._answers = Answers()

    def page(self, request: Request) -> HTMLResponse:
        values = {"said": self._answers.of(request), "only": self._only(request), **self._values(request)}
        return self._pages.page(request, "alarms.html", **values)

    def live(self, request: Request) -> StreamingResponse:
        only = self._only(request)
        return self._pages.live(
            request,
            "alarms.live.html",
            lambda: self._values(request),
            alarms=lambda: self._pages.site.alarm_changes(only),
        )

    def _only(self, request: Request) -> str | None:
        """Return the one station whose alarms are asked for; None = all. Raises HTTPException 404."""
        return None if request.query_params.get("place") is None else self._pages.place(request)

    def _values(self, request: Request) -> dict[str, Any]:
        site, only = self._pages.site, self._only(request)
        stations = [(place, site.standing(place)) for place in ([only] if only else site.places())]
        found = [card for place, told in stations for card in cards(place, told, site.birth(place))]
        order = {"high": 0, "medium": 1, "low": 2}
        seen = [card for card in found if card.aside is None]
        seen.sort(key=lambda card: (order[card.priority], not card.unacknowledged, -(card.told["age_s"] or 0)))
        return {
            "seen": seen,
            "aside": [card for card in found if card.aside not in {None, "normal"}],
            "quiet": [(place, told) for place, told in stations if not told["believable"]],
            "clips": site.settings.evidence,
            "several": len(site.places()) > 1,
            "query": "" if only is None else "?" + urlencode({"place": only}),
        }

    def _card(self, place: str, alarm: str) -> AlarmCard:
        """Return an alarm as it stands. Raises HTTPException 404 where it does not."""
        site = self._pages.site
        if site.knows(place):
            for card in cards(place, site.standing(place), site.birth(place)):
                if card.alarm == alarm:
                    return card
        raise HTTPException(404, "no such alarm")

    def asking(self, request: Request) -> HTMLResponse:
        """Ask for a comment, and for how long, before a command is given."""
        asked = request.query_params
        if asked.get("act") not in ACTS:
            raise HTTPException(404, "no such command")
        card = self._card(asked.get("place", ""), asked.get("alarm", ""))
        rule = rules_of(self._pages.site.birth(card.place)).get(card.alarm, {})
        return self._pages.page(
            request, "alarm_act.html", card=card, act=asked["act"], lengths=shelf_lengths_s(rule), one_shot=ONE_SHOT
        )

    async def act(self, request: Request) -> Response:
        """Give a command, and show what the line answered."""
        form = await self._pages.form(request, "operator")
        place, act, alarm = (field(form, name) for name in ("place", "act", "alarm"))
        if act not in ACTS or not self._pages.site.knows(place):
            raise HTTPException(404, "no such command")
        comment = field(form, "comment")
        if act in {"ack", "reset"}:
            body: dict[str, Any] = {"occurrence_id": field(form, "occurrence_id"), "comment": comment}
        elif act == "shelve":
            chosen = field(form, "length")
            timed = chosen.isdecimal() and len(chosen) < 8
            length = {"kind": "timed", "duration_s": int(chosen)} if timed else {"kind": ONE_SHOT, "duration_s": None}
            body = {"alarm": alarm, **length, "comment": comment}
        else:
            body = {"alarm": alarm, "comment": comment}
        answer = await self._pages.tell(request, place, act, body)
        key = self._answers.keep(Said(user_of(request), place, alarm, act, answer))
        return to("/alarms?" + urlencode({"answer": key}))
