"""Shift and product: the figures of the history are those of the station's own ledger, and holes are holes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.dashboard.drawing import drawn
from edge.dashboard.rejects import note
from edge.dashboard.screens.figures import strip
from edge.dashboard.shift_figures import STEPS, Step, ms_of, read_shift, shifts_of
from edge.evidence.judging import Judgement
from edge.figures.shift_report import figures_of
from edge.messages.writer import part_body, result_body
from edge.parts.ledger import deltas_of
from edge.records import Received
from edge.records.models import ModelIdentity
from tests.edge.dashboard.stations import NOW, PLACE, Bench, bench, message
from tests.edge.station.shift_store import BEGINS, EARLY, EVERY, LATE, PARTS, PLAN, part

SHIFTS = {"shifts": ("06:00", "14:00", "22:00"), "time_zone": "Europe/Berlin"}
MODEL = ModelIdentity("glass", "1.0.0", "ab" * 32)


def told(number: int, seq: int | None = None, **more: Any) -> Received:
    """Return the message of a part of the shift, as the station writes it."""
    at = BEGINS + number * EVERY
    body = json.loads(json.dumps(part_body(part(number), opened_at=at, **more)))
    return message("event/result", body, seq or number + 1, at=at)


@contextmanager
def site_of(folder: Path, messages: Sequence[Received]) -> Iterator[Bench]:
    """Give a bench that has heard these messages."""
    with bench(folder, **SHIFTS) as site:
        site.online()
        site.hear(*messages)
        yield site


def test_the_figures_are_those_of_the_ledger(tmp_path: Path) -> None:
    """Eight hours of parts: counts, yield, classes, grades, value, parts that nobody saw, for each of two recipes."""
    with site_of(tmp_path, [told(number) for number in range(PARTS)]) as site:
        shift = read_shift(site.history, PLACE, PLAN, EARLY, NOW)
    ledger = [delta for number in range(PARTS) for delta in deltas_of(part(number), EARLY, part(number).recipe or "")]
    assert shift.total == figures_of(ledger)
    assert shift.total.parts == PARTS
    assert set(shift.recipes) == {"phone-a", "phone-b"}
    for recipe, figures in shift.recipes.items():
        assert figures == figures_of(delta for delta in ledger if delta.recipe == recipe)
    (change,) = shift.changes
    assert (change.before, change.recipe, change.at_ms) == ("phone-a", "phone-b", ms_of(BEGINS + 1000 * EVERY))
    assert [row["part_id"] for row in shift.worst[:2]] == ["P-727", "P-427"]


def test_a_challenge_and_a_look_for_a_frame_are_no_parts(tmp_path: Path) -> None:
    """Neither counts; a frame that stands for itself does."""
    frame = part(7).views["top"].worst
    assert frame is not None
    silent = {**result_body(frame, MODEL), "frame": None, "verdict": "NO_READ", "coverage": None, "classes": None}
    silent |= {"defects": None, "reason": "no frame for 1204 ms"}
    messages = [
        told(7, 1, challenge=True),
        message("event/result", json.loads(json.dumps(silent)), 2, at=BEGINS),
        message("event/result", json.loads(json.dumps(result_body(frame, MODEL))), 3, at=BEGINS),
    ]
    with site_of(tmp_path, messages) as site:
        total = read_shift(site.history, PLACE, PLAN, EARLY, NOW).total
    assert (total.parts, total.frames, total.ng, total.no_read) == (1, 1, 1, 0)


def test_the_trend_has_holes_where_nothing_was_measured(tmp_path: Path) -> None:
    """Two hours without parts are a hole of two hours, never 0; events that never came are marked and counted."""
    pause = range(360, 720)
    with site_of(tmp_path, [told(n) for n in range(PARTS) if n not in pause and not 900 <= n < 910]) as site:
        site.hear(message("seq", {"schema": "linewatch/seq/1", "committed": PARTS}))
        shift = read_shift(site.history, PLACE, PLAN, EARLY, NOW)
        page = site.browser.get(f"/shift/{PLACE}?shift={EARLY.replace('+', '%2B')}").text
    each = PARTS // STEPS
    holes = [place for place, step in enumerate(shift.trend) if step.highest is None]
    assert holes == list(range(360 // each, 720 // each))
    # by hand: of the 15 parts of each step the largest coverage
    for place, step in enumerate(shift.trend):
        parts = [n for n in range(place * each, (place + 1) * each) if n not in pause and not 900 <= n < 910]
        covered = [part(n).views["top"].worst for n in parts]
        seen = [one.measurement.coverage for one in covered if one is not None and one.measurement is not None]
        assert step.highest == pytest.approx(max(seen, default=None), abs=1e-8) if seen else step.highest is None
    assert [gap.events for gap in shift.gaps] == [360, 10]
    # from the step of the result before to that of the one behind: 23 to 48, 59 to 60
    assert [place for place, step in enumerate(shift.trend) if step.missing] == [*range(23, 49), 59, 60]
    assert "Events that never came: 370" in page
    assert page.count('class="missing"') == 28
    assert page.count('class="highest"') == 2


def test_a_hole_interrupts_the_line() -> None:
    """Each piece has two points for each of its steps."""
    steps = [Step(0, 0.2, 0.1), Step(1, 0.1, 0.1), Step(2), Step(3, 0.0, 0.0, missing=True)]
    drawing = drawn(steps, [], 0, 4)
    assert drawing.lines == ["0.0,0.0 240.0,0.0 240.0,110.0 480.0,110.0", "720.0,220.0 960.0,220.0"]
    assert (drawing.top, drawing.missing) == (0.2, [(720.0, 240.0)])


def test_shifts_without_a_result_are_not_offered(tmp_path: Path) -> None:
    """Those that have one are, the oldest first; the page leads from one to the next."""
    later = datetime.fromisoformat(LATE) + timedelta(hours=1)
    body = json.loads(json.dumps(part_body(part(1), opened_at=later)))
    with site_of(tmp_path, [told(0), message("event/result", body, 99, at=later)]) as site:
        assert shifts_of(site.history, PLACE, PLAN, NOW) == [EARLY, LATE]
        first = site.browser.get("/shift", params={"shift": EARLY}).text
        last = site.browser.get("/shift", params={"shift": LATE}).text
        assert "Later shift" in first
        assert "Earlier shift" not in first
        assert "Earlier shift" in last
        assert site.browser.get("/shift", params={"shift": "2020-01-01T06:00"}).status_code == 500
        assert site.browser.get("/shift", params={"shift": "<script>"}).status_code == 200


def test_the_table_has_the_figures_of_the_page(tmp_path: Path) -> None:
    """One value in each row, under the columns of `linewatch report --csv`; a formula from outside is text."""
    hostile = told(7).payload.replace(b'"P-7"', b'"=1+1"')
    with site_of(tmp_path, [*(told(n) for n in range(7)), Received(told(7).topic, hostile)]) as site:
        answer = site.browser.get("/shift.csv", params={"shift": EARLY})
        page = site.browser.get("/shift", params={"shift": EARLY}).text
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    figures = {row["figure"]: row["value"] for row in rows if row["section"] == "total" and not row["item"]}
    assert (figures["parts"], figures["ok"], figures["ng"]) == ("8", "7", "1")
    assert figures["yield"] == "0.875"
    assert "repeated_ids" not in figures
    assert next(row["value"] for row in rows if row["figure"] == "part_id").startswith("'=")
    assert re.search(r"87\.50 %", page)
    assert "attachment" in answer.headers["content-disposition"]


def test_a_page_of_figures_says_of_when_it_is_and_goes_stale(tmp_path: Path) -> None:
    """The strip tells the age. Of a shift that runs it is STALE after a minute, and a silent station is told."""
    with site_of(tmp_path, [told(0)]) as site:
        now_ms = ms_of(site.clock.wall())
        assert "STALE" not in site.browser.get(f"/shift/{PLACE}?shift=current").text
        site.clock.move(61)
        assert strip(site.pages, PLACE, now_ms, moves=True)["figures_stale"]
        assert not strip(site.pages, PLACE, now_ms, moves=False)["figures_stale"]
        assert "The figures end with its last message." in site.browser.get("/shift").text


def test_false_rejects_are_what_people_said_last(tmp_path: Path) -> None:
    """Of three NG parts two were judged, one of them twice: the last word counts; the rate is that of the judged."""
    names = [f"4dbf8f4e-{number:08d}-00000000" for number in (8, 68, 128)]
    messages = []
    for name, number in zip(names, (7, 67, 127), strict=True):
        body = json.loads(json.dumps(part_body(part(number), opened_at=BEGINS + number * EVERY)))
        messages.append(message("event/result", body | {"evidence_id": name}, number + 1))
    with site_of(tmp_path, messages) as site:
        assert "Nobody has judged" in site.browser.get("/shift", params={"shift": EARLY}).text
        for name, word in ((names[0], "right"), (names[1], "right"), (names[1], "false_reject"), ("another", "right")):
            note(site.history, PLACE, [Judgement(name, word, NOW, "anna")])
        page = site.browser.get("/shift", params={"shift": EARLY}).text
        other = site.browser.get("/shift", params={"shift": "current"}).text
    assert "50.00 % (1 of 2)" in page
    assert "NG parts that nobody judged: 1." in page
    assert "Nobody has judged" in other
