"""The body of a result, as a consumer got it, made a record again. A malformed body is refused, never guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edge.records import ClassMeasure, Defect, Measurement, Verdict


@dataclass(frozen=True)
class ToldView:
    """One view of a part, or a frame that stands for itself: its worst readable frame.

    `frames`, `readable`, `ng`, `dropped`: how many. `measurement`: None where no frame could be read. Its defects are
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
    """One result: of a part, or of a frame that stands for itself.

    `at`: UTC, when it was told. `recipe`: that judged it. `challenge`: a known bad part, which counts nowhere.
    """

    part_id: str
    number: int
    at: datetime
    verdict: Verdict
    recipe: str
    challenge: bool
    views: Mapping[str, ToldView]
    missing_views: tuple[str, ...]


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
        recipe=_text(body["recipe"] or recipe),
        challenge=body["challenge"] is True,
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
        recipe=_text(recipe),
        challenge=False,
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
        u_mm=_number(body.get("u_mm")),
        u_area_mm2=_number(body.get("u_area_mm2")),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, received {value!r:.40}")  # noqa: TRY004 - one error for what is malformed
    return value


def _list(value: object) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list, received {value!r:.40}")  # noqa: TRY004 - pydantic takes no other
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
