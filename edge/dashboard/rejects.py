"""Results to look at, one by one: what is sought, what is beside it, and what people said. No web in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge.dashboard.history import History
from edge.evidence.judging import WORDS, Judgement

PAGE = 24
VERDICTS = ("NG", "NO_READ", "OK")
SAID = ("none", "some", *WORDS)
_COLUMNS = (
    "result.id, result.at_ms, seq, kind, part_id, verdict, reason, recipe, grade, coverage, challenge, "
    "result.evidence_id, place, opinion, opinion.class, opinion.comment, opinion.user, opinion.at_ms AS judged_ms"
)
_FROM = (
    "FROM result JOIN station ON station.id = result.station "
    "LEFT JOIN opinion ON opinion.station = result.station AND opinion.evidence_id = result.evidence_id"
)


@dataclass(frozen=True)
class Filter:
    """A filter of results; empty = all. `verdict`, `said`: of VERDICTS and SAID. Times in ms, half-open."""

    place: str
    verdict: str = "NG"
    recipe: str = ""
    class_name: str = ""
    said: str = ""
    from_ms: int | None = None
    to_ms: int | None = None

    @property
    def where(self) -> tuple[str, list[Any]]:
        """The condition, and its values."""
        terms = ["result.station = (SELECT id FROM station WHERE place = ?)"]
        given: list[Any] = [self.place]
        for term, value in (
            ("verdict = ?", self.verdict or None),
            ("recipe = ?", self.recipe or None),
            ("result.at_ms >= ?", self.from_ms),
            ("result.at_ms < ?", self.to_ms),
            ("EXISTS (SELECT 1 FROM finding WHERE finding.result = result.id AND class = ?)", self.class_name or None),
            ("opinion = ?", self.said if self.said in WORDS else None),
        ):
            if value is not None:
                terms.append(term)
                given.append(value)
        if self.said in {"none", "some"}:
            terms.append(f"opinion IS {'' if self.said == 'none' else 'NOT '}NULL")
        return " AND ".join(terms), given


def results(
    history: History, wanted: Filter, before: tuple[int, int] | None, limit: int = PAGE
) -> list[dict[str, Any]]:
    """Return results, the newest first. `before`: at_ms and id of the last one of the page before."""
    where, given = wanted.where
    if before is not None:
        where, given = f"{where} AND (result.at_ms, result.id) < (?, ?)", [*given, *before]
    found = history.rows(
        f"SELECT {_COLUMNS}, body {_FROM} WHERE {where} ORDER BY result.at_ms DESC, result.id DESC LIMIT ?",
        *(*given, limit),
    )
    return [{**dict(row), "body": json.loads(row["body"])} for row in found]


def one(history: History, number: int) -> dict[str, Any] | None:
    """Return one result with its message's body; None where the history has none of this number."""
    found = history.rows(f"SELECT {_COLUMNS}, body {_FROM} WHERE result.id = ?", number)
    return {**dict(found[0]), "body": json.loads(found[0]["body"])} if found else None


def beside(history: History, wanted: Filter, row: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the numbers of the newer and the older neighbour among what is looked at."""
    where, given = wanted.where
    found = []
    for sign, order in ((">", "ASC"), ("<", "DESC")):
        found.append(
            history.value(
                f"SELECT result.id {_FROM} WHERE {where} AND (result.at_ms, result.id) {sign} (?, ?) "
                f"ORDER BY result.at_ms {order}, result.id {order} LIMIT 1",
                *(*given, row["at_ms"], row["id"]),
            )
        )
    return found[0], found[1]


def choices(history: History, place: str) -> tuple[list[str], list[str]]:
    """Return the recipes and the classes of defects that a station's last 1000 rejects name."""
    recipes = history.rows(
        "SELECT DISTINCT recipe FROM (SELECT recipe FROM result WHERE "
        "station = (SELECT id FROM station WHERE place = ?) AND verdict = 'NG' ORDER BY at_ms DESC LIMIT 1000) "
        "WHERE recipe IS NOT NULL ORDER BY recipe LIMIT 200",
        place,
    )
    classes = history.rows(
        "SELECT DISTINCT class FROM finding WHERE result IN (SELECT id FROM result WHERE "
        "station = (SELECT id FROM station WHERE place = ?) AND verdict = 'NG' ORDER BY at_ms DESC LIMIT 1000) "
        "ORDER BY class LIMIT 200",
        place,
    )
    return [row[0] for row in recipes], [row[0] for row in classes]


def note(history: History, place: str, said: Iterable[Judgement]) -> None:
    """Keep what people said beside the results that it is about; the last one of each stands."""
    last = {one.name: one for one in said}
    written = [
        history.write(
            "INSERT INTO opinion (station, evidence_id, opinion, class, comment, user, at_ms) "
            "SELECT id, ?, ?, ?, ?, ?, ? FROM station WHERE place = ? "
            "ON CONFLICT (station, evidence_id) DO UPDATE SET opinion = excluded.opinion, class = excluded.class, "
            "comment = excluded.comment, user = excluded.user, at_ms = excluded.at_ms",
            *(each.name, each.judgement, each.class_name, each.comment, each.user, _ms(each.at), place),
        )
        for each in last.values()
    ]
    for one_written in written:
        one_written.result(30)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@dataclass(frozen=True)
class View:
    """One view of a result, as its message tells it. `defects`: the largest first; None where nothing was measured."""

    name: str
    reason: str | None
    coverage: float | None
    defects: list[dict[str, Any]] | None
    omitted: int


_FIGURES = ("area_mm2", "length_mm", "u_mm", "width_mm", "area_px", "score")


def views(body: Mapping[str, Any]) -> list[View]:
    """Return the views of a result; a malformed one counts as not told."""
    told = body.get("views")
    named = list(told.items())[:32] if isinstance(told, dict) else [(str(body.get("camera", ""))[:64], body)]
    return [_view(str(name)[:64], view) for name, view in named if isinstance(view, dict)]


def _view(name: str, told: Mapping[str, Any]) -> View:
    listed = told.get("defects")
    defects = [_defect(each) for each in listed[:100] if isinstance(each, dict)] if isinstance(listed, list) else None
    reason, omitted = told.get("reason"), told.get("defects_omitted")
    return View(
        name,
        reason[:500] if isinstance(reason, str) else None,
        _figure(told.get("coverage")),
        defects,
        omitted if isinstance(omitted, int) and omitted > 0 else 0,
    )


def _defect(told: Mapping[str, Any]) -> dict[str, Any]:
    box = told.get("bbox")
    place = [side for side in box if isinstance(side, int)] if isinstance(box, list) else []
    return {
        "class": str(told.get("class", ""))[:64],
        **{name: _figure(told.get(name)) for name in _FIGURES},
        "bbox": place if len(place) == 4 else None,
    }


def _figure(value: object) -> float | None:
    sound = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
    return float(value) if sound and isinstance(value, int | float) else None
