"""A shift of one station, from the history alone: the figures that the station's own report has.

Challenges count nowhere, and a look for a frame that did not come is no part. A figure that never came is told as
missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from edge.dashboard.history import History
from edge.figures.shift_report import Figures, Stretch, chosen, figures_of
from edge.parts.ledger import CLASS, FRAMES, GRADE, NG, NG_CLASS, NO_READ, NO_READ_TRIGGER, OK, PARTS, VALUE
from edge.parts.shifts import ShiftPlan
from edge.records.ledger import CountDelta

STEPS = 96  # of the trend, at most
SHIFTS_AT_MOST = 60
WORST = 10
_TREND_AT_LEAST_MS = 120_000
_STEPS_AT_LEAST, _STEP_AT_LEAST_MS = 12, 10_000  # shorter ones would be holes between two parts
_CHANGES_AT_MOST = 50
_GAPS_AT_MOST = 200
_VERDICTS = {"OK": OK, "NG": NG, "NO_READ": NO_READ}
_OF = "station = (SELECT id FROM station WHERE place = ?) AND at_ms >= ? AND at_ms < ?"


@dataclass(frozen=True)
class Step:
    """One step of the trend, from `begins_ms` on. `highest`, `mean`: of the coverage, 0-1; None = a hole.

    `missing`: whether events of this time never came.
    """

    begins_ms: int
    highest: float | None = None
    mean: float | None = None
    ng: int = 0
    missing: bool = False


@dataclass(frozen=True)
class Change:
    """The first result of another recipe than the one before it."""

    at_ms: int
    before: str
    recipe: str


@dataclass(frozen=True)
class Gap:
    """Events that never came: how many, and between which moments they were."""

    from_ms: int
    to_ms: int
    events: int


@dataclass(frozen=True)
class ShiftFigures:
    """Everything about one shift of one station. `worst`: rows of the history, NG before OK.

    `trend_ms`: from when to when the trend goes: of a shift that runs from its first result to now.
    """

    stretch: Stretch
    total: Figures
    recipes: Mapping[str, Figures]
    trend: Sequence[Step]
    trend_ms: tuple[int, int]
    changes: Sequence[Change]
    gaps: Sequence[Gap]
    worst: Sequence[Mapping[str, Any]]


def ms_of(moment: datetime) -> int:
    """Return a moment as ms since 1970."""
    return round(moment.timestamp() * 1000)


def shifts_of(history: History, place: str, plan: ShiftPlan, now: datetime) -> list[str]:
    """Return the shifts that have a result, oldest first, of the last SHIFTS_AT_MOST."""
    first_ms = history.value(
        "SELECT min(at_ms) FROM result WHERE station = (SELECT id FROM station WHERE place = ?)", place
    )
    if first_ms is None:
        return []
    found: list[str] = []
    shift = plan.at(now)
    while ms_of(shift.ends) > first_ms and len(found) < SHIFTS_AT_MOST:
        within = place, ms_of(shift.begins), ms_of(shift.ends)
        if history.rows(f"SELECT 1 FROM result WHERE {_OF} LIMIT 1", *within):  # noqa: S608 - our own words
            found.append(plan.key(shift))
        last_ms = history.value(f"SELECT max(at_ms) FROM result WHERE {_OF}", place, 0, within[1])  # noqa: S608 - of our own constants
        if last_ms is None:
            break
        shift = plan.at(datetime.fromtimestamp(last_ms / 1000, timezone.utc))
    return found[::-1]


def read_shift(history: History, place: str, plan: ShiftPlan, asked: str, now: datetime) -> ShiftFigures:
    """Read the shift that was `asked` for: last, current, or when it began. Raises StoreError where there is none."""
    shifts = shifts_of(history, place, plan, now)
    stretch = chosen(shifts, plan, "current" if asked == "last" and len(shifts) < 2 else asked, now)
    return figures_between(history, place, stretch)


def figures_between(history: History, place: str, stretch: Stretch) -> ShiftFigures:
    """Read what a station came to in a stretch of time."""
    begins_ms, ends_ms = ms_of(stretch.begins), ms_of(stretch.ends)
    deltas = list(_deltas(history, place, begins_ms, ends_ms))
    recipes = sorted({delta.recipe for delta in deltas if delta.name == PARTS})
    gaps = _gaps(history, place, begins_ms, ends_ms)
    trend_ms = _trend_ms(history, place, stretch)
    return ShiftFigures(
        stretch,
        figures_of(deltas),
        {recipe: figures_of(delta for delta in deltas if delta.recipe == recipe) for recipe in recipes},
        _trend(history, place, *trend_ms, gaps),
        trend_ms,
        _changes(history, place, begins_ms, ends_ms),
        gaps,
        [
            dict(row)
            for row in history.rows(
                "SELECT at_ms, seq, part_id, verdict, reason, coverage, grade, recipe, evidence_id FROM result "  # noqa: S608 - of our own constants
                f"WHERE {_OF} AND challenge = 0 AND coverage > 0 "
                f"ORDER BY verdict = 'NG' DESC, coverage DESC, at_ms LIMIT {WORST}",
                *(place, begins_ms, ends_ms),
            )
        ],
    )


def _deltas(history: History, place: str, begins_ms: int, ends_ms: int) -> Iterable[CountDelta]:
    """Yield what the results add to the counters, as the station's own ledger names them."""
    within = place, begins_ms, ends_ms
    kind = history.value(f"SELECT kind FROM result WHERE {_OF} ORDER BY at_ms DESC LIMIT 1", *within)  # noqa: S608 - of our own constants
    silent: dict[str, int] = {}
    for row in history.rows(_UNREAD, *within):
        silent[row["recipe"] or ""] = silent.get(row["recipe"] or "", 0) + row["silent"]
        yield CountDelta("", row["recipe"] or "", NO_READ_TRIGGER, row["missed"])
    for row in history.rows(_COUNTED, *within):
        recipe, count = row["recipe"] or "", row["n"]
        if row["verdict"] == "NO_READ":
            count -= silent.pop(recipe, 0)
        names: dict[str, float] = {PARTS: count, _VERDICTS[row["verdict"]]: count}
        if kind == "frame":
            names[FRAMES] = count
        if row["grade"] is not None:
            names |= {f"{GRADE}{row['grade']}": count, VALUE: row["value"] or 0.0}
        yield from (CountDelta("", recipe, name, by) for name, by in names.items() if count)
    for row in history.rows(_CLASSES, *within):
        recipe, name = row["recipe"] or "", row["class"]
        yield CountDelta("", recipe, f"{CLASS}{name}", row["n"])
        yield CountDelta("", recipe, f"{NG_CLASS}{name}", row["ng"])


_COUNTED = f"""SELECT recipe, verdict, grade, count(*) AS n, sum(value_factor) AS value FROM result
WHERE {_OF} AND challenge = 0 GROUP BY recipe, verdict, grade"""  # noqa: S608 - our own words
# a look for a frame that did not come, and parts that no view had a frame of
_UNREAD = f"""SELECT recipe,
  sum(kind = 'frame' AND json_extract(body, '$.frame') IS NULL) AS silent,
  sum(kind = 'part' AND NOT EXISTS (SELECT 1 FROM json_each(body, '$.views') WHERE
    json_extract(value, '$.frames') > 0 OR json_extract(value, '$.dropped') > 0)) AS missed
FROM result WHERE verdict = 'NO_READ' AND {_OF} AND challenge = 0 GROUP BY recipe"""  # noqa: S608 - our own words
_CLASSES = f"""SELECT recipe, class, count(*) AS n, sum(verdict = 'NG') AS ng FROM (
  SELECT DISTINCT result.id, recipe, verdict, class FROM result JOIN finding ON finding.result = result.id
  WHERE {_OF} AND challenge = 0 AND found > 0 AND count > 0)
GROUP BY recipe, class"""  # noqa: S608 - our own words


def _trend_ms(history: History, place: str, stretch: Stretch) -> tuple[int, int]:
    begins_ms, ends_ms = ms_of(stretch.begins), ms_of(stretch.ends)
    if not stretch.running:
        return begins_ms, ends_ms
    first_ms = history.value(f"SELECT min(at_ms) FROM result WHERE {_OF}", place, begins_ms, ends_ms)  # noqa: S608 - of our own constants
    known_ms = ms_of(stretch.known_to) + 1
    return min(begins_ms if first_ms is None else first_ms, known_ms - _TREND_AT_LEAST_MS), known_ms


def _trend(history: History, place: str, begins_ms: int, ends_ms: int, gaps: Sequence[Gap]) -> list[Step]:
    count = max(_STEPS_AT_LEAST, min(STEPS, (ends_ms - begins_ms) // _STEP_AT_LEAST_MS))
    step_ms = -(-(ends_ms - begins_ms) // count)
    steps = [Step(begins_ms + number * step_ms) for number in range(count)]
    found = history.rows(
        "SELECT (at_ms - ?) / ? AS step, max(coverage) AS highest, avg(coverage) AS mean, sum(verdict = 'NG') AS ng "  # noqa: S608 - of our own constants
        f"FROM result WHERE {_OF} AND challenge = 0 GROUP BY step",
        *(begins_ms, step_ms, place, begins_ms, ends_ms),
    )
    for row in found:
        steps[row["step"]] = replace(steps[row["step"]], highest=row["highest"], mean=row["mean"], ng=row["ng"])
    for gap in gaps:
        first, last = ((ms - begins_ms) // step_ms for ms in (gap.from_ms, gap.to_ms))
        for number in range(max(0, first), min(count - 1, last) + 1):
            steps[number] = replace(steps[number], missing=True)
    return steps


def _changes(history: History, place: str, begins_ms: int, ends_ms: int) -> list[Change]:
    """Go from each recipe to the first result of another one."""
    found: list[Change] = []
    at_ms, recipe = begins_ms, None
    while len(found) <= _CHANGES_AT_MOST:
        rows = history.rows(
            f"SELECT at_ms, recipe FROM result WHERE {_OF} AND recipe IS NOT NULL AND recipe IS NOT ? "  # noqa: S608 - of our own constants
            "ORDER BY at_ms LIMIT 1",
            *(place, at_ms, ends_ms, recipe),
        )
        if not rows:
            break
        if recipe is not None:
            found.append(Change(rows[0]["at_ms"], recipe, rows[0]["recipe"]))
        at_ms, recipe = rows[0]["at_ms"], rows[0]["recipe"]
    return found


def _gaps(history: History, place: str, begins_ms: int, ends_ms: int) -> list[Gap]:
    """Return where numbers of events are missing: from the result before them to the one behind them."""
    found = history.rows(
        "SELECT epoch, last + 1 AS first, following - 1 AS last FROM (SELECT came.epoch, came.last, "
        "lead(came.first) OVER (PARTITION BY came.epoch ORDER BY came.first) AS following FROM came "
        "JOIN epoch ON epoch.id = came.epoch WHERE epoch.station = (SELECT id FROM station WHERE place = ?)) "
        "WHERE following > last + 1 ORDER BY epoch DESC, first DESC LIMIT ?",
        *(place, _GAPS_AT_MOST),
    )
    gaps = []
    for row in found:
        before = history.value(
            "SELECT at_ms FROM result WHERE epoch = ? AND seq < ? ORDER BY seq DESC LIMIT 1", row["epoch"], row["first"]
        )
        behind = history.value(
            "SELECT at_ms FROM result WHERE epoch = ? AND seq > ? ORDER BY seq LIMIT 1", row["epoch"], row["last"]
        )
        from_ms, to_ms = begins_ms if before is None else before, ends_ms if behind is None else behind
        if from_ms < ends_ms and to_ms >= begins_ms:
            gaps.append(Gap(from_ms, max(from_ms, to_ms), row["last"] - row["first"] + 1))
    return gaps[::-1]


def neighbours(shifts: Sequence[str], shift: str) -> tuple[str | None, str | None]:
    """Return the shift before and the one after, of those that have a result."""
    earlier, later = (
        [each for each in shifts if _moment(each) < _moment(shift)],
        [each for each in shifts if _moment(each) > _moment(shift)],
    )
    return (earlier[-1] if earlier else None), (later[0] if later else None)


def _moment(shift: str) -> datetime:
    return datetime.fromisoformat(shift)
