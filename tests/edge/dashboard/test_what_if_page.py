"""The page What if: a shift judged again, the form's questions, and what it says of what cannot be told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge.dashboard.known_limits import known_limits
from edge.dashboard.screens.what_if import NOT_KNOWN, asked_by
from edge.inspection.limits import Limit
from edge.messages.writer import part_body
from tests.edge.dashboard.stations import NOW, PLACE, Bench, bench, message
from tests.edge.figures.test_what_if import Sizes, assembled

TOLERANT = {"scratch": Limit(max_coverage=0.02)}
KINDS: list[list[Sizes | None]] = [[{}], [{}], [{}], [{"scratch": [10]}], [{"scratch": [30]}], [None]]


@contextmanager
def shift_of(folder: Path, kinds: list[list[Sizes | None]], **settings: Path) -> Iterator[Bench]:
    """Give a bench whose shift has these parts, judged by TOLERANT."""
    bodies = [part_body(assembled(frames, TOLERANT), opened_at=NOW) for frames in kinds]
    with bench(folder, **settings) as site:
        site.online()
        site.hear(
            *(message("event/result", json.loads(json.dumps(body)), number) for number, body in enumerate(bodies, 1))
        )
        yield site


def query(now: str, then: str) -> dict[str, str]:
    """Return a form that asks for limits of the coverage, in percent."""
    return {
        "judge": "1", "shift": "current", "now.scratch.max_coverage": now, "then.scratch.max_coverage": then,
    }  # fmt: skip


def numbers(page: str, head: str) -> list[str]:
    """Return the cells of one row."""
    row = re.search(rf'<tr><th scope="row">{head}</th>(.*?)</tr>', page, re.DOTALL)
    assert row is not None
    return re.findall(r"<td[^>]*>\s*(\S+?)\s*</td>", row[1])


def test_a_stricter_limit_costs_the_parts_that_exceed_it(tmp_path: Path) -> None:
    """Four were OK, one NG, one unread; at 0.5 % one more would be NG. The page names it and its value."""
    with shift_of(tmp_path, KINDS) as site:
        page = site.browser.get("/what-if", params=query("2", "0,5")).text
    assert numbers(page, "as they were") == ["4", "1", "1", "\u2013"]
    assert numbers(page, "as they would be") == ["3", "2", "1", "0"]
    assert "for 6 of 6 parts" in page
    assert "top: scratch: coverage 0.01000, at most 0.005 allowed" in page
    assert "60.00 %" in page


def test_limits_that_are_not_the_line_s_are_told(tmp_path: Path) -> None:
    """The first row gives other verdicts than the station did."""
    with shift_of(tmp_path, KINDS) as site:
        page = site.browser.get("/what-if", params=query("0.5", "0.5")).text
    assert "for 5 of 6 parts" in page
    assert "So they are not all the line&#39;s" in page


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    """A part of three bad frames, of which the message shows one."""
    with shift_of(tmp_path, [[{"scratch": [30]}, {"scratch": [29]}, {"scratch": [28]}]]) as site:
        page = site.browser.get("/what-if", params=query("2", "5")).text
    assert numbers(page, "as they would be") == ["0", "0", "0", "1"]
    assert "a message shows only the worst of each camera" in page
    assert "0.00 % \u2013 100.00 %" in page


def test_the_form_alone_judges_nothing(tmp_path: Path) -> None:
    """Without its button the page shows the fields, in which nothing is tolerated; it may be asked by anybody."""
    with shift_of(tmp_path, KINDS) as site:
        page = site.browser.get(f"/what-if/{PLACE}").text
    assert 'id="answer"' not in page
    assert re.search(r'name="now\.scratch\.max_count"[^>]*value="0"', page)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e99", "abc", "101", "<script>", "1" * 400])
def test_what_is_no_limit_is_refused_and_not_used(text: str) -> None:
    """The field is named, and sets no limit."""
    asked = asked_by({"judge": "1", "then.scratch.max_coverage": text}, ["scratch"])
    assert asked.wrong == ("then.scratch.max_coverage",)
    assert asked.then["scratch"] == Limit()


def test_a_count_is_whole_and_a_coverage_is_in_percent() -> None:
    """With a comma or a point."""
    form = {"judge": "1", "then.scratch.max_coverage": " 0,5 ", "then.scratch.max_count": "2.0", "ng_frames": "3"}
    asked = asked_by(form, ["scratch"])
    assert asked.then["scratch"] == Limit(max_coverage=0.005, max_count=2)
    assert (asked.ng_frames, asked.wrong) == (3, ())
    assert asked_by({"judge": "1", "now.scratch.max_count": "1.5"}, ["scratch"]).wrong == ("now.scratch.max_count",)
    assert asked_by({"judge": "1", "ng_frames": "none"}, []).ng_frames == 1


def test_one_view_alone_gets_other_limits() -> None:
    """Those of other views stay as they are."""
    scenario = asked_by({"judge": "1", "view": "side", "now.scratch.max_count": "1"}, ["scratch"]).scenario(NOT_KNOWN)
    assert scenario.of("top").limits == {"scratch": Limit(max_count=1)}
    assert scenario.of("side").limits == {"scratch": Limit()}


SETTINGS = """
line: {enterprise: acme, site: ulm, area: glass, line: l1, cell: c1}
cameras: {top: {source: simulated}, side: {source: simulated}}
recipes:
  phone: {views: {top: {bundle: b, inspect: {limits: {scratch: {max_coverage: 0.02}}}}, side: {bundle: b}}}
  tablet: {views: {top: {bundle: b}, side: {bundle: b}}}
recipe: phone
parts: {trigger: mqtt, ng_frames: 2}
"""


def test_the_limits_of_the_station_s_settings_stand_in_the_form(tmp_path: Path) -> None:
    """Of the recipe and the camera that are chosen; where recipes differ nothing is guessed."""
    config = tmp_path / "station.yaml"
    config.write_text(SETTINGS)
    with shift_of(tmp_path, KINDS, try_config=config) as site:
        chosen = site.browser.get("/what-if", params={"recipe": "phone", "view": "top"}).text
        other = site.browser.get("/what-if", params={"recipe": "phone", "view": "side"}).text
        both = site.browser.get("/what-if").text
    assert re.search(r'name="now\.scratch\.max_coverage"[^>]*value="2"', chosen)
    assert re.search(r'name="ng_frames"[^>]*value="2"', chosen)
    assert "limits of the station&#39;s settings" in chosen
    assert re.search(r'name="now\.scratch\.max_count"[^>]*value="0"', other)
    assert "The limits differ by recipe: choose one." in both


def test_other_cameras_keep_the_limits_of_the_settings(tmp_path: Path) -> None:
    """Of a recipe whose cameras differ, one alone is asked about."""
    config = tmp_path / "station.yaml"
    config.write_text(SETTINGS)
    known = known_limits(config, PLACE, "phone")
    scenario = asked_by({"judge": "1", "view": "side", "then.scratch.max_count": "1"}, ["scratch"]).scenario(known)
    assert scenario.of("top").limits == TOLERANT
    assert scenario.of("side").limits == {"scratch": Limit(max_count=1)}


def test_settings_of_another_station_say_nothing(tmp_path: Path) -> None:
    """Nor do those of an unknown recipe, or a file that cannot be read."""
    config = tmp_path / "station.yaml"
    config.write_text(SETTINGS)
    assert known_limits(config, "another/ulm/glass/l1/c1", "phone") == NOT_KNOWN
    assert known_limits(config, PLACE, "none") == NOT_KNOWN
    assert known_limits(tmp_path / "none.yaml", PLACE, "phone") == NOT_KNOWN
    assert known_limits(None, PLACE, "") == NOT_KNOWN
