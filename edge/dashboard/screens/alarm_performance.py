"""Alarm performance: how well the alarms serve the operator, by the figures of ISA-18.2, and which to mend first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from edge.dashboard.alarm_history import alarm_history
from edge.dashboard.drawing import WIDTH, Bar, bars
from edge.dashboard.pages import Pages
from edge.dashboard.screens.figures import strip
from edge.dashboard.shift_figures import ms_of
from edge.figures.alarm_performance import (
    FLOOD_ABOVE,
    MOST_PER_DAY,
    MOST_PER_PERIOD,
    TARGET_FLOOD_SHARE,
    TARGET_PER_DAY,
    TARGET_PER_PERIOD,
    TARGET_PRIORITIES,
    TARGET_STALE,
    TARGET_WORST_SHARE,
    Performance,
    performance,
)

PERIODS = {
    "8h": timedelta(hours=8),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
HEIGHT = 120
_USUAL = "24h"
_LISTED = 20
How = Literal["within", "above", "far_above"]


@dataclass(frozen=True)
class Measured:
    """One figure with its target. `how`: whether it keeps it; `share`: it is one, 0-1."""

    name: str
    value: float
    target: float
    most: float
    share: bool = False

    @property
    def how(self) -> How:
        """Tell whether the figure is within its target, above it, or above what can be borne."""
        return "within" if self.value <= self.target else "above" if self.value <= self.most else "far_above"


def measured(told: Performance) -> list[Measured]:
    """Return the figures that have a target."""
    return [
        Measured("per_period", told.per_period, TARGET_PER_PERIOD, MOST_PER_PERIOD),
        Measured("per_day", told.per_day, TARGET_PER_DAY, MOST_PER_DAY),
        Measured("most", told.most, FLOOD_ABOVE, FLOOD_ABOVE),
        Measured("loud_share", told.loud_share, TARGET_FLOOD_SHARE, TARGET_FLOOD_SHARE, share=True),
        Measured("flooded_share", told.flooded_share, TARGET_FLOOD_SHARE, TARGET_FLOOD_SHARE, share=True),
        Measured("worst_share", told.worst_share, TARGET_WORST_SHARE, TARGET_WORST_SHARE, share=True),
        Measured("stale", len(told.stale), TARGET_STALE - 1, TARGET_STALE - 1),
        Measured("chattering", len(told.chattering), 0, 0),
    ]


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _AlarmPerformance(pages)
    return [
        Route("/alarm-performance", screen.page),
        Route("/alarm-performance/{place:path}", screen.page),
    ]


class _AlarmPerformance:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def page(self, request: Request) -> HTMLResponse:
        return self._pages.station_page(request, "alarm_performance.html", lambda place: self._values(request, place))

    def _values(self, request: Request, place: str) -> dict[str, Any]:
        pages, at_ms = self._pages, self._pages.site.now_ms
        period = request.query_params.get("period", _USUAL)
        period = period if period in PERIODS else _USUAL
        now = pages.site.wall()
        begins = now - PERIODS[period]
        kept = alarm_history(pages.history, place, ms_of(begins), ms_of(now))
        told = performance(kept.told, begins, now)
        first_ms = pages.history.value(
            "SELECT min(at_ms) FROM alarm_event WHERE station = (SELECT id FROM station WHERE place = ?)", place
        )
        return dict(
            period=period,
            periods=PERIODS,
            told=told,
            figures=measured(told),
            targets=TARGET_PRIORITIES,
            bars=_bars(told),
            width=WIDTH,
            height=HEIGHT,
            whole=kept.whole,
            since_ms=first_ms if first_ms is not None and first_ms > ms_of(begins) else None,
            listed=_LISTED,
            shelves=_shelves(pages, place, now),
            took=_took,
            ms_of=ms_of,
            **strip(pages, place, at_ms, moves=True),
        )


def _bars(told: Performance) -> Sequence[Bar]:
    return bars(told.periods, HEIGHT, FLOOD_ABOVE)


def _took(lasted: timedelta | None) -> str:
    """Write how long something took: 1:02:03, or 4.5 s."""
    if lasted is None:
        return "-"
    seconds = lasted.total_seconds()
    return (
        f"{seconds:.1f} s" if seconds < 60 else f"{seconds // 3600:.0f}:{seconds // 60 % 60:02.0f}:{seconds % 60:02.0f}"
    )


def _shelves(pages: Pages, place: str, now: datetime) -> dict[str, int]:
    """Return until when each alarm is shelved, ms since 1970, by what the broker says now."""
    alarms = pages.site.picture_of(place)["alarms"]
    shelves = {alarm["alarm"]: alarm["shelf"] for alarm in alarms if alarm["shelf"] is not None}
    return {
        alarm: ms_of(now + timedelta(seconds=shelf["left_s"]))
        for alarm, shelf in shelves.items()
        if shelf["left_s"] is not None
    }
