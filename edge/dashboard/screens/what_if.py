"""The results of a shift judged again by other limits, before anybody changes them at the line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from edge.dashboard.history import History
from edge.dashboard.known_limits import Known, known_limits
from edge.dashboard.pages import Pages
from edge.dashboard.screens.figures import strip
from edge.dashboard.screens.shift import asked_of
from edge.dashboard.shift_figures import ms_of, shifts_of
from edge.figures.shift_report import chosen
from edge.figures.told import ToldPart, told_part
from edge.figures.what_if import ALL_VIEWS, MEASURES, Limits, Measure, Scenario, WhatIf, ladder, what_if
from edge.inspection.limits import NOTHING_TOLERATED, Limit

PARTS_AT_MOST = 10_000
NOT_KNOWN = Known()
_CLASSES_AT_MOST = 32
_RUNGS = 12
_WITHIN = "station = (SELECT id FROM station WHERE place = ?) AND at_ms >= ? AND at_ms < ? AND challenge = 0"


@dataclass(frozen=True)
class Asked:
    """The fields of a form: for each class the limits taken for those in force, and others.

    `judges`: whether it asks at all. `wrong`: fields that hold no limit.
    """

    classes: tuple[str, ...]
    now: Limits
    then: Limits
    view: str
    recipe: str
    ng_frames: int
    judges: bool
    wrong: tuple[str, ...]

    def scenario(self, known: Known) -> Scenario:
        """Return the limits by view. Those of other views stay as they are, by the settings where these are known."""
        others = {view: limits for view, limits in known.views.items() if self.view and view != self.view}
        now = {ALL_VIEWS: self.now, **others}
        return Scenario({**now, self.view: self.then}, now, self.ng_frames)


@dataclass(frozen=True)
class Kept:
    """The parts of a shift that limits can change. `clean`: how many more showed nothing.

    `left_out`: parts for which there was no room; `unread`: bodies that are none.
    """

    parts: Sequence[ToldPart]
    clean: int
    left_out: int
    unread: int


def routes(pages: Pages) -> list[Route]:
    """Return the routes of this screen."""
    screen = _WhatIf(pages)
    return [Route("/what-if", screen.page), Route("/what-if/{place:path}", screen.page)]


class _WhatIf:
    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def page(self, request: Request) -> HTMLResponse:
        return self._pages.station_page(request, "what_if.html", lambda place: self._values(request, place))

    def _values(self, request: Request, place: str) -> dict[str, Any]:
        pages, at_ms = self._pages, self._pages.site.now_ms
        plan, now = pages.site.settings.shift_plan, pages.site.wall()
        shifts = shifts_of(pages.history, place, plan, now)
        asked_shift = asked_of(request)
        stretch = chosen(shifts, plan, "current" if len(shifts) < 2 and asked_shift == "last" else asked_shift, now)
        within = ms_of(stretch.begins), ms_of(stretch.ends)
        known = known_limits(pages.site.settings.try_config, place, request.query_params.get("recipe", "")[:200])
        asked = asked_by(request.query_params, _classes(pages.history, place, *within), known)
        kept = read_parts(pages.history, place, *within, asked.recipe) if asked.judges else None
        again: WhatIf | None = None if kept is None else what_if(kept.parts, asked.scenario(known), kept.clean)
        return dict(
            stretch=stretch,
            shifts=shifts[::-1],
            asked=asked,
            known=known,
            is_known=known.of(asked.view) is not None,
            measures=MEASURES,
            shown=_shown,
            recipes=_names(pages.history, f"SELECT DISTINCT recipe FROM result WHERE {_WITHIN}", place, *within),  # noqa: S608 - of our own constants
            views=_names(pages.history, _VIEWS, place, *within),
            kept=kept,
            again=again,
            ladders=[] if kept is None else list(_ladders(asked, kept.parts)),
            ms_of=ms_of,
            **strip(pages, place, at_ms, moves=stretch.running),
        )


_VIEWS = f"SELECT DISTINCT view FROM finding JOIN result ON result.id = finding.result WHERE {_WITHIN}"  # noqa: S608 - of our own constants


def _names(history: History, sql: str, *values: Any) -> list[str]:
    return sorted(row[0] for row in history.rows(sql, *values) if row[0])


def _classes(history: History, place: str, begins_ms: int, ends_ms: int) -> list[str]:
    sql = f"SELECT DISTINCT class FROM finding JOIN result ON result.id = finding.result WHERE {_WITHIN}"  # noqa: S608 - of our own constants
    return _names(history, sql, place, begins_ms, ends_ms)[:_CLASSES_AT_MOST]


def asked_by(query: Mapping[str, str], classes: Sequence[str], known: Known = NOT_KNOWN) -> Asked:
    """Read the fields of the form, `now.CLASS.MEASURE` and `then.CLASS.MEASURE`; an empty one sets no limit.

    Before it was sent the fields have the limits that are known, or tolerate nothing.
    """
    usual = known.of(query.get("view", "")) or {}
    judges = query.get("judge") == "1"
    wrong: list[str] = []
    limits: dict[str, dict[str, Limit]] = {"now": {}, "then": {}}
    for side, of in limits.items():
        for name in classes:
            of[name] = _limit(query, f"{side}.{name}", wrong) if judges else usual.get(name, NOTHING_TOLERATED)
    frames = query.get("ng_frames", str(known.ng_frames))
    fits = frames.isascii() and frames.isdecimal() and 1 <= int(frames[:4]) <= 1000
    return Asked(
        tuple(classes),
        limits["now"],
        limits["then"],
        query.get("view", "")[:64],
        query.get("recipe", "")[:200],
        int(frames[:4]) if fits else 1,
        judges,
        tuple(wrong),
    )


def _limit(query: Mapping[str, str], prefix: str, wrong: list[str]) -> Limit:
    told = {measure: _number(query.get(f"{prefix}.{measure}", ""), measure) for measure in MEASURES}
    wrong += [f"{prefix}.{measure}" for measure, value in told.items() if value is not None and math.isnan(value)]
    kept = {measure: value for measure, value in told.items() if value is not None and not math.isnan(value)}
    if "max_count" in kept:
        return Limit(**{**kept, "max_count": int(kept["max_count"])})
    return Limit(**kept)


def _number(text: str, measure: Measure) -> float | None:
    """Read one field; None where it is empty, NaN for what is no limit. A coverage is written in percent."""
    text = text.strip().replace(",", ".")
    if not text:
        return None
    try:
        value = float(text) / (100 if measure == "max_coverage" else 1)
    except ValueError:
        return math.nan
    whole = measure != "max_count" or value == int(value) if math.isfinite(value) else False
    fits = whole and 0 <= value <= (1 if measure == "max_coverage" else 1e9)
    return value if fits else math.nan


def _shown(limit: Limit, measure: Measure) -> str:
    """Write a limit into its field, a coverage in percent."""
    value = getattr(limit, measure)
    return "" if value is None else f"{100 * value if measure == 'max_coverage' else value:.10g}"


def read_parts(history: History, place: str, begins_ms: int, ends_ms: int, recipe: str) -> Kept:
    """Read what limits can change: parts that show something or were not OK; of all others only their number."""
    which, names = ("", ()) if not recipe else (" AND recipe = ?", (recipe,))
    within = place, begins_ms, ends_ms, *names
    clean = "verdict = 'OK' AND coverage = 0"
    counted = history.rows(
        f"SELECT sum({clean}) AS clean, count(*) AS n FROM result WHERE {_WITHIN}{which}",  # noqa: S608 - our own
        *within,
    )[0]
    rows = history.rows(
        f"SELECT at_ms, recipe, body FROM result WHERE {_WITHIN}{which} AND NOT coalesce({clean}, 0) "  # noqa: S608 - of our own constants
        "ORDER BY at_ms DESC LIMIT ?",
        *within,
        PARTS_AT_MOST,
    )
    parts: list[ToldPart] = []
    unread = 0
    for row in reversed(rows):
        try:
            part = told_part(
                json.loads(row["body"]), datetime.fromtimestamp(row["at_ms"] / 1000, timezone.utc), row["recipe"] or ""
            )
        except ValueError:
            unread += 1
            continue
        parts += [] if part is None else [part]
    showed_nothing = counted["clean"] or 0
    return Kept(parts, showed_nothing, counted["n"] - showed_nothing - len(rows), unread)


def _ladders(asked: Asked, parts: Sequence[ToldPart]) -> Any:
    """Yield for each class how many parts exceed each limit that would tell parts apart."""
    for name in asked.classes:
        for measure in MEASURES:
            rungs = list(ladder(parts, name, measure, _RUNGS))
            if len(rungs) > 1:
                yield (
                    name,
                    measure,
                    [
                        (_shown(Limit(**{measure: int(at) if measure == "max_count" else at}), measure), over)
                        for at, over in rungs
                    ],
                )
