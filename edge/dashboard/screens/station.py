"""Station: the last part, why it is what it is, the last rejects, the shift, coverage, alarms. Read at 1 to 2 m."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edge.dashboard.counting import coverage_series, last_results
from edge.dashboard.pages import Pages
from edge.dashboard.reading import views_of
from edge.dashboard.site import PICTURE_STALE_S

TREND_MS = 30 * 60_000
_LIMITS_AT_MOST = 3


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Station(pages)
    return [
        Route("/", screen.page),
        Route("/station/{place:path}", screen.page),
        Route("/live/station/{place:path}", screen.live),
        Route("/picture/{place:path}", screen.picture),
        Route("/coverage/{place:path}", screen.coverage),
    ]


class _Station:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def page(self, request: Request) -> HTMLResponse:
        return self._pages.station_page(request, "station.html", self._values)

    def live(self, request: Request) -> StreamingResponse:
        return self._pages.station_live(request, "station.live.html", self._values)

    def picture(self, request: Request) -> Response:
        """Return the last picture, only while it is one of now."""
        place = self._pages.place(request)
        self._pages.site.look_at(place)
        shown, now_ns = self._pages.site.picture_bytes(place), self._pages.site.monotonic_ns()
        if shown is None or (now_ns - shown.at_ns) / 1e9 >= PICTURE_STALE_S:
            return Response(status_code=404)
        return Response(shown.jpeg, media_type="image/jpeg")

    def coverage(self, request: Request) -> JSONResponse:
        """Return the coverage of the last half hour, and the limits of its alarms."""
        place = self._pages.place(request)
        now_ms = self._pages.site.now_ms
        series = coverage_series(self._pages.history, place, now_ms - TREND_MS, now_ms + 1)
        return JSONResponse({**series, "limits": self._limits(place), "zone": self._pages.site.settings.time_zone})

    def _limits(self, place: str) -> list[dict[str, Any]]:
        alarms = self._pages.site.birth(place).get("alarms")
        found: list[tuple[float, str]] = []
        for alarm in alarms if isinstance(alarms, list) else []:
            if isinstance(alarm, dict) and alarm.get("measure") == "coverage":
                limit = alarm.get("raise_at")
                if isinstance(limit, int | float) and 0 < limit <= 1:
                    found.append((float(limit), str(alarm.get("id"))[:64]))
        return [{"alarm": alarm, "limit": limit} for limit, alarm in sorted(found)[:_LIMITS_AT_MOST]]

    def _is_kept(self, place: str, result: dict[str, Any]) -> bool:
        """Tell whether the pictures of a result are kept, and we know where: those of what is not OK always are."""
        return bool(result["verdict"] != "OK" and result["evidence_id"] and place in self._pages.site.settings.evidence)

    def _values(self, place: str) -> dict[str, Any]:
        site, history = self._pages.site, self._pages.history
        site.look_at(place)
        told, shift = site.picture_of(place), site.settings.shift_plan.at(site.wall())
        begins_ms = round(shift.begins.timestamp() * 1000)
        newest = last_results(history, place, limit=1)
        last = newest[0] if newest else None
        views = views_of(last["body"]) if last else []
        return {
            "told": told,
            "last": last,
            "views": views,
            "kept": [name for name, _ in views] if last and self._is_kept(place, last) else [],
            "rejects": last_results(history, place, "NG"),
            "shift": shift,
            "counts": self._pages.tallies.counts(place, begins_ms),
            "alarms": [row for row in told["alarms"] if row["shown"]],
            "shows_picture": told["believable"]
            and told["picture_s_ago"] is not None
            and told["picture_s_ago"] < PICTURE_STALE_S,
        }
