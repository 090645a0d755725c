"""The body of a result, as a consumer got it, made a record again. What is malformed is refused, never guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge.parts.ledger import CLASS, FRAMES, GRADE, NG, NG_CLASS, NO_READ, NO_READ_TRIGGER, OK, PARTS, REPEATED_IDS
from edge.parts.ledger import VALUE as VALUE_SUM
from edge.records import ClassMeasure, Defect, Grade, Measurement, Verdict
from edge.records.ledger import CountDelta

_NAMES = {Verdict.OK: OK, Verdict.NG: NG, Verdict.NO_READ: NO_READ}
_NAME_CHARACTERS = 200


@dataclass(frozen=True)
class ToldView:
    """One view of a part, or a frame that stands for itself: its worst readable frame.

    `frames`, `readable`, `ng`, `dropped`: how many. `measurement`: None where no frame could be read; its defects are
    the largest ones, in px of the bounding box where the message has no length. `omitted`: further defects, that are
    counted and not listed.
    """

    frames: int
    readable: int
    ng: int
    dropped: int
    measurement: Measurement | None
    omitted: int


@dataclass(frozen=True)
class ToldPart:
    """One result: of a part, or of a frame that stands for itself (`is_frame`).

    `at`: UTC, when it was told. `recipe`: that judged it. `challenge`: a known bad part, which counts nowhere.
    """

    part_id: str
    number: int
    at: datetime
    verdict: Verdict
    reason: str
    recipe: str
    grade: Grade | None
    repeated: bool
    challenge: bool
    is_frame: bool
    views: Mapping[str, ToldView]
    missing_views: tuple[str, ...]

    @property
    def coverage(self) -> float | None:
        """The coverage of the worst view, 0-1; None where nothing was measured."""
        seen = [view.measurement.coverage for view in self.views.values() if view.measurement is not None]
        return max(seen, default=None)

    @property
    def unseen(self) -> bool:
        """Whether no view had a frame of it."""
        return not any(view.frames or view.dropped for view in self.views.values())

    @property
    def classes(self) -> list[str]:
        """The classes that it shows, sorted."""
        measured = (view.measurement.classes for view in self.views.values() if view.measurement is not None)
        return sorted({name for classes in measured for name, seen in classes.items() if seen.count})


def told_part(body: Mapping[str, Any], at: datetime, recipe: str) -> ToldPart | None:
    """Read the body of one `event/result`. None for a look for a frame that did not come: it is no part.

    `at`, `recipe`: of its envelope. Raises ValueError for a body that no station writes.
    """
    try:
        return _part(body, at, recipe) if "views" in body else _frame(body, at, recipe)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"expected the body of a result, received one without {error}") from error


def _part(body: Mapping[str, Any], at: datetime, recipe: str) -> ToldPart:
    return ToldPart(
        part_id=_text(body["part_id"]),
        number=_count(body["part_number"]),
        at=at,
        verdict=Verdict(body["verdict"]),
        reason=_text(body["reason"] or ""),
        recipe=_text(body["recipe"] or recipe),
        grade=_grade(body["grade"]),
        repeated=body["repeated_id"] is True,
        challenge=body["challenge"] is True,
        is_frame=False,
        views={_text(name): _view(view) for name, view in body["views"].items()},
        missing_views=tuple(_text(name) for name in body["missing_views"]),
    )


def _view(view: Mapping[str, Any]) -> ToldView:
    return ToldView(
        frames=_count(view["frames"]),
        readable=_count(view["readable"]),
        ng=_count(view["ng"]),
        dropped=_count(view["dropped"]),
        measurement=_measurement(view),
        omitted=_count(view["defects_omitted"] or 0),
    )


def _frame(body: Mapping[str, Any], at: datetime, recipe: str) -> ToldPart | None:
    if body["frame"] is None:
        return None
    verdict, number = Verdict(body["verdict"]), _count(body["frame"])
    measurement = _measurement(body)
    readable = int(verdict is not Verdict.NO_READ)
    seen = ToldView(1, readable, int(verdict is Verdict.NG), 0, measurement, _count(body["defects_omitted"] or 0))
    camera = _text(body["camera"])
    return ToldPart(
        part_id=_text(body["name"] or str(number)),
        number=number,
        at=at,
        verdict=verdict,
        reason=_text(body["reason"] or ""),
        recipe=_text(recipe),
        grade=_grade(body["grade"]),
        repeated=False,
        challenge=False,
        is_frame=True,
        views={camera: seen},
        missing_views=() if readable else (camera,),
    )


def _measurement(body: Mapping[str, Any]) -> Measurement | None:
    if body["coverage"] is None:
        return None
    return Measurement(
        coverage=_share(body["coverage"]),
        coverage_mm2=_number(body["coverage_mm2"]),
        region_px=0.0,
        classes={
            _text(name): ClassMeasure(_share(seen["coverage"]), _count(seen["count"]))
            for name, seen in body["classes"].items()
        },
        defects=tuple(_defect(each) for each in _list(body["defects"])),
    )


def _defect(body: Mapping[str, Any]) -> Defect:
    x, y, w, h = (int(side) for side in body["bbox"])
    return Defect(
        class_id=0,
        class_name=_text(body["class"]),
        score=_share(body["score"]),
        area_px=_number(body["area_px"]) or 0.0,
        bbox=(x, y, w, h),
        length_px=float(max(w, h)),
        width_px=float(min(w, h)),
        area_mm2=_number(body["area_mm2"]),
        length_mm=_number(body["length_mm"]),
        width_mm=_number(body["width_mm"]),
    )


def _grade(body: Mapping[str, Any] | None) -> Grade | None:
    return None if body is None else Grade(_text(body["name"]), _number(body["value_factor"]) or 0.0)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, received {value!r:.40}")  # noqa: TRY004 - one error for what is malformed
    return value


def _list(value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list, received {value!r:.40}")  # noqa: TRY004
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"expected a count, received {value!r:.40}")
    return value


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"expected a number from 0 on, received {value!r:.40}")
    return float(value)


def _share(value: object) -> float:
    number = _number(value)
    if number is None or number > 1:
        raise ValueError(f"expected a share from 0 to 1, received {value!r:.40}")
    return number


def counts_of(part: ToldPart) -> dict[str, float]:
    """Return what one result adds to the counters of its shift, as the station's own ledger counts it.

    Nothing for a part of a challenge. The names are those of `edge/parts/ledger.py`.
    """
    if part.challenge:
        return {}
    names: dict[str, float] = {PARTS: 1, _NAMES[part.verdict]: 1}
    if part.is_frame:
        names[FRAMES] = 1
    elif part.verdict is Verdict.NO_READ and part.unseen:
        names[NO_READ_TRIGGER] = 1
    if part.repeated:
        names[REPEATED_IDS] = 1
    for class_name in part.classes:
        names[f"{CLASS}{class_name}"] = 1
        if part.verdict is Verdict.NG:
            names[f"{NG_CLASS}{class_name}"] = 1
    if part.grade is not None:
        names |= {f"{GRADE}{part.grade.name}": 1, VALUE_SUM: part.grade.value_factor}
    return names


def deltas_of_told(part: ToldPart, shift: str) -> tuple[CountDelta, ...]:
    """Return the same as the ledger's records, which `figures_of` adds up."""
    recipe = part.recipe[:_NAME_CHARACTERS]
    return tuple(CountDelta(shift, recipe, name[:_NAME_CHARACTERS], by) for name, by in counts_of(part).items())
