"""Shift and product: yield with its interval, classes, coverage over the shift, grades and value, and a table of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from edge.dashboard import judged_elsewhere
from edge.dashboard.drawing import HEIGHT, WIDTH, drawn
from edge.dashboard.opinions import opinions_of
from edge.dashboard.pages import Pages
from edge.dashboard.screens.figures import strip
from edge.dashboard.shift_figures import ShiftFigures, ms_of, neighbours, read_shift, shifts_of
from edge.figures.shift_blocks import csv_of, figure_cells
from edge.figures.shift_report import is_moment
from edge.parts.ledger import REPEATED_IDS


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _Shift(pages)
    return [
        Route("/shift", screen.page),
        Route("/shift.csv", screen.csv),
        Route("/shift/{place:path}", screen.page),
    ]


def asked_of(request: Request) -> str:
    """Return which shift an address asks for: last, current, or when it began; else the one that runs."""
    asked = request.query_params.get("shift", "current")
    return asked if asked in {"last", "current"} or is_moment(asked) else "current"


class _Shift:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def page(self, request: Request) -> HTMLResponse:
        return self._pages.station_page(request, "shift.html", lambda place: self._values(request, place))

    def _values(self, request: Request, place: str) -> dict[str, Any]:
        pages, at_ms = self._pages, self._pages.site.now_ms
        judged_elsewhere.hear(pages, place)
        shift, shifts = self._read(place, asked_of(request))
        before, after = neighbours(shifts, shift.stretch.shift)
        return dict(
            shift=shift,
            shifts=shifts[::-1],
            before=before,
            after=after,
            noun="frames" if shift.total.parts and shift.total.frames == shift.total.parts else "parts",
            drawing=_drawing(shift),
            said=opinions_of(pages.history, place, _within(shift), shift.total.ng),
            width=WIDTH,
            height=HEIGHT,
            ms_of=ms_of,
            **strip(pages, place, at_ms, moves=shift.stretch.running),
        )

    def csv(self, request: Request) -> Response:
        """Return the figures as a table, one value in each row, as `linewatch report --csv` writes them."""
        place = self._pages.place(request)
        shift, _ = self._read(place, asked_of(request))
        name = f"shift-{shift.stretch.shift[:16]}.csv".replace(":", "")
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(
            csv_of(shift.stretch.shift, _cells(shift)), media_type="text/csv; charset=utf-8", headers=headers
        )

    def _read(self, place: str, asked: str) -> tuple[ShiftFigures, list[str]]:
        pages = self._pages
        plan, now = pages.site.settings.shift_plan, pages.site.wall()
        return read_shift(pages.history, place, plan, asked, now), shifts_of(pages.history, place, plan, now)


def _within(shift: ShiftFigures) -> tuple[int, int]:
    return ms_of(shift.stretch.begins), ms_of(shift.stretch.ends)


def _drawing(shift: ShiftFigures) -> Any:
    return drawn(shift.trend, shift.changes, *shift.trend_ms)


def _cells(shift: ShiftFigures) -> list[tuple[object, ...]]:
    """Return the rows of the table. Ids that came twice are in no message's own column, and are left out."""
    cells = [cell for cell in figure_cells(shift.total, shift.recipes) if cell[3] != REPEATED_IDS]
    for place, row in enumerate(shift.worst, 1):
        cells += [("worst", row["recipe"] or "", place, name, _plain(row, name)) for name in _WORST]
    cells += [("change", change.recipe, "", "at_ms", change.at_ms) for change in shift.changes]
    cells += [("missing", "", gap.from_ms, "events", gap.events) for gap in shift.gaps]
    return cells


_WORST = ("part_id", "at_ms", "verdict", "reason", "coverage", "grade")


def _plain(row: Mapping[str, Any], name: str) -> object:
    value = row[name]
    return "" if value is None else value
